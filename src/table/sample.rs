//! What a cell is made of, and what it says.

use std::collections::{BTreeMap, HashMap};

use super::origin::Origin;
use super::{Cell, Numbers};
use crate::pipeline::{self, Better, Show};
use crate::rows::State;
use crate::stats::{ci95, mean, median, std};

/// A metric over the instances of a group.
#[derive(Default)]
pub(super) struct Sample {
    /// Those that have a value.
    pub instances: Vec<u32>,
    /// Of each of them.
    pub seeds: Vec<Option<u64>>,
    /// Of each of them.
    pub values: Vec<f64>,
    /// Instances in all.
    pub of: usize,
    /// State → how many instances have it; those that are done have a value, or report none.
    pub states: BTreeMap<String, usize>,
    pub origin: Origin,
}

impl Sample {
    /// The values of this and of another sample, seed by seed; a sample of one value without a seed is the same for each.
    pub fn pairs(&self, other: &Self) -> (Vec<f64>, Vec<f64>) {
        match (self.alone(), other.alone()) {
            (Some(mine), _) => (vec![mine; other.values.len()], other.values.clone()),
            (None, Some(theirs)) => (self.values.clone(), vec![theirs; self.values.len()]),
            (None, None) => {
                let theirs: HashMap<_, _> = other.seeds.iter().zip(&other.values).collect();
                let pairs = self.seeds.iter().zip(&self.values);
                pairs.filter_map(|(seed, &mine)| Some((mine, **theirs.get(seed)?))).unzip()
            }
        }
    }

    /// Its value, where it is one without a seed.
    fn alone(&self) -> Option<f64> {
        match (self.seeds.as_slice(), self.values.as_slice()) {
            ([None], [value]) => Some(*value),
            _ => None,
        }
    }

    /// How many of its values are of a seed.
    pub fn seeded(&self) -> usize {
        self.seeds.iter().flatten().count()
    }

    /// How many of its instances have no value for this reason.
    fn without(&self, reason: State) -> usize {
        let count = |state: State| self.states.get(state.word()).copied().unwrap_or(0);
        match reason {
            State::Unreported => count(reason) + count(State::Done).saturating_sub(self.values.len()),
            State::Done | State::Missing | State::Running | State::Failed => count(reason),
        }
    }
}

/// The statistics of some values, of which there should be `of`.
pub(super) fn numbers(values: &[f64], of: usize) -> Numbers {
    Numbers {
        n: values.len(),
        of,
        mean: mean(values),
        std: std(values),
        ci95: ci95(values),
        median: median(values),
        min: values.iter().copied().reduce(f64::min),
        max: values.iter().copied().reduce(f64::max),
        ..Numbers::default()
    }
}

/// What a cell says of a sample: the statistic over the trials that have a value, with how many of them there are where some
/// lack one.
pub(super) fn show(spec: &pipeline::Cell, sample: &Sample) -> Cell {
    let mut numbers = numbers(&sample.values, sample.of);
    numbers.shown = shown(spec, &numbers);
    // What may still come first.
    let states = [State::Running, State::Missing, State::Failed, State::Unreported];
    let mut left =
        states.map(|state| (state, sample.without(state))).into_iter().filter(|(_, count)| *count > 0);
    let Some(value) = numbers.shown else {
        let word = left.next().map_or(State::Unreported, |(state, _)| state).word();
        let why: Vec<String> = left.filter_map(told).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        return Cell { text: format!("{word}{why}"), numbers, ..Cell::default() };
    };
    let text = |value| number(spec, value, Some(value));
    let mut text = match (spec.show, numbers.std, numbers.ci95) {
        (Show::MeanStd, Some(std), _) => format!("{} ± {}", text(value), number(spec, std, Some(value))),
        (Show::MeanCi, _, Some(half)) => {
            let bound = |bound| number(spec, bound, Some(value));
            format!("{} [{}, {}]", text(value), bound(value - half), bound(value + half))
        }
        (Show::Count, ..) => numbers.n.to_string(),
        (Show::MeanStd | Show::MeanCi | Show::Mean | Show::Median | Show::Best, ..) => text(value),
    };
    if numbers.n < numbers.of {
        let why: String = left.filter_map(told).map(|text| format!(", {text}")).collect();
        text.push_str(&format!(" ({} of {}{why})", numbers.n, numbers.of));
    }
    Cell { text, numbers, ..Cell::default() }
}

/// `1 failed`; nothing of those that are only missing.
fn told((state, count): (State, usize)) -> Option<String> {
    (state != State::Missing).then(|| format!("{count} {}", state.word()))
}

/// The number a cell shows first.
pub(super) fn shown(spec: &pipeline::Cell, numbers: &Numbers) -> Option<f64> {
    match (spec.show, spec.better) {
        (Show::MeanStd | Show::MeanCi | Show::Mean, _) => numbers.mean,
        (Show::Median, _) => numbers.median,
        (Show::Best, Some(Better::Lower)) => numbers.min,
        (Show::Best, Some(Better::Higher) | None) => numbers.max,
        (Show::Count, _) => numbers.mean.map(|_| numbers.n as f64),
    }
}

/// A value in the unit of its cell, with as many digits as suit `beside`, or itself; as a power of ten where three places would show
/// nothing of it, or it is long.
pub(super) fn number(spec: &pipeline::Cell, value: f64, beside: Option<f64>) -> String {
    let scale = if spec.percent { 100.0 } else { 1.0 };
    let size = (beside.unwrap_or(value) * scale).abs();
    let text = match spec.digits {
        Some(digits) => format!("{:.digits$}", value * scale),
        None if value != 0.0 && (size >= 1e6 || !spec.percent && size != 0.0 && size < 1e-3) => {
            format!("{:.2e}", value * scale)
        }
        None if spec.percent || size >= 100.0 => format!("{:.1}", value * scale),
        None => format!("{:.3}", value * scale),
    };
    // A small negative number is not shown as -0.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.replace('-', "") } else { text }
}

/// A difference with its sign.
pub(super) fn signed(spec: &pipeline::Cell, difference: f64, beside: Option<f64>) -> String {
    let text = number(spec, difference, beside);
    if text.starts_with('-') { text } else { format!("+{text}") }
}
