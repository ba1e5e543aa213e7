//! From trials to a table.

mod compare;
mod rank;

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::*;

use super::origin::{Caveat, notes, usual_devices};
use super::published::Published;
use super::sample::{Sample, show, signed};
use super::trials::{PIPELINE, Trials, instance_column, origin_column, state_column};
use super::{Cell, Column, NOTHING, Row, Table, effects};
use crate::pipeline::{self, Better, Form, MetricRef, Placing, Show, TableSpec};
use crate::progress::counted;
use crate::rows::State;
use crate::stats::Test;

/// Builds a declared table from what its trials have given so far.
///
/// Rows are the declared row axes, then any axis that reaches the cells and was not declared, so that nothing is ever
/// averaged but seeds. Where a row axis does not reach a row, its heading cell shows `–`; where a column axis does not,
/// the value stands in each of its columns that has none of its own in this row, and in one of its own where some has.
/// Rows that agree in an outer axis stand together, published ones below ours. The points of an ablation are the innermost
/// rows, so that each stands below the one it is compared with.
///
/// # Errors
/// Where the trials lack a metric of the table.
pub fn build(trials: &Trials, spec: &TableSpec, published: &[Published]) -> PolarsResult<Table> {
    if let Form::Effects { axes, interactions } = &spec.form {
        return effects::build(trials, spec, axes, *interactions);
    }
    let present = |name: &&String| trials.axes.contains(name) || trials.frame.height() == 0;
    let column_axes: Vec<&String> = spec.columns.iter().filter(present).collect();
    let further = trials.axes.iter().filter(|name| !spec.rows.contains(name) && !spec.columns.contains(name));
    let mut row_axes: Vec<&String> = spec.rows.iter().filter(present).chain(further).collect();
    if let Form::Ablation(ablation) = &spec.form {
        row_axes.sort_by_key(|axis| *axis == ablation.form.heading());
    }
    Builder::new(trials, spec, row_axes, column_axes)?.table(published)
}

/// A table of metrics by some axes, over the trials of all others.
///
/// # Errors
/// Where the trials lack an axis or a metric.
pub fn by(trials: &Trials, axes: &[String], metrics: &[MetricRef]) -> PolarsResult<Table> {
    let cell = |metric: &MetricRef| {
        let better = Better::of(&metric.metric);
        let cell = pipeline::Cell {
            metric: metric.clone(),
            show: Show::MeanStd,
            better,
            percent: false,
            digits: None,
        };
        (metric.to_string(), cell)
    };
    let spec = TableSpec {
        name: format!("by {}", axes.join(", ")),
        form: Form::Cells,
        rows: axes.to_vec(),
        columns: Vec::new(),
        cells: metrics.iter().map(cell).collect(),
        baseline: Vec::new(),
        test: Test::default(),
        published: Placing::default(),
        within: Vec::new(),
        trials: Vec::new(),
    };
    let builder = Builder::new(trials, &spec, axes.iter().collect(), Vec::new())?;
    let mut table = Builder { is_over_seeds: false, ..builder }.table(&[])?;
    let others: Vec<&str> =
        trials.axes.iter().filter(|axis| !axes.contains(axis)).map(String::as_str).collect();
    let others = others.into_iter().chain(["seeds"]).collect::<Vec<_>>().join(", ");
    table.remarks.push(format!("mean ± standard deviation over trials: {others}"));
    Ok(table)
}

/// The labels of some axes; `None` for an axis that does not reach.
type Key = Vec<Option<String>>;

/// Whether `key` names every axis as `other` does, or not at all.
pub(super) fn covers<T: PartialEq>(key: &[Option<T>], other: &[Option<T>]) -> bool {
    key.iter().zip(other).all(|(mine, theirs)| mine.is_none() || mine == theirs)
}

pub(super) fn distinct<T: Ord + Clone>(keys: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(key.clone())).collect()
}

