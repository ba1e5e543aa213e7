//! Finished actions that differ from another in one whole number only.
//!
//! What they made can save work, as the checkpoint of a shorter training does: a stage says so by
//! [`Stage::kin`](ablate_stage::Stage::kin). They are found by their manifests without that field; the store is read for
//! them once a run for each kind and field, when the first missing action asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ablate_stage::cache::{ActionDigest, Store, StoreError};
use ablate_stage::{Kin, Side};

use crate::manifest::Manifest;

/// The actions with a result of the kinds that were asked for, by what they have in common.
#[derive(Default)]
pub struct Kindred {
    /// Stage kind and field that were read.
    read: BTreeSet<(String, &'static str)>,
    /// Manifest without the field → the field's value → action.
    families: HashMap<ActionDigest, BTreeMap<u64, ActionDigest>>,
}

impl Kindred {
    /// The nearest kin of an action that has a result.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the store cannot be listed.
    pub fn nearest(
        &mut self,
        store: &Store,
        manifest: &Manifest,
        kin: Kin,
    ) -> Result<Option<ActionDigest>, StoreError> {
        if self.read.insert((manifest.kind.clone(), kin.field)) {
            let kind = format!("kind: {:?},", manifest.kind);
            for (action, text) in store.manifests()?.into_iter().filter(|(_, text)| text.contains(&kind)) {
                if let Ok(earlier) = Manifest::parse(&text)
                    && earlier.kind == manifest.kind
                    && store.result(&action).is_some()
                {
                    self.add(&earlier, kin.field, action);
                }
            }
        }
        let Some((family, value)) = family(manifest, kin.field) else { return Ok(None) };
        let Some(members) = self.families.get(&family) else { return Ok(None) };
        let nearest = match kin.side {
            Side::Below => members.range(..value).next_back(),
            Side::Above => members.range(value.saturating_add(1)..).next(),
        };
        Ok(nearest.map(|(_, action)| *action))
    }

    /// Takes in an action that has its result.
    pub fn add(&mut self, manifest: &Manifest, field: &str, action: ActionDigest) {
        if let Some((family, value)) = family(manifest, field) {
            self.families.entry(family).or_default().insert(value, action);
        }
    }
}

/// A manifest without a field of its stage, and the field's value, where it is a whole number.
fn family(manifest: &Manifest, field: &str) -> Option<(ActionDigest, u64)> {
    let start = format!("    {field}: ");
    let mut value = None;
    let rest = manifest.stage.lines().filter(|line| match line.strip_prefix(&start) {
        Some(found) => {
            value = found.trim_end_matches(',').parse().ok();
            value.is_none()
        }
        None => true,
    });
    let stage = rest.collect::<Vec<_>>().join("\n");
    let without = Manifest { stage, ..manifest.clone() };
    Some((without.action(), value?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn manifest(epochs: u64, rate: &str) -> Manifest {
        Manifest {
            kind: "Pretrain".to_owned(),
            revision: 1,
            seed: Some(0),
            inputs: BTreeMap::new(),
            files: BTreeMap::new(),
            stage: format!(
                "Pretrain(\n    epochs: {epochs},\n    optimiser: Adam(\n        lr: {rate},\n    ),\n)"
            ),
        }
    }

    #[test]
    fn kin_differ_in_one_field_and_the_nearest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut kindred = Kindred::default();
        for (epochs, rate) in [(5, "0.1"), (10, "0.1"), (40, "0.1"), (15, "0.2")] {
            let manifest = manifest(epochs, rate);
            kindred.add(&manifest, "epochs", manifest.action());
        }
        let mut nearest = |epochs, side| {
            let kin = Kin { field: "epochs", side, output: "state" };
            kindred.nearest(&store, &manifest(epochs, "0.1"), kin).unwrap()
        };
        let action = |epochs| Some(manifest(epochs, "0.1").action());
        assert_eq!(nearest(20, Side::Below), action(10));
        assert_eq!(nearest(10, Side::Below), action(5));
        assert_eq!(nearest(5, Side::Below), None);
        assert_eq!(nearest(20, Side::Above), action(40));
        assert_eq!(nearest(40, Side::Above), None);
    }
}
