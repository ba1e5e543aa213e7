//! Reads the IDX format of MNIST: a big-endian header, then bytes; gzipped or not.
//!
//! Header: two zero bytes, the element type (8: unsigned byte, the only one read here), the number of dimensions, and
//! each dimension as u32.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};
use flate2::bufread::MultiGzDecoder;

use crate::{ImageSet, Pixels, Stored};

/// Largest array read. Full MNIST has 47 MB; a header that asks for more than this is taken for a lie.
const MAX_BYTES: u64 = 2 << 30;

/// Stem of a split's files, as in `train-images-idx3-ubyte.gz`.
const STEMS: [(Split, &str); 2] = [(Split::Train, "train"), (Split::Test, "t10k")];

/// Reads the four files of an MNIST-like data set from a folder, train before test.
///
/// `classes` names the classes; without it they are called by their numbers, up to the largest label.
///
/// # Errors
/// Where a file is missing (the message ends with `hint`), malformed, truncated or too long, or the four do not fit one
/// another.
pub(crate) fn read_folder(
    folder: &Path,
    name: &str,
    classes: Option<Vec<String>>,
    hint: &str,
) -> Result<ImageSet, StageError> {
    let mut all = Pixels { height: 0, width: 0, channels: 1, bytes: Vec::new() };
    let (mut labels, mut splits) = (Vec::<i64>::new(), Vec::new());
    for (split, stem) in STEMS {
        let images_path = find(folder, &format!("{stem}-images-idx3-ubyte"), hint)?;
        let labels_path = find(folder, &format!("{stem}-labels-idx1-ubyte"), hint)?;
        let ([n, height, width], pixels) = read_bytes::<3>(&images_path)?;
        let ([labelled], found_labels) = read_bytes::<1>(&labels_path)?;
        if n == 0 || height == 0 || width == 0 {
            return Err(bad(&images_path, format!("it has {n} images of {height}×{width} pixels")));
        }
        if labelled != n {
            let found = format!("it has {labelled} labels, but {} has {n} images", images_path.display());
            return Err(bad(&labels_path, found));
        }
        if all.bytes.is_empty() {
            (all.height, all.width) = (height, width);
        } else if (height, width) != (all.height, all.width) {
            let found =
                format!("its images are {height}×{width}, the train images {}×{}", all.height, all.width);
            return Err(bad(&images_path, found));
        }
        if let Some(classes) = &classes
            && let Some(label) = found_labels.iter().find(|&&label| usize::from(label) >= classes.len())
        {
            return Err(bad(
                &labels_path,
                format!("it has the label {label}, expected 0 to {}", classes.len() - 1),
            ));
        }
        all.bytes.extend_from_slice(&pixels);
        labels.extend(found_labels.iter().map(|&label| i64::from(label)));
        splits.resize(labels.len(), split);
    }
    let largest = labels.iter().max().expect("empty files are refused");
    let classes = classes.unwrap_or_else(|| (0..=*largest).map(|label| label.to_string()).collect());
    Ok(ImageSet {
        name: name.to_owned(),
        classes,
        labels,
        split: splits,
        names: None,
        images: Stored::Pixels(all),
    })
}

fn find(folder: &Path, name: &str, hint: &str) -> Result<PathBuf, StageError> {
    let candidates = [format!("{name}.gz"), name.to_owned()].map(|name| folder.join(name));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        StageError::Failed(format!("{}: there is neither `{name}.gz` nor `{name}`; {hint}", folder.display()))
    })
}

/// Reads an array of bytes with `D` dimensions. No more memory is asked for than the file has data.
fn read_bytes<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), StageError> {
    let file = BufReader::new(File::open(path).map_err(StageError::io(path))?);
    let mut reader: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut word = || -> Result<[u8; 4], StageError> {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(StageError::io(path))?;
        Ok(word)
    };
    let magic = word()?;
    let expected = [0, 0, 8, D as u8];
    if magic != expected {
        return Err(bad(path, format!("it starts with the bytes {magic:?}, expected {expected:?}")));
    }
    let mut shape = [0_u32; D];
    for dimension in &mut shape {
        *dimension = u32::from_be_bytes(word()?);
    }
    let bytes = shape.iter().try_fold(1_u64, |product, &dimension| product.checked_mul(u64::from(dimension)));
    let Some(bytes) = bytes.filter(|&bytes| bytes <= MAX_BYTES) else {
        return Err(bad(path, format!("its header says {shape:?}, which is more than {MAX_BYTES} bytes")));
    };
    let mut data = Vec::new();
    reader.take(bytes + 1).read_to_end(&mut data).map_err(StageError::io(path))?;
    if data.len() as u64 != bytes {
        let found = if data.len() as u64 > bytes { "more".to_owned() } else { data.len().to_string() };
        return Err(bad(path, format!("its header says {shape:?}, {bytes} bytes, but {found} follow")));
    }
    Ok((shape.map(|dimension| dimension as usize), data))
}

