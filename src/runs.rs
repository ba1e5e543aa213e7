//! The runs of a store, each summed up from the first and last entry of its journal.
//!
//! A journal is locked by the process that writes it, for as long as that lives: a run whose end is not recorded goes
//! on where the lock is held, and was killed where it is not. On a file system without locks such a run counts as
//! killed.

mod attempts;
mod members;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ablate_stage::cache::{ActionDigest, Digest, Roots, Store};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::journal::{self, Counts, Entry, Event, Outcome};
pub use attempts::{Attempt, Attempts, runs_of};
pub use members::{End, Member, Members, members};

/// Longer first or last entries are not looked at.
const MAX_ENTRY_BYTES: u64 = 16 << 10;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Every instance has its result.
    Done,
    /// Something failed.
    Failed,
    /// It was asked to stop.
    Interrupted,
    /// It goes on.
    Running,
    /// It ended without a word.
    Killed,
}

/// A run in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its name.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's file.
    pub file: String,
    /// When it began, milliseconds since the Unix epoch.
    pub began_unix_ms: u64,
    /// Wall time, milliseconds; of a run whose end is not recorded, until the last thing that is.
    pub duration_ms: Option<u64>,
    /// How it stands.
    pub standing: Standing,
    /// What became of its instances, where its end is recorded.
    pub counts: Option<Counts>,
    /// The artifact that holds its pipeline as it was; none of runs before there was one.
    pub kept: Option<Digest>,
}

/// Sums up a run; `None` where its journal does not tell that it began.
///
/// # Errors
/// Where the journal cannot be read.
pub fn sum_up(folder: &Path, run: &str) -> io::Result<Option<Run>> {
    let mut file = match File::open(journal::journal_path(folder, run)) {
        Err(error) if is_no_run(&error) => return Ok(None),
        file => file?,
    };
    let mut line = Vec::new();
    BufReader::new((&file).take(MAX_ENTRY_BYTES)).read_until(b'\n', &mut line)?;
    let Ok(Entry { unix_ms: began_unix_ms, event: Event::RunStarted { pipeline, file: path, kept, .. } }) =
        serde_json::from_slice(&line)
    else {
        return Ok(None);
    };
    let last = last_entry(&mut file)?;
    let (standing, duration_ms, counts) = match last {
        Some(Entry { event: Event::RunFinished { outcome, counts, duration_ms }, .. }) => {
            let standing = match outcome {
                Outcome::Done => Standing::Done,
                Outcome::Failed => Standing::Failed,
                Outcome::Interrupted => Standing::Interrupted,
            };
            (standing, Some(duration_ms), Some(counts))
        }
        last => {
            let standing = if is_locked(&file) { Standing::Running } else { Standing::Killed };
            (standing, last.map(|entry| entry.unix_ms.saturating_sub(began_unix_ms)), None)
        }
    };
    let run = run.to_owned();
    Ok(Some(Run { run, pipeline, file: path, began_unix_ms, duration_ms, standing, counts, kept }))
}

