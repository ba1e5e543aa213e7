//! Which action starts next: pure state, events in, effects out. No clock, no thread, no file.
//!
//! Every instance is in one [`Phase`], changed in one place only:
//!
//! ```text
//! Waiting → Keying → Queued → Running → Done | Failed
//!    ↑         │       ↑         ├─→ Delayed ─┐  it went wrong, and is tried again later
//!    │         │       └─────────┼────────────┘
//!    │         └─────────────────┼─→ Done   its result is there
//!    └───────────────────────────┘  an input was lost, and is made again; or it was asked to stop
//! Waiting → Skipped     something it needs failed
//! ```
//!
//! The failure of one action skips what depends on it; everything else goes on. Instances with one key share one action.
//! Among ready actions the one with the longest way to the end of the graph goes first. Where it does not fit into what is
//! free, others go ahead of it only as far as they leave alone what it waits for, so that nothing waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use ablate_stage::cache::ActionDigest;

use crate::graph::InstanceId;

/// An action that loses its worker or its inputs this often has failed.
pub const MOST_TRIES: usize = 3;

/// What the scheduler knows of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The instances it takes inputs from.
    pub inputs: Vec<InstanceId>,
    /// Its expected duration, in any unit.
    pub cost: f64,
    /// What it takes up while it runs.
    pub demand: Demand,
    /// How often it is tried again when it fails by itself.
    pub retries: usize,
}

/// What an action takes up while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Most threads it can use well; it gets at least one.
    pub cpus: usize,
    /// Memory in MiB; 0 where nothing is known.
    pub memory_mib: u64,
    /// What it takes of a GPU.
    pub gpu: Option<GpuShare>,
}

/// What an action takes of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuShare {
    /// All of it.
    Whole,
    /// That much of its memory, in MiB; others may use the rest.
    Memory(u64),
}

/// What can be used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Actions at once.
    pub slots: usize,
    /// Threads, shared out among the actions.
    pub cpus: usize,
    /// Memory in MiB. An action that needs more runs beside none that needs any.
    pub memory_mib: u64,
    /// The memory of each GPU in MiB; [`u64::MAX`] where it is not known.
    pub gpus_mib: Vec<u64>,
}

/// What a starting action is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Threads.
    pub threads: usize,
    /// Index of its GPU in [`Capacity::gpus_mib`].
    pub gpu: Option<usize>,
}

/// What of the capacity is free.
#[derive(Clone, Debug)]
struct Free {
    slots: usize,
    cpus: usize,
    memory_mib: u64,
    gpus: Vec<FreeGpu>,
}

#[derive(Clone, Copy, Debug)]
struct FreeGpu {
    memory_mib: u64,
    users: usize,
}

/// Why an action cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Memory,
    Gpu,
}

impl Free {
    fn of(capacity: &Capacity) -> Self {
        let gpus = capacity.gpus_mib.iter().map(|&memory_mib| FreeGpu { memory_mib, users: 0 });
        Self {
            slots: capacity.slots,
            cpus: capacity.cpus,
            memory_mib: capacity.memory_mib,
            gpus: gpus.collect(),
        }
    }

    /// The GPU an action would run on, if it uses one, or what it lacks.
    fn place(&self, demand: &Demand, capacity: &Capacity) -> Result<Option<usize>, Lack> {
        let memory_is_held = self.memory_mib < capacity.memory_mib;
        if demand.memory_mib > self.memory_mib && memory_is_held {
            return Err(Lack::Memory);
        }
        let fits = |(index, gpu): &(usize, &FreeGpu)| match demand.gpu {
            Some(GpuShare::Memory(mib)) => mib.min(capacity.gpus_mib[*index]) <= gpu.memory_mib,
            Some(GpuShare::Whole) | None => gpu.users == 0,
        };
        match demand.gpu {
            None => Ok(None),
            // The fullest that has room, so that an empty one is left for who needs it whole.
            Some(_) => {
                let best = self.gpus.iter().enumerate().filter(fits).min_by_key(|(_, gpu)| gpu.memory_mib);
                best.map(|(index, _)| Some(index)).ok_or(Lack::Gpu)
            }
        }
    }

