//! Kernel locks: released by the death of their holder, so nothing is ever left to unlock by hand.
//!
//! A lock file may be removed by whoever holds its lock. So whoever gets a lock looks whether the file still has its
//! name, and else begins again with the file that has it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::record::Identity;
use crate::{ActionDigest, durable};

/// The right to perform one action on this machine; given up when dropped or when the process dies.
#[derive(Debug)]
pub struct ActionLock {
    pub(crate) action: ActionDigest,
    pub(crate) file: File,
}

impl ActionLock {
    /// The locked action.
    pub fn action(&self) -> &ActionDigest {
        &self.action
    }

    /// Another handle. The right is held until all are closed, in this process or in one that was given it.
    ///
    /// # Errors
    /// Where there cannot be another.
    pub fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// Keeps [`crate::Store::collect`] out until it is dropped or the process dies; any number may be held at once.
#[derive(Debug)]
pub struct Pin {
    pub(crate) _file: File,
}

/// Takes a lock that others must not hold at all, unless one does. The file is created where there is none.
pub fn try_exclusive(path: &Path) -> io::Result<Option<File>> {
    take(path, FlockOperation::NonBlockingLockExclusive, true)
}

/// Takes a lock that others must not hold at all, asking again until `wait` has passed.
pub fn exclusive_within(path: &Path, wait: Duration) -> io::Result<Option<File>> {
    let began = Instant::now();
    loop {
        let taken = try_exclusive(path)?;
        if taken.is_some() || began.elapsed() >= wait {
            return Ok(taken);
        }
        // flock has no time limit. Holders of a pin are quick, and a missed gap costs no more than this.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Takes a lock that others may share, waiting for one who does not.
pub fn shared(path: &Path) -> io::Result<File> {
    let taken = take(path, FlockOperation::LockShared, false)?;
    Ok(taken.expect("taking a lock that blocks does not end without it"))
}

fn take(path: &Path, operation: FlockOperation, write: bool) -> io::Result<Option<File>> {
    loop {
        let file = open(path, write)?;
        match flock(&file, operation) {
            Ok(()) if Identity::at(path)? == Some(Identity::of(&file.metadata()?)) => return Ok(Some(file)),
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a lock file, creating it where there is none. To share a lock, reading suffices, so that a store nobody may
/// write to can be pinned; to have it alone, network file systems ask for writing.
fn open(path: &Path, write: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).write(write).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => durable::make_lock_file(path),
        opened => opened,
    }
}
