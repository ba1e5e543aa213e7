//! The figures of a report, from the artifacts of a pipeline.

mod curve;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use ablate_stage::cache::ActionResult;
use ablate_stage::{ArtifactKind, Tensors};
use polars::prelude::{DataFrame, DataType, ParquetReader, PolarsResult, SerReader};

use super::{by_stage, done};
use crate::cli::results::Results;
use crate::graph::{InstanceId, Wire};
use crate::progress::counted;
use crate::report::{Chart, Group, MAX_SERIES, MAX_SIDE, Matrix, Picture, Scatter, Series};
use crate::source::SourceMap;
use crate::syntax;
use curve::{Places, line, quantities};

/// The most instances of a stage whose tables are read.
const MAX_READ: usize = 512;

/// The most instances of a stage whose places in the plane, or pictures, are shown.
const MAX_SHOWN: usize = 24;

/// The most metrics told in a caption.
const MAX_METRICS: usize = 3;

/// Larger pictures are not taken into the page.
const MAX_PICTURE_BYTES: u64 = 4 << 20;

/// The held-out part, as `split` columns have it.
const TEST: i64 = 1;

/// What a report draws.
#[derive(Default)]
pub struct Figures {
    /// Learning curves.
    pub curves: Vec<Chart>,
    /// Confusion matrices.
    pub confusions: Vec<Matrix>,
    /// Other matrices.
    pub matrices: Vec<Matrix>,
    /// Embeddings in the plane.
    pub scatters: Vec<Scatter>,
    /// What stages drew.
    pub pictures: Vec<Picture>,
    /// What is not shown, and why.
    pub omissions: Vec<String>,
}

impl Figures {
    /// Of everything that has a result. What can't be read is left out: `ablate verify` tells of it.
    pub fn of(results: &Results) -> Self {
        let mut figures = Self::default();
        let classes = class_names(results);
        for (stage, ids) in by_stage(&results.project.graph) {
            let done: Vec<(InstanceId, &ActionResult)> = done(results, &ids).collect();
            let omitted = done.len().saturating_sub(MAX_READ);
            let stage = Stage { name: stage, done, results, classes: &classes };
            let (curves, confusions, matrices) = (stage.curves(), stage.confusions(), stage.matrices());
            if omitted > 0 && !(curves.is_empty() && confusions.is_empty() && matrices.is_empty()) {
                let text = format!(
                    "{}: curves and matrices of {}; a report shows the first {MAX_READ}",
                    stage.name,
                    counted(omitted, "more instance")
                );
                figures.omissions.push(text);
            }
            figures.curves.extend(curves);
            for (of_kind, found) in [(&mut figures.confusions, confusions), (&mut figures.matrices, matrices)]
            {
                for drawn in found {
                    match drawn {
                        Ok(matrix) => of_kind.push(matrix),
                        Err(reason) => figures.omissions.push(reason),
                    }
                }
            }
            stage.shown(&mut figures);
        }
        figures
    }
}

/// The instances of a stage that have a result.
struct Stage<'a> {
    name: &'a str,
    done: Vec<(InstanceId, &'a ActionResult)>,
    results: &'a Results,
    classes: &'a ClassNames,
}

/// What the classes of each data set are called, by the output that holds it; `None` where it cannot be read.
type ClassNames = BTreeMap<(InstanceId, String), Option<Vec<String>>>;

fn class_names(results: &Results) -> ClassNames {
    let project = &results.project;
    let read = |id: InstanceId, port: &str| {
        let object = results.plan.state(id).result()?.outputs.get(port)?;
        // The header alone, unverified: data sets are large, and these are captions.
        let metadata = Tensors::read_metadata(&project.store.object_path(&object.digest)).ok()?;
        serde_json::from_str(metadata.get("classes")?).ok()
    };
    let of = |id: InstanceId| {
        let ports = project.graph.instance(id).params.outputs().into_iter();
        let images = ports.filter(|port| port.kind == ArtifactKind::Images);
        images.map(|port| ((id, port.name.clone()), read(id, &port.name))).collect::<Vec<_>>()
    };
    project.graph.ids().flat_map(of).collect()
}