    fn take(&mut self, demand: &Demand, grant: Grant) {
        self.slots -= 1;
        self.cpus = self.cpus.saturating_sub(grant.threads);
        self.memory_mib = self.memory_mib.saturating_sub(demand.memory_mib);
        if let Some(index) = grant.gpu {
            let gpu = &mut self.gpus[index];
            gpu.users += 1;
            gpu.memory_mib = match demand.gpu {
                Some(GpuShare::Memory(mib)) => gpu.memory_mib.saturating_sub(mib),
                Some(GpuShare::Whole) | None => 0,
            };
        }
    }
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some input is not done.
    Waiting,
    /// Every input is done; its key is being looked up.
    Keying,
    /// Its action is to be performed, and waits for a slot.
    Queued(ActionDigest),
    /// Its action went wrong, and waits a while before it is tried again.
    Delayed(ActionDigest),
    /// Its action is being performed.
    Running(ActionDigest),
    /// It has its result.
    Done,
    /// Its action failed.
    Failed,
    /// It cannot be done, because that instance failed.
    Skipped(InstanceId),
}

impl Phase {
    /// Whether it is done, failed or skipped.
    pub fn is_over(self) -> bool {
        match self {
            Self::Done | Self::Failed | Self::Skipped(_) => true,
            Self::Waiting | Self::Keying | Self::Queued(_) | Self::Delayed(_) | Self::Running(_) => false,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The instance's result is in the store.
    Cached(InstanceId),
    /// The instance's key is known, and there is no result.
    Missing(InstanceId, ActionDigest),
    /// The action has its result.
    Finished(ActionDigest),
    /// The action failed.
    Failed(ActionDigest),
    /// The action took longer than it may, and would again.
    Overdue(ActionDigest),
    /// The worker died over the action.
    Crashed(ActionDigest),
    /// The time for which [`Effect::Delay`] put the action off is over.
    Ready(ActionDigest),
    /// Inputs of the action are gone; these instances had made them.
    Lost(ActionDigest, Vec<InstanceId>),
    /// The action stopped because it was asked to.
    Stopped(ActionDigest),
    /// Nothing more is to be started.
    Stop,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Find the instance's key and answer [`Event::Cached`] or [`Event::Missing`].
    Resolve(InstanceId),
    /// Perform the action, which is that of the instance.
    Start(ActionDigest, InstanceId, Grant),
    /// Answer [`Event::Ready`] after a while, the longer the more often it was tried.
    Delay(ActionDigest, usize),
    /// The instance is over: its phase is `Done`, `Failed` or `Skipped`.
    Ended(InstanceId, Phase),
}

#[derive(Clone, Debug)]
struct Action {
    /// What it takes up: that of the first instance that had its key. Others may have declared other resources.
    demand: Demand,
    /// Instances whose action it is, in order.
    instances: BTreeSet<InstanceId>,
    /// What it was given, while it runs.
    grant: Option<Grant>,
    tries: usize,
}

/// The state of a run.
#[derive(Clone, Debug)]
pub struct Scheduler {
    tasks: Vec<Task>,
    consumers: Vec<Vec<InstanceId>>,
    /// Position in the order of starting; 0 is first.
    ranks: Vec<usize>,
    phases: Vec<Phase>,
    /// Inputs of each instance that are not done.
    missing: Vec<usize>,
    actions: BTreeMap<ActionDigest, Action>,
    /// Demand → rank → action to start. Sweeps have few demands and many actions.
    queues: BTreeMap<Demand, BTreeMap<usize, ActionDigest>>,
    capacity: Capacity,
    running: BTreeSet<ActionDigest>,
    /// Instances that are not over.
    open: usize,
    /// Instances whose key is being looked up. Nothing starts meanwhile, because they may be what should go first.
    keying: usize,
    /// Whether the first failure stops.
    fail_fast: bool,
    stopping: bool,
}

impl Scheduler {
    /// A run of these tasks, which are in topological order.
    ///
    /// # Panics
    /// When a task takes an input from itself or a later one, or the capacity has no slot, or none for a GPU task.
    pub fn new(tasks: Vec<Task>, capacity: Capacity) -> Self {
        assert!(capacity.slots > 0, "nothing can run without a slot");
        let mut consumers = vec![Vec::new(); tasks.len()];
        for (index, task) in tasks.iter().enumerate() {
            assert!(
                task.demand.gpu.is_none() || !capacity.gpus_mib.is_empty(),
                "a task needs a GPU and there is none"
            );
            for input in &task.inputs {
                assert!(input.0 < index, "tasks are in topological order");
                consumers[input.0].push(InstanceId(index));
            }
        }
        let open = tasks.len();
        Self {
            ranks: ranks(&tasks, &consumers),
            phases: vec![Phase::Waiting; tasks.len()],
            missing: tasks.iter().map(|task| task.inputs.len()).collect(),
            consumers,
            tasks,
            actions: BTreeMap::new(),
            queues: BTreeMap::new(),
            capacity,
            running: BTreeSet::new(),
            open,
            keying: 0,
            fail_fast: false,
            stopping: false,
        }
    }

    /// The same, where nothing more starts after the first failure.
    #[must_use]
    pub fn failing_fast(self, fail_fast: bool) -> Self {
        Self { fail_fast, ..self }
    }

    /// The first effects: the keys of everything that takes no input.
    pub fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.tasks.len() {
            self.advance(InstanceId(index), &mut effects);
        }
        effects
    }

    /// Where an instance stands.
    pub fn phase(&self, id: InstanceId) -> Phase {
        self.phases[id.0]
    }

    /// The instances an action belongs to.
    pub fn instances(&self, action: &ActionDigest) -> impl Iterator<Item = InstanceId> + '_ {
        self.actions.get(action).into_iter().flat_map(|action| action.instances.iter().copied())
    }

