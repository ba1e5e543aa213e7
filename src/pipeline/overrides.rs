//! What the command line changes in a pipeline.

use super::AxisSpec;
use super::read::{File, Reader};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{SourceMap, Span};
use crate::syntax::{self, Name, Node, Value};

/// What the command line changes in a pipeline, as written there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `stage.field=value`, in order.
    pub set: Vec<String>,
    /// `axis=value,value`: labels of the axis to choose from, or new values.
    pub axis: Vec<String>,
    /// `0..5`, or `0,3,7`.
    pub seeds: Option<String>,
}

impl Overrides {
    pub(super) fn apply(&self, file: &mut File, sources: &mut SourceMap, wrong: &mut Diagnostics) {
        for text in &self.set {
            if let Some((path, value)) = assignment("--set", text, text, sources, wrong) {
                let value = if path.text.contains(".from.") { quoted(value) } else { value };
                file.settings.extend((Reader { wrong }).setting(path, &value));
            }
        }
        for text in &self.axis {
            let shown = written_out(text, file);
            if let Some((axis, values)) = assignment("--axis", text, &shown, sources, wrong) {
                set_axis(file, axis, &values, wrong);
            }
        }
        if let Some(text) = &self.seeds {
            let shown = if text.contains("..") { format!("{text:?}") } else { format!("[{text}]") };
            let source = sources.add("--seeds", shown.as_str());
            match syntax::parse(source, &shown) {
                Ok(node) => file.seeds = (Reader { wrong }).seeds(&node),
                Err(error) => wrong.push(error),
            }
        }
    }
}

/// An axis with its values as a list: what is easily typed has no brackets, and labels such as `t-SNE` no quotes.
fn written_out(text: &str, file: &File) -> String {
    match text.split_once('=') {
        Some((axis, values)) if !values.trim_start().starts_with(['[', '{']) => {
            let known = file.axes.iter().find(|known| known.name.text == axis.trim());
            let is_label =
                |text: &&str| known.is_some_and(|axis| axis.values.iter().any(|it| it.label == *text));
            let labels: Vec<&str> = values.split(',').map(str::trim).collect();
            let is_plain = |text: &&str| text.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
            let only_labels = known.is_some_and(|axis| !axis.takes_plain_values());
            match only_labels || labels.iter().all(is_label) && !labels.iter().all(is_plain) {
                true => format!("{axis}={labels:?}"),
                false => format!("{axis}=[{values}]"),
            }
        }
        _ => text.to_owned(),
    }
}

/// The two sides of `name=value`, with their places in `shown`, which is what is told of `text`.
fn assignment(
    option: &str,
    text: &str,
    shown: &str,
    sources: &mut SourceMap,
    wrong: &mut Diagnostics,
) -> Option<(Name, Node)> {
    let source = sources.add(option, shown);
    let Some((name, value)) = shown.split_once('=') else {
        let end = u32::try_from(shown.len()).expect("a source text is below 4 GiB");
        let error = Diagnostic::new(Span { source, start: 0, end }, format!("{text:?} sets nothing"));
        wrong.push(error.help(format!("write `{option} name=value`")));
        return None;
    };
    let end = u32::try_from(name.len()).expect("a source text is below 4 GiB");
    // The value keeps its place in the whole.
    match syntax::parse(source, &format!("{}{value}", " ".repeat(name.len() + 1))) {
        Ok(node) => Some((Name { span: Span { source, start: 0, end }, text: name.trim().to_owned() }, node)),
        Err(error) => {
            wrong.push(error);
            None
        }
    }
}

/// A stage's name, which a shell has taken the quotes from.
fn quoted(node: Node) -> Node {
    match node.value {
        Value::Name(name) if name != "None" => Node { value: Value::Text(name), ..node },
        _ => node,
    }
}

/// Keeps the values of an axis whose labels are given, or gives it new values, or adds it. Conditions of the sweep, and baselines, are
/// of the values that are left.
fn set_axis(file: &mut File, name: Name, values: &Node, wrong: &mut Diagnostics) {
    if name.text == "seed" {
        wrong.push(Diagnostic::new(name.span, "`seed` is the seeds' axis").help("write `--seeds 0,1`"));
        return;
    }
    let axis = file.axes.iter_mut().find(|axis| axis.name.text == name.text);
    let labels: Vec<String> = match &values.value {
        Value::List(items) => {
            (Reader { wrong }).check_distinct("value", items.iter().map(|item| (item.span, item.label())));
            items.iter().map(Node::label).collect()
        }
        _ => Vec::new(),
    };
    let chosen = axis.as_ref().and_then(|axis| {
        let value = |label: &String| axis.values.iter().find(|value| value.label == *label).cloned();
        labels.iter().map(value).collect::<Option<Vec<_>>>().filter(|chosen| !chosen.is_empty())
    });
    let Some(axis) = axis else {
        let paths = vec![name.clone()];
        if let Some(values) = (Reader { wrong }).values(values, &paths) {
            file.axes.push(AxisSpec { name, paths, values, left_out: Vec::new() });
        }
        return;
    };
    let is_set = |item: &Node| item.name() == Some("Set");
    if chosen.is_none()
        && !axis.takes_plain_values()
        && let Value::List(items) = &values.value
        && !items.is_empty()
        && !items.iter().any(is_set)
    {
        let known = || axis.values.iter().map(|value| value.label.as_str());
        for item in items.iter().filter(|item| !known().any(|label| label == item.label())) {
            let label = item.label();
            let error = Diagnostic::new(item.span, format!("axis `{}` has no value `{label}`", name.text));
            wrong.push(error.suggest(&label, "its values", known()));
        }
        return;
    }
    let Some(values) = chosen.or_else(|| (Reader { wrong }).values(values, &axis.paths)) else { return };
    let before = std::mem::replace(&mut axis.values, values).into_iter().map(|value| value.label);
    let left_out: Vec<String> =
        before.filter(|label| axis.values.iter().all(|it| it.label != *label)).collect();
    axis.left_out.extend_from_slice(&left_out);
    axis.left_out.retain(|label| axis.values.iter().all(|it| it.label != *label));
    let name = axis.name.text.clone();
    if let Some((sweep, _)) = &mut file.sweep {
        sweep.leave_out(&name, &left_out);
    }
    // What is not there is nothing to compare with.
    let is_left_out = |(axis, label): &(Name, Name)| axis.text == name && left_out.contains(&label.text);
    for table in file.tables.iter_mut().filter(|table| table.baseline.iter().any(is_left_out)) {
        table.baseline.clear();
    }
}