/// Brings rows together that agree in the outermost axis, among these those that agree in the next, and so on to the innermost but
/// one; the first to come say where.
fn bring_together<T>(rows: &mut [T], labels: impl Fn(&T) -> &Key) {
    let mut firsts: BTreeMap<Key, usize> = BTreeMap::new();
    let outer =
        |row: &T| (1..labels(row).len()).map(|depth| labels(row)[..depth].to_vec()).collect::<Vec<_>>();
    for (place, row) in rows.iter().enumerate() {
        for labels in outer(row) {
            firsts.entry(labels).or_insert(place);
        }
    }
    rows.sort_by_cached_key(|row| outer(row).iter().map(|labels| firsts[labels]).collect::<Vec<usize>>());
}

/// The trials that agree in the axes of the table.
struct Group {
    key: Key,
    rows: Vec<IdxSize>,
}

struct Builder<'a> {
    spec: &'a TableSpec,
    /// Whether trials of one cell differ in their seeds alone.
    is_over_seeds: bool,
    row_axes: Vec<&'a String>,
    column_axes: Vec<&'a String>,
    groups: Vec<Group>,
    /// By group and cell.
    samples: Vec<Vec<Sample>>,
}

impl<'a> Builder<'a> {
    fn new(
        trials: &Trials,
        spec: &'a TableSpec,
        row_axes: Vec<&'a String>,
        column_axes: Vec<&'a String>,
    ) -> PolarsResult<Self> {
        let axes = [row_axes.as_slice(), column_axes.as_slice()].concat();
        let groups = groups(&trials.frame, &axes)?;
        let mut samples: Vec<Vec<Sample>> = groups.iter().map(|_| Vec::new()).collect();
        for (_, cell) in &spec.cells {
            for (group, sample) in samples_of(trials, &groups, &cell.metric)?.into_iter().enumerate() {
                samples[group].push(sample);
            }
        }
        Ok(Self { spec, is_over_seeds: true, row_axes, column_axes, groups, samples })
    }

    fn table(&self, published: &[Published]) -> PolarsResult<Table> {
        let rows = self.row_axes.len();
        let mut keys = distinct(self.groups.iter().map(|group| group.key[..rows].to_vec()));
        bring_together(&mut keys, |key| key);
        let columns = distinct(self.groups.iter().map(|group| group.key[rows..].to_vec()));
        // A result that a column axis does not reach holds for each of the axis' values, so it stands in all their columns.
        let columns: Vec<Key> = columns
            .iter()
            .filter(|key| {
                let mut others = columns.iter().filter(|other| other != key && covers(key, other)).peekable();
                others.peek().is_none() || others.any(|other| self.has_both(key, other))
            })
            .cloned()
            .collect();
        let mut table = Table {
            name: self.spec.name.clone(),
            axes: self.row_axes.iter().map(|axis| (*axis).clone()).collect(),
            columns: self.columns(&columns),
            rows: Vec::new(),
            notes: Vec::new(),
            remarks: self.spec.which_trials().into_iter().collect(),
        };
        if let Form::Ablation(ablation) = &self.spec.form {
            table.remarks.push(ablation.told.clone());
        }
        let place: BTreeMap<&[Option<String>], usize> =
            keys.iter().enumerate().map(|(row, key)| (key.as_slice(), row)).collect();
        let width = self.spec.cells.len();
        let mut grid: Vec<Vec<Cell>> = vec![vec![Cell::nothing(); columns.len() * width]; keys.len()];
        let cells = self.cells(&mut table);
        // What more axes say of a cell stands before what fewer say.
        let mut shown: Vec<(&Group, Vec<Cell>)> = self.groups.iter().zip(cells).collect();
        shown.sort_by_key(|(group, _)| group.key[rows..].iter().flatten().count());
        for (group, shown) in shown {
            let row = place[&group.key[..rows]];
            let reached = columns.iter().enumerate().filter(|(_, key)| covers(&group.key[rows..], key));
            for (column, _) in reached {
                grid[row][column * width..][..width].clone_from_slice(&shown);
            }
        }
        let ours = keys.into_iter().zip(grid);
        table.rows = ours.map(|(labels, cells)| Row { labels, cells, published: false }).collect();
        self.place(published, &columns, &mut table)?;
        bring_together(&mut table.rows, |row| &row.labels);
        table.rank(self.spec);
        Ok(table)
    }

