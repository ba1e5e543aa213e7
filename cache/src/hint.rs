//! What was seen of files outside the store when they were last hashed, so that what has not changed is not hashed
//! again.
//!
//! A hint never says what a file holds, only that it looks as it did when it held that. The store keeps one record for
//! each folder of such files; one that is damaged or missing costs the hashing, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::{Digest, Durability, Store, durable, record};

/// A file that changed less than this before it was hashed may change again within the same tick of its file system's
/// clock, and look the same: FAT counts in steps of two seconds.
const CLEARLY_OLDER: Duration = Duration::from_secs(2);

/// The hints of a folder with a million files are some 200 MB.
const MAX_BYTES: u64 = 1 << 30;

/// How a file looks without being read. The time of the last change of status is set by the kernel alone, so that a file
/// whose time of modification was set back does not pass for the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    size: u64,
    device: u64,
    inode: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl Look {
    /// Of the file at a path, links not followed.
    ///
    /// # Errors
    /// Where there is none, or it cannot be looked at.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|meta| Self::of(&meta))
    }

    /// Of the file whose metadata this is.
    pub fn of(meta: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: meta.len(),
            device: meta.dev(),
            inode: meta.ino(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether every change from `moment` on will be seen in it.
    pub fn is_clearly_older(&self, moment: SystemTime) -> bool {
        let before = moment.checked_sub(CLEARLY_OLDER).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let before = before.and_then(|before| i64::try_from(before.as_nanos()).ok());
        before.is_some_and(|before| self.modified_ns.max(self.changed_ns) < before)
    }
}

/// What a file held, and how it looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    pub look: Look,
    pub digest: Digest,
}

/// The hints of the files in a folder, by name; that of a file on its own has no name.
pub type Hints = BTreeMap<String, Hint>;

/// A record: a line with the digest of the rest, then this as JSON. `F` is [`Hints`], or nothing where only the path is
/// wanted.
#[derive(Serialize, Deserialize)]
struct Record<F> {
    /// What the hints are about, for gc.
    path: String,
    files: F,
}

impl<F: DeserializeOwned> Record<F> {
    fn read(path: &Path) -> Option<Self> {
        let text = record::text(path, MAX_BYTES).ok()?.whole()?;
        let (digest, body) = text.split_once('\n')?;
        let whole = Digest::of_bytes(body.as_bytes()).to_hex() == digest;
        whole.then(|| serde_json::from_str(body).ok())?
    }
}

impl Store {
    pub(crate) fn hint_path(&self, path: &Path) -> PathBuf {
        self.record("hints", &Digest::of_bytes(path.as_os_str().as_bytes()).to_hex())
    }

    /// The hints of a folder's files; none where there is no whole record of them.
    pub(crate) fn hints(&self, folder: &Path) -> Hints {
        Record::read(&self.hint_path(folder)).map(|record| record.files).unwrap_or_default()
    }

    /// Records the hints of a folder's files. Where that fails, they are hashed again the next time.
    pub(crate) fn put_hints(&self, folder: &Path, files: &Hints) {
        let record = Record { path: folder.to_string_lossy().into_owned(), files };
        let body = serde_json::to_string(&record).expect("hints are plain data with string keys");
        let text = format!("{}\n{body}", Digest::of_bytes(body.as_bytes()));
        let path = self.hint_path(folder);
        let placed = self.make_place(&path);
        // One that a loss of power damages is told by its digest.
        drop(placed.map(|()| durable::write(&path, text.as_bytes(), &self.staging(), Durability::None)));
    }
}

/// Whether the record at `path` is about nothing that is there.
pub fn is_stale(path: &Path) -> bool {
    Record::<IgnoredAny>::read(path).is_none_or(|record| !Path::new(&record.path).exists())
}
