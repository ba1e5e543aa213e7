//! The content of files outside the store: hints save hashing, and never change what is found.

#![expect(
    clippy::disallowed_methods,
    reason = "files get their times from the kernel, so hints are judged by its clock"
)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ablate_cache::{Digest, Rehash, Store};
use common::files;
use tempfile::TempDir;

/// A store, and beside it a folder with a large and two small files.
struct Setting {
    dir: TempDir,
    store: Store,
}

impl Setting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        fs::create_dir_all(dir.path().join("data/sub")).unwrap();
        for (name, bytes) in
            [("large", vec![7; 2 << 20]), ("small", b"ab".to_vec()), ("sub/deep", b"cd".to_vec())]
        {
            fs::write(dir.path().join("data").join(name), bytes).unwrap();
        }
        Self { dir, store }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The content as of a time at which everything is long since as it is.
    fn later(&self, path: &Path) -> Digest {
        let later = SystemTime::now() + Duration::from_secs(60);
        self.store.content_of(path, Rehash::Changed, later).unwrap()
    }

    fn hints(&self) -> Vec<PathBuf> {
        files(&self.store.root().join("hints"))
    }

    /// Has every hint tell that the bytes `from` were the bytes `to`.
    fn lie(&self, from: &[u8], to: &[u8]) {
        for path in self.hints() {
            let text = fs::read_to_string(&path).unwrap();
            let (_, body) = text.split_once('\n').unwrap();
            let body = body.replace(&Digest::of_bytes(from).to_hex(), &Digest::of_bytes(to).to_hex());
            fs::write(&path, format!("{}\n{body}", Digest::of_bytes(body.as_bytes()))).unwrap();
        }
    }
}

/// The digest of a folder, from its definition.
fn folder(entries: &[(&str, Digest)]) -> Digest {
    let lines: String = entries.iter().map(|(name, digest)| format!("{name:?} {digest}\n")).collect();
    Digest::of_bytes(format!("folder\n{lines}").as_bytes())
}

fn of_data(large: &[u8], small: &[u8]) -> Digest {
    let sub = folder(&[("deep", Digest::of_bytes(b"cd"))]);
    folder(&[("large", Digest::of_bytes(large)), ("small", Digest::of_bytes(small)), ("sub", sub)])
}

#[test]
fn what_looks_as_it_did_is_not_hashed_again_unless_asked_to() {
    let setting = Setting::new();
    let large = setting.data().join("large");
    let seven = vec![7; 2 << 20];
    assert_eq!(setting.later(&setting.data()), of_data(&seven, b"ab"));
    assert_eq!(setting.later(&large), Digest::of_bytes(&seven));
    // What is told is what the hints say: nothing was read.
    setting.lie(&seven, b"a lie");
    assert_eq!(setting.later(&setting.data()), of_data(b"a lie", b"ab"));
    assert_eq!(setting.later(&large), Digest::of_bytes(b"a lie"));
    let all = |path: &Path| setting.store.content_of(path, Rehash::All, SystemTime::now()).unwrap();
    assert_eq!((all(&setting.data()), all(&large)), (of_data(&seven, b"ab"), Digest::of_bytes(&seven)));
    // And that is what counts from there on.
    assert_eq!(setting.later(&setting.data()), of_data(&seven, b"ab"));
    assert_eq!(setting.later(&large), Digest::of_bytes(&seven));
}

#[test]
fn a_touched_file_is_the_same_and_a_changed_one_is_seen_however_alike_it_looks() {
    let setting = Setting::new();
    let seven = vec![7; 2 << 20];
    let small = setting.data().join("small");
    let whole = setting.later(&setting.data());
    File::open(&small).unwrap().set_modified(SystemTime::now() - Duration::from_secs(9)).unwrap();
    assert_eq!(setting.later(&setting.data()), whole);

    let modified = || fs::metadata(&small).unwrap().modified().unwrap();
    let before = modified();
    // In place, with the time set back: only the kernel's own time of change differs, which may have ticks of milliseconds.
    let changed = || fs::metadata(&small).unwrap().ctime_nsec();
    let first = changed();
    while changed() == first {
        File::options().write(true).open(&small).unwrap().write_all(b"AB").unwrap();
        File::open(&small).unwrap().set_modified(before).unwrap();
    }
    assert_eq!((modified(), setting.later(&setting.data())), (before, of_data(&seven, b"AB")));
    // Another file under the same name.
    let other = setting.dir.path().join("other");
    fs::write(&other, b"xy").unwrap();
    File::open(&other).unwrap().set_modified(before).unwrap();
    fs::rename(&other, &small).unwrap();
    assert_eq!((modified(), setting.later(&setting.data())), (before, of_data(&seven, b"xy")));
}

