//! The promises of the store: what is handed out is what was put in, whatever happened in between.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use ablate_cache::{ActionDigest, ActionResult, Digest, Object, Provenance, Published, Store, StoreError};
use litemap::LiteMap;
use tempfile::TempDir;

fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

fn insert(store: &Store, bytes: &[u8]) -> Object {
    let lock = store.try_lock(&ActionDigest::of_manifest("insert")).unwrap().unwrap();
    let attempt = store.attempt(&lock).unwrap();
    let path = attempt.path().join("out");
    fs::write(&path, bytes).unwrap();
    store.insert_file(&path).unwrap()
}

fn object_path(store: &Store, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    store.root().join("objects").join(&hex[..2]).join(&hex[2..])
}

fn result_of(objects: &[Object]) -> ActionResult {
    let outputs =
        objects.iter().enumerate().map(|(index, object)| (format!("out{index}"), *object)).collect();
    let metrics = LiteMap::from_iter([("accuracy".to_owned(), 0.1 + 0.2)]);
    ActionResult { outputs, metrics, provenance: Provenance::default() }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_store_is_made_once_by_whoever_comes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("deep/store");
    let barrier = Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                let object = {
                    let store = Store::open(&root).unwrap();
                    let path = store.root().join("staging").join(format!("{:?}", thread::current().id()));
                    fs::write(&path, b"x").unwrap();
                    store.insert_file(&path).unwrap()
                };
                Store::open(&root).unwrap().verified(&object.digest).unwrap();
            });
        }
    });
    assert_eq!(entries(&root.join("staging")), 0);
}

#[test]
fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Format { .. })));
    assert_eq!(entries(dir.path()), 1);

    let (_dir, store) = new_store();
    fs::write(store.root().join("FORMAT"), "ablate store 2\n").unwrap();
    let error = Store::open(store.root()).unwrap_err().to_string();
    assert!(error.ends_with(r#"its format is "ablate store 2\n", expected "ablate store 1\n""#), "{error}");
}

#[test]
fn an_object_is_read_only_and_has_left_its_attempt() {
    let (_dir, store) = new_store();
    let object = insert(&store, b"abc");
    assert_eq!(object, Object { digest: Digest::of_bytes(b"abc"), size: 3 });
    let path = store.verified(&object.digest).unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(entries(&store.root().join("attempts")), 0);
    assert!(matches!(store.verified(&Digest::of_bytes(b"other")), Err(StoreError::Missing(_))));
}

#[test]
fn a_damaged_object_is_set_aside_and_can_come_back() {
    let (_dir, store) = new_store();
    let object = insert(&store, b"abcdef");
    let path = object_path(&store, &object.digest);
    let harms: [&dyn Fn(); 6] = [
        &|| fs::write(&path, b"abcdeg").unwrap(),
        &|| fs::write(&path, b"").unwrap(),
        &|| fs::write(&path, b"abc").unwrap(),
        &|| fs::write(&path, b"abcdefg").unwrap(),
        &|| fs::create_dir(&path).unwrap(),
        &|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
    ];
    for (index, harm) in harms.iter().enumerate() {
        fs::remove_file(&path).unwrap();
        harm();
        match store.verified(&object.digest) {
            Err(StoreError::Damaged { digest, set_aside }) => {
                assert_eq!(digest, object.digest);
                fs::symlink_metadata(set_aside).unwrap();
            }
            other => panic!("{other:?}"),
        }
        assert!(!store.contains(&object), "it is a miss from now on");
        assert_eq!(entries(&store.root().join("bad")), index + 1);
        assert_eq!(insert(&store, b"abcdef"), object);
        store.verified(&object.digest).unwrap();
    }
}

#[test]
fn inserting_mends_what_lies_there() {
    let (_dir, store) = new_store();
    let object = insert(&store, b"abcdef");
    let path = object_path(&store, &object.digest);
    let harms: [&dyn Fn(); 3] = [
        &|| fs::write(&path, b"abcdeg").unwrap(),
        &|| fs::create_dir_all(path.join("deep")).unwrap(),
        &|| std::os::unix::fs::symlink("/etc", &path).unwrap(),
    ];
    for harm in harms {
        fs::remove_file(&path).unwrap();
        harm();
        insert(&store, b"abcdef");
        assert_eq!(fs::read(store.verified(&object.digest).unwrap()).unwrap(), b"abcdef");
    }
}

#[test]
fn the_first_result_stands_as_long_as_its_objects_do() {
    let (_dir, store) = new_store();
    let action = store.put_manifest("Action(1)").unwrap();
    let (first, second) = (result_of(&[insert(&store, b"1")]), result_of(&[insert(&store, b"2")]));
    assert_eq!(store.result(&action), None);
    assert_eq!(store.publish(&action, &first).unwrap(), Published::First);
    assert_eq!(store.publish(&action, &second).unwrap(), Published::Adopted(first.clone()));
    assert_eq!(store.result(&action), Some(first.clone()));
    fs::remove_file(object_path(&store, &first.outputs.get("out0").unwrap().digest)).unwrap();
    assert_eq!(store.result(&action), None);
    assert_eq!(store.recorded_result(&action), Some(first));
    assert_eq!(store.publish(&action, &second).unwrap(), Published::First);
    assert_eq!(store.result(&action), Some(second));
}

#[test]
fn a_record_with_any_bit_flipped_or_byte_missing_is_a_miss() {
    let (_dir, store) = new_store();
    let action = store.put_manifest("Action(1)").unwrap();
    store.publish(&action, &result_of(&[insert(&store, b"1")])).unwrap();
    for folder in ["results", "manifests"] {
        let path = store.root().join(folder).join(&action.to_hex()[..2]).join(&action.to_hex()[2..]);
        let whole = fs::read(&path).unwrap();
        let is_there = || match folder {
            "results" => store.result(&action).is_some(),
            _ => store.manifest(&action).is_some(),
        };
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            assert!(!is_there());
        };
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                check(&bytes);
            }
            check(&whole[..at]);
        }
        check(&[whole.as_slice(), b" "].concat());
        fs::write(&path, &whole).unwrap();
        assert!(is_there());
    }
}

