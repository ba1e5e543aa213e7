//! What an axis sets, and setting it.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::Pipeline;
use crate::source::Span;
use crate::syntax::{Field, Name, Node, Value};

/// The most names a path may have below its stage.
const MAX_PATH: usize = 32;

/// An axis on a stage kind or on a field below it.
pub(super) struct FieldAxis {
    /// Index of the axis.
    pub axis: usize,
    /// Field names from the stage; none for the stage kind itself.
    pub path: Vec<String>,
    /// Where the path was written.
    pub span: Span,
}

/// An axis on an input.
pub(super) struct WireAxis {
    /// Index of the axis.
    pub axis: usize,
    /// The input port, at the place of the path.
    pub port: Name,
}

/// What the axes set of one stage.
#[derive(Default)]
pub(super) struct StageAxes {
    /// Outer fields before the fields below them.
    pub fields: Vec<FieldAxis>,
    /// In the order of the axes.
    pub wires: Vec<WireAxis>,
}

/// What the axes set, by stage.
pub(super) fn resolve(pipeline: &Pipeline, wrong: &mut Diagnostics) -> Vec<StageAxes> {
    let mut stages: Vec<StageAxes> = pipeline.stages.iter().map(|_| StageAxes::default()).collect();
    for (axis, spec) in pipeline.axes.iter().enumerate() {
        for path in &spec.paths {
            let span = path.span;
            let mut segments = path.text.split('.');
            let stage = segments.next().expect("a split has a first part");
            let path: Vec<String> = segments.map(str::to_owned).collect();
            let Some(index) = pipeline.stages.iter().position(|it| it.name.text == stage) else {
                let names = pipeline.stages.iter().map(|it| it.name.text.as_str());
                let error = Diagnostic::new(span, format!("there is no stage `{stage}`"));
                wrong.push(error.suggest(stage, "the stages", names));
                continue;
            };
            let stage = &mut stages[index];
            match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["from", port] => {
                    let port = Name { span, text: port.to_owned() };
                    match stage.wires.iter().find(|wire| wire.port.text == port.text) {
                        Some(other) => wrong.push(set_twice(span, other.port.span)),
                        None => stage.wires.push(WireAxis { axis, port }),
                    }
                }
                _ if path.len() > MAX_PATH => {
                    let error = format!("a path of {} names, more than {MAX_PATH}", path.len() + 1);
                    wrong.push(Diagnostic::new(span, error));
                }
                ["from", ..] => wrong.push(
                    Diagnostic::new(span, "a path to an input is `stage.from.port`")
                        .help("write it with one port after `from`"),
                ),
                _ if path.iter().any(String::is_empty) => {
                    wrong.push(
                        Diagnostic::new(span, "a path has a name between dots")
                            .help("write `stage.field`, `stage.from.port` or `stage`"),
                    );
                }
                _ => match stage.fields.iter().find(|field| field.path == path) {
                    Some(other) => wrong.push(set_twice(span, other.span)),
                    None => stage.fields.push(FieldAxis { axis, path, span }),
                },
            }
        }
    }
    for stage in &mut stages {
        stage.fields.sort_by_key(|field| field.path.len());
    }
    stages
}

fn set_twice(span: Span, first: Span) -> Diagnostic {
    Diagnostic::new(span, "two axes set the same place").marked("also here").and(first, "set here")
}

/// Why a value could not be set.
pub(super) enum SetError {
    /// The piece above the last field is not written out.
    NotWritten,
    /// The path leads into something that has no fields.
    NoFields(Diagnostic),
}

/// Sets what `path` leads to. A field that is not written is added, at the place of the axis' path.
pub(super) fn set(node: &mut Node, path: &[String], span: Span, value: &Node) -> Result<(), SetError> {
    let Some((name, rest)) = path.split_first() else {
        *node = value.clone();
        return Ok(());
    };
    if let Value::Tuple(Some(_), items) = &mut node.value
        && let [inner] = items.as_mut_slice()
        && name.parse::<usize>().is_err()
    {
        return set(inner, path, span, value);
    }
    if let Some(child) = child_mut(node, name) {
        return set(child, rest, span, value);
    }
    let added = || {
        if rest.is_empty() { Ok(value.clone()) } else { Err(SetError::NotWritten) }
    };
    let field = |value| Field { name: Name { span, text: name.clone() }, value };
    match &mut node.value {
        Value::Struct(_, fields) => fields.push(field(added()?)),
        Value::Map(entries) => {
            entries.push((Node { span, value: Value::Text(name.clone()) }, added()?));
        }
        Value::Tuple(struct_name, items) if items.is_empty() => {
            node.value = Value::Struct(struct_name.take(), vec![field(added()?)]);
        }
        Value::Name(text) if text != "None" => {
            let struct_name = Name { span: node.span, text: text.clone() };
            *node = Node { span, value: Value::Struct(Some(struct_name), vec![field(added()?)]) };
        }
        _ => {
            let error = Diagnostic::new(span, format!("{} has no field `{name}`", node.describe()));
            return Err(SetError::NoFields(error.and(node.span, "this is what the path leads to")));
        }
    }
    Ok(())
}

/// Writes out the first piece of `path` that is missing from `node`: as `canonical`, the stage with its defaults, has
/// it, or without any fields.
pub(super) fn write_out(
    node: &mut Node,
    canonical: Option<&Node>,
    path: &[String],
    span: Span,
) -> Result<(), SetError> {
    fn find<'n>(node: &'n Node, path: &[String]) -> Option<&'n Node> {
        path.iter().try_fold(node, |node, name| node.child(name))
    }
    let missing = (1..path.len()).find(|&len| find(node, &path[..len]).is_none()).unwrap_or(path.len());
    let default = canonical.and_then(|canonical| find(canonical, &path[..missing]));
    let mut piece = default.cloned().unwrap_or(Node { span, value: Value::Tuple(None, Vec::new()) });
    place_at(&mut piece, span);
    set(node, &path[..missing], span, &piece)
}

/// Gives a tree the place of the path that brought it in.
fn place_at(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place_at(item, span)),
        Value::Tuple(name, items) => {
            name.iter_mut().for_each(|name| name.span = span);
            items.iter_mut().for_each(|item| place_at(item, span));
        }
        Value::Struct(name, fields) => {
            name.iter_mut().for_each(|name| name.span = span);
            for field in fields {
                field.name.span = span;
                place_at(&mut field.value, span);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                place_at(key, span);
                place_at(value, span);
            }
        }
        Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(..)
        | Value::Char(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Name(_) => {}
    }
}

/// [`Node::child`], to be changed, without looking through newtypes.
fn child_mut<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    match &mut node.value {
        Value::Struct(_, fields) => {
            fields.iter_mut().find(|field| field.name.text == name).map(|field| &mut field.value)
        }
        Value::Map(entries) => entries
            .iter_mut()
            .find(|(key, _)| matches!(&key.value, Value::Text(text) if text == name))
            .map(|(_, value)| value),
        Value::List(items) | Value::Tuple(_, items) => items.get_mut(name.parse::<usize>().ok()?),
        Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(..)
        | Value::Char(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Name(_) => None,
    }
}