fn bad(path: &Path, reason: impl AsRef<str>) -> StageError {
    StageError::Failed(format!("{}: {}", path.display(), reason.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|dimension| dimension.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Two train images of 1×3 and one test image, one file of each pair gzipped.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte.gz", gzip(&idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6])));
        write("train-labels-idx1-ubyte", idx(&[2], &[1, 0]));
        write("t10k-images-idx3-ubyte", idx(&[1, 1, 3], &[7, 8, 9]));
        write("t10k-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[2])));
        dir
    }

    fn read(dir: &tempfile::TempDir) -> Result<ImageSet, String> {
        let replace = |error: StageError| error.to_string().replace(&dir.path().display().to_string(), "DIR");
        read_folder(dir.path(), "digits", None, "put them there").map_err(replace)
    }

    #[test]
    fn a_folder_of_raw_and_gzipped_files_is_a_data_set() {
        let expected = ImageSet {
            name: "digits".into(),
            classes: vec!["0".into(), "1".into(), "2".into()],
            labels: vec![1, 0, 2],
            split: vec![Split::Train, Split::Train, Split::Test],
            names: None,
            images: Stored::Pixels(Pixels {
                height: 1,
                width: 3,
                channels: 1,
                bytes: vec![1, 2, 3, 4, 5, 6, 7, 8, 9],
            }),
        };
        assert_eq!(read(&folder()).unwrap(), expected);
    }

    #[test]
    fn a_missing_file_is_named_with_what_to_do() {
        let dir = folder();
        fs::remove_file(dir.path().join("t10k-images-idx3-ubyte")).unwrap();
        let expected =
            "DIR: there is neither `t10k-images-idx3-ubyte.gz` nor `t10k-images-idx3-ubyte`; put them there";
        assert_eq!(read(&dir).unwrap_err(), expected);
    }

    #[test]
    fn a_malformed_file_is_refused_with_the_reason() {
        let cases = [
            (vec![], "DIR/t10k-images-idx3-ubyte: failed to fill whole buffer"),
            (idx(&[1, 1, 3], &[7, 8]), "its header says [1, 1, 3], 3 bytes, but 2 follow"),
            (idx(&[1, 1, 3], &[7, 8, 9, 10]), "its header says [1, 1, 3], 3 bytes, but more follow"),
            (idx(&[1], &[2]), "it starts with the bytes [0, 0, 8, 1], expected [0, 0, 8, 3]"),
            (vec![0, 0, 13, 3], "it starts with the bytes [0, 0, 13, 3], expected [0, 0, 8, 3]"),
            (
                idx(&[u32::MAX, u32::MAX, u32::MAX], &[]),
                "its header says [4294967295, 4294967295, 4294967295], which is more than 2147483648 bytes",
            ),
            (idx(&[1 << 10, 1 << 10, 1 << 10], &[1]), "1073741824 bytes, but 1 follow"),
            (idx(&[0, 28, 28], &[]), "it has 0 images of 28×28 pixels"),
            (idx(&[1, 3, 1], &[7, 8, 9]), "its images are 3×1, the train images 1×3"),
            (
                idx(&[2, 1, 3], &[7, 8, 9, 1, 2, 3]),
                "it has 1 labels, but DIR/t10k-images-idx3-ubyte has 2 images",
            ),
        ];
        for (bytes, reason) in cases {
            let dir = folder();
            fs::write(dir.path().join("t10k-images-idx3-ubyte"), bytes).unwrap();
            let error = read(&dir).unwrap_err();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }

    #[test]
    fn a_gzip_file_cut_short_is_refused() {
        let whole = gzip(&idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]));
        for len in 0..whole.len() {
            let dir = folder();
            fs::write(dir.path().join("train-images-idx3-ubyte.gz"), &whole[..len]).unwrap();
            assert!(read(&dir).is_err(), "{len} bytes");
        }
    }
}
