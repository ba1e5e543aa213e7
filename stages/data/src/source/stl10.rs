//! STL-10 in the binary form it is published in.
//!
//! An image is its red, its green and its blue plane of 96×96 bytes, each column by column. Labels are bytes from 1 to 10.
//! `fold_indices.txt` is not read. <https://cs.stanford.edu/~acoates/stl10/>

use std::io::Read;
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};

use super::bad;
use super::planar::{Gathered, Order, Planar, class_names, open_records};
use crate::ImageSet;

const IMAGE: Planar = Planar { height: 96, width: 96, channels: 3, order: Order::Columns };

/// Folder in the archive.
const FOLDER: &str = "stl10_binary";

const CLASSES: [&str; 10] =
    ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];

/// Files of images and of their labels.
const TRAIN: (&str, Option<&str>, Split) = ("train_X.bin", Some("train_y.bin"), Split::Train);
const TEST: (&str, Option<&str>, Split) = ("test_X.bin", Some("test_y.bin"), Split::Test);
const UNLABELLED: (&str, Option<&str>, Split) = ("unlabeled_X.bin", None, Split::Unlabelled);

/// Reads the train, the test and, where they are asked for, the unlabelled images, into memory that is taken once.
///
/// # Errors
/// Where a file is missing, or is not what it should be.
pub(super) fn read(folder: &Path, unlabelled: bool, remedy: &str) -> Result<ImageSet, StageError> {
    let place = find(folder, remedy)?;
    let mut gathered = Gathered::default();
    let mut files = Vec::new();
    for (images, labels, split) in [TRAIN, TEST].into_iter().chain(unlabelled.then_some(UNLABELLED)) {
        let path = place.join(images);
        if labels.is_none() && !path.is_file() {
            let advice = "put it there, or do without unlabelled images with `unlabelled: false`";
            return Err(bad(&place, format!("there is no `{images}`; {advice}")));
        }
        let (reader, n) = open_records(&path, IMAGE.len())?;
        gathered.labels.extend(match labels {
            Some(name) => read_labels(&place.join(name), n)?,
            None => vec![-1; n],
        });
        gathered.are_of(split);
        files.push((path, reader, n));
    }
    gathered.reserve(gathered.labels.len(), IMAGE, &place)?;
    for (path, mut reader, n) in files {
        IMAGE.read(&mut reader, n, &mut gathered.pixels).map_err(StageError::io(&path))?;
    }
    let classes = class_names(&place.join("class_names.txt"), CLASSES.len())?;
    Ok(gathered.finish("STL-10", classes.unwrap_or_else(|| CLASSES.map(str::to_owned).to_vec()), IMAGE))
}

fn find(folder: &Path, remedy: &str) -> Result<PathBuf, StageError> {
    let places = [folder.to_owned(), folder.join(FOLDER)];
    places
        .into_iter()
        .find(|place| place.join(TRAIN.0).is_file())
        .ok_or_else(|| bad(folder, format!("there is no `{}`, here or below `{FOLDER}`; {remedy}", TRAIN.0)))
}

fn read_labels(path: &Path, n: usize) -> Result<Vec<i64>, StageError> {
    let (mut reader, labels) = open_records(path, 1)?;
    if labels != n {
        return Err(bad(path, format!("it has {labels} labels, and there are {n} images")));
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(StageError::io(path))?;
    if bytes.len() != n {
        return Err(bad(path, format!("it has {} bytes now, and had {n}", bytes.len())));
    }
    match bytes.iter().position(|label| !(1..=10).contains(label)) {
        Some(row) => Err(bad(path, format!("image {row} has the label {}, expected 1 to 10", bytes[row]))),
        None => Ok(bytes.into_iter().map(|label| i64::from(label) - 1).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Pixels, Stored};

    /// Red is the image's number, green its row, blue its column.
    fn image(number: u8) -> Vec<u8> {
        let plane = |value: fn(u8, u8, u8) -> u8| {
            (0..96).flat_map(move |column| (0..96).map(move |row| value(number, row, column)))
        };
        plane(|number, _, _| number)
            .chain(plane(|_, row, _| row))
            .chain(plane(|_, _, column| column))
            .collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(FOLDER);
        fs::create_dir(&place).unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(place.join(name), bytes).unwrap();
        write("train_X.bin", [image(0), image(1)].concat());
        write("train_y.bin", vec![10, 1]);
        write("test_X.bin", image(2));
        write("test_y.bin", vec![3]);
        write("unlabeled_X.bin", [image(3), image(4)].concat());
        dir
    }

    #[test]
    fn planes_are_column_by_column_and_labels_from_1() {
        let dir = folder();
        let set = read(dir.path(), true, "unpack it").unwrap();
        assert_eq!(set.labels, [9, 0, 2, -1, -1]);
        assert_eq!(
            set.split,
            [Split::Train, Split::Train, Split::Test, Split::Unlabelled, Split::Unlabelled]
        );
        assert_eq!(set.classes, CLASSES);
        let Stored::Pixels(Pixels { height: 96, width: 96, channels: 3, bytes }) = &set.images else {
            panic!()
        };
        assert_eq!(bytes.len(), bytes.capacity(), "the memory is taken once");
        for (number, image) in bytes.chunks_exact(IMAGE.len()).enumerate() {
            for (row, column) in [(0, 0), (95, 0), (0, 95), (17, 61)] {
                let found = &image[(row * 96 + column) * 3..][..3];
                assert_eq!(found, [number as u8, row as u8, column as u8]);
            }
        }
        let labelled = read(&dir.path().join(FOLDER), false, "unpack it").unwrap();
        assert_eq!(labelled.labels, [9, 0, 2]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |name: &str, bytes: Option<Vec<u8>>, expected: &str| {
            let dir = folder();
            let path = dir.path().join(FOLDER).join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let error = read(dir.path(), true, "unpack it").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("train_X.bin", None, "there is no `train_X.bin`, here or below `stl10_binary`; unpack it");
        check("unlabeled_X.bin", None, "there is no `unlabeled_X.bin`; put it there, or do without");
        check("test_y.bin", None, "test_y.bin: No such file");
        check("test_y.bin", Some(vec![1, 2]), "test_y.bin: it has 2 labels, and there are 1 images");
        check("test_y.bin", Some(vec![0]), "test_y.bin: image 0 has the label 0, expected 1 to 10");
        check("train_y.bin", Some(vec![1, 11]), "train_y.bin: image 1 has the label 11, expected 1 to 10");
        check("test_X.bin", Some(vec![0; 96]), "test_X.bin: it has 96 bytes, expected a multiple of 27648");
        check(
            "class_names.txt",
            Some(b"airplane\n".to_vec()),
            "class_names.txt: it names 1 classes, expected 10",
        );
    }
}
