//! Runs what a plan lacks.
//!
//! The runner puts everything that happens outside into one order: replies of workers, their deaths, interrupts. It hands
//! them to the [`scheduler`], carries out its effects, and tells an observer. It computes nothing
//! itself: actions run in [worker](crate::worker) processes, one per slot, which live from their first action to the end
//! of the run and are replaced when they die.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ablate_stage::Device;
use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Durability, Store, StoreError};
use thiserror::Error;

use crate::forecast::Forecast;
use crate::graph::{Graph, Instance, InstanceId};
use crate::journal::{Counts, Event, Outcome};
use crate::kin::Kindred;
use crate::manifest::Manifest;
use crate::plan::{Keys, Plan, State, producers};
use crate::rows;
use crate::scheduler::{self, Capacity, Demand, Effect, GpuShare, Grant, Phase, Scheduler, Task};
use crate::worker::{Order, Reply, Request};

/// How long an action is put off when it went wrong for the first time.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// How long it is put off at most.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How long a stage whose time is over may take to checkpoint.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a run works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program: started as `PROGRAM worker --store STORE`, it must be a [worker](crate::worker::serve).
    pub program: PathBuf,
    /// Whether workers wait for the disk.
    pub durability: Durability,
    /// The project's root, absolute.
    pub project: PathBuf,
    /// What actions may use at once; at least one slot and one thread.
    pub capacity: Capacity,
    /// The GPUs of the capacity, in its order.
    pub gpus: Vec<Device>,
    /// Whether nothing more is started once something failed.
    pub fail_fast: bool,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// How many instances came to what end.
    pub counts: Counts,
    /// What became of each instance, by [`InstanceId`].
    pub ends: Vec<End>,
}

impl Summary {
    /// Of a run that had nothing to do.
    fn cached(plan: Plan) -> Self {
        let results = plan.states.into_iter().map(|state| match state {
            State::Hit(_, result) => End::Done(result),
            State::Miss(_) | State::Pending(_) => End::Unfinished,
        });
        let ends: Vec<End> = results.collect();
        Self { outcome: Outcome::Done, counts: Counts { cached: ends.len(), ..Counts::default() }, ends }
    }
}

/// What became of an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It has its result.
    Done(ActionResult),
    /// It failed, or something it needs did.
    Failed,
    /// The run was interrupted before.
    Unfinished,
}

impl End {
    /// As rows are gathered from.
    pub fn outcome(&self) -> rows::Outcome<'_> {
        match self {
            Self::Done(result) => rows::Outcome::Done(result),
            Self::Failed => rows::Outcome::Failed,
            Self::Unfinished => rows::Outcome::Missing,
        }
    }
}

/// Why a run could not go on.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// A worker cannot be started.
    #[error("cannot start {} as a worker: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not work, says a worker.
    #[error("{0}")]
    Broken(String),
}

/// Interrupts a run: the first time, running stages checkpoint and stop; the second time, they are killed.
#[derive(Clone, Debug)]
pub struct Interrupter(Sender<Message>);

impl Interrupter {
    /// Interrupts.
    pub fn interrupt(&self) {
        // A run that is over has nothing to interrupt.
        drop(self.0.send(Message::Interrupt));
    }
}

/// A worker of a slot, told apart from earlier ones of the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WorkerId {
    slot: usize,
    generation: usize,
}

#[derive(Debug)]
enum Message {
    Reply(WorkerId, Reply),
    Printed(WorkerId, String),
    Gone(WorkerId),
    Interrupt,
}

/// A run about to start.
pub struct Runner<'a> {
    graph: &'a Graph,
    store: &'a Store,
    settings: &'a Settings,
    sender: Sender<Message>,
    messages: Receiver<Message>,
}

impl<'a> Runner<'a> {
    /// A run of a graph.
    pub fn new(graph: &'a Graph, store: &'a Store, settings: &'a Settings) -> Self {
        let (sender, messages) = mpsc::channel();
        Self { graph, store, settings, sender, messages }
    }

