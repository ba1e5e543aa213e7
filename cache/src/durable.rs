//! Writing that survives a crash: a private file, synced, put in place by one rename or link, the folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Makes the entries of a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes `bytes` under `path`, whole or not at all; an existing file is replaced.
pub fn write(path: &Path, bytes: &[u8], staging: &Path) -> io::Result<()> {
    let dir = path.parent().expect("a record's path has a folder");
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(staging)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Writes `bytes` under `path` unless something is there already; says whether this call created it.
pub fn write_new(path: &Path, bytes: &[u8], staging: &Path) -> io::Result<bool> {
    let dir = path.parent().expect("a record's path has a folder");
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(staging)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_dir(dir).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}
