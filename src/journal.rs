//! What happened in a run, in order.
//!
//! Every run has a folder `runs/<run>/` in the store with a `journal.jsonl`: one JSON object a line, appended as things
//! happen. Progress bars, `ablate log` and the tests read these entries and nothing else. A reader takes what is whole: a
//! run that was killed may have left half a line at the end. Run names sort by time.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ablate_stage::Progress;
use ablate_stage::cache::{ActionDigest, Digest};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// What a plan says of an instance that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planned {
    /// To be performed.
    Miss,
    /// Its key is not known yet.
    Pending,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every instance has its result.
    Done,
    /// Something failed.
    Failed,
    /// It was asked to stop.
    Interrupted,
}

/// How many instances came to what end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Performed by this run.
    pub ran: usize,
    /// Their result was in the store, or another instance or another run made it meanwhile.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Not tried, because something they need failed.
    pub skipped: usize,
    /// Not done when the run was interrupted.
    pub unfinished: usize,
}

/// Something that happened. Instances are named as in [`crate::graph::Graph::instance_name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    RunStarted {
        /// The pipeline's name.
        pipeline: String,
        /// Its file, absolute.
        file: String,
        /// The devices there are for stages that use a GPU, or `cpu`.
        device: String,
        /// Actions at once.
        jobs: usize,
        /// What the command line changes in the pipeline, as written there.
        overrides: Vec<String>,
        /// Instances whose result is in the store.
        cached: usize,
        /// Version of the program.
        version: String,
        /// The artifact that holds the pipeline as it is now.
        #[serde(default)]
        kept: Option<Digest>,
    },
    /// The instances whose results are in the store.
    Hits {
        /// The artifact that lists them: a JSON object, instance → action.
        listing: Digest,
    },
    /// Cells need more seeds than a budget began with: further trials are to be run.
    Added {
        /// Trials.
        trials: usize,
        /// Of their instances that no trial had before, those whose result is in the store.
        cached: usize,
    },
    /// What the plan says of an instance that has no result.
    Planned {
        /// The instance.
        instance: String,
        /// Its action, where the key is known.
        action: Option<ActionDigest>,
        /// Its state.
        state: Planned,
    },
    /// The action goes to a worker.
    Ordered {
        /// The instance.
        instance: String,
        /// Its action.
        action: ActionDigest,
    },
    /// Another process holds the action; this run waits for it.
    Waiting {
        /// The instance.
        instance: String,
    },
    /// A worker began to perform the action.
    Started {
        /// The instance.
        instance: String,
        /// Its action.
        action: ActionDigest,
    },
    /// It went on from a checkpoint.
    Resumed {
        /// The instance.
        instance: String,
        /// The checkpoint, as "epoch 3 of 10".
        from: String,
    },
    /// How far it is.
    Progress {
        /// The instance.
        instance: String,
        /// How far.
        #[serde(flatten)]
        progress: Progress,
    },
    /// A line it printed or logged.
    Output {
        /// The instance.
        instance: String,
        /// The line.
        line: String,
    },
    /// The worker died, the stage failed and may be tried again, or an input was damaged and is made again: the action is
    /// tried again.
    Retried {
        /// The instance.
        instance: String,
        /// What happened.
        reason: String,
    },
    /// This run performed the action.
    Finished {
        /// The instance.
        instance: String,
        /// Its action.
        action: ActionDigest,
        /// Wall time, milliseconds.
        duration_ms: u64,
        /// Metric name → value.
        metrics: BTreeMap<String, f64>,
    },
    /// The result was found once the inputs were known, or was made by another instance or another run meanwhile.
    Cached {
        /// The instance.
        instance: String,
        /// Its action.
        action: ActionDigest,
    },
    /// The action failed.
    Failed {
        /// The instance.
        instance: String,
        /// Its action, where the key is known.
        action: Option<ActionDigest>,
        /// Why.
        error: String,
    },
    /// It was not tried.
    Skipped {
        /// The instance.
        instance: String,
        /// The instance that failed.
        because: String,
    },
    /// Something its pipeline could say better.
    Advice {
        /// The instance.
        instance: String,
        /// What.
        text: String,
    },
    /// It stopped because the run was interrupted.
    Stopped {
        /// The instance.
        instance: String,
    },
    /// The run ended.
    RunFinished {
        /// How.
        outcome: Outcome,
        /// How many instances came to what end.
        counts: Counts,
        /// Wall time, milliseconds.
        duration_ms: u64,
    },
}

