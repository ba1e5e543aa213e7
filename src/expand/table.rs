//! Whether a table's axes and metrics are there.

use ablate_stage::ArtifactKind;

use super::sweep;
use super::variant::Variants;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Axis, Trial};
use crate::pipeline::{
    Ablation, AblationPoint, Around, CellDraft, Condition, Form, FormDraft, Pipeline, Sweep, TableDraft,
    TableSpec,
};
use crate::source::Span;
use crate::syntax::Name;

/// The tables of a pipeline, whose axes are `axes`; what is wrong with them is recorded.
pub(super) fn check(
    pipeline: &Pipeline,
    axes: &[Axis],
    variants: &[Variants],
    trials: &[Trial],
    wrong: &mut Diagnostics,
) -> Vec<TableSpec> {
    let mut tables = Vec::new();
    for table in &pipeline.tables {
        check_axes(pipeline, table, wrong);
        check_baseline(pipeline, table, wrong);
        for cell in &table.cells {
            check_metric(pipeline, cell, variants, wrong);
        }
        let form = match &table.form {
            FormDraft::Cells => Some(Form::Cells),
            FormDraft::Effects { axes, interactions } => {
                Some(Form::Effects { axes: texts(axes), interactions: *interactions })
            }
            FormDraft::Ablation(around, span) => {
                ablation(pipeline, axes, table, (*around, *span), wrong).map(Form::Ablation)
            }
        };
        let conditions = conditions(axes, table, wrong);
        let spec = form.map(|form| spec(table, form, conditions));
        if let Some(spec) = &spec {
            check_where(spec, table, axes, trials, wrong);
        }
        tables.extend(spec);
    }
    tables
}

fn spec(table: &TableDraft, form: Form, trials: Vec<Condition>) -> TableSpec {
    let rows = match &form {
        Form::Ablation(ablation) => vec![ablation.form.heading().to_owned()],
        Form::Cells | Form::Effects { .. } => texts(&table.rows),
    };
    TableSpec {
        name: table.name.text.clone(),
        form,
        rows,
        columns: texts(&table.columns),
        cells: table.cells.iter().map(|cell| (cell.title.clone(), cell.cell.clone())).collect(),
        baseline: table
            .baseline
            .iter()
            .map(|(axis, label)| (axis.text.clone(), label.text.clone()))
            .collect(),
        test: table.test,
        published: table.published,
        within: texts(&table.within),
        trials,
    }
}

/// How a table calls trials whose point does not set an axis; unless that is a label of the axis.
const UNSET: &str = "None";

/// Which trials a table is of.
fn conditions(axes: &[Axis], table: &TableDraft, wrong: &mut Diagnostics) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for (name, labels) in &table.trials {
        let Some(axis) = axes.iter().position(|axis| axis.name == name.text) else { continue };
        let known = &axes[axis].labels;
        let mut values = Vec::new();
        for label in labels {
            match known.iter().position(|known| *known == label.text) {
                Some(value) => values.push(Some(value)),
                None if label.text == UNSET => values.push(None),
                None if axes[axis].left_out.contains(&label.text) => {}
                None => {
                    let message = format!("axis `{}` has no value `{}`", name.text, label.text);
                    let labels = known.iter().map(String::as_str);
                    wrong.push(Diagnostic::new(label.span, message).suggest(
                        &label.text,
                        "its values",
                        labels,
                    ));
                }
            }
        }
        let labels = texts(labels);
        let told = match values.as_slice() {
            [None] => format!("without `{}`", name.text),
            _ => format!("with `{}={}`", name.text, labels.join(",")),
        };
        let written = (name.text.clone(), labels.into_iter().collect());
        conditions.push(Condition { axis, written, values, told });
    }
    conditions
}

/// That there are such trials, and among them those that the others are compared with.
fn check_where(
    spec: &TableSpec,
    table: &TableDraft,
    axes: &[Axis],
    trials: &[Trial],
    wrong: &mut Diagnostics,
) {
    let Some((first, _)) = table.trials.first() else { return };
    for (axis, label) in &table.baseline {
        let listed = table.trials.iter().find(|(name, _)| name.text == axis.text);
        if let Some((name, _)) = listed.filter(|(_, listed)| listed.iter().all(|it| it.text != label.text)) {
            let message = format!("`where` leaves the baseline `{}` out", label.text);
            wrong.push(Diagnostic::new(label.span, message).and(name.span, "it is here"));
        }
    }
    // What the command line leaves of axes may be of no table.
    if axes.iter().any(|axis| !axis.left_out.is_empty()) {
        return;
    }
    if let Form::Ablation(ablation) = &spec.form {
        let values = &ablation.points[0].values;
        let is_out = |it: &&Condition| {
            values.iter().any(|(axis, value)| *axis == it.axis && !it.values.contains(&Some(*value)))
        };
        if let Some(Condition { told, .. }) = spec.trials.iter().find(is_out) {
            let message = format!("the rows are compared with one that is not {told}");
            wrong.push(Diagnostic::new(first.span, message));
        }
    }
    let are_known = spec.trials.iter().all(|condition| !condition.values.is_empty());
    if are_known && !trials.is_empty() && !trials.iter().any(|trial| spec.is_of(&trial.point)) {
        let error = Diagnostic::new(first.span, "`where` leaves no trial of the sweep");
        wrong.push(error.help("`None` is where a point of the sweep does not set the axis"));
    }
}

