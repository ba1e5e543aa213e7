//! `ablate why`.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use ablate_stage::cache::{ActionDigest, Provenance};
use clap::Args;

use super::project::{Project, Source};
use super::units::date;
use super::{Context, Failure, exit, select};
use crate::diagnostic::escape_lines;
use crate::forecast::Forecast;
use crate::graph::{Graph, InstanceId};
use crate::manifest::{Change, Part};
use crate::plan::{History, Keys, Plan, Reason, State};
use crate::progress::about;
use crate::runs::{Attempt, Attempts};

/// Say why stages would run: the field that moved, its old and new value, and where it is written
#[derive(Args)]
pub struct Why {
    #[command(flatten)]
    source: Source,
    /// A stage, as `graph`, or some of its instances, as `graph[k=5]`
    stage: String,
}

/// So many instances are explained: each is compared with all that was done before.
const EXPLAINED: usize = 24;

/// Explains the instances of a name, and what these wait for.
pub fn why(args: &Why, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (project, plan) = Project::open(&args.source, context)?.wanted_of_readable(context)?;
    let chosen = select::instances(&project.graph, &args.stage)?;
    let history = History::read(&project.store)?;
    let keys = Keys::new(&project.graph, &plan.files);
    let forecast = Forecast::of_hits(&project.graph, &plan).or_like(&project.graph, &history);
    let attempts = LazyCell::new(|| attempts_of_missing(&project, &plan));
    let mut explained = BTreeSet::new();
    let mut to_explain = std::collections::VecDeque::from(chosen);
    while let Some(id) = to_explain.pop_front() {
        if explained.len() == EXPLAINED {
            writeln!(context.out, "… and others; name fewer, as {}", project.graph.instance_name(id))?;
            break;
        }
        if !explained.insert(id) {
            continue;
        }
        let text = match plan.state(id) {
            State::Hit(action, result) => hit_in_words(&project, id, action, &result.provenance),
            State::Miss(_) => {
                let reason = history.reason(&keys, &plan, id);
                reason_in_words(&project, id, &reason, &attempts)
                    + &cost_in_words(&project.graph, &forecast, id)
            }
            State::Pending(on) => {
                to_explain.extend(on);
                let names: Vec<String> = on.iter().map(|id| project.graph.instance_name(*id)).collect();
                let name = project.graph.instance_name(id);
                escape_lines(&format!("{name} waits for {}\n", names.join(", ")))
            }
            State::NoFile(path) => {
                let name = project.graph.instance_name(id);
                escape_lines(&format!("{name} declares the file {}, which cannot be read\n", path.display()))
            }
        };
        write!(context.out, "{text}")?;
    }
    Ok(exit::DONE)
}

fn hit_in_words(project: &Project, id: InstanceId, action: &ActionDigest, made: &Provenance) -> String {
    escape_lines(&format!(
        "{} would not run: its fields, seed and inputs give the key {}, which is in the store,\n    made {} on {}, {} in {}\n",
        project.graph.instance_name(id),
        action.short(),
        date(made.started_unix_ms),
        made.host,
        made.device,
        about(Duration::from_millis(made.duration_ms)),
    ))
}

/// What has to be made again because an instance is, and how long all of it takes.
fn cost_in_words(graph: &Graph, forecast: &Forecast, id: InstanceId) -> String {
    let stale = graph.descendants(&[id]);
    let mut by_stage: Vec<(&str, usize)> = Vec::new();
    for instance in stale.iter().map(|&id| graph.instance(id)) {
        match by_stage.iter_mut().find(|(stage, _)| **stage == *instance.stage) {
            Some((_, count)) => *count += 1,
            None => by_stage.push((&instance.stage, 1)),
        }
    }
    let (time, unknown) = forecast.sum(graph, stale.into_iter().chain([id]));
    let time = if unknown == 0 { about(time) } else { format!("{} and {unknown} never run", about(time)) };
    let stages: Vec<String> =
        by_stage.into_iter().map(|(stage, count)| format!("{stage} ×{count}")).collect();
    let stale =
        if stages.is_empty() { String::new() } else { format!("makes stale: {}; ", stages.join(", ")) };
    escape_lines(&format!("    {stale}takes about {time}\n"))
}

/// A reason as lines, the instance first.
pub fn reason_in_words(
    project: &Project,
    id: InstanceId,
    reason: &Reason,
    attempts: &LazyCell<Attempts, impl FnOnce() -> Attempts>,
) -> String {
    escape_lines(&words(project, id, reason, attempts))
}

/// What was tried of the instances whose keys are known, and that have no result.
pub fn attempts_of_missing(project: &Project, plan: &Plan) -> Attempts {
    let missing = project.graph.ids().filter(|&id| matches!(plan.state(id), State::Miss(_)));
    let names: Vec<String> = missing.map(|id| project.graph.instance_name(id)).collect();
    project.attempts(names.iter().map(String::as_str))
}

fn words(
    project: &Project,
    id: InstanceId,
    reason: &Reason,
    attempts: &LazyCell<Attempts, impl FnOnce() -> Attempts>,
) -> String {
    let name = project.graph.instance_name(id);
    let kind = project.graph.instance(id).params.kind();
    match reason {
        Reason::Never => format!("{name} is not in the store, nor is any other `{kind}`\n"),
        Reason::Unfinished(action) => match attempts.last(&name, Some(*action)) {
            Some(Attempt::Failed { run, error }) => {
                let error = error.lines().next().unwrap_or_default();
                format!("{name} failed in run {run}: {error}\n")
            }
            Some(Attempt::Running(_)) => format!("{name} is being made by a run that goes on\n"),
            Some(Attempt::Over) | None => format!("{name} was begun, and did not finish\n"),
        },
        Reason::ObjectsLost(ports) => {
            format!("{name} was done, and the store has lost its {}\n", ports.join(", "))
        }
        Reason::Changed { nearest, changes } => {
            let mut text = format!(
                "{name} as it is now is not in the store; the most similar `{kind}` there is {}:\n",
                nearest.short()
            );
            for change in changes {
                writeln!(text, "    {change}{}", place(project, id, change))
                    .expect("a string takes any text");
            }
            text
        }
    }
}

/// Where a changed field is written.
fn place(project: &Project, id: InstanceId, change: &Change) -> String {
    match &change.part {
        Part::Field(path) => {
            let node = project.graph.instance(id).node.nearest(path);
            format!("   {}", project.sources.place(node.span))
        }
        Part::Kind => format!("   {}", project.sources.place(project.graph.instance(id).node.span)),
        Part::Revision | Part::Seed | Part::Input(_) | Part::File(_) => String::new(),
    }
}
