//! Street View House Numbers, cropped digits ("format 2"), in the MATLAB files they are published in.
//!
//! `X` is of bytes, `[32, 32, 3, N]`, and `y` `[N, 1]` from 1 to 10, where 10 stands for the digit 0.
//! <http://ufldl.stanford.edu/housenumbers/>

use std::io::Read;
use std::path::Path;

use ablate_stage::{Split, StageError};

use super::bad;
use super::mat::{Matrix, Number, for_each_matrix};
use super::planar::{Gathered, Order, Planar};
use crate::ImageSet;

/// Column-major `[row, column, channel, image]` is an image after the other, of planes that go column by column.
const IMAGE: Planar = Planar { height: 32, width: 32, channels: 3, order: Order::Columns };

const TRAIN: (&str, Split) = ("train_32x32.mat", Split::Train);
const EXTRA: (&str, Split) = ("extra_32x32.mat", Split::Train);
const TEST: (&str, Split) = ("test_32x32.mat", Split::Test);

/// Most images of a file. The largest published one has 531,131; a header that says more than this is taken for a lie.
const MAX_IMAGES: usize = 1 << 20;

/// Reads the train images, the extra ones where they are asked for, and the test images.
///
/// # Errors
/// Where a file is missing, or is not what it should be.
pub(super) fn read(folder: &Path, extra: bool, remedy: &str) -> Result<ImageSet, StageError> {
    let mut gathered = Gathered::default();
    for (name, split) in [TRAIN].into_iter().chain(extra.then_some(EXTRA)).chain([TEST]) {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(bad(folder, format!("there is no `{name}`; {remedy}")));
        }
        read_file(&path, &mut gathered)?;
        gathered.are_of(split);
    }
    Ok(gathered.finish("SVHN", (0..10).map(|digit| digit.to_string()).collect(), IMAGE))
}

fn read_file(path: &Path, gathered: &mut Gathered) -> Result<(), StageError> {
    let (mut images, mut labels) = (None, None);
    for_each_matrix(path, &["X", "y"], |matrix, data| match matrix.name.as_str() {
        "X" => match images {
            Some(_) => Err("there is another `X` before".to_owned()),
            None => {
                images = Some(read_images(matrix, data, &mut gathered.pixels)?);
                Ok(())
            }
        },
        _ => match labels {
            Some(_) => Err("there is another `y` before".to_owned()),
            None => {
                labels = Some(read_labels(matrix, data)?);
                Ok(())
            }
        },
    })?;
    match (images, labels) {
        (Some(images), Some(labels)) if images == labels.len() && images > 0 => {
            gathered.labels.extend(labels);
            Ok(())
        }
        (Some(images), Some(labels)) => {
            Err(bad(path, format!("it has {images} images and {} labels", labels.len())))
        }
        (images, labels) => {
            let missing = [images.is_none().then_some("`X`"), labels.is_none().then_some("`y`")];
            let missing: Vec<&str> = missing.into_iter().flatten().collect();
            Err(bad(path, format!("it has no matrix {}", missing.join(" and "))))
        }
    }
}

fn read_images(matrix: &Matrix, data: &mut dyn Read, pixels: &mut Vec<u8>) -> Result<usize, String> {
    match *matrix.shape {
        [32, 32, 3, n] if n <= MAX_IMAGES && matrix.number == Number::U8 => {
            IMAGE.read(data, n, pixels).map_err(|error| format!("`X`: {error}"))?;
            Ok(n)
        }
        _ => Err(format!(
            "`X` is of {:?} and the shape {:?}, expected U8 and [32, 32, 3, N] with N up to {MAX_IMAGES}",
            matrix.number, matrix.shape
        )),
    }
}

fn read_labels(matrix: &Matrix, data: &mut dyn Read) -> Result<Vec<i64>, String> {
    let (&[n, 1] | &[1, n]) = matrix.shape.as_slice() else {
        return Err(format!("`y` is of the shape {:?}, expected [N, 1]", matrix.shape));
    };
    if n > MAX_IMAGES {
        return Err(format!("`y` has {n} labels, and at most {MAX_IMAGES} are read"));
    }
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).map_err(|error| format!("`y`: {error}"))?;
    if bytes.len() != n * matrix.number.size() {
        return Err("`y` ends too early".to_owned());
    }
    let digit = |(row, bytes): (usize, &[u8])| match matrix.number.value(bytes) {
        10.0 => Ok(0),
        digit if digit.fract() == 0.0 && (1.0..10.0).contains(&digit) => Ok(digit as i64),
        other => Err(format!("image {row} has the label {other}, expected 1 to 10, which stands for 0")),
    };
    bytes.chunks_exact(matrix.number.size()).enumerate().map(digit).collect()
}