fn texts(names: &[Name]) -> Vec<String> {
    names.iter().map(|name| name.text.clone()).collect()
}

/// The points of the one form of sweep that a table has as rows.
fn ablation(
    pipeline: &Pipeline,
    axes: &[Axis],
    table: &TableDraft,
    (around, span): (Around, Span),
    wrong: &mut Diagnostics,
) -> Option<Ablation> {
    let word = around.word();
    let known = pipeline.sweep.iter().flat_map(Sweep::all).filter(|sweep| sweep.around() == Some(around));
    let known: Vec<&Sweep> = known.collect();
    let [sweep] = known.as_slice() else {
        let error = Diagnostic::new(span, format!("the sweep has {} `{word}`, not one", known.len()));
        wrong.push(error.help(match known.len() {
            0 => format!("write `sweep: {word}(..)`, or axes as rows"),
            _ => "give each a pipeline of its own, by `extends`".to_owned(),
        }));
        return None;
    };
    if let Some((axis, _)) = table.baseline.first() {
        let error = Diagnostic::new(axis.span, format!("`rows: {word}` says what rows are compared with"));
        wrong.push(error.and(span, "it is here").help("take `baseline` out"));
    }
    let changed = sweep.sets();
    for axis in table.columns.iter().filter(|axis| changed.iter().any(|known| known.text == axis.text)) {
        let message = format!("axis `{}` is one of those that `rows: {word}` stands for", axis.text);
        wrong.push(Diagnostic::new(axis.span, message).and(span, "it is here"));
    }
    if let Some(axis) = pipeline.axes.iter().find(|axis| axis.name.text == around.heading()) {
        let message = format!("the rows of `{word}` are called `{}`, and so is an axis", axis.name.text);
        wrong.push(Diagnostic::new(span, message).and(axis.name.span, "rename it"));
    }
    let changes = sweep::changes(pipeline, sweep)?;
    let setting =
        |&(axis, value): &(usize, usize)| format!("{}={}", axes[axis].short, axes[axis].labels[value]);
    let settings = |changes: &[(usize, usize)]| changes.iter().map(setting).collect::<Vec<_>>().join(", ");
    let label = |changes: &Vec<(usize, usize)>| match around {
        Around::OneAtATime => settings(changes),
        Around::LeaveOneOut => {
            let axes: Vec<&str> = changes.iter().map(|(axis, _)| axes[*axis].short.as_str()).collect();
            format!("without {}", axes.join(", "))
        }
        Around::Ladder => format!("+ {}", settings(changes)),
    };
    let first = around.first();
    let out = match around {
        Around::LeaveOneOut => format!("; without: {}", settings(&changes.others.concat())),
        Around::OneAtATime | Around::Ladder => String::new(),
    };
    let labels = std::iter::once(first.to_owned()).chain(changes.others.iter().map(label));
    let points = labels.zip(changes.points()).map(|(label, values)| AblationPoint { label, values });
    let told = format!("{first}: {}{out}", settings(&changes.first));
    Some(Ablation { form: around, points: points.collect(), told })
}

fn check_axes(pipeline: &Pipeline, table: &TableDraft, wrong: &mut Diagnostics) {
    let compared = table.baseline.iter().map(|(axis, _)| axis);
    let of_effects = match &table.form {
        FormDraft::Effects { axes, .. } => axes.as_slice(),
        FormDraft::Cells | FormDraft::Ablation(..) => &[],
    };
    let conditioned = table.trials.iter().map(|(axis, _)| axis);
    let named = table.rows.iter().chain(&table.columns).chain(&table.within).chain(conditioned);
    for axis in named.chain(compared).chain(of_effects) {
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
    for axis in of_effects {
        if let Some(row) = table.rows.iter().find(|row| row.text == axis.text) {
            let error = Diagnostic::new(axis.span, format!("axis `{}` is in rows and effects", axis.text));
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
    let named = cell.cell.metric.to_string();
    if let Some(axis) = pipeline.axes.iter().find(|axis| axis.name.text == named) {
        let error = Diagnostic::new(
            cell.span,
            format!("`{named}` is a metric and an axis, of which a table has one column"),
        );
        wrong.push(error.and(
            axis.name.span,
            format!("call the axis something else: `\"name\": (paths: [\"{named}\"], values: ..)`"),
        ));
    }
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
