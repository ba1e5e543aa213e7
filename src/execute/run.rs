//! A run that goes on: what is known of each instance, and what follows from what happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ablate_stage::Device;
use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Store};

use super::delays::Delays;
use super::slots::{News, Slots, Work, WorkerId};
use super::{End, ExecuteError, Message, Settings, Summary};
use crate::forecast::Forecast;
use crate::graph::{Graph, Instance, InstanceId};
use crate::journal::{Counts, Event, Outcome};
use crate::kin::Kindred;
use crate::manifest::Manifest;
use crate::plan::{Keys, Plan, State, producers};
use crate::scheduler::{self, Capacity, Demand, Effect, GpuShare, Grant, Phase, Scheduler, Task};
use crate::worker::{Reply, Request};

/// What a run is about, and what it works with.
pub struct Surroundings<'a> {
    pub graph: &'a Graph,
    pub store: &'a Store,
    pub settings: &'a Settings,
}

/// A run that goes on.
pub struct Run<'a> {
    graph: &'a Graph,
    store: &'a Store,
    settings: &'a Settings,
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
    slots: &'a mut Slots,
    delays: Delays,
    interrupts: usize,
    /// Instances of which it was told that another run performs them.
    told_of_others: BTreeSet<InstanceId>,
    /// Stages whose declared resources were found to be wrong, and told so.
    advised: BTreeSet<Arc<str>>,
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

impl<'a> Run<'a> {
    /// One about to begin, with what the plan found.
    pub fn new(
        surroundings: Surroundings<'a>,
        slots: &'a mut Slots,
        keys: Keys<'a>,
        scheduler: Scheduler,
        planned: Vec<State>,
        observer: &'a mut dyn FnMut(Event),
    ) -> Self {
        let Surroundings { graph, store, settings } = surroundings;
        Self {
            graph,
            store,
            settings,
            observer,
            keys,
            scheduler,
            known: planned.iter().map(|_| Known::default()).collect(),
            planned,
            manifests: BTreeMap::new(),
            kindred: Kindred::default(),
            slots,
            delays: Delays::default(),
            interrupts: 0,
            told_of_others: BTreeSet::new(),
            advised: BTreeSet::new(),
        }
    }

