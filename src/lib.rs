//! The engine of ablate: from a pipeline file to a table.
//!
//! Phases are functions, and what stands between them is a type; a later type is never written back into an earlier
//! one.
//!
//! ```text
//! text ─parse→ Pipeline ─expand→ Graph ─plan→ Plan ─execute→ journal + action results ─gather→ Rows ─render→ table
//! ```
//!
//! The library never prints and never names a tensor backend; the command line in [`cli`] is its only face.

pub mod budget;
pub mod cli;
pub mod command;
pub mod decode;
pub mod diagnostic;
pub mod draw;
pub mod estimate;
pub mod execute;
pub mod expand;
pub mod forecast;
pub mod graph;
pub mod journal;
pub mod kin;
pub mod machine;
pub mod manifest;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod reference;
pub mod repair;
#[cfg(feature = "tables")]
pub mod report;
pub mod resources;
pub mod rounds;
pub mod rows;
pub mod runs;
pub mod scheduler;
pub mod source;
pub mod stats;
pub mod syntax;
#[cfg(feature = "tables")]
pub mod table;
pub mod worker;
