//! A store with something in it, and ways to harm it.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use ablate_cache::{ActionDigest, ActionResult, Digest, Object, Provenance, Store, StoreError};
use litemap::LiteMap;
use tempfile::TempDir;

/// An empty store, in a folder that goes with the first of the two.
pub fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

/// The text of an action's key.
pub fn manifest(name: &str) -> String {
    format!("Action({name})")
}

/// The key.
pub fn action(name: &str) -> ActionDigest {
    ActionDigest::of_manifest(&manifest(name))
}

/// Performs an action the way a worker does.
///
/// # Errors
/// The first of the store's.
pub fn perform(store: &Store, name: &str, outputs: &[&[u8]]) -> Result<ActionResult, StoreError> {
    let action = store.put_manifest(&manifest(name))?;
    let lock = loop {
        if let Some(lock) = store.try_lock(&action)? {
            break lock;
        }
        std::thread::yield_now();
    };
    let attempt = store.attempt(&lock)?;
    let paths: Vec<PathBuf> =
        (0..outputs.len()).map(|index| attempt.path().join(format!("out{index}"))).collect();
    for (path, bytes) in paths.iter().zip(outputs) {
        fs::write(path, bytes).map_err(|source| StoreError::Io {
            doing: "cannot write",
            path: path.clone(),
            source,
        })?;
    }
    let _pin = store.pin()?;
    let mut objects: LiteMap<String, Object> = LiteMap::new();
    for (index, path) in paths.iter().enumerate() {
        objects.insert(format!("out{index}"), store.insert_file(path)?);
    }
    let metrics = LiteMap::from_iter([("accuracy".to_owned(), 0.5)]);
    let result = ActionResult { outputs: objects, metrics, provenance: Provenance::default() };
    store.publish(&action, &result)?;
    Ok(result)
}

/// Where a record lies.
pub fn record_path(store: &Store, folder: &str, hex: &str) -> PathBuf {
    store.root().join(folder).join(&hex[..2]).join(&hex[2..])
}

/// Where an object lies.
pub fn object_path(store: &Store, digest: &Digest) -> PathBuf {
    record_path(store, "objects", &digest.to_hex())
}

/// Every file under a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The number of entries of a folder.
pub fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Changes a file's bytes in place, as a bad disk does: inode, size where it stays, mode and time of modification kept.
pub fn rewrite(path: &Path, bytes: &[u8]) {
    let meta = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    file.set_permissions(meta.permissions()).unwrap();
}

/// A moment that all ages are told by.
#[expect(clippy::disallowed_methods, reason = "files get their times from the kernel")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

const ORDER: &str = "ABLATE_CACHE_TEST_ORDER";

/// A command that runs an ignored test of this file alone, in a process of its own that finds `order` in its
/// environment. `before` is what starts it, as `unshare -rm`.
pub fn child(before: &[&str], test: &str, order: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words = before.to_vec();
    words.extend([program.to_str().unwrap(), test, "--exact", "--ignored", "--nocapture"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(ORDER, order);
    command
}

/// Asserts that such a child did its work.
pub fn check_child(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let is_done = output.status.success() && printed.contains("running 1 test");
    assert!(is_done, "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

/// What the parent ordered; none where there is no parent.
#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments of ours")]
pub fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}
