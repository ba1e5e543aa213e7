//! The learning stages of ablate: everything that trains, embeds, builds graphs, or evaluates.
//!
//! Losses, layers, metrics, schedules and graph builders are public functions on plain tensors; the stages compose them.

pub mod artifacts;

use ablate_stage::Registry;

/// Adds every learning stage to a registry.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
}
