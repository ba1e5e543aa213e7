//! `ablate run`.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ablate_stage::cache::{ActionDigest, Durability, Pin, Store};
use ablate_stage::{Device, Registry};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::kept::Kept;
use super::project::{self, Project, Reading, Source};
use super::{Context, Failure, exit, select};
use crate::diagnostic::escape;
use crate::estimate::{Estimate, Task};
use crate::execute::{ExecuteError, Runner, Settings, Summary};
use crate::forecast::Forecast;
use crate::graph::{Graph, Instance};
use crate::journal::{Entry, Event, Journal, Outcome, Planned, now_unix_ms};
use crate::machine;
use crate::plan::{History, State, producers};
use crate::progress::{Bars, Lines, View};
use crate::rounds::{Round, Rounds};
use crate::scheduler::Capacity;

/// Run what is missing of a pipeline, and print its tables
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    part: select::Part,
    #[command(flatten)]
    reading: Reading,
    /// Stages at once, which share the threads; as many as there are threads, if not said
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Threads in all; the processor's, if not said
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroUsize>,
    /// Memory that stages may take up together, by what they declare or took before; what is free, if not said
    #[arg(long, value_name = "GIB")]
    memory: Option<f64>,
    /// Where stages that can use a GPU run: `auto`, `cpu`, `cuda:N` or several as `cuda:0,cuda:1`
    #[arg(long, default_value = "auto")]
    device: String,
    /// Start nothing more once a stage failed; without it, everything goes on that does not need it
    #[arg(long)]
    fail_fast: bool,
    /// Do not wait for the disk: quicker where stages are trivial, and a loss of power may damage the store
    #[arg(long)]
    no_sync: bool,
    /// Print what happens as lines of JSON, and no tables
    #[arg(long)]
    json: bool,
}

/// Runs what is missing.
pub fn run(args: &Run, context: &mut Context<'_>) -> Result<u8, Failure> {
    let clock = Instant::now();
    if args.memory.is_some_and(|gib| !(gib > 0.0 && gib.is_finite())) {
        return Err(Failure::new(exit::USAGE, "`--memory` must be above 0"));
    }
    let mut project = args.part.of(Project::open(&args.source, context)?)?;
    project.store = Store::open(project.store.root())?;
    let durability = if args.no_sync { Durability::None } else { Durability::Sync };
    project.store = project.store.with_durability(durability);
    // What is wrong with them is told before hours are spent, not after.
    #[cfg(feature = "tables")]
    let published = if args.json { Vec::new() } else { super::results::all_published(&project)? };
    let kept = Kept::of(&project, &args.source, &args.part)?;
    let files = project.files(&args.reading)?;
    // Until it is on the record what this run relies on.
    let pin = project.store.pin()?;
    let kept = serde_json::to_vec(&kept).expect("what is kept is plain data with string keys");
    let kept = project.store.insert_bytes(&kept)?.digest;
    let mut rounds = Rounds::new(&project.graph, &project.store, files);
    let first = rounds.first();
    project.check_wanted(&first.part)?;
    let gpus = if first.plan.is_complete() && args.device == "auto" {
        // Looking for a GPU takes longer than finding that there is nothing to do.
        Vec::new()
    } else {
        gpus(&args.device, context.registry)?
    };
    let settings = Settings {
        program: PathBuf::from("/proc/self/exe"),
        durability,
        project: project.root.clone(),
        // Asking takes longer than finding that there is nothing to do.
        commit: if first.plan.is_complete() { None } else { project::commit(&project.root) },
        capacity: capacity(args, &project.graph, &gpus),
        gpus,
        fail_fast: args.fail_fast,
        rehash: args.reading.rehash,
    };
    let journal = Journal::create(&project.store.runs(), now_unix_ms()).map_err(|error| {
        Failure::new(exit::STORE, format!("cannot begin a journal in the store: {error}"))
    })?;
    let hits = first.hits();
    let progress = if args.json {
        View::Json(&mut *context.out)
    } else if context.terminal && !first.plan.is_complete() {
        View::Bars(Bars::new(hits))
    } else {
        View::Lines(Lines::new(&mut *context.err))
    };
    let estimate = Estimate::new(settings.capacity.slots, settings.gpus.len());
    let mut watch = Watch { journal, progress, estimate, failed: Vec::new(), unwritten: None };
    watch.hear(Event::RunStarted {
        pipeline: project.graph.name.clone(),
        file: project.file.display().to_string(),
        device: names(&settings.gpus),
        jobs: settings.capacity.slots,
        overrides: args.source.changes.written(),
        cached: hits,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kept: Some(kept),
    });
    let mut runner = Runner::new(&project.store, &settings);
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(exit::BUG, format!("cannot listen to signals: {error}")))?;
    let listening = signals.handle();
    let interrupter = runner.interrupter();
    let listener = std::thread::spawn(move || signals.forever().for_each(|_| interrupter.interrupt()));
    let ran = run_all(&project, (first, pin), &mut rounds, &mut runner, &mut watch);
    listening.close();
    drop(listener.join());
    let outcome = ran?;
    runner.dismiss();
    let duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    watch.hear(Event::RunFinished { outcome, counts: rounds.counts(), duration_ms });
    let Watch { journal, failed, unwritten, .. } = watch;
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    if !failed.is_empty() && !args.json {
        writeln!(context.err, "{}", escape(&failed_in_words(&failed)))?;
    }
    if let Some(error) = journal.error() {
        writeln!(context.err, "warning: the journal of run {} is not whole: {error}", journal.run())?;
    }
    #[cfg(feature = "tables")]
    if !args.json {
        let look = super::results::look(context);
        let (part, ends) = rounds.finish();
        for table in super::results::tables_of(&part.graph, &published, |id| ends[id.0].outcome())? {
            writeln!(context.out, "\n{}", table.to_terminal(look))?;
        }
    }
    Ok(match outcome {
        Outcome::Done => exit::DONE,
        Outcome::Failed => exit::FAILED,
        Outcome::Interrupted => exit::INTERRUPTED,
    })
}

