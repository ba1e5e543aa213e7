//! The graph of a pipeline: stages × axes × seeds, wired and checked, before any cache is consulted.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use ablate_stage::{DynStage, Request};
use litemap::LiteMap;

use crate::budget::Budget;
use crate::pipeline::TableSpec;
use crate::syntax::Node;

/// Index of an instance in [`Graph::instances`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub usize);

/// Index of an axis in [`Graph::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub usize);

/// A named list of values, by the names they have in tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The name in the pipeline file, as `graph.k`.
    pub name: String,
    /// The name in instances: the last segment of `name` where no other axis ends like it, else `name`.
    pub short: String,
    /// The values' names, in the order written.
    pub labels: Vec<String>,
    /// The names of values that the pipeline file gives it and the command line has taken away.
    pub left_out: Vec<String>,
}

impl Axis {
    /// The values taken away, each with the axis' name.
    pub fn values_left_out(&self) -> impl Iterator<Item = (&str, &str)> {
        self.left_out.iter().map(|label| (self.name.as_str(), label.as_str()))
    }
}

/// An input's source: an output of another instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The instance that makes it.
    pub from: InstanceId,
    /// Its output port.
    pub output: Arc<str>,
}

/// A stage at the axes that reach it: its own fields' and wires', and its ancestors'.
#[derive(Clone)]
pub struct Instance {
    /// The stage's name in the pipeline.
    pub stage: Arc<str>,
    /// Its parameters, shared with every instance of the stage that has the same.
    pub params: Arc<dyn DynStage>,
    /// What it asks of the machine; shared with the instances of other seeds.
    pub request: Arc<Request>,
    /// Axis → index of the value, for the axes that reach it; shared with the instances of other seeds.
    pub point: Arc<LiteMap<AxisId, usize>>,
    /// The seed, where it or an ancestor is seeded.
    pub seed: Option<u64>,
    /// Input port → source.
    pub inputs: LiteMap<Arc<str>, Wire>,
    /// The stage's syntax after axes and settings, every piece with the place it was written at.
    pub node: Arc<Node>,
}

/// One point and seed of the sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Index of each axis' value, in the order of [`Graph::axes`]; `None` where the point does not set the axis.
    pub point: Arc<[Option<usize>]>,
    /// The seed.
    pub seed: u64,
    /// Stage name → its instance in this trial.
    pub instances: LiteMap<Arc<str>, InstanceId>,
}

/// Every instance of a pipeline, each once, sources before consumers.
#[derive(Clone)]
pub struct Graph {
    /// The pipeline's name.
    pub name: String,
    /// Topologically ordered.
    pub instances: Vec<Instance>,
    /// In the order written.
    pub axes: Vec<Axis>,
    /// Every point and seed.
    pub trials: Vec<Trial>,
    /// The tables the pipeline declares, in the order written.
    pub tables: Vec<TableSpec>,
    /// How far the seeds go, where they are a budget: the trials are then all there may come to be.
    pub budget: Option<Budget>,
}

/// Some trials of a graph, with nothing but what they are made of.
pub struct Part<'g> {
    /// The graph of these.
    pub graph: Cow<'g, Graph>,
    /// By its instances: the instance of the whole graph each is.
    pub of: Vec<InstanceId>,
}

impl Graph {
    /// An instance.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.0]
    }

    /// An instance's name, as `graph[images=cifar10,k=5,seed=0]`.
    pub fn instance_name(&self, id: InstanceId) -> String {
        let instance = self.instance(id);
        let mut name = instance.stage.to_string();
        let axes = instance.point.iter().map(|(axis, &value)| {
            let axis = &self.axes[axis.0];
            (axis.short.clone(), axis.labels[value].clone())
        });
        let parts = axes.chain(instance.seed.map(|seed| ("seed".to_owned(), seed.to_string())));
        for (index, (key, value)) in parts.enumerate() {
            let opening = if index == 0 { '[' } else { ',' };
            write!(name, "{opening}{key}={value}").expect("writing to a string");
        }
        if name.len() > instance.stage.len() {
            name.push(']');
        }
        name
    }

    /// What cannot be before these instances are: every instance that takes something from them, near or far, but not
    /// themselves.
    pub fn descendants(&self, of: &[InstanceId]) -> Vec<InstanceId> {
        let mut reached = vec![false; self.instances.len()];
        of.iter().for_each(|id| reached[id.0] = true);
        let mut found = Vec::new();
        for id in self.ids() {
            if !reached[id.0] && self.instance(id).inputs.values().any(|wire| reached[wire.from.0]) {
                reached[id.0] = true;
                found.push(id);
            }
        }
        found
    }

    /// The graph of these instances and all they need, with the tables that show something of them.
    #[must_use]
    pub fn only(self, wanted: impl Fn(&Self, InstanceId) -> bool) -> Self {
        let mut needed = vec![false; self.instances.len()];
        for id in self.ids().collect::<Vec<_>>().into_iter().rev() {
            if needed[id.0] || wanted(&self, id) {
                needed[id.0] = true;
                self.instance(id).inputs.values().for_each(|wire| needed[wire.from.0] = true);
            }
        }
        self.keep(&needed)
    }

    /// The whole as a part.
    pub fn whole(&self) -> Part<'_> {
        Part { graph: Cow::Borrowed(self), of: self.ids().collect() }
    }

    /// Some of the trials, by their place, but without some instances and what comes after these.
    pub fn part(&self, trials: &[bool], without: &BTreeSet<InstanceId>) -> Part<'static> {
        let trials: Vec<Trial> = self
            .trials
            .iter()
            .zip(trials)
            .filter(|(_, wanted)| **wanted)
            .map(|(trial, _)| trial.clone())
            .collect();
        let mut needed = vec![false; self.instances.len()];
        trials.iter().flat_map(|trial| trial.instances.values()).for_each(|id| needed[id.0] = true);
        let without: Vec<InstanceId> = without.iter().copied().collect();
        without.iter().chain(&self.descendants(&without)).for_each(|id| needed[id.0] = false);
        let of = self.ids().filter(|id| needed[id.0]).collect();
        let graph = Self { trials, ..self.clone() };
        Part { graph: Cow::Owned(graph.keep(&needed)), of }
    }

    /// The graph of these instances, which are all that any of them needs.
    fn keep(self, needed: &[bool]) -> Self {
        let mut moved = Vec::with_capacity(needed.len());
        let mut kept = 0;
        for &needed in needed {
            moved.push(InstanceId(kept));
            kept += usize::from(needed);
        }
        let Self { name, instances, axes, trials, tables, budget } = self;
        let mut instances: Vec<Instance> = instances
            .into_iter()
            .zip(needed)
            .filter_map(|(instance, &needed)| needed.then_some(instance))
            .collect();
        let wires = instances.iter_mut().flat_map(|instance| &mut instance.inputs);
        wires.for_each(|(_, wire)| wire.from = moved[wire.from.0]);
        let trials = trials.into_iter().map(|mut trial| {
            trial.instances.retain(|_, id| needed[id.0]);
            for (_, id) in &mut trial.instances {
                *id = moved[id.0];
            }
            trial
        });
        let stages: BTreeSet<&str> = instances.iter().map(|instance| &*instance.stage).collect();
        let shows = |table: &TableSpec| {
            table.cells.iter().any(|(_, cell)| stages.contains(cell.metric.stage.as_str()))
        };
        let tables = tables.into_iter().filter(shows).collect();
        let trials = trials.collect();
        Self { name, axes, trials, tables, instances, budget }
    }

    /// Every instance's id, sources before consumers.
    pub fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.instances.len()).map(InstanceId)
    }
}
