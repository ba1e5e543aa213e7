//! Trials as a Polars frame: a row for each point and seed that some metrics can tell apart.

use std::collections::{BTreeSet, HashMap};
use std::io::{Seek, Write};

use ablate_stage::cache::ActionDigest;
use polars::prelude::*;

use super::origin::{Origin, Origins};
use super::select::Filter;
use crate::graph::{Axis, Graph, InstanceId};
use crate::pipeline::{Ablation, AblationPoint, Condition, Form, MetricRef, TableSpec};
use crate::rows::{Outcome, Reporter, Rows, State, gather};

/// The column of seeds.
pub const SEED: &str = "seed";

/// The column that tells pipelines apart, where there are several.
pub const PIPELINE: &str = "pipeline";

/// Trials, of one pipeline or of several.
#[derive(Clone, Debug)]
pub struct Trials {
    /// A text column per axis that reaches a row (null in rows it does not reach), `seed`, a number column per metric
    /// (null where there is none), and for each stage that reports metrics, `STAGE:state` (`done`, `missing`, `running`
    /// or `failed`), `STAGE:origin` (an index into [`Trials::origins`]), `STAGE:instance` (an index into [`Trials::seeds`]; rows
    /// that share a result have it from one instance), and where asked for, what [`Trials::detail`] adds.
    pub frame: DataFrame,
    /// The columns that are axes, in the order of the pipeline.
    pub axes: Vec<String>,
    /// What results come from.
    pub origins: Vec<Origin>,
    /// The seed of each instance; `None` for one without.
    pub seeds: Vec<Option<u64>>,
    /// By instance: the first one of the stage and of its seed with the same result, which may be itself. Points whose values come
    /// to the same have instances of their own and one result.
    pub firsts: Vec<u32>,
    /// Axis → labels that tables leave out of their trials.
    pub left_out: BTreeSet<(String, String)>,
}

/// The column that says how a stage stands.
pub(super) fn state_column(stage: &str) -> String {
    format!("{stage}:state")
}

/// The column that says where a stage's results come from.
pub(super) fn origin_column(stage: &str) -> String {
    format!("{stage}{ORIGIN}")
}

/// The column that says which instance of a stage reports.
pub(super) fn instance_column(stage: &str) -> String {
    format!("{stage}{INSTANCE}")
}

const ORIGIN: &str = ":origin";
const INSTANCE: &str = ":instance";

