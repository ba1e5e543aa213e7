//! Drawings of a pipeline: which stages there are, and what feeds them.
//!
//! A [`Drawing`] is what there is to see, whichever way it is written: [`Drawing::of_stages`] has one node per stage,
//! its instances counted; [`Drawing::of_instances`] has one per instance. The writers below it are its only readers,
//! and each escapes names for its own syntax; what is invisible or moves a cursor is spelt out here, for all of them.
//! No store is looked into, so a drawing says nothing of what is cached.

mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use ablate_stage::{ArtifactKind, Port};

use crate::diagnostic::escape;
use crate::graph::{AxisId, Graph, InstanceId};
use crate::pipeline::Pipeline;
use crate::progress::counted;

/// The most nodes that are laid out as SVG: more than that nobody reads, and laying them out takes long.
pub const MAX_SVG_NODES: usize = 400;

/// What there is to see.
pub struct Drawing {
    /// The pipeline's name.
    title: String,
    /// How much there is of everything.
    summary: String,
    /// Axes and seeds with their values.
    axes: Vec<(String, Vec<String>)>,
    /// Sources first, as far as the wires of all trials together have an order.
    nodes: Vec<Node>,
    /// At most one from a node to another, in order of the node they lead to.
    edges: Vec<Edge>,
}

/// A stage or an instance.
struct Node {
    /// The stage's name.
    stage: String,
    /// The name of what it is.
    name: String,
    /// Instances it stands for; `None` where it is one itself.
    count: Option<usize>,
    /// Stage kind; several where an axis replaces the whole stage.
    kind: String,
    /// Of a stage, the axes that set it; of an instance, its values of those that reach it and its seed.
    axes: Vec<String>,
}

/// What one node takes of another.
struct Edge {
    from: usize,
    to: usize,
    wires: Vec<Wire>,
}

/// One input that another node feeds.
struct Wire {
    port: String,
    output: String,
    kind: ArtifactKind,
    /// Names of ports, where the kind of artifact does not tell what goes where.
    label: Option<String>,
    /// The axis values it is there for, where it is not always.
    when: Option<When>,
}

/// Values of an axis.
#[derive(PartialEq, Eq)]
struct When {
    /// `None` where no single axis decides.
    axis: Option<String>,
    values: Vec<String>,
}

impl Drawing {
    /// How many nodes it has.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// One node per stage, an edge where any of its instances takes something of another stage.
    pub fn of_stages(pipeline: &Pipeline, graph: &Graph) -> Self {
        let members = members(graph);
        let index: BTreeMap<&str, usize> =
            members.iter().enumerate().map(|(at, (stage, _))| (*stage, at)).collect();
        let nodes = members.iter().map(|(stage, ids)| {
            let kinds: BTreeSet<&str> = ids.iter().map(|id| graph.instance(*id).params.kind()).collect();
            Node {
                stage: escape(stage),
                name: escape(stage),
                count: Some(ids.len()),
                kind: kinds.into_iter().collect::<Vec<_>>().join(" | "),
                axes: setting(pipeline, graph, stage),
            }
        });
        let nodes = nodes.collect();
        let mut edges = BTreeMap::new();
        for (to, (stage, ids)) in members.iter().enumerate() {
            for source in sources(graph, ids) {
                let maker = graph.instance(
                    graph
                        .instance(source.ids[0])
                        .inputs
                        .get(&*source.port)
                        .expect("a source names a port it feeds")
                        .from,
                );
                let from = index[&*maker.stage];
                let when = (source.ids.len() < ids.len()).then(|| when(pipeline, graph, stage, ids, &source));
                let wire = wire(graph, source.ids[0], &source.port, when);
                edges.entry((to, from)).or_insert_with(Vec::new).push(wire);
            }
        }
        let stages = counted(members.len(), "stage");
        Self::new(graph, stages, nodes, edges)
    }

