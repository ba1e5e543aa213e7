//! The slots of a run: the worker process in each, what it works on, and how long it may.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use ablate_stage::Device;
use ablate_stage::cache::{ActionDigest, Durability, Store};

use super::{ExecuteError, Message, Settings};
use crate::graph::InstanceId;
use crate::worker::{Order, Reply, Request};

/// How long a stage whose time is over may take to checkpoint.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The longest line that is taken in one piece.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// A worker of a slot, told apart from earlier ones of the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId {
    pub slot: usize,
    generation: usize,
}

/// What comes from a worker.
#[derive(Debug)]
pub enum News {
    Reply(Box<Reply>),
    Printed(String),
    Gone,
}

/// An action being performed.
#[derive(Clone, Copy)]
pub struct Work {
    pub action: ActionDigest,
    pub instance: InstanceId,
    clock: Clock,
}

impl Work {
    pub fn new(action: ActionDigest, instance: InstanceId) -> Self {
        Self { action, instance, clock: Clock::Off }
    }

    /// Whether it was asked to stop because its time was over.
    pub fn is_overdue(&self) -> bool {
        matches!(self.clock, Clock::Stopping(_))
    }
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

/// The slots, and what it takes to start a worker in one.
pub struct Slots {
    program: PathBuf,
    store: PathBuf,
    durability: Durability,
    sender: SyncSender<Message>,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    generation: usize,
    worker: Option<Worker>,
    /// The device its worker last used.
    device: Option<Device>,
    work: Option<Work>,
}

struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Slots {
    /// As many as the capacity has; workers tell the receiver of `sender`.
    pub fn new(settings: &Settings, store: &Store, sender: SyncSender<Message>) -> Self {
        Self {
            program: settings.program.clone(),
            store: store.root().to_owned(),
            durability: settings.durability,
            sender,
            slots: (0..settings.capacity.slots).map(|_| Slot::default()).collect(),
        }
    }

    /// Has an idle slot perform an action on a device.
    ///
    /// # Errors
    /// [`ExecuteError::Spawn`].
    pub fn perform(&mut self, work: Work, request: Request, device: Device) -> Result<(), ExecuteError> {
        let slot = self.idle(device);
        if self.slots[slot].worker.is_none() {
            self.spawn(slot, request.threads)?;
        }
        self.slots[slot].device = Some(device);
        self.slots[slot].work = Some(work);
        self.slots[slot].order(&Order::Perform(request));
        Ok(())
    }

    /// What a slot works on, if that worker is still the one in it.
    pub fn work(&self, id: WorkerId) -> Option<Work> {
        let slot = &self.slots[id.slot];
        slot.work.filter(|_| slot.generation == id.generation)
    }

    /// The work of a slot has begun, and may take that long.
    pub fn limit(&mut self, slot: usize, time: Duration) {
        if let Some(work) = &mut self.slots[slot].work {
            work.clock = Clock::Until(Instant::now() + time);
        }
    }

    /// The work of a slot is over.
    pub fn clear(&mut self, slot: usize) {
        if self.slots[slot].work.take().is_some_and(|work| work.is_overdue()) {
            // It was told to stop, and would tell that to the next stage.
            self.retire(slot);
        }
    }

    /// Ends a worker that is not fit for another action.
    pub fn retire(&mut self, slot: usize) {
        drop(self.slots[slot].worker.take());
    }

    /// How the worker ended, which was told to be gone; nothing if it was ended here.
    pub fn bury(&mut self, id: WorkerId) -> Option<String> {
        let slot = &mut self.slots[id.slot];
        let mut worker = slot.worker.take_if(|_| slot.generation == id.generation)?;
        Some(death(worker.child.wait()))
    }

    /// Asks everything that runs to checkpoint and stop.
    pub fn stop(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.order(&Order::Stop));
    }

