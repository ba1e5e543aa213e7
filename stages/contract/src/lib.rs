//! What a stage is: its parameters as a value, its ports, its artifacts, and the job it runs.
//!
//! A stage kind is a plain struct whose fields are the stage's parameters. It implements [`Stage`] and is put into a
//! [`Registry`]; nothing else in the program knows it by name. The engine sees it as a [`DynStage`].
//!
//! Artifacts are files in open formats, described in [`ArtifactKind`]; [`Tensors`] reads and writes the ones made of
//! tensors. Nothing here depends on a tensor library or on the engine.

mod artifact;
mod device;
mod error;
mod job;
mod metrics;
mod preset;
mod progress;
mod registry;
mod stage;
mod tensors;

pub use ablate_cache as cache;
pub use artifact::{ArtifactKind, BadArtifact, MAX_CLASSES, MAX_CLUSTERS, Port, Split};
pub use device::{Device, ParseDeviceError};
pub use error::StageError;
pub use job::{Job, JobFiles, Report, StopFlag};
pub use metrics::Metrics;
pub use preset::Preset;
pub use progress::{Progress, is_rate};
pub use registry::{ParseStage, Registry, StageKind};
pub use stage::{DynStage, FieldError, Kin, Request, Side, Stage};
pub use tensors::{Tensor, TensorData, Tensors};