    /// One node per instance.
    pub fn of_instances(graph: &Graph) -> Self {
        let node = |id| {
            let instance = graph.instance(id);
            let axes = instance.point.iter().map(|(axis, &value)| {
                let axis = &graph.axes[axis.0];
                escape(&format!("{}={}", axis.short, axis.labels[value]))
            });
            Node {
                stage: escape(&instance.stage),
                name: escape(&graph.instance_name(id)),
                count: None,
                kind: instance.params.kind().to_owned(),
                axes: axes.chain(instance.seed.map(|seed| format!("seed={seed}"))).collect(),
            }
        };
        let mut edges = BTreeMap::new();
        for id in graph.ids() {
            for (port, source) in &graph.instance(id).inputs {
                let wire = wire(graph, id, port, None);
                edges.entry((id.0, source.from.0)).or_insert_with(Vec::new).push(wire);
            }
        }
        let stages: BTreeSet<&str> = graph.instances.iter().map(|instance| &*instance.stage).collect();
        Self::new(graph, counted(stages.len(), "stage"), graph.ids().map(node).collect(), edges)
    }

    fn new(
        graph: &Graph,
        stages: String,
        nodes: Vec<Node>,
        edges: BTreeMap<(usize, usize), Vec<Wire>>,
    ) -> Self {
        let instances = counted(graph.instances.len(), "instance");
        let trials = counted(graph.trials.len(), "trial");
        let axis = |axis: &crate::graph::Axis| {
            (escape(&axis.short), axis.labels.iter().map(|label| in_list(&escape(label))).collect())
        };
        let seeds: BTreeSet<u64> = graph.trials.iter().map(|trial| trial.seed).collect();
        let seeds = ("seeds".to_owned(), seeds.iter().map(u64::to_string).collect());
        Self {
            title: escape(&graph.name),
            summary: format!("{stages}, {instances}, {trials}"),
            axes: graph.axes.iter().map(axis).chain([seeds]).collect(),
            nodes,
            edges: edges.into_iter().map(|((to, from), wires)| Edge { from, to, wires }).collect(),
        }
    }

    /// The edges that lead to a node.
    fn edges_to(&self, node: usize) -> &[Edge] {
        let start = self.edges.partition_point(|edge| edge.to < node);
        let end = self.edges.partition_point(|edge| edge.to <= node);
        &self.edges[start..end]
    }

    /// An edge in words.
    fn sentence(&self, edge: &Edge) -> String {
        let wires = edge.wires.iter().map(|wire| {
            let when = wire.when.as_ref().map(|when| format!(", where {}", when.text())).unwrap_or_default();
            format!("{} to {} ({}){when}", wire.output, wire.port, wire.kind)
        });
        let wires = wires.collect::<Vec<_>>().join("; ");
        format!("{} feeds {}: {wires}", self.nodes[edge.from].name, self.nodes[edge.to].name)
    }
}

impl Edge {
    /// Whether it is there for some axis values only.
    fn is_conditional(&self) -> bool {
        self.wires.iter().all(|wire| wire.when.is_some())
    }

