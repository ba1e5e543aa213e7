//! What gc removes, and what it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use ablate_cache::{Class, Collect, Collected, Digest, OnDamage, Roots, Store, StoreError, Tally};

use crate::common::{action, files, new_store, now, object_path, perform};

mod common;

const HOUR: Duration = Duration::from_secs(3600);

/// As if a day had passed.
fn tomorrow() -> Collect {
    Collect { now: now() + 24 * HOUR, grace: HOUR, wait: Duration::from_secs(10), dry_run: false }
}

fn keep(names: &[&str]) -> Roots {
    Roots { actions: names.iter().map(|name| action(name)).collect(), objects: BTreeSet::new() }
}

fn collect(store: &Store, request: &Collect, roots: Roots) -> Collected {
    store.collect(request, || Ok::<_, StoreError>(roots)).unwrap()
}

fn tally(entries: u64, bytes: u64) -> Tally {
    Tally { entries, bytes }
}

fn sizes(store: &Store, folder: &str) -> Tally {
    let files = files(&store.root().join(folder));
    tally(files.len() as u64, files.iter().map(|path| fs::metadata(path).unwrap().len()).sum())
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_is_not_kept_goes_and_is_counted() {
    let (_dir, store) = new_store();
    perform(&store, "kept", &[b"shared", b"1"]).unwrap();
    let before = ["results", "manifests", "objects"].map(|folder| sizes(&store, folder));
    let lost = perform(&store, "lost", &[b"shared", b"22"]).unwrap();
    let after = ["results", "manifests", "objects"].map(|folder| sizes(&store, folder));
    let more = |index: usize| {
        tally(after[index].entries - before[index].entries, after[index].bytes - before[index].bytes)
    };
    let removed = BTreeMap::from([
        (Class::Locks, tally(2, 0)),
        (Class::Results, more(0)),
        (Class::Manifests, more(1)),
        (Class::Objects, tally(1, 2)),
    ]);
    let would = collect(&store, &Collect { dry_run: true, ..tomorrow() }, keep(&["kept"]));
    assert_eq!(would, Collected { removed });
    assert!(store.result(&action("lost")).is_some(), "a dry run removes nothing");
    assert_eq!(collect(&store, &tomorrow(), keep(&["kept"])), would);
    assert_eq!(would.total(), tally(5, more(0).bytes + more(1).bytes + 2));

    assert!(store.result(&action("kept")).is_some() && store.manifest(&action("kept")).is_some());
    assert!(store.recorded_result(&action("lost")).is_none() && store.manifest(&action("lost")).is_none());
    assert!(
        store.contains(lost.outputs.get("out0").unwrap())
            && !store.contains(lost.outputs.get("out1").unwrap())
    );
    assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
    assert_eq!(collect(&store, &tomorrow(), keep(&["kept"])), Collected::default());
}

#[test]
fn an_object_may_be_a_root_of_its_own() {
    let (_dir, store) = new_store();
    let result = perform(&store, "lost", &[b"kept", b"lost"]).unwrap();
    let objects = BTreeSet::from([Digest::of_bytes(b"kept")]);
    collect(&store, &tomorrow(), Roots { actions: BTreeSet::new(), objects });
    assert!(
        store.contains(result.outputs.get("out0").unwrap())
            && !store.contains(result.outputs.get("out1").unwrap())
    );
}

#[test]
fn what_is_young_stays_and_so_do_the_objects_of_a_young_result() {
    let (_dir, store) = new_store();
    let result = perform(&store, "young", &[b"1"]).unwrap();
    let old = now() - 24 * HOUR;
    set_time(&object_path(&store, &result.outputs.get("out0").unwrap().digest), old);
    let request = Collect { now: now(), ..tomorrow() };
    collect(&store, &request, Roots::default());
    assert_eq!(store.result(&action("young")), Some(result.clone()));
    assert!(store.manifest(&action("young")).is_some());

    let far = perform(&store, "from the future", &[b"2"]).unwrap();
    set_time(&object_path(&store, &far.outputs.get("out0").unwrap().digest), now() + 240 * HOUR);
    collect(&store, &tomorrow(), Roots::default());
    assert!(
        !store.contains(result.outputs.get("out0").unwrap())
            && store.contains(far.outputs.get("out0").unwrap())
    );
}

#[test]
fn what_is_made_again_is_young_again() {
    let (_dir, store) = new_store();
    let result = perform(&store, "again", &[b"1"]).unwrap();
    let old = now() - 24 * HOUR;
    for folder in ["objects", "manifests"] {
        files(&store.root().join(folder)).iter().for_each(|path| set_time(path, old));
    }
    perform(&store, "again", &[b"1"]).unwrap();
    fs::remove_dir_all(store.root().join("results")).unwrap();
    let store = Store::open(store.root()).unwrap();
    collect(&store, &Collect { now: now(), ..tomorrow() }, Roots::default());
    assert!(
        store.contains(result.outputs.get("out0").unwrap()) && store.manifest(&action("again")).is_some()
    );
}

#[test]
fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
    let (_dir, store) = new_store();
    let locks = ["living", "dead"].map(|name| store.try_lock(&action(name)).unwrap().unwrap());
    let attempts = [0, 1].map(|index| store.attempt(&locks[index]).unwrap());
    for name in ["living", "dead", "kept", "done"] {
        fs::create_dir(store.scratch(&action(name))).unwrap();
        fs::write(store.scratch(&action(name)).join("checkpoint"), "1234").unwrap();
    }
    let [living_lock, dead_lock] = locks;
    let [living, dead] = attempts;
    fs::write(dead.path().join("half"), "12").unwrap();
    let dead_path = dead.path().to_owned();
    std::mem::forget(dead);
    drop(dead_lock);
    perform(&store, "done", &[b"1"]).unwrap();
    fs::write(store.root().join("staging/half"), "123").unwrap();
    fs::create_dir_all(store.root().join("bad/one")).unwrap();

    // A torn checkpoint of a moment ago may still be wanted, and so may what was set aside; an attempt may not.
    let soon = collect(&store, &Collect { now: now(), ..tomorrow() }, keep(&["kept", "done"]));
    let expected =
        [(Class::Locks, tally(2, 0)), (Class::Attempts, tally(1, 2)), (Class::Scratch, tally(1, 4))];
    assert_eq!(soon.removed, BTreeMap::from(expected));
    assert!(living.path().exists() && !dead_path.exists());

    let later = collect(&store, &tomorrow(), keep(&["kept", "done"]));
    let expected = [(Class::Scratch, tally(1, 4)), (Class::Bad, tally(1, 0)), (Class::Staging, tally(1, 3))];
    assert_eq!(later.removed, BTreeMap::from(expected));
    let scratch = ["living", "kept"].map(|name| action(name).to_hex());
    let mut left: Vec<String> = fs::read_dir(store.root().join("scratch"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(BTreeSet::from_iter(left), BTreeSet::from(scratch));
    drop(living_lock);
}

#[test]
fn an_action_that_is_being_performed_is_not_touched() {
    let (_dir, store) = new_store();
    let result = perform(&store, "running", &[b"1"]).unwrap();
    let lock = store.try_lock(&action("running")).unwrap().unwrap();
    collect(&store, &tomorrow(), Roots::default());
    assert_eq!(store.result(&action("running")), Some(result));
    assert!(store.manifest(&action("running")).is_some());
    drop(lock);
    collect(&store, &tomorrow(), Roots::default());
    assert_eq!(store.recorded_result(&action("running")), None);
}

#[test]
fn a_pin_keeps_gc_out_and_gc_says_so_in_time() {
    let (_dir, store) = new_store();
    perform(&store, "lost", &[b"1"]).unwrap();
    let (one, two) = (store.pin().unwrap(), store.pin().unwrap());
    let request = Collect { wait: Duration::from_millis(20), ..tomorrow() };
    for pin in [one, two] {
        let refused = store.collect(&request, || -> Result<Roots, StoreError> { panic!("it is not asked") });
        assert!(matches!(refused, Err(StoreError::Busy { .. })));
        drop(pin);
    }
    assert!(store.result(&action("lost")).is_some());
    collect(&store, &request, Roots::default());
    assert!(store.result(&action("lost")).is_none());
}

#[test]
fn roots_that_cannot_be_told_remove_nothing() {
    let (_dir, store) = new_store();
    perform(&store, "one", &[b"1"]).unwrap();
    let refused = store.collect(&tomorrow(), || Err(StoreError::Missing(Digest::of_bytes(b""))));
    assert!(matches!(refused, Err(StoreError::Missing(_))));
    assert!(store.result(&action("one")).is_some());
}

#[test]
fn a_lock_has_one_holder_while_gc_removes_lock_files() {
    let (_dir, store) = new_store();
    let (holders, taken, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 2000 {
                        if let Some(_lock) = store.try_lock(&action("one")).unwrap() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                collect(&store, &tomorrow(), Roots::default());
            }
        });
        let ends: Vec<_> = takers.into_iter().map(|taker| taker.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok));
    });
}
