//! Comparison tables: trials become a Polars frame, are grouped over seeds, compared, and rendered.
//!
//! A [`Table`] is what there is to see; its writers (`to_terminal`, `to_markdown`, `to_csv`, `to_parquet`, `to_latex`,
//! `to_html`) are pure functions of it, and each escapes names for its own syntax. No cell is ever blank: what is not
//! there says why.

mod build;
mod csv;
mod effects;
mod html;
mod latex;
mod markdown;
mod origin;
mod parquet;
mod published;
mod sample;
mod seeds;
mod select;
mod terminal;
mod trials;

pub use build::{build, by};
pub use csv::write_csv;
pub use html::document;
pub(crate) use html::{STYLE, escaped as escaped_html};
pub use origin::{Caveat, Origin, Origins};
pub use published::Published;
pub use select::{Filter, column};
pub use terminal::Look;
pub use trials::{PIPELINE, SEED, Trials, write_parquet};

use crate::diagnostic::escape;

/// What stands where there is nothing to say.
pub const NOTHING: &str = "–";

/// A table, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name in the pipeline.
    pub name: String,
    /// The axes whose values name the rows.
    pub axes: Vec<String>,
    /// The columns after those.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Footnotes that cells refer to by index.
    pub notes: Vec<String>,
    /// What holds for the table as a whole.
    pub remarks: Vec<String>,
}

/// A column of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column axes with their labels; `None` for one that does not reach.
    pub axes: Vec<(String, Option<String>)>,
    /// What its cells are called.
    pub title: String,
    /// What stands above it, outermost first; as many parts as every other column has.
    pub heading: Vec<String>,
}

/// A row of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The labels of [`Table::axes`]; `None` for one that does not reach.
    pub labels: Vec<Option<String>>,
    /// As many as there are columns.
    pub cells: Vec<Cell>,
    /// Whether its values were published by others.
    pub published: bool,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// What it says; never empty.
    pub text: String,
    /// What stands behind that in parentheses: differences.
    pub asides: Vec<String>,
    /// How it ranks in its column.
    pub rank: Rank,
    /// Indices into [`Table::notes`].
    pub notes: Vec<usize>,
    /// The numbers behind it, in the metric's own unit.
    pub numbers: Numbers,
}

/// The place of a cell in its column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rank {
    /// The best, or as good as it, as shown.
    Best,
    /// The second best.
    Second,
    /// Any other, or not comparable.
    #[default]
    Other,
}

/// The numbers behind a cell; what there is not is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Trials with a value.
    pub n: usize,
    /// Trials there should be.
    pub of: usize,
    /// What the cell shows first; `None` where that is no number of ours.
    pub shown: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Sample standard deviation.
    pub std: Option<f64>,
    /// Half the width of the 95 % confidence interval of the mean.
    pub ci95: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// Lowest value.
    pub min: Option<f64>,
    /// Highest value.
    pub max: Option<f64>,
    /// Mean difference to the baseline over the seeds both have.
    pub difference: Option<f64>,
    /// Its p-value.
    pub p: Option<f64>,
    /// Its p-value, corrected for all comparisons of the table (Holm).
    pub p_holm: Option<f64>,
    /// What others published.
    pub published: Option<f64>,
    /// Whether labels had a part in choosing that.
    pub published_is_oracle: bool,
    /// The share of a sum of squares that an effect accounts for.
    pub share: Option<f64>,
}

impl Cell {
    /// That there is nothing to be said.
    fn nothing() -> Self {
        Self { text: NOTHING.to_owned(), ..Self::default() }
    }

    /// The marks of its footnotes, as `a,b`.
    fn marks(&self) -> String {
        self.notes.iter().map(|&note| mark(note)).collect::<Vec<_>>().join(",")
    }

    /// What it says, with what stands in parentheses and its footnotes.
    fn marked_text(&self) -> String {
        match self.notes.as_slice() {
            [] => self.whole_text(),
            _ => format!("{} [{}]", self.whole_text(), self.marks()),
        }
    }

    /// What it says, with what stands in parentheses.
    fn whole_text(&self) -> String {
        match self.asides.as_slice() {
            [] => self.text.clone(),
            asides => format!("{} ({})", self.text, asides.join("; ")),
        }
    }
}

impl Table {
    /// Every heading as one line.
    fn headings(&self) -> impl Iterator<Item = String> {
        self.axes.iter().cloned().chain(self.columns.iter().map(|column| column.heading.join(" ")))
    }

    /// Whether there is a line above a row: between ours and those that others have published.
    fn has_line_above(&self, row: usize) -> bool {
        row > 0 && self.rows[row].published != self.rows[row - 1].published
    }

    /// The headings of level `level`, each with the number of columns it spans.
    fn spans(&self, level: usize) -> Vec<(&str, usize)> {
        let mut spans: Vec<(&[String], usize)> = Vec::new();
        for column in &self.columns {
            let path = &column.heading[..=level];
            match spans.last_mut() {
                Some((last, count)) if *last == path => *count += 1,
                _ => spans.push((path, 1)),
            }
        }
        spans.into_iter().map(|(path, count)| (path[level].as_str(), count)).collect()
    }

    /// How many levels of headings there are.
    fn levels(&self) -> usize {
        self.columns.first().map_or(1, |column| column.heading.len())
    }
}

/// The mark of a footnote: `a`, `b`, … `z`, `aa`, `ab`, …
fn mark(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{}{letter}", mark(index / 26 - 1)) }
}

fn label(label: Option<&String>) -> String {
    label.map_or_else(|| NOTHING.to_owned(), |label| escape(label))
}
