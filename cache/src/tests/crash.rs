//! Killed, or failing, before or after any change to the disk: the store is valid, and going on completes the work.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::child;
use crate::fail_point::{Side, Then, arm, disarm, trace};
use crate::record::Identity;
use crate::{
    ActionDigest, ActionResult, Collect, Digest, Fault, Finding, OnDamage, Provenance, Roots, Store,
    StoreError,
};

/// A piece of work that can be begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Work {
    /// Creates the store, and performs two actions.
    Record,
    /// Finds what is damaged, sets it aside, and makes it again.
    Mend,
    /// Collects what is left of the second action, and leftovers.
    Tidy,
}

#[derive(Serialize, Deserialize)]
struct Order {
    work: Work,
    root: PathBuf,
    point: usize,
}

const NAMES: [&str; 2] = ["one", "two"];

fn action(name: &str) -> ActionDigest {
    ActionDigest::of_manifest(&format!("Action({name})"))
}

fn output(name: &str, index: u8) -> Vec<u8> {
    format!("output {index} of {name}").into_bytes()
}

fn object(store: &Store, name: &str, index: u8) -> PathBuf {
    store.object_path(&Digest::of_bytes(&output(name, index)))
}

fn perform(store: &Store, name: &str) -> Result<(), StoreError> {
    let action = store.put_manifest(&format!("Action({name})"))?;
    let lock = store.try_lock(&action)?.expect("nobody else is there");
    let attempt = store.attempt(&lock)?;
    fs::create_dir_all(store.scratch(&action)).unwrap();
    fs::write(store.scratch(&action).join("checkpoint"), "7").unwrap();
    let _pin = store.pin()?;
    let mut outputs = LiteMap::new();
    for index in 0..2 {
        let path = attempt.path().join("out");
        fs::write(&path, output(name, index)).unwrap();
        if index == 1 {
            fs::hard_link(&path, attempt.path().join("other name")).unwrap();
        }
        outputs.insert(format!("out{index}"), store.insert_file(&path)?);
    }
    let result = ActionResult { outputs, metrics: LiteMap::new(), provenance: Provenance::default() };
    store.publish(&action, &result)?;
    store.clear_scratch(&action)
}