    /// Whether nothing runs, and nothing will.
    pub fn is_over(&self) -> bool {
        self.running.is_empty() && (self.stopping || self.open == 0)
    }

    /// Takes in an event, and says what to do now.
    ///
    /// # Panics
    /// When the event does not fit the phase of what it is about.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Cached(id) => self.end(id, Phase::Done, &mut effects),
            Event::Missing(id, digest) => self.enqueue(id, digest),
            Event::Finished(digest) => {
                for id in self.release(&digest) {
                    self.end(id, Phase::Done, &mut effects);
                }
            }
            Event::Failed(digest) => {
                let again = self.tries(&digest) <= self.task_of(&digest).retries;
                self.try_again(&digest, again, &mut effects);
            }
            Event::Overdue(digest) => self.try_again(&digest, false, &mut effects),
            Event::Crashed(digest) => {
                let again = self.tries(&digest) < MOST_TRIES;
                self.try_again(&digest, again, &mut effects);
            }
            Event::Ready(digest) => {
                let is_delayed = |&id: &InstanceId| self.phase(id) == Phase::Delayed(digest);
                let delayed: Vec<InstanceId> = self.instances(&digest).filter(is_delayed).collect();
                for id in delayed {
                    self.set(id, Phase::Keying);
                    self.enqueue(id, digest);
                }
            }
            Event::Lost(digest, producers) => self.lose(&digest, &producers, &mut effects),
            Event::Stopped(digest) => {
                for id in self.release(&digest) {
                    self.set(id, Phase::Waiting);
                }
            }
            Event::Stop => self.stopping = true,
        }
        self.start_ready(&mut effects);
        effects
    }

    /// The only place where a phase changes.
    fn set(&mut self, id: InstanceId, phase: Phase) {
        let earlier = std::mem::replace(&mut self.phases[id.0], phase);
        self.open += usize::from(earlier.is_over());
        self.open -= usize::from(phase.is_over());
        self.keying += usize::from(phase == Phase::Keying);
        self.keying -= usize::from(earlier == Phase::Keying);
        match (earlier == Phase::Done, phase == Phase::Done) {
            (false, true) => self.consumers[id.0].iter().for_each(|consumer| self.missing[consumer.0] -= 1),
            (true, false) => self.consumers[id.0].iter().for_each(|consumer| self.missing[consumer.0] += 1),
            (true, true) | (false, false) => {}
        }
    }

    fn end(&mut self, id: InstanceId, phase: Phase, effects: &mut Vec<Effect>) {
        assert!(!self.phase(id).is_over(), "an instance ends once");
        self.set(id, phase);
        self.stopping |= self.fail_fast && phase == Phase::Failed;
        effects.push(Effect::Ended(id, phase));
        for consumer in self.consumers[id.0].clone() {
            self.advance(consumer, effects);
        }
    }

    /// Keys an instance that waits for nothing, and skips one that waits in vain.
    fn advance(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        if self.phase(id) != Phase::Waiting {
            return;
        }
        if self.missing[id.0] == 0 {
            self.set(id, Phase::Keying);
            effects.push(Effect::Resolve(id));
        } else if let Some(cause) = self.failed_need(id) {
            self.end(id, Phase::Skipped(cause), effects);
        }
    }

    /// The failed instance an instance cannot do without, if there is one.
    fn failed_need(&self, id: InstanceId) -> Option<InstanceId> {
        self.tasks[id.0].inputs.iter().find_map(|&input| match self.phase(input) {
            Phase::Failed => Some(input),
            Phase::Skipped(cause) => Some(cause),
            Phase::Waiting
            | Phase::Keying
            | Phase::Queued(_)
            | Phase::Delayed(_)
            | Phase::Running(_)
            | Phase::Done => None,
        })
    }

    fn enqueue(&mut self, id: InstanceId, digest: ActionDigest) {
        assert_eq!(self.phase(id), Phase::Keying, "only an instance that is being keyed gets a key");
        let demand = self.tasks[id.0].demand;
        let new = || Action { demand, instances: BTreeSet::new(), grant: None, tries: 0 };
        let action = self.actions.entry(digest).or_insert_with(new);
        action.instances.insert(id);
        if action.grant.is_some() {
            self.set(id, Phase::Running(digest));
        } else {
            self.queues.entry(action.demand).or_default().insert(self.ranks[id.0], digest);
            self.set(id, Phase::Queued(digest));
        }
    }

    fn start_ready(&mut self, effects: &mut Vec<Effect>) {
        while !self.stopping && self.keying == 0 && self.running.len() < self.capacity.slots {
            let Some((digest, gpu)) = self.next_to_start() else { return };
            let demand = self.actions[&digest].demand;
            let free = self.free();
            // What is ready shares what is free.
            let ready: usize = self.queues.values().map(BTreeMap::len).sum();
            let sharers = ready.min(free.slots).max(1);
            let threads = demand.cpus.min(free.cpus.div_ceil(sharers)).max(1);
            let grant = Grant { threads, gpu };
            self.running.insert(digest);
            let action = self.actions.get_mut(&digest).expect("what is queued is an action");
            action.grant = Some(grant);
            action.tries += 1;
            let instances = action.instances.clone();
            let queue = self.queues.get_mut(&demand).expect("it came from this queue");
            for id in &instances {
                queue.remove(&self.ranks[id.0]);
            }
            if queue.is_empty() {
                self.queues.remove(&demand);
            }
            effects.push(Effect::Start(
                digest,
                *instances.first().expect("an action has an instance"),
                grant,
            ));
            for id in instances {
                self.set(id, Phase::Running(digest));
            }
        }
    }

    /// The first action in order of rank that may start, and its GPU.
    fn next_to_start(&self) -> Option<(ActionDigest, Option<usize>)> {
        let mut heads: Vec<(usize, &Demand, ActionDigest)> = self
            .queues
            .iter()
            .filter_map(|(demand, queue)| {
                queue.first_key_value().map(|(&rank, &digest)| (rank, demand, digest))
            })
            .collect();
        heads.sort_unstable_by_key(|&(rank, ..)| rank);
        let free = self.free();
        let mut gpu_is_waited_for = false;
        for (_, demand, digest) in heads {
            if gpu_is_waited_for && demand.gpu.is_some() {
                continue;
            }
            match free.place(demand, &self.capacity) {
                Ok(gpu) => return Some((digest, gpu)),
                Err(Lack::Memory) => return None,
                Err(Lack::Gpu) => gpu_is_waited_for = true,
            }
        }
        None
    }

    /// What the running actions leave.
    fn free(&self) -> Free {
        let mut free = Free::of(&self.capacity);
        for digest in &self.running {
            let action = &self.actions[digest];
            free.take(&action.demand, action.grant.expect("what runs was given something"));
        }
        free
    }

    /// Ends a running action, and hands out its instances.
    fn release(&mut self, digest: &ActionDigest) -> BTreeSet<InstanceId> {
        let action = self.actions.get_mut(digest).expect("only an action that was started can end");
        assert!(action.grant.take().is_some(), "only a running action can end");
        self.running.remove(digest);
        std::mem::take(&mut action.instances)
    }

    /// An action that went wrong is tried again after a while, or has failed.
    fn try_again(&mut self, digest: &ActionDigest, again: bool, effects: &mut Vec<Effect>) {
        let instances = self.release(digest);
        if again {
            let action = self.actions.get_mut(digest).expect("it just ran");
            action.instances.clone_from(&instances);
            effects.push(Effect::Delay(*digest, action.tries));
        }
        for id in instances {
            if again {
                self.set(id, Phase::Delayed(*digest));
            } else {
                self.end(id, Phase::Failed, effects);
            }
        }
    }

    fn lose(&mut self, digest: &ActionDigest, producers: &[InstanceId], effects: &mut Vec<Effect>) {
        let again = self.tries(digest) < MOST_TRIES;
        let instances = self.release(digest);
        for &id in &instances {
            self.set(id, Phase::Waiting);
        }
        for &producer in producers {
            if self.phase(producer) == Phase::Done {
                self.set(producer, Phase::Waiting);
            }
        }
        for &producer in producers {
            self.advance(producer, effects);
        }
        for id in instances {
            if again {
                self.advance(id, effects);
            } else {
                self.end(id, Phase::Failed, effects);
            }
        }
    }

    fn tries(&self, digest: &ActionDigest) -> usize {
        self.actions.get(digest).map_or(0, |action| action.tries)
    }

    /// The task of an action. Equal keys are equal stages, so any instance speaks for all.
    fn task_of(&self, digest: &ActionDigest) -> &Task {
        let id = self.instances(digest).next().expect("an action has an instance");
        &self.tasks[id.0]
    }
}