    /// What interrupts this run.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.sender.clone())
    }

    /// Runs what the plan lacks, and tells `observer` what happens.
    ///
    /// # Errors
    /// [`ExecuteError`]; what was running by then is killed. Failing stages are no error.
    pub fn run(self, plan: Plan, observer: &mut dyn FnMut(Event)) -> Result<Summary, ExecuteError> {
        let Self { graph, store, settings, sender, messages } = self;
        if plan.is_complete() {
            return Ok(Summary::cached(plan));
        }
        let capacity = settings.capacity.clone();
        let slots = capacity.slots;
        let tasks = tasks(graph, &plan, &capacity);
        let Plan { states: planned, files } = plan;
        let mut run = Run {
            graph,
            store,
            settings,
            sender,
            observer,
            keys: Keys::new(graph, &files),
            scheduler: Scheduler::new(tasks, capacity).failing_fast(settings.fail_fast),
            delayed: BTreeSet::new(),
            planned,
            known: (0..graph.instances.len()).map(|_| Known::default()).collect(),
            manifests: BTreeMap::new(),
            kindred: Kindred::default(),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            interrupts: 0,
            advised: BTreeSet::new(),
        };
        let effects = run.scheduler.start();
        run.carry_out(effects)?;
        while !run.scheduler.is_over() {
            match run.next_deadline() {
                None => run.take(messages.recv().expect("the run itself holds a sender"))?,
                Some(at) => {
                    if let Ok(message) = messages.recv_timeout(at.saturating_duration_since(Instant::now())) {
                        run.take(message)?;
                    }
                    run.look_at_the_clock()?;
                }
            }
        }
        Ok(run.finish())
    }
}

struct Run<'a> {
    graph: &'a Graph,
    store: &'a Store,
    settings: &'a Settings,
    sender: Sender<Message>,
    observer: &'a mut dyn FnMut(Event),
    keys: Keys<'a>,
    scheduler: Scheduler,
    /// What the plan found, until it is used: an input that is lost makes it void.
    planned: Vec<State>,
    /// By [`InstanceId`].
    known: Vec<Known>,
    /// The manifests of missing actions, until they have a result.
    manifests: BTreeMap<ActionDigest, Manifest>,
    kindred: Kindred,
    slots: Vec<Slot>,
    /// Actions that are put off, by the time they are ready again.
    delayed: BTreeSet<(Instant, ActionDigest)>,
    interrupts: usize,
    /// Stages whose declared resources were found to be wrong, and told so.
    advised: BTreeSet<String>,
}

/// What is known of an instance.
#[derive(Default)]
struct Known {
    action: Option<ActionDigest>,
    result: Option<ActionResult>,
    /// Whether this run performed it.
    ran: bool,
    /// What last went wrong.
    error: String,
}

#[derive(Default)]
struct Slot {
    generation: usize,
    worker: Option<Worker>,
    /// The device its worker last used.
    device: Option<Device>,
    job: Option<Work>,
}

#[derive(Clone, Copy)]
struct Work {
    action: ActionDigest,
    instance: InstanceId,
    clock: Clock,
}

/// How a running action stands with the time it has.
#[derive(Clone, Copy)]
enum Clock {
    /// It has all the time, or has not begun yet.
    Off,
    /// It is to end by then.
    Until(Instant),
    /// It was asked to stop, and is killed then.
    Stopping(Instant),
}

struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Run<'_> {
    fn tell(&mut self, event: Event) {
        (self.observer)(event);
    }

    fn name(&self, id: InstanceId) -> String {
        self.graph.instance_name(id)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), ExecuteError> {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Resolve(id) => {
                    let event = self.resolve(id)?;
                    effects.extend(self.scheduler.on(event));
                }
                Effect::Start(action, id, grant) => {
                    self.start(Work { action, instance: id, clock: Clock::Off }, grant)?;
                }
                Effect::Delay(action, tries) => self.delay(action, tries),
                Effect::Ended(id, phase) => self.ended(id, phase),
            }
        }
        Ok(())
    }

    /// Puts an action off: 0.25 s the first time, then four times as long each time, a minute at most.
    fn delay(&mut self, action: ActionDigest, tries: usize) {
        let exponent = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = FIRST_DELAY.saturating_mul(4_u32.saturating_pow(exponent)).min(LONGEST_DELAY);
        self.delayed.insert((Instant::now() + wait, action));
    }

    fn next_deadline(&self) -> Option<Instant> {
        let clocks = self.slots.iter().filter_map(|slot| Some(slot.job?.clock));
        let ends = clocks.filter_map(|clock| match clock {
            Clock::Off => None,
            Clock::Until(at) | Clock::Stopping(at) => Some(at),
        });
        ends.chain(self.delayed.first().map(|(at, _)| *at)).min()
    }

    /// Hands out what was put off for long enough; asks those whose time is over to checkpoint and stop, and kills those
    /// that do not.
    fn look_at_the_clock(&mut self) -> Result<(), ExecuteError> {
        let now = Instant::now();
        while let Some((_, action)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.pop_first();
            let effects = self.scheduler.on(scheduler::Event::Ready(action));
            self.carry_out(effects)?;
        }
        for slot in 0..self.slots.len() {
            match self.slots[slot].job.as_mut().map(|work| &mut work.clock) {
                Some(clock @ &mut Clock::Until(at)) if at <= now => {
                    *clock = Clock::Stopping(now + STOP_GRACE);
                    self.order(slot, &Order::Stop);
                }
                Some(clock @ &mut Clock::Stopping(at)) if at <= now => {
                    // Its death will be told.
                    *clock = Clock::Stopping(now + STOP_GRACE);
                    self.slots[slot].worker.iter_mut().for_each(|worker| drop(worker.child.kill()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds the key of an instance, and its result.
    fn resolve(&mut self, id: InstanceId) -> Result<scheduler::Event, ExecuteError> {
        let planned = std::mem::replace(&mut self.planned[id.0], State::Pending(Vec::new()));
        if let State::Hit(_, result) = planned {
            self.known[id.0].result = Some(result);
            return Ok(scheduler::Event::Cached(id));
        }
        let manifest = self.keys.manifest(id, |from| self.known[from.0].result.as_ref());
        let action = manifest.action();
        self.known[id.0].action = Some(action);
        // Until it is on the record that this run relies on what it finds.
        let _pin = self.store.pin()?;
        if let Some(result) = self.store.result(&action) {
            self.cached(id, action, result);
            return Ok(scheduler::Event::Cached(id));
        }
        self.manifests.insert(action, manifest);
        Ok(scheduler::Event::Missing(id, action))
    }

    fn cached(&mut self, id: InstanceId, action: ActionDigest, result: ActionResult) {
        self.known[id.0].result = Some(result);
        let event = Event::Cached { instance: self.name(id), action };
        self.tell(event);
    }

    fn start(&mut self, work: Work, grant: Grant) -> Result<(), ExecuteError> {
        // Until the order is on the record, gc may not see what it needs.
        let _pin = self.store.pin()?;
        if let Some(manifest) = self.manifests.get(&work.action) {
            self.store.put_manifest(&manifest.to_string())?;
        }
        let device = grant.gpu.map_or(Device::Cpu, |index| self.settings.gpus[index]);
        let slot = self.idle_slot(device);
        let order = Order::Perform(Request {
            action: work.action,
            project: self.settings.project.clone(),
            device: device.to_string(),
            threads: grant.threads,
            kin: self.kin(&work)?,
        });
        // On the record before it begins, so that gc leaves alone what comes of it.
        self.tell(Event::Ordered { instance: self.name(work.instance), action: work.action });
        if self.slots[slot].worker.is_none() {
            self.spawn(slot, grant.threads)?;
        }
        self.slots[slot].device = Some(device);
        self.slots[slot].job = Some(work);
        self.order(slot, &order);
        Ok(())
    }

    /// A finished action that the stage can make use of.
    fn kin(&mut self, work: &Work) -> Result<Option<ActionDigest>, ExecuteError> {
        let Some(kin) = self.graph.instance(work.instance).params.kin() else { return Ok(None) };
        let Some(manifest) = self.manifests.get(&work.action) else { return Ok(None) };
        Ok(self.kindred.nearest(self.store, manifest, kin)?)
    }

    /// An idle slot: one whose worker last used the device, else one without a worker, else any. What a worker holds of a
    /// GPU it keeps.
    fn idle_slot(&self, device: Device) -> usize {
        let fitness = |slot: &Slot| match (&slot.worker, slot.device) {
            (Some(_), Some(last)) if last == device => 0,
            (None, _) => 1,
            (Some(_), _) => 2,
        };
        let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.job.is_none());
        let best = idle.min_by_key(|(_, slot)| fitness(slot));
        best.expect("the scheduler starts no more than there are slots").0
    }

    fn spawn(&mut self, slot: usize, threads: usize) -> Result<(), ExecuteError> {
        let program = &self.settings.program;
        let mut command = Command::new(program);
        command.arg0("ablate").arg("worker").arg("--store").arg(self.store.root());
        if self.settings.durability == Durability::None {
            command.arg("--no-sync");
        }
        let mut child = command
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| ExecuteError::Spawn { program: program.clone(), source })?;
        let generation = self.slots[slot].generation + 1;
        let id = WorkerId { slot, generation };
        let orders = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let printed = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let sender = self.sender.clone();
        let printing = thread::spawn(move || {
            for_each_line(printed, |line| drop(sender.send(Message::Printed(id, line))));
        });
        let sender = self.sender.clone();
        thread::spawn(move || {
            for_each_line(replies, |line| {
                let message = match serde_json::from_str(&line) {
                    Ok(reply) => Message::Reply(id, reply),
                    Err(_) => Message::Printed(id, line),
                };
                drop(sender.send(message));
            });
            // The last words of a dying worker come before the news of its death.
            drop(printing.join());
            drop(sender.send(Message::Gone(id)));
        });
        let job = self.slots[slot].job.take();
        self.slots[slot] = Slot { generation, worker: Some(Worker { child, orders }), device: None, job };
        Ok(())
    }

    /// Gives an order. A worker that cannot take it is dying, and its death will be told.
    fn order(&mut self, slot: usize, order: &Order) {
        let line = serde_json::to_string(order).expect("an order is plain data") + "\n";
        let orders = self.slots[slot].worker.as_mut().and_then(|worker| worker.orders.as_mut());
        if let Some(orders) = orders {
            drop(orders.write_all(line.as_bytes()));
        }
    }

    fn take(&mut self, message: Message) -> Result<(), ExecuteError> {
        match message {
            Message::Interrupt => {
                self.interrupts += 1;
                if self.interrupts == 1 {
                    let effects = self.scheduler.on(scheduler::Event::Stop);
                    self.carry_out(effects)?;
                    (0..self.slots.len()).for_each(|slot| self.order(slot, &Order::Stop));
                } else {
                    self.kill_workers();
                }
                Ok(())
            }
            Message::Reply(id, _) | Message::Printed(id, _) | Message::Gone(id)
                if self.slots[id.slot].generation != id.generation =>
            {
                Ok(())
            }
            Message::Printed(id, line) => {
                if let Some(work) = self.slots[id.slot].job {
                    let event = Event::Output { instance: self.name(work.instance), line };
                    self.tell(event);
                }
                Ok(())
            }
            Message::Reply(id, reply) => self.reply(id.slot, reply),
            Message::Gone(id) => self.gone(id.slot),
        }
    }

    fn reply(&mut self, slot: usize, reply: Reply) -> Result<(), ExecuteError> {
        let Some(work) = self.slots[slot].job else { return Ok(()) };
        let action = work.action;
        let instance = self.name(work.instance);
        match reply {
            Reply::Waiting => self.tell(Event::Waiting { instance }),
            Reply::Started => {
                let time = self.graph.instance(work.instance).request.time;
                if let (Some(time), Some(work)) = (time, &mut self.slots[slot].job) {
                    work.clock = Clock::Until(Instant::now() + time);
                }
                self.tell(Event::Started { instance, action });
            }
            Reply::Resumed(from) => self.tell(Event::Resumed { instance, from }),
            Reply::Line(line) => self.tell(Event::Output { instance, line }),
            Reply::Progress { done, total, unit, note } => {
                self.tell(Event::Progress { instance, done, total, unit, note });
            }
            Reply::Broken(error) => return Err(ExecuteError::Broken(error)),
            Reply::Done { result, performed } => {
                self.done(work, &result, performed);
                return self.over(slot, scheduler::Event::Finished(action));
            }
            Reply::Failed(error) => {
                self.went_wrong(&action, &error);
                return self.over(slot, scheduler::Event::Failed(action));
            }
            Reply::Lost(digests, error) => {
                self.went_wrong(&action, &error);
                let makers = digests.iter().flat_map(|digest| self.makers(digest)).collect();
                return self.over(slot, scheduler::Event::Lost(action, makers));
            }
            Reply::Panicked(error) => {
                self.went_wrong(&action, &error);
                self.retire(slot);
                return self.over(slot, scheduler::Event::Failed(action));
            }
            Reply::Stopped => {
                self.retire(slot);
                let event = match self.stopped(work) {
                    Some(event) => event,
                    None if self.interrupts > 0 => scheduler::Event::Stopped(action),
                    None => {
                        self.went_wrong(&action, "it stopped without being asked to");
                        scheduler::Event::Failed(action)
                    }
                };
                return self.over(slot, event);
            }
        }
        Ok(())
    }

    /// Ends a worker that is not fit for another action.
    fn retire(&mut self, slot: usize) {
        drop(self.slots[slot].worker.take());
    }

    /// The work of a slot is over, for better or worse.
    fn over(&mut self, slot: usize, event: scheduler::Event) -> Result<(), ExecuteError> {
        let work = self.slots[slot].job.take().expect("only work that was begun can be over");
        if matches!(work.clock, Clock::Stopping(_)) {
            // It was told to stop, and would tell that to the next stage.
            self.retire(slot);
        }
        let effects = self.scheduler.on(event.clone());
        let instance = self.name(work.instance);
        let failed = self.scheduler.phase(work.instance) == Phase::Failed;
        match event {
            scheduler::Event::Lost(..) | scheduler::Event::Crashed(_) | scheduler::Event::Failed(_)
                if !failed =>
            {
                let reason = self.known[work.instance.0].error.clone();
                self.tell(Event::Retried { instance, reason });
            }
            scheduler::Event::Stopped(_) => self.tell(Event::Stopped { instance }),
            _ => {}
        }
        self.carry_out(effects)
    }

    fn done(&mut self, work: Work, result: &ActionResult, performed: bool) {
        let Work { action, instance, .. } = work;
        if performed {
            self.advise(instance, result.provenance.peak_memory_mib);
        }
        let kin = self.graph.instance(instance).params.kin();
        if let (Some(manifest), Some(kin)) = (self.manifests.remove(&action), kin) {
            self.kindred.add(&manifest, kin.field, action);
        }
        let sharers: Vec<InstanceId> = self.scheduler.instances(&action).collect();
        for id in sharers {
            if id == instance && performed {
                self.known[id.0].result = Some(result.clone());
                self.known[id.0].ran = true;
                let event = Event::Finished {
                    instance: self.name(id),
                    action,
                    duration_ms: result.provenance.duration_ms,
                    metrics: result.metrics.clone(),
                };
                self.tell(event);
            } else {
                self.cached(id, action, result.clone());
            }
        }
    }

    /// Says once of a stage that it took up more memory than it declares.
    fn advise(&mut self, id: InstanceId, peak_mib: u64) {
        let instance = self.graph.instance(id);
        let declared = instance.request.memory_mib;
        if declared > 0 && peak_mib > declared && self.advised.insert(instance.stage.clone()) {
            let gib = |mib: u64| (mib as f64 / 1024.0 * 10.0).ceil() / 10.0;
            let text = format!(
                "it took up {} GiB of memory and declares {}: write `resources: (memory_gib: {:.1})`",
                gib(peak_mib),
                gib(declared),
                gib(peak_mib + peak_mib / 10)
            );
            let instance = self.name(id);
            self.tell(Event::Advice { instance, text });
        }
    }

    fn went_wrong(&mut self, action: &ActionDigest, error: &str) {
        for id in self.scheduler.instances(action) {
            self.known[id.0].error = error.to_owned();
        }
    }

    /// The instances that had made an object; its loss makes their results void.
    fn makers(&mut self, digest: &Digest) -> Vec<InstanceId> {
        let mut makers = Vec::new();
        for id in self.graph.ids() {
            let result = &mut self.known[id.0].result;
            if result
                .as_ref()
                .is_some_and(|result| result.outputs.values().any(|made| made.digest == *digest))
            {
                *result = None;
                makers.push(id);
            }
        }
        makers
    }

    fn gone(&mut self, slot: usize) -> Result<(), ExecuteError> {
        let Some(mut worker) = self.slots[slot].worker.take() else { return Ok(()) };
        let status = worker.child.wait();
        let Some(work @ Work { action, .. }) = self.slots[slot].job else { return Ok(()) };
        if self.interrupts > 0 {
            return self.over(slot, scheduler::Event::Stopped(action));
        }
        if let Some(event) = self.stopped(work) {
            return self.over(slot, event);
        }
        self.went_wrong(&action, &death(status));
        self.over(slot, scheduler::Event::Crashed(action))
    }

    /// What it means that an action stopped, where that was because its time was over.
    fn stopped(&mut self, work: Work) -> Option<scheduler::Event> {
        let Clock::Stopping(_) = work.clock else { return None };
        let time = self.graph.instance(work.instance).request.time.unwrap_or_default();
        let minutes = time.as_secs_f64() / 60.0;
        let error = format!(
            "it took longer than its time of {minutes} min; its checkpoints are kept: raise `time_min` in its resources and run again"
        );
        self.went_wrong(&work.action, &error);
        Some(scheduler::Event::Overdue(work.action))
    }

    fn ended(&mut self, id: InstanceId, phase: Phase) {
        let instance = self.name(id);
        match phase {
            Phase::Failed => {
                let Known { action, error, .. } = &self.known[id.0];
                let event = Event::Failed { instance, action: *action, error: error.clone() };
                self.tell(event);
            }
            Phase::Skipped(cause) => {
                let event = Event::Skipped { instance, because: self.name(cause) };
                self.tell(event);
            }
            Phase::Done
            | Phase::Waiting
            | Phase::Keying
            | Phase::Queued(_)
            | Phase::Delayed(_)
            | Phase::Running(_) => {}
        }
    }

    fn kill_workers(&mut self) {
        for worker in self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()) {
            drop(worker.child.kill());
        }
    }

    fn finish(mut self) -> Summary {
        let mut counts = Counts::default();
        for id in self.graph.ids() {
            let count = match self.scheduler.phase(id) {
                Phase::Done if self.known[id.0].ran => &mut counts.ran,
                Phase::Done => &mut counts.cached,
                Phase::Failed => &mut counts.failed,
                Phase::Skipped(_) => &mut counts.skipped,
                Phase::Waiting | Phase::Keying | Phase::Queued(_) | Phase::Delayed(_) | Phase::Running(_) => {
                    &mut counts.unfinished
                }
            };
            *count += 1;
        }
        let outcome = match counts {
            Counts { unfinished: 1.., .. } if self.interrupts > 0 => Outcome::Interrupted,
            Counts { failed: 1.., .. } => Outcome::Failed,
            Counts { .. } => Outcome::Done,
        };
        for worker in self.slots.iter_mut().filter_map(|slot| slot.worker.take()) {
            worker.dismiss();
        }
        let scheduler = &self.scheduler;
        let ends =
            self.graph.ids().zip(self.known).map(|(id, known)| match (scheduler.phase(id), known.result) {
                (Phase::Done, Some(result)) => End::Done(result),
                (Phase::Failed | Phase::Skipped(_), _) => End::Failed,
                (_, _) => End::Unfinished,
            });
        Summary { outcome, counts, ends: ends.collect() }
    }
}

impl Worker {
    /// Closes the worker's orders, at which an idle one ends.
    fn dismiss(mut self) {
        self.orders = None;
        drop(self.child.wait());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn death(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match status.signal() {
            Some(9) => "its worker was killed (signal 9); the machine may be out of memory".to_owned(),
            Some(signal) => format!("its worker died of signal {signal}"),
            None => format!("its worker ended with {status}"),
        },
        Err(error) => format!("its worker is gone: {error}"),
    }
}

/// The longest line that is taken in one piece.
const MAX_LINE_BYTES: u64 = 16 << 20;

fn for_each_line(mut reader: impl BufRead, mut each: impl FnMut(String)) {
    let mut line = Vec::new();
    while reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        each(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        line.clear();
    }
}

/// The scheduler's view of a graph. Durations, and memory where none is declared, are those of hits of the same stage; what
/// nothing is known of counts as one second.
fn tasks(graph: &Graph, plan: &Plan, capacity: &Capacity) -> Vec<Task> {
    let forecast = Forecast::of_hits(graph, plan);
    let tasks = graph.ids().map(|id| {
        let Instance { stage, request, .. } = graph.instance(id);
        let share = request.gpu_memory_mib.map_or(GpuShare::Whole, GpuShare::Memory);
        Task {
            inputs: producers(graph, id).collect(),
            cost: forecast.duration(stage).unwrap_or(Duration::from_secs(1)).as_secs_f64(),
            demand: Demand {
                cpus: request.cpus,
                memory_mib: match request.memory_mib {
                    0 => forecast.peak_mib(stage),
                    declared => declared,
                },
                gpu: (request.gpu && !capacity.gpus_mib.is_empty()).then_some(share),
            },
            retries: request.retries,
        }
    });
    tasks.collect()
}