/// The tables in an output of one kind, of all seeds of a point.
struct Frames {
    /// The first of them.
    id: InstanceId,
    point: String,
    port: String,
    of_seeds: Vec<DataFrame>,
}

impl Stage<'_> {
    /// Where the outputs of one kind are, of the first instances, each with its instance and its port.
    fn outputs(&self, kind: ArtifactKind, most: usize) -> Vec<(InstanceId, String, PathBuf)> {
        let project = &self.results.project;
        let of = |&(id, result): &(InstanceId, &ActionResult)| {
            let ports = project.graph.instance(id).params.outputs();
            let found = ports.into_iter().filter(|port| port.kind == kind).filter_map(|port| {
                let path = project.store.verified(&result.outputs.get(&port.name)?.digest).ok()?;
                Some((id, port.name, path))
            });
            found.collect::<Vec<_>>()
        };
        self.done.iter().take(most).flat_map(of).collect()
    }

    /// An instance's axis values without its seed; nothing where it has none.
    fn point(&self, id: InstanceId) -> String {
        let graph = &self.results.project.graph;
        let values = graph.instance(id).point.iter().map(|(axis, &value)| {
            let axis = &graph.axes[axis.0];
            format!("{}={}", axis.short, axis.labels[value])
        });
        values.collect::<Vec<_>>().join(", ")
    }

    /// The method or layout of an instance, where its stage has a choice of them, and the metrics it reports:
    /// ` (Tsne, kept@10 0.631)`.
    fn told(&self, id: InstanceId) -> String {
        let canonical = self.results.project.graph.instance(id).params.canonical();
        let source = SourceMap::new().add("stage", canonical.as_str());
        let node = syntax::parse(source, &canonical).ok();
        let choice = |field| node.as_ref()?.child(field)?.name().map(str::to_owned);
        let method = choice("method").or_else(|| choice("layout"));
        let result = self.results.plan.state(id).result();
        let metrics = result.into_iter().flat_map(|result| &result.metrics);
        let metrics = metrics.map(|(name, value)| format!("{name} {value:.3}")).take(MAX_METRICS);
        let told: Vec<String> = method.into_iter().chain(metrics).collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
    }

    /// The stage with a point's axis values.
    fn title(&self, point: &str) -> String {
        if point.is_empty() { self.name.to_owned() } else { format!("{}: {point}", self.name) }
    }

    /// What the classes of the data set are called that an instance comes from; nothing where it comes from several that
    /// differ, or from none.
    fn classes(&self, id: InstanceId) -> Vec<String> {
        let graph = &self.results.project.graph;
        let (mut open, mut known, mut found) = (vec![id], BTreeSet::from([id]), BTreeSet::new());
        while let Some(id) = open.pop() {
            for Wire { from, output } in graph.instance(id).inputs.values() {
                found.extend(self.classes.get(&(*from, output.to_string())));
                if known.insert(*from) {
                    open.push(*from);
                }
            }
        }
        match found.pop_first() {
            Some(Some(names)) if found.is_empty() => names.clone(),
            _ => Vec::new(),
        }
    }

    fn frames(&self, kind: ArtifactKind) -> Vec<Frames> {
        let mut found: Vec<Frames> = Vec::new();
        for (id, port, path) in self.outputs(kind, MAX_READ) {
            let Some(frame) = frame(&path) else { continue };
            let point = self.point(id);
            match found.iter_mut().find(|known| known.point == point && known.port == port) {
                Some(known) => known.of_seeds.push(frame),
                None => found.push(Frames { id, point, port, of_seeds: vec![frame] }),
            }
        }
        found
    }

    /// A chart for each curve and quantity, of a few series each.
    fn curves(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        let found = self.frames(ArtifactKind::Curve);
        let quantities: BTreeSet<(&str, String)> = found
            .iter()
            .flat_map(|Frames { port, of_seeds, .. }| {
                quantities(&of_seeds[0]).into_iter().map(|name| (port.as_str(), name))
            })
            .collect();
        for (port, quantity) in quantities {
            let of_port = || found.iter().filter(|frames| frames.port == port);
            let frames: Vec<&DataFrame> = of_port().flat_map(|frames| &frames.of_seeds).collect();
            let places = Places::in_all(&frames);
            let series = of_port().filter_map(|Frames { point, of_seeds, .. }| {
                let curves: Vec<Vec<(f64, f64)>> =
                    of_seeds.iter().filter_map(|frame| line(frame, &quantity, places).ok()).collect();
                let name = if point.is_empty() { self.name } else { point };
                let series = Series::of(name.to_owned(), &curves);
                (!series.points.is_empty()).then_some(series)
            });
            let series: Vec<Series> = series.collect();
            let parts = series.len().div_ceil(MAX_SERIES);
            for (part, series) in series.chunks(MAX_SERIES).enumerate() {
                let of = if parts > 1 { format!(", {} of {parts}", part + 1) } else { String::new() };
                let title = format!("{}: {quantity}{of}", self.name);
                charts.push(Chart { title, x: places.name().to_owned(), series: series.to_vec() });
            }
        }
        charts
    }

    /// The matrices of predictions that have labels, or why one is not drawn.
    fn confusions(&self) -> Vec<Result<Matrix, String>> {
        let matrix = |frames: Frames| {
            let pairs = frames.of_seeds.iter().filter_map(|frame| held_out(frame).ok()).flatten();
            let title = self.title(&frames.point);
            match count(pairs)? {
                Ok(counts) => Some(Ok(Matrix::of_counts(title, &counts, &self.classes(frames.id)))),
                Err(reason) => Some(Err(format!("{title}, {}: {reason}", frames.port))),
            }
        };
        self.frames(ArtifactKind::Predictions).into_iter().filter_map(matrix).collect()
    }

    /// What stages give as matrices, or why one is not drawn.
    fn matrices(&self) -> Vec<Result<Matrix, String>> {
        let matrix = |frames: Frames| {
            let title = format!("{}, {}", self.title(&frames.point), frames.port);
            let of_seeds: PolarsResult<Vec<_>> = frames.of_seeds.iter().map(entries).collect();
            let of_seeds = of_seeds.map_err(|error| error.to_string());
            of_seeds
                .and_then(|of_seeds| Matrix::mean(title.clone(), &of_seeds))
                .map_err(|reason| format!("{title}: {reason}"))
        };
        self.frames(ArtifactKind::Matrix).into_iter().map(matrix).collect()
    }

    /// Adds what is shown of one seed a point only: places in the plane, and pictures.
    fn shown(&self, figures: &mut Figures) {
        for kind in [ArtifactKind::Points, ArtifactKind::Png] {
            let mut known = BTreeSet::new();
            let mut firsts = self.outputs(kind, self.done.len());
            firsts.retain(|(id, port, _)| known.insert((self.point(*id), port.clone())));
            if firsts.len() > MAX_SHOWN {
                let more = firsts.len() - MAX_SHOWN;
                let what = if kind == ArtifactKind::Points { "placing" } else { "picture" };
                let more = counted(more, &format!("more {what}"));
                let text = format!("{}: {more}; a report shows the first {MAX_SHOWN}", self.name);
                figures.omissions.push(text);
            }
            for (id, port, path) in firsts.into_iter().take(MAX_SHOWN) {
                let title = self.title(&self.point(id));
                if kind == ArtifactKind::Points {
                    let title = format!("{title}{}", self.told(id));
                    let scatters = |frame: &DataFrame| scatters(&title, frame, &self.classes(id));
                    figures.scatters.extend(frame(&path).iter().flat_map(scatters));
                } else if path.metadata().is_ok_and(|metadata| metadata.len() > MAX_PICTURE_BYTES) {
                    let name = self.results.project.graph.instance_name(id);
                    let most = MAX_PICTURE_BYTES >> 20;
                    let text =
                        format!("{title}: {port} is larger than {most} MiB; `ablate get {name}` has it");
                    figures.omissions.push(text);
                } else if let Ok(png) = std::fs::read(&path) {
                    figures.pictures.push(Picture { title: format!("{title}, {port}"), png });
                }
            }
        }
    }
}