    /// Whether some row has trials in both of two columns, of which one says less than the other.
    fn has_both(&self, one: &Key, other: &Key) -> bool {
        let rows = self.row_axes.len();
        let rows_of = |column: &Key| -> BTreeSet<&[Option<String>]> {
            let groups = self.groups.iter().filter(|group| group.key[rows..] == column[..]);
            groups.map(|group| &group.key[..rows]).collect()
        };
        !rows_of(one).is_disjoint(&rows_of(other))
    }

    fn columns(&self, keys: &[Key]) -> Vec<Column> {
        let mut columns = Vec::new();
        for key in keys {
            for (title, cell) in &self.spec.cells {
                let axes = self.column_axes.iter().zip(key);
                let axes: Vec<(String, Option<String>)> =
                    axes.map(|(axis, label)| ((*axis).clone(), label.clone())).collect();
                let mut heading: Vec<String> = axes
                    .iter()
                    .map(|(axis, label)| format!("{axis}={}", label.as_deref().unwrap_or(NOTHING)))
                    .collect();
                let percent = if cell.percent { " (%)" } else { "" };
                if self.spec.cells.len() > 1 || heading.is_empty() || cell.percent {
                    heading.push(format!("{title}{percent}"));
                }
                columns.push(Column { axes, title: title.clone(), heading });
            }
        }
        columns
    }

    /// The cells of every group, with their differences and footnotes.
    fn cells(&self, table: &mut Table) -> Vec<Vec<Cell>> {
        let mut all: Vec<Vec<Cell>> = Vec::new();
        for samples in &self.samples {
            let pairs = self.spec.cells.iter().zip(samples);
            all.push(pairs.map(|((_, cell), sample)| show(cell, sample)).collect());
        }
        table.remarks.extend(self.statistics().filter(|_| self.is_over_seeds));
        self.compare(&mut all, table);
        let usual = usual_devices(self.samples.iter().flatten().map(|sample| &sample.origin));
        for (cells, samples) in all.iter_mut().zip(&self.samples) {
            for (cell, sample) in cells.iter_mut().zip(samples) {
                for note in notes(&sample.origin, &usual) {
                    cell.notes.push(table.note(note));
                }
            }
        }
        if self.is_over_seeds {
            self.mark_seeds(&mut all, table);
        }
        all
    }

    /// How many seeds samples have, least first; of those that have any.
    fn seed_counts(&self) -> BTreeSet<usize> {
        self.samples.iter().flatten().map(Sample::seeded).filter(|count| *count > 0).collect()
    }

    /// What cells show, and over how many seeds; nothing where no cell has several.
    fn statistics(&self) -> Option<String> {
        let counts = self.seed_counts();
        let (least, most) = (*counts.first()?, *counts.last().filter(|most| **most > 1)?);
        let shows = distinct(self.spec.cells.iter().filter_map(|(_, cell)| cell.show.words()));
        let seeds = if least == most { counted(most, "seed") } else { format!("{least} to {most} seeds") };
        (!shows.is_empty()).then(|| format!("{} over {seeds}", shows.join(", ")))
    }

