//! Garbage collection: what nobody keeps is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::durable;
use crate::hint;
use crate::listing::{Listing, entries, hex_name};
use crate::lock::{self, Pin};
use crate::record::Found;
use crate::store::failed;
use crate::{ActionDigest, Digest, Store, StoreError};

/// What [`Store::collect`] keeps.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Actions whose manifests, results and outputs are kept, and whose checkpoints are while they have no result.
    pub actions: BTreeSet<ActionDigest>,
    /// Objects that are kept whether or not a result names them.
    pub objects: BTreeSet<Digest>,
}

/// How [`Store::collect`] goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Collect {
    /// The time, to tell ages by. The store's file system should go by the same clock.
    pub now: SystemTime,
    /// What changed less than this ago is kept.
    pub grace: Duration,
    /// How long to wait for a moment at which nobody holds a [`Pin`].
    pub wait: Duration,
    /// Only look. Nobody is kept waiting, so what is in flight may be counted wrongly.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// By what it was; a class of which there was nothing is absent.
    pub removed: BTreeMap<Class, Tally>,
}

/// What gc removes, in the order in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Lock files nobody holds.
    Locks,
    /// Results of actions that are not kept.
    Results,
    /// Manifests of actions that are not kept.
    Manifests,
    /// Objects that no kept result names.
    Objects,
    /// Folders of attempts whose process is gone.
    Attempts,
    /// Checkpoints of actions that are done, or not kept.
    Scratch,
    /// What was set aside as damaged.
    Bad,
    /// Half-written records of processes that are gone.
    Staging,
    /// Hints about files that are gone.
    Hints,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files; of attempts, scratch and what was set aside, folders.
    pub entries: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Collected {
    /// All classes together.
    pub fn total(&self) -> Tally {
        self.removed.values().fold(Tally::default(), |sum, tally| Tally {
            entries: sum.entries + tally.entries,
            bytes: sum.bytes + tally.bytes,
        })
    }

    fn count(&mut self, class: Class, bytes: u64) {
        let tally = self.removed.entry(class).or_default();
        tally.entries += 1;
        tally.bytes += bytes;
    }
}

impl Store {
    /// Removes what is neither a root nor young nor in use.
    ///
    /// Live are: the roots, actions some process holds the lock of, and what changed within the grace period; with a
    /// live result, the objects it names, however old. Of what is live nothing is removed.
    ///
    /// Beside running processes: while anybody holds a [`Pin`], nothing is looked at or removed; while this is at
    /// work, who wants a pin waits. `roots` is asked in that time. So, whatever the grace period:
    /// - objects inserted and the result that names them published under one pin are all there at the end of it;
    /// - a result looked up, and its action recorded where `roots` looks, under one pin, stays;
    /// - an action recorded there before it is performed keeps its result.
    ///
    /// What a process relies on without that, as the inputs of an action that runs for hours and that no root names, is
    /// kept by its age only; where it is gone, it is found missing and made again.
    ///
    /// Results go before objects, and for good before the first object goes: at whatever point this dies, and whenever
    /// the power fails, a result that stands has its objects.
    ///
    /// # Errors
    /// What `roots` says, and then nothing was removed; [`StoreError::Busy`] where others held pins all the time;
    /// [`StoreError::Io`] where a folder or a live result cannot be read, and then no record was removed, or where a
    /// record cannot be removed. Leftovers that cannot be removed are passed over.
    pub fn collect<E: From<StoreError>>(
        &self,
        request: &Collect,
        roots: impl FnOnce() -> Result<Roots, E>,
    ) -> Result<Collected, E> {
        let _turn = self.turn(request)?;
        let roots = roots()?;
        Ok(self.sweep(Sweep { request, roots, collected: Collected::default() })?)
    }

