//! Comparison tables: rows become a Polars frame, are grouped over seeds, and rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, Write};

use polars::prelude::*;

use crate::graph::Graph;
use crate::pipeline::{Cell, MetricRef, TableSpec};
use crate::rows::{Outcome, Rows, Value};

/// The column of a frame that says whether a row is whole.
const STATE: &str = "state";

/// What stands where there is nothing to say.
const NOTHING: &str = "–";

/// A table of text, ready to be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name in the pipeline.
    pub name: String,
    /// Headings: row axes first, then one per column.
    pub headings: Vec<String>,
    /// How many of the headings name row axes.
    pub row_axes: usize,
    /// Cells, as wide as `headings`.
    pub rows: Vec<Vec<String>>,
}

/// The frame of some rows: a text column per axis that reaches them (null where it does not reach a row), `seed`, a
/// number column per metric (null where there is none yet), and `state` (`done`, `missing` or `failed`).
///
/// # Errors
/// Where two columns have one name.
pub fn frame(graph: &Graph, rows: &Rows) -> PolarsResult<DataFrame> {
    let mut columns = Vec::new();
    for (index, axis) in graph.axes.iter().enumerate() {
        let labels: Vec<Option<&str>> =
            rows.rows.iter().map(|row| row.point[index].map(|value| axis.labels[value].as_str())).collect();
        if labels.iter().any(Option::is_some) {
            columns.push(Column::new(axis.name.as_str().into(), labels));
        }
    }
    let seeds: Vec<Option<i64>> = rows.rows.iter().map(|row| row.seed.map(|seed| seed as i64)).collect();
    columns.push(Column::new("seed".into(), seeds));
    for (index, metric) in rows.metrics.iter().enumerate() {
        let values: Vec<Option<f64>> = rows.rows.iter().map(|row| row.values[index].number()).collect();
        columns.push(Column::new(metric.to_string().into(), values));
    }
    let states: Vec<&str> = rows.rows.iter().map(|row| state(&row.values)).collect();
    columns.push(Column::new(STATE.into(), states));
    DataFrame::new(rows.rows.len(), columns)
}

fn state(values: &[Value]) -> &'static str {
    if values.contains(&Value::Failed) {
        "failed"
    } else if values.contains(&Value::Missing) {
        "missing"
    } else {
        "done"
    }
}

/// Builds a declared table from what its instances have given so far.
///
/// Rows are the declared row axes, then any axis that reaches the cells and was not declared, so that nothing is ever
/// averaged but seeds. Where a row axis does not reach a row, its heading cell shows `–`; where a column axis does not,
/// the value stands in each of its columns.
///
/// # Errors
/// Where Polars refuses the frame.
pub fn build<'a>(
    graph: &Graph,
    spec: &TableSpec,
    outcome: impl Fn(crate::graph::InstanceId) -> Outcome<'a>,
) -> PolarsResult<Table> {
    let mut metrics: Vec<MetricRef> = Vec::new();
    for (_, cell) in &spec.cells {
        if !metrics.contains(cell.metric()) {
            metrics.push(cell.metric().clone());
        }
    }
    let rows = crate::rows::gather(graph, &metrics, outcome);
    let frame = frame(graph, &rows)?;
    let present = |name: &&String| frame.get_column_index(name).is_some();
    let column_axes: Vec<&String> = spec.columns.iter().filter(present).collect();
    let undeclared = graph
        .axes
        .iter()
        .map(|axis| &axis.name)
        .filter(|name| present(name) && !spec.rows.contains(name) && !spec.columns.contains(name));
    let row_axes: Vec<&String> = spec.rows.iter().filter(present).chain(undeclared).collect();

    let groups = groups(&frame, &[row_axes.as_slice(), column_axes.as_slice()].concat())?;
    let split = |group: &Group| {
        let (row, column) = group.key.split_at(row_axes.len());
        (row.to_vec(), column.to_vec())
    };
    let keys = distinct(groups.iter().map(|group| split(group).0));
    let columns = distinct(groups.iter().map(|group| split(group).1));
    // A result that a column axis does not reach holds for each of the axis' values, so it stands in all their columns.
    let columns: Vec<Key> = columns
        .iter()
        .filter(|key| !columns.iter().any(|other| other != *key && covers(key, other)))
        .cloned()
        .collect();
    let mut cells: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for group in &groups {
        let (row, column) = split(group);
        let row = keys.iter().position(|key| *key == row).expect("the keys are those of the groups");
        let shown = spec.cells.iter().map(|(_, cell)| show(&frame, &group.rows, cell));
        let shown = shown.collect::<PolarsResult<Vec<String>>>()?;
        for (index, _) in columns.iter().enumerate().filter(|(_, key)| covers(&column, key)) {
            cells.insert((row, index), shown.clone());
        }
    }

    let mut headings: Vec<String> = row_axes.iter().map(|name| (*name).clone()).collect();
    for column in &columns {
        for (title, _) in &spec.cells {
            let mut parts: Vec<String> = column_axes
                .iter()
                .zip(column)
                .map(|(axis, label)| format!("{axis}={}", text(label)))
                .collect();
            if spec.cells.len() > 1 || parts.is_empty() {
                parts.push(title.clone());
            }
            headings.push(parts.join(" "));
        }
    }
    let nothing = vec![NOTHING.to_owned(); spec.cells.len()];
    let rows = keys.iter().enumerate().map(|(row, key)| {
        let shown =
            (0..columns.len()).flat_map(|column| cells.get(&(row, column)).unwrap_or(&nothing).clone());
        key.iter().map(text).chain(shown).collect()
    });
    Ok(Table { name: spec.name.clone(), row_axes: row_axes.len(), rows: rows.collect(), headings })
}

