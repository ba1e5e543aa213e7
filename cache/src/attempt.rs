//! The private folder of one attempt at an action.

use std::path::Path;

use tempfile::TempDir;

/// A folder nobody else writes to; removed when dropped. What an attempt leaves behind by dying is removed by the
/// next attempt at the same action.
#[derive(Debug)]
pub struct Attempt {
    pub(crate) dir: TempDir,
}

impl Attempt {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}
