//! What [`crate::Store::verify`] finds.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::listing::hex_name;
use crate::{ActionDigest, Digest, Object};

/// Something wrong in the store.
#[derive(Debug)]
pub struct Finding {
    /// What should be there.
    pub record: Record,
    /// Where it should be.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
    /// Where it is now, if it was set aside.
    pub set_aside: Option<PathBuf>,
    /// For an object: the actions whose results name it. Doing one of them again makes it again.
    pub actions: Vec<ActionDigest>,
}

/// What an entry of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// The version of the layout.
    Format,
    /// A folder of the layout.
    Folder,
    /// The bytes of an artifact.
    Object(Digest),
    /// The text of a key.
    Manifest(ActionDigest),
    /// The result of an action.
    Result(ActionDigest),
    /// Nothing the store has put there.
    Stray,
}

/// What is wrong with an entry of the store.
#[derive(Debug, Error)]
pub enum Fault {
    /// It should be a file.
    #[error("is {0} in place of a file")]
    NotAFile(&'static str),
    /// It should be a folder.
    #[error("is {0} in place of a folder")]
    NotAFolder(&'static str),
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// The disk or its permissions do not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Its bytes are not those it was written with.
    #[error("has other bytes than it was written with")]
    OtherBytes,
    /// Its bytes are as written, and are not what they should be.
    #[error("is not a result: {0}")]
    Malformed(String),
    /// A result names an object that is not there. It counts as no result, and stays: it tells what was lost.
    #[error("names object {}, which is missing", .0.digest)]
    MissingObject(Object),
    /// A result names an object under another size than it has.
    #[error("says that object {} has {} bytes, and it has {found}", .named.digest, .named.size)]
    WrongSize {
        /// As the result names it.
        named: Object,
        /// Its size in bytes.
        found: u64,
    },
    /// The store has put nothing of that name there. It stays: it may be somebody's.
    #[error("does not belong to the store")]
    NotOurs,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.fault)
    }
}

impl Finding {
    pub(crate) fn new(record: Record, path: &Path, fault: Fault) -> Self {
        Self { record, path: path.to_owned(), fault, set_aside: None, actions: Vec::new() }
    }

    /// Whether it is in the way of a whole one.
    pub(crate) fn is_damage(&self) -> bool {
        let is_record = match self.record {
            Record::Object(_) | Record::Manifest(_) | Record::Result(_) => true,
            // Folders of records are made again when needed; those above them may be where they are for a reason.
            Record::Folder => hex_name(&self.path, 2).is_some(),
            Record::Format | Record::Stray => false,
        };
        let is_there = match self.fault {
            Fault::NotAFile(_)
            | Fault::NotAFolder(_)
            | Fault::Unreadable(_)
            | Fault::OtherBytes
            | Fault::Malformed(_)
            | Fault::WrongSize { .. } => true,
            Fault::Missing | Fault::MissingObject(_) | Fault::NotOurs => false,
        };
        is_record && is_there
    }
}
