//! Results as rows: one for each point and seed that the chosen metrics can tell apart.

use std::collections::{BTreeSet, HashSet};

use ablate_stage::cache::ActionResult;

use crate::graph::{AxisId, Graph, InstanceId};
use crate::pipeline::MetricRef;

/// What became of an instance.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It succeeded.
    Done(&'a ActionResult),
    /// It has not run yet.
    Missing,
    /// A run is at it, or at what it depends on.
    Running,
    /// Its last attempt failed, or what it depends on did.
    Failed,
}

/// A metric in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Its value.
    Measured(f64),
    /// Its stage has not run yet.
    Missing,
    /// A run is at its stage, or at what that depends on.
    Running,
    /// Its stage failed.
    Failed,
    /// Its stage ran and reported no metric of that name.
    Unreported,
}

impl Value {
    /// The number, where there is one.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Measured(value) => Some(value),
            Self::Missing | Self::Running | Self::Failed | Self::Unreported => None,
        }
    }

    /// Why there is no number, in a word; `done` where there is one.
    pub fn state(self) -> &'static str {
        match self {
            Self::Measured(_) => "done",
            Self::Missing => "missing",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Unreported => "not reported",
        }
    }
}

/// The metrics of one point and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// For each axis of the graph, the index of its value; `None` where the axis reaches none of the metrics' stages.
    pub point: Vec<Option<usize>>,
    /// The seed; `None` where it reaches none of the metrics' stages.
    pub seed: Option<u64>,
    /// The instances that report, in the order of [`Rows::stages`].
    pub instances: Vec<Option<InstanceId>>,
    /// In the order of [`Rows::metrics`].
    pub values: Vec<Value>,
}

/// Rows of chosen metrics, in the order of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The metrics.
    pub metrics: Vec<MetricRef>,
    /// The stages that report them, each once.
    pub stages: Vec<String>,
    /// The rows, one for each set of instances that report.
    pub rows: Vec<Row>,
}

/// Gathers metrics. Trials that differ only in axes none of the metrics' stages carries are one row, so a result that
/// several trials share counts once.
pub fn gather<'a>(graph: &Graph, metrics: &[MetricRef], outcome: impl Fn(InstanceId) -> Outcome<'a>) -> Rows {
    let mut stages: Vec<String> = Vec::new();
    let mut reporters = Vec::new();
    for metric in metrics {
        let known = stages.iter().position(|stage| *stage == metric.stage);
        reporters.push(known.unwrap_or_else(|| {
            stages.push(metric.stage.clone());
            stages.len() - 1
        }));
    }
    // As many as the trials, as a rule.
    let mut rows: Vec<Row> = Vec::with_capacity(graph.trials.len());
    let mut seen = HashSet::with_capacity(graph.trials.len());
    for trial in &graph.trials {
        let instances: Vec<Option<InstanceId>> =
            stages.iter().map(|stage| trial.instances.get(stage.as_str()).copied()).collect();
        if instances.iter().all(Option::is_none) || !seen.insert(instances.clone()) {
            continue;
        }
        let carriers = || instances.iter().flatten().map(|&id| graph.instance(id));
        let point: Vec<Option<usize>> = (0..graph.axes.len())
            .map(|axis| carriers().find_map(|instance| instance.point.get(&AxisId(axis)).copied()))
            .collect();
        let seed = carriers().find_map(|instance| instance.seed);
        let value = |(metric, &reporter): (&MetricRef, &usize)| match instances[reporter].map(&outcome) {
            Some(Outcome::Done(result)) => {
                result.metrics.get(&metric.metric).map_or(Value::Unreported, |&value| Value::Measured(value))
            }
            Some(Outcome::Failed) => Value::Failed,
            Some(Outcome::Running) => Value::Running,
            Some(Outcome::Missing) | None => Value::Missing,
        };
        let values = metrics.iter().zip(&reporters).map(value).collect();
        rows.push(Row { point, seed, instances, values });
    }
    Rows { metrics: metrics.to_vec(), stages, rows }
}

/// Every metric any finished instance reports, in order of stage and name.
pub fn all_metrics<'a>(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'a>) -> Vec<MetricRef> {
    let mut found = BTreeSet::new();
    for id in graph.ids() {
        if let Outcome::Done(result) = outcome(id) {
            for metric in result.metrics.keys() {
                found.insert((graph.instance(id).stage.to_string(), metric.clone()));
            }
        }
    }
    found.into_iter().map(|(stage, metric)| MetricRef { stage, metric }).collect()
}
