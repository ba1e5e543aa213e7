//! Random operations, harm, gc, verify and kills, against a store of three maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use litemap::LiteMap;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::child;
use crate::fail_point::{Then, arm};
use crate::{
    ActionDigest, ActionResult, Collect, Digest, Object, OnDamage, Provenance, Published, Roots, Store,
    StoreError,
};

/// Something that is done to the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Insert(u8),
    Manifest(u8),
    Publish(u8, Vec<u8>),
    Read(u8),
    Verify,
    Collect { actions: BTreeSet<u8>, objects: BTreeSet<u8> },
    Reopen,
}

/// Something that happens to it.
#[derive(Clone, Debug)]
enum Event {
    Done(Step),
    /// The process that does it is killed at that point, if it gets there.
    Killed(Step, usize),
    Flipped(u8),
    Removed(u8),
    RecordDamaged(u8),
    ManifestDamaged(u8),
}

#[derive(Serialize, Deserialize)]
struct Order {
    root: PathBuf,
    step: Step,
    point: usize,
}

/// An object of the model: its bytes may have changed without anybody noticing yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Whole,
    Flipped,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    objects: BTreeMap<u8, Kept>,
    manifests: BTreeSet<u8>,
    results: BTreeMap<u8, Vec<u8>>,
}

fn bytes(name: u8) -> Vec<u8> {
    vec![name; 1 + usize::from(name) * 1000]
}

fn object(name: u8) -> Object {
    Object { digest: Digest::of_bytes(&bytes(name)), size: bytes(name).len() as u64 }
}

fn text(name: u8) -> String {
    format!("Action({name})")
}

fn action(name: u8) -> ActionDigest {
    ActionDigest::of_manifest(&text(name))
}

fn result_of(of: &[u8]) -> ActionResult {
    let outputs = of.iter().enumerate().map(|(index, &name)| (format!("out{index}"), object(name))).collect();
    let metrics = LiteMap::from_iter([("accuracy".to_owned(), 0.1 + 0.2)]);
    ActionResult { outputs, metrics, provenance: Provenance::default() }
}

impl Model {
    fn stands(&self, of: &[u8]) -> bool {
        of.iter().all(|name| self.objects.contains_key(name))
    }

    /// The model after a step.
    fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::Insert(name) => drop(after.objects.insert(*name, Kept::Whole)),
            Step::Manifest(name) => drop(after.manifests.insert(*name)),
            Step::Publish(name, of) => {
                let stands = self.results.get(name).is_some_and(|of| self.stands(of));
                if !stands && self.stands(of) {
                    after.results.insert(*name, of.clone());
                }
            }
            Step::Read(name) => {
                if self.objects.get(name) == Some(&Kept::Flipped) {
                    after.objects.remove(name);
                }
            }
            Step::Verify => after.objects.retain(|_, kept| *kept == Kept::Whole),
            Step::Collect { actions, objects } => {
                after.results.retain(|name, _| actions.contains(name));
                after.manifests.retain(|name| actions.contains(name));
                let live: BTreeSet<u8> = after.results.values().flatten().chain(objects).copied().collect();
                after.objects.retain(|name, _| live.contains(name));
            }
            Step::Reopen => {}
        }
        after
    }

    /// What is on the disk.
    fn observed(store: &Store) -> Self {
        let mut seen = Self::default();
        for name in 0..5 {
            if let Ok(found) = fs::read(store.object_path(&object(name).digest)) {
                seen.objects.insert(name, if found == bytes(name) { Kept::Whole } else { Kept::Flipped });
            }
            seen.manifests.extend(store.manifest(&action(name)).map(|_| name));
            if let Some(result) = store.recorded_result(&action(name)) {
                let name_of = |digest: &Digest| (0..5).find(|&name| object(name).digest == *digest).unwrap();
                seen.results
                    .insert(name, result.outputs.values().map(|object| name_of(&object.digest)).collect());
            }
        }
        seen
    }

    /// Whether each entry is as in the one or as in the other.
    fn is_between(&self, one: &Self, other: &Self) -> bool {
        (0..5).all(|name| {
            let is = |like: &Self| self.objects.get(&name) == like.objects.get(&name);
            let manifest_is = |like: &Self| self.manifests.contains(&name) == like.manifests.contains(&name);
            let result_is = |like: &Self| self.results.get(&name) == like.results.get(&name);
            (is(one) || is(other))
                && (manifest_is(one) || manifest_is(other))
                && (result_is(one) || result_is(other))
        })
    }
}

