//! Why a stage did not finish.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::BadArtifact;

/// Why a stage did not finish. Messages say what was found, where, and what to do.
#[derive(Debug, Error)]
pub enum StageError {
    /// An input is not what the stage can work with.
    #[error("input `{port}`: {reason}")]
    Input {
        /// The port.
        port: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The loss is no longer a finite number.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}; lower the learning rate, or raise the warm-up. The curve up to \
         there is {}", curve.display()
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// Epoch, from 0.
        epoch: usize,
        /// Step within the epoch, from 0.
        step: usize,
        /// The losses before it, as an artifact of kind `Curve`.
        curve: PathBuf,
    },
    /// The job was asked to stop and has checkpointed what it could.
    #[error("stopped on request")]
    Stopped,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl StageError {
    /// An [`StageError::Io`] at `path`, for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// An [`StageError::Input`] for `port`.
    pub fn input(port: &str, reason: impl ToString) -> Self {
        Self::Input { port: port.to_owned(), reason: reason.to_string() }
    }
}

impl From<BadArtifact> for StageError {
    fn from(error: BadArtifact) -> Self {
        Self::Failed(error.to_string())
    }
}
