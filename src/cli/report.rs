//! `ablate report`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use ablate_stage::ArtifactKind;
use ablate_stage::cache::{ActionResult, Store};
use clap::Args;
use polars::prelude::{DataFrame, DataType, ParquetReader, PolarsResult, SerReader};

use super::project::{Project, Source};
use super::results::{self, Results};
use super::units::date;
use super::{Context, Failure, exit};
use crate::draw::{Drawing, MAX_SVG_NODES};
use crate::graph::{Graph, InstanceId};
use crate::progress::counted;
use crate::report::{Chart, Confusion, Cost, MAX_CLASSES, MAX_SERIES, Report, Series};
use crate::rows::Outcome;

/// The most curves of a stage that are drawn.
const MAX_CURVES: usize = 512;

/// Columns of a curve that say where it is, not how it does.
const POSITIONS: [&str; 3] = ["epoch", "step", "lr"];

/// The held-out part, as `split` columns have it.
const TEST: i64 = 1;

/// Write a report of a pipeline's results from what is in the store: one HTML file that needs nothing else
#[derive(Args)]
pub struct ReportArgs {
    #[command(flatten)]
    source: Source,
    /// The file to write; by default the pipeline's name with `.html` in the working folder
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
}

/// Writes the report.
pub fn report(args: &ReportArgs, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (pipeline, graph, _) = args.source.read(context)?;
    let drawing = Drawing::of_stages(&pipeline, &graph);
    let results = Results::of(Project::open(&args.source, context)?)?;
    let graph = &results.project.graph;
    let report = Report {
        title: graph.name.clone(),
        summary: summary(&results),
        tables: results::tables(&results.project, &results::all_published(&results.project)?, |id| {
            results.outcome(id)
        })?,
        drawing: (drawing.size() <= MAX_SVG_NODES).then(|| drawing.to_svg()),
        curves: curves(&results),
        confusions: confusions(&results),
        costs: costs(&results),
        provenance: provenance(&results),
    };
    let name = results.project.file.file_stem().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("report"));
    let to = args.to.clone().unwrap_or_else(|| name.with_extension("html"));
    std::fs::write(&to, report.to_html())
        .map_err(|error| Failure::new(exit::FAILED, format!("cannot write {}: {error}", to.display())))?;
    writeln!(context.out, "wrote {}", to.display())?;
    Ok(exit::DONE)
}

/// `9 stages, 41 instances, 12 trials; all done`, or how many are missing, running or failed.
fn summary(results: &Results) -> String {
    let graph = &results.project.graph;
    let stages: BTreeSet<&str> = graph.instances.iter().map(|instance| instance.stage.as_str()).collect();
    let (mut missing, mut running, mut failed) = (0, 0, 0);
    for id in graph.ids() {
        match results.outcome(id) {
            Outcome::Done(_) => {}
            Outcome::Missing => missing += 1,
            Outcome::Running => running += 1,
            Outcome::Failed => failed += 1,
        }
    }
    let open = [(missing, "missing"), (running, "running"), (failed, "failed")];
    let open: Vec<String> =
        open.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let open = if open.is_empty() { "all done".to_owned() } else { open.join(", ") };
    let (stages, instances) = (counted(stages.len(), "stage"), counted(graph.instances.len(), "instance"));
    format!("{stages}, {instances}, {}; {open}", counted(graph.trials.len(), "trial"))
}

/// Stages in the order of their first instances, each with those.
fn by_stage(graph: &Graph) -> Vec<(&str, Vec<InstanceId>)> {
    let mut stages: Vec<(&str, Vec<InstanceId>)> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for id in graph.ids() {
        let stage = graph.instance(id).stage.as_str();
        let at = *known.entry(stage).or_insert_with(|| {
            stages.push((stage, Vec::new()));
            stages.len() - 1
        });
        stages[at].1.push(id);
    }
    stages
}

/// The results of some instances that have one.
fn done<'a>(
    results: &'a Results,
    ids: &'a [InstanceId],
) -> impl Iterator<Item = (InstanceId, &'a ActionResult)> {
    ids.iter().filter_map(|&id| Some((id, results.plan.state(id).result()?)))
}

/// An instance's axis values without its seed; its stage's name where it has none.
fn point(graph: &Graph, id: InstanceId) -> String {
    let instance = graph.instance(id);
    let values = instance.point.iter().map(|(axis, &value)| {
        let axis = &graph.axes[axis.0];
        format!("{}={}", axis.short, axis.labels[value])
    });
    let values = values.collect::<Vec<_>>().join(", ");
    if values.is_empty() { instance.stage.clone() } else { values }
}

