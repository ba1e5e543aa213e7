//! From a pipeline to its graph of instances.
//!
//! Everything is checked here that can be without running anything: stage kinds and their fields, what the axes set,
//! wires and what flows through them, cycles, tables. Errors of a whole file are found in one pass, each told once
//! however many trials it is in.
//!
//! An instance carries the axes that set it and those that any of its inputs carries, and the seed if it or any of its
//! inputs is seeded. As the inputs are instances themselves, it is enough to tell instances of a stage apart by their
//! own values and their inputs' identity: what does not reach a stage cannot split it.

mod axis;
mod budget;
mod settings;
mod sweep;
mod table;
mod variant;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ablate_stage::{ArtifactKind, Registry};
use litemap::LiteMap;

use crate::diagnostic::Diagnostics;
use crate::graph::{Axis, AxisId, Graph, Instance, InstanceId, Trial, Wire};
use crate::pipeline::Pipeline;
use axis::StageAxes;
use sweep::Point;
use variant::{Variant, Variants};
use wire::{Input, Plug, Stages};

pub use sweep::MAX_TRIALS;

/// The instances and trials of a pipeline.
///
/// # Errors
/// Everything wrong with it.
pub fn expand(pipeline: &Pipeline, registry: &Registry) -> Result<Graph, Diagnostics> {
    let points = sweep::points(pipeline)?;
    let mut wrong = Diagnostics::new();
    let stage_axes = axis::resolve(pipeline, &mut wrong);
    let stages = settings::apply(pipeline, &stage_axes, registry, &mut wrong);
    let variants: Vec<Variants> = stages
        .iter()
        .zip(&stage_axes)
        .map(|(spec, axes)| Variants::decode(&spec.stage, &axes.fields, &points, registry, &mut wrong))
        .collect();
    let names = Stages::of(pipeline);
    let inputs: Vec<Vec<Input>> = stages
        .iter()
        .zip(&stage_axes)
        .map(|(spec, axes)| wire::inputs(&names, &spec.from, axes, &points, &mut wrong))
        .collect();
    let mut builder = Builder::new(pipeline, &stage_axes, &variants, &inputs, wrong);
    let built = builder.build(&points);
    let (instances, trials) = builder.spread(&built);
    let mut wrong = builder.wrong;
    let axes = axes_of(pipeline);
    let tables = table::check(pipeline, &axes, &variants, &trials, &mut wrong);
    let budget = budget::check(pipeline, &mut wrong);
    wrong.or(Graph { name: pipeline.name.text.clone(), instances, axes, trials, tables, budget })
}

fn axes_of(pipeline: &Pipeline) -> Vec<Axis> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut endings: HashMap<String, usize> = HashMap::from([("seed".to_owned(), 1)]);
    for axis in &pipeline.axes {
        *endings.entry(last(&axis.name.text)).or_default() += 1;
    }
    let axis = |axis: &crate::pipeline::AxisSpec| {
        let name = axis.name.text.clone();
        let short = last(&name);
        let short = if endings[&short] == 1 { short } else { name.clone() };
        let labels = axis.values.iter().map(|value| value.label.clone()).collect();
        Axis { name, short, labels, left_out: axis.left_out.clone() }
    };
    pipeline.axes.iter().map(axis).collect()
}

/// A point and its place among all.
#[derive(Clone, Copy)]
struct At<'p> {
    index: usize,
    point: &'p Point,
}

/// What the instances of a stage that differ in their seeds alone have in common.
struct Model {
    /// That of the first seed; its inputs come from models, by index.
    instance: Instance,
    /// Longest way from a source.
    level: u32,
    stage: usize,
}

/// The model of each stage at a point; `None` where it or an input does not decode.
type Built = Vec<Option<usize>>;

