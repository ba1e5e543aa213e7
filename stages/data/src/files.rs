//! Encoded images that stay where they are on disk, and are read and decoded when they are asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ablate_stage::cache::Digest;
use thiserror::Error;

use crate::augment::Extent;
use crate::{ChannelStats, Image, Resizing, decode};

/// `N` encoded images below a folder; their paths are their names in the set. In memory an image takes the bytes of its path and
/// some 60 more, whatever its size.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// The folder, as it is written in the pipeline.
    pub folder: PathBuf,
    /// The folder, absolute.
    pub absolute: PathBuf,
    /// BLAKE3 of each file, `[N]`.
    pub digests: Vec<Digest>,
    /// Height and width of each image as it is stored, in pixels, `[N]`.
    pub sizes: Vec<[u32; 2]>,
    /// What is made of each image before anything else.
    pub resize: Option<Resizing>,
    /// Over the images that [`ImageSet::channel_stats`](crate::ImageSet::channel_stats) names.
    pub stats: ChannelStats,
}

/// Paths, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// The paths' bytes.
    pub bytes: Vec<u8>,
    /// Where each ends in them, `[N]`.
    pub ends: Vec<i64>,
}

/// An image that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: {reason}")]
pub struct ImageError {
    /// The file, or the row in one.
    pub name: String,
    /// What is wrong with it, as a clause.
    pub reason: String,
}

impl ImageError {
    /// About the image called `name`.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

impl Paths {
    /// Number of paths.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The path in a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn get(&self, row: usize) -> &Path {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        Path::new(OsStr::from_bytes(&self.bytes[start as usize..self.ends[row] as usize]))
    }

    /// Adds a path.
    pub fn push(&mut self, path: &Path) {
        self.bytes.extend_from_slice(path.as_os_str().as_bytes());
        self.ends.push(self.bytes.len() as i64);
    }

    /// The paths of the given rows, in the given order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        rows.iter().map(|&row| self.get(row as usize)).collect()
    }

    /// From its parts, as an artifact holds them.
    ///
    /// # Errors
    /// Where the ends are not in order, or a path leaves the folder it is below.
    pub fn new(bytes: Vec<u8>, ends: Vec<i64>) -> Result<Self, String> {
        if !ends.is_sorted()
            || ends.first().is_some_and(|&end| end < 0)
            || ends.last() != Some(&(bytes.len() as i64))
        {
            return Err("`path_ends` does not divide `paths`".to_owned());
        }
        let paths = Self { bytes, ends };
        let inside = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        match (0..paths.len())
            .map(|row| paths.get(row))
            .find(|path| path.as_os_str().is_empty() || !inside(path))
        {
            Some(path) => Err(format!("the path {} leaves its folder", path.display())),
            None => Ok(paths),
        }
    }
}

impl<P: AsRef<Path>> FromIterator<P> for Paths {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut all = Self::default();
        paths.into_iter().for_each(|path| all.push(path.as_ref()));
        all
    }
}

impl Files {
    /// The image in a row, whose path below the folder is `path`: red, green and blue.
    ///
    /// # Errors
    /// Where its file cannot be read, or is not what it was when the data set was read.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn image(&self, row: usize, path: &Path) -> Result<Image, ImageError> {
        let path = self.absolute.join(path);
        let bad = |reason: String| ImageError::new(path.display().to_string(), reason);
        let bytes = decode::read(&path).map_err(bad)?;
        if Digest::of_bytes(&bytes) != self.digests[row] {
            return Err(bad(
                "it is not what it was when the data set was read; run again, with the old file back or \
                            from the new one"
                    .to_owned(),
            ));
        }
        decode::decode_resized(&bytes, self.resize).map(|(image, _)| image).map_err(bad)
    }

    /// What is known of the sizes of the images.
    pub fn extent(&self) -> Extent {
        let sides = |side: usize| self.sizes.iter().map(move |size| size[side] as usize);
        let range = |side| (sides(side).min().unwrap_or(0), sides(side).max().unwrap_or(0));
        let ((height, most_height), (width, most_width)) = (range(0), range(1));
        let stored = Extent { height, width, exact: (height, width) == (most_height, most_width) };
        self.resize.map_or(stored, |resize| resize.extent(stored))
    }

    /// The images of the given rows, in the given order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(self, rows: &[u32]) -> Self {
        let rows = || rows.iter().map(|&row| row as usize);
        Self {
            digests: rows().map(|row| self.digests[row]).collect(),
            sizes: rows().map(|row| self.sizes[row]).collect(),
            ..self
        }
    }
}
