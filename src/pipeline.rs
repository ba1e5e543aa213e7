//! A pipeline file as written.

use std::fmt;

use crate::source::Span;

/// A table to print, as declared under `tables`.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// Axes whose values become rows, outermost first.
    pub rows: Vec<String>,
    /// Axes whose values become columns, outermost first.
    pub columns: Vec<String>,
    /// Column name → what its cells show, in the order written.
    pub cells: Vec<(String, Cell)>,
    /// Where it was written.
    pub span: Span,
}

/// What a cell shows of the trials that fall into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Mean ± sample standard deviation over seeds.
    MeanStd(MetricRef),
    /// Mean over seeds.
    Mean(MetricRef),
    /// Median over seeds.
    Median(MetricRef),
}

/// A metric of a stage, written `probe.accuracy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRef {
    /// The stage's name in the pipeline.
    pub stage: String,
    /// The metric's name.
    pub metric: String,
}

impl Cell {
    /// The metric it is made of.
    pub fn metric(&self) -> &MetricRef {
        match self {
            Self::MeanStd(metric) | Self::Mean(metric) | Self::Median(metric) => metric,
        }
    }
}

impl fmt::Display for MetricRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stage, self.metric)
    }
}
