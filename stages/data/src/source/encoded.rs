//! Encoded images, as a source finds them, and the way to their bytes.

use std::borrow::Cow;
use std::path::PathBuf;

use ablate_stage::StageError;

use super::hugging_face::Shards;
use crate::{ImageError, Paths, decode};

/// Encoded images in data-set order.
#[derive(Clone, Debug)]
pub(crate) enum Encoded {
    /// Files below a folder.
    Files {
        /// The folder, as it is written in the pipeline.
        folder: PathBuf,
        /// The folder, absolute.
        absolute: PathBuf,
        /// Where each image is below it.
        paths: Paths,
    },
    /// Rows of Parquet files.
    Shards(Shards),
}

/// One encoded image.
#[derive(Debug)]
pub(crate) enum Item {
    /// A file, not read yet.
    File(PathBuf),
    /// Bytes, and what they are called.
    Bytes(String, Vec<u8>),
}

impl Item {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File(path) => path.to_string_lossy(),
            Self::Bytes(name, _) => name.into(),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, ImageError> {
        match self {
            Self::File(path) => match decode::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(reason) => Err(ImageError::new(self.name(), reason)),
            },
            Self::Bytes(_, bytes) => Ok(bytes.into()),
        }
    }
}

impl Encoded {
    /// Calls `take` with the images of the given rows, which ascend, in order and some at a time.
    ///
    /// # Errors
    /// Where a file of many images cannot be read; what `take` returns.
    pub(crate) fn for_each_chunk(
        &self,
        rows: &[u32],
        mut take: impl FnMut(Vec<Item>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        /// Enough to keep every thread busy, and little to hold.
        const AT_ONCE: usize = 256;
        match self {
            Self::Files { absolute, paths, .. } => rows.chunks(AT_ONCE).try_for_each(|rows| {
                take(rows.iter().map(|&row| Item::File(absolute.join(paths.get(row as usize)))).collect())
            }),
            Self::Shards(shards) => shards.for_each_chunk(rows, AT_ONCE, take),
        }
    }

    /// What the images of the given rows are called: paths below the folder, or a file and a row.
    pub(crate) fn names(&self, rows: &[u32]) -> Paths {
        match self {
            Self::Files { paths, .. } => paths.select(rows),
            Self::Shards(shards) => shards.names(rows),
        }
    }
}
