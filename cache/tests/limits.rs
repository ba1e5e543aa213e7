//! A full disk, a store nobody may write to, few descriptors, and many who create one store.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ablate_cache::{Digest, OnDamage, Store, StoreError};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::common::{action, check_child, child, new_store, object_path, order, perform, rewrite};

mod common;

const OUTPUTS: [&[u8]; 3] = [&[1; 40_000], &[2; 9_000], b"small"];

/// Runs an ignored test where it may mount file systems; says so where the system does not let it.
fn run_with_mounts(test: &str) {
    let may_mount =
        Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !may_mount {
        println!("SKIPPED {test}: this system lets no test mount a file system");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    check_child(&child(&["unshare", "-rm"], test, root).output().unwrap());
}

fn mount(options: &str, at: &Path) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
    assert!(mounted.unwrap().success());
}

fn record_two(root: &Path) -> Result<(), StoreError> {
    let store = Store::open(root)?;
    perform(&store, "one", &OUTPUTS)?;
    perform(&store, "two", &[b"2", OUTPUTS[0]])?;
    Ok(())
}

#[test]
#[ignore = "it runs where it may mount file systems"]
fn fills_disks() {
    let Some(dir) = order() else { return };
    let dir = Path::new(&dir);
    let mut refused = 0;
    for inodes in [false, true] {
        for step in 0.. {
            // A store without records takes 18 inodes or so; each page of 4 KiB is a block.
            let limits = |extra: u64| match inodes {
                true => format!("size=1m,nr_inodes={}", 2 + step + extra),
                false => format!("size={}k", 4 * (1 + step + extra)),
            };
            mount(&limits(0), dir);
            let root = dir.join("store");
            let outcome = record_two(&root);
            let is_full = match &outcome {
                Ok(()) => false,
                Err(StoreError::Io { source, .. }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{outcome:?}");
                    true
                }
                Err(error) => panic!("{error}"),
            };
            if root.join("FORMAT").exists() {
                let store = Store::open(&root).unwrap();
                assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
            }
            let room =
                Command::new("mount").args(["-o", &format!("remount,{}", limits(1000))]).arg(dir).status();
            assert!(room.unwrap().success());
            record_two(&root).unwrap();
            let store = Store::open(&root).unwrap();
            assert!(store.result(&action("one")).is_some() && store.result(&action("two")).is_some());
            assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
            assert!(Command::new("umount").arg(dir).status().unwrap().success());
            if !is_full {
                break;
            }
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused} sizes were too small");
}

#[test]
fn a_disk_of_any_size_gives_the_right_error_and_with_room_it_goes_on() {
    run_with_mounts("fills_disks");
}

#[test]
#[ignore = "it runs where it may mount file systems"]
fn uses_a_read_only_store() {
    let Some(dir) = order() else { return };
    let dir = Path::new(&dir);
    mount("size=1m", dir);
    let root = dir.join("store");
    record_two(&root).unwrap();
    let writable = Store::open(&root).unwrap();
    let result = writable.result(&action("one")).unwrap();
    let damaged = *writable.result(&action("two")).unwrap().outputs.get("out0").unwrap();
    rewrite(&object_path(&writable, &damaged.digest), b"3");
    fs::remove_dir(writable.root().join("staging")).unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(dir).status().unwrap().success());

    let store = Store::open(&root).unwrap();
    let _pin = store.pin().unwrap();
    assert_eq!(store.result(&action("one")), Some(result.clone()));
    assert_eq!(store.manifests().unwrap().len(), 2);
    for object in result.outputs.values() {
        store.verified(&object.digest).unwrap();
    }
    let findings = store.verify(OnDamage::Report, &|_| {}).unwrap();
    assert_eq!(findings.len(), 2, "the damaged object and the missing folder: {findings:?}");
    let refusals = [
        store.verified(&damaged.digest).unwrap_err(),
        store.put_manifest("Action(new)").unwrap_err(),
        store.verify(OnDamage::SetAside, &|_| {}).unwrap_err(),
        store.try_lock(&action("new")).unwrap_err(),
    ];
    for refusal in refusals {
        let StoreError::Io { source, .. } = &refusal else { panic!("{refusal}") };
        assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{refusal}");
    }
}

#[test]
fn a_read_only_store_is_read() {
    run_with_mounts("uses_a_read_only_store");
}

#[test]
#[ignore = "it limits its own process"]
fn works_with_few_descriptors() {
    let Some(dir) = order() else { return };
    setrlimit(Resource::Nofile, Rlimit { current: Some(32), maximum: Some(32) }).unwrap();
    let root = Path::new(&dir).join("store");
    let store = Store::open(&root).unwrap();
    for name in 0..40 {
        perform(&store, &name.to_string(), &[name.to_string().as_bytes(), OUTPUTS[0]]).unwrap();
    }
    assert!(store.verify(OnDamage::SetAside, &|_| {}).unwrap().is_empty());

    let object = *store.result(&action("1")).unwrap().outputs.get("out0").unwrap();
    let held: Vec<fs::File> = std::iter::from_fn(|| fs::File::open(root.join("FORMAT")).ok()).collect();
    let refusal = store.verified(&object.digest).unwrap_err();
    assert!(
        matches!(&refusal, StoreError::Io { source, .. } if source.raw_os_error() == Some(24)),
        "{refusal}"
    );
    store.verify(OnDamage::SetAside, &|_| {}).unwrap_err();
    drop(held);
    store.verified(&object.digest).expect("what could not be opened was not taken for damaged");
    assert!(store.verify(OnDamage::SetAside, &|_| {}).unwrap().is_empty());
}

#[test]
fn few_descriptors_suffice_and_having_none_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    check_child(&child(&[], "works_with_few_descriptors", dir.path().to_str().unwrap()).output().unwrap());
}

#[test]
#[ignore = "it is one of the processes of the test below"]
fn creates_and_records() {
    let Some(dir) = order() else { return };
    let root = Path::new(&dir).join("deep/store");
    record_two(&root).unwrap();
}

#[test]
fn sixteen_processes_create_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let order = dir.path().to_str().unwrap();
    let start = || {
        let mut command = child(&[], "creates_and_records", order);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..16).map(|_| start()).collect();
    children.into_iter().for_each(|child| check_child(&child.wait_with_output().unwrap()));
    let store = Store::open(&dir.path().join("deep/store")).unwrap();
    assert!(store.result(&action("one")).is_some() && store.result(&action("two")).is_some());
    assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
}

#[test]
fn folders_that_were_deleted_while_nothing_ran_are_made_again() {
    let (_dir, store) = new_store();
    perform(&store, "one", &OUTPUTS).unwrap();
    for folder in ["locks", "attempts", "staging", "scratch", "bad", "runs"] {
        fs::remove_dir_all(store.root().join(folder)).unwrap();
    }
    let store = Store::open(store.root()).unwrap();
    perform(&store, "two", &OUTPUTS).unwrap();
    store.verified(&Digest::of_bytes(OUTPUTS[0])).unwrap();
    assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
}
