//! The stage trait, and its form the engine handles.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Job, Port, Preset, StageError};

/// What an action asks of the machine. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Most threads it can use well; it may get fewer.
    pub cpus: usize,
    /// Whether it runs on a GPU where there is one.
    pub gpu: bool,
    /// Memory it takes up, MiB; 0 where nobody knows.
    pub memory_mib: u64,
    /// Memory of the GPU it takes up, MiB; `None` where it needs a GPU for itself.
    pub gpu_memory_mib: Option<u64>,
    /// Wall time after which it is stopped and counts as failed.
    pub time: Option<Duration>,
    /// How often it is tried again when it fails by itself. One that loses its worker is, whatever this says.
    pub retries: usize,
}

impl Request {
    /// One thread of the processor.
    pub const ONE_CPU: Self =
        Self { cpus: 1, gpu: false, memory_mib: 0, gpu_memory_mib: None, time: None, retries: 0 };
    /// Every thread of the processor.
    pub const ALL_CPUS: Self = Self { cpus: usize::MAX, ..Self::ONE_CPU };
    /// A GPU where there is one, otherwise every thread of the processor.
    pub const TRAIN: Self = Self { gpu: true, ..Self::ALL_CPUS };
}

/// A finished action of the same stage kind that differs in one whole number only, and whose artifact saves work: the
/// checkpoint of a shorter training, the graph of more neighbours.
///
/// The result must be the same with and without it, bit for bit: it is not in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// The field that differs, at the top of the stage.
    pub field: &'static str,
    /// Which way it differs.
    pub side: Side,
    /// The output of the other action that is wanted.
    pub output: &'static str,
}

/// Which way a field of kin differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The largest below one's own.
    Below,
    /// The smallest above one's own.
    Above,
}

/// A value a stage cannot work with although its type is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field from the stage, as `method.temperature`.
    pub path: String,
    /// What is wrong, as "must be above 0, is -1".
    pub message: String,
}

impl FieldError {
    /// A complaint about one field.
    pub fn new(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into() }
    }
}

/// A stage: its parameters, as a value.
///
/// The struct's doc comments are the stage's documentation; its serde names are the language's words. Every struct and
/// variant below it refuses unknown fields (`#[serde(deny_unknown_fields)]`) and writes its defaults out.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The struct's name, and the word in the pipeline file.
    const KIND: &'static str;
    /// Raised when the same fields would now give other bytes.
    const REVISION: u32;
    /// Whether the seed changes the result, and so enters the key. Where that depends on the fields, [`Stage::seeded`]
    /// decides, and this says what holds for most.
    const SEEDED: bool;

    /// Whether the seed changes the result of this very stage.
    fn seeded(&self) -> bool {
        Self::SEEDED
    }

    /// What it reads.
    fn inputs(&self) -> Vec<Port>;

    /// What it writes.
    fn outputs(&self) -> Vec<Port>;

    /// Files outside the store whose content the result depends on; relative ones are below the project's root.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What to do where a file it declares is not there: which package brings it, where to put it.
    fn remedy(&self, _missing: &Path) -> Option<String> {
        None
    }

    /// Everything wrong with its values.
    fn validate(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// What it asks of the machine.
    fn request(&self) -> Request;

    /// A guess of how long it takes, in passes of a data set through a network: more than 0. Of stages whose time nobody knows yet,
    /// those that lead to the most start first; and where others of a stage are done, those with more are taken to last longer.
    fn passes(&self) -> f64 {
        1.0
    }

    /// The kin it can make use of; [`Job::kin`] is its artifact, where there is one.
    fn kin(&self) -> Option<Kin> {
        None
    }

    /// Fields with presets, by the path of the field.
    fn presets() -> Vec<(&'static str, Vec<Preset>)> {
        Vec::new()
    }

    /// A picture (PNG) of what it makes of its inputs before anything is learned, as the views of some images; `None` where there
    /// is nothing to look at.
    ///
    /// # Errors
    /// Whatever kept it from being drawn.
    fn preview(&self, _job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError> {
        Ok(None)
    }

    /// Does the work: reads `job.input(..)`, writes `job.output(..)`.
    ///
    /// # Errors
    /// Whatever kept it from writing every output.
    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError>;
}

/// A stage of any kind, as the engine handles it.
pub trait DynStage: Send + Sync {
    /// [`Stage::KIND`].
    fn kind(&self) -> &'static str;
    /// [`Stage::REVISION`].
    fn revision(&self) -> u32;
    /// [`Stage::seeded`].
    fn seeded(&self) -> bool;
    /// [`Stage::inputs`].
    fn inputs(&self) -> Vec<Port>;
    /// [`Stage::outputs`].
    fn outputs(&self) -> Vec<Port>;
    /// [`Stage::files`].
    fn files(&self) -> Vec<PathBuf>;
    /// [`Stage::remedy`].
    fn remedy(&self, missing: &Path) -> Option<String>;
    /// [`Stage::validate`].
    fn validate(&self) -> Vec<FieldError>;
    /// [`Stage::request`].
    fn request(&self) -> Request;
    /// [`Stage::passes`].
    fn passes(&self) -> f64;
    /// [`Stage::kin`].
    fn kin(&self) -> Option<Kin>;
    /// The stage as RON with every default written out, one field a line: its part of the key.
    fn canonical(&self) -> String;
    /// [`Stage::preview`].
    fn preview(&self, job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError>;
    /// [`Stage::run`].
    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError>;
}

impl<S: Stage> DynStage for S {
    fn kind(&self) -> &'static str {
        S::KIND
    }

    fn revision(&self) -> u32 {
        S::REVISION
    }

    fn seeded(&self) -> bool {
        Stage::seeded(self)
    }

    fn inputs(&self) -> Vec<Port> {
        Stage::inputs(self)
    }

    fn outputs(&self) -> Vec<Port> {
        Stage::outputs(self)
    }

    fn files(&self) -> Vec<PathBuf> {
        Stage::files(self)
    }

    fn remedy(&self, missing: &Path) -> Option<String> {
        Stage::remedy(self, missing)
    }

    fn validate(&self) -> Vec<FieldError> {
        Stage::validate(self)
    }

    fn request(&self) -> Request {
        Stage::request(self)
    }

    fn passes(&self) -> f64 {
        Stage::passes(self)
    }

    fn kin(&self) -> Option<Kin> {
        Stage::kin(self)
    }

    fn canonical(&self) -> String {
        let config = ron::ser::PrettyConfig::new()
            .struct_names(true)
            .new_line("\n")
            .indentor("    ")
            .number_suffixes(false)
            .escape_strings(true);
        ron::ser::to_string_pretty(self, config).expect("a stage is plain data")
    }

    fn preview(&self, job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError> {
        Stage::preview(self, job)
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        Stage::run(self, job)
    }
}
