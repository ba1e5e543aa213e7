//! How long a run goes on: a pure reader of what happens, which is told the time of everything and has no clock.
//!
//! A running action that tells how far it is goes on at the pace it had since it first did. Any other takes what actions
//! of its stage took: in this run, or else before; once it took a quarter longer, nobody knows. The whole takes at least as long as the longest chain of what is left,
//! and as all of it shared by the slots, and as what needs a GPU shared by the GPUs; the longest of these is the estimate.
//! What nothing is known of counts as nothing, and is counted.

use std::collections::HashMap;
use std::time::Duration;

use crate::journal::{Entry, Event};

/// Nothing is believed that goes on for longer: a thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// An action that is to be performed.
#[derive(Clone, Debug, PartialEq)]
pub struct Task<'a> {
    /// Its instance.
    pub instance: String,
    /// The instance's stage.
    pub stage: &'a str,
    /// The instances it takes inputs from.
    pub inputs: Vec<String>,
    /// The part of a GPU it takes up; 0 on the processor.
    pub gpus: f64,
    /// What actions of its stage took before, where that is known.
    pub usual: Option<Duration>,
}

/// How long something goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// By what is known.
    pub time: Duration,
    /// Actions nothing is known of.
    pub unknown: usize,
}

/// What there is to say when something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// How long the action goes on that it happened to, where that is known.
    pub action: Option<Duration>,
    /// That action's pace, in its units a second, where it tells how far it is.
    pub pace: Option<f64>,
    /// Instances that are over, or whose result was there.
    pub done: usize,
    /// Actions that run.
    pub running: usize,
    /// Instances in all, so far.
    pub all: usize,
    /// How long all of it goes on.
    pub run: Remaining,
}

/// What is known of a run that goes on.
#[derive(Clone, Debug)]
pub struct Estimate {
    slots: usize,
    gpus: usize,
    places: HashMap<String, usize>,
    /// In topological order.
    actions: Vec<Action>,
    stages: Vec<Stage>,
    stage_places: HashMap<String, usize>,
    /// Instances whose result was there.
    cached: usize,
    /// Actions that are over.
    done: usize,
    /// Actions that run.
    running: usize,
    /// How long all of it goes on, and when that was found.
    run: Option<(u64, Remaining)>,
}

/// How long all of it goes on is found this often at most: it takes a look at every action.
const RUN_EVERY_MS: u64 = 500;

#[derive(Clone, Debug)]
struct Action {
    stage: usize,
    inputs: Vec<usize>,
    gpus: f64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    /// Since then, with how far it was when it first told, and last.
    Running {
        since_ms: u64,
        told: Option<(Mark, Mark)>,
    },
    Over,
}

/// How far an action was.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    unix_ms: u64,
    done: u64,
    total: u64,
}

#[derive(Clone, Debug, Default)]
struct Stage {
    usual: Option<Duration>,
    /// Actions of this run, and what they took together.
    finished: u32,
    took: Duration,
}

impl Stage {
    fn mean(&self) -> Option<Duration> {
        if self.finished > 0 { Some(self.took / self.finished) } else { self.usual }
    }
}

impl Estimate {
    /// Of a run that performs so many actions at once, and has so many GPUs.
    pub fn new(slots: usize, gpus: usize) -> Self {
        Self {
            slots: slots.max(1),
            gpus: gpus.max(1),
            places: HashMap::new(),
            actions: Vec::new(),
            stages: Vec::new(),
            stage_places: HashMap::new(),
            cached: 0,
            done: 0,
            running: 0,
            run: None,
        }
    }

