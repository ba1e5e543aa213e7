//! Inputs: which stage feeds them, and whether what it makes fits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ablate_stage::{ArtifactKind, Port};
use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::axis::{Plugged, StageAxes};
use super::sweep::Point;
use super::variant::Variant;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{Pipeline, WireSpec};
use crate::source::Span;
use crate::syntax::{Name, Node, Value};

/// An input of a stage.
pub(super) struct Input {
    /// The port, at the place it was written.
    pub port: Name,
    /// As written in the stage.
    written: Plug,
    by_axis: Option<ByAxis>,
}

struct ByAxis {
    axis: usize,
    /// By value; `None` where it stays as written.
    plugs: Vec<Option<Plug>>,
}

/// What an input is plugged into.
pub(super) enum Plug {
    /// An output of a stage.
    Stage {
        /// Index of the stage.
        stage: usize,
        /// The output's name, where written.
        output: Option<String>,
        /// Where it was written.
        span: Span,
    },
    /// Nothing: an axis leaves it open.
    Open,
    /// Something that is recorded as wrong.
    Wrong,
}

impl Input {
    /// What it is plugged into at a point.
    pub fn plug(&self, point: &Point) -> &Plug {
        let set = self.by_axis.as_ref().and_then(|by| by.plugs[point[by.axis]?].as_ref());
        set.unwrap_or(&self.written)
    }

    /// The axis that decides what it is plugged into.
    pub fn axis(&self) -> Option<usize> {
        self.by_axis.as_ref().map(|by| by.axis)
    }
}

/// The stages of a pipeline by name.
pub(super) struct Stages<'p> {
    pipeline: &'p Pipeline,
    places: HashMap<&'p str, usize>,
}

impl<'p> Stages<'p> {
    pub fn of(pipeline: &'p Pipeline) -> Self {
        let names = pipeline.stages.iter().map(|stage| stage.name.text.as_str());
        Self { pipeline, places: names.enumerate().map(|(index, name)| (name, index)).collect() }
    }
}

/// The inputs of a stage, as written and as its axes set them.
pub(super) fn inputs(
    stages: &Stages<'_>,
    written: &[WireSpec],
    axes: &StageAxes<'_>,
    points: &[Point],
    wrong: &mut Diagnostics,
) -> Vec<Input> {
    let set_by = |port: &Name| axes.wires.iter().find(|axis| axis.port.text == port.text);
    let mut inputs: Vec<Input> = Vec::new();
    for wire in written {
        // What an axis replaces at every point is not looked at.
        let replaced = set_by(&wire.port).is_some_and(|by| {
            let sets = |value: usize| !matches!(by.values[value], Plugged::AsWritten);
            points.iter().all(|point| point[by.axis].is_some_and(sets))
        });
        let plug = if replaced { Plug::Open } else { plug(stages, &wire.source, wrong) };
        inputs.push(Input { port: wire.port.clone(), written: plug, by_axis: None });
    }
    for wire in &axes.wires {
        let plugs = wire.values.iter().map(|value| match *value {
            Plugged::AsWritten => None,
            Plugged::Open => Some(Plug::Open),
            Plugged::Into(source) => Some(plug(stages, source, wrong)),
        });
        let by_axis = Some(ByAxis { axis: wire.axis, plugs: plugs.collect() });
        match inputs.iter_mut().find(|input| input.port.text == wire.port.text) {
            Some(input) => input.by_axis = by_axis,
            None => inputs.push(Input { port: wire.port.clone(), written: Plug::Open, by_axis }),
        }
    }
    inputs
}

fn plug(stages: &Stages<'_>, source: &Node, wrong: &mut Diagnostics) -> Plug {
    let Value::Text(text) = &source.value else {
        let error =
            Diagnostic::new(source.span, format!("expected a stage's name, found {}", source.describe()));
        wrong.push(match &source.value {
            Value::Name(name) => error.help(format!("write \"{name}\" in double quotes")),
            _ => error.help("write \"stage\" or \"stage.output\""),
        });
        return Plug::Wrong;
    };
    let (name, output) = match text.split_once('.') {
        Some((name, output)) => (name, Some(output.to_owned())),
        None => (text.as_str(), None),
    };
    match stages.places.get(name).copied() {
        Some(stage) => Plug::Stage { stage, output, span: source.span },
        None => {
            let names = stages.pipeline.stages.iter().map(|stage| stage.name.text.as_str());
            let error = Diagnostic::new(source.span, format!("there is no stage `{name}`"));
            wrong.push(error.suggest(name, "the stages", names));
            Plug::Wrong
        }
    }
}

/// The stages in an order in which each comes after those that feed it at this point.
///
/// # Errors
/// A cycle.
pub(super) fn order(
    pipeline: &Pipeline,
    inputs: &[Vec<Input>],
    point: &Point,
) -> Result<Vec<usize>, Diagnostic> {
    let mut wires = DiGraph::<(), Span, u32>::new();
    for _ in inputs {
        wires.add_node(());
    }
    for (consumer, inputs) in inputs.iter().enumerate() {
        for input in inputs {
            if let &Plug::Stage { stage, span, .. } = input.plug(point) {
                wires.add_edge(NodeIndex::new(stage), NodeIndex::new(consumer), span);
            }
        }
    }
    // Not Tarjan's, which takes up the stack of the program with each stage of a chain.
    let mut groups = kosaraju_scc(&wires);
    let is_cycle = |group: &Vec<NodeIndex>| group.len() > 1 || wires.contains_edge(group[0], group[0]);
    if let Some(group) = groups.iter().find(|group| is_cycle(group)) {
        return Err(cycle(pipeline, &wires, group));
    }
    // They come consumers first.
    groups.reverse();
    Ok(groups.into_iter().map(|group| group[0].index()).collect())
}

