//! From trials to a table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use polars::prelude::*;

use super::origin::Origin;
use super::published::Published;
use super::trials::{PIPELINE, Trials, instance_column, origin_column, state_column};
use super::{Cell, Column, NOTHING, Numbers, Rank, Row, Table};
use crate::pipeline::{self, Better, MetricRef, Placing, Show, TableSpec};
use crate::rows::Value;
use crate::stats::{Test, ci95, grain, holm, mean, median, std};

/// Below this, a corrected p-value gets a star.
const SIGNIFICANT: f64 = 0.05;

/// Builds a declared table from what its trials have given so far.
///
/// Rows are the declared row axes, then any axis that reaches the cells and was not declared, so that nothing is ever
/// averaged but seeds. Where a row axis does not reach a row, its heading cell shows `–`; where a column axis does not,
/// the value stands in each of its columns.
///
/// # Errors
/// Where the trials lack a metric of the table.
pub fn build(trials: &Trials, spec: &TableSpec, published: &[Published]) -> PolarsResult<Table> {
    let present = |name: &&String| trials.axes.contains(name);
    let column_axes: Vec<&String> = spec.columns.iter().filter(present).collect();
    let further = trials.axes.iter().filter(|name| !spec.rows.contains(name) && !spec.columns.contains(name));
    let row_axes: Vec<&String> = spec.rows.iter().filter(present).chain(further).collect();
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
        rows: axes.to_vec(),
        columns: Vec::new(),
        cells: metrics.iter().map(cell).collect(),
        baseline: Vec::new(),
        test: Test::default(),
        published: Placing::default(),
    };
    let mut table = Builder::new(trials, &spec, axes.iter().collect(), Vec::new())?.table(&[])?;
    let others: Vec<&str> =
        trials.axes.iter().filter(|axis| !axes.contains(axis)).map(String::as_str).collect();
    let others = others.into_iter().chain(["seeds"]).collect::<Vec<_>>().join(", ");
    table.remarks.push(format!("mean ± standard deviation over trials: {others}"));
    Ok(table)
}

/// The labels of some axes; `None` for an axis that does not reach.
type Key = Vec<Option<String>>;

/// Whether `key` names every axis as `other` does, or not at all.
fn covers(key: &[Option<String>], other: &[Option<String>]) -> bool {
    key.iter().zip(other).all(|(mine, theirs)| mine.is_none() || mine == theirs)
}

fn distinct<T: Ord + Clone>(keys: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(key.clone())).collect()
}

/// The trials that agree in the axes of the table.
struct Group {
    key: Key,
    rows: Vec<IdxSize>,
}

/// A metric over the instances of a group.
#[derive(Default)]
struct Sample {
    /// Those that have a value.
    instances: Vec<u32>,
    /// Of each of them.
    seeds: Vec<Option<u64>>,
    /// Of each of them.
    values: Vec<f64>,
    /// Instances in all.
    of: usize,
    /// State → how many instances have it; those that are done have a value, or report none.
    states: BTreeMap<String, usize>,
    origin: Origin,
}

impl Sample {
    /// The values of this and of another sample, seed by seed; a sample of one value without a seed is the same for each.
    fn pairs(&self, other: &Self) -> (Vec<f64>, Vec<f64>) {
        match (self.alone(), other.alone()) {
            (Some(mine), _) => (vec![mine; other.values.len()], other.values.clone()),
            (None, Some(theirs)) => (self.values.clone(), vec![theirs; self.values.len()]),
            (None, None) => {
                let theirs: HashMap<_, _> = other.seeds.iter().zip(&other.values).collect();
                let pairs = self.seeds.iter().zip(&self.values);
                pairs.filter_map(|(seed, &mine)| Some((mine, **theirs.get(seed)?))).unzip()
            }
        }
    }

