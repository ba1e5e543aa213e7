//! `ablate check`.

use std::collections::BTreeSet;

use clap::Args;

use super::project::Source;
use super::{Context, Failure, exit};
use crate::plan::Files;
use crate::progress::counted;

/// Check a pipeline file and count what it expands to; every error is shown with its place, and declared files that are not there
/// are warned of
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    source: Source,
}

/// Checks a pipeline without looking into the store.
pub fn check(args: &Check, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (_, graph, _) = args.source.read(context)?;
    context.warn(&Files::absent(&graph, &args.source.root()?))?;
    let seeds: BTreeSet<u64> = graph.trials.iter().map(|trial| trial.seed).collect();
    let stages: BTreeSet<&str> = graph.instances.iter().map(|instance| &*instance.stage).collect();
    let counts = [
        (stages.len(), "stage"),
        (graph.axes.len(), "axis"),
        (graph.trials.len() / seeds.len(), "point"),
        (seeds.len(), "seed"),
        (graph.instances.len(), "instance"),
        (graph.tables.len(), "table"),
    ];
    let counts = counts.map(|(count, what)| match (what, &graph.budget) {
        ("seed", Some(budget)) if budget.min < count => format!("{} to {count} seeds", budget.min),
        ("axis", _) if count != 1 => format!("{count} axes"),
        _ => counted(count, what),
    });
    writeln!(context.out, "{} is sound: {}", args.source.file.display(), counts.join(", "))?;
    Ok(exit::DONE)
}