impl Event {
    /// The instance it is about, where it is about one.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Planned { instance, .. }
            | Self::Ordered { instance, .. }
            | Self::Waiting { instance }
            | Self::Started { instance, .. }
            | Self::Resumed { instance, .. }
            | Self::Progress { instance, .. }
            | Self::Output { instance, .. }
            | Self::Retried { instance, .. }
            | Self::Finished { instance, .. }
            | Self::Cached { instance, .. }
            | Self::Failed { instance, .. }
            | Self::Skipped { instance, .. }
            | Self::Advice { instance, .. }
            | Self::Stopped { instance } => Some(instance),
            Self::RunStarted { .. } | Self::Hits { .. } | Self::Added { .. } | Self::RunFinished { .. } => {
                None
            }
        }
    }
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What happened.
    pub event: Event,
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since the Unix epoch.
pub fn now_unix_ms() -> u64 {
    let since = now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Progress of one instance is written at most this often; bars get all of it.
const PROGRESS_EVERY_MS: u64 = 2_000;

/// Bytes that wait to be written at most, where it is not said that they are to be seen.
const MAX_UNWRITTEN: usize = 1 << 13;

/// The journal of a run that goes on. A failure to write it does not fail the run; see [`Journal::error`].
pub struct Journal {
    run: String,
    file: File,
    /// Whole lines, and what is left of one of which a part was written.
    unwritten: Vec<u8>,
    /// When each instance last told of each subject.
    progressed: HashMap<(String, String), u64>,
    error: Option<io::Error>,
}

impl Journal {
    /// Begins a run in a store's folder of runs.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made.
    pub fn create(runs: &Path, unix_ms: u64) -> io::Result<Self> {
        loop {
            let salt = RandomState::new().hash_one(unix_ms) as u16;
            let run = format!("{}-{salt:04x}", timestamp(unix_ms));
            let folder = runs.join(&run);
            match fs::create_dir(&folder) {
                Ok(()) => {
                    let file = File::create_new(folder.join("journal.jsonl"))?;
                    // Held while the run lives, and read by `runs`. A run needs no lock, so one may be refused.
                    flock(&file, FlockOperation::LockExclusive).unwrap_or(());
                    return Ok(Self {
                        run,
                        file,
                        unwritten: Vec::new(),
                        progressed: HashMap::new(),
                        error: None,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Adds an entry.
    pub fn record(&mut self, entry: &Entry) {
        if let Event::Progress { instance, progress } = &entry.event {
            let last = self.progressed.entry((instance.clone(), progress.subject())).or_default();
            if entry.unix_ms < *last + PROGRESS_EVERY_MS && progress.done < progress.total {
                return;
            }
            *last = entry.unix_ms;
        }
        serde_json::to_writer(&mut self.unwritten, entry).expect("an entry is plain data");
        self.unwritten.push(b'\n');
        // What a plan says comes in bulk, before anything that takes time.
        if matches!(entry.event, Event::Planned { .. }) && self.unwritten.len() < MAX_UNWRITTEN {
            return;
        }
        if let Err(error) = self.write() {
            self.error.get_or_insert(error);
        }
    }

    /// Writes what there is to write. What cannot be written is kept, so that the next line does not go on where this one broke off.
    fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.file.write(&self.unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The first failure to write, if there was one.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Nobody is left to be told.
        drop(self.write());
    }
}

/// The names of all runs in a store's folder of runs, earliest first; none where there is no such folder.
///
/// # Errors
/// Where it cannot be listed.
pub fn runs(runs: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(runs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// The last run, or the last of a pipeline.
///
/// # Errors
/// Where the folder of runs cannot be listed.
pub fn last_run(folder: &Path, pipeline: Option<&str>) -> io::Result<Option<String>> {
    let is_of = |run: &String| match (pipeline, first(&journal_path(folder, run))) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(name), Some(entry)) => {
            matches!(&entry.event, Event::RunStarted { pipeline, .. } if pipeline == name)
        }
    };
    Ok(runs(folder)?.into_iter().rev().find(is_of))
}

/// The entries of a run that are whole, in order.
///
/// # Errors
/// Where there is no such run, or it cannot be read.
pub fn read(folder: &Path, run: &str) -> io::Result<Vec<Entry>> {
    let bytes = fs::read(journal_path(folder, run))?;
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The entries of a run that are whole and of these kinds, by the names these have there, in order. It reads no other.
///
/// # Errors
/// Where there is no such run, or it cannot be read.
pub fn read_some(folder: &Path, run: &str, kinds: &[&str]) -> io::Result<Vec<Entry>> {
    const BEFORE_KIND: &[u8] = br#""event":{"event":""#;
    let bytes = fs::read(journal_path(folder, run))?;
    let is_of = |line: &&[u8]| {
        let at = line.windows(BEFORE_KIND.len()).position(|part| part == BEFORE_KIND);
        let kind = at.and_then(|at| line[at + BEFORE_KIND.len()..].split(|&byte| byte == b'"').next());
        kind.is_some_and(|kind| kinds.iter().any(|known| known.as_bytes() == kind))
    };
    let lines = bytes.split(|&byte| byte == b'\n').filter(is_of);
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The entries of a run, in order.
///
/// # Errors
/// Where there is no such run, it cannot be read, or an entry that is not the last, over which it may have been killed, is damaged.
pub fn read_whole(folder: &Path, run: &str) -> io::Result<Vec<Entry>> {
    let bytes = fs::read(journal_path(folder, run))?;
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let (last, lines) = lines.split_last().expect("a split has a part");
    let entries = lines.iter().enumerate().map(|(at, line)| {
        serde_json::from_slice(line).map_err(|error| {
            let text = format!("line {} of the journal of {run} is damaged: {error}", at + 1);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    });
    let mut entries = entries.collect::<io::Result<Vec<Entry>>>()?;
    entries.extend(serde_json::from_slice(last));
    Ok(entries)
}

/// The journal of a run.
pub(crate) fn journal_path(folder: &Path, run: &str) -> PathBuf {
    folder.join(run).join("journal.jsonl")
}

fn first(journal: &Path) -> Option<Entry> {
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(File::open(journal).ok()?), &mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// `20261121T144932.123Z`: UTC, in the proleptic Gregorian calendar, so that names sort by time.
pub(crate) fn timestamp(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{:02}{:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(line: &str) -> Entry {
        Entry { unix_ms: 7, event: Event::Output { instance: "a".to_owned(), line: line.to_owned() } }
    }

    #[test]
    fn timestamps_are_utc_dates() {
        assert_eq!(timestamp(0), "19700101T000000.000Z");
        assert_eq!(timestamp(951_782_400_000), "20000229T000000.000Z");
        assert_eq!(timestamp(1_795_272_572_123), "20261121T144932.123Z");
    }

    #[test]
    fn a_torn_last_line_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), 5).unwrap();
        journal.record(&output("one"));
        journal.record(&output("two"));
        let path = journal_path(dir.path(), journal.run());
        let whole = fs::read(&path).unwrap();
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let entries = read(dir.path(), journal.run()).unwrap();
            assert!(
                entries.iter().zip(["one", "two"]).all(|(entry, line)| *entry == output(line)),
                "{len} bytes"
            );
        }
        assert_eq!(read(dir.path(), journal.run()).unwrap().len(), 2);
    }

    #[test]
    fn the_last_run_of_a_pipeline_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |unix_ms, pipeline: &str| {
            let mut journal = Journal::create(dir.path(), unix_ms).unwrap();
            let started = Event::RunStarted {
                pipeline: pipeline.to_owned(),
                file: "p.ron".to_owned(),
                device: "cpu".to_owned(),
                jobs: 1,
                overrides: Vec::new(),
                cached: 0,
                version: "1".to_owned(),
                kept: None,
            };
            journal.record(&Entry { unix_ms, event: started });
            journal.run().to_owned()
        };
        let runs = [begin(1, "a"), begin(2, "b"), begin(3, "a"), begin(4, "b")];
        assert_eq!(last_run(dir.path(), Some("a")).unwrap().as_ref(), Some(&runs[2]));
        assert_eq!(last_run(dir.path(), None).unwrap().as_ref(), Some(&runs[3]));
        assert_eq!(last_run(dir.path(), Some("c")).unwrap(), None);
    }

    #[test]
    fn progress_is_thinned_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), 5).unwrap();
        for step in 0..100 {
            let progress = Progress::of(step, 100, "step");
            let event = Event::Progress { instance: "a".to_owned(), progress };
            journal.record(&Entry { unix_ms: 10_000 + 100 * step, event });
        }
        assert_eq!(read(dir.path(), journal.run()).unwrap().len(), 5);
    }
}
