//! Results as rows: one for each point and seed that the chosen metrics can tell apart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ablate_stage::cache::{ActionDigest, ActionResult};

use crate::graph::{AxisId, Graph, InstanceId};
use crate::pipeline::{MetricRef, TableSpec};

/// What became of an instance.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It succeeded: what was done, and what came of it.
    Done(ActionDigest, &'a ActionResult),
    /// It has not run yet.
    Missing,
    /// A run is at it, or at what it depends on.
    Running,
    /// Its last attempt failed, or what it depends on did.
    Failed,
}

/// How a stage stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has run.
    Done,
    /// It has not run yet.
    Missing,
    /// A run is at it, or at what it depends on.
    Running,
    /// It failed.
    Failed,
    /// It ran and reported no metric of the name asked for.
    Unreported,
}

impl State {
    /// In a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Missing => "missing",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Unreported => "not reported",
        }
    }
}

impl From<Outcome<'_>> for State {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Done(..) => Self::Done,
            Outcome::Missing => Self::Missing,
            Outcome::Running => Self::Running,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Chosen metrics in columns, a row for each set of instances that report, in the order of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// By row: for each axis of the graph, the index of its value; `None` where the axis reaches none of the metrics' stages.
    pub points: Vec<Arc<[Option<usize>]>>,
    /// By row: the seed; `None` where it reaches none of the metrics' stages.
    pub seeds: Vec<Option<u64>>,
    /// The stages that report, each once.
    pub stages: Vec<Reporter>,
    /// In the order asked for; by row: the number, where there is one.
    pub values: Vec<Vec<Option<f64>>>,
}

/// A stage that reports metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Reporter {
    /// Its name.
    pub stage: String,
    /// By row: its instance.
    pub instances: Vec<Option<InstanceId>>,
}

/// The instances that report to a table.
pub fn reporters(graph: &Graph, spec: &TableSpec) -> BTreeSet<InstanceId> {
    let stages: BTreeSet<&str> = spec.cells.iter().map(|(_, cell)| cell.metric.stage.as_str()).collect();
    let trials = graph.trials.iter().filter(|trial| spec.is_of(&trial.point));
    trials.flat_map(|trial| stages.iter().filter_map(|stage| trial.instances.get(*stage).copied())).collect()
}

/// Gathers metrics. Trials that differ only in axes none of the metrics' stages carries are one row, so a result that
/// several trials share counts once. `is_meant` says of which points trials are gathered.
pub fn gather<'a>(
    graph: &Graph,
    metrics: &[MetricRef],
    is_meant: impl Fn(&[Option<usize>]) -> bool,
    outcome: impl Fn(InstanceId) -> Outcome<'a>,
) -> Rows {
    let mut stages: Vec<&str> = Vec::new();
    for metric in metrics {
        if !stages.contains(&metric.stage.as_str()) {
            stages.push(&metric.stage);
        }
    }
    // As many rows as trials, as a rule.
    let count = graph.trials.len();
    let mut instances: Vec<Vec<Option<InstanceId>>> =
        stages.iter().map(|_| Vec::with_capacity(count)).collect();
    let mut points = Vec::with_capacity(count);
    let mut seeds = Vec::with_capacity(count);
    let mut seen = Sets { numbers: HashMap::with_capacity(count) };
    let mut reporting = Vec::new();
    // The shared points of the instances that report, and of those of the row before.
    let (mut shared, mut shared_before) = (Vec::new(), Vec::new());
    for trial in graph.trials.iter().filter(|trial| is_meant(&trial.point)) {
        reporting.clear();
        reporting.extend(stages.iter().map(|stage| trial.instances.get(*stage).copied()));
        if reporting.iter().all(Option::is_none) || !seen.insert(&reporting) {
            continue;
        }
        for (column, &id) in instances.iter_mut().zip(&reporting) {
            column.push(id);
        }
        let carriers = || reporting.iter().flatten().map(|&id| graph.instance(id));
        seeds.push(carriers().find_map(|instance| instance.seed));
        shared.clear();
        shared.extend(reporting.iter().map(|id| id.map(|id| Arc::as_ptr(&graph.instance(id).point))));
        points.push(match points.last() {
            Some(point) if shared == shared_before => Arc::clone(point),
            Some(_) | None => (0..graph.axes.len())
                .map(|axis| carriers().find_map(|instance| instance.point.get(&AxisId(axis)).copied()))
                .collect(),
        });
        std::mem::swap(&mut shared, &mut shared_before);
    }
    let value = |metric: &MetricRef, id: Option<InstanceId>| match id.map(&outcome)? {
        Outcome::Done(_, result) => result.metrics.get(&metric.metric).copied(),
        Outcome::Missing | Outcome::Running | Outcome::Failed => None,
    };
    let values = metrics.iter().map(|metric| {
        let reporter = stages.iter().position(|stage| *stage == metric.stage);
        let instances = reporter.map(|index| &instances[index]);
        instances.into_iter().flatten().map(|&id| value(metric, id)).collect()
    });
    let values = values.collect();
    let stages = stages.into_iter().zip(instances);
    let stages = stages.map(|(stage, instances)| Reporter { stage: stage.to_owned(), instances });
    Rows { points, seeds, stages: stages.collect(), values }
}

/// What instances of the same stages, in the same order, were seen together.
struct Sets {
    /// The number of those of the first stages (0 of none), and the instance of the next → the number of all these.
    numbers: HashMap<(usize, Option<InstanceId>), usize>,
}

impl Sets {
    /// Takes one in, and says whether it was not there before.
    fn insert(&mut self, instances: &[Option<InstanceId>]) -> bool {
        let (mut set, mut is_new) = (0, false);
        for &id in instances {
            let next = self.numbers.len() + 1;
            set = *self.numbers.entry((set, id)).or_insert(next);
            is_new = set == next;
        }
        is_new
    }
}

/// Every metric any finished instance reports, in order of stage and name.
pub fn all_metrics<'a>(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'a>) -> Vec<MetricRef> {
    let mut found = BTreeSet::new();
    for id in graph.ids() {
        if let Outcome::Done(_, result) = outcome(id) {
            for metric in result.metrics.keys() {
                found.insert((graph.instance(id).stage.to_string(), metric.clone()));
            }
        }
    }
    found.into_iter().map(|(stage, metric)| MetricRef { stage, metric }).collect()
}
