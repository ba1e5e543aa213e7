//! A test of this program in a process of its own.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

const ORDER: &str = "ABLATE_CACHE_TEST_ORDER";

/// Runs an ignored test alone, in a process of its own, that finds `order` in its environment.
pub fn run(test: &str, order: &impl Serialize) -> ExitStatus {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([test, "--exact", "--ignored"])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("running 1 test"), "there is no test `{test}`: {printed}");
    assert_ne!(output.status.code(), Some(101), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    output.status
}

/// What the parent ordered; none where there is no parent.
#[expect(clippy::disallowed_methods, reason = "the test harness takes no arguments of ours")]
pub fn order<T: DeserializeOwned>() -> Option<T> {
    std::env::var(ORDER).ok().map(|order| serde_json::from_str(&order).unwrap())
}

/// Only one of the tests that start processes or take locks runs at a time: a process that another thread starts holds
/// our locks as well until it has become another program.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed left nothing behind that matters to the next.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder in memory where there is such a file system: thousands of stores are made, and no power fails.
pub fn folder() -> TempDir {
    let in_memory = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound { tempfile::tempdir() } else { Err(error) }
    };
    tempfile::tempdir_in(Path::new("/dev/shm")).or_else(in_memory).unwrap()
}