impl Trials {
    /// The rows of some metrics.
    ///
    /// # Errors
    /// Where two columns have one name.
    pub fn gather<'a>(
        graph: &Graph,
        metrics: &[MetricRef],
        outcome: impl Fn(InstanceId) -> Outcome<'a>,
    ) -> PolarsResult<Self> {
        Self::gather_of(graph, metrics, |_| true, outcome)
    }

    fn gather_of<'a>(
        graph: &Graph,
        metrics: &[MetricRef],
        is_meant: impl Fn(&[Option<usize>]) -> bool,
        outcome: impl Fn(InstanceId) -> Outcome<'a>,
    ) -> PolarsResult<Self> {
        let rows = gather(graph, metrics, is_meant, &outcome);
        let origins = Origins::of(graph, &outcome);
        let (mut columns, axes) = axis_columns(graph, &rows);
        for (metric, values) in metrics.iter().zip(&rows.values) {
            columns.push(Column::new(metric.to_string().into(), values));
        }
        for Reporter { stage, instances } in &rows.stages {
            let state = |id: &Option<InstanceId>| id.map(&outcome).map_or(State::Missing, State::from).word();
            let states: Vec<&str> = instances.iter().map(state).collect();
            let of: Vec<Option<u32>> =
                instances.iter().map(|id| id.map(|id| origins.of[id.0] as u32)).collect();
            let ids: Vec<Option<u32>> = instances.iter().map(|id| id.map(|id| id.0 as u32)).collect();
            columns.push(Column::new(state_column(stage).into(), states));
            columns.push(Column::new(origin_column(stage).into(), of));
            columns.push(Column::new(instance_column(stage).into(), ids));
        }
        let frame = DataFrame::new(rows.seeds.len(), columns)?;
        let seeds = graph.instances.iter().map(|instance| instance.seed).collect();
        let mut firsts: Vec<u32> = (0..graph.instances.len() as u32).collect();
        for Reporter { instances, .. } in &rows.stages {
            let mut known = HashMap::with_capacity(instances.len());
            for id in instances.iter().flatten() {
                if let Outcome::Done(action, _) = outcome(*id) {
                    // Seeds that give an unseeded stage the same bytes are samples all the same.
                    let seed = graph.instance(*id).seed;
                    firsts[id.0] = *known.entry((action, seed)).or_insert(id.0 as u32);
                }
            }
        }
        Ok(Self { frame, axes, origins: origins.distinct, seeds, firsts, left_out: BTreeSet::new() })
    }

    /// The rows that a table is made of: of its metrics, beside which there are those of `more`; where its rows are the points of an
    /// ablation, with these as an axis in place of those they stand for.
    ///
    /// # Errors
    /// Where two columns have one name.
    pub fn of<'a>(
        graph: &Graph,
        spec: &TableSpec,
        more: &[MetricRef],
        outcome: impl Fn(InstanceId) -> Outcome<'a>,
    ) -> PolarsResult<Self> {
        let own = spec.metrics();
        let more: Vec<MetricRef> = more.iter().filter(|metric| !own.contains(metric)).cloned().collect();
        let is_of = |point: &[Option<usize>]| spec.is_of(point);
        let mut trials = Self::gather_of(graph, &[own.clone(), more.clone()].concat(), is_of, &outcome)?;
        if !more.is_empty() {
            // What reaches the others alone has no part in the table.
            let reaching = Self::gather_of(graph, &own, is_of, &outcome)?.axes;
            trials.axes.retain(|axis| reaching.contains(axis));
        }
        for Condition { axis, values, .. } in &spec.trials {
            let Axis { name, .. } = &graph.axes[*axis];
            if values.len() < 2 && !spec.shows(name) {
                trials.axes.retain(|axis| axis != name);
            }
        }
        if graph.trials.iter().any(|trial| !spec.is_of(&trial.point)) {
            trials.left_out = left_out(graph, is_of);
        }
        match &spec.form {
            Form::Ablation(ablation) => trials.ablated(graph, spec, ablation),
            Form::Cells | Form::Effects { .. } => Ok(trials),
        }
    }

    /// With an empty column for each of some axes that reaches no row.
    ///
    /// # Errors
    /// Where columns differ in length, which they do not.
    pub fn with_unreached<'a>(mut self, axes: impl Iterator<Item = &'a Axis>) -> PolarsResult<Self> {
        for axis in axes {
            if self.frame.get_column_index(&axis.name).is_none() {
                let name = axis.name.as_str().into();
                self.frame.with_column(Column::full_null(name, self.frame.height(), &DataType::String))?;
            }
        }
        Ok(self)
    }

    /// Those of the points of an ablation, point by point. A result that several points share is a row of each.
    fn ablated(mut self, graph: &Graph, spec: &TableSpec, ablation: &Ablation) -> PolarsResult<Self> {
        let columns = self.frame.columns().iter();
        let stages: Vec<String> =
            columns.filter_map(|column| Some(column.name().strip_suffix(INSTANCE)?.to_owned())).collect();
        let mut points_of: HashMap<Vec<Option<u32>>, BTreeSet<usize>> = HashMap::new();
        let axes: Vec<usize> = ablation.points[0].values.iter().map(|(axis, _)| *axis).collect();
        let values = |point: &AblationPoint| point.values.iter().map(|(_, value)| Some(*value)).collect();
        let places: HashMap<Vec<Option<usize>>, usize> =
            ablation.points.iter().map(values).zip(0..).collect();
        for trial in graph.trials.iter().filter(|trial| spec.is_of(&trial.point)) {
            let values: Vec<Option<usize>> = axes.iter().map(|&axis| trial.point[axis]).collect();
            if let Some(&at) = places.get(&values) {
                let reporter = |stage: &String| trial.instances.get(stage.as_str()).map(|id| id.0 as u32);
                points_of.entry(stages.iter().map(reporter).collect()).or_default().insert(at);
            }
        }
        let reporters: Vec<&UInt32Chunked> = stages
            .iter()
            .map(|stage| self.frame.column(&instance_column(stage))?.u32())
            .collect::<PolarsResult<_>>()?;
        let mut rows: Vec<(usize, IdxSize)> = Vec::new();
        for row in 0..self.frame.height() {
            let instances: Vec<Option<u32>> = reporters.iter().map(|column| column.get(row)).collect();
            let points = points_of.get(&instances).into_iter().flatten();
            rows.extend(points.map(|&point| (point, row as IdxSize)));
        }
        rows.sort_by_key(|(point, _)| *point);
        let labels: Vec<&str> =
            rows.iter().map(|(point, _)| ablation.points[*point].label.as_str()).collect();
        let taken: Vec<IdxSize> = rows.iter().map(|(_, row)| *row).collect();
        let mut frame = self.frame.take(&IdxCa::from_vec("rows".into(), taken))?;
        let heading = ablation.form.heading();
        frame.with_column(Column::new(heading.into(), labels))?;
        self.axes.retain(|name| !axes.iter().any(|&axis| graph.axes[axis].name == *name));
        self.axes.push(heading.to_owned());
        Ok(Self { frame, ..self })
    }

    /// The rows of some metrics for programs: in place of origins and instances, for each stage that reports, `STAGE:action` (its key),
    /// `STAGE:seconds`, `STAGE:memory_mib`, `STAGE:device`, `STAGE:devices` (those of every stage on the way, as
    /// `encoder=cuda probe=cpu`), `STAGE:caveats`, `STAGE:host`, `STAGE:hardware`, `STAGE:started` (milliseconds since the Unix epoch)
    /// and `STAGE:version`.
    ///
    /// # Errors
    /// Where two columns have one name.
    pub fn detail<'a>(
        graph: &Graph,
        metrics: &[MetricRef],
        outcome: impl Fn(InstanceId) -> Outcome<'a>,
        action: impl Fn(InstanceId) -> Option<ActionDigest>,
    ) -> PolarsResult<Self> {
        let mut trials = Self::gather(graph, metrics, &outcome)?;
        let rows = gather(graph, metrics, |_| true, &outcome);
        for Reporter { stage, instances: ids } in &rows.stages {
            trials.frame.drop_in_place(&instance_column(stage))?;
            let origins = trials.frame.drop_in_place(&origin_column(stage))?;
            let origins: Vec<Option<&Origin>> = origins
                .u32()?
                .iter()
                .map(|index| index.map(|index| &trials.origins[index as usize]))
                .collect();
            let devices: Vec<Option<String>> = origins.iter().map(|origin| origin.map(devices)).collect();
            let caveats: Vec<Option<String>> = origins.iter().map(|origin| origin.map(caveats)).collect();
            let made = || {
                ids.iter().map(|id| match id.map(&outcome) {
                    Some(Outcome::Done(_, result)) => Some(&result.provenance),
                    Some(Outcome::Missing | Outcome::Running | Outcome::Failed) | None => None,
                })
            };
            let actions: Vec<Option<String>> =
                ids.iter().map(|id| id.and_then(&action).map(|action| action.to_string())).collect();
            let seconds: Vec<Option<f64>> =
                made().map(|made| made.map(|made| made.duration_ms as f64 / 1000.0)).collect();
            let memory: Vec<Option<u64>> = made().map(|made| made.map(|made| made.peak_memory_mib)).collect();
            let started: Vec<Option<u64>> =
                made().map(|made| made.map(|made| made.started_unix_ms)).collect();
            let device: Vec<Option<&str>> =
                made().map(|made| made.map(|made| made.device.as_str())).collect();
            let host: Vec<Option<&str>> = made().map(|made| made.map(|made| made.host.as_str())).collect();
            let hardware: Vec<Option<&str>> = made().map(|made| made?.hardware.as_deref()).collect();
            let version: Vec<Option<&str>> =
                made().map(|made| made.map(|made| made.version.as_str())).collect();
            let name = |what: &str| format!("{stage}:{what}").into();
            let columns = [
                Column::new(name("action"), actions),
                Column::new(name("seconds"), seconds),
                Column::new(name("memory_mib"), memory),
                Column::new(name("device"), device),
                Column::new(name("devices"), devices),
                Column::new(name("caveats"), caveats),
                Column::new(name("host"), host),
                Column::new(name("hardware"), hardware),
                Column::new(name("started"), started),
                Column::new(name("version"), version),
            ];
            for column in columns {
                trials.frame.with_column(column)?;
            }
        }
        Ok(trials)
    }

    /// With a further axis in front that has one value.
    ///
    /// # Errors
    /// Where there is a column of that name.
    pub fn with_axis(mut self, axis: &str, label: &str) -> PolarsResult<Self> {
        let labels = vec![label; self.frame.height()];
        self.frame.insert_column(0, Column::new(axis.into(), labels))?;
        self.axes.insert(0, axis.to_owned());
        Ok(self)
    }

    /// These and others; where one has no column of the other, it has nulls there.
    ///
    /// # Errors
    /// Where columns of one name hold different things.
    pub fn and(mut self, mut other: Self) -> PolarsResult<Self> {
        let shift_of = |name: &String| match () {
            () if name.ends_with(ORIGIN) => Some(self.origins.len() as u32),
            () if name.ends_with(INSTANCE) => Some(self.seeds.len() as u32),
            () => None,
        };
        let names: Vec<String> = other.frame.get_column_names().iter().map(|name| name.to_string()).collect();
        for (name, shift) in names.iter().filter_map(|name| Some((name, shift_of(name)?))) {
            let shifted: Vec<Option<u32>> = other
                .frame
                .column(name)?
                .u32()?
                .iter()
                .map(|index| index.map(|index| index + shift))
                .collect();
            other.frame.with_column(Column::new(name.as_str().into(), shifted))?;
        }
        complete(&mut self.frame, &other.frame)?;
        complete(&mut other.frame, &self.frame)?;
        let order: Vec<String> = self.frame.get_column_names().iter().map(|name| name.to_string()).collect();
        self.frame.vstack_mut(&other.frame.select(order)?)?;
        for axis in other.axes {
            if !self.axes.contains(&axis) {
                self.axes.push(axis);
            }
        }
        let shift = self.seeds.len() as u32;
        self.firsts.extend(other.firsts.iter().map(|first| first + shift));
        self.left_out.extend(other.left_out);
        self.origins.extend(other.origins);
        self.seeds.extend(other.seeds);
        Ok(self)
    }

    /// Those that pass every filter.
    ///
    /// # Errors
    /// What is wrong with a filter, in a sentence.
    pub fn filter(mut self, filters: &[Filter]) -> Result<Self, String> {
        // Each looks at all trials, whatever the others leave of them.
        let masks = filters.iter().map(|filter| filter.mask(&self)).collect::<Result<Vec<_>, _>>()?;
        if let Some(mask) = masks.into_iter().reduce(|one, other| one & other) {
            self.frame = self.frame.filter(&mask).map_err(|error| error.to_string())?;
        }
        Ok(self)
    }
}

