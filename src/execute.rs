//! Runs what a plan lacks.
//!
//! The runner puts everything that happens outside into one order: replies of workers, their deaths, interrupts. It hands
//! them to the [`scheduler`](crate::scheduler), carries out its effects, and tells an observer. It computes nothing
//! itself: actions run in [worker](crate::worker) processes, one per slot, which live from their first action until the
//! runner dismisses them and are replaced when they die.

mod delays;
mod run;
mod slots;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Instant;

use ablate_stage::Device;
use ablate_stage::cache::{ActionDigest, ActionResult, Durability, Store, StoreError};
use thiserror::Error;

use crate::graph::Graph;
use crate::journal::{Counts, Event, Outcome};
use crate::plan::{Keys, Plan, State};
use crate::rows;
use crate::scheduler::{Capacity, Scheduler};
use run::{Run, Surroundings, tasks};
use slots::{News, Slots, WorkerId};

/// What a run works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program: started as `PROGRAM worker --store STORE`, it must be a [worker](crate::worker::serve).
    pub program: PathBuf,
    /// Whether workers wait for the disk.
    pub durability: Durability,
    /// The project's root, absolute.
    pub project: PathBuf,
    /// The commit it is at.
    pub commit: Option<String>,
    /// What actions may use at once; at least one slot and one thread.
    pub capacity: Capacity,
    /// The GPUs of the capacity, in its order.
    pub gpus: Vec<Device>,
    /// Whether nothing more is started once something failed.
    pub fail_fast: bool,
    /// Whether workers hash declared files even where they look as they did.
    pub rehash: bool,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// How many instances came to what end.
    pub counts: Counts,
    /// Whether it was asked to stop, be it too late.
    pub interrupted: bool,
    /// What became of each instance, by [`InstanceId`](crate::graph::InstanceId).
    pub ends: Vec<End>,
}

impl Summary {
    /// Of a run that had nothing to do.
    fn cached(plan: Plan) -> Self {
        let results = plan.states.into_iter().map(|state| match state {
            State::Hit(action, result) => End::Done(action, result),
            State::Miss(_) | State::Pending(_) | State::NoFile(_) => End::Unfinished,
        });
        let ends: Vec<End> = results.collect();
        let counts = Counts { cached: ends.len(), ..Counts::default() };
        Self { outcome: Outcome::Done, counts, interrupted: false, ends }
    }
}

/// What became of an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It has its result.
    Done(ActionDigest, Box<ActionResult>),
    /// It failed, or something it needs did.
    Failed,
    /// The run was interrupted before.
    Unfinished,
}

impl End {
    /// As rows are gathered from.
    pub fn outcome(&self) -> rows::Outcome<'_> {
        match self {
            Self::Done(action, result) => rows::Outcome::Done(*action, result),
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
pub struct Interrupter {
    asked: Arc<AtomicUsize>,
    sender: SyncSender<Message>,
}

impl Interrupter {
    /// Interrupts.
    pub fn interrupt(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // A runner whose messages are in arrears is awake, and one that is over has nothing to interrupt.
        drop(self.sender.try_send(Message::Wake));
    }
}

/// What a run hears.
#[derive(Debug)]
enum Message {
    Worker(WorkerId, News),
    /// There may be something to look at that is no message.
    Wake,
}

/// News that wait to be taken; then the workers do, and the programs that print so much.
const MAX_NEWS_WAITING: usize = 1024;

/// The workers, and what runs graphs on them, one after the other.
pub struct Runner<'a> {
    store: &'a Store,
    settings: &'a Settings,
    slots: Slots,
    sender: SyncSender<Message>,
    messages: Receiver<Message>,
    /// How often it was asked to stop, and how often it heard of it.
    asked: Arc<AtomicUsize>,
    heard: usize,
}

impl<'a> Runner<'a> {
    /// One that has no worker yet.
    pub fn new(store: &'a Store, settings: &'a Settings) -> Self {
        let (sender, messages) = mpsc::sync_channel(MAX_NEWS_WAITING);
        let slots = Slots::new(settings, store, sender.clone());
        Self { store, settings, slots, sender, messages, asked: Arc::default(), heard: 0 }
    }

    /// What interrupts the run that goes on, or else the next one.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { asked: self.asked.clone(), sender: self.sender.clone() }
    }

    /// Runs what the plan of a graph lacks, and tells `observer` what happens.
    ///
    /// # Errors
    /// [`ExecuteError`]; what is running by then is killed when the runner goes. Failing stages are no error.
    pub fn run(
        &mut self,
        graph: &Graph,
        plan: Plan,
        observer: &mut dyn FnMut(Event),
    ) -> Result<Summary, ExecuteError> {
        if plan.is_complete() {
            return Ok(Summary::cached(plan));
        }
        let capacity = self.settings.capacity.clone();
        let scheduler = Scheduler::new(tasks(graph, &plan, &capacity), capacity);
        let scheduler = scheduler.failing_fast(self.settings.fail_fast);
        let keys = Keys::new(graph, &plan.files);
        let surroundings = Surroundings { graph, store: self.store, settings: self.settings };
        let mut run = Run::new(surroundings, &mut self.slots, keys, scheduler, plan.states, observer);
        run.start()?;
        while !run.is_over() {
            // They do not queue up behind what workers have to tell.
            while self.heard < self.asked.load(Ordering::Relaxed) {
                self.heard += 1;
                run.interrupt()?;
            }
            match run.next_deadline() {
                _ if run.is_over() => {}
                None => run.take(self.messages.recv().expect("the runner itself holds a sender"))?,
                Some(at) => {
                    if let Ok(message) =
                        self.messages.recv_timeout(at.saturating_duration_since(Instant::now()))
                    {
                        run.take(message)?;
                    }
                    run.look_at_the_clock(Instant::now())?;
                }
            }
        }
        Ok(run.finish())
    }

    /// What its actions may use at once.
    pub fn capacity(&self) -> &Capacity {
        &self.settings.capacity
    }

    /// Whether it starts nothing more once something failed.
    pub fn fails_fast(&self) -> bool {
        self.settings.fail_fast
    }

    /// Ends the workers, which are idle, and waits for them.
    pub fn dismiss(self) {
        self.slots.dismiss();
    }
}
