//! What a run made of its instances, as its journal tells.

use std::collections::BTreeMap;
use std::io;

use ablate_stage::cache::{ActionDigest, Store};

use super::listed;
use crate::journal::{self, Event};

/// What became of an instance in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has a result.
    Done,
    /// It failed.
    Failed,
    /// Something it needs failed.
    Skipped,
    /// The run ended before it was done, or goes on.
    Unfinished,
}

/// An instance in a run.
pub struct Member {
    /// Its action, where its key became known.
    pub action: Option<ActionDigest>,
    /// What became of it.
    pub end: End,
    /// What it reported, where this run performed it.
    pub metrics: BTreeMap<String, f64>,
}

/// The instances of a run, by name.
pub type Members = BTreeMap<String, Member>;

/// The kinds of entries that tell of these.
const TOLD: [&str; 8] = ["hits", "planned", "ordered", "started", "finished", "cached", "failed", "skipped"];

/// What became of each instance of a run so far.
///
/// # Errors
/// Where there is no such run, or its journal cannot be read, or what it found in the store is listed nowhere any more.
pub fn members(store: &Store, run: &str) -> io::Result<Members> {
    let mut members = Members::new();
    let mut came = |instance: String, known: Option<ActionDigest>, end, metrics| {
        let member =
            members.entry(instance).or_insert(Member { action: None, end, metrics: BTreeMap::new() });
        member.action = known.or(member.action);
        member.end = end;
        member.metrics = metrics;
    };
    for entry in journal::read_some(&store.runs(), run, &TOLD)? {
        match entry.event {
            Event::Hits { listing } => {
                for (instance, action) in listed(store, run, &listing)? {
                    came(instance, Some(action), End::Done, BTreeMap::new());
                }
            }
            Event::Planned { instance, action, .. } => {
                came(instance, action, End::Unfinished, BTreeMap::new());
            }
            Event::Ordered { instance, action } | Event::Started { instance, action } => {
                came(instance, Some(action), End::Unfinished, BTreeMap::new());
            }
            Event::Finished { instance, action, metrics, .. } => {
                came(instance, Some(action), End::Done, metrics);
            }
            Event::Cached { instance, action } => came(instance, Some(action), End::Done, BTreeMap::new()),
            Event::Failed { instance, action, .. } => came(instance, action, End::Failed, BTreeMap::new()),
            Event::Skipped { instance, .. } => came(instance, None, End::Skipped, BTreeMap::new()),
            Event::RunStarted { .. }
            | Event::Added { .. }
            | Event::Waiting { .. }
            | Event::Resumed { .. }
            | Event::Progress { .. }
            | Event::Output { .. }
            | Event::Retried { .. }
            | Event::Advice { .. }
            | Event::Stopped { .. }
            | Event::RunFinished { .. } => {}
        }
    }
    Ok(members)
}
