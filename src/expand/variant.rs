//! A stage with the values its own axes give it, decoded once for each combination.

use std::sync::Arc;

use ablate_stage::{DynStage, Port, Registry};

use super::axis::{self, FieldAxis, SetError, StageAxes};
use crate::decode::decode_stage;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{AxisSpec, StageSpec};
use crate::source::{SourceId, Span};
use crate::syntax::{self, Node};

/// A decoded stage.
pub(super) struct Variant {
    pub params: Arc<dyn DynStage>,
    pub node: Arc<Node>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub seeded: bool,
}

/// A stage for every combination of the axes on its fields.
pub(super) struct Variants {
    /// The axes on its fields, each once, with how many values each has.
    axes: Vec<(usize, usize)>,
    /// By the axes' values, the last axis fastest; `None` where it does not decode.
    all: Vec<Option<Variant>>,
}

impl Variants {
    /// The variant's index at a point of all axes.
    pub fn index(&self, point: &[usize]) -> usize {
        self.axes.iter().fold(0, |index, &(axis, count)| index * count + point[axis])
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
        self.axes.iter().map(|&(axis, _)| axis)
    }

    /// Decodes a stage for every combination of the axes on its fields.
    pub fn decode(
        spec: &StageSpec,
        stage_axes: &StageAxes,
        axes: &[AxisSpec],
        registry: &Registry,
        wrong: &mut Diagnostics,
    ) -> Self {
        let mut own: Vec<usize> = stage_axes.fields.iter().map(|field| field.axis).collect();
        own.sort_unstable();
        own.dedup();
        let own: Vec<(usize, usize)> = own.iter().map(|&axis| (axis, axes[axis].values.len())).collect();
        if !own.is_empty() {
            check_replaced(spec, &stage_axes.fields, registry, wrong);
        }
        let count = own.iter().map(|&(_, count)| count).product();
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let value_of =
                |field: &FieldAxis| &axes[field.axis].values[value_index(&own, index, field.axis)].value;
            let variant = substitute(spec, &stage_axes.fields, value_of, registry)
                .map_err(Diagnostics::from)
                .and_then(|node| decode(node, registry));
            all.push(variant.map_err(|errors| wrong.extend(errors)).ok());
        }
        Self { axes: own, all }
    }
}

/// Which value an axis has in the combination of that index.
fn value_index(own: &[(usize, usize)], mut index: usize, axis: usize) -> usize {
    for &(other, count) in own.iter().rev() {
        if other == axis {
            return index % count;
        }
        index /= count;
    }
    unreachable!("only a stage's own axes are asked for")
}

/// The stage's syntax with the axes' values in it.
fn substitute<'a>(
    spec: &StageSpec,
    fields: &[FieldAxis],
    value_of: impl Fn(&FieldAxis) -> &'a Node,
    registry: &Registry,
) -> Result<Node, Diagnostic> {
    let mut node = spec.stage.clone();
    for field in fields {
        set_writing_out(&mut node, field, value_of(field), registry).map_err(|error| match error {
            SetError::NoFields(error) => error,
            SetError::NotWritten => unreachable!("every piece above the last is written out"),
        })?;
    }
    Ok(node)
}

/// Sets a field, having written out the defaults above it.
fn set_writing_out(
    node: &mut Node,
    field: &FieldAxis,
    value: &Node,
    registry: &Registry,
) -> Result<(), SetError> {
    let (path, span) = (&field.path, field.span);
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

/// Records what is wrong with the values that axes replace: no trial uses them, yet they are read by people.
fn check_replaced(spec: &StageSpec, fields: &[FieldAxis], registry: &Registry, wrong: &mut Diagnostics) {
    let replaced: Vec<Span> = fields
        .iter()
        .filter_map(|field| field.path.iter().try_fold(&spec.stage, |node, name| node.child(name)))
        .map(|node| node.span)
        .collect();
    let is_inside = |place: Span| {
        replaced
            .iter()
            .any(|span| span.source == place.source && span.start <= place.start && place.end <= span.end)
    };
    if let Err(errors) = decode(spec.stage.clone(), registry) {
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
