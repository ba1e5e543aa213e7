//! What a running stage is given.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Device, Progress, StageError};

/// What a stage tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// How far it is.
    Progress(Progress),
    /// It went on from a checkpoint, described as "epoch 3 of 10".
    Resumed(String),
    /// A line for the log.
    Line(String),
    /// The memory that programs it has started take up now, in MiB.
    Memory(u64),
}

/// A flag that asks a stage to checkpoint and stop.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The files and folders of a job. All paths are absolute.
#[derive(Clone, Debug, Default)]
pub struct JobFiles {
    /// Input port → verified artifact. Read only.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Output port → where the stage is to write it.
    pub outputs: BTreeMap<String, PathBuf>,
    /// The verified artifact of the stage's kin, where there is one. Read only.
    pub kin: Option<PathBuf>,
    /// A folder that outlives the attempt: checkpoints go there. It need not be there yet.
    pub scratch: PathBuf,
    /// The project's root, for declared files.
    pub project: PathBuf,
    /// The lock of the action. It is held as long as a handle is open, in this process or in one that was given it.
    pub hold: Option<Arc<File>>,
}

/// What a running stage is given: its inputs, where to write, its seed, its device, and someone to report to.
pub struct Job<'a> {
    files: JobFiles,
    seed: u64,
    device: Device,
    threads: usize,
    stop: StopFlag,
    report: &'a mut dyn FnMut(Report),
}

impl<'a> Job<'a> {
    /// A job. `seed` is 0 for kinds that are not seeded.
    pub fn new(
        files: JobFiles,
        seed: u64,
        device: Device,
        threads: usize,
        stop: StopFlag,
        report: &'a mut dyn FnMut(Report),
    ) -> Self {
        Self { files, seed, device, threads, stop, report }
    }

    /// The artifact at a wired port.
    ///
    /// # Errors
    /// Where the port is not wired.
    pub fn input(&self, port: &str) -> Result<&Path, StageError> {
        self.optional_input(port).ok_or_else(|| StageError::input(port, "it is not wired"))
    }

    /// The artifact at a port that may be unwired.
    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.files.inputs.get(port).map(PathBuf::as_path)
    }

    /// Every wired input.
    pub fn inputs(&self) -> &BTreeMap<String, PathBuf> {
        &self.files.inputs
    }

    /// The artifact of [`Stage::kin`](crate::Stage::kin), where the store has one.
    pub fn kin(&self) -> Option<&Path> {
        self.files.kin.as_deref()
    }

    /// Where to write an output.
    ///
    /// # Panics
    /// When the stage does not declare the port.
    pub fn output(&self, port: &str) -> &Path {
        self.files.outputs.get(port).unwrap_or_else(|| panic!("the stage declares no output `{port}`"))
    }

    /// Where to write an output, if the stage declares it.
    pub fn optional_output(&self, port: &str) -> Option<&Path> {
        self.files.outputs.get(port).map(PathBuf::as_path)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Threads it may use. The job already runs in a rayon pool of that size; results must not depend on it.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The folder for checkpoints; empty at first, and as an earlier attempt at the same action left it afterwards. It is
    /// made when it is first asked for.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn scratch(&self) -> Result<&Path, StageError> {
        let path = &self.files.scratch;
        std::fs::create_dir_all(path).map_err(StageError::io(path))?;
        Ok(path)
    }

    /// The project's root.
    pub fn project(&self) -> &Path {
        &self.files.project
    }

    /// The lock of the action. A process that the stage starts, and that may outlive this one, is given it, so that nobody else performs
    /// the action before that has ended.
    pub fn hold(&self) -> Option<&File> {
        self.files.hold.as_deref()
    }

    /// Whether the job is to checkpoint and return [`StageError::Stopped`].
    pub fn stop_requested(&self) -> bool {
        self.stop.is_raised()
    }

    /// Reports how far it is.
    pub fn progress(&mut self, progress: Progress) {
        (self.report)(Report::Progress(progress));
    }

    /// Reports that it went on from a checkpoint.
    pub fn resumed(&mut self, from: impl Into<String>) {
        (self.report)(Report::Resumed(from.into()));
    }

    /// Reports the memory that programs it has started take up now, in MiB.
    pub fn memory(&mut self, mib: u64) {
        (self.report)(Report::Memory(mib));
    }

    /// Adds a line to the log.
    pub fn log(&mut self, line: impl Into<String>) {
        (self.report)(Report::Line(line.into()));
    }
}