    /// Further actions, each after those it takes inputs from. Inputs that are none of them are there.
    pub fn add<'a>(&mut self, tasks: impl IntoIterator<Item = Task<'a>>) {
        self.run = None;
        for Task { instance, stage, inputs, gpus, usual } in tasks {
            let stage = match self.stage_places.get(stage) {
                Some(&place) => place,
                None => {
                    self.stage_places.insert(stage.to_owned(), self.stages.len());
                    self.stages.push(Stage::default());
                    self.stages.len() - 1
                }
            };
            self.stages[stage].usual = usual.or(self.stages[stage].usual);
            let inputs = inputs.iter().filter_map(|input| self.places.get(input).copied()).collect();
            self.places.insert(instance, self.actions.len());
            self.actions.push(Action { stage, inputs, gpus, state: State::Waiting });
        }
    }

    /// Takes in what happened, and says what there is to say.
    pub fn take(&mut self, entry: &Entry) -> Outlook {
        self.on(entry);
        let (action, pace) = match &entry.event {
            Event::Started { instance, .. } | Event::Progress { instance, .. } => {
                (self.of(instance, entry.unix_ms), self.pace(instance))
            }
            _ => (None, None),
        };
        let is_old = |(then, _): &(u64, Remaining)| entry.unix_ms >= then + RUN_EVERY_MS;
        if self.run.as_ref().is_none_or(is_old) {
            self.run = Some((entry.unix_ms, self.all(entry.unix_ms)));
        }
        let run = self.run.map(|(_, run)| run).unwrap_or_default();
        let (done, all) = (self.cached + self.done, self.cached + self.actions.len());
        Outlook { action, pace, done, running: self.running, all, run }
    }

    fn on(&mut self, entry: &Entry) {
        let unix_ms = entry.unix_ms;
        match &entry.event {
            Event::RunStarted { cached, .. } | Event::Added { cached, .. } => self.cached += cached,
            Event::Started { instance, .. } => {
                self.set(instance, State::Running { since_ms: unix_ms, told: None });
            }
            Event::Progress { instance, progress } => {
                let mark = Mark { unix_ms, done: progress.done, total: progress.total };
                if let Some(Action { state: State::Running { told, .. }, .. }) = self.action(instance) {
                    // A stage that counts anew, in its next part, is timed anew.
                    let first =
                        told.map(|(first, last)| (first, last.total == mark.total && last.done <= mark.done));
                    *told =
                        Some((first.filter(|(_, goes_on)| *goes_on).map_or(mark, |(first, _)| first), mark));
                }
            }
            Event::Finished { instance, duration_ms, .. } => {
                if let Some(action) = self.action(instance) {
                    let stage = action.stage;
                    self.stages[stage].finished += 1;
                    self.stages[stage].took += Duration::from_millis(*duration_ms);
                }
                self.set(instance, State::Over);
            }
            Event::Cached { instance, .. }
            | Event::Failed { instance, .. }
            | Event::Skipped { instance, .. } => {
                self.set(instance, State::Over);
            }
            Event::Retried { instance, .. } | Event::Stopped { instance } => {
                self.set(instance, State::Waiting)
            }
            Event::Hits { .. }
            | Event::Planned { .. }
            | Event::Ordered { .. }
            | Event::Waiting { .. }
            | Event::Resumed { .. }
            | Event::Output { .. }
            | Event::Advice { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    /// How long an action goes on; `None` where nobody knows.
    fn of(&self, instance: &str, unix_ms: u64) -> Option<Duration> {
        self.left(&self.actions[*self.places.get(instance)?], unix_ms)
    }

    /// The pace of a running action that tells how far it is, in its units a second.
    fn pace(&self, instance: &str) -> Option<f64> {
        match self.actions[*self.places.get(instance)?].state {
            State::Running { told: Some((first, last)), .. } => pace(first, last),
            State::Running { told: None, .. } | State::Waiting | State::Over => None,
        }
    }

    /// How long all of it goes on.
    fn all(&self, unix_ms: u64) -> Remaining {
        let mut ends: Vec<Duration> = Vec::with_capacity(self.actions.len());
        let (mut work, mut gpu_work) = (Duration::ZERO, Duration::ZERO);
        let mut unknown = 0;
        for action in &self.actions {
            let left = self.left(action, unix_ms);
            unknown += usize::from(left.is_none());
            let left = left.unwrap_or_default();
            let begins = action.inputs.iter().map(|&input| ends[input]).max().unwrap_or_default();
            ends.push(begins + left);
            work += left;
            gpu_work += left.mul_f64(action.gpus);
        }
        let longest = ends.into_iter().max().unwrap_or_default();
        let shared = (work.div_f64(self.slots as f64)).max(gpu_work.div_f64(self.gpus as f64));
        Remaining { time: longest.max(shared), unknown }
    }

    fn left(&self, action: &Action, unix_ms: u64) -> Option<Duration> {
        let mean = self.stages[action.stage].mean();
        match action.state {
            State::Over => Some(Duration::ZERO),
            State::Waiting => mean,
            State::Running { since_ms, told } => {
                let by_pace = told.and_then(|(first, last)| {
                    let left = last.total.saturating_sub(last.done) as f64 / pace(first, last)?;
                    let since = Duration::from_millis(unix_ms.saturating_sub(last.unix_ms));
                    let left = Duration::try_from_secs_f64(left).ok().filter(|left| *left < LONGEST);
                    left.map(|left| left.saturating_sub(since))
                });
                let ran = Duration::from_millis(unix_ms.saturating_sub(since_ms));
                by_pace
                    .or_else(|| mean.filter(|mean| ran <= *mean * 5 / 4).map(|mean| mean.saturating_sub(ran)))
            }
        }
    }

    fn action(&mut self, instance: &str) -> Option<&mut Action> {
        self.places.get(instance).map(|&place| &mut self.actions[place])
    }

    fn set(&mut self, instance: &str, state: State) {
        let Some(action) = self.action(instance) else { return };
        let earlier = std::mem::replace(&mut action.state, state);
        let runs = |state| usize::from(matches!(state, State::Running { .. }));
        self.done = self.done + usize::from(state == State::Over) - usize::from(earlier == State::Over);
        self.running = self.running + runs(state) - runs(earlier);
    }
}

/// Units a second between two marks; `None` where there is nothing between them.
fn pace(first: Mark, last: Mark) -> Option<f64> {
    let (units, ms) = (last.done.checked_sub(first.done)?, last.unix_ms.checked_sub(first.unix_ms)?);
    (units > 0 && ms > 0).then(|| units as f64 * 1000.0 / ms as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ablate_stage::Progress;
    use ablate_stage::cache::ActionDigest;

    use super::*;

    /// A run of `encoder`s, each with a `probe`, in so many slots; encoders take 100 s usually, probes nobody knows.
    fn run(pairs: usize, slots: usize, gpus: f64) -> Estimate {
        let mut estimate = Estimate::new(slots, 1);
        for pair in 0..pairs {
            let (encoder, probe) = (format!("encoder[{pair}]"), format!("probe[{pair}]"));
            let usual = Some(Duration::from_secs(100));
            estimate.add([
                Task {
                    instance: encoder.clone(),
                    stage: "encoder",
                    inputs: vec!["images".to_owned()],
                    gpus,
                    usual,
                },
                Task { instance: probe, stage: "probe", inputs: vec![encoder], gpus: 0.0, usual: None },
            ]);
        }
        estimate
    }

    fn action() -> ActionDigest {
        ActionDigest::of_manifest("a")
    }

    fn started(instance: &str) -> Event {
        Event::Started { instance: instance.to_owned(), action: action() }
    }

    fn progress(instance: &str, done: u64, total: u64) -> Event {
        Event::Progress { instance: instance.to_owned(), progress: Progress::of(done, total, "step") }
    }

    fn finished(instance: &str, duration_ms: u64) -> Event {
        let metrics = BTreeMap::new();
        Event::Finished { instance: instance.to_owned(), action: action(), duration_ms, metrics }
    }

    /// Seconds the action and the run go on after an event, and actions nothing is known of.
    #[track_caller]
    fn check(estimate: &mut Estimate, s: u64, event: Event, action: Option<u64>, run: u64, unknown: usize) {
        let outlook = estimate.take(&Entry { unix_ms: s * 1000, event });
        let seconds = (outlook.action.map(|left| left.as_secs()), outlook.run.time.as_secs());
        assert_eq!((seconds, outlook.run.unknown), ((action, run), unknown));
    }

    #[test]
    fn work_is_shared_by_the_slots_and_no_shorter_than_its_longest_chain() {
        let waiting = || Event::Waiting { instance: "encoder[0]".to_owned() };
        check(&mut run(6, 1, 0.0), 0, waiting(), None, 600, 6);
        check(&mut run(6, 2, 0.0), 0, waiting(), None, 300, 6);
        check(&mut run(6, 100, 0.0), 0, waiting(), None, 100, 6);
        check(&mut run(6, 100, 1.0), 0, waiting(), None, 600, 6);
        check(&mut run(6, 100, 0.5), 0, waiting(), None, 300, 6);
        check(&mut run(0, 2, 0.0), 0, waiting(), None, 0, 0);
    }

    #[test]
    fn what_this_run_took_counts_before_what_was_usual() {
        let mut estimate = run(2, 1, 0.0);
        check(&mut estimate, 0, started("encoder[0]"), Some(100), 200, 2);
        check(&mut estimate, 30, finished("encoder[0]", 30_000), None, 30, 2);
        check(&mut estimate, 30, started("probe[0]"), None, 30, 2);
        check(&mut estimate, 40, finished("probe[0]", 10_000), None, 40, 0);
        check(&mut estimate, 40, started("encoder[1]"), Some(30), 40, 0);
        check(&mut estimate, 50, Event::Output { instance: String::new(), line: String::new() }, None, 30, 0);
    }

    #[test]
    fn an_action_goes_on_at_its_pace_since_it_first_told() {
        let mut estimate = run(1, 1, 0.0);
        check(&mut estimate, 0, started("encoder[0]"), Some(100), 100, 1);
        // It was resumed from step 500, which took 20 s, and takes a second for ten steps.
        check(&mut estimate, 20, progress("encoder[0]", 500, 1000), Some(80), 80, 1);
        check(&mut estimate, 30, progress("encoder[0]", 600, 1000), Some(40), 40, 1);
        let outlook = estimate.take(&Entry { unix_ms: 40_000, event: progress("encoder[0]", 700, 1000) });
        assert_eq!((outlook.pace, outlook.action), (Some(10.0), Some(Duration::from_secs(30))));
        // It waits without a word.
        check(&mut estimate, 60, Event::Advice { instance: String::new(), text: String::new() }, None, 10, 1);
        // A second part counts anew.
        check(&mut estimate, 80, progress("encoder[0]", 1, 7), Some(20), 20, 1);
    }

    #[test]
    fn what_takes_much_longer_than_is_usual_may_take_any_time() {
        let mut estimate = run(1, 1, 0.0);
        check(&mut estimate, 0, started("encoder[0]"), Some(100), 100, 1);
        check(&mut estimate, 125, Event::Advice { instance: String::new(), text: String::new() }, None, 0, 1);
        check(&mut estimate, 126, Event::Advice { instance: String::new(), text: String::new() }, None, 0, 2);
        check(&mut estimate, 127, Event::Stopped { instance: "encoder[0]".to_owned() }, None, 100, 1);
    }

    #[test]
    fn a_time_nobody_lives_to_see_is_not_believed() {
        let mut estimate = run(2, 2, 0.0);
        for encoder in ["encoder[0]", "encoder[1]"] {
            estimate.take(&Entry { unix_ms: 0, event: started(encoder) });
            estimate.take(&Entry { unix_ms: 0, event: progress(encoder, 1, u64::MAX) });
            let outlook = estimate.take(&Entry { unix_ms: 10_000, event: progress(encoder, 2, u64::MAX) });
            assert_eq!(outlook.action, Some(Duration::from_secs(90)));
        }
    }

    #[test]
    fn what_is_over_is_counted_once() {
        let mut estimate = run(2, 2, 0.0);
        let mut counts = |event| {
            let outlook = estimate.take(&Entry { unix_ms: 0, event });
            (outlook.done, outlook.running, outlook.all)
        };
        let cached = |instance: &str| Event::Cached { instance: instance.to_owned(), action: action() };
        assert_eq!(counts(Event::Added { trials: 1, cached: 3 }), (3, 0, 7));
        assert_eq!(counts(started("encoder[0]")), (3, 1, 7));
        assert_eq!(counts(finished("encoder[0]", 1)), (4, 0, 7));
        assert_eq!(counts(cached("encoder[0]")), (4, 0, 7));
        assert_eq!(counts(cached("encoder[1]")), (5, 0, 7));
        let skipped = Event::Skipped { instance: "probe[1]".to_owned(), because: "x".to_owned() };
        assert_eq!(counts(skipped), (6, 0, 7));
    }
}
