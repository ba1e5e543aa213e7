//! The best and the second best.

use std::collections::BTreeMap;

use super::Key;
use crate::pipeline::{Better, Show, TableSpec};
use crate::table::sample::number;
use crate::table::{Caveat, Cell, Rank, Table};

impl Table {
    /// Marks the best and the second best of each column, or of each part of it whose rows agree in the axes that rank apart: whole
    /// cells only, and none that labels have chosen. What others have published counts in a row of its own and beside ours alike.
    pub(super) fn rank(&mut self, spec: &TableSpec) {
        let apart: Vec<usize> =
            spec.within.iter().filter_map(|axis| self.axes.iter().position(|known| known == axis)).collect();
        let mut parts: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (place, row) in self.rows.iter().enumerate() {
            let key = apart.iter().map(|&axis| row.labels[axis].clone()).collect();
            parts.entry(key).or_default().push(place);
        }
        for part in parts.values() {
            self.rank_part(spec, part);
        }
    }

    /// The same, of some rows.
    fn rank_part(&mut self, spec: &TableSpec, part: &[usize]) {
        for at in 0..self.columns.len() {
            let (_, spec) = &spec.cells[at % spec.cells.len()];
            let Some(better) = spec.better.filter(|_| spec.show != Show::Count) else { continue };
            let ranked = |cell: &Cell| {
                let whole = cell.numbers.n == cell.numbers.of && !self.is_oracle(cell);
                cell.numbers.shown.filter(|_| whole && cell.numbers.of > 0)
            };
            let as_shown =
                |value: f64| number(spec, value, None).parse::<f64>().expect("a number is shown as one");
            // What others have published is shown with the digits they gave; the last ones of these are only of the change of unit.
            let in_unit = |value: f64| {
                let value = if spec.percent { 100.0 * value } else { value };
                format!("{value:.9e}").parse::<f64>().expect("a number is written as one")
            };
            let mut sorted: Vec<f64> = Vec::new();
            let mut values: Vec<Option<f64>> = Vec::new();
            for row in part.iter().map(|&place| &self.rows[place]) {
                let cell = &row.cells[at];
                let published =
                    cell.numbers.published.filter(|_| !cell.numbers.published_is_oracle).map(in_unit);
                let ours = ranked(cell).map(as_shown);
                sorted.extend(ours.into_iter().chain(published));
                values.push(if row.published { published } else { ours });
            }
            let several = sorted.len();
            sorted.sort_by(|a, b| match better {
                Better::Higher => b.total_cmp(a),
                Better::Lower => a.total_cmp(b),
            });
            sorted.dedup();
            // Of two, the second is the worse.
            if sorted.len() < 2 {
                continue;
            }
            for (&place, value) in part.iter().zip(values) {
                self.rows[place].cells[at].rank = match value {
                    Some(value) if value == sorted[0] => Rank::Best,
                    Some(value) if value == sorted[1] && several > 2 => Rank::Second,
                    Some(_) | None => Rank::Other,
                };
            }
        }
    }

    fn is_oracle(&self, cell: &Cell) -> bool {
        cell.notes.iter().any(|&note| self.notes[note] == Caveat::Oracle.note())
    }
}