/// The frames in an output of one kind, by point, each with those of its seeds. What can't be read is left out: `ablate verify`
/// tells of it.
fn frames(
    results: &Results,
    ids: &[InstanceId],
    kind: ArtifactKind,
) -> Vec<(String, String, Vec<DataFrame>)> {
    let graph = &results.project.graph;
    let mut found: Vec<(String, String, Vec<DataFrame>)> = Vec::new();
    for (id, result) in done(results, ids).take(MAX_CURVES) {
        for port in graph.instance(id).params.outputs().into_iter().filter(|port| port.kind == kind) {
            let Some(frame) = frame(&results.project.store, result, &port.name) else { continue };
            let point = point(graph, id);
            match found.iter_mut().find(|(known, name, _)| *known == point && *name == port.name) {
                Some((.., frames)) => frames.push(frame),
                None => found.push((point, port.name, vec![frame])),
            }
        }
    }
    found
}

fn frame(store: &Store, result: &ActionResult, port: &str) -> Option<DataFrame> {
    let path = store.verified(&result.outputs.get(port)?.digest).ok()?;
    ParquetReader::new(File::open(path).ok()?).finish().ok()
}

/// Where the points of a curve are: what its first column of these says, else their number from 1.
const PLACES: [&str; 2] = ["step", "epoch"];

fn places_of(frame: &DataFrame) -> &'static str {
    PLACES.into_iter().find(|name| frame.get_column_index(name).is_some()).unwrap_or("point")
}

/// The points of a quantity, each with where it is; those that are no numbers are left out.
fn line(frame: &DataFrame, quantity: &str) -> PolarsResult<Vec<(f64, f64)>> {
    let column = |name: &str| frame.column(name)?.cast(&DataType::Float64);
    let values = column(quantity)?;
    let places: Vec<Option<f64>> = match column(places_of(frame)) {
        Ok(places) => places.f64()?.iter().collect(),
        Err(_) => (1..=frame.height()).map(|place| Some(place as f64)).collect(),
    };
    let points = places.into_iter().zip(values.f64()?.iter());
    let points = points.filter_map(|(x, y)| Some((x?, y?)));
    Ok(points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
}

/// A chart for each stage, curve and quantity, of a few points each.
fn curves(results: &Results) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (stage, ids) in by_stage(&results.project.graph) {
        let found = frames(results, &ids, ArtifactKind::Curve);
        let quantities: BTreeSet<(&String, String)> = found
            .iter()
            .flat_map(|(_, port, frames)| {
                let names = frames[0].get_column_names().into_iter().map(|name| name.to_string());
                names.map(move |name| (port, name))
            })
            .filter(|(_, name)| !POSITIONS.contains(&name.as_str()))
            .collect();
        for (port, quantity) in quantities {
            let series =
                found.iter().filter(|(_, known, _)| known == port).filter_map(|(point, _, frames)| {
                    let curves: Vec<Vec<(f64, f64)>> =
                        frames.iter().filter_map(|frame| line(frame, &quantity).ok()).collect();
                    let series = Series::of(point.clone(), &curves);
                    (!series.points.is_empty()).then_some(series)
                });
            let series: Vec<Series> = series.collect();
            let mut frames =
                found.iter().filter(|(_, known, _)| known == port).flat_map(|(.., frames)| frames);
            let x = frames.next().map_or("", places_of);
            let parts = series.len().div_ceil(MAX_SERIES);
            for (part, series) in series.chunks(MAX_SERIES).enumerate() {
                let of = if parts > 1 { format!(", {} of {parts}", part + 1) } else { String::new() };
                let title = format!("{stage}: {quantity}{of}");
                charts.push(Chart { title, x: x.to_owned(), series: series.to_vec() });
            }
        }
    }
    charts
}

/// The matrices of predictions that have labels of few classes.
fn confusions(results: &Results) -> Vec<Confusion> {
    let mut all = Vec::new();
    for (stage, ids) in by_stage(&results.project.graph) {
        for (point, _, frames) in frames(results, &ids, ArtifactKind::Predictions) {
            let pairs = frames.iter().filter_map(|frame| held_out(frame).ok()).flatten();
            if let Some(counts) = count(pairs) {
                let title = if point == stage { point } else { format!("{stage}: {point}") };
                all.push(Confusion { title, counts });
            }
        }
    }
    all
}

