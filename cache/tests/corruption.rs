//! Whatever happens to a record on the disk is found, is not handed out, and is mended by making it again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ablate_cache::{Durability, Fault, Finding, OnDamage, Progress, Record, Store, StoreError};

use crate::common::{action, files, new_store, object_path, perform, record_path, rewrite};

mod common;

const ACTIONS: [(&str, &[&[u8]]); 3] =
    [("one", &[b"first output", b"second output"]), ("two", &[b"output"]), ("three", &[&[7; 200_000], b""])];

fn filled() -> (tempfile::TempDir, Store) {
    let (dir, store) = new_store();
    let store = store.with_durability(Durability::None);
    fill(&store);
    (dir, store)
}

fn fill(store: &Store) {
    for (name, outputs) in ACTIONS {
        perform(store, name, outputs).unwrap();
    }
}

fn findings(store: &Store, on_damage: OnDamage) -> Vec<Finding> {
    store.verify(on_damage, &|_| {}).unwrap()
}

/// What a path of the store is a record of, by its folder and name.
fn record_at(store: &Store, path: &Path) -> Record {
    let parts: Vec<&str> =
        path.strip_prefix(store.root()).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
    let hex = parts[1..].concat();
    match parts[0] {
        "objects" => Record::Object(hex.parse().unwrap()),
        "manifests" => Record::Manifest(hex.parse().unwrap()),
        "results" => Record::Result(hex.parse().unwrap()),
        other => panic!("{other}"),
    }
}

fn records(store: &Store) -> Vec<PathBuf> {
    ["objects", "manifests", "results"].iter().flat_map(|folder| files(&store.root().join(folder))).collect()
}

/// Whether the record is handed out.
fn is_read(store: &Store, record: Record) -> bool {
    match record {
        Record::Object(digest) => match store.verified(&digest) {
            Ok(_) => true,
            Err(StoreError::Damaged { .. } | StoreError::Missing(_)) => false,
            Err(error) => panic!("{error}"),
        },
        Record::Manifest(action) => store.manifest(&action).is_some(),
        Record::Result(action) => store.result(&action).is_some() || store.recorded_result(&action).is_some(),
        Record::Format | Record::Folder | Record::Stray => panic!("{record:?} is not read"),
    }
}

/// Harms each record in turn. `harm` gets its path and says whether there is now anything wrong.
fn check(harm: impl Fn(&Path) -> bool) {
    let (_dir, store) = filled();
    for path in records(&store) {
        let record = record_at(&store, &path);
        if !harm(&path) {
            continue;
        }
        let reported = findings(&store, OnDamage::Report);
        assert_eq!(
            reported.iter().map(|finding| finding.record).collect::<Vec<_>>(),
            [record],
            "{reported:?}"
        );
        assert_eq!((&reported[0].path, &reported[0].set_aside), (&path, &None));
        fs::symlink_metadata(&path).expect("a report moves nothing");

        let found = findings(&store, OnDamage::SetAside);
        assert_eq!(found.iter().map(|finding| finding.record).collect::<Vec<_>>(), [record]);
        fs::symlink_metadata(found[0].set_aside.as_ref().unwrap()).unwrap();
        assert!(fs::symlink_metadata(&path).is_err());
        assert!(!is_read(&store, record));
        fill(&store);
        assert!(findings(&store, OnDamage::Report).is_empty());

        assert!(harm(&path));
        assert!(!is_read(&store, record), "what is damaged is not handed out");
        fill(&store);
        assert!(is_read(&store, record));
        assert!(findings(&store, OnDamage::Report).is_empty(), "making it again mends it without verify");
    }
}

fn replace(path: &Path, make: impl Fn(&Path)) -> bool {
    fs::remove_file(path).unwrap();
    make(path);
    true
}

