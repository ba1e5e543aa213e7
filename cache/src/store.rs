//! The store on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::finding::Fault;
use crate::listing::{Listing, entries};
use crate::lock::{self, Pin};
use crate::record::{self, Found, Identity};
use crate::{
    ActionDigest, ActionLock, ActionResult, Attempt, Digest, Durability, Object, Published, durable,
};

pub(crate) const FORMAT: &str = "ablate store 1\n";

/// No result or manifest is larger.
const MAX_RECORD_BYTES: u64 = 64 << 20;

pub(crate) const FOLDERS: [&str; 10] =
    ["objects", "manifests", "results", "attempts", "scratch", "locks", "bad", "runs", "staging", "hints"];

/// The lock in `locks/` that pins share and that gc wants alone.
pub(crate) const COLLECT_LOCK: &str = "collect";

/// Why the store could not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as "cannot read".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds something else, or a store of another format.
    #[error("{} is not a store this version can use: its format is {found:?}, expected {FORMAT:?}", path.display())]
    Format {
        /// The store's root.
        path: PathBuf,
        /// The format line found.
        found: String,
    },
    /// An object is not there.
    #[error("object {0} is not in the store")]
    Missing(Digest),
    /// An object's bytes had changed; it was set aside.
    #[error("object {digest} was damaged; the damaged file is now {}", set_aside.display())]
    Damaged {
        /// The digest its bytes should have.
        digest: Digest,
        /// Where the damaged file is.
        set_aside: PathBuf,
    },
    /// An output is not a regular file.
    #[error("{} is {found}; only files can be outputs", path.display())]
    NotAFile {
        /// The output.
        path: PathBuf,
        /// What it is, as "a symlink".
        found: &'static str,
    },
    /// Others kept gc out for as long as it was to wait.
    #[error("{} is in use: results were being recorded all the time; nothing was removed", path.display())]
    Busy {
        /// The store's root.
        path: PathBuf,
    },
}

pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

/// A content-addressed store and action cache under one folder. Any number of processes may use one at once.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    durability: Durability,
}

