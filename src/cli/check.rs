//! `ablate check`.

use std::path::PathBuf;

use clap::Args;

use super::project::read;
use super::{Context, Failure, exit};
use crate::progress::counted;

/// Check a pipeline file and count what it expands to; every error is shown with its place
#[derive(Args)]
pub struct Check {
    /// The pipeline file
    file: PathBuf,
}

/// Checks a pipeline without looking into the store.
pub fn check(args: &Check, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (pipeline, graph, _) = read(&args.file, context)?;
    let counts = [
        (pipeline.stages.len(), "stage"),
        (pipeline.axes.len(), "axis"),
        (graph.trials.len() / pipeline.seeds.len(), "point"),
        (pipeline.seeds.len(), "seed"),
        (graph.instances.len(), "instance"),
        (pipeline.tables.len(), "table"),
    ];
    let counts = counts.map(|(count, what)| match what {
        "axis" if count != 1 => format!("{count} axes"),
        _ => counted(count, what),
    });
    writeln!(context.out, "{} is sound: {}", args.file.display(), counts.join(", "))?;
    Ok(exit::DONE)
}
