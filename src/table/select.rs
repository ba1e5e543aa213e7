//! Choosing among trials.

use std::collections::BTreeSet;
use std::fmt;

use polars::prelude::*;

use super::trials::{SEED, Trials};
use crate::graph::Axis;
use crate::pipeline::MetricRef;

/// A condition on trials, written `method=SimCLR,NNCLR`, `features!=raw`, `graph.k>=10`, `seed=0` or `probe.accuracy>=0.8`.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// As written.
    text: String,
    column: String,
    relation: Relation,
    values: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Is,
    IsNot,
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// The most labels named where one is not there.
const MAX_LABELS: usize = 24;

/// The longer first, where one begins like another.
const RELATIONS: [(&str, Relation); 6] = [
    ("!=", Relation::IsNot),
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    ("=", Relation::Is),
    (">", Relation::Above),
    ("<", Relation::Below),
];

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Filter {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = text.char_indices().find_map(|(at, _)| {
            let relation = RELATIONS.into_iter().find(|(sign, _)| text[at..].starts_with(sign))?;
            Some((at, relation))
        });
        let Some((at, (sign, relation))) = found.filter(|(at, _)| *at > 0) else {
            let forms = "`method=SimCLR,NNCLR`, `features!=raw` or `probe.accuracy>=0.8`";
            return Err(format!("`{text}` is no condition; write {forms}"));
        };
        let (column, values) = (text[..at].trim().to_owned(), text[at + sign.len()..].trim().to_owned());
        Ok(Self { text: text.to_owned(), column, relation, values })
    }

    /// Which trials it holds for. A trial that an axis does not reach has no value of it, and so none of those listed.
    pub(super) fn mask(&self, trials: &Trials) -> Result<BooleanChunked, String> {
        let name = column(trials, &self.column)?;
        let column = trials.frame.column(&name).map_err(|error| error.to_string())?;
        let mask: Vec<bool> = match (self.relation, column.str(), column.f64()) {
            (Relation::Is | Relation::IsNot, Ok(labels), _) => {
                let wanted = self.labels(&name, labels, &trials.left_out)?;
                let is = |label: Option<&str>| label.is_some_and(|label| wanted.contains(&label));
                labels.iter().map(|label| is(label) == (self.relation == Relation::Is)).collect()
            }
            (relation, _, Ok(numbers)) => {
                let bound: f64 = self.number(&self.values)?;
                numbers.iter().map(|value| value.is_some_and(|value| relation.holds(value, bound))).collect()
            }
            (Relation::Is | Relation::IsNot, ..) if name == SEED => {
                let wanted: Vec<f64> =
                    self.values.split(',').map(|value| self.number(value)).collect::<Result<_, _>>()?;
                let is = |seed: Option<u64>| seed.is_some_and(|seed| wanted.contains(&(seed as f64)));
                seeds(column)?.iter().map(|seed| is(seed) == (self.relation == Relation::Is)).collect()
            }
            (relation, ..) if name == SEED => {
                let bound: f64 = self.number(&self.values)?;
                let holds = |seed: Option<u64>| seed.is_some_and(|seed| relation.holds(seed as f64, bound));
                seeds(column)?.iter().map(holds).collect()
            }
            (relation, Ok(labels), _) => {
                let bound: f64 = self.number(&self.values)?;
                let holds = |label: Option<&str>| match label {
                    Some(label) => Ok(relation.holds(self.size(label)?, bound)),
                    None => Ok(false),
                };
                labels.iter().map(holds).collect::<Result<_, String>>()?
            }
            _ => return Err(format!("`{}` is about what has neither names nor a size", self.text)),
        };
        Ok(BooleanChunked::from_slice("mask".into(), &mask))
    }

    /// The axis it is about.
    pub fn axis<'a>(&self, axes: &'a [Axis]) -> Option<&'a Axis> {
        axes.iter().find(|axis| axis.name == self.column || axis.short == self.column)
    }

    /// The metric it is about, unless that is an axis.
    pub fn metric(&self) -> Option<MetricRef> {
        let (stage, metric) = self.column.split_once('.')?;
        Some(MetricRef { stage: stage.to_owned(), metric: metric.to_owned() })
    }

    /// The labels it is about; all of them are in the column, or are what a table leaves out.
    fn labels(
        &self,
        axis: &str,
        column: &StringChunked,
        left_out: &BTreeSet<(String, String)>,
    ) -> Result<Vec<&str>, String> {
        let left_out = left_out.iter().filter(|(of, _)| of == axis).map(|(_, label)| label.as_str());
        let known: BTreeSet<&str> = column.iter().flatten().chain(left_out).collect();
        // A label may have a comma.
        if known.contains(&*self.values) {
            return Ok(vec![&self.values]);
        }
        let wanted: Vec<&str> = self.values.split(',').map(str::trim).collect();
        match wanted.iter().find(|label| !known.contains(*label)) {
            // Of an axis that reaches no trial, there is nothing to be known.
            Some(odd) if !known.is_empty() => {
                let known: Vec<String> =
                    known.iter().take(MAX_LABELS).map(|label| format!("`{label}`")).collect();
                Err(format!("no trial has `{odd}` for `{axis}`; there are {}", known.join(", ")))
            }
            Some(_) | None => Ok(wanted),
        }
    }

    /// The number a label is.
    fn size(&self, label: &str) -> Result<f64, String> {
        let why = || format!("`{}` compares by size, and `{label}` is no number", self.text);
        label.parse().map_err(|_| why())
    }

    fn number(&self, text: &str) -> Result<f64, String> {
        text.trim().parse().map_err(|_| format!("`{}` needs a number, `{text}` is none", self.text))
    }
}

impl Trials {
    /// The axis values that trials have: axis and label.
    pub fn labels(&self) -> BTreeSet<(String, String)> {
        let of = |axis: &String| {
            let labels = self.frame.column(axis).and_then(|column| column.str());
            let labels: BTreeSet<&str> =
                labels.into_iter().flat_map(|labels| labels.iter().flatten()).collect();
            labels.into_iter().map(|label| (axis.clone(), label.to_owned())).collect::<Vec<_>>()
        };
        self.axes.iter().flat_map(of).collect()
    }
}

fn seeds(column: &Column) -> Result<&UInt64Chunked, String> {
    column.u64().map_err(|error| error.to_string())
}

impl Relation {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Is => value == bound,
            Self::IsNot => value != bound,
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }
}

/// The column a text names: by its name, or for an axis by the end of it after a `.`.
///
/// # Errors
/// In a sentence, where there is none, or several.
pub fn column(trials: &Trials, text: &str) -> Result<String, String> {
    if trials.frame.get_column_index(text).is_some() {
        return Ok(text.to_owned());
    }
    // Also of axes that a condition has brought in, and that are none of the table's.
    let is_axis = |column: &&Column| *column.dtype() == DataType::String && !column.name().contains(':');
    let axes = trials.frame.columns().iter().filter(is_axis).map(|column| column.name().as_str());
    let found: Vec<&str> = axes.filter(|axis| axis.rsplit('.').next() == Some(text)).collect();
    let names = || {
        let names = trials.frame.get_column_names();
        let names = names.iter().filter(|name| !name.contains(':')).map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    match found.as_slice() {
        [axis] => Ok((*axis).to_owned()),
        [] => Err(format!("the trials have no `{text}`; they have {}", names())),
        several => Err(format!(
            "`{text}` may be {}; write the whole name",
            several.iter().map(|axis| format!("`{axis}`")).collect::<Vec<_>>().join(" or ")
        )),
    }
}
