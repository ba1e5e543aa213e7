//! `ablate run`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ablate_stage::{Device, Registry};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::project::{Project, Source};
use super::{Context, Failure, exit};
use crate::execute::{ExecuteError, Runner, Settings};
use crate::graph::Graph;
use crate::journal::{Entry, Event, Journal, Outcome, Planned, now_unix_ms};
use crate::plan::{Plan, State};
use crate::progress::{Bars, Lines, Progress};

/// Run what is missing of a pipeline, and print its tables
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    source: Source,
    /// Stages at once; the processor's threads are split evenly among them
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Where stages that can use a GPU run: `auto`, `cpu` or `cuda:N`
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print what happens as lines of JSON, and no tables
    #[arg(long)]
    json: bool,
}

/// Runs what is missing.
pub fn run(args: &Run, context: &mut Context<'_>) -> Result<u8, Failure> {
    let clock = Instant::now();
    let project = Project::open(&args.source, context)?;
    let graph = &project.graph;
    let plan = project.plan()?;
    let device = if plan.is_complete() && args.device == "auto" {
        // Looking for a GPU takes longer than finding that there is nothing to do.
        Device::Cpu
    } else {
        device(&args.device, context.registry)?
    };
    let settings = Settings {
        program: PathBuf::from("/proc/self/exe"),
        project: project.root.clone(),
        jobs: args.jobs.get(),
        cpus: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        device,
    };
    let mut journal = Journal::create(&project.store.runs(), now_unix_ms()).map_err(|error| {
        Failure::new(exit::STORE, format!("cannot begin a journal in the store: {error}"))
    })?;

    let hits = plan.states.iter().filter(|state| state.result().is_some()).count();
    let mut progress = if args.json {
        Progress::Json(&mut *context.out)
    } else if context.terminal && !plan.is_complete() {
        Progress::Bars(Bars::new(graph.instances.len(), hits))
    } else {
        Progress::Lines(Lines::new(&mut *context.err))
    };
    let mut unwritten = None;
    let mut observe = |event: Event| {
        let entry = Entry { unix_ms: now_unix_ms(), event };
        journal.record(&entry);
        if let Err(error) = progress.show(&entry) {
            unwritten.get_or_insert(error);
        }
    };
    observe(Event::RunStarted {
        pipeline: graph.name.clone(),
        file: project.file.display().to_string(),
        device: device.to_string(),
        jobs: settings.jobs,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    tell_plan(graph, &plan, &mut observe);
    let runner = Runner::new(graph, &project.store, &settings);
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(exit::BUG, format!("cannot listen to signals: {error}")))?;
    let listening = signals.handle();
    let interrupter = runner.interrupter();
    let listener = std::thread::spawn(move || signals.forever().for_each(|_| interrupter.interrupt()));
    let ran = runner.run(plan, &mut observe);
    listening.close();
    drop(listener.join());
    let summary = ran.map_err(|error| match error {
        ExecuteError::Spawn { .. } => Failure::new(exit::BUG, error),
        ExecuteError::Store(_) | ExecuteError::Broken(_) => Failure::new(exit::STORE, error),
    })?;
    let duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    observe(Event::RunFinished { outcome: summary.outcome, counts: summary.counts, duration_ms });
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    if let Some(error) = journal.error() {
        writeln!(context.err, "warning: the journal of run {} is not whole: {error}", journal.run())?;
    }
    #[cfg(feature = "tables")]
    if !args.json {
        for table in &graph.tables {
            let table = crate::table::build(graph, table, |id| summary.ends[id.0].outcome())
                .map_err(|error| Failure::new(exit::BUG, error))?;
            writeln!(context.out, "\n{}", table.to_terminal())?;
        }
    }
    Ok(match summary.outcome {
        Outcome::Done => exit::DONE,
        Outcome::Failed => exit::FAILED,
        Outcome::Interrupted => exit::INTERRUPTED,
    })
}

fn tell_plan(graph: &Graph, plan: &Plan, observe: &mut dyn FnMut(Event)) {
    for id in graph.ids() {
        let state = plan.state(id);
        let planned = match state {
            State::Hit(..) => Planned::Hit,
            State::Miss(_) => Planned::Miss,
            State::Pending(_) => Planned::Pending,
        };
        observe(Event::Planned { instance: graph.instance_name(id), action: state.action(), state: planned });
    }
}

fn device(name: &str, registry: &Registry) -> Result<Device, Failure> {
    let accelerators = registry.accelerators();
    if name == "auto" {
        return Ok(accelerators.first().copied().unwrap_or(Device::Cpu));
    }
    let device: Device = name.parse().map_err(|error| Failure::new(exit::USAGE, error))?;
    if device == Device::Cpu || accelerators.contains(&device) {
        return Ok(device);
    }
    let there: Vec<String> =
        [Device::Cpu].iter().chain(&accelerators).map(|device| format!("`{device}`")).collect();
    Err(Failure::new(
        exit::USAGE,
        format!("there is no device `{device}` that this program can use; there is {}", there.join(", ")),
    ))
}
