//! What is there, what is missing, and why.
//!
//! Inputs enter a key by content, so keys are found in topological order, and an instance whose inputs are still to be
//! made has none yet: it is pending. Equal keys are one action, whichever instances they belong to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Provenance, Rehash, Store, StoreError};
use rayon::prelude::*;
use thiserror::Error;

use crate::graph::{Graph, InstanceId, Part};
use crate::manifest::{self, Change, Manifest, Template};
use crate::runs::{End, Members};

/// What is known of an instance before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its result is in the store.
    Hit(ActionDigest, Box<ActionResult>),
    /// Its key is known, and no whole result is in the store.
    Miss(ActionDigest),
    /// Its key depends on these instances' results, which are missing.
    Pending(Vec<InstanceId>),
    /// Its key depends on this file, which cannot be read.
    NoFile(PathBuf),
}

/// The state of every instance of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// By [`InstanceId`].
    pub states: Vec<State>,
    /// What the declared files held.
    pub files: Files,
}

/// What the declared files of a graph held when they were read: a plan, and the run it is made for, go by one content of
/// each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Digest>);

/// A file a stage declares, and that cannot be read.
#[derive(Debug, Error)]
#[error("{instance} declares the file {}: {source}{}", path.display(), remedy.as_ref().map(|text| format!("; {text}")).unwrap_or_default())]
pub struct PlanError {
    /// The instance.
    pub instance: String,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
    /// What the stage says is to be done where a file is missing.
    pub remedy: Option<String>,
}

impl Files {
    /// Reads every file the stages of a graph declare, each once, and tells which cannot be read; `project` is what they are
    /// relative to, absolute. What looks as it did when it was last read is not read again, unless everything is to be hashed.
    pub fn read(
        graph: &Graph,
        store: &Store,
        project: &Path,
        rehash: Rehash,
        now: SystemTime,
    ) -> (Self, Vec<PlanError>) {
        let mut files = BTreeMap::new();
        let mut errors = Vec::new();
        for (file, id) in declared(graph) {
            match store.content_of(&project.join(&file), rehash, now) {
                Ok(digest) => drop(files.insert(file, digest)),
                Err(source) => errors.push(PlanError::of(graph, id, &file, project, source)),
            }
        }
        (Self(files), errors)
    }

    /// Which of them are not there.
    pub fn absent(graph: &Graph, project: &Path) -> Vec<PlanError> {
        let absent = |(file, id): (PathBuf, InstanceId)| {
            let source = std::fs::metadata(project.join(&file)).err()?;
            Some(PlanError::of(graph, id, &file, project, source))
        };
        declared(graph).into_iter().filter_map(absent).collect()
    }
}

impl PlanError {
    fn of(graph: &Graph, id: InstanceId, file: &Path, project: &Path, source: io::Error) -> Self {
        let is_missing = source.kind() == io::ErrorKind::NotFound;
        let remedy = if is_missing { graph.instance(id).params.remedy(file) } else { None };
        Self { instance: graph.instance_name(id), path: project.join(file), source, remedy }
    }
}

/// Every file the stages of a graph declare, once, with the first instance that does.
fn declared(graph: &Graph) -> Vec<(PathBuf, InstanceId)> {
    let mut files = Vec::new();
    let (mut known, mut seen) = (HashSet::new(), HashSet::new());
    for id in graph.ids() {
        let params = &graph.instance(id).params;
        if seen.insert(Arc::as_ptr(params).cast::<()>()) {
            let new = params.files().into_iter().filter(|file| known.insert(file.clone()));
            files.extend(new.map(|file| (file, id)));
        }
    }
    files
}

/// Finds every key that can be known, and looks each up in the store.
pub fn plan(graph: &Graph, store: &Store, files: Files) -> Plan {
    let keys = Keys::new(graph, &files);
    let mut states: Vec<State> = Vec::with_capacity(graph.instances.len());
    for batch in batches(graph) {
        let find = |index: usize| {
            let id = InstanceId(index);
            let missing: Vec<InstanceId> =
                producers(graph, id).filter(|from| states[from.0].result().is_none()).collect();
            if !missing.is_empty() {
                return State::Pending(missing);
            }
            let declared = graph.instance(id).params.files();
            if let Some(unread) = declared.into_iter().find(|file| !files.0.contains_key(file)) {
                return State::NoFile(unread);
            }
            let action = keys.action(id, |from| states[from.0].result());
            match store.result(&action) {
                Some(result) => State::Hit(action, Box::new(result)),
                None => State::Miss(action),
            }
        };
        // Most of it is many small reads; few are not worth waking threads for.
        let found: Vec<State> = if batch.len() < 64 {
            batch.map(find).collect()
        } else {
            batch.into_par_iter().with_min_len(64).map(find).collect()
        };
        states.extend(found);
    }
    Plan { states, files }
}

