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
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Resolve(id) => effects.extend(scheduler.on(Event::Missing(id, action(id.0)))),
            Effect::Start(..) | Effect::Delay(..) | Effect::Yield(..) | Effect::Ended(..) => {
                told.push(effect)
            }
        }
    }
    told
}

fn on(scheduler: &mut Scheduler, event: Event) -> Vec<Effect> {
    let effects = scheduler.on(event);
    settle(scheduler, effects)
}

#[test]
fn others_run_while_another_process_has_an_action() {
    let mut scheduler = Scheduler::new(vec![task(&[], 5.0), task(&[], 1.0)], slots(1));
    let effects = scheduler.start();
    let started = |told: &[Effect]| -> Vec<usize> {
        told.iter()
            .filter_map(|effect| if let Effect::Start(_, id, _) = effect { Some(id.0) } else { None })
            .collect()
    };
    assert_eq!(started(&settle(&mut scheduler, effects)), [0]);
    for _ in 0..10 {
        let told = on(&mut scheduler, Event::Held(action(0)));
        assert_eq!(told[0], Effect::Yield(action(0)));
        assert_eq!(started(&told), [1]);
        assert!(!scheduler.is_over());
        assert_eq!(started(&on(&mut scheduler, Event::Ready(action(0)))), [0; 0], "there is one slot");
        assert_eq!(started(&on(&mut scheduler, Event::Held(action(1)))), [0]);
        on(&mut scheduler, Event::Ready(action(1)));
    }
    // It was never tried, so it has all its tries.
    let told = on(&mut scheduler, Event::Crashed(action(0)));
    assert!(told.contains(&Effect::Delay(action(0), 1)), "{told:?}");
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

/// 0 → 1 → 2 and 0 → 3. The third time 2 loses its input, 1 cannot be made again: 3 had lost 0, which then failed.
#[test]
fn who_loses_its_inputs_for_the_last_time_ends_once() {
    let tasks = vec![task(&[], 1.0), task(&[0], 1.0), task(&[1], 1.0), task(&[0], 1.0)];
    let mut scheduler = Scheduler::new(tasks, slots(2));
    let effects = scheduler.start();
    settle(&mut scheduler, effects);
    on(&mut scheduler, Event::Finished(action(0)));
    on(&mut scheduler, Event::Finished(action(1)));
    for _ in 1..MOST_TRIES {
        on(&mut scheduler, Event::Lost(action(2), vec![InstanceId(1)]));
        on(&mut scheduler, Event::Finished(action(1)));
    }
    on(&mut scheduler, Event::Lost(action(3), vec![InstanceId(0)]));
    on(&mut scheduler, Event::Failed(action(0)));
    on(&mut scheduler, Event::Lost(action(2), vec![InstanceId(1)]));
    let phases = [1, 2, 3].map(|id| scheduler.phase(InstanceId(id)));
    assert_eq!(phases, [Phase::Skipped(InstanceId(0)); 3]);
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
    Held,
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
        1 => Just(Fate::Held),
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
        let mut effects = VecDeque::from(scheduler.start());
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
                    Effect::Delay(digest, _) | Effect::Yield(digest) => delayed.push(digest),
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
                Fate::Held => Event::Held(digest),
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
