//! What the runs of a pipeline have tried, as their journals tell.

use std::collections::HashMap;
use std::path::Path;

use ablate_stage::Progress;
use ablate_stage::cache::ActionDigest;

use super::{Run, Standing, sum_up};
use crate::journal::{self, Event};

/// The latest runs of a store that are asked.
const MAX_RUNS: usize = 1000;
/// The most bytes read of the journals of runs that are over, besides the latest.
const MAX_BYTES: u64 = 64 << 20;

/// The most reports of progress kept of an action; a chart has fewer columns.
const MAX_TOLD: usize = 1024;

/// The kinds of entries that tell of tries.
const TOLD: [&str; 6] = ["started", "waiting", "failed", "finished", "cached", "stopped"];
/// The same, of a run that goes on.
const TOLD_WHILE_RUNNING: [&str; 7] =
    ["started", "waiting", "progress", "failed", "finished", "cached", "stopped"];

/// A try at an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// It goes on, in this run or another; with how far it has told to be, the latest last.
    Running(Vec<Progress>),
    /// It failed.
    Failed {
        /// In this run.
        run: String,
        /// Why.
        error: String,
    },
    /// It came to another end.
    Over,
}

/// What was tried of some instances, the latest first, each with its action where that is known.
pub struct Attempts(HashMap<String, Vec<(Option<ActionDigest>, Attempt)>>);

impl Attempts {
    /// Of the instances with these names, in these runs, the latest first. A journal that cannot be read tells nothing.
    pub fn of<'n>(
        runs: impl Iterator<Item = Run>,
        folder: &Path,
        names: impl Iterator<Item = &'n str>,
    ) -> Self {
        let mut all: HashMap<String, Vec<_>> = names.map(|name| (name.to_owned(), Vec::new())).collect();
        let mut room = MAX_BYTES;
        for (at, run) in runs.enumerate() {
            if run.standing != Standing::Running && at > 0 {
                let size =
                    std::fs::metadata(journal::journal_path(folder, &run.run)).map_or(0, |of| of.len());
                match room.checked_sub(size) {
                    Some(left) => room = left,
                    None => continue,
                }
            }
            for (name, attempt) in in_run(folder, &run, &all) {
                all.entry(name).or_default().push(attempt);
            }
        }
        Self(all)
    }

    /// The last try at an action of an instance; an action that is not known was never tried.
    pub fn last(&self, instance: &str, action: Option<ActionDigest>) -> Option<&Attempt> {
        let is_it = |(then, _): &&(Option<ActionDigest>, Attempt)| then.is_none() || *then == action;
        let mut tries = self.0.get(instance)?.iter().filter(is_it).map(|(_, attempt)| attempt);
        let last = tries.next()?;
        // A run that waits for another does not know how far that is.
        let says_nothing = |attempt: &Attempt| matches!(attempt, Attempt::Running(told) if told.is_empty());
        let says_more = |attempt: &&Attempt| matches!(attempt, Attempt::Running(told) if !told.is_empty());
        let of_another = if says_nothing(last) { tries.find(says_more) } else { None };
        Some(of_another.unwrap_or(last))
    }
}

/// The latest runs of a pipeline, the last one first.
pub fn runs_of(pipeline: &str, folder: &Path) -> impl Iterator<Item = Run> {
    let runs = journal::runs(folder).unwrap_or_default().into_iter().rev().take(MAX_RUNS);
    let runs = runs.filter_map(|run| sum_up(folder, &run).ok().flatten());
    runs.filter(move |run| run.pipeline == pipeline)
}

/// The last tries of a run.
fn in_run<T>(
    folder: &Path,
    run: &Run,
    wanted: &HashMap<String, T>,
) -> HashMap<String, (Option<ActionDigest>, Attempt)> {
    let goes_on = run.standing == Standing::Running;
    let kinds = if goes_on { &TOLD_WHILE_RUNNING[..] } else { &TOLD };
    let mut tries: HashMap<String, (Option<ActionDigest>, Attempt)> = HashMap::new();
    for entry in journal::read_some(folder, &run.run, kinds).unwrap_or_default() {
        let running = || Attempt::Running(Vec::new());
        let (instance, action, attempt) = match entry.event {
            Event::Started { instance, action } => (instance, Some(action), running()),
            Event::Waiting { instance } => (instance, None, running()),
            Event::Progress { instance, progress } => {
                if let Some((_, Attempt::Running(told))) = tries.get_mut(&instance) {
                    if told.len() == MAX_TOLD {
                        thin(told);
                    }
                    told.push(progress);
                }
                continue;
            }
            Event::Failed { instance, action, error } => {
                (instance, action, Attempt::Failed { run: run.run.clone(), error })
            }
            Event::Finished { instance, .. }
            | Event::Cached { instance, .. }
            | Event::Stopped { instance } => (instance, None, Attempt::Over),
            _ => continue,
        };
        if wanted.contains_key(&instance) {
            let known = tries.entry(instance).or_insert((None, Attempt::Over));
            *known = (action.or(known.0), attempt);
        }
    }
    if !goes_on {
        let has_not_failed = |attempt: &Attempt| !matches!(attempt, Attempt::Failed { .. });
        for (_, attempt) in tries.values_mut().filter(|(_, attempt)| has_not_failed(attempt)) {
            *attempt = Attempt::Over;
        }
    }
    tries
}

/// Leaves every other report about each subject.
fn thin(told: &mut Vec<Progress>) {
    let mut seen: HashMap<String, bool> = HashMap::new();
    told.retain(|progress| {
        let is_left = seen.entry(progress.subject()).or_default();
        *is_left = !*is_left;
        *is_left
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seldom_told_is_left_beside_what_is_told_often() {
        let step = |done| Progress::of(done, 100, "step").with("loss", done as f64);
        let checked = |done| Progress::of(done, 100, "step").with("accuracy", 0.5);
        let mut told: Vec<Progress> = (0..100).map(step).collect();
        told.insert(51, checked(50));
        thin(&mut told);
        let mut expected: Vec<Progress> = (0..100).step_by(2).map(step).collect();
        expected.insert(26, checked(50));
        assert_eq!(told, expected);
    }
}