/// What a run left of each instance of its graph, as far as the store still has a record of it. Its artifacts may be gone.
pub fn left_by(graph: &Graph, store: &Store, members: &Members) -> Plan {
    let left = |id: InstanceId| {
        let member = members.get(&graph.instance_name(id));
        let Some((action, end)) = member.and_then(|member| Some((member.action?, member.end))) else {
            return State::Pending(producers(graph, id).collect());
        };
        match store.recorded_result(&action).filter(|_| end == End::Done) {
            Some(result) => State::Hit(action, Box::new(result)),
            None => State::Miss(action),
        }
    };
    let ids: Vec<InstanceId> = graph.ids().collect();
    Plan { states: ids.into_par_iter().map(left).collect(), files: Files::default() }
}

/// Instances next to each other that take inputs from earlier ones only: those of a depth, as a graph has them in this order.
fn batches(graph: &Graph) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    for (index, instance) in graph.instances.iter().enumerate() {
        if instance.inputs.values().any(|wire| wire.from.0 >= start) {
            batches.push(start..index);
            start = index;
        }
    }
    batches.push(start..graph.instances.len());
    batches
}

impl State {
    /// The result, where there is one.
    pub fn result(&self) -> Option<&ActionResult> {
        match self {
            Self::Hit(_, result) => Some(result),
            Self::Miss(_) | Self::Pending(_) | Self::NoFile(_) => None,
        }
    }

    /// The key, where it is known.
    pub fn action(&self) -> Option<ActionDigest> {
        match self {
            Self::Hit(action, _) | Self::Miss(action) => Some(*action),
            Self::Pending(_) | Self::NoFile(_) => None,
        }
    }
}

impl Plan {
    /// The state of an instance.
    pub fn state(&self, id: InstanceId) -> &State {
        &self.states[id.0]
    }

    /// The plan of a part of the graph.
    #[must_use]
    pub fn of_part(&self, part: &Part<'_>) -> Self {
        let place: HashMap<InstanceId, usize> = part.of.iter().copied().zip(0..).collect();
        let state = |id: &InstanceId| match self.state(*id) {
            State::Pending(on) => {
                State::Pending(on.iter().filter_map(|on| place.get(on).copied().map(InstanceId)).collect())
            }
            known @ (State::Hit(..) | State::Miss(_) | State::NoFile(_)) => known.clone(),
        };
        Self { states: part.of.iter().map(state).collect(), files: self.files.clone() }
    }

    /// Whether every instance has its result.
    pub fn is_complete(&self) -> bool {
        self.states.iter().all(|state| state.result().is_some())
    }
}

/// The instances an instance takes inputs from, each once.
pub fn producers(graph: &Graph, id: InstanceId) -> impl Iterator<Item = InstanceId> + use<> {
    let mut from: Vec<InstanceId> = graph.instance(id).inputs.values().map(|wire| wire.from).collect();
    from.sort_unstable();
    from.dedup();
    from.into_iter()
}

/// Makes manifests and keys. Parameters that instances share are written out once.
pub struct Keys<'a> {
    graph: &'a Graph,
    files: &'a Files,
    /// By instance: the place of its template.
    places: Vec<usize>,
    templates: Vec<OnceLock<Template>>,
}

impl<'a> Keys<'a> {
    /// For a graph and what its declared files hold.
    pub fn new(graph: &'a Graph, files: &'a Files) -> Self {
        let mut known = HashMap::new();
        let places = graph.instances.iter().map(|instance| {
            let next = known.len();
            *known.entry(Arc::as_ptr(&instance.params).cast::<()>()).or_insert(next)
        });
        let places = places.collect();
        let templates = known.iter().map(|_| OnceLock::new()).collect();
        Self { graph, files, places, templates }
    }