/// Runs round after round. `pin` keeps what the first one's plan relies on until that is on the record.
fn run_all(
    project: &Project,
    (mut round, mut pin): (Round<'_>, Pin),
    rounds: &mut Rounds<'_>,
    runner: &mut Runner<'_>,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Failure> {
    loop {
        tell_plan(project, &round, runner.capacity(), watch)?;
        drop(pin);
        let Round { part, plan, .. } = round;
        let summary =
            runner.run(&part.graph, plan, &mut |event| watch.hear(event)).map_err(|error| match error {
                ExecuteError::Spawn { .. } => Failure::new(exit::BUG, error),
                ExecuteError::Store(_) | ExecuteError::Broken(_) => Failure::new(exit::STORE, error),
            })?;
        let Summary { outcome, interrupted, .. } = summary;
        rounds.take(&part, summary);
        if outcome == Outcome::Interrupted || (outcome == Outcome::Failed && runner.fails_fast()) {
            return Ok(outcome);
        }
        pin = project.store.pin()?;
        round = match rounds.further() {
            None if rounds.counts().failed > 0 => return Ok(Outcome::Failed),
            None => return Ok(Outcome::Done),
            Some(_) if interrupted => return Ok(Outcome::Interrupted),
            Some(next) => next,
        };
        watch.hear(Event::Added { trials: round.trials, cached: round.hits() });
    }
}

/// Tells what is to be done in a round, and what of it is done. A run that finds what the last one found writes nothing
/// new to the store.
fn tell_plan(
    project: &Project,
    round: &Round<'_>,
    capacity: &Capacity,
    watch: &mut Watch<'_>,
) -> Result<(), Failure> {
    let name = |id| round.part.graph.instance_name(id);
    let hits = round.new.iter().filter_map(|&id| match round.plan.state(id) {
        State::Hit(action, _) => Some((name(id), *action)),
        State::Miss(_) | State::Pending(_) | State::NoFile(_) => None,
    });
    let hits: BTreeMap<String, ActionDigest> = hits.collect();
    if !hits.is_empty() {
        let text = serde_json::to_vec(&hits).expect("a listing is plain data with string keys");
        let listing = project.store.insert_bytes(&text)?.digest;
        watch.hear(Event::Hits { listing });
    }
    watch.estimate.add(tasks(project, round, capacity));
    for &id in &round.new {
        let state = round.plan.state(id);
        let planned = match state {
            State::Hit(..) => continue,
            State::Miss(_) => Planned::Miss,
            State::Pending(_) | State::NoFile(_) => Planned::Pending,
        };
        watch.hear(Event::Planned { instance: name(id), action: state.action(), state: planned });
    }
    Ok(())
}

/// What is to be performed in a round, as far as one can tell how long it takes.
fn tasks<'r>(project: &Project, round: &'r Round<'_>, capacity: &Capacity) -> Vec<Task<'r>> {
    let (graph, plan): (&Graph, _) = (&round.part.graph, &round.plan);
    let missing = || round.new.iter().copied().filter(|id| plan.state(*id).result().is_none());
    if missing().next().is_none() {
        return Vec::new();
    }
    let forecast = Forecast::of_hits(graph, plan);
    let is_known = |id| forecast.duration(&graph.instance(id).stage).is_some();
    let forecast = match missing().all(is_known) {
        true => forecast,
        // Without a history less is known, and that is no reason not to run.
        false => match History::read(&project.store) {
            Ok(history) => forecast.or_like(graph, &history),
            Err(_) => forecast,
        },
    };
    let task = |id| {
        let instance @ Instance { stage, request, .. } = graph.instance(id);
        let memory = capacity.gpus_mib.first().map(|&mib| mib as f64);
        let share = |memory: f64| request.gpu_memory_mib.map_or(1.0, |mib| (mib as f64 / memory).min(1.0));
        Task {
            instance: graph.instance_name(id),
            stage,
            inputs: producers(graph, id).map(|from| graph.instance_name(from)).collect(),
            gpus: memory.filter(|_| request.gpu).map_or(0.0, share),
            usual: forecast.of(instance),
        }
    };
    missing().map(task).collect()
}

/// Who hears what happens.
struct Watch<'a> {
    journal: Journal,
    progress: View<'a>,
    estimate: Estimate,
    /// The instances that failed.
    failed: Vec<String>,
    /// The first failure to show something.
    unwritten: Option<io::Error>,
}