#[test]
fn a_flipped_bit_is_found() {
    for (byte, bit) in [(0, 0), (usize::MAX, 7), (100, 5)] {
        check(|path| {
            let mut bytes = fs::read(path).unwrap();
            let Some(last) = bytes.len().checked_sub(1) else { return false };
            bytes[byte.min(last)] ^= 1 << bit;
            rewrite(path, &bytes);
            true
        });
    }
}

#[test]
fn a_truncated_record_is_found() {
    for part in [0.0, 0.5] {
        check(|path| {
            let bytes = fs::read(path).unwrap();
            rewrite(path, &bytes[..(bytes.len() as f64 * part) as usize]);
            !bytes.is_empty()
        });
    }
}

#[test]
fn an_appended_byte_is_found() {
    check(|path| {
        rewrite(path, &[fs::read(path).unwrap().as_slice(), b"\n"].concat());
        true
    });
}

#[test]
fn a_folder_in_a_records_place_is_found() {
    check(|path| replace(path, |path| fs::create_dir_all(path.join("deep/er")).unwrap()));
}

#[test]
fn a_symlink_is_not_followed_even_to_the_right_bytes() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy");
    check(|path| {
        fs::copy(path, &copy).unwrap();
        replace(path, |path| symlink(&copy, path).unwrap())
    });
    check(|path| replace(path, |path| symlink("/dev/zero", path).unwrap()));
    check(|path| replace(path, |path| symlink("nowhere", path).unwrap()));
}

#[test]
fn a_pipe_in_a_records_place_is_found_and_keeps_nobody_waiting() {
    check(|path| replace(path, |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())));
}

#[test]
fn a_pipe_is_no_record_whatever_is_written_into_it() {
    let pipes = Mutex::new(Vec::new());
    check(|path| {
        let bytes = fs::read(path).unwrap();
        replace(path, |path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            let mut pipe = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            // A pipe holds no more of it than this without somebody who reads.
            pipe.write_all(&bytes[..bytes.len().min(4096)]).unwrap();
            pipes.lock().unwrap().push(pipe);
        })
    });
}

#[test]
fn a_record_nobody_may_read_is_found_unless_it_can_be_read_all_the_same() {
    check(|path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        fs::read(path).is_err()
    });
}

#[test]
fn two_swapped_records_are_both_found() {
    for folder in ["objects", "manifests", "results"] {
        let (_dir, store) = filled();
        let paths = files(&store.root().join(folder));
        for pair in paths.windows(2) {
            let swap = || {
                let aside = store.root().join("swap");
                fs::rename(&pair[0], &aside).unwrap();
                fs::rename(&pair[1], &pair[0]).unwrap();
                fs::rename(&aside, &pair[1]).unwrap();
            };
            swap();
            let mut both: Vec<Record> = pair.iter().map(|path| record_at(&store, path)).collect();
            both.sort();
            let found = findings(&store, OnDamage::Report);
            assert_eq!(found.iter().map(|finding| finding.record).collect::<Vec<_>>(), both);
            assert!(found.iter().all(|finding| matches!(finding.fault, Fault::OtherBytes)));
            assert!(both.iter().all(|record| !is_read(&store, *record)));
            fill(&store);
            assert!(findings(&store, OnDamage::Report).is_empty());
        }
    }
}

#[test]
fn the_actions_that_make_a_damaged_object_are_named() {
    let (_dir, store) = new_store();
    let one = perform(&store, "one", &[b"shared", b"own"]).unwrap();
    perform(&store, "two", &[b"shared"]).unwrap();
    let path = object_path(&store, &one.outputs.get("out0").unwrap().digest);
    rewrite(&path, b"shaded");
    let found = findings(&store, OnDamage::Report);
    let mut makers = vec![action("one"), action("two")];
    makers.sort();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].actions, makers);
    assert_eq!(found[0].to_string(), format!("{} has other bytes than it was written with", path.display()));
}