    /// The manifest of an instance whose inputs all have results.
    ///
    /// # Panics
    /// Where the files or the results are not those of the graph, or a file could not be read.
    pub fn manifest<'r>(
        &self,
        id: InstanceId,
        result_of: impl Fn(InstanceId) -> Option<&'r ActionResult>,
    ) -> Manifest {
        let inputs = self.inputs(id, result_of).map(|(port, digest)| (port.to_owned(), *digest));
        self.template(id).manifest(self.graph.instance(id).seed, inputs.collect())
    }

    /// The key of such an instance, without making its manifest.
    ///
    /// # Panics
    /// As [`Keys::manifest`].
    pub fn action<'r>(
        &self,
        id: InstanceId,
        result_of: impl Fn(InstanceId) -> Option<&'r ActionResult>,
    ) -> ActionDigest {
        self.template(id).action(self.graph.instance(id).seed, self.inputs(id, result_of))
    }

    /// What an instance takes in, in order of port.
    fn inputs<'r>(
        &self,
        id: InstanceId,
        result_of: impl Fn(InstanceId) -> Option<&'r ActionResult>,
    ) -> impl Iterator<Item = (&'a str, &'r Digest)> {
        self.graph.instance(id).inputs.iter().map(move |(port, wire)| {
            let result =
                result_of(wire.from).expect("an instance is keyed after the ones it takes inputs from");
            let object = result.outputs.get(&*wire.output);
            (&**port, &object.expect("a result has every output its stage declares").digest)
        })
    }

    fn template(&self, id: InstanceId) -> &Template {
        self.templates[self.places[id.0]].get_or_init(|| {
            let params = self.graph.instance(id).params.as_ref();
            let content = |path: PathBuf| {
                let digest = self.files.0.get(&path).expect("every declared file was read");
                (path.display().to_string(), *digest)
            };
            Template::new(params, params.files().into_iter().map(content).collect())
        })
    }
}

/// Why an instance is a miss.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// No action of its kind has a result.
    Never,
    /// The most similar action that has a result differs in these parts: as few as any has, and of those with as few, the one
    /// with the fewest inputs among them.
    Changed {
        /// That action.
        nearest: ActionDigest,
        /// What differs, never empty.
        changes: Vec<Change>,
    },
    /// It was begun and did not finish: it failed, was stopped, or its record is damaged.
    Unfinished(ActionDigest),
    /// It was done, and these outputs are no longer in the store.
    ObjectsLost(Vec<String>),
}

/// What earlier runs left, to explain misses by. Reading it costs a read of every manifest in the store.
pub struct History<'a> {
    store: &'a Store,
    /// Stage kind → its actions.
    done: BTreeMap<String, Vec<Earlier>>,
}

/// An action that has a result.
struct Earlier {
    action: ActionDigest,
    manifest: Manifest,
    provenance: Provenance,
}

impl<'a> History<'a> {
    /// Reads the manifests of every action that has a result.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read(store: &'a Store) -> Result<Self, StoreError> {
        let mut done: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (action, text) in store.manifests()? {
            if let (Some(result), Ok(manifest)) = (store.recorded_result(&action), Manifest::parse(&text)) {
                let earlier = Earlier { action, manifest, provenance: result.provenance };
                done.entry(earlier.manifest.kind.clone()).or_default().push(earlier);
            }
        }
        Ok(Self { store, done })
    }

    /// Why an instance is a miss.
    pub fn reason(&self, keys: &Keys<'_>, plan: &Plan, id: InstanceId) -> Reason {
        let manifest = keys.manifest(id, |from| plan.state(from).result());
        let action = manifest.action();
        if let Some(result) = self.store.recorded_result(&action) {
            let lost = result.outputs.into_iter().filter(|(_, object)| !self.store.contains(object));
            return Reason::ObjectsLost(lost.map(|(port, _)| port).collect());
        }
        if self.store.manifest(&action).is_some() {
            return Reason::Unfinished(action);
        }
        let candidates = self.done.get(&manifest.kind).into_iter().flatten();
        let nearest = candidates.map(|earlier| (earlier.manifest.diff(&manifest), earlier)).min_by_key(
            |(changes, earlier)| {
                // What somebody has written changes by itself, what comes in by something else.
                let inputs = changes.iter().filter(|change| matches!(change.part, manifest::Part::Input(_)));
                (changes.len(), inputs.count(), u64::MAX - earlier.provenance.started_unix_ms)
            },
        );
        match nearest {
            None => Reason::Never,
            Some((changes, nearest)) => Reason::Changed { nearest: nearest.action, changes },
        }
    }

    /// How the actions of a kind came about.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Provenance> {
        self.done.get(kind).into_iter().flatten().map(|earlier| &earlier.provenance)
    }
}