    /// Its value, where it is one without a seed.
    fn alone(&self) -> Option<f64> {
        match (self.seeds.as_slice(), self.values.as_slice()) {
            ([None], [value]) => Some(*value),
            _ => None,
        }
    }

    fn count(&self, state: Value) -> usize {
        self.states.get(state.state()).copied().unwrap_or(0)
    }
}

struct Builder<'a> {
    spec: &'a TableSpec,
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
        Ok(Self { spec, row_axes, column_axes, groups, samples })
    }

    fn table(&self, published: &[Published]) -> PolarsResult<Table> {
        let rows = self.row_axes.len();
        let keys = distinct(self.groups.iter().map(|group| group.key[..rows].to_vec()));
        let columns = distinct(self.groups.iter().map(|group| group.key[rows..].to_vec()));
        // A result that a column axis does not reach holds for each of the axis' values, so it stands in all their columns.
        let columns: Vec<Key> = columns
            .iter()
            .filter(|key| !columns.iter().any(|other| other != *key && covers(key, other)))
            .cloned()
            .collect();
        let mut table = Table {
            name: self.spec.name.clone(),
            axes: self.row_axes.iter().map(|axis| (*axis).clone()).collect(),
            columns: self.columns(&columns),
            rows: Vec::new(),
            notes: Vec::new(),
            remarks: Vec::new(),
        };
        let place: BTreeMap<&[Option<String>], usize> =
            keys.iter().enumerate().map(|(row, key)| (key.as_slice(), row)).collect();
        let width = self.spec.cells.len();
        let mut grid: Vec<Vec<Cell>> = vec![vec![Cell::nothing(); columns.len() * width]; keys.len()];
        let cells = self.cells(&mut table);
        for (group, shown) in self.groups.iter().zip(cells) {
            let row = place[&group.key[..rows]];
            let reached = columns.iter().enumerate().filter(|(_, key)| covers(&group.key[rows..], key));
            for (column, _) in reached {
                grid[row][column * width..][..width].clone_from_slice(&shown);
            }
        }
        let ours = keys.into_iter().zip(grid);
        table.rows = ours.map(|(labels, cells)| Row { labels, cells, published: false }).collect();
        self.place(published, &columns, &mut table)?;
        self.rank(&mut table);
        Ok(table)
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
        self.compare(&mut all, table);
        let usual = self.usual_devices();
        for (cells, samples) in all.iter_mut().zip(&self.samples) {
            for (cell, sample) in cells.iter_mut().zip(samples) {
                for note in notes(&sample.origin, &usual) {
                    cell.notes.push(table.note(note));
                }
            }
        }
        all
    }

    /// Sets each cell beside the baseline's.
    fn compare(&self, all: &mut [Vec<Cell>], table: &mut Table) {
        let axes = [self.row_axes.as_slice(), self.column_axes.as_slice()].concat();
        let fixed: Vec<(usize, &String)> = self
            .spec
            .baseline
            .iter()
            .filter_map(|(axis, label)| Some((axes.iter().position(|known| *known == axis)?, label)))
            .collect();
        if fixed.is_empty() {
            return;
        }
        // Cells that show the same results of the same metric are one comparison.
        let mut known: HashMap<(String, &[u32], &[u32]), usize> = HashMap::new();
        let mut tested: Vec<f64> = Vec::new();
        let mut tests_of: Vec<((usize, usize), usize)> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let Some(baseline) = self.baseline(&group.key, &fixed).filter(|&baseline| baseline != index)
            else {
                continue;
            };
            for (at, (_, spec)) in self.spec.cells.iter().enumerate() {
                let (sample, other) = (&self.samples[index][at], &self.samples[baseline][at]);
                let (mine, theirs) = sample.pairs(other);
                let difference = match spec.show {
                    Show::Count => None,
                    _ if is_mean(spec) => {
                        let differences: Vec<f64> = mine.iter().zip(&theirs).map(|(a, b)| a - b).collect();
                        let p = self.spec.test.p(&differences, grain(mine.iter().chain(&theirs).copied()));
                        // A value without seeds is one value, however often it is paired.
                        if let Some(p) = p.filter(|_| sample.seeds.len() > 1) {
                            let key = (spec.metric.to_string(), &*sample.instances, &*other.instances);
                            let test = *known.entry(key).or_insert_with(|| {
                                tested.push(p);
                                tested.len() - 1
                            });
                            tests_of.push(((index, at), test));
                        }
                        mean(&differences)
                    }
                    _ => shown(spec, &numbers(&mine, mine.len()))
                        .zip(shown(spec, &numbers(&theirs, theirs.len())))
                        .map(|(mine, theirs)| mine - theirs),
                };
                all[index][at].numbers.difference = difference;
            }
        }
        let corrected = holm(&tested);
        for ((group, at), test) in tests_of {
            let numbers = &mut all[group][at].numbers;
            (numbers.p, numbers.p_holm) = (Some(tested[test]), Some(corrected[test]));
        }
        for cells in all.iter_mut() {
            for (cell, (_, spec)) in cells.iter_mut().zip(&self.spec.cells) {
                let Some(difference) = cell.numbers.difference else { continue };
                let star = if cell.numbers.p_holm.is_some_and(|p| p < SIGNIFICANT) { "*" } else { "" };
                cell.asides.push(format!("{}{star}", signed(spec, difference, cell.numbers.mean)));
            }
        }
        if all.iter().flatten().all(|cell| cell.numbers.difference.is_none()) {
            return;
        }
        let told: Vec<String> = fixed.iter().map(|(at, label)| format!("{}={label}", axes[*at])).collect();
        let tests = match tested.len() {
            0 if !self.spec.cells.iter().any(|(_, cell)| is_mean(cell)) => "only means are tested".to_owned(),
            0 => "no test with fewer than two common seeds or equal differences".to_owned(),
            n => format!(
                "* p < {SIGNIFICANT} in a {} over seeds, Holm-corrected for {n} comparison{}",
                self.spec.test.name(),
                if n == 1 { "" } else { "s" }
            ),
        };
        table.remarks.push(format!("in parentheses: difference to {}; {tests}", told.join(", ")));
    }

    /// The group that has the baseline's labels and is like this one otherwise. Axes that do not reach it are passed over.
    fn baseline(&self, key: &Key, fixed: &[(usize, &String)]) -> Option<usize> {
        let mut wanted = key.clone();
        for (axis, label) in fixed {
            wanted[*axis] = Some((*label).clone());
        }
        let exact = self.groups.iter().position(|group| group.key == wanted);
        exact.or_else(|| {
            let has = |group: &Group| fixed.iter().all(|(axis, _)| group.key[*axis] == wanted[*axis]);
            self.groups.iter().position(|group| has(group) && covers(&group.key, &wanted))
        })
    }

    /// Stage → the families of devices that most groups have it from, where groups differ.
    fn usual_devices(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut counts: BTreeMap<&String, BTreeMap<&BTreeSet<String>, usize>> = BTreeMap::new();
        for sample in self.samples.iter().flatten() {
            for (stage, families) in &sample.origin.devices {
                *counts.entry(stage).or_default().entry(families).or_default() += 1;
            }
        }
        let differing = counts
            .into_iter()
            .filter(|(_, counts)| counts.len() > 1 || counts.keys().any(|families| families.len() > 1));
        let usual = differing.map(|(stage, counts)| {
            let most = counts.values().copied().max().unwrap_or(0);
            let usual =
                counts.into_iter().find(|(_, count)| *count == most).map(|(families, _)| families.clone());
            (stage.clone(), usual.unwrap_or_default())
        });
        usual.collect()
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
            let note =
                table.note(format!("published: {}", entry.source.as_deref().unwrap_or("no source given")));
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
                    cell.notes.push(note);
                    cell.asides.push(match cell.numbers.mean {
                        Some(mean) => {
                            let difference = signed(spec, mean - entry.number * scale, Some(mean));
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
            for &at in &reached {
                let cell = &mut table.rows[row].cells[at];
                cell.numbers.published = Some(entry.number * scale);
                cell.notes.push(note);
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

    /// Marks the best and the second best of each column: whole cells only, and none that labels have chosen. What others
    /// have published counts in a row of its own and beside ours alike.
    fn rank(&self, table: &mut Table) {
        for at in 0..table.columns.len() {
            let (_, spec) = &self.spec.cells[at % self.spec.cells.len()];
            let Some(better) = spec.better.filter(|_| spec.show != Show::Count) else { continue };
            let ranked = |cell: &Cell| {
                let whole = cell.numbers.n == cell.numbers.of && !is_oracle(table, cell);
                cell.numbers.shown.filter(|_| whole && cell.numbers.of > 0)
            };
            let as_shown =
                |value: f64| number(spec, value, None).parse::<f64>().expect("a number is shown as one");
            let mut sorted: Vec<f64> = Vec::new();
            let mut values: Vec<Option<f64>> = Vec::new();
            for row in &table.rows {
                let cell = &row.cells[at];
                let published = cell.numbers.published.map(as_shown);
                let ours = ranked(cell).map(as_shown);
                sorted.extend(ours.into_iter().chain(published));
                values.push(if row.published { published } else { ours });
            }
            let several = sorted.len();
            sorted.sort_by(|a, b| match better {
                Better::Higher => b.total_cmp(a),
                Better::Lower => a.total_cmp(b),
            });
            sorted.dedup();
            // Of two, the second is the worse.
            if sorted.len() < 2 {
                continue;
            }
            for (row, value) in table.rows.iter_mut().zip(values) {
                row.cells[at].rank = match value {
                    Some(value) if value == sorted[0] => Rank::Best,
                    Some(value) if value == sorted[1] && several > 2 => Rank::Second,
                    Some(_) | None => Rank::Other,
                };
            }
        }
    }
}

impl Table {
    /// The index of a footnote, which is added where it is not there yet.
    fn note(&mut self, text: String) -> usize {
        self.notes.iter().position(|note| *note == text).unwrap_or_else(|| {
            self.notes.push(text);
            self.notes.len() - 1
        })
    }
}

fn is_oracle(table: &Table, cell: &Cell) -> bool {
    cell.notes.iter().any(|&note| table.notes[note] == super::Caveat::Oracle.note())
}

/// What a reader must know of where a cell's results come from.
fn notes(origin: &Origin, usual: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let listed = |families: &BTreeSet<String>| families.iter().cloned().collect::<Vec<_>>().join(" and ");
    let mut odd: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (stage, families) in &origin.devices {
        if let Some(usual) = usual.get(stage).filter(|usual| *usual != families || families.len() > 1) {
            odd.entry((listed(families), listed(usual))).or_default().push(stage);
        }
    }
    let devices = odd.into_iter().map(|((here, usual), stages)| {
        let elsewhere = if here == usual { String::new() } else { format!(", elsewhere on {usual}") };
        format!("{} on {here}{elsewhere}", stages.join(", "))
    });
    let caveats = origin.caveats.iter().map(|caveat| caveat.note().to_owned());
    devices.chain(caveats).collect()
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
    let sample = |group: &Group| {
        let mut sample = Sample::default();
        let (mut known, mut seen) = (BTreeSet::new(), HashSet::new());
        for &row in &group.rows {
            let row = row as usize;
            let instance = instances.get(row);
            // Rows differ in what the table's other metrics can tell apart.
            if instance.is_some_and(|instance| !seen.insert(instance)) {
                continue;
            }
            sample.of += 1;
            if let (Some(value), Some(instance)) = (values.get(row), instance) {
                sample.instances.push(instance);
                sample.seeds.push(trials.seeds[instance as usize]);
                sample.values.push(value);
            }
            // A pipeline of several may lack the stage.
            let state = states.get(row).unwrap_or(Value::Missing.state());
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
    Ok(groups.iter().map(sample).collect())
}

/// The statistics of some values, of which there should be `of`.
fn numbers(values: &[f64], of: usize) -> Numbers {
    Numbers {
        n: values.len(),
        of,
        mean: mean(values),
        std: std(values),
        ci95: ci95(values),
        median: median(values),
        min: values.iter().copied().reduce(f64::min),
        max: values.iter().copied().reduce(f64::max),
        ..Numbers::default()
    }
}

/// What a cell says of a sample: the statistic over the trials that have a value, with how many of them there are where some
/// lack one.
fn show(spec: &pipeline::Cell, sample: &Sample) -> Cell {
    let mut numbers = numbers(&sample.values, sample.of);
    numbers.shown = shown(spec, &numbers);
    let left =
        [Value::Failed, Value::Running, Value::Missing].map(|state| (state.state(), sample.count(state)));
    let Some(value) = numbers.shown else {
        let word =
            left.iter().find(|(_, count)| *count > 0).map_or(Value::Unreported.state(), |(word, _)| word);
        return Cell { text: word.to_owned(), numbers, ..Cell::default() };
    };
    let text = |value| number(spec, value, Some(value));
    let mut text = match (spec.show, numbers.std, numbers.ci95) {
        (Show::MeanStd, Some(std), _) => format!("{} ± {}", text(value), number(spec, std, Some(value))),
        (Show::MeanCi, _, Some(half)) => {
            let bound = |bound| number(spec, bound, Some(value));
            format!("{} [{}, {}]", text(value), bound(value - half), bound(value + half))
        }
        (Show::Count, ..) => numbers.n.to_string(),
        (Show::MeanStd | Show::MeanCi | Show::Mean | Show::Median | Show::Best, ..) => text(value),
    };
    if numbers.n < numbers.of {
        let why = left.iter().filter(|(word, count)| *count > 0 && *word != Value::Missing.state());
        let why: String = why.map(|(word, count)| format!(", {count} {word}")).collect();
        text.push_str(&format!(" ({} of {}{why})", numbers.n, numbers.of));
    }
    Cell { text, numbers, ..Cell::default() }
}

/// Whether a cell shows a mean, which is what tests are about.
fn is_mean(spec: &pipeline::Cell) -> bool {
    matches!(spec.show, Show::MeanStd | Show::MeanCi | Show::Mean)
}

/// The number a cell shows first.
fn shown(spec: &pipeline::Cell, numbers: &Numbers) -> Option<f64> {
    match (spec.show, spec.better) {
        (Show::MeanStd | Show::MeanCi | Show::Mean, _) => numbers.mean,
        (Show::Median, _) => numbers.median,
        (Show::Best, Some(Better::Lower)) => numbers.min,
        (Show::Best, Some(Better::Higher) | None) => numbers.max,
        (Show::Count, _) => numbers.mean.map(|_| numbers.n as f64),
    }
}

/// A value in the unit of its cell, with as many digits as suit `beside`, or itself.
fn number(spec: &pipeline::Cell, value: f64, beside: Option<f64>) -> String {
    let scale = if spec.percent { 100.0 } else { 1.0 };
    let size = (beside.unwrap_or(value) * scale).abs();
    let digits = match spec.digits {
        Some(digits) => digits,
        None if spec.percent || size >= 100.0 => 1,
        None => 3,
    };
    let text = format!("{:.digits$}", value * scale);
    // A small negative number is not shown as -0.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.replace('-', "") } else { text }
}

/// A difference with its sign.
fn signed(spec: &pipeline::Cell, difference: f64, beside: Option<f64>) -> String {
    let text = number(spec, difference, beside);
    if text.starts_with('-') { text } else { format!("+{text}") }
}
