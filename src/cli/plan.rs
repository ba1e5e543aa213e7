//! `ablate plan`.

use clap::Args;

use super::project::{Project, Source};
use super::why::reason_in_words;
use super::{Context, Failure, exit, select};
use crate::graph::InstanceId;
use crate::plan::{History, Keys, State};
use crate::progress::counted;

/// Show what `run` would do, and why; nothing is run
#[derive(Args)]
pub struct Plan {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    part: select::Part,
}

/// What the plan says of a stage.
#[derive(Default)]
struct Tally {
    stage: String,
    hits: usize,
    misses: Vec<InstanceId>,
    pending: usize,
}

/// Shows what is missing.
pub fn plan(args: &Plan, context: &mut Context<'_>) -> Result<u8, Failure> {
    let project = args.part.of(Project::open(&args.source, context)?)?;
    let graph = &project.graph;
    let plan = project.plan()?;
    let mut tallies: Vec<Tally> = Vec::new();
    for id in graph.ids() {
        let stage = &graph.instance(id).stage;
        let at = tallies.iter().position(|tally| tally.stage == *stage).unwrap_or_else(|| {
            tallies.push(Tally { stage: stage.clone(), ..Tally::default() });
            tallies.len() - 1
        });
        match plan.state(id) {
            State::Hit(..) => tallies[at].hits += 1,
            State::Miss(_) => tallies[at].misses.push(id),
            State::Pending(_) => tallies[at].pending += 1,
        }
    }
    let width = tallies.iter().map(|tally| tally.stage.chars().count()).max().unwrap_or(0).max("stage".len());
    writeln!(context.out, "{:width$}  {:>7}  {:>7}  {:>7}", "stage", "cached", "to run", "pending")?;
    for Tally { stage, hits, misses, pending } in &tallies {
        writeln!(context.out, "{stage:width$}  {hits:>7}  {:>7}  {pending:>7}", misses.len())?;
    }
    let (hits, misses) =
        tallies.iter().fold((0, 0), |(h, m), tally| (h + tally.hits, m + tally.misses.len()));
    let pending = graph.instances.len() - hits - misses;
    let stages = counted(graph.instances.len(), "stage");
    writeln!(context.out, "\n{stages}: {hits} cached, {misses} to run, {pending} pending on these")?;
    if misses > 0 {
        writeln!(context.out)?;
        let history = History::read(&project.store)?;
        let keys = Keys::new(graph, &project.root);
        for first in tallies.iter().filter_map(|tally| tally.misses.first()) {
            let reason =
                history.reason(&keys, &plan, *first).map_err(|error| Failure::new(exit::PIPELINE, error))?;
            if let Some(reason) = reason {
                write!(context.out, "{}", reason_in_words(&project, *first, &reason))?;
            }
        }
    }
    Ok(exit::DONE)
}