fn frame(path: &Path) -> Option<DataFrame> {
    ParquetReader::new(File::open(path).ok()?).finish().ok()
}

/// Samples in the plane by class, where a class is known of any, and by cluster, where they have one.
fn scatters(title: &str, frame: &DataFrame, classes: &[String]) -> Vec<Scatter> {
    let by = |column: &str, names: &[String]| -> PolarsResult<Scatter> {
        let numbers = frame.column(column)?.i64()?;
        let (x, y) = (frame.column("x")?.f64()?, frame.column("y")?.f64()?);
        let mut groups: BTreeMap<Group, Vec<(f64, f64)>> = BTreeMap::new();
        for ((number, x), y) in numbers.iter().zip(x.iter()).zip(y.iter()) {
            let group =
                number.and_then(|number| u64::try_from(number).ok()).map_or(Group::None, Group::Number);
            groups.entry(group).or_default().extend(x.zip(y));
        }
        Ok(Scatter { title: format!("{title}, by {column}"), groups, names: names.to_vec() })
    };
    let (label, cluster) = (by("label", classes), by("cluster", &[]));
    let known = |scatter: &Scatter| scatter.groups.keys().any(|group| *group != Group::None);
    let labelled = label.into_iter().filter(|label| known(label) || cluster.is_err()).collect::<Vec<_>>();
    labelled.into_iter().chain(cluster).collect()
}

