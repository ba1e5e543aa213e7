//! `ablate expand`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use super::project::Source;
use super::{Context, Failure, exit};
use crate::budget::Budget;
use crate::diagnostic::escape;
use crate::graph::{Axis, Graph, InstanceId};
use crate::progress::counted;

/// So many points, and so many instances, are listed unless all are asked for.
const LISTED: usize = 40;

/// List what a pipeline expands to: the points of its sweep with their seeds, and the instances of its stages
#[derive(Args)]
pub struct Expand {
    #[command(flatten)]
    source: Source,
    /// Only the points
    #[arg(long, conflicts_with = "instances")]
    points: bool,
    /// Only the instances
    #[arg(long)]
    instances: bool,
    /// All of them, not only the first 40
    #[arg(long)]
    all: bool,
    /// Everything as one JSON object
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// Lists points and instances without looking into the store.
pub fn expand(args: &Expand, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (_, graph, _) = args.source.read(context)?;
    let points = points(&graph);
    let limit = if args.all { usize::MAX } else { LISTED };
    let (with_points, with_instances) = (!args.instances, !args.points);
    let text = if args.json {
        let mut object = Map::new();
        object.insert("pipeline".to_owned(), json!(graph.name));
        if with_points {
            object
                .insert("points".to_owned(), points.iter().map(|point| point_json(&graph, point)).collect());
        }
        if with_instances {
            object.insert("instances".to_owned(), graph.ids().map(|id| instance_json(&graph, id)).collect());
        }
        format!("{}\n", Value::Object(object))
    } else {
        let mut text = format!(
            "{}: {}, {}, {}\n",
            escape(&graph.name),
            counted(points.len(), "point"),
            counted(graph.trials.len(), "trial"),
            counted(graph.instances.len(), "instance"),
        );
        if let Some(Budget { min, max, .. }) = &graph.budget {
            writeln!(text, "of each point {min} to {max} seeds are run, as results need them")
                .expect("a string");
        }
        if with_points {
            text.push('\n');
            text.push_str(&points_text(&graph, &points, limit));
        }
        if with_instances {
            text.push('\n');
            text.push_str(&instances_text(&graph, limit));
        }
        text
    };
    context.out.write_all(text.as_bytes())?;
    Ok(exit::DONE)
}

/// A point of the sweep and its seeds.
struct Point<'a> {
    values: &'a [Option<usize>],
    seeds: Vec<u64>,
}

fn points(graph: &Graph) -> Vec<Point<'_>> {
    let mut points: Vec<Point<'_>> = Vec::new();
    for trial in &graph.trials {
        match points.last_mut().filter(|last| *last.values == *trial.point) {
            Some(last) => last.seeds.push(trial.seed),
            None => points.push(Point { values: &trial.point, seeds: vec![trial.seed] }),
        }
    }
    points
}

/// A table with a column an axis.
fn points_text(graph: &Graph, points: &[Point<'_>], limit: usize) -> String {
    let mut rows = vec![graph.axes.iter().map(|axis| escape(&axis.short)).collect::<Vec<_>>()];
    rows[0].push("seeds".to_owned());
    for point in points.iter().take(limit) {
        let label = |(axis, &value): (&Axis, &Option<usize>)| {
            value.map_or_else(|| "–".to_owned(), |value| escape(&axis.labels[value]))
        };
        let values = graph.axes.iter().zip(point.values).map(label);
        rows.push(values.chain([listed(&point.seeds)]).collect());
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at].width()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let gap = " ".repeat(width - cell.width());
            format!("{cell}{gap}")
        });
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end()).expect("a string");
    }
    more(&mut text, points.len(), limit);
    text
}

fn instances_text(graph: &Graph, limit: usize) -> String {
    let mut text = String::new();
    for id in graph.ids().take(limit) {
        let instance = graph.instance(id);
        let inputs = instance
            .inputs
            .iter()
            .map(|(port, wire)| format!("{port}: {}.{}", graph.instance_name(wire.from), wire.output));
        let inputs = inputs.collect::<Vec<_>>().join("; ");
        let arrow = if inputs.is_empty() { "" } else { "  ← " };
        let line = format!("{}  {}{arrow}{inputs}", graph.instance_name(id), instance.params.kind());
        writeln!(text, "  {}", escape(&line)).expect("a string");
    }
    more(&mut text, graph.instances.len(), limit);
    text
}

fn more(text: &mut String, count: usize, limit: usize) {
    if count > limit {
        writeln!(text, "  … and {} more (--all)", count - limit).expect("a string");
    }
}

/// The first seeds.
fn listed(seeds: &[u64]) -> String {
    let mut texts: Vec<String> = seeds.iter().take(12).map(u64::to_string).collect();
    if seeds.len() > texts.len() {
        texts.push(format!("… {}", seeds[seeds.len() - 1]));
    }
    texts.join(", ")
}

fn point_json(graph: &Graph, point: &Point<'_>) -> Value {
    let axes = graph.axes.iter().zip(point.values);
    let axes: Map<String, Value> =
        axes.filter_map(|(axis, &value)| Some((axis.name.clone(), json!(axis.labels[value?])))).collect();
    json!({ "axes": axes, "seeds": point.seeds })
}

fn instance_json(graph: &Graph, id: InstanceId) -> Value {
    let instance = graph.instance(id);
    let axes = instance.point.iter().map(|(axis, &value)| {
        let axis = &graph.axes[axis.0];
        (axis.name.clone(), json!(axis.labels[value]))
    });
    let inputs = instance.inputs.iter().map(|(port, wire)| {
        let source = json!({ "instance": graph.instance_name(wire.from), "output": &*wire.output });
        (port.to_string(), source)
    });
    json!({
        "name": graph.instance_name(id),
        "stage": &*instance.stage,
        "kind": instance.params.kind(),
        "axes": axes.collect::<Map<String, Value>>(),
        "seed": instance.seed,
        "inputs": inputs.collect::<Map<String, Value>>(),
    })
}