    /// What is written at it, if anything.
    fn label(&self) -> Option<String> {
        let mut texts: Vec<String> = Vec::new();
        for wire in &self.wires {
            let when = wire.when.as_ref().map(When::text);
            let parts: Vec<String> = wire.label.clone().into_iter().chain(when).collect();
            let text = parts.join(" if ");
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

impl When {
    fn text(&self) -> String {
        match &self.axis {
            Some(axis) => format!("{axis}={}", self.values.join("|")),
            None => "some trials".to_owned(),
        }
    }
}

/// The stages with their instances, each stage after those that feed it; where stages feed each other, each in other
/// trials, as their instances come.
fn members(graph: &Graph) -> Vec<(&str, Vec<InstanceId>)> {
    let mut rest: Vec<(&str, Vec<InstanceId>)> = Vec::new();
    let mut feeds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for id in graph.ids() {
        let instance = graph.instance(id);
        match rest.iter_mut().find(|(stage, _)| **stage == *instance.stage) {
            Some((_, ids)) => ids.push(id),
            None => rest.push((&instance.stage, vec![id])),
        }
        let sources = instance.inputs.values().map(|wire| &*graph.instance(wire.from).stage);
        feeds.entry(&instance.stage).or_default().extend(sources);
    }
    let mut ordered = Vec::new();
    while !rest.is_empty() {
        let waits =
            |stage: &str| rest.iter().any(|(other, _)| *other != stage && feeds[stage].contains(other));
        let next = rest.iter().position(|(stage, _)| !waits(stage)).unwrap_or(0);
        ordered.push(rest.remove(next));
    }
    ordered
}

/// The short names of the axes that set a stage, its fields or its inputs.
fn setting(pipeline: &Pipeline, graph: &Graph, stage: &str) -> Vec<String> {
    let sets = |name: &str| {
        let axis = pipeline.axes.iter().find(|axis| axis.name.text == name);
        axis.is_some_and(|axis| axis.places().any(|path| path.text.split('.').next() == Some(stage)))
    };
    graph.axes.iter().filter(|axis| sets(&axis.name)).map(|axis| escape(&axis.short)).collect()
}

/// One output that feeds a port of some of a stage's instances.
struct Source {
    port: String,
    /// Those instances.
    ids: Vec<InstanceId>,
}

/// What feeds the instances of a stage: each port and output once.
fn sources(graph: &Graph, ids: &[InstanceId]) -> Vec<Source> {
    let mut found: BTreeMap<(&str, &str, &str), Vec<InstanceId>> = BTreeMap::new();
    for &id in ids {
        for (port, wire) in &graph.instance(id).inputs {
            let key = (&**port, &*graph.instance(wire.from).stage, &*wire.output);
            found.entry(key).or_default().push(id);
        }
    }
    found.into_iter().map(|((port, ..), ids)| Source { port: port.to_owned(), ids }).collect()
}

/// The axis values a source is there for: those of the axis on that port, else of one whose values tell it from the
/// port's other sources.
fn when(pipeline: &Pipeline, graph: &Graph, stage: &str, ids: &[InstanceId], source: &Source) -> When {
    let values = |axis: AxisId, ids: &mut dyn Iterator<Item = InstanceId>| -> BTreeSet<Option<usize>> {
        ids.map(|id| graph.instance(id).point.get(&axis).copied()).collect()
    };
    let tells_apart = |axis: AxisId| {
        let with = values(axis, &mut source.ids.iter().copied());
        let mut others = ids.iter().copied().filter(|id| !source.ids.contains(id));
        !with.contains(&None) && with.is_disjoint(&values(axis, &mut others))
    };
    let path = format!("{stage}.from.{}", source.port);
    let is_on_port = |axis: &AxisId| {
        let spec = pipeline.axes.iter().find(|spec| spec.name.text == graph.axes[axis.0].name);
        spec.is_some_and(|spec| spec.places().any(|known| known.text == path))
    };
    let all = || (0..graph.axes.len()).map(AxisId);
    let axis = all().filter(is_on_port).chain(all()).find(|axis| tells_apart(*axis));
    let Some(axis) = axis else { return When { axis: None, values: Vec::new() } };
    let labels = &graph.axes[axis.0].labels;
    let values = values(axis, &mut source.ids.iter().copied());
    When {
        axis: Some(escape(&graph.axes[axis.0].short)),
        values: values.into_iter().flatten().map(|value| escape(&labels[value])).collect(),
    }
}

/// An input of an instance.
fn wire(graph: &Graph, id: InstanceId, port: &str, when: Option<When>) -> Wire {
    let consumer = graph.instance(id);
    let source = consumer.inputs.get(port).expect("the port is wired");
    let (outputs, inputs) = (graph.instance(source.from).params.outputs(), consumer.params.inputs());
    let kind = outputs.iter().find(|output| *output.name == *source.output).map(|output| output.kind);
    let kind = kind.expect("a wire names an output of its source");
    let are_many = |ports: &[Port]| ports.iter().filter(|port| port.kind == kind).count() > 1;
    let (port, output) = (escape(port), escape(&source.output));
    let label = match (are_many(&outputs), are_many(&inputs)) {
        (false, false) => None,
        (true, false) => Some(output.clone()),
        (false, true) => Some(port.clone()),
        (true, true) => Some(format!("{output} → {port}")),
    };
    Wire { port, output, kind, label, when }
}

/// A value among others with commas between them.
fn in_list(label: &str) -> String {
    if label.contains(',') { format!("\"{label}\"") } else { label.to_owned() }
}

/// The first characters of a text, in at most `width` columns.
fn clip(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}