/// Names a cycle within stages that all reach each other.
fn cycle(pipeline: &Pipeline, wires: &DiGraph<(), Span, u32>, group: &[NodeIndex]) -> Diagnostic {
    let group: BTreeSet<NodeIndex> = group.iter().copied().collect();
    let mut stage = *group.first().expect("a component has a stage");
    let (mut seen, mut places) = (Vec::new(), BTreeMap::new());
    // Against the wires: from a stage to the last input that a stage of the cycle feeds.
    while !places.contains_key(&stage) {
        places.insert(stage, seen.len());
        let mut edges = wires.edges_directed(stage, Direction::Incoming);
        let edge = edges.find(|edge| group.contains(&edge.source()));
        let edge = edge.expect("a stage in a cycle is fed from the cycle");
        seen.push((stage, *edge.weight()));
        stage = edge.source();
    }
    let turn = &seen[places[&stage]..];
    let name = |stage: NodeIndex| pipeline.stages[stage.index()].name.text.as_str();
    let mut path: Vec<&str> = turn.iter().rev().map(|&(stage, _)| name(stage)).collect();
    path.insert(0, name(turn[0].0));
    let message = format!("stages wait for each other: {}", path.join(" → "));
    let remark = |stage| format!("`{}` waits for this", name(stage));
    let mut error = Diagnostic::new(turn[0].1, message).marked(remark(turn[0].0));
    for &(stage, span) in &turn[1..] {
        error = error.and(span, remark(stage));
    }
    error.help("take one of these wires out")
}

/// The output that fits an input.
///
/// # Errors
/// What does not fit.
pub(super) fn fit(
    (consumer, variant): (&Name, &Variant),
    port: &Name,
    (producer, maker): (&Name, &Variant),
    output: Option<&str>,
    span: Span,
) -> Result<String, Diagnostic> {
    let Some(wanted) = variant.inputs.iter().find(|input| input.name == port.text) else {
        let kind = variant.params.kind();
        let error = Diagnostic::new(port.span, format!("`{kind}` has no input `{}`", port.text));
        let known = variant.inputs.iter().map(|input| input.name.as_str());
        return Err(error.suggest(&port.text, "its inputs", known));
    };
    let makes = |outputs: &[Port]| match outputs {
        [] => "nothing".to_owned(),
        outputs => {
            let each =
                outputs.iter().map(|port| format!("{} (`{}.{}`)", port.kind, producer.text, port.name));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let takes = || format!("input `{}` of `{}` takes {}", port.text, consumer.text, wanted.kind);
    if let Some(name) = output {
        let Some(found) = maker.outputs.iter().find(|output| output.name == name) else {
            let kind = maker.params.kind();
            let error = Diagnostic::new(span, format!("`{}` ({kind}) has no output `{name}`", producer.text));
            let known = maker.outputs.iter().map(|output| output.name.as_str());
            return Err(error.suggest(name, "its outputs", known));
        };
        if found.kind != wanted.kind {
            let error = Diagnostic::new(span, format!("{}, but this is {}", takes(), found.kind));
            return Err(error.help(format!("`{}` makes {}", producer.text, makes(&maker.outputs))));
        }
        return Ok(name.to_owned());
    }
    let fitting: Vec<&Port> = maker.outputs.iter().filter(|output| output.kind == wanted.kind).collect();
    match fitting.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(Diagnostic::new(
            span,
            format!("{}, but `{}` makes {}", takes(), producer.text, makes(&maker.outputs)),
        )),
        many => {
            let names = many.iter().map(|port| format!("\"{}.{}\"", producer.text, port.name));
            let error =
                Diagnostic::new(span, format!("`{}` makes {} more than once", producer.text, wanted.kind));
            Err(error.help(format!("write one of {}", names.collect::<Vec<_>>().join(", "))))
        }
    }
}

/// Records the inputs that a stage needs and does not have. `makers` names the stages that make each kind.
pub(super) fn check_all_wired(
    stage: &Name,
    variant: &Variant,
    wired: &[&str],
    makers: &BTreeMap<ArtifactKind, Vec<&str>>,
    wrong: &mut Diagnostics,
) {
    for port in &variant.inputs {
        if port.optional || wired.contains(&port.name.as_str()) {
            continue;
        }
        let kind = variant.params.kind();
        let error = Diagnostic::new(
            stage.span,
            format!("`{}` ({kind}) needs its input `{}`, of {}", stage.text, port.name, port.kind),
        );
        let made_by: Vec<String> = makers
            .get(&port.kind)
            .into_iter()
            .flatten()
            .filter(|maker| **maker != stage.text)
            .map(|maker| format!("`{maker}`"))
            .collect();
        wrong.push(error.help(match made_by.as_slice() {
            [] => format!("no stage here makes {}", port.kind),
            makers => format!("write `from: {{\"{}\": ..}}` with one of {}", port.name, makers.join(", ")),
        }));
    }
}