    /// Kills everything that runs. Its death will be told.
    pub fn kill(&mut self) {
        self.slots.iter_mut().for_each(Slot::kill);
    }

    /// Ends the workers, which are idle, and waits for them.
    pub fn dismiss(self) {
        for mut worker in self.slots.into_iter().filter_map(|slot| slot.worker) {
            // At the end of its orders an idle worker ends.
            worker.orders = None;
            drop(worker.child.wait());
        }
    }

    /// When the next time limit is reached.
    pub fn next_deadline(&self) -> Option<Instant> {
        let clocks = self.slots.iter().filter_map(|slot| Some(slot.work?.clock));
        let ends = clocks.filter_map(|clock| match clock {
            Clock::Off => None,
            Clock::Until(at) | Clock::Stopping(at) => Some(at),
        });
        ends.min()
    }

    /// Asks what has run out of time to checkpoint and stop, and kills what was asked and did not.
    pub fn enforce_limits(&mut self, now: Instant) {
        for slot in &mut self.slots {
            let Some(work) = &mut slot.work else { continue };
            match work.clock {
                Clock::Until(at) if at <= now => {
                    work.clock = Clock::Stopping(now + STOP_GRACE);
                    slot.order(&Order::Stop);
                }
                Clock::Stopping(at) if at <= now => {
                    work.clock = Clock::Stopping(now + STOP_GRACE);
                    slot.kill();
                }
                Clock::Off | Clock::Until(_) | Clock::Stopping(_) => {}
            }
        }
    }

    /// An idle slot: one whose worker last used the device, else one without a worker, else any. What a worker holds of a
    /// GPU it keeps.
    fn idle(&self, device: Device) -> usize {
        let fitness = |slot: &Slot| match (&slot.worker, slot.device) {
            (Some(_), Some(last)) if last == device => 0,
            (None, _) => 1,
            (Some(_), _) => 2,
        };
        let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.work.is_none());
        let best = idle.min_by_key(|(_, slot)| fitness(slot));
        best.expect("the scheduler starts no more than there are slots").0
    }

    fn spawn(&mut self, slot: usize, threads: usize) -> Result<(), ExecuteError> {
        let mut command = Command::new(&self.program);
        command.arg0("ablate").arg("worker").arg("--store").arg(&self.store);
        if self.durability == Durability::None {
            command.arg("--no-sync");
        }
        let mut child = command
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| ExecuteError::Spawn { program: self.program.clone(), source })?;
        let generation = self.slots[slot].generation + 1;
        let id = WorkerId { slot, generation };
        let orders = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let printed = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let sender = self.sender.clone();
        let printing = thread::spawn(move || {
            for_each_line(printed, |line| drop(sender.send(Message::Worker(id, News::Printed(line)))));
        });
        let sender = self.sender.clone();
        thread::spawn(move || {
            for_each_line(replies, |line| {
                let news = serde_json::from_str(&line).map(Box::new).map_or(News::Printed(line), News::Reply);
                drop(sender.send(Message::Worker(id, news)));
            });
            // The last words of a dying worker come before the news of its death.
            drop(printing.join());
            drop(sender.send(Message::Worker(id, News::Gone)));
        });
        self.slots[slot] =
            Slot { generation, worker: Some(Worker { child, orders }), device: None, work: None };
        Ok(())
    }
}

impl Slot {
    /// Gives an order. A worker that cannot take it is dying, and its death will be told.
    fn order(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("an order is plain data") + "\n";
        if let Some(orders) = self.worker.as_mut().and_then(|worker| worker.orders.as_mut()) {
            drop(orders.write_all(line.as_bytes()));
        }
    }

    fn kill(&mut self) {
        if let Some(worker) = &mut self.worker {
            drop(worker.child.kill());
        }
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

fn for_each_line(mut reader: impl BufRead, mut each: impl FnMut(String)) {
    let mut line = Vec::new();
    while reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        each(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        line.clear();
    }
}
