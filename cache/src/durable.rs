//! Writing that survives a crash: a private file, synced, put in place by one rename or link, the folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Makes the entries of a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a folder whose parent exists, durably; one that is there already is fine.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(dir.parent().expect("a folder of the store has a parent")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes `bytes` under `path`, whole or not at all; an existing file is replaced.
pub fn write(path: &Path, bytes: &[u8], staging: &Path) -> io::Result<()> {
    let dir = path.parent().expect("a record's path has a folder");
    make_dir(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(staging)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}
