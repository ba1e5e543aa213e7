//! What is there, what is missing, and why.
//!
//! Inputs enter a key by content, so keys are found in topological order, and an instance whose inputs are still to be
//! made has none yet: it is pending. Equal keys are one action, whichever instances they belong to.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Provenance, Store, StoreError};
use rayon::prelude::*;
use thiserror::Error;

use crate::graph::{Graph, InstanceId};
use crate::manifest::{Change, Manifest};

/// What is known of an instance before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its result is in the store.
    Hit(ActionDigest, ActionResult),
    /// Its key is known, and no whole result is in the store.
    Miss(ActionDigest),
    /// Its key depends on these instances' results, which are missing.
    Pending(Vec<InstanceId>),
}

/// The state of every instance of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// By [`InstanceId`].
    pub states: Vec<State>,
}

/// A file a stage declares, and that cannot be read.
#[derive(Debug, Error)]
#[error("{instance} declares the file {}: {source}", path.display())]
pub struct PlanError {
    /// The instance.
    pub instance: String,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Finds every key that can be known, and looks each up in the store.
///
/// # Errors
/// [`PlanError`] for the first declared file that cannot be read.
pub fn plan(graph: &Graph, store: &Store, project: &Path) -> Result<Plan, PlanError> {
    let keys = Keys::new(graph, project);
    let mut states: Vec<State> = vec![State::Pending(Vec::new()); graph.instances.len()];
    for level in levels(graph) {
        let find = |&id: &InstanceId| -> Result<State, PlanError> {
            let missing: Vec<InstanceId> =
                producers(graph, id).filter(|from| states[from.0].result().is_none()).collect();
            if !missing.is_empty() {
                return Ok(State::Pending(missing));
            }
            let action = keys.manifest(id, |from| states[from.0].result())?.action();
            Ok(match store.result(&action) {
                Some(result) => State::Hit(action, result),
                None => State::Miss(action),
            })
        };
        // Most of it is many small reads; few are not worth waking threads for.
        let found: Vec<State> = if level.len() < 64 {
            level.iter().map(find).collect::<Result<_, _>>()?
        } else {
            level.par_iter().with_min_len(16).map(find).collect::<Result<_, _>>()?
        };
        for (id, state) in level.into_iter().zip(found) {
            states[id.0] = state;
        }
    }
    Ok(Plan { states })
}

/// The instances by the length of their longest way from a source: those of a level only take inputs from earlier ones.
fn levels(graph: &Graph) -> Vec<Vec<InstanceId>> {
    let mut depths: Vec<usize> = Vec::with_capacity(graph.instances.len());
    let mut levels: Vec<Vec<InstanceId>> = Vec::new();
    for id in graph.ids() {
        let depth = producers(graph, id).map(|from| depths[from.0] + 1).max().unwrap_or(0);
        if depth == levels.len() {
            levels.push(Vec::new());
        }
        levels[depth].push(id);
        depths.push(depth);
    }
    levels
}

impl State {
    /// The result, where there is one.
    pub fn result(&self) -> Option<&ActionResult> {
        match self {
            Self::Hit(_, result) => Some(result),
            Self::Miss(_) | Self::Pending(_) => None,
        }
    }

    /// The key, where it is known.
    pub fn action(&self) -> Option<ActionDigest> {
        match self {
            Self::Hit(action, _) | Self::Miss(action) => Some(*action),
            Self::Pending(_) => None,
        }
    }
}

impl Plan {
    /// The state of an instance.
    pub fn state(&self, id: InstanceId) -> &State {
        &self.states[id.0]
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

/// Makes manifests. Each declared file is read once, and parameters that instances share are written out once.
pub struct Keys<'a> {
    graph: &'a Graph,
    project: &'a Path,
    files: Mutex<BTreeMap<PathBuf, Digest>>,
    /// By instance: the first one with the same parameters.
    firsts: Vec<usize>,
    /// By first instance: its stage as canonical RON.
    stages: Vec<OnceLock<String>>,
}

impl<'a> Keys<'a> {
    /// For a graph whose declared files are relative to `project`.
    pub fn new(graph: &'a Graph, project: &'a Path) -> Self {
        let mut seen = HashMap::new();
        let firsts = graph.instances.iter().enumerate().map(|(index, instance)| {
            *seen.entry(Arc::as_ptr(&instance.params).cast::<()>()).or_insert(index)
        });
        let firsts = firsts.collect();
        let stages = graph.instances.iter().map(|_| OnceLock::new()).collect();
        Self { graph, project, files: Mutex::default(), firsts, stages }
    }