/// Label and prediction of the held-out samples that have a label.
fn held_out(frame: &DataFrame) -> PolarsResult<Vec<(i64, i64)>> {
    let columns =
        ["split", "label", "prediction"].map(|name| frame.column(name).and_then(|column| column.i64()));
    let [split, label, prediction] = columns;
    let rows = split?.iter().zip(label?.iter()).zip(prediction?.iter());
    let held_out = rows.filter_map(|((split, label), prediction)| {
        (split == Some(TEST)).then_some((label.filter(|label| *label >= 0)?, prediction?))
    });
    Ok(held_out.collect())
}

/// The counts of label × prediction; `None` of nothing, and where there are too many classes.
fn count(pairs: impl Iterator<Item = (i64, i64)>) -> Option<Vec<Vec<u64>>> {
    let pairs: Vec<(usize, usize)> = pairs
        .map(|(label, prediction)| Some((label.try_into().ok()?, prediction.try_into().ok()?)))
        .collect::<Option<_>>()?;
    let classes = pairs.iter().map(|(label, prediction)| label.max(prediction) + 1).max()?;
    if classes > MAX_CLASSES {
        return None;
    }
    let mut counts = vec![vec![0; classes]; classes];
    pairs.iter().for_each(|&(label, prediction)| counts[label][prediction] += 1);
    Some(counts)
}

fn costs(results: &Results) -> Vec<Cost> {
    let cost = |(stage, ids): (&str, Vec<InstanceId>)| {
        // Instances of one key were made once.
        let mut actions = HashSet::new();
        let once = done(results, &ids).filter(|(id, _)| actions.insert(results.plan.state(*id).action()));
        let made: Vec<_> = once.map(|(_, result)| &result.provenance).collect();
        let devices: BTreeSet<&str> =
            made.iter().map(|made| made.device.split(':').next().unwrap_or_default()).collect();
        Cost {
            stage: stage.to_owned(),
            done: done(results, &ids).count(),
            of: ids.len(),
            total_ms: made.iter().map(|made| made.duration_ms).sum(),
            longest_ms: made.iter().map(|made| made.duration_ms).max().unwrap_or(0),
            peak_memory_mib: made.iter().map(|made| made.peak_memory_mib).max().unwrap_or(0),
            devices: devices.into_iter().map(str::to_owned).collect(),
        }
    };
    by_stage(&results.project.graph).into_iter().map(cost).collect()
}

fn provenance(results: &Results) -> Vec<(String, Vec<String>)> {
    let project = &results.project;
    let all: Vec<InstanceId> = project.graph.ids().collect();
    let made: Vec<_> = done(results, &all).map(|(_, result)| &result.provenance).collect();
    let distinct =
        |texts: &mut dyn Iterator<Item = String>| texts.collect::<BTreeSet<String>>().into_iter().collect();
    let file = project.file.strip_prefix(&project.root).unwrap_or(&project.file).display().to_string();
    let mut lines: Vec<(&str, Vec<String>)> = vec![
        ("pipeline", vec![file]),
        ("folder's commit when reported", commit(&project.root).into_iter().collect()),
    ];
    let seeds: BTreeSet<u64> = project.graph.trials.iter().map(|trial| trial.seed).collect();
    lines.push(("seeds", vec![list(&seeds)]));
    lines.push(("machines", distinct(&mut made.iter().map(|made| made.host.clone()))));
    lines.push(("devices", distinct(&mut made.iter().map(|made| made.device.clone()))));
    lines.push(("program", distinct(&mut made.iter().map(|made| format!("ablate {}", made.version)))));
    let began = made.iter().map(|made| made.started_unix_ms).min();
    let ended = made.iter().map(|made| made.started_unix_ms + made.duration_ms).max();
    if let (Some(began), Some(ended)) = (began, ended) {
        lines.push(("made", vec![format!("{} to {} UTC", date(began), date(ended))]));
    }
    lines
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(word, lines)| (word.to_owned(), lines))
        .collect()
}

/// Numbers in order, the first and the last of them where they are many.
fn list(numbers: &BTreeSet<u64>) -> String {
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if numbers.len() > 12 => {
            format!("{} from {first} to {last}", numbers.len())
        }
        _ => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The commit the project's folder is at now, whatever it was at when results were made, as git describes it; nothing where there is no git, or no repository.
fn commit(root: &Path) -> Option<String> {
    let arguments = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