impl Watch<'_> {
    fn hear(&mut self, event: Event) {
        if let Event::Failed { instance, .. } = &event {
            self.failed.push(instance.clone());
        }
        let entry = Entry { unix_ms: now_unix_ms(), event };
        self.journal.record(&entry);
        let outlook = self.estimate.take(&entry);
        if let Err(error) = self.progress.show(&entry, &outlook) {
            self.unwritten.get_or_insert(error);
        }
    }
}

/// So many of what failed are named at the end.
const MAX_NAMED: usize = 8;

/// What failed, once more at the end: by then its own lines are far above.
fn failed_in_words(failed: &[String]) -> String {
    let more = match failed.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = failed[..failed.len().min(MAX_NAMED)].join(", ");
    format!(
        "{:>12} failed: {names}{more}; `ablate log --only '{}'` shows what it printed",
        "",
        failed[0].replace('\'', "?")
    )
}

/// More processes than this nobody means.
const MAX_SLOTS: usize = 4096;

/// What the stages share.
fn capacity(args: &Run, graph: &Graph, gpus: &[Device]) -> Capacity {
    let threads = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let cpus = args.cpus.map_or_else(threads, NonZeroUsize::get);
    let packs = graph.instances.iter().any(|instance| instance.request.gpu_memory_mib.is_some());
    let known = if packs && !gpus.is_empty() { machine::gpus() } else { Vec::new() };
    let memory_of = |device: &Device| match device {
        Device::Cuda(index) => known.get(*index as usize).map_or(u64::MAX, |gpu| gpu.memory_mib),
        Device::Cpu => u64::MAX,
    };
    Capacity {
        slots: args.jobs.map_or(cpus, NonZeroUsize::get).min(MAX_SLOTS),
        cpus,
        memory_mib: args.memory.map_or_else(machine::free_memory, |gib| (gib * 1024.0) as u64),
        gpus_mib: gpus.iter().map(memory_of).collect(),
    }
}

/// The GPUs that are meant; none where stages are to run on the processor.
fn gpus(text: &str, registry: &Registry) -> Result<Vec<Device>, Failure> {
    if text == "cpu" {
        return Ok(Vec::new());
    }
    let there = registry.accelerators();
    if text == "auto" {
        return Ok(there);
    }
    let mut gpus = Vec::new();
    for name in text.split(',') {
        let device: Device = name.parse().map_err(|error| Failure::new(exit::USAGE, error))?;
        if device == Device::Cpu {
            return Err(Failure::new(
                exit::USAGE,
                "`cpu` stands alone: stages run on GPUs or on the processor",
            ));
        }
        if !there.contains(&device) {
            let known: Vec<String> = std::iter::once(Device::Cpu)
                .chain(there.iter().copied())
                .map(|device| format!("`{device}`"))
                .collect();
            return Err(Failure::new(
                exit::USAGE,
                format!(
                    "there is no device `{device}` that this program can use; there is {}",
                    known.join(", ")
                ),
            ));
        }
        if !gpus.contains(&device) {
            gpus.push(device);
        }
    }
    Ok(gpus)
}

fn names(gpus: &[Device]) -> String {
    match gpus {
        [] => Device::Cpu.to_string(),
        gpus => gpus.iter().map(Device::to_string).collect::<Vec<_>>().join(", "),
    }
}
