//! Kernel locks: released by the death of their holder, so nothing is ever left to unlock by hand.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};

use crate::ActionDigest;

/// The right to perform one action on this machine; given up when dropped or when the process dies.
#[derive(Debug)]
pub struct ActionLock {
    action: ActionDigest,
    _file: File,
}

impl ActionLock {
    /// Takes the lock if nobody holds it.
    pub(crate) fn attempt(action: ActionDigest, file: File) -> io::Result<Option<Self>> {
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { action, _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The locked action.
    pub fn action(&self) -> &ActionDigest {
        &self.action
    }
}
