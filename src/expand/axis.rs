//! What axes and settings set, and setting it.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{Assigned, Pipeline, Setting, WireSpec};
use crate::source::Span;
use crate::syntax::{Field, Name, Node, Value};

/// The most names a path may have below its stage.
const MAX_PATH: usize = 32;

/// A stage kind or a field below it, and what an axis puts there.
pub(super) struct FieldAxis<'a> {
    /// Index of the axis.
    pub axis: usize,
    /// Whether the command line has taken some of its values away.
    pub narrowed: bool,
    /// Field names from the stage; none for the stage kind itself.
    pub path: Vec<String>,
    /// Where the path was first written.
    pub span: Span,
    /// By value of the axis: the place of the path and what is put there; `None` where the stage stays as written.
    pub values: Vec<Option<(Span, &'a Node)>>,
}

/// An input, and what an axis plugs it into.
pub(super) struct WireAxis<'a> {
    /// Index of the axis.
    pub axis: usize,
    /// The input port, at the place of the path.
    pub port: Name,
    /// By value of the axis.
    pub values: Vec<Plugged<'a>>,
}

/// What a value of an axis does with an input.
#[derive(Clone, Copy)]
pub(super) enum Plugged<'a> {
    /// It stays as written.
    AsWritten,
    /// It is left open.
    Open,
    /// It is plugged into this.
    Into(&'a Node),
}

/// What the axes set of one stage.
#[derive(Default)]
pub(super) struct StageAxes<'a> {
    /// Outer fields before the fields below them.
    pub fields: Vec<FieldAxis<'a>>,
    /// In the order of the axes.
    pub wires: Vec<WireAxis<'a>>,
}

/// A place in a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A field by the names that lead to it; none for the stage kind itself.
    Field(Vec<String>),
    /// An input port.
    Input(String),
}

/// What the axes set, by stage.
pub(super) fn resolve<'a>(pipeline: &'a Pipeline, wrong: &mut Diagnostics) -> Vec<StageAxes<'a>> {
    let mut stages: Vec<StageAxes<'a>> = pipeline.stages.iter().map(|_| StageAxes::default()).collect();
    let mut set: BTreeMap<(usize, Place), (usize, Span)> = BTreeMap::new();
    for (axis, spec) in pipeline.axes.iter().enumerate() {
        for (value, setting) in spec
            .values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| value.settings.iter().map(move |it| (index, it)))
        {
            let Some((stage, place)) = locate(pipeline, &setting.path, wrong) else { continue };
            let span = setting.path.span;
            let &mut (first_axis, first) = set.entry((stage, place.clone())).or_insert((axis, span));
            if first_axis != axis {
                wrong.push(set_twice(span, first));
                continue;
            }
            let at =
                Slot { axis, value, count: spec.values.len(), narrowed: !spec.left_out.is_empty(), span };
            match (&setting.value, place) {
                (Assigned::Value(node), Place::Field(path)) => stages[stage].put_field(at, path, node, wrong),
                (Assigned::Value(node), Place::Input(port)) => {
                    let plugged = match &node.value {
                        Value::Name(name) if name == "None" => Plugged::Open,
                        _ => Plugged::Into(node),
                    };
                    stages[stage].put_wire(at, &port, plugged, wrong);
                }
                (Assigned::Stage { stage: node, from }, Place::Field(path)) => {
                    stages[stage].put_field(at, path, node, wrong);
                    for port in ports(
                        &pipeline.stages[stage].from,
                        spec.values
                            .iter()
                            .flat_map(|it| &it.settings)
                            .filter(|it| it.path.text == setting.path.text),
                    ) {
                        let wire = from.iter().find(|wire| wire.port.text == port);
                        let plugged = wire.map_or(Plugged::Open, |wire| Plugged::Into(&wire.source));
                        stages[stage].put_wire(at, port, plugged, wrong);
                    }
                }
                (Assigned::Stage { .. }, Place::Input(_)) => {
                    unreachable!("only a whole stage has inputs of its own")
                }
            }
        }
    }
    for stage in &mut stages {
        stage.fields.sort_by_key(|field| field.path.len());
    }
    stages
}

