//! The private folder of one attempt at an action.

use std::path::{Path, PathBuf};

use crate::durable;

/// A folder nobody else writes to; removed when dropped. What an attempt leaves behind by dying is removed by the
/// next attempt at the same action, and by [`crate::Store::collect`].
#[derive(Debug)]
pub struct Attempt {
    pub(crate) dir: PathBuf,
}

impl Attempt {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // A program that outlived the attempt may still be writing there: what stays is only garbage.
        drop(durable::remove_tree(&self.dir));
    }
}
