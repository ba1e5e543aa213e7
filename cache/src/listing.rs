//! What lies in the folders of the store.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::{StoreError, failed};

/// The entries of one of the folders of records.
pub struct Listing {
    /// 64 lower-case hexadecimal digits, and where the record of that name lies; in order.
    pub records: Vec<(String, PathBuf)>,
    /// What has no name that the store gives.
    pub strays: Vec<PathBuf>,
    /// What lies where a folder of records belongs.
    pub not_folders: Vec<PathBuf>,
}

impl Listing {
    /// Reads a folder of records and the folders in it.
    ///
    /// # Errors
    /// [`StoreError::Io`] where one of them cannot be listed: half a listing would let gc take what is in use.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let mut listing = Self { records: Vec::new(), strays: Vec::new(), not_folders: Vec::new() };
        for shard in entries(folder)? {
            let Some(start) = hex_name(&shard, 2) else {
                listing.strays.push(shard);
                continue;
            };
            if !fs::symlink_metadata(&shard).map_err(failed("cannot read", &shard))?.is_dir() {
                listing.not_folders.push(shard);
                continue;
            }
            for path in entries(&shard)? {
                match hex_name(&path, 62) {
                    Some(end) => listing.records.push((format!("{start}{end}"), path)),
                    None => listing.strays.push(path),
                }
            }
        }
        Ok(listing)
    }
}

/// The name of an entry, if it is that many lower-case hexadecimal digits.
pub fn hex_name(path: &Path, len: usize) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    (name.len() == len && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(name)
}

/// The entries of a folder, in order.
///
/// # Errors
/// [`StoreError::Io`].
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = listed.map_err(failed("cannot list", folder))?;
    paths.sort();
    Ok(paths)
}
