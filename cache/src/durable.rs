//! Every change this crate makes to the disk, one function each, so that a test can stop the program before and after
//! every one of them.
//!
//! Writing survives a crash: a private file, synced, put in place by one rename, the folder synced.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use crate::fail_point::{Side, reach};

/// Whether the store waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Bytes are on the disk before a name or a record leads to them: a store survives the loss of power.
    #[default]
    Sync,
    /// The system writes when it likes: a store survives the death of any process, and after a loss of power holds
    /// records or objects that [`crate::Store::verify`] finds. For throwaway stores and for comparison with tools
    /// that never wait.
    None,
}

/// One change to the disk, known to the tests by its name.
fn step<T>(name: &'static str, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    reach(name, Side::Before)?;
    let changed = change()?;
    reach(name, Side::After)?;
    Ok(changed)
}

/// Makes a file's bytes durable.
pub fn sync_file(file: &File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Sync => step("sync file", || file.sync_all()),
        Durability::None => Ok(()),
    }
}

/// Makes the entries of a folder durable.
pub fn sync_dir(dir: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Sync => step("sync folder", || File::open(dir)?.sync_all()),
        Durability::None => Ok(()),
    }
}

/// Makes a folder whose parent exists, durably; one that is there already is fine.
pub fn make_dir(dir: &Path, durability: Durability) -> io::Result<()> {
    match step("make folder", || fs::create_dir(dir)) {
        Ok(()) => sync_dir(dir.parent().expect("a folder of the store has a parent"), durability),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dir(dir) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Makes a folder and those above it, without waiting for the disk.
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    step("make folders", || fs::create_dir_all(dir))
}

/// Makes a folder of a new name, without waiting for the disk.
pub fn make_new_dir(folder: &Path, prefix: &str) -> io::Result<PathBuf> {
    step("make new folder", || {
        tempfile::Builder::new().prefix(prefix).tempdir_in(folder).map(tempfile::TempDir::keep)
    })
}

/// Makes an empty file for the kernel to lock; one that is there already is fine.
pub fn make_lock_file(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
    step("make lock file", || options.open(path))
}

/// Writes `bytes` under `path`, whole or not at all; an existing file is replaced. Its folder must exist.
pub fn write(path: &Path, bytes: &[u8], staging: &Path, durability: Durability) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.permissions(Permissions::from_mode(0o644));
    let mut file = step("make staging file", || builder.tempfile_in(staging))?;
    step("write", || file.write_all(bytes))?;
    sync_file(file.as_file(), durability)?;
    step("rename record", || file.persist(path).map_err(|error| error.error))?;
    sync_dir(path.parent().expect("a record's path has a folder"), durability)
}

/// Moves what lies at `from` to `to`, replacing a file there.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("rename", || fs::rename(from, to))
}

/// Gives a file a second name, unless something has that name.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    step("link", || fs::hard_link(from, to))
}

/// Gives a file that has other names bytes of its own: who writes to it by those would write to this one.
pub fn make_sole(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.nlink() > 1 => {}
        Ok(_) | Err(_) => return Ok(()),
    }
    let copy = path.with_extension("sole");
    step("copy", || fs::copy(path, &copy))?;
    rename(&copy, path)
}

/// Makes a file read-only for everybody.
pub fn protect(file: &File) -> io::Result<()> {
    step("protect", || file.set_permissions(Permissions::from_mode(0o444)))
}

/// Sets a file's time of modification to now, by the kernel's clock.
pub fn freshen(file: &File) -> io::Result<()> {
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: keep, last_modification: now };
    step("freshen", || Ok(futimens(file, &times)?))
}

/// Removes a file; one that is gone already is fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    gone_is_fine(step("remove file", || fs::remove_file(path)))
}

/// Removes a file, or a folder with all that is in it; links are removed, not followed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let remove = || if is_dir(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone_is_fine(step("remove tree", remove))
}

fn gone_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