/// Builds each model once, point by point. Seeds change nothing but the seed, so they come in at the end.
struct Builder<'a> {
    pipeline: &'a Pipeline,
    variants: &'a [Variants],
    inputs: &'a [Vec<Input>],
    /// The axes that set each stage, its fields or its inputs.
    own_axes: Vec<Vec<usize>>,
    /// The axes that decide wires: they alone can change the order of the stages.
    wire_axes: Vec<usize>,
    orders: HashMap<Vec<Option<usize>>, Option<Arc<[usize]>>>,
    makers: BTreeMap<ArtifactKind, Vec<&'a str>>,
    names: Vec<Arc<str>>,
    models: Vec<Model>,
    /// Stage, variant, values of its wires' axes, inputs → model.
    known: HashMap<Box<[u64]>, usize>,
    wrong: Diagnostics,
}

impl<'a> Builder<'a> {
    fn new(
        pipeline: &'a Pipeline,
        stage_axes: &[StageAxes<'_>],
        variants: &'a [Variants],
        inputs: &'a [Vec<Input>],
        wrong: Diagnostics,
    ) -> Self {
        let own_axes = stage_axes.iter().zip(variants).map(|(axes, variants)| {
            let wires = axes.wires.iter().map(|wire| wire.axis);
            sorted(variants.axes().chain(wires))
        });
        let mut makers: BTreeMap<ArtifactKind, Vec<&str>> = BTreeMap::new();
        for (spec, variants) in pipeline.stages.iter().zip(variants) {
            let kinds = variants.iter().flat_map(|variant| &variant.outputs).map(|port| port.kind);
            for kind in sorted(kinds) {
                makers.entry(kind).or_default().push(&spec.name.text);
            }
        }
        Self {
            pipeline,
            variants,
            inputs,
            own_axes: own_axes.collect(),
            wire_axes: sorted(stage_axes.iter().flat_map(|axes| &axes.wires).map(|wire| wire.axis)),
            orders: HashMap::new(),
            makers,
            names: pipeline.stages.iter().map(|stage| Arc::from(stage.name.text.as_str())).collect(),
            models: Vec::new(),
            known: HashMap::new(),
            wrong,
        }
    }

    /// The models of every point.
    fn build(&mut self, points: &[Point]) -> Vec<(Arc<[Option<usize>]>, Built)> {
        let mut all = Vec::with_capacity(points.len());
        for (index, point) in points.iter().enumerate() {
            let Some(order) = self.order(point) else { continue };
            let at = At { index, point };
            let mut built: Built = vec![None; self.names.len()];
            for &stage in order.iter() {
                built[stage] = self.build_model(stage, at, &built);
            }
            all.push((point.as_slice().into(), built));
        }
        all
    }

    fn order(&mut self, point: &Point) -> Option<Arc<[usize]>> {
        let values: Vec<Option<usize>> = self.wire_axes.iter().map(|&axis| point[axis]).collect();
        if let Some(order) = self.orders.get(&values) {
            return order.clone();
        }
        let order = wire::order(self.pipeline, self.inputs, point);
        let order = order.map_err(|error| self.wrong.push(error)).ok().map(Arc::from);
        self.orders.insert(values, order.clone());
        order
    }

    /// The model of a stage at a point whose earlier stages are `built`.
    fn build_model(&mut self, stage: usize, at: At<'_>, built: &Built) -> Option<usize> {
        let variant_index = self.variants[stage].index(at.index);
        let variant = self.variants[stage].get(variant_index)?;
        let mut key = vec![stage as u64, variant_index as u64];
        for input in &self.inputs[stage] {
            key.extend(input.axis().map(|axis| at.point[axis].map_or(u64::MAX, |value| value as u64)));
            if let Plug::Stage { stage: from, .. } = input.plug(at.point) {
                key.push(built[*from].map_or(u64::MAX, |id| id as u64));
            }
        }
        if let Some(&id) = self.known.get(key.as_slice()) {
            return Some(id);
        }
        let instance = self.wire_up(stage, variant, at, built);
        let sources = instance.inputs.values().map(|wire| self.models[wire.from.0].level + 1);
        let level = sources.max().unwrap_or(0);
        self.models.push(Model { instance, level, stage });
        let id = self.models.len() - 1;
        self.known.insert(key.into(), id);
        Some(id)
    }

    /// The instance of a model, with its wires checked.
    fn wire_up(
        &mut self,
        stage: usize,
        variant: &'a Variant,
        at: At<'_>,
        built: &[Option<usize>],
    ) -> Instance {
        let pipeline = self.pipeline;
        let name = &pipeline.stages[stage].name;
        let mut wires = LiteMap::new();
        let mut wired = Vec::new();
        for input in &self.inputs[stage] {
            let plug = input.plug(at.point);
            if !matches!(plug, Plug::Open) {
                wired.push(input.port.text.as_str());
            }
            let Plug::Stage { stage: from, output, span } = plug else { continue };
            let (Some(maker), Some(id)) =
                (self.variants[*from].get(self.variants[*from].index(at.index)), built[*from])
            else {
                continue;
            };
            let producer = (&pipeline.stages[*from].name, maker);
            match wire::fit((name, variant), &input.port, producer, output.as_deref(), *span) {
                Ok(output) => {
                    let wire = Wire { from: InstanceId(id), output: output.into() };
                    wires.insert(input.port.text.as_str().into(), wire);
                }
                Err(error) => self.wrong.push(error),
            }
        }
        wire::check_all_wired(name, variant, &wired, &self.makers, &mut self.wrong);
        let sources = || wires.values().map(|wire: &Wire| &self.models[wire.from.0].instance);
        let own = self.own_axes[stage].iter().filter_map(|&axis| Some((AxisId(axis), at.point[axis]?)));
        let inherited = sources().flat_map(|source| source.point.iter().map(|(&axis, &value)| (axis, value)));
        let is_seeded = variant.seeded || sources().any(|source| source.seed.is_some());
        Instance {
            stage: Arc::clone(&self.names[stage]),
            request: Arc::new(pipeline.stages[stage].resources.over(variant.params.request())),
            params: Arc::clone(&variant.params),
            point: Arc::new(own.chain(inherited).collect()),
            seed: self.pipeline.seeds.first().copied().filter(|_| is_seeded),
            node: Arc::clone(&variant.node),
            inputs: wires,
        }
    }

    /// Every instance and trial of these points and every seed.
    ///
    /// Instances are in order of their longest way from a source, then as the stages are written, then as the trials come:
    /// sources before consumers, and the instances of a stage together where their depth is the same. Those of a model are
    /// next to each other.
    fn spread(&self, points: &[(Arc<[Option<usize>]>, Built)]) -> (Vec<Instance>, Vec<Trial>) {
        let seeds = self.pipeline.seeds.as_slice();
        let is_seeded = |id: usize| self.models[id].instance.seed.is_some();
        let own = |id| if is_seeded(id) { seeds } else { seeds.get(..1).unwrap_or_default() };
        let mut order: Vec<usize> = (0..self.models.len()).collect();
        order.sort_by_key(|&id| (self.models[id].level, self.models[id].stage));
        let mut firsts = vec![0; self.models.len()];
        let mut count = 0;
        for &id in &order {
            firsts[id] = count;
            count += own(id).len();
        }
        let place = |id, seed| InstanceId(firsts[id] + if is_seeded(id) { seed } else { 0 });
        let mut instances = Vec::with_capacity(count);
        for &id in &order {
            let model = &self.models[id].instance;
            for (index, &seed) in own(id).iter().enumerate() {
                let mut instance = Instance { seed: model.seed.map(|_| seed), ..model.clone() };
                instance.inputs.iter_mut().for_each(|(_, wire)| wire.from = place(wire.from.0, index));
                instances.push(instance);
            }
        }
        let mut trials = Vec::with_capacity(points.len() * seeds.len());
        for (point, built) in points {
            for (index, &seed) in seeds.iter().enumerate() {
                let built = self.names.iter().zip(built);
                let instances = built.filter_map(|(name, id)| Some((Arc::clone(name), place((*id)?, index))));
                trials.push(Trial { point: Arc::clone(point), seed, instances: instances.collect() });
            }
        }
        (instances, trials)
    }
}

/// Each item once, in order.
fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
