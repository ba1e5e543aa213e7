//! `ablate get`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ablate_stage::Port;
use ablate_stage::cache::Object;
use clap::Args;

use super::project::{Project, Source};
use super::{Context, Failure, exit, select};
use crate::graph::InstanceId;
use crate::plan::Plan;

/// Export artifacts of finished stages as files
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    source: Source,
    /// A stage, as `graph`, or some of its instances, as `graph[k=5]`, with an output after a dot, or all outputs
    artifact: String,
    /// The file to write, where there is one artifact, or the folder to write to
    #[arg(long, value_name = "PATH", default_value = ".")]
    to: PathBuf,
}

/// Exports what the name says.
pub fn get(args: &Get, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (project, plan) = Project::open(&args.source, context)?.wanted_of_readable(context)?;
    let (chosen, output) = choose(&project, &args.artifact)?;
    let mut artifacts = Vec::new();
    for id in chosen {
        artifacts.extend(outputs(&project, &plan, id, output)?);
    }
    let to_file =
        artifacts.len() == 1 && !args.to.is_dir() && !args.to.as_os_str().as_encoded_bytes().ends_with(b"/");
    for (id, port, object) in artifacts {
        let target = if to_file { args.to.clone() } else { args.to.join(file_name(&project, id, &port)) };
        let source = project
            .store
            .verified(&object.digest)
            .map_err(|error| Failure::new(exit::STORE, format!("{error}; `ablate run` makes it again")))?;
        copy(&source, &target).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write {}: {error}", target.display()))
        })?;
        writeln!(context.out, "{}", target.display())?;
    }
    Ok(exit::DONE)
}

/// The instances, and the output where one is named. A dot may also be part of an axis value in brackets.
fn choose<'t>(project: &Project, text: &'t str) -> Result<(Vec<InstanceId>, Option<&'t str>), Failure> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_brackets..].rfind('.') {
        None => Ok((select::instances(&project.graph, text)?, None)),
        Some(dot) => {
            let (name, output) = text.split_at(after_brackets + dot);
            Ok((select::instances(&project.graph, name)?, Some(&output[1..])))
        }
    }
}

type Artifact = (InstanceId, Port, Object);

fn outputs(
    project: &Project,
    plan: &Plan,
    id: InstanceId,
    output: Option<&str>,
) -> Result<Vec<Artifact>, Failure> {
    let name = project.graph.instance_name(id);
    let ports = project.graph.instance(id).params.outputs();
    if let Some(output) = output
        && !ports.iter().any(|port| port.name == output)
    {
        let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        return Err(Failure::new(
            exit::USAGE,
            format!("{name} has no output `{output}`; it has {}", known.join(", ")),
        ));
    }
    let result = plan.state(id).result();
    let result = result.ok_or_else(|| {
        Failure::new(exit::FAILED, format!("{name} is not in the store; `ablate run` makes it"))
    })?;
    let chosen = ports.into_iter().filter(|port| output.is_none_or(|output| port.name == output));
    Ok(chosen.map(|port| (id, port.clone(), result.outputs[&port.name])).collect())
}

/// `graph[k=5].graph.safetensors`; an output named like its stage or its extension is not named again.
fn file_name(project: &Project, id: InstanceId, port: &Port) -> String {
    let instance = project.graph.instance_name(id).replace(['/', '\0'], "_");
    let extension = port.kind.extension();
    let told = *port.name == *project.graph.instance(id).stage || port.name == extension;
    let output = if told { String::new() } else { format!(".{}", port.name) };
    format!("{instance}{output}.{extension}")
}

/// Copies a file, whole or not at all.
fn copy(source: &Path, target: &Path) -> std::io::Result<()> {
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut partial = target.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    fs::copy(source, &partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o644))?;
    fs::rename(&partial, target)
}
