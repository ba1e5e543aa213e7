//! `ablate plan`.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};

use clap::Args;

use super::project::{Project, Reading, Source};
use super::why::{attempts_of_missing, reason_in_words};
use super::{Context, Failure, exit, select};
use crate::budget::Budget;
use crate::forecast::Forecast;
use crate::graph::{Graph, InstanceId};
use crate::plan::{History, Keys, State};
use crate::progress::{about, counted};

/// Show what `run` would do, and why; nothing is run
#[derive(Args)]
pub struct Plan {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    part: select::Part,
    #[command(flatten)]
    reading: Reading,
}

/// What the plan says of a stage.
#[derive(Default)]
struct Tally {
    stage: String,
    hits: usize,
    misses: Vec<InstanceId>,
    pending: usize,
}

impl Tally {
    /// How long what is missing takes, by what it took before.
    fn time(&self, forecast: &Forecast) -> String {
        let missing = u32::try_from(self.misses.len() + self.pending).unwrap_or(u32::MAX);
        match forecast.duration(&self.stage) {
            _ if missing == 0 => String::new(),
            Some(each) => about(each.saturating_mul(missing)),
            None => "?".to_owned(),
        }
    }
}

/// How many seeds are wanted by what is known, and whether more may be.
fn seeds_in_words(graph: &Graph, budget: &Budget, complete: bool) -> String {
    let Budget { ci95, max, .. } = budget;
    let mut points: BTreeMap<&[Option<usize>], usize> = BTreeMap::new();
    graph.trials.iter().for_each(|trial| *points.entry(&trial.point).or_default() += 1);
    let (least, most) = (points.values().min().unwrap_or(&0), points.values().max().unwrap_or(&0));
    let wanted = if least == most { counted(*most, "seed") } else { format!("{least} to {most} seeds") };
    if complete {
        format!("{wanted} a point of at most {max}; no more are wanted")
    } else if least == max {
        format!("{wanted} a point, which is all there may be")
    } else {
        format!(
            "{wanted} a point so far; `run` adds more, up to {max}, until 95 % intervals are within ± {ci95}"
        )
    }
}

/// Shows what is missing.
pub fn plan(args: &Plan, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (project, plan) = args.part.of(Project::open(&args.source, context)?)?.wanted(&args.reading)?;
    let graph = &project.graph;
    let mut tallies: Vec<Tally> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for id in graph.ids() {
        let stage = &graph.instance(id).stage;
        let at = *places.entry(stage).or_insert_with(|| {
            tallies.push(Tally { stage: stage.to_string(), ..Tally::default() });
            tallies.len() - 1
        });
        match plan.state(id) {
            State::Hit(..) => tallies[at].hits += 1,
            State::Miss(_) => tallies[at].misses.push(id),
            State::Pending(_) | State::NoFile(_) => tallies[at].pending += 1,
        }
    }
    let width = tallies.iter().map(|tally| tally.stage.chars().count()).max().unwrap_or(0).max("stage".len());
    let complete = plan.is_complete();
    let history = if complete { None } else { Some(History::read(&project.store)?) };
    let forecast = Forecast::of_hits(graph, &plan);
    let forecast = match &history {
        Some(history) => forecast.or_like(graph, history),
        None => forecast,
    };
    let heading = if complete { "" } else { "       time" };
    writeln!(context.out, "{:width$}  {:>7}  {:>7}  {:>7}{heading}", "stage", "cached", "to run", "pending")?;
    for tally in &tallies {
        let Tally { stage, hits, misses, pending } = tally;
        let line = format!(
            "{stage:width$}  {hits:>7}  {:>7}  {pending:>7}  {:>9}",
            misses.len(),
            tally.time(&forecast)
        );
        writeln!(context.out, "{}", line.trim_end())?;
    }
    let (hits, misses) =
        tallies.iter().fold((0, 0), |(h, m), tally| (h + tally.hits, m + tally.misses.len()));
    let pending = graph.instances.len() - hits - misses;
    let stages = counted(graph.instances.len(), "stage");
    writeln!(context.out, "\n{stages}: {hits} cached, {misses} to run, {pending} pending on these")?;
    if history.is_some() {
        let missing = graph.ids().filter(|&id| plan.state(id).result().is_none());
        let (time, unknown) = forecast.sum(graph, missing);
        let but = if unknown == 0 {
            String::new()
        } else {
            format!(", without {} never run", counted(unknown, "stage"))
        };
        writeln!(context.out, "about {} of work, by what stages took before{but}", about(time))?;
    }
    if let Some(budget) = &graph.budget {
        writeln!(context.out, "{}", seeds_in_words(graph, budget, complete))?;
    }
    if let Some(history) = &history {
        writeln!(context.out)?;
        let keys = Keys::new(graph, &plan.files);
        let attempts = LazyCell::new(|| attempts_of_missing(&project, &plan));
        for first in tallies.iter().filter_map(|tally| tally.misses.first()) {
            let reason = history.reason(&keys, &plan, *first);
            write!(context.out, "{}", reason_in_words(&project, *first, &reason, &attempts))?;
        }
    }
    Ok(exit::DONE)
}
