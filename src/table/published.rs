//! Values others have published, as a CSV file beside the pipeline: `TABLE.published.csv`.

use std::io::Cursor;

use polars::prelude::*;

use crate::graph::Axis;
use crate::pipeline::{Cell, Form, TableSpec};

/// The columns that are not axes.
const CELL: &str = "cell";
const VALUE: &str = "value";
const STD: &str = "std";
const SOURCE: &str = "source";
const ORACLE: &str = "oracle";
const OTHERS: [&str; 5] = [CELL, VALUE, STD, SOURCE, ORACLE];

/// A published value.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Axis → label, for the axes it is of.
    pub labels: Vec<(String, String)>,
    /// The title of the table's cell it belongs to.
    pub title: String,
    /// What that cell shows.
    pub cell: Cell,
    /// The value as printed, in the table's unit.
    pub value: String,
    /// The same as a number.
    pub number: f64,
    /// Its standard deviation as printed.
    pub std: Option<String>,
    /// Where it was published.
    pub source: Option<String>,
    /// Whether labels had a part in choosing it.
    pub is_oracle: bool,
}

impl Published {
    /// Reads the published values of a table: a column per axis it has, `cell` (the title of the table's cell; not needed where
    /// it has one only), `value`, where known `std` and `source`, and `oracle`, which is `yes` where it was selected by labels.
    /// `axes_of` are the pipeline's.
    ///
    /// # Errors
    /// The first thing wrong with it, in a sentence.
    pub fn read(text: &str, spec: &TableSpec, axes_of: &[Axis]) -> Result<Vec<Self>, String> {
        if let Form::Effects { .. } = spec.form {
            return Err(format!("`{}` shows effects, beside which no values stand", spec.name));
        }
        let options = CsvReadOptions::default().with_has_header(true).with_infer_schema_length(Some(0));
        let frame = options.into_reader_with_file_handle(Cursor::new(text.as_bytes())).finish();
        let frame = frame.map_err(|error| format!("it is not a CSV file with a heading: {error}"))?;
        let axes: Vec<&String> = spec.rows.iter().chain(&spec.columns).collect();
        let known = |name: &str| OTHERS.contains(&name) || axes.iter().any(|axis| *axis == name);
        if let Some(odd) = frame.get_column_names().iter().find(|name| !known(name)) {
            let axes = axes.iter().map(|axis| format!("`{axis}`")).collect::<Vec<_>>().join(", ");
            let others = OTHERS.map(|name| format!("`{name}`")).join(", ");
            return Err(format!("column `{odd}` is no axis of the table ({axes}) and none of {others}"));
        }
        if frame.get_column_index(VALUE).is_none() {
            return Err(format!("it has no column `{VALUE}`"));
        }
        let texts = |name: &str| -> Vec<Option<String>> {
            let column = frame.column(name).and_then(|column| column.str());
            let Ok(column) = column else { return vec![None; frame.height()] };
            let trimmed = column.iter().map(|text| text.map(str::trim).filter(|text| !text.is_empty()));
            trimmed.map(|text| text.map(str::to_owned)).collect()
        };
        let labels: Vec<(&String, Vec<Option<String>>)> =
            axes.iter().map(|axis| (*axis, texts(axis))).collect();
        let (cells, values, stds, sources) = (texts(CELL), texts(VALUE), texts(STD), texts(SOURCE));
        let oracles = texts(ORACLE);
        let mut all: Vec<Self> = Vec::new();
        for row in 0..frame.height() {
            let at = |what: String| format!("row {}: {what}", row + 1);
            let value = values[row].clone().ok_or_else(|| at("it has no value".to_owned()))?;
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            let number = number.ok_or_else(|| at(format!("`{value}` is no number")))?;
            let cell = match &cells[row] {
                Some(title) => spec.cells.iter().find(|(known, _)| known == title),
                None => spec.cells.first().filter(|_| spec.cells.len() == 1),
            };
            let (title, cell) = cell.ok_or_else(|| {
                let titles = spec.cells.iter().map(|(title, _)| format!("`{title}`")).collect::<Vec<_>>();
                at(format!("its `{CELL}` must be one of {}", titles.join(", ")))
            })?;
            if let Some(std) = &stds[row] {
                let is_number = std.parse().is_ok_and(|std: f64| std.is_finite() && std >= 0.0);
                is_number
                    .then_some(())
                    .ok_or_else(|| at(format!("its `{STD}` `{std}` is no standard deviation")))?;
            }
            let of = |(axis, labels): &(&String, Vec<Option<String>>)| {
                Some(((*axis).clone(), labels[row].clone()?))
            };
            let labels: Vec<(String, String)> = labels.iter().filter_map(of).collect();
            for (axis, label) in labels.iter().filter(|(axis, _)| spec.columns.contains(axis)) {
                let known = axes_of.iter().find(|known| known.name == *axis);
                let known = known.map(|axis| [axis.labels.as_slice(), &axis.left_out].concat());
                let known = known.filter(|known| !known.contains(label));
                if let Some(known) = known {
                    let known = known.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
                    let why = format!("`{label}` is no column of the table; `{axis}` is one of {known}");
                    return Err(at(why));
                }
            }
            let is_oracle = match oracles[row].as_deref() {
                None | Some("no") => false,
                Some("yes") => true,
                Some(odd) => return Err(at(format!("its `{ORACLE}` must be `yes` or `no`, is `{odd}`"))),
            };
            let entry = Self {
                labels,
                title: title.clone(),
                cell: cell.clone(),
                value,
                number,
                std: stds[row].clone(),
                source: sources[row].clone(),
                is_oracle,
            };
            if let Some(earlier) = all.iter().position(|known| known.is_rival_of(&entry)) {
                return Err(at(format!("it is for the same labels and cell as row {}", earlier + 1)));
            }
            all.push(entry);
        }
        Ok(all)
    }

    /// Whether it is of a value of an axis.
    pub fn is_of(&self, axis: &str, label: &str) -> bool {
        self.labels.iter().any(|(known, of)| known == axis && of == label)
    }

    /// Whether another is for the same labels and cell.
    pub fn is_rival_of(&self, other: &Self) -> bool {
        self.labels == other.labels && self.title == other.title && self.cell == other.cell
    }
}
