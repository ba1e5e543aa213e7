//! `ablate check`.

use std::path::PathBuf;

use clap::Args;

use super::{Context, Failure, exit};
use crate::expand::expand;
use crate::pipeline;
use crate::progress::counted;
use crate::source::SourceMap;

/// Check a pipeline file and count what it expands to; every error is shown with its place
#[derive(Args)]
pub struct Check {
    /// The pipeline file
    file: PathBuf,
}

/// Checks a pipeline without looking into the store.
pub fn check(args: &Check, context: &mut Context<'_>) -> Result<u8, Failure> {
    let mut sources = SourceMap::new();
    let checked = pipeline::load(&args.file, &mut sources)
        .and_then(|pipeline| Ok((expand(&pipeline, context.registry)?, pipeline)));
    let (graph, pipeline) = checked.map_err(|wrong| Failure::told(exit::PIPELINE, wrong.render(&sources)))?;
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
