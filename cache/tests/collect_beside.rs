//! What gc never takes from those who work beside it. In a program of its own: a process being started holds the locks of
//! the one that starts it for a moment, and other tests look at locks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ablate_cache::{ActionDigest, Class, Collect, OnDamage, Roots, Store, StoreError};

use crate::common::{action, check_child, child, entries, new_store, now, order, perform};

mod common;

const ROUNDS: usize = 60;

/// Records actions as roots, performs them, and reads them again and again; performs others that nobody keeps.
#[test]
#[ignore = "it is one of the writers of the test below"]
fn writes_and_reads() {
    let Some((root, writer)) = order().and_then(|order| {
        let (root, writer) = order.rsplit_once(' ')?;
        Some((root.to_owned(), writer.to_owned()))
    }) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    let shared = |round: usize| format!("shared {}", round % 7).into_bytes();
    for round in 0..ROUNDS {
        let name = format!("{writer}-{round}");
        fs::write(store.runs().join(action(&name).to_hex()), "").unwrap();
        perform(&store, &name, &[&shared(round), name.as_bytes()]).unwrap();
        perform(
            &store,
            &format!("nobody's {name}"),
            &[&shared(round + 1), format!("nobody's {name}").as_bytes()],
        )
        .unwrap();
        for earlier in 0..=round {
            let result = store.result(&action(&format!("{writer}-{earlier}"))).expect("a root stays");
            for object in result.outputs.values() {
                store.verified(&object.digest).unwrap();
            }
        }
        // A result somebody else left is a root from the moment it was seen under a pin.
        let other = action(&format!("nobody's {}-{round}", (writer.parse::<usize>().unwrap() + 1) % 4));
        let pin = store.pin().unwrap();
        if let Some(result) = store.result(&other) {
            fs::write(store.runs().join(other.to_hex()), "").unwrap();
            drop(pin);
            assert_eq!(store.result(&other), Some(result));
        }
    }
}

#[test]
fn gc_in_a_loop_takes_nothing_from_four_processes_that_write_and_read() {
    let (_dir, store) = new_store();
    let mut writers: Vec<_> = (0..4)
        .map(|writer| {
            let order = format!("{} {writer}", store.root().display());
            let mut command = child(&[], "writes_and_reads", &order);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let roots = || {
        let roots = fs::read_dir(store.runs()).unwrap();
        let names = roots.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let actions: BTreeSet<ActionDigest> = names.map(|name| name.parse().unwrap()).collect();
        Ok::<_, StoreError>(Roots { actions, objects: BTreeSet::new() })
    };
    let day = Duration::from_secs(24 * 3600);
    let request =
        Collect { now: now() + day, grace: Duration::ZERO, wait: Duration::from_secs(600), dry_run: false };
    let collect = || {
        let collected = store.collect(&request, roots).unwrap();
        collected.removed.get(&Class::Objects).map_or(0, |tally| tally.entries)
    };
    let (mut removed, mut turns) = (0, 0);
    while writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        removed += collect();
        turns += 1;
    }
    writers.into_iter().for_each(|writer| check_child(&writer.wait_with_output().unwrap()));
    assert!(
        turns > 0 && removed > 0,
        "gc had {turns} turns beside the writers and removed {removed} objects"
    );
    for writer in 0..4 {
        for round in 0..ROUNDS {
            assert!(store.result(&action(&format!("{writer}-{round}"))).is_some());
        }
    }
    assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
    assert_eq!(entries(&store.root().join("bad")), 0);
}
