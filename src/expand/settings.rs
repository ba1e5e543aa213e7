//! What `set` and the command line change in stages, before the axes do.

use ablate_stage::Registry;

use super::axis::{self, Place, StageAxes};
use super::variant;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{Assigned, Pipeline, Setting, StageSpec, WireSpec};
use crate::syntax::{Name, Value};

/// The stages with the pipeline's settings in them.
pub(super) fn apply(
    pipeline: &Pipeline,
    axes: &[StageAxes<'_>],
    registry: &Registry,
    wrong: &mut Diagnostics,
) -> Vec<StageSpec> {
    let mut stages = pipeline.stages.clone();
    for Setting { path, value } in &pipeline.settings {
        let Some((stage, place)) = axis::locate(pipeline, path, wrong) else { continue };
        if let Some(error) = replaced(pipeline, &axes[stage], path, &place) {
            wrong.push(error);
            continue;
        }
        let spec = &mut stages[stage];
        match (value, place) {
            (Assigned::Value(node), Place::Field(fields)) => {
                let put = variant::put(&mut spec.stage, &fields, path.span, node, registry);
                put.unwrap_or_else(|error| wrong.push(error));
            }
            (Assigned::Value(node), Place::Input(port)) => {
                spec.from.retain(|wire| wire.port.text != port);
                if !matches!(&node.value, Value::Name(name) if name == "None") {
                    let port = Name { span: path.span, text: port };
                    spec.from.push(WireSpec { port, source: node.clone() });
                }
            }
            (Assigned::Stage { stage, from }, Place::Field(_)) => {
                spec.stage = stage.clone();
                spec.from.clone_from(from);
            }
            (Assigned::Stage { .. }, Place::Input(_)) => {
                unreachable!("only a whole stage has inputs of its own")
            }
        }
    }
    stages
}

/// What is wrong with a setting that an axis would undo.
fn replaced(pipeline: &Pipeline, axes: &StageAxes<'_>, path: &Name, place: &Place) -> Option<Diagnostic> {
    let axis = match place {
        Place::Field(fields) => {
            axes.fields.iter().find(|by| fields.starts_with(&by.path)).map(|by| (by.axis, by.span))
        }
        Place::Input(port) => {
            axes.wires.iter().find(|by| by.port.text == *port).map(|by| (by.axis, by.port.span))
        }
    };
    let (axis, span) = axis?;
    let name = &pipeline.axes[axis].name.text;
    let error = Diagnostic::new(path.span, format!("axis `{name}` would replace what is set here"));
    Some(error.and(span, "by this").help(format!("choose values of the axis instead, as `--axis {name}=..`")))
}
