//! Whether a table's axes and metrics are there.

use ablate_stage::ArtifactKind;

use super::variant::Variants;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{CellDraft, Pipeline, TableDraft, TableSpec};
use crate::syntax::Name;

/// The tables of a pipeline; what is wrong with them is recorded.
pub(super) fn check(pipeline: &Pipeline, variants: &[Variants], wrong: &mut Diagnostics) -> Vec<TableSpec> {
    for table in &pipeline.tables {
        check_axes(pipeline, table, wrong);
        check_baseline(pipeline, table, wrong);
        for cell in &table.cells {
            check_metric(pipeline, cell, variants, wrong);
        }
    }
    let texts = |names: &[Name]| names.iter().map(|name| name.text.clone()).collect();
    let table = |table: &TableDraft| TableSpec {
        name: table.name.text.clone(),
        rows: texts(&table.rows),
        columns: texts(&table.columns),
        cells: table.cells.iter().map(|cell| (cell.title.clone(), cell.cell.clone())).collect(),
        baseline: table
            .baseline
            .iter()
            .map(|(axis, label)| (axis.text.clone(), label.text.clone()))
            .collect(),
        test: table.test,
        published: table.published,
    };
    pipeline.tables.iter().map(table).collect()
}

fn check_axes(pipeline: &Pipeline, table: &TableDraft, wrong: &mut Diagnostics) {
    let compared = table.baseline.iter().map(|(axis, _)| axis);
    for axis in table.rows.iter().chain(&table.columns).chain(compared) {
        if !pipeline.axes.iter().any(|known| known.name.text == axis.text) {
            let names = pipeline.axes.iter().map(|axis| axis.name.text.as_str());
            let error = Diagnostic::new(axis.span, format!("there is no axis `{}`", axis.text));
            wrong.push(error.suggest(&axis.text, "the axes", names));
        }
    }
    for axis in &table.columns {
        if let Some(row) = table.rows.iter().find(|row| row.text == axis.text) {
            let error = Diagnostic::new(axis.span, format!("axis `{}` is in rows and columns", axis.text));
            wrong.push(error.and(row.span, "it is a row here"));
        }
    }
}

fn check_baseline(pipeline: &Pipeline, table: &TableDraft, wrong: &mut Diagnostics) {
    for (axis, label) in &table.baseline {
        let Some(known) = pipeline.axes.iter().find(|known| known.name.text == axis.text) else { continue };
        if !known.values.iter().any(|value| value.label == label.text) {
            let message = format!("axis `{}` has no value `{}`", axis.text, label.text);
            let labels = known.values.iter().map(|value| value.label.as_str());
            wrong.push(Diagnostic::new(label.span, message).suggest(&label.text, "its values", labels));
        }
    }
}

fn check_metric(pipeline: &Pipeline, cell: &CellDraft, variants: &[Variants], wrong: &mut Diagnostics) {
    let stage = &cell.cell.metric.stage;
    let Some(index) = pipeline.stages.iter().position(|spec| spec.name.text == *stage) else {
        let names = pipeline.stages.iter().map(|spec| spec.name.text.as_str());
        let error = Diagnostic::new(cell.span, format!("there is no stage `{stage}`"));
        wrong.push(error.suggest(stage, "the stages", names));
        return;
    };
    for variant in variants[index].iter() {
        if !variant.outputs.iter().any(|port| port.kind == ArtifactKind::Metrics) {
            let kind = variant.params.kind();
            let error = Diagnostic::new(cell.span, format!("`{stage}` ({kind}) has no metrics"));
            wrong.push(error.help("name a stage that evaluates"));
        }
    }
}