    /// Where cells are over different numbers of seeds, gives whole ones a footnote of theirs, but for those that show it.
    fn mark_seeds(&self, all: &mut [Vec<Cell>], table: &mut Table) {
        if self.seed_counts().len() < 2 {
            return;
        }
        let samples = self.samples.iter().flatten();
        let shows = self.spec.cells.iter().map(|(_, spec)| spec.show).cycle();
        let marked: Vec<(&mut Cell, usize)> = all
            .iter_mut()
            .flatten()
            .zip(samples.zip(shows))
            .filter(|(cell, (sample, show))| {
                cell.numbers.n == cell.numbers.of && sample.seeded() > 0 && *show != Show::Count
            })
            .map(|(cell, (sample, _))| (cell, sample.seeded()))
            .collect();
        let counts: BTreeSet<usize> = marked.iter().map(|(_, count)| *count).collect();
        let notes: BTreeMap<usize, usize> =
            counts.into_iter().map(|count| (count, table.note(counted(count, "seed")))).collect();
        for (cell, count) in marked {
            cell.notes.push(notes[&count]);
        }
    }

    /// Adds what others have published.
    fn place(&self, published: &[Published], columns: &[Key], table: &mut Table) -> PolarsResult<()> {
        let width = self.spec.cells.len();
        let label = |entry: &Published, axis: &String| {
            entry.labels.iter().find(|(known, _)| known == axis).map(|(_, label)| label.clone())
        };
        let ours = table.rows.len();
        let mut hidden = 0;
        for entry in published {
            let is_it =
                |(title, cell): &(String, pipeline::Cell)| *title == entry.title && *cell == entry.cell;
            let cell = self.spec.cells.iter().position(is_it).ok_or_else(
                || polars_err!(ColumnNotFound: "table `{}` has no cell `{}`", self.spec.name, entry.title),
            )?;
            let key: Key = self.row_axes.iter().map(|axis| label(entry, axis)).collect();
            let column: Key = self.column_axes.iter().map(|axis| label(entry, axis)).collect();
            let reached: Vec<usize> = (0..columns.len())
                .filter(|&at| covers(&column, &columns[at]))
                .map(|at| at * width + cell)
                .collect();
            if reached.is_empty() {
                hidden += 1;
                continue;
            }
            let spec = &entry.cell;
            let source = entry.source.as_deref().unwrap_or("no source given");
            let note = table.note(format!("published: {source}"));
            let scale = if spec.percent { 0.01 } else { 1.0 };
            let value = match &entry.std {
                Some(std) => format!("{} ± {std}", entry.value),
                None => entry.value.clone(),
            };
            // What others have published is of no pipeline, and stands beside the same row of each.
            let is_beside = |row: &Row| {
                let mut labels = self.row_axes.iter().zip(key.iter().zip(&row.labels));
                labels.all(|(axis, (mine, theirs))| mine == theirs || (mine.is_none() && *axis == PIPELINE))
            };
            let beside: Vec<usize> = match self.spec.published {
                Placing::Beside => (0..ours).filter(|&row| is_beside(&table.rows[row])).collect(),
                Placing::Rows => Vec::new(),
            };
            for &row in &beside {
                for &at in &reached {
                    let cell = &mut table.rows[row].cells[at];
                    cell.numbers.published = Some(entry.number * scale);
                    cell.numbers.published_is_oracle = entry.is_oracle;
                    cell.notes.push(note);
                    let value =
                        if entry.is_oracle { format!("{value}, selected by labels") } else { value.clone() };
                    cell.asides.push(match cell.numbers.shown.filter(|_| spec.show != Show::Count) {
                        Some(shown) => {
                            let difference = signed(spec, shown - entry.number * scale, Some(shown));
                            format!("published {value}: {difference}")
                        }
                        None => format!("published {value}"),
                    });
                }
            }
            if !beside.is_empty() {
                continue;
            }
            // Labels may differ in an axis that reaches no cell; then each value has a row.
            let is_free = |row: &Row| reached.iter().all(|&at| row.cells[at].numbers.published.is_none());
            let known = (ours..table.rows.len())
                .find(|&row| table.rows[row].labels == key && is_free(&table.rows[row]));
            let row = known.unwrap_or_else(|| {
                let cells = vec![Cell::nothing(); table.columns.len()];
                table.rows.push(Row { labels: key.clone(), cells, published: true });
                table.rows.len() - 1
            });
            let oracle = entry.is_oracle.then(|| table.note(Caveat::Oracle.note().to_owned()));
            for &at in &reached {
                let cell = &mut table.rows[row].cells[at];
                cell.numbers.published = Some(entry.number * scale);
                cell.numbers.published_is_oracle = entry.is_oracle;
                cell.notes.push(note);
                cell.notes.extend(oracle);
                cell.text.clone_from(&value);
            }
        }
        if hidden > 0 {
            let values =
                if hidden == 1 { "1 published value" } else { &format!("{hidden} published values") };
            table.remarks.push(format!("not shown: {values} of columns that no trial is in"));
        }
        Ok(())
    }
}

