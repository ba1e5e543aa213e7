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

mod capacity;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ablate_stage::cache::ActionDigest;

use crate::graph::InstanceId;
pub use capacity::{Capacity, Demand, GpuShare, Grant};
use capacity::{Free, Lack};

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
    /// Another process performs the action.
    Held(ActionDigest),
    /// The time for which [`Effect::Delay`] or [`Effect::Yield`] put the action off is over.
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
    /// Answer [`Event::Ready`] after a moment, in which others may run.
    Yield(ActionDigest),
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
        self.advance((0..self.tasks.len()).map(InstanceId).collect(), &mut effects);
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
            Event::Held(digest) => {
                let instances = self.release(&digest);
                let action = self.actions.get_mut(&digest).expect("it was started");
                action.instances.clone_from(&instances);
                action.tries -= 1;
                instances.into_iter().for_each(|id| self.set(id, Phase::Delayed(digest)));
                effects.push(Effect::Yield(digest));
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
        self.advance(self.consumers[id.0].iter().copied().collect(), effects);
    }

    /// Keys instances that wait for nothing, and skips those that wait in vain, with all that waits for them.
    fn advance(&mut self, mut ids: VecDeque<InstanceId>, effects: &mut Vec<Effect>) {
        while let Some(id) = ids.pop_front() {
            if self.phase(id) != Phase::Waiting {
                continue;
            }
            if self.missing[id.0] == 0 {
                self.set(id, Phase::Keying);
                effects.push(Effect::Resolve(id));
            } else if let Some(cause) = self.failed_need(id) {
                self.set(id, Phase::Skipped(cause));
                effects.push(Effect::Ended(id, Phase::Skipped(cause)));
                ids.extend(&self.consumers[id.0]);
            }
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
        self.advance(producers.iter().copied().collect(), effects);
        if again {
            self.advance(instances.into_iter().collect(), effects);
        } else {
            // Those whose inputs cannot be made again are skipped by now.
            for id in instances {
                if !self.phase(id).is_over() {
                    self.end(id, Phase::Failed, effects);
                }
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
