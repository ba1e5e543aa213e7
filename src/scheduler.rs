//! Which action starts next: pure state, events in, effects out. No clock, no thread, no file.
//!
//! Every instance is in one [`Phase`], changed in one place only:
//!
//! ```text
//! Waiting → Keying → Queued → Running → Done | Failed
//!    ↑         └────────────────────────↗
//!    └─ an input was lost, and is made again
//! Waiting → Skipped     something it needs failed
//! ```
//!
//! The failure of one action skips what depends on it; everything else goes on. Instances with one key share one action.
//! Among ready actions the one with the longest way to the end of the graph goes first.

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
    /// Whether it needs a GPU slot beside its worker.
    pub gpu: bool,
}

/// What can be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Actions at once.
    pub slots: usize,
    /// Of these, actions that use a GPU.
    pub gpus: usize,
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
    /// Its action is being performed.
    Running(ActionDigest),
    /// It has its result.
    Done,
    /// Its action failed, or its key could not be made.
    Failed,
    /// It cannot be done, because that instance failed.
    Skipped(InstanceId),
}

impl Phase {
    /// Whether it is done, failed or skipped.
    pub fn is_over(self) -> bool {
        match self {
            Self::Done | Self::Failed | Self::Skipped(_) => true,
            Self::Waiting | Self::Keying | Self::Queued(_) | Self::Running(_) => false,
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
    /// The instance's key cannot be made.
    Refused(InstanceId),
    /// The action has its result.
    Finished(ActionDigest),
    /// The action failed.
    Failed(ActionDigest),
    /// The worker died over the action.
    Crashed(ActionDigest),
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
    /// Find the instance's key and answer [`Event::Cached`], [`Event::Missing`] or [`Event::Refused`].
    Resolve(InstanceId),
    /// Perform the action, which is that of the instance.
    Start(ActionDigest, InstanceId),
    /// The instance is over: its phase is `Done`, `Failed` or `Skipped`.
    Ended(InstanceId, Phase),
}

#[derive(Clone, Debug, Default)]
struct Action {
    /// Instances whose action it is, in order.
    instances: BTreeSet<InstanceId>,
    running: bool,
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
    /// Rank → action to start.
    queue: BTreeMap<usize, ActionDigest>,
    free: Capacity,
    running: usize,
    /// Instances that are not over.
    open: usize,
    /// Instances whose key is being looked up. Nothing starts meanwhile, because they may be what should go first.
    keying: usize,
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
            assert!(!task.gpu || capacity.gpus > 0, "a task needs a GPU and there is none");
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
            queue: BTreeMap::new(),
            free: capacity,
            running: 0,
            open,
            keying: 0,
            stopping: false,
        }
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
        self.running == 0 && (self.stopping || self.open == 0)
    }