/// The instances whose results the store had when a run began.
///
/// # Errors
/// Where their listing is lost.
fn listed(store: &Store, run: &str, listing: &Digest) -> io::Result<BTreeMap<String, ActionDigest>> {
    let read = || {
        let text = std::fs::read(store.verified(listing).ok()?).ok()?;
        serde_json::from_slice(&text).ok()
    };
    read().ok_or_else(|| {
        let text = format!("the listing of what run {run} found in the store is lost or damaged");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// The action an instance was in the last run that knew it; none where no run did.
///
/// # Errors
/// Where the runs cannot be listed. A run whose journal or listing cannot be read tells nothing.
pub fn action_of(store: &Store, instance: &str) -> io::Result<Option<ActionDigest>> {
    let names = journal::runs(&store.runs())?;
    Ok(names.iter().rev().find_map(|run| members(store, run).ok()?.remove(instance)?.action))
}

/// Adds what a run relies on or made to what gc keeps. A folder that is no run cites nothing.
///
/// # Errors
/// Where its journal cannot be read: then nobody knows what it cites.
pub fn cited(store: &Store, run: &str, roots: &mut Roots) -> io::Result<()> {
    let entries = match journal::read_whole(&store.runs(), run) {
        Err(error) if is_no_run(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        match entry.event {
            Event::Hits { listing } => {
                roots.actions.extend(listed(store, run, &listing)?.into_values());
                roots.objects.insert(listing);
            }
            Event::Planned { action, .. } | Event::Failed { action, .. } => roots.actions.extend(action),
            Event::Ordered { action, .. }
            | Event::Started { action, .. }
            | Event::Finished { action, .. }
            | Event::Cached { action, .. } => {
                roots.actions.insert(action);
            }
            Event::RunStarted { kept, .. } => roots.objects.extend(kept),
            Event::Added { .. }
            | Event::Waiting { .. }
            | Event::Resumed { .. }
            | Event::Progress { .. }
            | Event::Output { .. }
            | Event::Retried { .. }
            | Event::Skipped { .. }
            | Event::Advice { .. }
            | Event::Stopped { .. }
            | Event::RunFinished { .. } => {}
        }
    }
    Ok(())
}

/// Whether there is no journal: the run is just beginning, was killed as it did, or is something else that lies there.
fn is_no_run(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The last whole entry of a journal.
fn last_entry(file: &mut File) -> io::Result<Option<Entry>> {
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_ENTRY_BYTES)))?;
    let mut tail = Vec::new();
    file.take(MAX_ENTRY_BYTES).read_to_end(&mut tail)?;
    let mut lines = tail.split(|&byte| byte == b'\n').rev();
    Ok(lines.find_map(|line| serde_json::from_slice(line).ok()))
}

/// Whether another process writes the journal.
fn is_locked(file: &File) -> bool {
    // Where it is not, this takes the lock, and gives it back when the file is closed, a moment later.
    matches!(flock(file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

/// The run a text names: its name, the beginning of one name only, or `@1` for the last run, `@2` for the one before.
///
/// # Errors
/// What is wrong with it, in a sentence. `runs` are all there are, earliest first.
pub fn resolve<'a>(runs: &'a [Run], text: &str) -> Result<&'a Run, String> {
    if let Some(back) = text.strip_prefix('@') {
        let back: usize = back.parse().map_err(|_| format!("`{text}` is no run; the last one is `@1`"))?;
        let found = back.checked_sub(1).and_then(|back| runs.iter().rev().nth(back));
        return found.ok_or_else(|| format!("there is no run `{text}`; the store has {}", runs.len()));
    }
    if let Some(it) = runs.iter().find(|run| run.run == text) {
        return Ok(it);
    }
    let found: Vec<&Run> = runs.iter().filter(|run| run.run.starts_with(text)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("there is no run `{text}`; `ablate runs` lists those there are")),
        many => Err(format!("`{text}` begins the names of {} runs; write more of it", many.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    fn started(unix_ms: u64) -> Entry {
        let event = Event::RunStarted {
            pipeline: "p".to_owned(),
            file: "/p.ron".to_owned(),
            device: "cpu".to_owned(),
            jobs: 1,
            overrides: Vec::new(),
            cached: 0,
            version: "1".to_owned(),
            kept: None,
        };
        Entry { unix_ms, event }
    }

    fn output(unix_ms: u64, length: usize) -> Entry {
        Entry { unix_ms, event: Event::Output { instance: "a".to_owned(), line: "x".repeat(length) } }
    }

    #[test]
    fn a_run_without_an_end_goes_on_or_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), 5).unwrap();
        let name = journal.run().to_owned();
        assert_eq!(sum_up(dir.path(), &name).unwrap(), None);
        journal.record(&started(1_000));
        journal.record(&output(3_500, 100_000));
        journal.record(&output(4_000, 10));
        let running = sum_up(dir.path(), &name).unwrap().unwrap();
        assert_eq!((running.standing, running.duration_ms), (Standing::Running, Some(3_000)));
        drop(journal);
        let killed = sum_up(dir.path(), &name).unwrap().unwrap();
        assert_eq!(
            (killed.standing, killed.duration_ms, killed.counts),
            (Standing::Killed, Some(3_000), None)
        );
    }

    #[test]
    fn a_recorded_end_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), 5).unwrap();
        let counts = Counts { ran: 3, failed: 1, ..Counts::default() };
        journal.record(&started(1_000));
        let event = Event::RunFinished { outcome: Outcome::Failed, counts, duration_ms: 77 };
        journal.record(&Entry { unix_ms: 2_000, event });
        let run = sum_up(dir.path(), journal.run()).unwrap().unwrap();
        assert_eq!((run.standing, run.duration_ms, run.counts), (Standing::Failed, Some(77), Some(counts)));
    }

    #[test]
    fn runs_are_named_by_prefix_or_from_the_end() {
        let run = |name: &str| Run {
            run: name.to_owned(),
            pipeline: "p".to_owned(),
            file: "/p.ron".to_owned(),
            began_unix_ms: 0,
            duration_ms: None,
            standing: Standing::Killed,
            counts: None,
            kept: None,
        };
        let runs = ["2026-a", "2026-b", "2026-b2", "2027"].map(run);
        let of = |text: &str| resolve(&runs, text).map(|run| run.run.as_str());
        assert_eq!(of("2027"), Ok("2027"));
        assert_eq!(of("2026-a"), Ok("2026-a"));
        assert_eq!(of("2026-b"), Ok("2026-b"));
        assert_eq!(of("@1"), Ok("2027"));
        assert_eq!(of("@4"), Ok("2026-a"));
        assert_eq!(of("2026").unwrap_err(), "`2026` begins the names of 3 runs; write more of it");
        assert_eq!(of("@5").unwrap_err(), "there is no run `@5`; the store has 4");
        assert_eq!(of("@0").unwrap_err(), "there is no run `@0`; the store has 4");
        assert_eq!(of("@x").unwrap_err(), "`@x` is no run; the last one is `@1`");
        assert_eq!(of("x").unwrap_err(), "there is no run `x`; `ablate runs` lists those there are");
    }
}