    /// Starts what can start.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn start(&mut self) -> Result<(), ExecuteError> {
        let effects = self.scheduler.start();
        self.carry_out(effects)
    }

    /// Whether nothing runs, and nothing will.
    pub fn is_over(&self) -> bool {
        self.scheduler.is_over()
    }

    /// When there is something to do even if nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.slots.next_deadline().into_iter().chain(self.delays.next()).min()
    }

    /// Hands out what was put off for long enough, and ends what has run out of time.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn look_at_the_clock(&mut self, now: Instant) -> Result<(), ExecuteError> {
        while let Some(action) = self.delays.take_ready(now) {
            // It takes up nothing, not even a place in the queue, while somebody else is at it.
            if self.delays.is_held(&action) && self.store.try_lock(&action)?.is_none() {
                self.delays.yield_to_other(action, now);
            } else {
                self.on(scheduler::Event::Ready(action))?;
            }
        }
        self.slots.enforce_limits(now);
        Ok(())
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn take(&mut self, message: Message) -> Result<(), ExecuteError> {
        match message {
            Message::Wake => Ok(()),
            Message::Worker(id, News::Gone) => self.gone(id),
            Message::Worker(id, news) => {
                let Some(work) = self.slots.work(id) else { return Ok(()) };
                match news {
                    News::Reply(reply) => self.reply(id.slot, work, *reply),
                    News::Printed(line) => {
                        let instance = self.name(work.instance);
                        self.tell(Event::Output { instance, line });
                        Ok(())
                    }
                    News::Gone => Ok(()),
                }
            }
        }
    }

    /// The first time, has what runs checkpoint and stop; then kills it.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub fn interrupt(&mut self) -> Result<(), ExecuteError> {
        self.interrupts += 1;
        if self.interrupts > 1 {
            self.slots.kill();
            return Ok(());
        }
        self.on(scheduler::Event::Stop)?;
        self.slots.stop();
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        (self.observer)(event);
    }

    fn name(&self, id: InstanceId) -> String {
        self.graph.instance_name(id)
    }

    fn on(&mut self, event: scheduler::Event) -> Result<(), ExecuteError> {
        let effects = self.scheduler.on(event);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), ExecuteError> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Resolve(id) => {
                    let event = self.resolve(id)?;
                    effects.extend(self.scheduler.on(event));
                }
                Effect::Start(action, id, grant) => self.perform(Work::new(action, id), grant)?,
                Effect::Delay(action, tries) => self.delays.put_off(action, tries, Instant::now()),
                Effect::Yield(action) => self.delays.yield_to_other(action, Instant::now()),
                Effect::Ended(id, phase) => self.ended(id, phase),
            }
        }
        Ok(())
    }

    /// Finds the key of an instance, and its result.
    fn resolve(&mut self, id: InstanceId) -> Result<scheduler::Event, ExecuteError> {
        let planned = std::mem::replace(&mut self.planned[id.0], State::Pending(Vec::new()));
        if let State::Hit(action, result) = planned {
            self.known[id.0].action = Some(action);
            self.known[id.0].result = Some(*result);
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

    fn perform(&mut self, work: Work, grant: Grant) -> Result<(), ExecuteError> {
        // Until the order is on the record, gc may not see what it needs.
        let _pin = self.store.pin()?;
        if let Some(manifest) = self.manifests.get(&work.action) {
            self.store.put_manifest(&manifest.to_string())?;
        }
        let device = grant.gpu.map_or(Device::Cpu, |index| self.settings.gpus[index]);
        let request = Request {
            action: work.action,
            project: self.settings.project.clone(),
            commit: self.settings.commit.clone(),
            device: device.to_string(),
            threads: grant.threads,
            kin: self.kin(&work)?,
            rehash: self.settings.rehash,
        };
        // On the record before it begins, so that gc leaves alone what comes of it; once, however often it is asked for.
        if !self.told_of_others.contains(&work.instance) {
            self.tell(Event::Ordered { instance: self.name(work.instance), action: work.action });
        }
        self.slots.perform(work, request, device)
    }

    /// A finished action that the stage can make use of.
    fn kin(&mut self, work: &Work) -> Result<Option<ActionDigest>, ExecuteError> {
        let Some(kin) = self.graph.instance(work.instance).params.kin() else { return Ok(None) };
        let Some(manifest) = self.manifests.get(&work.action) else { return Ok(None) };
        Ok(self.kindred.nearest(self.store, manifest, kin)?)
    }

    fn reply(&mut self, slot: usize, work: Work, reply: Reply) -> Result<(), ExecuteError> {
        let action = work.action;
        let instance = self.name(work.instance);
        match reply {
            Reply::Held => {
                if self.told_of_others.insert(work.instance) {
                    self.tell(Event::Waiting { instance });
                }
                return self.over(slot, work, scheduler::Event::Held(action));
            }
            Reply::Started => {
                if let Some(time) = self.graph.instance(work.instance).request.time {
                    self.slots.limit(slot, time);
                }
                self.tell(Event::Started { instance, action });
            }
            Reply::Resumed(from) => self.tell(Event::Resumed { instance, from }),
            Reply::Line(line) => self.tell(Event::Output { instance, line }),
            Reply::Progress(progress) => self.tell(Event::Progress { instance, progress }),
            Reply::Broken(error) => return Err(ExecuteError::Broken(error)),
            Reply::Done { result, performed } => {
                self.done(work, &result, performed);
                return self.over(slot, work, scheduler::Event::Finished(action));
            }
            Reply::Failed(error) => {
                self.went_wrong(&action, &error);
                return self.over(slot, work, scheduler::Event::Failed(action));
            }
            Reply::Lost(digests, error) => {
                self.went_wrong(&action, &error);
                let makers = digests.iter().flat_map(|digest| self.makers(digest)).collect();
                return self.over(slot, work, scheduler::Event::Lost(action, makers));
            }
            Reply::Panicked(error) => {
                self.went_wrong(&action, &error);
                self.slots.retire(slot);
                return self.over(slot, work, scheduler::Event::Failed(action));
            }
            Reply::Stopped => {
                self.slots.retire(slot);
                let event = match self.overdue(work) {
                    Some(event) => event,
                    None if self.interrupts > 0 => scheduler::Event::Stopped(action),
                    None => {
                        self.went_wrong(&action, "it stopped without being asked to");
                        scheduler::Event::Failed(action)
                    }
                };
                return self.over(slot, work, event);
            }
        }
        Ok(())
    }

    /// The work of a slot is over, for better or worse.
    fn over(&mut self, slot: usize, work: Work, event: scheduler::Event) -> Result<(), ExecuteError> {
        self.slots.clear(slot);
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
                    metrics: result.metrics.clone().into_iter().collect(),
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
        if declared > 0 && peak_mib > declared && self.advised.insert(Arc::clone(&instance.stage)) {
            let gib = |mib: u64| (mib as f64 / 1024.0 * 10.0).ceil() / 10.0;
            let text = format!(
                "it took up {} GiB of memory and declares {:.1}: write `resources: (memory_gib: {:.1})`",
                gib(peak_mib),
                declared as f64 / 1024.0,
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

    fn gone(&mut self, id: WorkerId) -> Result<(), ExecuteError> {
        let Some(death) = self.slots.bury(id) else { return Ok(()) };
        let Some(work @ Work { action, .. }) = self.slots.work(id) else { return Ok(()) };
        let event = if self.interrupts > 0 {
            scheduler::Event::Stopped(action)
        } else if let Some(event) = self.overdue(work) {
            event
        } else {
            self.went_wrong(&action, &death);
            scheduler::Event::Crashed(action)
        };
        self.over(id.slot, work, event)
    }

    /// What it means that an action stopped, where that was because its time was over.
    fn overdue(&mut self, work: Work) -> Option<scheduler::Event> {
        if !work.is_overdue() {
            return None;
        }
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

    /// What has become of everything.
    pub fn finish(self) -> Summary {
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
        let scheduler = &self.scheduler;
        let ends = self.graph.ids().zip(self.known).map(|(id, known)| match (scheduler.phase(id), known) {
            (Phase::Done, Known { action: Some(action), result: Some(result), .. }) => {
                End::Done(action, Box::new(result))
            }
            (Phase::Failed | Phase::Skipped(_), _) => End::Failed,
            (_, _) => End::Unfinished,
        });
        Summary { outcome, counts, interrupted: self.interrupts > 0, ends: ends.collect() }
    }
}

/// The scheduler's view of a graph. Durations, and memory where none is declared, are those of hits of the same stage; where nothing
/// is known, a pass counts as one second.
pub fn tasks(graph: &Graph, plan: &Plan, capacity: &Capacity) -> Vec<Task> {
    let forecast = Forecast::of_hits(graph, plan);
    let tasks = graph.ids().map(|id| {
        let instance @ Instance { stage, request, params, .. } = graph.instance(id);
        let share = request.gpu_memory_mib.map_or(GpuShare::Whole, GpuShare::Memory);
        Task {
            inputs: producers(graph, id).collect(),
            cost: forecast.of(instance).map_or_else(|| params.passes(), |usual| usual.as_secs_f64()),
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