    /// Takes in an event, and says what to do now.
    ///
    /// # Panics
    /// When the event does not fit the phase of what it is about.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Cached(id) => self.end(id, Phase::Done, &mut effects),
            Event::Refused(id) => self.end(id, Phase::Failed, &mut effects),
            Event::Missing(id, digest) => self.enqueue(id, digest),
            Event::Finished(digest) => {
                for id in self.release(&digest) {
                    self.end(id, Phase::Done, &mut effects);
                }
            }
            Event::Failed(digest) => {
                for id in self.release(&digest) {
                    self.end(id, Phase::Failed, &mut effects);
                }
            }
            Event::Crashed(digest) => {
                let again = self.may_try_again(&digest);
                for id in self.release(&digest) {
                    if again {
                        self.set(id, Phase::Keying);
                        self.enqueue(id, digest);
                    } else {
                        self.end(id, Phase::Failed, &mut effects);
                    }
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
            Phase::Waiting | Phase::Keying | Phase::Queued(_) | Phase::Running(_) | Phase::Done => None,
        })
    }

    fn enqueue(&mut self, id: InstanceId, digest: ActionDigest) {
        assert_eq!(self.phase(id), Phase::Keying, "only an instance that is being keyed gets a key");
        let action = self.actions.entry(digest).or_default();
        action.instances.insert(id);
        if action.running {
            self.set(id, Phase::Running(digest));
        } else {
            self.queue.insert(self.ranks[id.0], digest);
            self.set(id, Phase::Queued(digest));
        }
    }

    fn start_ready(&mut self, effects: &mut Vec<Effect>) {
        while !self.stopping && self.keying == 0 && self.free.slots > 0 {
            let fits = |digest: &ActionDigest| self.free.gpus > 0 || !self.needs_gpu(digest);
            let Some(digest) = self.queue.values().copied().find(fits) else { return };
            self.queue.retain(|_, queued| *queued != digest);
            self.free.slots -= 1;
            self.free.gpus -= usize::from(self.needs_gpu(&digest));
            self.running += 1;
            let action = self.actions.get_mut(&digest).expect("what is queued is an action");
            action.running = true;
            action.tries += 1;
            let instances = action.instances.clone();
            effects.push(Effect::Start(digest, *instances.first().expect("an action has an instance")));
            for id in instances {
                self.set(id, Phase::Running(digest));
            }
        }
    }

    /// Gives back what a running action held, and hands out its instances.
    fn release(&mut self, digest: &ActionDigest) -> BTreeSet<InstanceId> {
        let gpu = self.needs_gpu(digest);
        let action = self.actions.get_mut(digest).expect("only an action that was started can end");
        assert!(action.running, "only a running action can end");
        action.running = false;
        self.running -= 1;
        self.free.slots += 1;
        self.free.gpus += usize::from(gpu);
        std::mem::take(&mut action.instances)
    }

    fn lose(&mut self, digest: &ActionDigest, producers: &[InstanceId], effects: &mut Vec<Effect>) {
        let again = self.may_try_again(digest);
        let instances = self.release(digest);
        for &id in &instances {
            self.set(id, Phase::Waiting);
        }
        for &producer in producers {
            if again && self.phase(producer) == Phase::Done {
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

    fn may_try_again(&self, digest: &ActionDigest) -> bool {
        self.actions.get(digest).is_some_and(|action| action.tries < MOST_TRIES)
    }

    fn needs_gpu(&self, digest: &ActionDigest) -> bool {
        // Equal keys are equal stages, so any instance speaks for all.
        self.instances(digest).next().is_some_and(|id| self.tasks[id.0].gpu)
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
        Task { inputs: inputs.iter().map(|&id| InstanceId(id)).collect(), cost, gpu: false }
    }

    const ONE: Capacity = Capacity { slots: 1, gpus: 0 };

    /// Resolves everything as missing under its own key, and collects the rest.
    fn settle(scheduler: &mut Scheduler, effects: Vec<Effect>) -> Vec<Effect> {
        let mut told = Vec::new();
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Resolve(id) => effects.extend(scheduler.on(Event::Missing(id, action(id.0)))),
                Effect::Start(..) | Effect::Ended(..) => told.push(effect),
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
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[], 5.0), task(&[0], 9.0)], ONE);
        let effects = scheduler.start();
        let mut told = settle(&mut scheduler, effects);
        let mut order = Vec::new();
        while let Some(Effect::Start(digest, id)) = told.pop() {
            order.push(id.0);
            told = on(&mut scheduler, Event::Finished(digest));
        }
        assert_eq!(order, [0, 2, 1]);
        assert!(scheduler.is_over());
    }

    #[test]
    fn a_failure_skips_what_depends_on_it_and_nothing_else() {
        let tasks = vec![task(&[], 3.0), task(&[0], 1.0), task(&[1], 1.0), task(&[], 1.0)];
        let mut scheduler = Scheduler::new(tasks, ONE);
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        let told = on(&mut scheduler, Event::Failed(action(0)));
        let expected = [
            Effect::Ended(InstanceId(0), Phase::Failed),
            Effect::Ended(InstanceId(1), Phase::Skipped(InstanceId(0))),
            Effect::Ended(InstanceId(2), Phase::Skipped(InstanceId(0))),
            Effect::Start(action(3), InstanceId(3)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn one_key_is_one_action() {
        let mut scheduler =
            Scheduler::new(vec![task(&[], 1.0), task(&[], 1.0)], Capacity { slots: 2, gpus: 0 });
        scheduler.start();
        assert_eq!(scheduler.on(Event::Missing(InstanceId(0), action(7))), []);
        let start = Effect::Start(action(7), InstanceId(0));
        assert_eq!(scheduler.on(Event::Missing(InstanceId(1), action(7))), [start]);
        let ends = [0, 1].map(|id| Effect::Ended(InstanceId(id), Phase::Done));
        assert_eq!(scheduler.on(Event::Finished(action(7))), ends);
    }

    #[test]
    fn a_crash_is_tried_again_a_few_times() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0)], ONE);
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        for _ in 1..MOST_TRIES {
            let again = on(&mut scheduler, Event::Crashed(action(0)));
            assert_eq!(again, [Effect::Start(action(0), InstanceId(0))]);
        }
        let told = on(&mut scheduler, Event::Crashed(action(0)));
        assert_eq!(told, [Effect::Ended(InstanceId(0), Phase::Failed)]);
    }

    #[test]
    fn a_lost_input_is_made_again_first() {
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[0], 1.0)], ONE);
        let effects = scheduler.start();
        settle(&mut scheduler, effects);
        on(&mut scheduler, Event::Finished(action(0)));
        let told = on(&mut scheduler, Event::Lost(action(1), vec![InstanceId(0)]));
        assert_eq!(told, [Effect::Start(action(0), InstanceId(0))]);
        let told = on(&mut scheduler, Event::Finished(action(0)));
        assert_eq!(
            told,
            [Effect::Ended(InstanceId(0), Phase::Done), Effect::Start(action(1), InstanceId(1))]
        );
    }

    #[test]
    fn a_producer_that_fails_the_second_time_skips_who_lost_it() {
        let mut scheduler = Scheduler::new(
            vec![task(&[], 1.0), task(&[0], 1.0), task(&[0], 1.0)],
            Capacity { slots: 2, gpus: 0 },
        );
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
        let mut scheduler = Scheduler::new(vec![task(&[], 1.0), task(&[], 1.0)], ONE);
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

    fn graphs() -> impl Strategy<Value = Vec<(Vec<usize>, bool, usize, bool)>> {
        let task = (proptest::collection::vec(0_usize..1000, 0..3), any::<bool>(), 0_usize..6, any::<bool>());
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
        fn every_run_comes_to_an_end(graph in graphs(), fates in fates(), slots in 1_usize..4, gpus in 1_usize..3) {
            let tasks: Vec<Task> = graph.iter().enumerate().map(|(index, (inputs, gpu, _, _))| {
                let inputs: BTreeSet<InstanceId> =
                    inputs.iter().filter(|_| index > 0).map(|input| InstanceId(input % index.max(1))).collect();
                Task { inputs: inputs.into_iter().collect(), cost: 1.0, gpu: *gpu }
            }).collect();
            let mut scheduler = Scheduler::new(tasks.clone(), Capacity { slots, gpus });
            let mut running: Vec<ActionDigest> = Vec::new();
            let mut started: BTreeMap<ActionDigest, InstanceId> = BTreeMap::new();
            let mut effects = std::collections::VecDeque::from(scheduler.start());
            let mut fates = fates.into_iter();
            loop {
                while let Some(effect) = effects.pop_front() {
                    match effect {
                        Effect::Resolve(id) => {
                            for input in &tasks[id.0].inputs {
                                prop_assert_eq!(scheduler.phase(*input), Phase::Done);
                            }
                            let (_, gpu, key, cached) = &graph[id.0];
                            // Instances of one key are alike, and so take the same inputs.
                            let alike = format!("{:?} {gpu} {key}", tasks[id.0].inputs);
                            let event = if *cached && *key == 0 {
                                Event::Cached(id)
                            } else {
                                Event::Missing(id, ActionDigest::of_manifest(&alike))
                            };
                            effects.extend(scheduler.on(event));
                        }
                        Effect::Start(digest, id) => {
                            prop_assert!(!running.contains(&digest));
                            running.push(digest);
                            started.insert(digest, id);
                        }
                        Effect::Ended(id, phase) => prop_assert_eq!(scheduler.phase(id), phase),
                    }
                }
                prop_assert!(running.len() <= slots);
                let on_gpu = running.iter().filter(|digest| tasks[started[digest].0].gpu).count();
                prop_assert!(on_gpu <= gpus);
                if running.is_empty() {
                    break;
                }
                let (fate, choice) = fates.next().unwrap_or((Fate::Finished, 0));
                let digest = running.remove(choice % running.len());
                effects.extend(scheduler.on(match fate {
                    Fate::Finished => Event::Finished(digest),
                    Fate::Failed => Event::Failed(digest),
                    Fate::Crashed => Event::Crashed(digest),
                    Fate::Lost => Event::Lost(digest, tasks[started[&digest].0].inputs.clone()),
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
