//! Images that are stored plane by plane, one channel after the other.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ablate_stage::{Split, StageError};

use super::bad;
use crate::{ImageSet, Pixels, Stored};

/// How the values of a plane follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Row by row.
    Rows,
    /// Column by column, as MATLAB stores matrices.
    Columns,
}

/// The form of an image of planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planar {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub order: Order,
}

impl Planar {
    /// Bytes of an image.
    pub(super) fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Appends an image to pixels, `[height, width, channels]`.
    ///
    /// # Panics
    /// When `planes` is not as long as an image.
    pub(super) fn append(self, planes: &[u8], pixels: &mut Vec<u8>) {
        assert_eq!(planes.len(), self.len());
        let start = pixels.len();
        pixels.resize(start + self.len(), 0);
        let pixels = &mut pixels[start..];
        for (channel, plane) in planes.chunks_exact(self.height * self.width).enumerate() {
            match self.order {
                Order::Rows => {
                    for (pixel, &value) in pixels.chunks_exact_mut(self.channels).zip(plane) {
                        pixel[channel] = value;
                    }
                }
                Order::Columns => {
                    for (x, column) in plane.chunks_exact(self.height).enumerate() {
                        for (y, &value) in column.iter().enumerate() {
                            pixels[(y * self.width + x) * self.channels + channel] = value;
                        }
                    }
                }
            }
        }
    }

    /// Appends the next `n` images of a file to pixels, `[n, height, width, channels]`.
    pub(super) fn read(self, reader: &mut dyn Read, n: usize, pixels: &mut Vec<u8>) -> io::Result<()> {
        let mut planes = vec![0; self.len()];
        for _ in 0..n {
            reader.read_exact(&mut planes)?;
            self.append(&planes, pixels);
        }
        Ok(())
    }
}

/// Images of one size as they are read, in data-set order.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// `[N, height, width, channels]`.
    pub pixels: Vec<u8>,
    /// `[N]`, −1 for images without a label.
    pub labels: Vec<i64>,
    /// `[N]`.
    pub split: Vec<Split>,
}

impl Gathered {
    /// Makes place for more images, whose bytes a file is known to have.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub(super) fn reserve(&mut self, n: usize, image: Planar, path: &Path) -> Result<(), StageError> {
        let bytes = n.saturating_mul(image.len());
        let failed = |_| bad(path, format!("its images take {bytes} bytes, and there is not so much memory"));
        self.pixels.try_reserve_exact(bytes).map_err(failed)
    }

    /// Puts the images that are not yet of a split into one. Their labels are there.
    pub(super) fn are_of(&mut self, split: Split) {
        self.split.resize(self.labels.len(), split);
    }

    /// The data set of all images, which have the form given.
    ///
    /// # Panics
    /// When there are not as many pixels and splits as labels.
    pub(super) fn finish(self, name: impl Into<String>, classes: Vec<String>, image: Planar) -> ImageSet {
        let Self { pixels: bytes, labels, split } = self;
        assert_eq!((bytes.len(), split.len()), (labels.len() * image.len(), labels.len()));
        let Planar { height, width, channels, .. } = image;
        let images = Stored::Pixels(Pixels { height, width, channels, bytes });
        ImageSet { name: name.into(), classes, labels, split, images, names: None }
    }
}

/// Opens a file of records of some bytes each. Returns it and the number of records, which its size says.
///
/// # Errors
/// Where it cannot be opened, is empty, or ends within a record.
pub(super) fn open_records(path: &Path, record: usize) -> Result<(BufReader<File>, usize), StageError> {
    let file = File::open(path).map_err(StageError::io(path))?;
    let bytes = file.metadata().map_err(StageError::io(path))?.len();
    if bytes == 0 || !bytes.is_multiple_of(record as u64) {
        let found = format!("it has {bytes} bytes, expected a multiple of {record}; was it copied whole?");
        return Err(bad(path, found));
    }
    let records = usize::try_from(bytes / record as u64);
    let records = records.map_err(|_| bad(path, format!("it has {bytes} bytes, too many")))?;
    Ok((BufReader::with_capacity(1 << 16, file), records))
}

/// Class names from a text file of one a line, where there is one.
///
/// # Errors
/// Where it cannot be read, or does not name as many classes as are expected.
pub(super) fn class_names(path: &Path, expected: usize) -> Result<Option<Vec<String>>, StageError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StageError::io(path)(error)),
    };
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    match names.len() == expected {
        true => Ok(Some(names)),
        false => Err(bad(path, format!("it names {} classes, expected {expected}", names.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels_by_rows_and_by_columns() {
        // Two channels of two rows and three columns; a value is 100·channel + 10·row + column.
        let (height, width, channels) = (2, 3, 2);
        let expected = [0, 100, 1, 101, 2, 102, 10, 110, 11, 111, 12, 112];
        let rows = [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112];
        let columns = [0, 10, 1, 11, 2, 12, 100, 110, 101, 111, 102, 112];
        for (order, planes) in [(Order::Rows, rows), (Order::Columns, columns)] {
            let mut pixels = vec![7];
            Planar { height, width, channels, order }.append(&planes, &mut pixels);
            assert_eq!((pixels[0], &pixels[1..]), (7, &expected[..]), "{order:?}");
        }
    }
}
