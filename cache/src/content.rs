//! What files and folders outside the store hold.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use rayon::prelude::*;

use crate::hint::{Hint, Hints, Look};
use crate::{Digest, Store};

/// Whether a file that looks as it did when it was last hashed is taken to hold what it did then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rehash {
    /// It is: size, device, inode and both its times are as they were, and were not of the moment it was hashed.
    #[default]
    Changed,
    /// Everything is hashed.
    All,
}

/// A file on its own that is smaller is hashed sooner than its hint is found.
const WORTH_A_HINT: u64 = 1 << 20;

/// The folder in which Python keeps what it made of the sources beside it. It says nothing that they do not, and is written while a
/// program runs.
const PYTHON_CACHE: &str = "__pycache__";

/// Folders may be in folders so many times.
const DEEPEST: usize = 256;

impl Store {
    /// The content of a file or folder outside the store, which is told by an absolute path. That of a folder is the
    /// list of names and contents in it, in order of name; links are followed, and folders called `__pycache__`, in which Python
    /// keeps what it made of the sources beside them, are passed over. The files of a folder are hashed on all cores.
    ///
    /// What was found is remembered in the store, as far as that can be written, together with how the files looked;
    /// `now` is the time, and a file that changed just before it is not remembered.
    ///
    /// # Errors
    /// Where something cannot be read, or is neither a file nor a folder, or folders are nested without end.
    pub fn content_of(&self, path: &Path, rehash: Rehash, now: SystemTime) -> io::Result<Digest> {
        let meta = fs::metadata(path)?;
        let contents = Contents { store: self, rehash, now };
        if meta.is_dir() {
            return contents.folder(path, &meta, &mut Vec::new());
        }
        if meta.len() < WORTH_A_HINT {
            return contents.file(path, &meta, None).map(|hint| hint.digest);
        }
        let earlier = contents.earlier(path);
        let hint = contents.file(path, &meta, earlier.get(""))?;
        contents.remember(path, &earlier, [(String::new(), hint)]);
        Ok(hint.digest)
    }
}

struct Contents<'s> {
    store: &'s Store,
    rehash: Rehash,
    now: SystemTime,
}

/// An entry of a folder.
enum Entry {
    File(Hint),
    Folder(Metadata),
}

impl Contents<'_> {
    fn earlier(&self, folder: &Path) -> Hints {
        match self.rehash {
            Rehash::Changed => self.store.hints(folder),
            Rehash::All => Hints::new(),
        }
    }

    /// `above` are the device and inode of each folder on the way.
    fn folder(&self, path: &Path, meta: &Metadata, above: &mut Vec<(u64, u64)>) -> io::Result<Digest> {
        let this = (meta.dev(), meta.ino());
        if above.contains(&this) || above.len() == DEEPEST {
            let why = "is a folder within itself, by a link, or within too many others";
            return Err(io::Error::other(format!("{} {why}", path.display())));
        }
        above.push(this);
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<OsString>>>()?;
        names.retain(|name| name != PYTHON_CACHE);
        names.sort();
        let earlier = self.earlier(path);
        let look = |name: &OsString| {
            let path = path.join(name);
            let meta = fs::metadata(&path).map_err(|error| at(&path, error))?;
            if meta.is_dir() {
                return Ok(Entry::Folder(meta));
            }
            let hint = earlier.get(hint_name(name).as_ref());
            Ok(Entry::File(self.file(&path, &meta, hint).map_err(|error| at(&path, error))?))
        };
        let entries = names.par_iter().map(look).collect::<io::Result<Vec<Entry>>>()?;
        let mut listing = String::from("folder\n");
        let mut hints = Vec::new();
        for (name, entry) in names.iter().zip(entries) {
            let digest = match entry {
                Entry::Folder(meta) => self.folder(&path.join(name), &meta, above)?,
                Entry::File(hint) => {
                    hints.push((hint_name(name).into_owned(), hint));
                    hint.digest
                }
            };
            writeln!(listing, "{} {digest}", listed(name)).expect("a string takes any text");
        }
        self.remember(path, &earlier, hints);
        above.pop();
        Ok(Digest::of_bytes(listing.as_bytes()))
    }

    fn file(&self, path: &Path, meta: &Metadata, hint: Option<&Hint>) -> io::Result<Hint> {
        if !meta.is_file() {
            return Err(io::Error::other("neither a file nor a folder"));
        }
        if let Some(hint) = hint.filter(|hint| hint.look == Look::of(meta)) {
            return Ok(*hint);
        }
        let file = File::open(path)?;
        // As it looks before it is read: what changes it from here on changes the look.
        let look = Look::of(&file.metadata()?);
        let (digest, _) = Digest::of_open_file(&file, |_| {})?;
        Ok(Hint { look, digest })
    }

    /// Records the hints that can be trusted, unless that is what is recorded.
    fn remember(&self, folder: &Path, earlier: &Hints, hints: impl IntoIterator<Item = (String, Hint)>) {
        let is_safe =
            |name: &str, hint: &Hint| hint.look.is_clearly_older(self.now) || earlier.get(name) == Some(hint);
        let later: Hints = hints.into_iter().filter(|(name, hint)| is_safe(name, hint)).collect();
        // After everything was hashed, what an earlier record says counts for nothing.
        if self.rehash == Rehash::All || later != *earlier {
            self.store.put_hints(folder, &later);
        }
    }
}

/// A name in quotes; one that is no text as its bytes, so that no two names are listed alike.
fn listed(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) => format!("{text:?}"),
        None => format!("b\"{}\"", name.as_encoded_bytes().escape_ascii()),
    }
}

/// What the hint of a file goes by.
fn hint_name(name: &OsStr) -> Cow<'_, str> {
    name.to_str().map_or_else(|| Cow::Owned(listed(name)), Cow::Borrowed)
}

/// Says which entry of a folder it is.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