/// Order of starting: by the cost of the longest path from the task to an end, then by position.
fn ranks(tasks: &[Task], consumers: &[Vec<InstanceId>]) -> Vec<usize> {
    let mut path = vec![0.0_f64; tasks.len()];
    for index in (0..tasks.len()).rev() {
        let rest = consumers[index].iter().map(|consumer| path[consumer.0]).fold(0.0, f64::max);
        path[index] = tasks[index].cost + rest;
    }
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by(|&a, &b| path[b].total_cmp(&path[a]).then(a.cmp(&b)));
    let mut ranks = vec![0; tasks.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index] = rank;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn action(name: usize) -> ActionDigest {
        ActionDigest::of_manifest(&name.to_string())
    }

    fn task(inputs: &[usize], cost: f64) -> Task {
        let inputs = inputs.iter().map(|&id| InstanceId(id)).collect();
        Task { inputs, cost, demand: Demand { cpus: 1, ..Demand::default() }, retries: 0 }
    }

    fn with(demand: Demand) -> Task {
        Task { demand, ..task(&[], 1.0) }
    }

    /// So many slots with a thread each, and memory without end.
    fn slots(slots: usize) -> Capacity {
        Capacity { slots, cpus: slots, memory_mib: u64::MAX, gpus_mib: Vec::new() }
    }

    fn started(id: usize) -> Effect {
        Effect::Start(action(id), InstanceId(id), Grant { threads: 1, gpu: None })
    }

    /// What starts of these tasks at once: instance, threads, GPU.
    fn first(tasks: Vec<Task>, capacity: Capacity) -> Vec<(usize, usize, Option<usize>)> {
        let mut scheduler = Scheduler::new(tasks, capacity);
        let effects = scheduler.start();
        let told = settle(&mut scheduler, effects);
        let start = |effect| match effect {
            Effect::Start(_, id, Grant { threads, gpu }) => (id.0, threads, gpu),
            other => panic!("{other:?}"),
        };
        told.into_iter().map(start).collect()
    }

    /// Resolves everything as missing under its own key, and collects the rest.
    fn settle(scheduler: &mut Scheduler, effects: Vec<Effect>) -> Vec<Effect> {
        let mut told = Vec::new();
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Resolve(id) => effects.extend(scheduler.on(Event::Missing(id, action(id.0)))),
                Effect::Start(..) | Effect::Delay(..) | Effect::Ended(..) => told.push(effect),
            }
        }
        told
    }

    fn on(scheduler: &mut Scheduler, event: Event) -> Vec<Effect> {
        let effects = scheduler.on(event);
        settle(scheduler, effects)
    }

    #[test]
    fn the_longest_way_goes_first() {
        // 0 → 2 costs 1 + 9; 1 costs 5.
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[], 5.0), task(&[0], 9.0)], slots(1));
        let effects = scheduler.start();
        let mut told = settle(&mut scheduler, effects);
        let mut order = Vec::new();
        while let Some(Effect::Start(digest, id, _)) = told.pop() {
            order.push(id.0);
            told = on(&mut scheduler, Event::Finished(digest));
        }
        assert_eq!(order, [0, 2, 1]);
        assert!(scheduler.is_over());
    }

    #[test]
    fn a_failure_skips_what_depends_on_it_and_nothing_else() {
        let tasks = vec![task(&[], 3.0), task(&[0], 1.0), task(&[1], 1.0), task(&[], 1.0)];
        let mut scheduler = Scheduler::new(tasks, slots(1));
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        let told = on(&mut scheduler, Event::Failed(action(0)));
        let expected = [
            Effect::Ended(InstanceId(0), Phase::Failed),
            Effect::Ended(InstanceId(1), Phase::Skipped(InstanceId(0))),
            Effect::Ended(InstanceId(2), Phase::Skipped(InstanceId(0))),
            started(3),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn one_key_is_one_action() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[], 1.0)], slots(2));
        scheduler.start();
        assert_eq!(scheduler.on(Event::Missing(InstanceId(0), action(7))), []);
        let start = Effect::Start(action(7), InstanceId(0), Grant { threads: 1, gpu: None });
        assert_eq!(scheduler.on(Event::Missing(InstanceId(1), action(7))), [start]);
        let ends = [0, 1].map(|id| Effect::Ended(InstanceId(id), Phase::Done));
        assert_eq!(scheduler.on(Event::Finished(action(7))), ends);
    }

    #[test]
    fn a_crash_is_tried_again_a_few_times_and_a_failure_as_often_as_it_may() {
        let check = |retries: usize, event: fn(ActionDigest) -> Event, times: usize| {
            let mut scheduler = Scheduler::new(vec![Task { retries, ..task(&[], 1.0) }], slots(1));
            let effects = scheduler.start();
            settle(&mut scheduler, effects);
            for tried in 1..times {
                let again = on(&mut scheduler, event(action(0)));
                assert_eq!(again, [Effect::Delay(action(0), tried)]);
                assert!(!scheduler.is_over());
                assert_eq!(on(&mut scheduler, Event::Ready(action(0))), [started(0)]);
            }
            let told = on(&mut scheduler, event(action(0)));
            assert_eq!(told, [Effect::Ended(InstanceId(0), Phase::Failed)]);
            assert!(scheduler.is_over());
        };
        check(0, Event::Crashed, MOST_TRIES);
        check(0, Event::Failed, 1);
        check(2, Event::Failed, 3);
        check(2, Event::Overdue, 1);
    }

    #[test]
    fn what_is_ready_shares_the_threads() {
        let all = Demand { cpus: usize::MAX, ..Demand::default() };
        let one = Demand { cpus: 1, ..Demand::default() };
        let capacity = Capacity { cpus: 8, ..slots(8) };
        assert_eq!(first(vec![with(all)], capacity.clone()), [(0, 8, None)]);
        assert_eq!(first(vec![with(all); 3], capacity.clone()), [(0, 3, None), (1, 3, None), (2, 2, None)]);
        assert_eq!(first(vec![with(one), with(all)], capacity.clone()), [(0, 1, None), (1, 7, None)]);
        assert_eq!(first(vec![with(all); 9], capacity).len(), 8);
        let crowded = Capacity { cpus: 1, ..slots(2) };
        assert_eq!(first(vec![with(all); 2], crowded), [(0, 1, None), (1, 1, None)]);
    }

    #[test]
    fn memory_is_not_promised_twice_and_nobody_jumps_the_queue_for_it() {
        let needs = |memory_mib| with(Demand { cpus: 1, memory_mib, gpu: None });
        let capacity = Capacity { memory_mib: 100, ..slots(8) };
        let ids = |tasks| first(tasks, capacity.clone()).into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
        assert_eq!(ids(vec![needs(50), needs(50), needs(1)]), [0, 1]);
        assert_eq!(ids(vec![needs(60), needs(50), needs(1)]), [0]);
        // More than there is runs alone.
        assert_eq!(ids(vec![needs(500), needs(1)]), [0]);
        assert_eq!(ids(vec![needs(1), needs(500)]), [0]);
    }

    #[test]
    fn gpus_are_packed_by_memory_and_the_processor_does_not_wait_for_them() {
        let gpu = |share| with(Demand { cpus: 1, memory_mib: 0, gpu: Some(share) });
        let capacity = Capacity { gpus_mib: vec![100, 80], ..slots(8) };
        let check = |tasks, expected: &[(usize, Option<usize>)]| {
            let told = first(tasks, capacity.clone()).into_iter().map(|(id, _, gpu)| (id, gpu));
            assert_eq!(told.collect::<Vec<_>>(), expected);
        };
        let part = |mib| gpu(GpuShare::Memory(mib));
        check(
            vec![part(40), part(40), part(40), part(40), part(40), task(&[], 1.0)],
            &[(0, Some(1)), (1, Some(1)), (2, Some(0)), (3, Some(0)), (5, None)],
        );
        check(vec![part(10), gpu(GpuShare::Whole), gpu(GpuShare::Whole)], &[(0, Some(1)), (1, Some(0))]);
        // A smaller one does not keep a GPU from the one before it.
        check(
            vec![part(10), gpu(GpuShare::Whole), gpu(GpuShare::Whole), part(10)],
            &[(0, Some(1)), (1, Some(0))],
        );
        check(vec![part(1000)], &[(0, Some(1))]);
    }

    #[test]
    fn a_lost_input_is_made_again_first() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[0], 1.0)], slots(1));
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        on(&mut scheduler, Event::Finished(action(0)));
        let told = on(&mut scheduler, Event::Lost(action(1), vec![InstanceId(0)]));
        assert_eq!(told, [started(0)]);
        let told = on(&mut scheduler, Event::Finished(action(0)));
        assert_eq!(told, [Effect::Ended(InstanceId(0), Phase::Done), started(1)]);
    }

    #[test]
    fn a_producer_that_fails_the_second_time_skips_who_lost_it() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[0], 1.0), task(&[0], 1.0)], slots(2));
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        on(&mut scheduler, Event::Finished(action(0)));
        on(&mut scheduler, Event::Lost(action(1), vec![InstanceId(0)]));
        on(&mut scheduler, Event::Failed(action(0)));
        assert_eq!(scheduler.phase(InstanceId(1)), Phase::Skipped(InstanceId(0)));
        on(&mut scheduler, Event::Lost(action(2), vec![InstanceId(0)]));
        assert_eq!(scheduler.phase(InstanceId(2)), Phase::Skipped(InstanceId(0)));
        assert!(scheduler.is_over());
    }

    #[test]
    fn nothing_starts_after_a_stop() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[], 1.0)], slots(1));
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        assert_eq!(on(&mut scheduler, Event::Stop), []);
        assert!(!scheduler.is_over());
        assert_eq!(on(&mut scheduler, Event::Stopped(action(0))), []);
        assert!(scheduler.is_over());
    }

    /// What happens to the next action that runs.
    #[derive(Clone, Debug)]
    enum Fate {
        Finished,
        Failed,
        Crashed,
        Lost,
    }

    #[derive(Clone, Debug)]
    struct Drawn {
        inputs: Vec<usize>,
        demand: Demand,
        retries: usize,
        key: usize,
        cached: bool,
    }

    fn graphs() -> impl Strategy<Value = Vec<Drawn>> {
        let share = prop_oneof![Just(GpuShare::Whole), (1_u64..6).prop_map(GpuShare::Memory)];
        let demand = (1_usize..5, 0_u64..6, proptest::option::of(share));
        let demand = demand.prop_map(|(cpus, memory_mib, gpu)| Demand { cpus, memory_mib, gpu });
        let inputs = proptest::collection::vec(0_usize..1000, 0..3);
        let task = (inputs, demand, 0_usize..2, 0_usize..6, any::<bool>());
        let task = task.prop_map(|(inputs, demand, retries, key, cached)| Drawn {
            inputs,
            demand,
            retries,
            key,
            cached,
        });
        proptest::collection::vec(task, 1..24)
    }

    fn fates() -> impl Strategy<Value = Vec<(Fate, usize)>> {
        let fate = prop_oneof![
            6 => Just(Fate::Finished),
            1 => Just(Fate::Failed),
            1 => Just(Fate::Crashed),
            1 => Just(Fate::Lost),
        ];
        proptest::collection::vec((fate, 0_usize..8), 200)
    }

    proptest! {
        /// Under any outcome: never more at once than there is room for, nothing before its inputs, every instance over in
        /// the end, and skipped only where something it needs failed.
        #[test]
        fn every_run_comes_to_an_end(
            graph in graphs(), fates in fates(), slots in 1_usize..4, gpus in 1_usize..3, memory_mib in 1_u64..8,
        ) {
            let tasks: Vec<Task> = graph.iter().enumerate().map(|(index, drawn)| {
                let inputs: BTreeSet<InstanceId> =
                    drawn.inputs.iter().filter(|_| index > 0).map(|input| InstanceId(input % index.max(1))).collect();
                Task { inputs: inputs.into_iter().collect(), cost: 1.0, demand: drawn.demand, retries: drawn.retries }
            }).collect();
            let capacity = Capacity { slots, cpus: slots + 1, memory_mib, gpus_mib: vec![4; gpus] };
            let mut scheduler = Scheduler::new(tasks.clone(), capacity.clone());
            let mut running: BTreeMap<ActionDigest, (InstanceId, Grant)> = BTreeMap::new();
            let mut effects = std::collections::VecDeque::from(scheduler.start());
            let mut delayed = Vec::new();
            let mut fates = fates.into_iter();
            loop {
                while let Some(effect) = effects.pop_front() {
                    match effect {
                        Effect::Resolve(id) => {
                            for input in &tasks[id.0].inputs {
                                prop_assert_eq!(scheduler.phase(*input), Phase::Done);
                            }
                            let drawn = &graph[id.0];
                            // Instances of one key are alike, and so take the same inputs.
                            let alike = format!("{:?} {}", tasks[id.0].inputs, drawn.key);
                            let event = if drawn.cached && drawn.key == 0 {
                                Event::Cached(id)
                            } else {
                                Event::Missing(id, ActionDigest::of_manifest(&alike))
                            };
                            effects.extend(scheduler.on(event));
                        }
                        Effect::Start(digest, id, grant) => {
                            prop_assert!(running.insert(digest, (id, grant)).is_none());
                        }
                        Effect::Delay(digest, _) => delayed.push(digest),
                        Effect::Ended(id, phase) => prop_assert_eq!(scheduler.phase(id), phase),
                    }
                }
                prop_assert!(running.len() <= slots);
                let demand_of = |digest: &ActionDigest| scheduler.actions[digest].demand;
                let demands = || running.iter().map(|(digest, (_, grant))| (demand_of(digest), *grant));
                let memory: u64 = demands().map(|(demand, _)| demand.memory_mib).sum();
                let holders = demands().filter(|(demand, _)| demand.memory_mib > 0).count();
                prop_assert!(memory <= memory_mib || holders == 1);
                for gpu in 0..gpus {
                    let shares: Vec<GpuShare> =
                        demands().filter(|(_, grant)| grant.gpu == Some(gpu)).filter_map(|(demand, _)| demand.gpu).collect();
                    let used: u64 = shares.iter().map(|share| match share {
                        GpuShare::Whole => 4,
                        GpuShare::Memory(mib) => *mib,
                    }).sum();
                    prop_assert!(used <= 4 || shares.len() == 1, "{shares:?}");
                }
                for (demand, grant) in demands() {
                    prop_assert_eq!(demand.gpu.is_some(), grant.gpu.is_some());
                    prop_assert!((1..=demand.cpus.max(1)).contains(&grant.threads));
                }
                if running.is_empty() && delayed.is_empty() {
                    break;
                }
                let (fate, choice) = fates.next().unwrap_or((Fate::Finished, 0));
                if running.is_empty() || (choice == 0 && !delayed.is_empty()) {
                    effects.extend(scheduler.on(Event::Ready(delayed.remove(0))));
                    continue;
                }
                let digest = *running.keys().nth(choice % running.len()).unwrap();
                let (id, _) = running.remove(&digest).unwrap();
                effects.extend(scheduler.on(match fate {
                    Fate::Finished => Event::Finished(digest),
                    Fate::Failed => Event::Failed(digest),
                    Fate::Crashed => Event::Crashed(digest),
                    Fate::Lost => Event::Lost(digest, tasks[id.0].inputs.clone()),
                }));
            }
            prop_assert!(scheduler.is_over());
            for (index, task) in tasks.iter().enumerate() {
                match scheduler.phase(InstanceId(index)) {
                    Phase::Done | Phase::Failed => {}
                    Phase::Skipped(cause) => {
                        prop_assert_eq!(scheduler.phase(cause), Phase::Failed);
                        let needs = |input: &InstanceId| !matches!(scheduler.phase(*input), Phase::Done);
                        prop_assert!(task.inputs.iter().any(needs));
                    }
                    phase => prop_assert!(false, "instance {index} ended as {phase:?}"),
                }
            }
        }
    }
}
