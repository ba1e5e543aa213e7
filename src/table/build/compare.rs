//! Cells beside those of a baseline.

use std::collections::HashMap;

use super::{Builder, Group, Key, covers};
use crate::pipeline::{Around, Form, Show};
use crate::stats::{grain, holm, mean};
use crate::table::sample::{numbers, shown, signed};
use crate::table::{Cell, Table};

/// Below this, a corrected p-value gets a star.
const SIGNIFICANT: f64 = 0.05;

impl Builder<'_> {
    /// Sets each cell beside the baseline's.
    pub(super) fn compare(&self, all: &mut [Vec<Cell>], table: &mut Table) {
        let axes = [self.row_axes.as_slice(), self.column_axes.as_slice()].concat();
        let place = |axis: &str| axes.iter().position(|known| *known == axis);
        let of_all: Vec<(usize, &String)> =
            self.spec.baseline.iter().filter_map(|(axis, label)| Some((place(axis)?, label))).collect();
        // Of each group: the labels that the one it is compared with has in place of its own.
        let fixed = |group: &Group| match &self.spec.form {
            Form::Ablation(ablation) => {
                let at = place(ablation.form.heading())?;
                Some(vec![(at, ablation.before(group.key[at].as_deref()?)?)])
            }
            Form::Cells | Form::Effects { .. } => Some(of_all.clone()).filter(|fixed| !fixed.is_empty()),
        };
        // Cells that show the same results of the same metric are one comparison.
        let mut known: HashMap<(String, &[u32], &[u32]), usize> = HashMap::new();
        let mut tested: Vec<f64> = Vec::new();
        let mut tests_of: Vec<((usize, usize), usize)> = Vec::new();
        // Whether differences are over fewer seeds than the means they stand beside.
        let mut are_common = false;
        for (index, group) in self.groups.iter().enumerate() {
            let baseline = fixed(group).and_then(|fixed| self.baseline(&group.key, &fixed));
            let Some(baseline) = baseline.filter(|&baseline| baseline != index) else { continue };
            for (at, (_, spec)) in self.spec.cells.iter().enumerate() {
                let (sample, other) = (&self.samples[index][at], &self.samples[baseline][at]);
                let (mine, theirs) = sample.pairs(other);
                are_common |= !mine.is_empty()
                    && (mine.len() < sample.values.len() || theirs.len() < other.values.len());
                let difference = match spec.show {
                    Show::Count => None,
                    _ if spec.show.is_mean() => {
                        let differences: Vec<f64> = mine.iter().zip(&theirs).map(|(a, b)| a - b).collect();
                        let p = self.spec.test.p(&differences, grain(mine.iter().chain(&theirs).copied()));
                        // A value without seeds is one value, however often it is paired.
                        if let Some(p) = p.filter(|_| sample.seeds.len() > 1) {
                            let key = (spec.metric.to_string(), &*sample.instances, &*other.instances);
                            let test = *known.entry(key).or_insert_with(|| {
                                tested.push(p);
                                tested.len() - 1
                            });
                            tests_of.push(((index, at), test));
                        }
                        mean(&differences)
                    }
                    _ => shown(spec, &numbers(&mine, mine.len()))
                        .zip(shown(spec, &numbers(&theirs, theirs.len())))
                        .map(|(mine, theirs)| mine - theirs),
                };
                all[index][at].numbers.difference = difference;
            }
        }
        let corrected = holm(&tested);
        for ((group, at), test) in tests_of {
            let numbers = &mut all[group][at].numbers;
            (numbers.p, numbers.p_holm) = (Some(tested[test]), Some(corrected[test]));
        }
        for cells in all.iter_mut() {
            for (cell, (_, spec)) in cells.iter_mut().zip(&self.spec.cells) {
                let Some(difference) = cell.numbers.difference else { continue };
                let star = if cell.numbers.p_holm.is_some_and(|p| p < SIGNIFICANT) { "*" } else { "" };
                cell.asides.push(format!("{}{star}", signed(spec, difference, cell.numbers.mean)));
            }
        }
        if all.iter().flatten().all(|cell| cell.numbers.difference.is_none()) {
            return;
        }
        let told = match &self.spec.form {
            Form::Ablation(ablation) => match ablation.form {
                Around::Ladder => "the step before".to_owned(),
                Around::OneAtATime | Around::LeaveOneOut => ablation.form.first().to_owned(),
            },
            Form::Cells | Form::Effects { .. } => {
                let labels = of_all.iter().map(|(at, label)| format!("{}={label}", axes[*at]));
                labels.collect::<Vec<_>>().join(", ")
            }
        };
        let tests = match tested.len() {
            0 if !self.spec.cells.iter().any(|(_, cell)| cell.show.is_mean()) => {
                "only means are tested".to_owned()
            }
            0 => "no test with fewer than two common seeds or equal differences".to_owned(),
            n => format!(
                "* p < {SIGNIFICANT} in a {} over seeds, Holm-corrected for {n} comparison{}",
                self.spec.test.name(),
                if n == 1 { "" } else { "s" }
            ),
        };
        let common = if are_common { ", over the seeds both have" } else { "" };
        table.remarks.push(format!("in parentheses: difference to {told}{common}; {tests}"));
    }

    /// The group that has the baseline's labels and is like this one otherwise. Axes that do not reach it are passed over; of several
    /// the one that most axes reach counts.
    fn baseline(&self, key: &Key, fixed: &[(usize, &String)]) -> Option<usize> {
        let mut wanted = key.clone();
        for (axis, label) in fixed {
            wanted[*axis] = Some((*label).clone());
        }
        let exact = self.groups.iter().position(|group| group.key == wanted);
        exact.or_else(|| {
            let has = |group: &Group| fixed.iter().all(|(axis, _)| group.key[*axis] == wanted[*axis]);
            let reach = |group: &Group| group.key.iter().flatten().count();
            let like = self.groups.iter().enumerate().rev();
            let like = like.filter(|(_, group)| has(group) && covers(&group.key, &wanted));
            like.max_by_key(|(_, group)| reach(group)).map(|(place, _)| place)
        })
    }
}