impl Store {
    /// Opens the store at `root`, creating it where there is none. A store that is there may be read-only.
    ///
    /// # Errors
    /// [`StoreError::Format`] where the folder holds something else or another format; [`StoreError::Io`] where it
    /// cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let format = root.join("FORMAT");
        match record::text(&format, MAX_RECORD_BYTES).map_err(failed("cannot read", &format))? {
            Found::Whole(found) if found == FORMAT => Self::mend(root)?,
            Found::Whole(found) => return Err(StoreError::Format { path: root.to_owned(), found }),
            Found::Absent => Self::create(root)?,
            Found::Damaged(Fault::Unreadable(error)) => return Err(failed("cannot read", &format)(error)),
            Found::Damaged(fault) => {
                return Err(StoreError::Format { path: root.to_owned(), found: fault.to_string() });
            }
        }
        let root = root.canonicalize().map_err(failed("cannot find", root))?;
        Ok(Self { root, durability: Durability::Sync })
    }

    /// The same store, with another way of writing to the disk from here on.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Opens the store at `root` to look at what it holds. Where there is none, it holds nothing, and none is made.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn look(root: &Path) -> Result<Self, StoreError> {
        if root.exists() {
            return Self::open(root);
        }
        let root = std::path::absolute(root).map_err(failed("cannot find", root))?;
        Ok(Self { root, durability: Durability::Sync })
    }

    /// Creates the folders, then `FORMAT`, which says that they are all there. Any number of processes may do so at once.
    fn create(root: &Path) -> Result<(), StoreError> {
        durable::make_dirs(root).map_err(failed("cannot create", root))?;
        for entry in entries(root)? {
            let name = entry.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| name != "FORMAT" && !FOLDERS.contains(&name)) {
                let found = format!("none, and it holds `{}`", entry.display());
                return Err(StoreError::Format { path: root.to_owned(), found });
            }
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            durable::make_dir(&path, Durability::Sync).map_err(failed("cannot create", &path))?;
        }
        // It is there from the beginning, so that a store that has become read-only can be pinned.
        let lock = root.join("locks").join(COLLECT_LOCK);
        drop(durable::make_lock_file(&lock).map_err(failed("cannot create", &lock))?);
        let path = root.join("FORMAT");
        durable::write(&path, FORMAT.as_bytes(), &root.join("staging"), Durability::Sync)
            .map_err(failed("cannot write", &path))
    }

    /// Makes folders again that people have deleted, as they may while nothing runs; not in a store that is read-only.
    fn mend(root: &Path) -> Result<(), StoreError> {
        for path in FOLDERS.map(|folder| root.join(folder)) {
            if path.exists() {
                continue;
            }
            match durable::make_dir(&path, Durability::Sync) {
                Err(error) if is_refused(&error) => {}
                made => made.map_err(failed("cannot create", &path))?,
            }
        }
        Ok(())
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Where journals of runs are kept.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn record(&self, folder: &str, hex: &str) -> PathBuf {
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + folder.len() + hex.len() + 3);
        path.extend([self.root.as_path(), folder.as_ref(), hex[..2].as_ref(), hex[2..].as_ref()]);
        path
    }

    /// Makes the folder of a record and clears its place of what a rename cannot replace.
    pub(crate) fn make_place(&self, path: &Path) -> Result<(), StoreError> {
        let dir = path.parent().expect("a record's path has a folder");
        while let Err(error) = durable::make_dir(dir, self.durability) {
            match Identity::at(dir).map_err(failed("cannot read", dir))? {
                Some(seen) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.set_aside(dir, seen)?;
                }
                Some(_) | None => return Err(failed("cannot create", dir)(error)),
            }
        }
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => self.set_aside(path, Identity::of(&meta)).map(drop),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn write_record(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        self.make_place(path)?;
        durable::write(path, text.as_bytes(), &self.staging(), self.durability)
            .map_err(failed("cannot write", path))
    }

    /// Moves a damaged entry into `bad/`, and says where it is. None where another has moved it, or has put a whole
    /// one into its place since it was `seen`: look again.
    pub(crate) fn set_aside(&self, path: &Path, seen: Identity) -> Result<Option<PathBuf>, StoreError> {
        let cannot = "cannot set aside the damaged";
        let name = path.strip_prefix(&self.root).expect("a record is in the store").to_string_lossy();
        let bad = self.root.join("bad");
        let holder = durable::make_new_dir(&bad, &format!("{}-", name.replace('/', "-")))
            .map_err(failed(cannot, path))?;
        let target = holder.join("damaged");
        let moved = match durable::rename(path, &target) {
            Ok(()) => Identity::at(&target).map_err(failed("cannot read", &target))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(cannot, path)(error)),
        };
        if moved == Some(seen) {
            return Ok(Some(target));
        }
        if moved.is_some() {
            match durable::link(&target, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("cannot put back", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        durable::remove_tree(&holder).map_err(failed("cannot remove", &holder))?;
        Ok(None)
    }

    // Objects

    /// Where an object lies that is there. Its bytes may be damaged: [`Store::verified`] is for what results depend on.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.record("objects", &digest.to_hex())
    }

    /// Moves a finished file into the store. The file must be on the store's file system, as an [`Attempt`] is, and
    /// nobody may write to it any more: who cuts it short may kill this process. Hold a [`Store::pin`] from before this until the result that names the object
    /// is published: else gc may take it in between.
    ///
    /// # Errors
    /// [`StoreError::NotAFile`]; [`StoreError::Io`], and the file may then still be where it was.
    pub fn insert_file(&self, path: &Path) -> Result<Object, StoreError> {
        let _pin = self.pin()?;
        durable::make_sole(path).map_err(failed("cannot copy", path))?;
        let file = match record::open(path).map_err(failed("cannot open", path))? {
            Found::Whole(file) => file,
            Found::Absent => return Err(failed("cannot open", path)(io::ErrorKind::NotFound.into())),
            Found::Damaged(Fault::NotAFile(found)) => {
                return Err(StoreError::NotAFile { path: path.to_owned(), found });
            }
            Found::Damaged(fault) => return Err(failed("cannot open", path)(io::Error::other(fault))),
        };
        let (digest, size) = Digest::of_private_file(&file, path).map_err(failed("cannot read", path))?;
        durable::protect(&file).map_err(failed("cannot set the mode of", path))?;
        // Its age in the store is what gc goes by, not how long ago the stage wrote it.
        durable::freshen(&file).map_err(failed("cannot set the time of", path))?;
        durable::sync_file(&file, self.durability).map_err(failed("cannot sync", path))?;
        let target = self.object_path(&digest);
        self.make_place(&target)?;
        durable::rename(path, &target).map_err(failed("cannot place", &target))?;
        let dir = target.parent().expect("an object's path has a folder");
        durable::sync_dir(dir, self.durability).map_err(failed("cannot sync", dir))?;
        Ok(Object { digest, size })
    }

    /// Puts bytes into the store. Nothing is written where they are there already, whole.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn insert_bytes(&self, bytes: &[u8]) -> Result<Object, StoreError> {
        let object = Object { digest: Digest::of_bytes(bytes), size: bytes.len() as u64 };
        let path = self.object_path(&object.digest);
        let is_whole = || fs::read(&path).is_ok_and(|found| found == bytes);
        if !(self.contains(&object) && is_whole()) {
            self.make_place(&path)?;
            durable::write(&path, bytes, &self.staging(), self.durability)
                .map_err(failed("cannot write", &path))?;
        }
        Ok(object)
    }

    /// Whether an object of that size is there. Its bytes are not read.
    pub fn contains(&self, object: &Object) -> bool {
        fs::symlink_metadata(self.object_path(&object.digest))
            .is_ok_and(|meta| meta.is_file() && meta.len() == object.size)
    }

    /// The path of an object whose bytes were just verified.
    ///
    /// What is guaranteed: when this returns, the regular file of that name held the right bytes. Between that and
    /// the reading, no process of ablate changes it: objects are read-only and only ever replaced, whole, by the same
    /// bytes. [`Store::collect`] may remove it, unless it is live or a [`Store::pin`] is held; who has opened it
    /// keeps it. A disk that goes bad in between, or somebody who writes into the store by force, is seen at the next
    /// read.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Damaged`] after setting the object aside; [`StoreError::Io`] where that
    /// cannot be done, or where the object could not be looked at for reasons that are not its own.
    pub fn verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let path = self.object_path(digest);
        loop {
            let seen = Identity::at(&path).map_err(failed("cannot read", &path))?;
            let found = check_object(&path, digest, |_| {}).map_err(failed("cannot read", &path))?;
            match (found, seen) {
                (Found::Whole(()), _) => return Ok(path),
                (Found::Absent, _) => return Err(StoreError::Missing(*digest)),
                (Found::Damaged(_), Some(seen)) => {
                    if let Some(set_aside) = self.set_aside(&path, seen)? {
                        return Err(StoreError::Damaged { digest: *digest, set_aside });
                    }
                }
                // It came in between; look again.
                (Found::Damaged(_), None) => {}
            }
        }
    }

    // Actions

    /// Records the text of an action's key and returns the key. A manifest that is there already is young again.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_manifest(&self, manifest: &str) -> Result<ActionDigest, StoreError> {
        let _pin = self.pin()?;
        let action = ActionDigest::of_manifest(manifest);
        let path = self.manifest_path(&action);
        let standing = match self.read_manifest(&action).map_err(failed("cannot read", &path))? {
            Found::Whole(_) => record::open(&path).map_err(failed("cannot read", &path))?.whole(),
            Found::Absent | Found::Damaged(_) => None,
        };
        // Somebody else's file cannot be made young, but it can be replaced.
        if standing.is_none_or(|file| durable::freshen(&file).is_err()) {
            self.write_record(&path, manifest)?;
        }
        Ok(action)
    }

    pub(crate) fn manifest_path(&self, action: &ActionDigest) -> PathBuf {
        self.record("manifests", &action.to_hex())
    }

    /// The manifest of an action, if it is there and whole.
    pub fn manifest(&self, action: &ActionDigest) -> Option<String> {
        self.read_manifest(action).ok()?.whole()
    }

    pub(crate) fn read_manifest(&self, action: &ActionDigest) -> io::Result<Found<String>> {
        record::text(&self.manifest_path(action), MAX_RECORD_BYTES)?.and_then(|text| {
            let whole = ActionDigest::of_manifest(&text) == *action;
            Ok(if whole { Found::Whole(text) } else { Found::Damaged(Fault::OtherBytes) })
        })
    }

    /// Every whole manifest in the store, in order of digest.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the folder cannot be listed.
    pub fn manifests(&self) -> Result<Vec<(ActionDigest, String)>, StoreError> {
        let folder = self.root.join("manifests");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let listing = Listing::read(&folder)?;
        let actions = listing.records.iter().filter_map(|(hex, _)| hex.parse::<ActionDigest>().ok());
        Ok(actions.filter_map(|action| Some((action, self.manifest(&action)?))).collect())
    }

    pub(crate) fn result_path(&self, action: &ActionDigest) -> PathBuf {
        self.record("results", &action.to_hex())
    }

    /// The result of an action, if one was published, its record is whole, and its objects are present.
    pub fn result(&self, action: &ActionDigest) -> Option<ActionResult> {
        let result = self.recorded_result(action)?;
        result.outputs.values().all(|object| self.contains(object)).then_some(result)
    }

    /// The result of an action as recorded, whether or not its objects are still there.
    pub fn recorded_result(&self, action: &ActionDigest) -> Option<ActionResult> {
        self.read_result(action).ok()?.whole()
    }

    pub(crate) fn read_result(&self, action: &ActionDigest) -> io::Result<Found<ActionResult>> {
        record::read(&self.result_path(action), MAX_RECORD_BYTES, |text| {
            ActionResult::from_record(text, action)
        })
    }

    /// Publishes the result of an action. The first to come stands, as long as its objects do; a record that is
    /// damaged, or whose objects are gone, is replaced. Call it while holding the action's lock.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where an object it names is not in the store; [`StoreError::Io`].
    pub fn publish(&self, action: &ActionDigest, result: &ActionResult) -> Result<Published, StoreError> {
        let _pin = self.pin()?;
        let path = self.result_path(action);
        let present = |result: &ActionResult| result.outputs.values().all(|object| self.contains(object));
        match self.read_result(action).map_err(failed("cannot read", &path))? {
            Found::Whole(standing) if present(&standing) => return Ok(Published::Adopted(standing)),
            Found::Whole(_) | Found::Absent | Found::Damaged(_) => {}
        }
        if let Some(object) = result.outputs.values().find(|object| !self.contains(object)) {
            return Err(StoreError::Missing(object.digest));
        }
        self.write_record(&path, &result.to_record(action))?;
        Ok(Published::First)
    }

    /// Keeps gc out until the pin is dropped; waits while gc is at work. A writer holds one from before the first
    /// [`Store::insert_file`] of an action until [`Store::publish`]; a planner may hold one between looking at
    /// results and recording that it relies on them. Hold it briefly: gc waits for a gap between pins.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn pin(&self) -> Result<Pin, StoreError> {
        let path = self.collect_lock();
        lock::shared(&path).map(|file| Pin { _file: file }).map_err(failed("cannot lock", &path))
    }

    pub(crate) fn collect_lock(&self) -> PathBuf {
        self.root.join("locks").join(COLLECT_LOCK)
    }

    pub(crate) fn lock_path(&self, action: &ActionDigest) -> PathBuf {
        self.root.join("locks").join(action.to_hex())
    }

    /// Takes the right to perform an action, unless another process has it; gc may have it for a moment.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn try_lock(&self, action: &ActionDigest) -> Result<Option<ActionLock>, StoreError> {
        let path = self.lock_path(action);
        let file = lock::try_exclusive(&path).map_err(failed("cannot lock", &path))?;
        Ok(file.map(|file| ActionLock { action: *action, file }))
    }

    /// The folder for an action's checkpoints, which outlives attempts. It is made by who needs it.
    pub fn scratch(&self, action: &ActionDigest) -> PathBuf {
        self.root.join("scratch").join(action.to_hex())
    }

    /// Removes an action's checkpoints.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn clear_scratch(&self, action: &ActionDigest) -> Result<(), StoreError> {
        let path = self.root.join("scratch").join(action.to_hex());
        durable::remove_tree(&path).map_err(failed("cannot remove", &path))
    }

    /// A private folder for one attempt at the locked action. What earlier attempts at it left is removed; the name
    /// is new each time, so a process that outlived its attempt writes where nobody looks.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn attempt(&self, lock: &ActionLock) -> Result<Attempt, StoreError> {
        let folder = self.root.join("attempts");
        let prefix = format!("{}-", lock.action().short());
        for left in entries(&folder)? {
            if left.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
                // A program that outlived its attempt may still be writing there: what stays is only garbage.
                drop(durable::remove_tree(&left));
            }
        }
        let dir = durable::make_new_dir(&folder, &prefix);
        Ok(Attempt { dir: dir.map_err(failed("cannot create a folder in", &folder))? })
    }
}

/// Checks what lies in the place of an object; `progress` hears how many bytes were read each time some were.
///
/// # Errors
/// What is no fault of the object.
pub(crate) fn check_object(path: &Path, digest: &Digest, progress: impl FnMut(u64)) -> io::Result<Found<()>> {
    record::open(path)?.and_then(|file| {
        let (found, _) = Digest::of_open_file(&file, progress)?;
        Ok(if found == *digest { Found::Whole(()) } else { Found::Damaged(Fault::OtherBytes) })
    })
}

/// Whether the system does not let this process write here.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}
