//! What a runner and its workers tell each other, one JSON object a line.

use std::path::PathBuf;

use ablate_stage::Progress;
use ablate_stage::cache::{ActionDigest, ActionResult, Digest};
use serde::{Deserialize, Serialize};

/// What a runner tells a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Perform an action.
    Perform(Request),
    /// Checkpoint and stop.
    Stop,
}

/// An action to perform, and what to perform it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The action.
    pub action: ActionDigest,
    /// The project's root, absolute.
    pub project: PathBuf,
    /// The commit it is at.
    pub commit: Option<String>,
    /// The device, as `cpu` or `cuda:0`.
    pub device: String,
    /// Threads it may use.
    pub threads: usize,
    /// An action whose artifact the stage can make use of.
    pub kin: Option<ActionDigest>,
    /// Whether declared files are hashed even where they look as they did.
    pub rehash: bool,
}

/// What a worker tells its runner. From [`Reply::Done`] on they end an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The stage begins.
    Started,
    /// The stage went on from a checkpoint.
    Resumed(String),
    /// How far the stage is.
    Progress(Progress),
    /// A line for the log.
    Line(String),
    /// The result is in the store.
    Done {
        /// The result.
        result: ActionResult,
        /// Whether this worker performed the action; else another process had.
        performed: bool,
    },
    /// There is no result, and the action is why.
    Failed(String),
    /// The same, and the worker is in doubt and ends.
    Panicked(String),
    /// Inputs are not in the store, or were damaged and are set aside.
    Lost(Vec<Digest>, String),
    /// The store does not work.
    Broken(String),
    /// Another process is performing the action.
    Held,
    /// It stopped on request.
    Stopped,
}