impl Work {
    /// What is there before.
    fn prepare(self, root: &Path) {
        if self == Self::Record {
            return;
        }
        Self::Record.run(root).unwrap();
        let store = Store::open(root).unwrap();
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::remove_file(&path).unwrap();
            fs::write(path, bytes).unwrap();
        };
        match self {
            Self::Record => {}
            Self::Mend => {
                write(object(&store, "one", 0), b"0utput 0 of one");
                fs::remove_file(object(&store, "one", 1)).unwrap();
                fs::create_dir_all(object(&store, "one", 1).join("deep")).unwrap();
                write(store.result_path(&action("two")), b"");
                write(store.manifest_path(&action("one")), b"Action(0ne)");
            }
            Self::Tidy => {
                let lock = store.try_lock(&action("three")).unwrap().unwrap();
                std::mem::forget(store.attempt(&lock).unwrap());
                fs::create_dir_all(store.scratch(&action("three"))).unwrap();
                fs::write(root.join("staging/half"), "").unwrap();
                let seen = Identity::at(&object(&store, "two", 0)).unwrap().unwrap();
                store.set_aside(&object(&store, "two", 0), seen).unwrap();
                perform(&store, "two").unwrap();
            }
        }
    }

    fn run(self, root: &Path) -> Result<(), StoreError> {
        let store = Store::open(root)?;
        match self {
            Self::Record => NAMES.iter().try_for_each(|name| perform(&store, name)),
            Self::Mend => {
                match store.verified(&Digest::of_bytes(&output("one", 0))) {
                    Ok(_) | Err(StoreError::Missing(_) | StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
                store.verify(OnDamage::SetAside, &|_| {})?;
                NAMES.iter().try_for_each(|name| perform(&store, name))?;
                // One who saw a damaged object where another has put a whole one.
                let seen = Identity::at(root).unwrap().unwrap();
                assert_eq!(store.set_aside(&object(&store, "two", 0), seen)?, None);
                Ok(())
            }
            Self::Tidy => {
                let roots = Roots { actions: BTreeSet::from([action("one")]), objects: BTreeSet::new() };
                let collect = Collect {
                    now: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
                    grace: Duration::ZERO,
                    wait: Duration::ZERO,
                    dry_run: false,
                };
                store.collect(&collect, || Ok(roots)).map(drop)
            }
        }
    }

    /// What must hold however far it got.
    fn check_between(self, root: &Path) {
        // A store of which not even the folder was made is none yet.
        let store = Store::open(root).unwrap();
        let mut findings = store.verify(OnDamage::SetAside, &|_| {}).unwrap();
        if self == Self::Mend {
            assert!(
                findings.iter().all(|finding| finding.set_aside.is_some() || is_loss(finding)),
                "{findings:?}"
            );
            findings = store.verify(OnDamage::Report, &|_| {}).unwrap();
            findings.retain(|finding| !is_loss(finding));
        }
        assert!(findings.is_empty(), "{findings:?}");
    }

    /// What must hold when it is done.
    fn check_done(self, root: &Path) {
        let store = Store::open(root).unwrap();
        assert!(store.verify(OnDamage::Report, &|_| {}).unwrap().is_empty());
        let done = |name| store.result(&action(name)).is_some() && store.manifest(&action(name)).is_some();
        assert!(done("one"));
        assert_eq!(done("two"), self != Self::Tidy);
        let count = |folder: &str| fs::read_dir(root.join(folder)).unwrap().count();
        if self == Self::Tidy {
            assert_eq!(["attempts", "scratch", "bad", "staging"].map(count), [0; 4]);
            assert_eq!(count("locks"), 1, "the one for gc itself");
            assert!(!object(&store, "two", 0).exists());
        }
    }

    /// The points on the way, in order.
    fn points(self) -> Vec<(&'static str, Side)> {
        let dir = child::folder();
        let root = dir.path().join("store");
        self.prepare(&root);
        let points = trace(|| self.run(&root).unwrap());
        self.check_done(&root);
        points
    }

    /// Interrupts it at each point in turn, and goes on.
    fn check(self, interrupt: impl Fn(Order)) {
        let _alone = child::alone();
        for (point, name) in self.points().into_iter().enumerate() {
            println!("{self:?}, point {point}: {name:?}");
            let dir = child::folder();
            let root = dir.path().join("store");
            self.prepare(&root);
            interrupt(Order { work: self, root: root.clone(), point });
            self.check_between(&root);
            self.run(&root).unwrap();
            self.check_done(&root);
        }
    }
}

fn is_loss(finding: &Finding) -> bool {
    matches!(finding.fault, Fault::MissingObject(_))
}

fn kill(order: Order) {
    let status = child::run("tests::crash::dies_at_a_point", &order);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "it died, as it was told to");
}

fn fail(order: Order) {
    arm(order.point, Then::Fail);
    // Some changes are tidying up, and may fail unheard.
    drop(order.work.run(&order.root));
    disarm();
}

#[test]
#[ignore = "it is the process that the tests here kill"]
fn dies_at_a_point() {
    if let Some(order) = child::order::<Order>() {
        arm(order.point, Then::Die);
        order.work.run(&order.root).unwrap();
    }
}

#[test]
fn recording_killed_at_any_point_leaves_a_valid_store_and_goes_on() {
    Work::Record.check(kill);
}

#[test]
fn mending_killed_at_any_point_leaves_a_valid_store_and_goes_on() {
    Work::Mend.check(kill);
}

#[test]
fn collecting_killed_at_any_point_leaves_a_valid_store_and_goes_on() {
    Work::Tidy.check(kill);
}

#[test]
fn an_error_at_any_point_leaves_a_valid_store_and_the_work_goes_on() {
    [Work::Record, Work::Mend, Work::Tidy].into_iter().for_each(|work| work.check(fail));
}

#[test]
fn every_change_to_the_disk_is_among_the_points() {
    let _alone = child::alone();
    let source = include_str!("../durable.rs");
    let declared: BTreeSet<&str> =
        source.split("step(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let points = [Work::Record, Work::Mend, Work::Tidy].into_iter().flat_map(Work::points);
    let reached: BTreeSet<&str> = points.map(|(name, _)| name).collect();
    assert_eq!(reached, declared);
}

#[test]
fn nothing_else_changes_the_disk() {
    let changes = [
        "File::create",
        "fs::write",
        "fs::copy",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "hard_link",
        "set_permissions",
        "sync_all",
        "sync_data",
        "persist",
        ".create(",
        "tempdir",
        "set_len",
        "set_modified",
        "unix::fs::symlink",
    ];
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.ends_with("durable.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let program = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for change in changes {
            assert!(!program.contains(change), "{}: {change}", path.display());
        }
    }
}
