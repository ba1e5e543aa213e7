//! Opening what lies in a record's place without trusting it: links are not followed, pipes do not block, and only
//! the record itself is blamed for what is wrong with it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::finding::Fault;

/// What lies in the place of a record.
pub enum Found<T> {
    /// Nothing.
    Absent,
    /// The record.
    Whole(T),
    /// Something that is not the record.
    Damaged(Fault),
}

impl<T> Found<T> {
    /// The record, if it is whole.
    pub fn whole(self) -> Option<T> {
        match self {
            Self::Whole(record) => Some(record),
            Self::Absent | Self::Damaged(_) => None,
        }
    }

    /// What is wrong, if something is.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Damaged(fault) => Some(fault),
            Self::Absent | Self::Whole(_) => None,
        }
    }

    /// Reads on, where there is something to read.
    pub fn and_then<U>(self, read: impl FnOnce(T) -> io::Result<Found<U>>) -> io::Result<Found<U>> {
        match self {
            Self::Whole(record) => read(record).or_else(blame),
            Self::Absent => Ok(Found::Absent),
            Self::Damaged(fault) => Ok(Found::Damaged(fault)),
        }
    }
}

/// Opens the regular file at `path`.
///
/// # Errors
/// What is no fault of the file: too many open files, say.
pub fn open(path: &Path) -> io::Result<Found<File>> {
    open_any(path)?.and_then(regular)
}

/// Opens what is at `path`. That a record was read is not recorded: it would make the file system write.
fn open_any(path: &Path) -> io::Result<Found<File>> {
    let open = |flags: OFlags| {
        let flags = (flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    };
    let opened = match open(OFlags::NOATIME) {
        // Only who owns a file may ask for that.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => open(OFlags::empty()),
        opened => opened,
    };
    opened.map_or_else(blame, |file| Ok(Found::Whole(file)))
}

fn regular(file: File) -> io::Result<Found<File>> {
    let meta = file.metadata()?;
    Ok(if meta.is_file() { Found::Whole(file) } else { Found::Damaged(Fault::NotAFile(kind(&meta))) })
}

/// Tells errors that come from the file from those that do not.
fn blame<T>(error: io::Error) -> io::Result<Found<T>> {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Absent),
        Some(Errno::LOOP) => Ok(Found::Damaged(Fault::NotAFile("a symlink"))),
        Some(Errno::NXIO) => Ok(Found::Damaged(Fault::NotAFile("a socket"))),
        Some(Errno::ACCESS | Errno::PERM | Errno::IO) => Ok(Found::Damaged(Fault::Unreadable(error))),
        _ => Err(error),
    }
}

/// Reads the text of the file at `path`; more than `max` bytes are not a record.
///
/// # Errors
/// As [`open`].
pub fn text(path: &Path, max: u64) -> io::Result<Found<String>> {
    open(path)?.and_then(|file| {
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes)?;
        Ok(String::from_utf8(bytes).map_or(Found::Damaged(Fault::OtherBytes), Found::Whole))
    })
}

/// What `reader`, which knows whether a text is whole, makes of the file at `path`; more than `max` bytes are not a record.
///
/// # Errors
/// As [`open`].
pub fn read<T>(path: &Path, max: u64, reader: impl Fn(&str) -> Found<T>) -> io::Result<Found<T>> {
    // A plan is mostly these reads. Most records are short and whole: they come with one call, and nothing more is asked. Of
    // what is no file, nothing is read at a place.
    if let Found::Whole(file) = open_any(path)? {
        let mut short = [0; SHORT];
        if let Ok(len @ 1..SHORT) = file.read_at(&mut short, 0)
            && let Ok(text) = std::str::from_utf8(&short[..len])
            && let whole @ Found::Whole(_) = reader(text)
        {
            return Ok(whole);
        }
    }
    text(path, max)?.and_then(|text| Ok(reader(&text)))
}

/// More bytes than most records have.
const SHORT: usize = 4096;

/// What a file system entry is, with its article.
pub fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Which file it is that has a name at the moment: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// Of an entry whose metadata were read.
    pub fn of(meta: &Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }

    /// Of the entry at `path`, without following it; none where there is nothing.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Self::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
