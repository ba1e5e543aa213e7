//! The store on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{ActionDigest, ActionLock, ActionResult, Attempt, Digest, Object, Published, durable};

const FORMAT: &str = "ablate store 1\n";

/// No result is larger.
const MAX_RECORD_BYTES: u64 = 64 << 20;

const FOLDERS: [&str; 9] =
    ["objects", "manifests", "results", "attempts", "scratch", "locks", "bad", "runs", "staging"];

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
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

/// A content-addressed store and action cache under one folder. Any number of processes may use one at once.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store at `root`, creating it where there is none.
    ///
    /// # Errors
    /// [`StoreError::Format`] where the folder holds something else or another format; [`StoreError::Io`] where it
    /// cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let format = root.join("FORMAT");
        match fs::read_to_string(&format) {
            Ok(found) if found == FORMAT => {}
            Ok(found) => return Err(StoreError::Format { path: root.to_owned(), found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(root)?,
            Err(error) => return Err(failed("cannot read", &format)(error)),
        }
        Ok(Self { root: root.canonicalize().map_err(failed("cannot find", root))? })
    }

    /// Creates the folders, then `FORMAT`, which says that they are all there. Any number of processes may do so at once.
    fn create(root: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(root).map_err(failed("cannot create", root))?;
        for entry in sorted_entries(root)? {
            let name = entry.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| name != "FORMAT" && !FOLDERS.contains(&name)) {
                let found = format!("none, and it holds `{}`", entry.display());
                return Err(StoreError::Format { path: root.to_owned(), found });
            }
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            durable::make_dir(&path).map_err(failed("cannot create", &path))?;
        }
        let path = root.join("FORMAT");
        durable::write(&path, FORMAT.as_bytes(), &root.join("staging")).map_err(failed("cannot write", &path))
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where journals of runs are kept.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn record(&self, folder: &str, hex: &str) -> PathBuf {
        self.root.join(folder).join(&hex[..2]).join(&hex[2..])
    }

    // Objects

    fn object_path(&self, digest: &Digest) -> PathBuf {
        self.record("objects", &digest.to_hex())
    }

    /// Moves a finished file into the store. The file must be on the store's file system, as an [`Attempt`] is.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the file may then still be where it was.
    pub fn insert_file(&self, path: &Path) -> Result<Object, StoreError> {
        let file = File::open(path).map_err(failed("cannot open", path))?;
        let size = file.metadata().map_err(failed("cannot read", path))?.len();
        let digest = Digest::of_file(path).map_err(failed("cannot read", path))?;
        let target = self.object_path(&digest);
        let dir = target.parent().expect("an object's path has a folder");
        file.set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(failed("cannot set the mode of", path))?;
        file.sync_all().map_err(failed("cannot sync", path))?;
        durable::make_dir(dir).map_err(failed("cannot create", dir))?;
        if target.is_dir() {
            self.set_aside(&digest, &target)?;
        }
        fs::rename(path, &target).map_err(failed("cannot place", &target))?;
        durable::sync_dir(dir).map_err(failed("cannot sync", dir))?;
        Ok(Object { digest, size })
    }

    /// Puts bytes into the store. Nothing is written where they are there already.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn insert_bytes(&self, bytes: &[u8]) -> Result<Object, StoreError> {
        let object = Object { digest: Digest::of_bytes(bytes), size: bytes.len() as u64 };
        if !self.contains(&object) {
            let path = self.object_path(&object.digest);
            durable::write(&path, bytes, &self.staging()).map_err(failed("cannot write", &path))?;
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
    /// # Errors
    /// [`StoreError::Missing`], or [`StoreError::Damaged`] after setting the object aside.
    pub fn verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let path = self.object_path(digest);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(*digest));
            }
            Err(error) => return Err(failed("cannot read", &path)(error)),
        };
        if meta.is_file() && Digest::of_file(&path).is_ok_and(|found| found == *digest) {
            return Ok(path);
        }
        Err(self.set_aside(digest, &path)?)
    }

    fn set_aside(&self, digest: &Digest, path: &Path) -> Result<StoreError, StoreError> {
        let bad = self.root.join("bad");
        let holder = tempfile::Builder::new()
            .prefix(&digest.short())
            .tempdir_in(&bad)
            .map_err(failed("cannot create a folder in", &bad))?;
        let set_aside = holder.keep().join("object");
        fs::rename(path, &set_aside).map_err(failed("cannot set aside", path))?;
        Ok(StoreError::Damaged { digest: *digest, set_aside })
    }

    // Actions

    /// Records the text of an action's key and returns the key.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_manifest(&self, manifest: &str) -> Result<ActionDigest, StoreError> {
        let action = ActionDigest::of_manifest(manifest);
        if self.manifest(&action).is_none() {
            let path = self.record("manifests", &action.to_hex());
            durable::write(&path, manifest.as_bytes(), &self.staging())
                .map_err(failed("cannot write", &path))?;
        }
        Ok(action)
    }

    /// The manifest of an action, if it is there and whole.
    pub fn manifest(&self, action: &ActionDigest) -> Option<String> {
        let text = fs::read_to_string(self.record("manifests", &action.to_hex())).ok()?;
        (ActionDigest::of_manifest(&text) == *action).then_some(text)
    }

    /// Every whole manifest in the store, in order of digest.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the folder cannot be listed.
    pub fn manifests(&self) -> Result<Vec<(ActionDigest, String)>, StoreError> {
        let folder = self.root.join("manifests");
        let mut found = Vec::new();
        for shard in sorted_entries(&folder)? {
            for path in sorted_entries(&shard)? {
                let hex: String = [&shard, &path].iter().filter_map(|p| p.file_name()?.to_str()).collect();
                if let Some((action, text)) = hex.parse().ok().and_then(|a| Some((a, self.manifest(&a)?))) {
                    found.push((action, text));
                }
            }
        }
        Ok(found)
    }

    fn result_path(&self, action: &ActionDigest) -> PathBuf {
        self.record("results", &action.to_hex())
    }

    /// The result of an action, if one was published, its record is whole, and its objects are present.
    pub fn result(&self, action: &ActionDigest) -> Option<ActionResult> {
        let result = self.recorded_result(action)?;
        result.outputs.values().all(|object| self.contains(object)).then_some(result)
    }

    /// The result of an action as recorded, whether or not its objects are still there.
    pub fn recorded_result(&self, action: &ActionDigest) -> Option<ActionResult> {
        // One allocation, and no question for the size first: a plan is mostly these reads.
        let mut text = String::with_capacity(2048);
        File::open(self.result_path(action)).ok()?.take(MAX_RECORD_BYTES).read_to_string(&mut text).ok()?;
        let (digest, body) = text.split_once('\n')?;
        (digest.parse::<Digest>().ok()? == Digest::of_bytes(body.as_bytes())).then_some(())?;
        serde_json::from_str(body).ok()
    }

    /// Publishes the result of an action. The first to come stands, as long as its objects do; a record that is
    /// damaged, or whose objects are gone, is replaced. Call it while holding the action's lock.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn publish(&self, action: &ActionDigest, result: &ActionResult) -> Result<Published, StoreError> {
        if let Some(standing) = self.result(action) {
            return Ok(Published::Adopted(standing));
        }
        let body = serde_json::to_string(result).expect("a result is plain data with string keys");
        let text = format!("{}\n{body}", Digest::of_bytes(body.as_bytes()));
        let path = self.result_path(action);
        durable::write(&path, text.as_bytes(), &self.staging()).map_err(failed("cannot write", &path))?;
        Ok(Published::First)
    }

    /// Takes the right to perform an action, unless another process has it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn try_lock(&self, action: &ActionDigest) -> Result<Option<ActionLock>, StoreError> {
        let path = self.root.join("locks").join(action.to_hex());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("cannot open", &path))?;
        ActionLock::attempt(*action, file).map_err(failed("cannot lock", &path))
    }

    /// The folder for an action's checkpoints; it outlives attempts, and is created if need be.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn scratch(&self, action: &ActionDigest) -> Result<PathBuf, StoreError> {
        let path = self.root.join("scratch").join(action.to_hex());
        fs::create_dir_all(&path).map_err(failed("cannot create", &path))?;
        Ok(path)
    }

    /// Removes an action's checkpoints.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn clear_scratch(&self, action: &ActionDigest) -> Result<(), StoreError> {
        let path = self.root.join("scratch").join(action.to_hex());
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("cannot remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// A private folder for one attempt at the locked action. What earlier attempts at it left is removed; the name
    /// is new each time, so a process that outlived its attempt writes where nobody looks.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn attempt(&self, lock: &ActionLock) -> Result<Attempt, StoreError> {
        let folder = self.root.join("attempts");
        let prefix = format!("{}-", lock.action().short());
        for left in sorted_entries(&folder)? {
            if left.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
                // A program that outlived its attempt may still be writing there: what stays is only garbage.
                drop(fs::remove_dir_all(&left));
            }
        }
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(&folder);
        Ok(Attempt { dir: dir.map_err(failed("cannot create a folder in", &folder))? })
    }
}

fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(failed("cannot list", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}
