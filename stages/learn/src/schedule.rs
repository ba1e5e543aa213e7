//! Learning rates over time.

use std::f64::consts::PI;

use ablate_stage::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves from the optimiser's `lr`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// A linear warm-up from 0, whose last unit (step or epoch) has the full rate, then half a cosine down to `final_lr`
    /// (Loshchilov & Hutter 2017, eq. 5, without restarts). The first unit has the rate 0, so a warm-up of a single one
    /// only delays the start.
    Cosine {
        /// Length of the warm-up, in epochs.
        #[serde(default)]
        warmup_epochs: usize,
        /// The rate the cosine goes to.
        #[serde(default)]
        final_lr: f64,
        /// How often it is set.
        #[serde(default)]
        every: Every,
    },
}

/// How often a schedule is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Every {
    /// At each optimiser step.
    #[default]
    Step,
    /// At the start of each epoch.
    Epoch,
}

/// How far training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step within the epoch, from 0.
    pub step: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps in each epoch.
    pub steps: usize,
}

impl Schedule {
    /// A cosine to 0 without warm-up, at each step.
    pub const COSINE: Self = Self::Cosine { warmup_epochs: 0, final_lr: 0.0, every: Every::Step };

    /// The learning rate at a position, for an optimiser whose rate is `lr`.
    pub fn lr(&self, lr: f64, at: Position) -> f64 {
        match *self {
            Self::Constant => lr,
            Self::Cosine { warmup_epochs, final_lr, every } => {
                let (now, warmup, total) = match every {
                    Every::Step => {
                        (at.epoch * at.steps + at.step, warmup_epochs * at.steps, at.epochs * at.steps)
                    }
                    Every::Epoch => (at.epoch, warmup_epochs, at.epochs),
                };
                if now < warmup {
                    return lr * now as f64 / (warmup - 1).max(1) as f64;
                }
                let done = (now - warmup) as f64 / (total - warmup).max(1) as f64;
                final_lr + (lr - final_lr) * (1.0 + (PI * done).cos()) / 2.0
            }
        }
    }

    /// What is wrong with its values, for `epochs` epochs; `path` is its place in the stage.
    pub fn validate(&self, path: &str, epochs: usize) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Self::Cosine { warmup_epochs, final_lr, every: _ } = *self {
            if warmup_epochs > epochs {
                let message = format!("must be at most the {epochs} epochs there are, is {warmup_epochs}");
                errors.push(FieldError::new(&format!("{path}.warmup_epochs"), message));
            }
            if !(final_lr >= 0.0 && final_lr.is_finite()) {
                let message = format!("must be at least 0, is {final_lr}");
                errors.push(FieldError::new(&format!("{path}.final_lr"), message));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: Schedule, lr: f64, (epochs, steps): (usize, usize), expected: &[(usize, f64)]) {
        for &(now, expected) in expected {
            let at = match schedule {
                Schedule::Cosine { every: Every::Epoch, .. } => {
                    Position { epoch: now, step: 3, epochs, steps }
                }
                _ => Position { epoch: now / steps, step: now % steps, epochs, steps },
            };
            let found = schedule.lr(lr, at);
            assert!(
                (found - expected).abs() <= 1e-10 * lr,
                "{schedule:?} at {now}: {found}, expected {expected}"
            );
        }
    }

    #[test]
    fn rates_are_those_of_the_original_programs() {
        let gcc = Schedule::Cosine { warmup_epochs: 0, final_lr: 4e-4, every: Every::Epoch };
        let expected =
            [(0, 0.4), (1, 0.399999014027), (50, 0.397540130451), (500, 0.2002), (999, 0.000400985973)];
        check(gcc, 0.4, (1000, 7), &expected);
        let dino = Schedule::Cosine { warmup_epochs: 2, final_lr: 1e-6, every: Every::Step };
        let expected = [
            (0, 0.0),
            (1, 1.7857142857e-5),
            (7, 1.25e-4),
            (8, 1.25e-4),
            (20, 8.6726372807e-5),
            (39, 1.2985469463e-6),
        ];
        check(dino, 1.25e-4, (10, 4), &expected);
        check(Schedule::Constant, 0.1, (5, 3), &[(0, 0.1), (7, 0.1), (14, 0.1)]);
    }

    #[test]
    fn a_warm_up_of_every_epoch_and_of_one_unit_is_finite() {
        let all = Schedule::Cosine { warmup_epochs: 2, final_lr: 0.0, every: Every::Step };
        check(all, 1.0, (2, 2), &[(0, 0.0), (1, 1.0 / 3.0), (3, 1.0)]);
        let one = Schedule::Cosine { warmup_epochs: 1, final_lr: 0.0, every: Every::Epoch };
        check(one, 1.0, (2, 5), &[(0, 0.0), (1, 1.0)]);
    }

    #[test]
    fn impossible_values_are_named() {
        let schedule = Schedule::Cosine { warmup_epochs: 9, final_lr: -1.0, every: Every::Step };
        let errors = schedule.validate("schedule", 5);
        assert_eq!(
            errors,
            [
                FieldError::new("schedule.warmup_epochs", "must be at most the 5 epochs there are, is 9"),
                FieldError::new("schedule.final_lr", "must be at least 0, is -1"),
            ]
        );
    }
}