/// Does a step, and checks what it says against the model before it.
fn perform(store: &mut Store, step: &Step, before: Option<&Model>) -> Result<(), TestCaseError> {
    match step {
        Step::Insert(name) => {
            let lock = store.try_lock(&action(*name)).unwrap().unwrap();
            let attempt = store.attempt(&lock).unwrap();
            fs::write(attempt.path().join("out"), bytes(*name)).unwrap();
            prop_assert_eq!(store.insert_file(&attempt.path().join("out")).unwrap(), object(*name));
        }
        Step::Manifest(name) => prop_assert_eq!(store.put_manifest(&text(*name)).unwrap(), action(*name)),
        Step::Publish(name, of) => {
            let published = store.publish(&action(*name), &result_of(of));
            if let Some(model) = before {
                match model.results.get(name).filter(|of| model.stands(of)) {
                    Some(stands) => {
                        prop_assert_eq!(published.unwrap(), Published::Adopted(result_of(stands)))
                    }
                    None if model.stands(of) => prop_assert_eq!(published.unwrap(), Published::First),
                    None => prop_assert!(matches!(published, Err(StoreError::Missing(_)))),
                }
            }
        }
        Step::Read(name) => {
            let read = store.verified(&object(*name).digest);
            if let Some(model) = before {
                match (model.objects.get(name), read) {
                    (Some(Kept::Whole), Ok(path)) => prop_assert_eq!(fs::read(path).unwrap(), bytes(*name)),
                    (Some(Kept::Flipped), Err(StoreError::Damaged { .. })) => {}
                    (None, Err(StoreError::Missing(_))) => {}
                    (_, outcome) => prop_assert!(false, "{outcome:?}"),
                }
            }
        }
        Step::Verify => {
            let findings = store.verify(OnDamage::SetAside, &|_| {}).unwrap();
            if let Some(model) = before {
                let flipped = model.objects.values().filter(|kept| **kept == Kept::Flipped).count();
                let found = |finding: &&crate::Finding| matches!(finding.record, crate::Record::Object(_));
                prop_assert_eq!(findings.iter().filter(found).count(), flipped);
            }
        }
        Step::Collect { actions, objects } => {
            let roots = || {
                let actions = actions.iter().map(|&name| action(name)).collect();
                let objects = objects.iter().map(|&name| object(name).digest).collect();
                Ok::<_, StoreError>(Roots { actions, objects })
            };
            let collect = Collect {
                now: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
                grace: Duration::ZERO,
                wait: Duration::ZERO,
                dry_run: true,
            };
            let would = store.collect(&collect, roots).unwrap();
            prop_assert_eq!(store.collect(&Collect { dry_run: false, ..collect }, roots).unwrap(), would);
        }
        Step::Reopen => *store = Store::open(store.root()).unwrap(),
    }
    Ok(())
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let name = || 0_u8..5;
    let names = || proptest::collection::btree_set(name(), 0..4);
    let step = || {
        prop_oneof![
            5 => name().prop_map(Step::Insert),
            2 => name().prop_map(Step::Manifest),
            4 => (name(), proptest::collection::vec(name(), 0..3)).prop_map(|(name, of)| Step::Publish(name, of)),
            2 => name().prop_map(Step::Read),
            1 => Just(Step::Verify),
            1 => (names(), names()).prop_map(|(actions, objects)| Step::Collect { actions, objects }),
            1 => Just(Step::Reopen),
        ]
    };
    let event = prop_oneof![
        12 => step().prop_map(Event::Done),
        2 => (step(), 0_usize..30).prop_map(|(step, point)| Event::Killed(step, point)),
        1 => name().prop_map(Event::Flipped),
        1 => name().prop_map(Event::Removed),
        1 => name().prop_map(Event::RecordDamaged),
        1 => name().prop_map(Event::ManifestDamaged),
    ];
    proptest::collection::vec(event, 1..60)
}

#[test]
#[ignore = "it is the process that the test below kills"]
fn dies_in_a_step() {
    if let Some(order) = child::order::<Order>() {
        let mut store = Store::open(&order.root).unwrap();
        arm(order.point, Then::Die);
        perform(&mut store, &order.step, None).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(events in events()) {
        let _alone = child::alone();
        let dir = child::folder();
        let mut store = Store::open(&dir.path().join("store")).unwrap();
        let mut model = Model::default();
        for event in events {
            match event {
                Event::Done(step) => {
                    perform(&mut store, &step, Some(&model))?;
                    model = model.after(&step);
                }
                Event::Killed(step, point) => {
                    let after = model.after(&step);
                    child::run("tests::model::dies_in_a_step", &Order { root: store.root().to_owned(), step, point });
                    let observed = Model::observed(&store);
                    prop_assert!(observed.is_between(&model, &after), "{observed:?} is not between {model:?} and {after:?}");
                    for (name, of) in &observed.results {
                        let lost = model.results.get(name) == Some(of) && model.stands(of) && !observed.stands(of);
                        prop_assert!(!lost || model.objects.values().any(|kept| *kept == Kept::Flipped), "{name} lost its objects");
                    }
                    model = observed;
                }
                Event::Flipped(name) => {
                    if let Some(kept) = model.objects.get_mut(&name) {
                        let path = store.object_path(&object(name).digest);
                        fs::remove_file(&path).unwrap();
                        fs::write(&path, [&[!name], &bytes(name)[1..]].concat()).unwrap();
                        *kept = Kept::Flipped;
                    }
                }
                Event::Removed(name) => {
                    if model.objects.remove(&name).is_some() {
                        fs::remove_file(store.object_path(&object(name).digest)).unwrap();
                    }
                }
                Event::RecordDamaged(name) => {
                    if model.results.remove(&name).is_some() {
                        fs::write(store.result_path(&action(name)), "{}").unwrap();
                    }
                }
                Event::ManifestDamaged(name) => {
                    if model.manifests.remove(&name) {
                        fs::write(store.manifest_path(&action(name)), "Action(?)").unwrap();
                    }
                }
            }
            prop_assert_eq!(&Model::observed(&store), &model);
            for name in 0..5 {
                prop_assert_eq!(store.contains(&object(name)), model.objects.contains_key(&name));
                let expected = model.results.get(&name).filter(|of| model.stands(of)).map(|of| result_of(of));
                prop_assert_eq!(store.result(&action(name)), expected);
            }
        }
    }
}
