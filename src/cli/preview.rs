//! `ablate preview`.

use std::fs;
use std::path::PathBuf;

use ablate_stage::{Device, Job, JobFiles, StopFlag};
use clap::Args;

use super::project::{Project, Source};
use super::{Context, Failure, exit, select};

/// Draw what a stage makes of its inputs before it learns, as the views of some images
#[derive(Args)]
pub struct Preview {
    #[command(flatten)]
    source: Source,
    /// A stage, as `encoder`, or one of its instances, as `encoder[method=SimCLR]`; of several, the first is drawn
    stage: String,
    /// The picture to write (PNG)
    #[arg(long, value_name = "FILE", default_value = "preview.png")]
    to: PathBuf,
}

/// Draws the stage the arguments name, whose inputs must be in the store.
pub fn preview(args: &Preview, context: &mut Context<'_>) -> Result<u8, Failure> {
    let project = Project::open(&args.source, context)?;
    let (plan, unreadable) = project.plan_of_readable();
    context.warn(&unreadable)?;
    let id = select::instances(&project.graph, &args.stage)?[0];
    let (name, instance) = (project.graph.instance_name(id), project.graph.instance(id));
    let mut files = JobFiles { project: project.root.clone(), ..JobFiles::default() };
    let mut missing = Vec::new();
    for (port, wire) in &instance.inputs {
        // Views are of images alone: an encoder that is not trained yet is not missed.
        let Some(result) = plan.state(wire.from).result() else {
            missing.push(project.graph.instance_name(wire.from));
            continue;
        };
        let verified = project.store.verified(
            &result.outputs.get(&*wire.output).expect("a result has what its stage declares").digest,
        );
        let path = verified
            .map_err(|error| Failure::new(exit::STORE, format!("{error}; `ablate run` makes it again")))?;
        files.inputs.insert(port.to_string(), path);
    }
    let seed = instance.seed.filter(|_| instance.params.seeded()).unwrap_or(0);
    let mut unheard = |_| {};
    let mut job = Job::new(files, seed, Device::Cpu, 1, StopFlag::default(), &mut unheard);
    let failed = |error: &dyn std::fmt::Display| Failure::new(exit::FAILED, format!("{name}: {error}"));
    let drawn = instance.params.preview(&mut job).map_err(|error| match missing.is_empty() {
        true => failed(&error),
        false => failed(&format!(
            "{error}; not in the store yet, `ablate run --only` makes it: {}",
            missing.join(", ")
        )),
    })?;
    let Some(png) = drawn else {
        return Err(failed(&format!(
            "there is nothing to look at in a stage of kind {}",
            instance.params.kind()
        )));
    };
    fs::write(&args.to, png).map_err(|error| {
        Failure::new(exit::FAILED, format!("cannot write {}: {error}", args.to.display()))
    })?;
    writeln!(context.out, "{}: {name}", args.to.display())?;
    Ok(exit::DONE)
}