    fn sweep(&self, mut sweep: Sweep<'_>) -> Result<Collected, StoreError> {
        // Listed before it is asked who runs: whoever is found not to run then had ended before, and does not come back.
        let attempts = entries(&self.root().join("attempts"))?;
        let running = self.running(&mut sweep)?;

        let live = self.sweep_results(&running, &mut sweep)?;
        self.sweep_manifests(&running, &live.actions, &mut sweep)?;
        self.sweep_objects(&live.objects, &mut sweep)?;

        let runs: BTreeSet<String> = running.iter().map(ActionDigest::short).collect();
        for attempt in attempts {
            let name = attempt.file_name().map(|name| name.to_string_lossy().into_owned());
            let action = name.as_deref().and_then(|name| name.split_once('-'));
            if action.is_none_or(|(action, _)| !runs.contains(action)) {
                sweep.leftover(Class::Attempts, &attempt, Tree::of(&attempt)?);
            }
        }
        self.sweep_scratch(&running, &mut sweep)?;
        for (class, folder) in [(Class::Bad, "bad"), (Class::Staging, "staging")] {
            for left in entries(&self.root().join(folder))? {
                let tree = Tree::of(&left)?;
                if sweep.is_old(tree.changed) {
                    sweep.leftover(class, &left, tree);
                }
            }
        }
        for (_, path, meta) in files::<Digest>(&self.root().join("hints"))? {
            if sweep.is_dead(&meta) && hint::is_stale(&path) {
                sweep.file(Class::Hints, &path, meta.len())?;
            }
        }
        Ok(sweep.collected)
    }

    /// Waits for the store to be nobody else's.
    fn turn(&self, request: &Collect) -> Result<Pin, StoreError> {
        if request.dry_run {
            return self.pin();
        }
        let path = self.collect_lock();
        match lock::exclusive_within(&path, request.wait).map_err(failed("cannot lock", &path))? {
            Some(file) => Ok(Pin { _file: file }),
            None => Err(StoreError::Busy { path: self.root().to_owned() }),
        }
    }

    /// The actions somebody holds the lock of; the other lock files are removed.
    fn running(&self, sweep: &mut Sweep<'_>) -> Result<BTreeSet<ActionDigest>, StoreError> {
        let mut running = BTreeSet::new();
        for path in entries(&self.root().join("locks"))? {
            let Some(action) = hex_name(&path, 64).and_then(|hex| hex.parse().ok()) else { continue };
            match lock::try_exclusive(&path).map_err(failed("cannot lock", &path))? {
                None => drop(running.insert(action)),
                Some(_held) => sweep.file(Class::Locks, &path, 0)?,
            }
        }
        Ok(running)
    }

    fn sweep_results(
        &self,
        running: &BTreeSet<ActionDigest>,
        sweep: &mut Sweep<'_>,
    ) -> Result<Live, StoreError> {
        let mut live = Live { actions: BTreeSet::new(), objects: sweep.roots.objects.clone() };
        let mut dead = Vec::new();
        for (action, path, meta) in files::<ActionDigest>(&self.root().join("results"))? {
            if !sweep.roots.actions.contains(&action) && !running.contains(&action) && sweep.is_dead(&meta) {
                dead.push((path, meta.len()));
                continue;
            }
            match self.read_result(&action).map_err(failed("cannot read", &path))? {
                Found::Whole(result) => {
                    live.objects.extend(result.outputs.values().map(|object| object.digest));
                    live.actions.insert(action);
                }
                // It is no result to anybody, and tells of no objects.
                Found::Absent | Found::Damaged(_) => {}
            }
        }
        let mut folders = BTreeSet::new();
        for (path, bytes) in dead {
            sweep.file(Class::Results, &path, bytes)?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        if !sweep.request.dry_run {
            for folder in folders {
                durable::sync_dir(&folder, self.durability()).map_err(failed("cannot sync", &folder))?;
            }
        }
        Ok(live)
    }

    fn sweep_manifests(
        &self,
        running: &BTreeSet<ActionDigest>,
        live: &BTreeSet<ActionDigest>,
        sweep: &mut Sweep<'_>,
    ) -> Result<(), StoreError> {
        for (action, path, meta) in files::<ActionDigest>(&self.root().join("manifests"))? {
            let kept = [&sweep.roots.actions, running, live].iter().any(|kept| kept.contains(&action));
            if !kept && sweep.is_dead(&meta) {
                sweep.file(Class::Manifests, &path, meta.len())?;
            }
        }
        Ok(())
    }

    fn sweep_objects(&self, live: &BTreeSet<Digest>, sweep: &mut Sweep<'_>) -> Result<(), StoreError> {
        for (digest, path, meta) in files::<Digest>(&self.root().join("objects"))? {
            if !live.contains(&digest) && sweep.is_dead(&meta) {
                sweep.file(Class::Objects, &path, meta.len())?;
            }
        }
        Ok(())
    }

    fn sweep_scratch(
        &self,
        running: &BTreeSet<ActionDigest>,
        sweep: &mut Sweep<'_>,
    ) -> Result<(), StoreError> {
        for path in entries(&self.root().join("scratch"))? {
            let Some(action) = hex_name(&path, 64).and_then(|hex| hex.parse().ok()) else { continue };
            let tree = Tree::of(&path)?;
            let is_garbage = self.result(&action).is_some()
                || !sweep.roots.actions.contains(&action) && sweep.is_old(tree.changed);
            if running.contains(&action) || !is_garbage {
                continue;
            }
            if sweep.request.dry_run {
                sweep.leftover(Class::Scratch, &path, tree);
            } else if let Some(_lock) = self.try_lock(&action)? {
                // Who begins the action now waits for the lock, and finds no half of a folder.
                sweep.leftover(Class::Scratch, &path, tree);
                let lock = self.lock_path(&action);
                durable::remove_file(&lock).map_err(failed("cannot remove", &lock))?;
            }
        }
        Ok(())
    }
}

struct Live {
    actions: BTreeSet<ActionDigest>,
    objects: BTreeSet<Digest>,
}

/// Decides by age, removes, and counts.
struct Sweep<'r> {
    request: &'r Collect,
    roots: Roots,
    collected: Collected,
}

