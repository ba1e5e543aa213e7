//! Whether the cells a budget of seeds is about are there.

use crate::budget::Budget;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{MetricRef, Pipeline};

/// The budget of a pipeline; what is wrong with it is recorded.
pub(super) fn check(pipeline: &Pipeline, wrong: &mut Diagnostics) -> Option<Budget> {
    let until = pipeline.until.as_ref()?;
    if pipeline.tables.is_empty() {
        let error = Diagnostic::new(
            until.span,
            "`Until` adds seeds to the cells of tables, and the pipeline has none",
        );
        wrong.push(error.help("declare `tables`, or write how many seeds there are, as `\"0..3\"`"));
    }
    let shown: Vec<&MetricRef> =
        pipeline.tables.iter().flat_map(|table| table.cells.iter().map(|cell| &cell.cell.metric)).collect();
    let mut metrics = Vec::new();
    for name in &until.metrics {
        match shown.iter().find(|metric| metric.to_string() == name.text) {
            Some(&metric) => metrics.push(metric.clone()),
            None => {
                let mut known: Vec<String> = shown.iter().map(|metric| metric.to_string()).collect();
                known.sort();
                known.dedup();
                let error = Diagnostic::new(name.span, format!("no table shows `{}`", name.text));
                wrong.push(error.suggest(
                    &name.text,
                    "the metrics in cells",
                    known.iter().map(String::as_str),
                ));
            }
        }
    }
    Some(Budget { ci95: until.ci95, min: until.min, max: until.max, metrics })
}