/// The input ports a stage has as written or with any value of an axis.
fn ports<'a>(written: &'a [WireSpec], settings: impl Iterator<Item = &'a Setting>) -> Vec<&'a str> {
    let brought = settings.flat_map(|setting| match &setting.value {
        Assigned::Stage { from, .. } => from.as_slice(),
        Assigned::Value(_) => &[],
    });
    super::sorted(written.iter().chain(brought).map(|wire| wire.port.text.as_str()))
}

/// A value of an axis, and where it is set.
#[derive(Clone, Copy)]
struct Slot {
    axis: usize,
    value: usize,
    /// How many values the axis has.
    count: usize,
    /// Whether the command line has taken some away.
    narrowed: bool,
    span: Span,
}

impl<'a> StageAxes<'a> {
    fn put_field(&mut self, at: Slot, path: Vec<String>, node: &'a Node, wrong: &mut Diagnostics) {
        let known = self.fields.iter().position(|field| field.path == path);
        let known = known.unwrap_or_else(|| {
            let Slot { axis, count, narrowed, span, .. } = at;
            self.fields.push(FieldAxis { axis, narrowed, path, span, values: vec![None; count] });
            self.fields.len() - 1
        });
        match &mut self.fields[known].values[at.value] {
            Some((first, _)) => wrong.push(set_twice(at.span, *first)),
            empty => *empty = Some((at.span, node)),
        }
    }

    fn put_wire(&mut self, at: Slot, port: &str, plugged: Plugged<'a>, wrong: &mut Diagnostics) {
        let known = self.wires.iter().position(|wire| wire.port.text == port);
        let known = known.unwrap_or_else(|| {
            let port = Name { span: at.span, text: port.to_owned() };
            self.wires.push(WireAxis { axis: at.axis, port, values: vec![Plugged::AsWritten; at.count] });
            self.wires.len() - 1
        });
        let wire = &mut self.wires[known];
        if wire.axis == at.axis {
            wire.values[at.value] = plugged;
        } else {
            wrong.push(set_twice(at.span, wire.port.span));
        }
    }
}

/// The stage and the place in it that a path leads to.
pub(super) fn locate(pipeline: &Pipeline, path: &Name, wrong: &mut Diagnostics) -> Option<(usize, Place)> {
    let span = path.span;
    let mut segments = path.text.split('.');
    let stage = segments.next().expect("a split has a first part");
    let path: Vec<String> = segments.map(str::to_owned).collect();
    let Some(index) = pipeline.stages.iter().position(|it| it.name.text == stage) else {
        let names = pipeline.stages.iter().map(|it| it.name.text.as_str());
        let error = Diagnostic::new(span, format!("there is no stage `{stage}`"));
        wrong.push(error.suggest(stage, "the stages", names));
        return None;
    };
    let place = match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["from", port] => Ok(Place::Input(port.to_owned())),
        _ if path.len() > MAX_PATH => {
            Err(Diagnostic::new(span, format!("a path of {} names, more than {MAX_PATH}", path.len() + 1)))
        }
        ["from", ..] => Err(Diagnostic::new(span, "a path to an input is `stage.from.port`")
            .help("write it with one port after `from`")),
        _ if path.iter().any(String::is_empty) => {
            Err(Diagnostic::new(span, "a path has a name between dots")
                .help("write `stage.field`, `stage.from.port` or `stage`"))
        }
        _ => Ok(Place::Field(path)),
    };
    place.map_err(|error| wrong.push(error)).ok().map(|place| (index, place))
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
            let added = field(added()?);
            node.value = Value::Struct(struct_name.take(), vec![added]);
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
