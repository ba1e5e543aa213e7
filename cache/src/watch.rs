//! Objects in use. A stage reads them for as long as it runs, and who may write to a store's folders may write to them by force.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use crate::hint::Look;
use crate::store::failed;
use crate::{Digest, Store, StoreError};

/// An object that was verified, and can be looked at again when it was read.
#[derive(Debug)]
pub struct Watched {
    digest: Digest,
    path: PathBuf,
    /// What was verified, whatever has the name later.
    file: File,
    look: Look,
}

impl Watched {
    /// What the object is named by.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still has the bytes it was verified with. They are read only where something was done to the file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn is_unaltered(&mut self) -> io::Result<bool> {
        if Look::of(&self.file.metadata()?) == self.look {
            return Ok(true);
        }
        self.file.rewind()?;
        Ok(Digest::of_reader(&self.file)? == self.digest)
    }
}

impl Store {
    /// [`Store::verified`], to be looked at again.
    ///
    /// # Errors
    /// Those of [`Store::verified`].
    pub fn watch(&self, digest: &Digest) -> Result<Watched, StoreError> {
        loop {
            let path = self.object_path(digest);
            let opened = File::open(&path).and_then(|file| Ok((Look::of(&file.metadata()?), file)));
            let path = self.verified(digest)?;
            let (look, file) = opened.map_err(failed("cannot read", &path))?;
            // Another file may have taken its place before it was verified.
            if Look::at(&path).is_ok_and(|now| now == look) {
                return Ok(Watched { digest: *digest, path, file, look });
            }
        }
    }
}
