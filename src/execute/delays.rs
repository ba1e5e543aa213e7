//! Actions that went wrong and are put off before they are tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ablate_stage::cache::ActionDigest;

/// How long an action is put off when it went wrong for the first time.
const FIRST: Duration = Duration::from_millis(250);
/// How long it is put off at first when another process performs it, and how long at most.
const HELD: Duration = Duration::from_millis(50);
const HELD_LONGEST: Duration = Duration::from_secs(1);
/// How long it is put off at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Actions that are put off.
#[derive(Default)]
pub struct Delays {
    /// By the time they are ready again.
    queue: BTreeSet<(Instant, ActionDigest)>,
    /// Those that another process performs, and how long they were last put off.
    held: BTreeMap<ActionDigest, Duration>,
}

impl Delays {
    /// Puts an action off: 0.25 s the first time, then four times as long each time, a minute at most.
    pub fn put_off(&mut self, action: ActionDigest, tries: usize, now: Instant) {
        let exponent = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = FIRST.saturating_mul(4_u32.saturating_pow(exponent)).min(LONGEST);
        self.queue.insert((now + wait, action));
    }

    /// Puts an action off that another process performs: 50 ms the first time, then half as long again each time, a second at most.
    pub fn yield_to_other(&mut self, action: ActionDigest, now: Instant) {
        let wait = self.held.get(&action).map_or(HELD, |last| (*last * 3 / 2).min(HELD_LONGEST));
        self.held.insert(action, wait);
        self.queue.insert((now + wait, action));
    }

    /// Whether an action was put off because another process performs it.
    pub fn is_held(&self, action: &ActionDigest) -> bool {
        self.held.contains_key(action)
    }

    /// When the first of them is ready.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out one that is ready.
    pub fn take_ready(&mut self, now: Instant) -> Option<ActionDigest> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop_first().map(|(_, action)| action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_try_is_put_off_four_times_as_long_up_to_a_minute() {
        let now = Instant::now();
        let action = ActionDigest::of_manifest("a");
        let wait = |tries| {
            let mut delays = Delays::default();
            delays.put_off(action, tries, now);
            let at = delays.next().unwrap();
            assert_eq!(delays.take_ready(at - Duration::from_millis(1)), None);
            assert_eq!(delays.take_ready(at), Some(action));
            assert_eq!(delays.next(), None);
            (at - now).as_secs_f64()
        };
        assert_eq!([1, 2, 3, 4, 5, 1000].map(wait), [0.25, 1.0, 4.0, 16.0, 60.0, 60.0]);
    }
}
