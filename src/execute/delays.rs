//! Actions that went wrong and are put off before they are tried again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ablate_stage::cache::ActionDigest;

/// How long an action is put off when it went wrong for the first time.
const FIRST: Duration = Duration::from_millis(250);
/// How long it is put off while another process performs it.
const HELD: Duration = Duration::from_millis(100);
/// How long it is put off at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Actions that are put off, by the time they are ready again.
#[derive(Default)]
pub struct Delays(BTreeSet<(Instant, ActionDigest)>);

impl Delays {
    /// Puts an action off: 0.25 s the first time, then four times as long each time, a minute at most.
    pub fn put_off(&mut self, action: ActionDigest, tries: usize, now: Instant) {
        let exponent = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = FIRST.saturating_mul(4_u32.saturating_pow(exponent)).min(LONGEST);
        self.0.insert((now + wait, action));
    }

    /// Puts an action off that another process performs.
    pub fn yield_to_other(&mut self, action: ActionDigest, now: Instant) {
        self.0.insert((now + HELD, action));
    }

    /// When the first of them is ready.
    pub fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out one that is ready.
    pub fn take_ready(&mut self, now: Instant) -> Option<ActionDigest> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, action)| action)
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