#[test]
fn a_damaged_manifest_is_written_again() {
    let (_dir, store) = new_store();
    let action = store.put_manifest("Action(1)").unwrap();
    let path = store.root().join("manifests").join(&action.to_hex()[..2]).join(&action.to_hex()[2..]);
    fs::write(&path, "Action(2)").unwrap();
    assert_eq!(store.manifest(&action), None);
    assert_eq!(store.manifests().unwrap(), []);
    store.put_manifest("Action(1)").unwrap();
    assert_eq!(store.manifests().unwrap(), [(action, "Action(1)".to_owned())]);
}

#[test]
fn a_lock_has_one_holder_and_dies_with_it() {
    let (_dir, store) = new_store();
    let (one, two) = (ActionDigest::of_manifest("1"), ActionDigest::of_manifest("2"));
    let held = store.try_lock(&one).unwrap().unwrap();
    assert!(store.try_lock(&one).unwrap().is_none());
    assert!(store.try_lock(&two).unwrap().is_some());
    drop(held);
    assert_eq!(store.try_lock(&one).unwrap().unwrap().action(), &one);
}

#[test]
fn an_attempt_clears_what_earlier_ones_at_the_action_left() {
    let (_dir, store) = new_store();
    let locks = ["1", "2"].map(|text| store.try_lock(&ActionDigest::of_manifest(text)).unwrap().unwrap());
    let [dead, other] = [0, 1].map(|index| store.attempt(&locks[index]).unwrap());
    fs::create_dir_all(dead.path().join("deep")).unwrap();
    let left = dead.path().to_owned();
    std::mem::forget(dead);
    let fresh = store.attempt(&locks[0]).unwrap();
    assert!(!left.exists() && other.path().exists());
    assert_ne!(fresh.path(), left);
}

#[test]
fn scratch_outlives_attempts_until_it_is_cleared() {
    let (_dir, store) = new_store();
    let action = ActionDigest::of_manifest("1");
    let scratch = store.scratch(&action);
    fs::create_dir(&scratch).unwrap();
    fs::write(scratch.join("checkpoint"), "7").unwrap();
    assert_eq!(fs::read(store.scratch(&action).join("checkpoint")).unwrap(), b"7");
    store.clear_scratch(&action).unwrap();
    store.clear_scratch(&action).unwrap();
    assert!(!scratch.exists());
}