#[test]
fn a_result_whose_object_is_gone_is_reported_and_left() {
    let (_dir, store) = filled();
    let result = store.result(&action("two")).unwrap();
    fs::remove_file(object_path(&store, &result.outputs.get("out0").unwrap().digest)).unwrap();
    let found = findings(&store, OnDamage::SetAside);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].record, Record::Result(action("two")));
    assert!(
        matches!(found[0].fault, Fault::MissingObject(object) if object == *result.outputs.get("out0").unwrap())
    );
    assert_eq!(store.recorded_result(&action("two")), Some(result));
}

#[test]
fn what_the_store_did_not_put_there_is_reported_and_left() {
    let (_dir, store) = filled();
    let hex = action("one").to_hex();
    let strays = [
        "thesis.tex",
        "locks/note",
        "manifests/ABCD",
        "objects/ab.txt",
        "results/note",
        "scratch/note",
        &format!("results/{}/short", &hex[..2]),
    ];
    let mut paths: Vec<PathBuf> = strays.iter().map(|name| store.root().join(name)).collect();
    paths.iter().for_each(|path| fs::write(path, "").unwrap());
    paths.sort();
    let found = findings(&store, OnDamage::SetAside);
    assert!(found.iter().all(|finding| finding.record == Record::Stray && finding.set_aside.is_none()));
    assert_eq!(found.into_iter().map(|finding| finding.path).collect::<Vec<_>>(), paths);
    assert!(paths.iter().all(|path| path.exists()));
}

#[test]
fn the_layout_is_checked() {
    let (_dir, store) = filled();
    fs::write(store.root().join("FORMAT"), "ablate store 2\n").unwrap();
    fs::remove_dir(store.root().join("runs")).unwrap();
    let shard = store.root().join("results").join(&action("one").to_hex()[..2]);
    fs::remove_dir_all(&shard).unwrap();
    fs::write(&shard, "").unwrap();
    let found = findings(&store, OnDamage::SetAside);
    let told: Vec<(Record, String, bool)> = found
        .iter()
        .map(|finding| (finding.record, finding.fault.to_string(), finding.set_aside.is_some()))
        .collect();
    let expected = [
        (Record::Format, "has other bytes than it was written with".to_owned(), false),
        (Record::Folder, "is a file in place of a folder".to_owned(), true),
        (Record::Folder, "is missing".to_owned(), false),
    ];
    assert_eq!(told, expected);
    fill(&store);
    assert!(store.result(&action("one")).is_some());
}

#[test]
fn a_file_in_place_of_a_shard_is_moved_out_of_the_way_of_what_is_made_again() {
    let (_dir, store) = filled();
    let path = record_path(&store, "results", &action("one").to_hex());
    let shard = path.parent().unwrap();
    fs::remove_dir_all(shard).unwrap();
    symlink("/etc", shard).unwrap();
    fill(&store);
    assert!(fs::symlink_metadata(shard).unwrap().is_dir() && store.result(&action("one")).is_some());
}

#[test]
fn progress_ends_with_everything_read() {
    let (_dir, store) = filled();
    let bytes: u64 = records(&store).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let last = Mutex::new(Progress::default());
    let told = |progress: Progress| {
        let mut last = last.lock().unwrap();
        if (progress.files, progress.bytes) > (last.files, last.bytes) {
            *last = progress;
        }
    };
    assert!(store.verify(OnDamage::Report, &told).unwrap().is_empty());
    let files = records(&store).len() as u64;
    let all = Progress { files, files_total: files, bytes, bytes_total: bytes };
    assert_eq!(*last.lock().unwrap(), all);
}

#[test]
fn an_output_that_is_no_file_is_refused() {
    let (dir, store) = new_store();
    let secret = dir.path().join("secret");
    fs::write(&secret, "not an output").unwrap();
    let path = store.root().join("staging/out");
    symlink(&secret, &path).unwrap();
    let error = store.insert_file(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{} is a symlink; only files can be outputs", path.display()));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(store.insert_file(&path), Err(StoreError::NotAFile { found: "a pipe", .. })));
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o200, 0o200, "it was not touched");
}