impl Sweep<'_> {
    /// What changes while this goes on, or carries a time in the future, is not old.
    fn is_old(&self, changed: SystemTime) -> bool {
        self.request.now.duration_since(changed).is_ok_and(|age| age >= self.request.grace)
    }

    fn is_dead(&self, meta: &Metadata) -> bool {
        meta.modified().is_ok_and(|changed| self.is_old(changed))
    }

    fn file(&mut self, class: Class, path: &Path, bytes: u64) -> Result<(), StoreError> {
        if !self.request.dry_run {
            durable::remove_file(path).map_err(failed("cannot remove", path))?;
        }
        self.collected.count(class, bytes);
        Ok(())
    }

    /// A program that outlived its attempt may write into what is removed; the rest of it goes the next time.
    fn leftover(&mut self, class: Class, path: &Path, tree: Tree) {
        if self.request.dry_run || durable::remove_tree(path).is_ok() {
            self.collected.count(class, tree.bytes);
        }
    }
}

/// The regular files of a folder of records. What else is there under such a name is left for verify.
fn files<N: FromStr>(folder: &Path) -> Result<Vec<(N, PathBuf, Metadata)>, StoreError> {
    let mut found = Vec::new();
    for (hex, path) in Listing::read(folder)?.records {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => found.extend(hex.parse().ok().map(|name| (name, path, meta))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("cannot read", &path)(error)),
        }
    }
    Ok(found)
}

/// A file or folder with all that is in it.
struct Tree {
    bytes: u64,
    changed: SystemTime,
}

impl Tree {
    /// What vanishes meanwhile does not count.
    fn of(path: &Path) -> Result<Self, StoreError> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { bytes: 0, changed: SystemTime::UNIX_EPOCH });
            }
            Err(error) => return Err(failed("cannot read", path)(error)),
        };
        let changed = meta.modified().map_err(failed("cannot read the time of", path))?;
        if !meta.is_dir() {
            return Ok(Self { bytes: meta.len(), changed });
        }
        let mut tree = Self { bytes: 0, changed };
        // Gone, or not to be listed: it is as old as it looks from outside.
        for entry in entries(path).unwrap_or_default() {
            let part = Self::of(&entry)?;
            tree.bytes += part.bytes;
            tree.changed = tree.changed.max(part.changed);
        }
        Ok(tree)
    }
}