/// The labels of some axes; `None` for an axis that does not reach.
type Key = Vec<Option<String>>;

fn text(label: &Option<String>) -> String {
    label.clone().unwrap_or_else(|| NOTHING.to_owned())
}

/// Whether `key` names every axis as `other` does, or not at all.
fn covers(key: &Key, other: &Key) -> bool {
    key.iter().zip(other).all(|(mine, theirs)| mine.is_none() || mine == theirs)
}

fn distinct(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(key.clone())).collect()
}

struct Group {
    key: Key,
    rows: Vec<IdxSize>,
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

/// A cell's text: the statistic over the rows that have a value, with how many of them there are where some lack one.
fn show(frame: &DataFrame, rows: &[IdxSize], cell: &Cell) -> PolarsResult<String> {
    let column = frame.column(&cell.metric().to_string())?.f64()?;
    let values: Vec<f64> = rows.iter().filter_map(|&row| column.get(row as usize)).collect();
    if values.is_empty() {
        let states = frame.column(STATE)?.str()?;
        let any = |state| rows.iter().any(|&row| states.get(row as usize) == Some(state));
        let word = if any("failed") {
            "failed"
        } else if any("missing") {
            "missing"
        } else {
            "not reported"
        };
        return Ok(word.to_owned());
    }
    let values = Float64Chunked::from_vec("value".into(), values);
    let mean = values.mean().expect("there is a value");
    let mut text = match cell {
        Cell::Mean(_) => number(mean),
        Cell::Median(_) => number(values.median().expect("there is a value")),
        Cell::MeanStd(_) if values.len() == 1 => number(mean),
        Cell::MeanStd(_) => {
            format!("{} ± {}", number(mean), number(values.std(1).expect("there are two values")))
        }
    };
    if values.len() < rows.len() {
        text.push_str(&format!(" ({} of {})", values.len(), rows.len()));
    }
    Ok(text)
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.1}") } else { format!("{value:.3}") }
}

impl Table {
    /// Drawn with lines, for a terminal. Control characters in labels are shown as escapes.
    pub fn to_terminal(&self) -> String {
        let mut drawn = comfy_table::Table::new();
        drawn.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        drawn.set_header(self.headings.iter().map(|text| plain(text)));
        for row in &self.rows {
            drawn.add_row(row.iter().map(|text| plain(text)));
        }
        for column in drawn.column_iter_mut().skip(self.row_axes) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        format!("{}\n{drawn}\n", plain(&self.name))
    }

    /// As a Markdown table.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|text| markdown(text)).collect::<Vec<_>>().join(" | "))
        };
        let rules: Vec<&str> =
            (0..self.headings.len()).map(|i| if i < self.row_axes { "---" } else { "---:" }).collect();
        let body: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}| {} |\n{body}", line(&self.headings), rules.join(" | "))
    }

    /// As comma-separated values, texts as shown.
    ///
    /// # Errors
    /// Where two columns have one heading.
    pub fn to_csv(&self) -> PolarsResult<String> {
        let columns = self.headings.iter().enumerate().map(|(index, heading)| {
            let texts: Vec<&str> = self.rows.iter().map(|row| row[index].as_str()).collect();
            Column::new(heading.as_str().into(), texts)
        });
        let mut frame = DataFrame::new(self.rows.len(), columns.collect())?;
        let mut bytes = Vec::new();
        write_csv(&mut frame, &mut bytes)?;
        Ok(String::from_utf8(bytes).expect("the texts are UTF-8"))
    }
}

/// Writes a frame of trials as comma-separated values with full precision.
///
/// # Errors
/// Where `out` refuses.
pub fn write_csv(frame: &mut DataFrame, out: &mut impl Write) -> PolarsResult<()> {
    CsvWriter::new(out).finish(frame)
}

/// Writes a frame of trials as Parquet.
///
/// # Errors
/// Where `out` refuses.
pub fn write_parquet(frame: &mut DataFrame, out: impl Write + Seek) -> PolarsResult<()> {
    ParquetWriter::new(out).finish(frame).map(drop)
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn markdown(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