    /// The manifest of an instance whose inputs all have results.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn manifest<'r>(
        &self,
        id: InstanceId,
        result_of: impl Fn(InstanceId) -> Option<&'r ActionResult>,
    ) -> Result<Manifest, PlanError> {
        let instance = self.graph.instance(id);
        let inputs = instance.inputs.iter().map(|(port, wire)| {
            let result =
                result_of(wire.from).expect("an instance is keyed after the ones it takes inputs from");
            let object = result.outputs.get(&wire.output);
            (port.clone(), object.expect("a result has every output its stage declares").digest)
        });
        let mut files = BTreeMap::new();
        for path in instance.params.files() {
            let digest = self.file(&path).map_err(|source| {
                let instance = self.graph.instance_name(id);
                PlanError { instance, path: self.project.join(&path), source }
            })?;
            files.insert(path.display().to_string(), digest);
        }
        let stage = self.stages[self.firsts[id.0]].get_or_init(|| instance.params.canonical());
        let params = instance.params.as_ref();
        Ok(Manifest::of(params, stage.clone(), instance.seed, inputs.collect(), files))
    }

    fn file(&self, path: &Path) -> io::Result<Digest> {
        let mut files = self.files.lock().expect("reading a file does not panic");
        if let Some(digest) = files.get(path) {
            return Ok(*digest);
        }
        let digest = content_of(&self.project.join(path))?;
        files.insert(path.to_owned(), digest);
        Ok(digest)
    }
}

/// The content of a declared file. That of a folder is the list of names and contents below it, in order of name.
///
/// # Errors
/// Where something cannot be read, or is neither a file nor a folder.
pub fn content_of(path: &Path) -> io::Result<Digest> {
    let meta = fs::metadata(path)?;
    if meta.is_file() {
        return Digest::of_reader(fs::File::open(path)?);
    }
    if !meta.is_dir() {
        return Err(io::Error::other("neither a file nor a folder"));
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut listing = String::from("folder\n");
    for entry in entries {
        let name = entry.file_name().expect("an entry of a folder has a name").to_string_lossy();
        listing.push_str(&format!("{:?} {}\n", name, content_of(&entry)?));
    }
    Ok(Digest::of_bytes(listing.as_bytes()))
}

/// Why an instance is not a hit.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// No action of its kind has a result.
    Never,
    /// The most similar action that has a result differs in these parts.
    Changed {
        /// That action.
        nearest: ActionDigest,
        /// What differs, never empty.
        changes: Vec<Change>,
    },
    /// It was begun and did not finish: it failed, was stopped, or its record is damaged.
    Unfinished,
    /// It was done, and these outputs are no longer in the store.
    ObjectsLost(Vec<String>),
    /// Its inputs are to be made first.
    Pending(Vec<InstanceId>),
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

    /// Why an instance is not a hit; `None` if it is one.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn reason(&self, keys: &Keys<'_>, plan: &Plan, id: InstanceId) -> Result<Option<Reason>, PlanError> {
        Ok(match plan.state(id) {
            State::Hit(..) => None,
            State::Pending(on) => Some(Reason::Pending(on.clone())),
            State::Miss(action) => {
                Some(self.miss(action, &keys.manifest(id, |from| plan.state(from).result())?))
            }
        })
    }

    fn miss(&self, action: &ActionDigest, manifest: &Manifest) -> Reason {
        if let Some(result) = self.store.recorded_result(action) {
            let lost = result.outputs.into_iter().filter(|(_, object)| !self.store.contains(object));
            return Reason::ObjectsLost(lost.map(|(port, _)| port).collect());
        }
        if self.store.manifest(action).is_some() {
            return Reason::Unfinished;
        }
        let candidates = self.done.get(&manifest.kind).into_iter().flatten();
        let nearest = candidates
            .map(|earlier| (earlier.manifest.diff(manifest), earlier))
            .min_by_key(|(changes, earlier)| (changes.len(), u64::MAX - earlier.provenance.started_unix_ms));
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