/// The row, column and value of each entry of a matrix.
fn entries(frame: &DataFrame) -> PolarsResult<Vec<(String, String, f64)>> {
    let text = |name: &str| frame.column(name)?.cast(&DataType::String);
    let (rows, columns) = (text("row")?, text("column")?);
    let (row, column) = (rows.str()?, columns.str()?);
    let values = frame.column("value")?.cast(&DataType::Float64)?;
    let entries = row.iter().zip(column.iter()).zip(values.f64()?.iter());
    let entry = |((row, column), value): ((Option<&str>, Option<&str>), Option<f64>)| {
        Some((row?.to_owned(), column?.to_owned(), value?))
    };
    Ok(entries.filter_map(entry).collect())
}

/// Label and prediction of the held-out samples that have a label; of all that have one where none is held out. A prediction below
/// 0 is none.
fn held_out(frame: &DataFrame) -> PolarsResult<Vec<(i64, i64)>> {
    let columns =
        ["split", "label", "prediction"].map(|name| frame.column(name).and_then(|column| column.i64()));
    let [split, label, prediction] = columns;
    let split = split?;
    let any_held_out = split.iter().any(|split| split == Some(TEST));
    let rows = split.iter().zip(label?.iter()).zip(prediction?.iter());
    let held_out = rows.filter_map(|((split, label), prediction)| {
        let is_shown = split == Some(TEST) || !any_held_out;
        is_shown.then_some((label.filter(|label| *label >= 0)?, prediction?))
    });
    Ok(held_out.collect())
}

/// The counts of label × prediction, with a last column for samples without one where there are any; why not, where there are too
/// many classes to be drawn. `None` of nothing.
fn count(pairs: impl Iterator<Item = (i64, i64)>) -> Option<Result<Vec<Vec<u64>>, String>> {
    let pair = |(label, prediction): (i64, i64)| Some((label.try_into().ok()?, prediction.try_into().ok()));
    let pairs: Vec<(usize, Option<usize>)> = pairs.map(pair).collect::<Option<_>>()?;
    let classes = pairs.iter().map(|(label, prediction)| label.max(&prediction.unwrap_or(0)) + 1).max()?;
    if classes > MAX_SIDE {
        return Some(Err(format!("{classes} classes; the confusion of at most {MAX_SIDE} is drawn")));
    }
    let columns = classes + usize::from(pairs.iter().any(|(_, prediction)| prediction.is_none()));
    let mut counts = vec![vec![0; columns]; classes];
    pairs.iter().for_each(|&(label, prediction)| counts[label][prediction.unwrap_or(classes)] += 1);
    Some(Ok(counts))
}