impl Table {
    /// The index of a footnote, which is added where it is not there yet.
    pub(super) fn note(&mut self, text: String) -> usize {
        self.notes.iter().position(|note| *note == text).unwrap_or_else(|| {
            self.notes.push(text);
            self.notes.len() - 1
        })
    }
}

/// The rows that agree in `axes`, in order of first appearance.
fn groups(frame: &DataFrame, axes: &[&String]) -> PolarsResult<Vec<Group>> {
    if axes.is_empty() {
        let rows = (0..frame.height() as IdxSize).collect();
        return Ok(if frame.height() == 0 { Vec::new() } else { vec![Group { key: Vec::new(), rows }] });
    }
    let names: Vec<&str> = axes.iter().map(|axis| axis.as_str()).collect();
    let grouped = frame.group_by_stable(names.iter().copied())?;
    let labels: Vec<&StringChunked> =
        names.iter().map(|name| frame.column(name)?.str()).collect::<PolarsResult<_>>()?;
    let group = |rows: Vec<IdxSize>| {
        let first = rows[0] as usize;
        let key = labels.iter().map(|column| column.get(first).map(str::to_owned)).collect();
        Group { key, rows }
    };
    Ok(grouped
        .get_groups()
        .iter()
        .map(|indicator| {
            group(match indicator {
                GroupsIndicator::Idx((_, rows)) => rows.to_vec(),
                GroupsIndicator::Slice([start, len]) => (start..start + len).collect(),
            })
        })
        .collect())
}

/// The samples of a metric, by group.
fn samples_of(trials: &Trials, groups: &[Group], metric: &MetricRef) -> PolarsResult<Vec<Sample>> {
    let frame = &trials.frame;
    let values = frame.column(&metric.to_string())?.f64()?.rechunk();
    let states = frame.column(&state_column(&metric.stage))?.str()?.rechunk();
    let origins = frame.column(&origin_column(&metric.stage))?.u32()?.rechunk();
    let instances = frame.column(&instance_column(&metric.stage))?.u32()?.rechunk();
    // By instance: the last group that it was seen in.
    let mut seen: Vec<Option<usize>> = vec![None; trials.seeds.len()];
    let sample = |(index, group): (usize, &Group)| {
        let mut sample = Sample::default();
        let mut known = BTreeSet::new();
        for &row in &group.rows {
            let row = row as usize;
            let instance = instances.get(row).map(|id| trials.firsts[id as usize]);
            // Rows differ in what the table's other metrics can tell apart, or in values that come to the same.
            if instance.is_some_and(|id| seen[id as usize].replace(index) == Some(index)) {
                continue;
            }
            sample.of += 1;
            if let (Some(value), Some(instance)) = (values.get(row), instance) {
                sample.instances.push(instance);
                sample.seeds.push(trials.seeds[instance as usize]);
                sample.values.push(value);
            }
            // A pipeline of several may lack the stage.
            let state = states.get(row).unwrap_or(State::Missing.word());
            match sample.states.get_mut(state) {
                Some(count) => *count += 1,
                None => drop(sample.states.insert(state.to_owned(), 1)),
            }
            if let Some(origin) = origins.get(row).filter(|origin| known.insert(*origin)) {
                sample.origin.add(&trials.origins[origin as usize]);
            }
        }
        sample
    };
    Ok(groups.iter().enumerate().map(sample).collect())
}