#[test]
fn what_changed_just_before_it_was_hashed_is_hashed_again() {
    let setting = Setting::new();
    // Just after the last of them was written, however long it takes to say so.
    let written = ["large", "small", "sub/deep"]
        .map(|name| fs::metadata(setting.data().join(name)).unwrap().modified().unwrap());
    let now = written.into_iter().max().unwrap() + Duration::from_secs(1);
    setting.store.content_of(&setting.data(), Rehash::Changed, now).unwrap();
    setting.store.content_of(&setting.data().join("large"), Rehash::Changed, now).unwrap();
    assert_eq!(setting.hints(), [] as [PathBuf; 0]);
    // Of a file from the future nothing can be told.
    let future = SystemTime::now() + Duration::from_secs(3600);
    File::open(setting.data().join("small")).unwrap().set_modified(future).unwrap();
    setting.later(&setting.data());
    setting.lie(b"ab", b"a lie");
    assert_eq!(setting.later(&setting.data()), of_data(&vec![7; 2 << 20], b"ab"));
}

#[test]
fn a_damaged_hint_costs_hashing_and_nothing_else() {
    let setting = Setting::new();
    let (data, sub) = (setting.data(), setting.data().join("sub"));
    let of_sub = folder(&[("deep", Digest::of_bytes(b"cd"))]);
    assert_eq!(setting.later(&sub), of_sub);
    let [hint] = setting.hints().try_into().unwrap();
    let whole = fs::read(&hint).unwrap();
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    for damaged in flipped.chain(cut) {
        fs::write(&hint, damaged).unwrap();
        assert_eq!(setting.later(&sub), of_sub);
        assert_eq!(fs::read(&hint).unwrap(), whole, "it is made again");
    }
    // One folder's hints in the place of another's, and no place for any.
    let of_data = setting.later(&data);
    let other = setting.hints().into_iter().find(|path| *path != hint).unwrap();
    fs::copy(&hint, other).unwrap();
    assert_eq!(setting.later(&data), of_data);
    fs::remove_dir_all(setting.store.root().join("hints")).unwrap();
    fs::write(setting.store.root().join("hints"), "").unwrap();
    assert_eq!(setting.later(&data), of_data);
}

#[test]
fn folders_without_end_and_what_is_no_file_are_refused() {
    let setting = Setting::new();
    let data = setting.data();
    let error =
        || setting.store.content_of(&data, Rehash::Changed, SystemTime::now()).unwrap_err().to_string();
    symlink("..", data.join("sub/up")).unwrap();
    symlink("..", data.join("sub/up as well")).unwrap();
    assert!(error().contains("sub/up is a folder within itself, by a link"), "{}", error());
    fs::remove_dir_all(data.join("sub")).unwrap();
    symlink("nowhere", data.join("broken")).unwrap();
    assert!(error().contains("data/broken: No such file"), "{}", error());
    fs::remove_file(data.join("broken")).unwrap();
    symlink("/dev/null", data.join("null")).unwrap();
    assert!(error().ends_with("data/null: neither a file nor a folder"), "{}", error());
}

/// Python writes them while a program runs, and what they hold follows from the sources.
#[test]
fn what_python_keeps_beside_sources_does_not_count() {
    let setting = Setting::new();
    let before = setting.later(&setting.data());
    for folder in ["", "sub"] {
        let kept = setting.data().join(folder).join("__pycache__");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("large.cpython-312.pyc"), "made").unwrap();
    }
    assert_eq!(setting.later(&setting.data()), before);
    fs::write(setting.data().join("sub/large.pyc"), "somebody's").unwrap();
    assert_ne!(setting.later(&setting.data()), before);
}

#[test]
fn names_that_are_no_text_are_told_apart() {
    use std::os::unix::ffi::OsStrExt;
    let setting = Setting::new();
    let folder = setting.data().join("names");
    let of = |name: &[u8]| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), "same").unwrap();
        let digest = setting.store.content_of(&folder, Rehash::All, SystemTime::now()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        digest
    };
    assert_ne!(of(b"\xfe"), of(b"\xff"));
    assert_ne!(of(b"\xff"), of("\u{fffd}".as_bytes()));
}
