//! A stage with the values its own axes give it, decoded once for each combination.

use std::collections::HashMap;
use std::sync::Arc;

use ablate_stage::{DynStage, Port, Registry};

use super::axis::{self, FieldAxis, SetError};
use super::sweep::Point;
use crate::decode::decode_stage;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{SourceId, Span};
use crate::syntax::{self, Node, Value};

/// A decoded stage.
pub(super) struct Variant {
    pub params: Arc<dyn DynStage>,
    pub node: Arc<Node>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub seeded: bool,
}

/// A stage for every combination of the values that points give the axes on its fields.
pub(super) struct Variants {
    /// The axes on its fields, each once.
    axes: Vec<usize>,
    /// In the order of their first points; `None` where one does not decode.
    all: Vec<Option<Variant>>,
    /// By point.
    of_point: Vec<u32>,
}

impl Variants {
    /// The variant's index at a point.
    pub fn index(&self, point: usize) -> usize {
        self.of_point[point] as usize
    }

    /// A variant, if it decoded.
    pub fn get(&self, index: usize) -> Option<&Variant> {
        self.all[index].as_ref()
    }

    /// Every variant that decoded.
    pub fn iter(&self) -> impl Iterator<Item = &Variant> {
        self.all.iter().flatten()
    }

    /// The axes on its fields.
    pub fn axes(&self) -> impl Iterator<Item = usize> {
        self.axes.iter().copied()
    }

    /// Decodes a stage at every point.
    pub fn decode(
        stage: &Node,
        fields: &[FieldAxis<'_>],
        points: &[Point],
        registry: &Registry,
        wrong: &mut Diagnostics,
    ) -> Self {
        let axes = super::sorted(fields.iter().map(|field| field.axis));
        if !axes.is_empty() {
            check_replaced(stage, fields, registry, wrong);
        }
        let mut known: HashMap<Vec<Option<usize>>, u32> = HashMap::new();
        let mut all = Vec::new();
        let of_point = points.iter().map(|point| {
            let values = axes.iter().map(|&axis| point[axis]).collect();
            *known.entry(values).or_insert_with(|| {
                let variant = substitute(stage, fields, point, registry)
                    .map_err(Diagnostics::from)
                    .and_then(|node| decode(node, registry));
                all.push(variant.map_err(|errors| wrong.extend(errors)).ok());
                u32::try_from(all.len() - 1).expect("there are no more variants than trials")
            })
        });
        let of_point = of_point.collect();
        Self { axes, all, of_point }
    }
}

/// The stage's syntax with the axes' values in it.
fn substitute(
    stage: &Node,
    fields: &[FieldAxis<'_>],
    point: &Point,
    registry: &Registry,
) -> Result<Node, Diagnostic> {
    let mut node = stage.clone();
    for field in fields {
        let set = point[field.axis].and_then(|value| field.values[value]);
        if let Some((span, value)) = set {
            if !field.narrowed && field.values.iter().all(Option::is_some) {
                check_declared(stage, &node, &field.path, span)?;
            }
            put(&mut node, &field.path, span, value, registry)?;
        }
    }
    Ok(node)
}

/// That an axis which gives an entry of a map in each of its values gives one that is there, where the stage writes that map: a
/// mistyped name of an environment variable would change nothing, and the table would show that as a finding.
fn check_declared(written: &Node, node: &Node, path: &[String], span: Span) -> Result<(), Diagnostic> {
    let Some((name, above)) = path.split_last() else { return Ok(()) };
    let parent = |node| above.iter().try_fold(node, |node: &Node, name| node.child(name));
    let Some(map @ Node { value: Value::Map(entries), .. }) = parent(written) else { return Ok(()) };
    if map.child(name).is_some() || parent(node).is_some_and(|now| now.child(name).is_some()) {
        return Ok(());
    }
    let names = entries.iter().filter_map(|(key, _)| match &key.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let error = Diagnostic::new(span, format!("there is no `{name}` to vary; declare it, with any value"));
    Err(error.and(map.span, "here").suggest(name, "declared are", names))
}

/// Puts a value where a path leads.
pub(super) fn put(
    node: &mut Node,
    path: &[String],
    span: Span,
    value: &Node,
    registry: &Registry,
) -> Result<(), Diagnostic> {
    set_writing_out(node, path, span, value, registry).map_err(|error| match error {
        SetError::NoFields(error) => error,
        SetError::NotWritten => Diagnostic::new(span, "the path leads nowhere"),
    })
}

/// Sets a field, having written out the defaults above it.
fn set_writing_out(
    node: &mut Node,
    path: &[String],
    span: Span,
    value: &Node,
    registry: &Registry,
) -> Result<(), SetError> {
    for _ in path {
        match axis::set(node, path, span, value) {
            Err(SetError::NotWritten) => {
                let canonical = written_out(node, span.source, registry);
                axis::write_out(node, canonical.as_ref(), path, span)?;
            }
            result => return result,
        }
    }
    axis::set(node, path, span, value)
}

/// Records what is wrong with the values that axes replace: no trial may use them, yet they are read by people.
fn check_replaced(stage: &Node, fields: &[FieldAxis<'_>], registry: &Registry, wrong: &mut Diagnostics) {
    let replaced: Vec<Span> = fields
        .iter()
        .filter_map(|field| field.path.iter().try_fold(stage, |node, name| node.child(name)))
        .map(|node| node.span)
        .collect();
    let is_inside = |place: Span| {
        replaced
            .iter()
            .any(|span| span.source == place.source && span.start <= place.start && place.end <= span.end)
    };
    if let Err(errors) = decode(stage.clone(), registry) {
        wrong.extend(
            errors.into_iter().filter(|error| error.labels.iter().any(|&(place, _)| is_inside(place))),
        );
    }
}

/// A stage with every default written out, where it decodes as it stands.
fn written_out(node: &Node, source: SourceId, registry: &Registry) -> Option<Node> {
    let stage = decode_stage(registry.get(node.name()?)?, node).ok()?;
    syntax::parse(source, &stage.canonical()).ok()
}

fn decode(node: Node, registry: &Registry) -> Result<Variant, Diagnostics> {
    let name = node.name().unwrap_or_default();
    let Some(kind) = registry.get(name) else {
        let error = match node.name() {
            Some(name) => Diagnostic::new(node.name_span(), format!("there is no stage kind `{name}`"))
                .suggest(name, "the kinds", registry.kinds().map(|kind| kind.name)),
            None => Diagnostic::new(node.span, format!("expected a stage kind, found {}", node.describe())),
        };
        return Err(error.into());
    };
    let params: Arc<dyn DynStage> = decode_stage(kind, &node)?.into();
    Ok(Variant {
        inputs: params.inputs(),
        outputs: params.outputs(),
        seeded: params.seeded(),
        node: Arc::new(node),
        params,
    })
}