/// The labels that points have, and none of those that are meant.
fn left_out(graph: &Graph, is_meant: impl Fn(&[Option<usize>]) -> bool) -> BTreeSet<(String, String)> {
    let values = |are_meant: bool| -> BTreeSet<(usize, usize)> {
        let points =
            graph.trials.iter().map(|trial| &trial.point).filter(|point| !are_meant || is_meant(point));
        points
            .flat_map(|point| point.iter().enumerate().filter_map(|(axis, value)| Some((axis, (*value)?))))
            .collect()
    };
    let label = |&(axis, value): &(usize, usize)| {
        let axis = &graph.axes[axis];
        (axis.name.clone(), axis.labels[value].clone())
    };
    values(false).difference(&values(true)).map(label).collect()
}

/// Adds the columns that only `other` has, empty.
fn complete(frame: &mut DataFrame, other: &DataFrame) -> PolarsResult<()> {
    for column in other.columns() {
        if frame.get_column_index(column.name()).is_none() {
            frame.with_column(Column::full_null(column.name().clone(), frame.height(), column.dtype()))?;
        }
    }
    Ok(())
}

fn axis_columns(graph: &Graph, rows: &Rows) -> (Vec<Column>, Vec<String>) {
    let mut columns = Vec::new();
    let mut axes = Vec::new();
    for (index, axis) in graph.axes.iter().enumerate() {
        let labels: Vec<Option<&str>> =
            rows.points.iter().map(|point| point[index].map(|value| axis.labels[value].as_str())).collect();
        if labels.iter().any(Option::is_some) {
            columns.push(Column::new(axis.name.as_str().into(), labels));
            axes.push(axis.name.clone());
        }
    }
    columns.push(Column::new(SEED.into(), &rows.seeds));
    (columns, axes)
}

fn devices(origin: &Origin) -> String {
    let of = origin.devices.iter().map(|(stage, families)| {
        format!("{stage}={}", families.iter().map(String::as_str).collect::<Vec<_>>().join("+"))
    });
    of.collect::<Vec<_>>().join(" ")
}

fn caveats(origin: &Origin) -> String {
    let words = origin.caveats.iter().map(|caveat| caveat.word());
    words.collect::<Vec<_>>().join(" ")
}

/// Writes a frame as Parquet.
///
/// # Errors
/// Where `out` refuses.
pub fn write_parquet(frame: &mut DataFrame, out: impl Write + Seek) -> PolarsResult<()> {
    ParquetWriter::new(out).finish(frame).map(drop)
}
