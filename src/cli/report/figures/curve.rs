//! Curves as artifacts hold them: a column a quantity, or a row a value of a named measure.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{DataFrame, DataType, PolarsResult, StringChunked};

/// Columns that say where a curve is, not how it does.
const POSITIONS: [&str; 4] = ["epoch", "step", "neighbours", "lr"];

/// A quantity of a curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// What is counted from left to right.
    pub x: &'static str,
    /// Where, and how much; both finite.
    pub points: Vec<(f64, f64)>,
}

/// What a curve tells: its measures, or each column that does not say where it is.
pub(super) fn quantities(frame: &DataFrame) -> BTreeSet<String> {
    match measures(frame) {
        Ok(measures) => measures.iter().flatten().map(str::to_owned).collect(),
        Err(_) => {
            let names = frame.get_column_names().into_iter().map(|name| name.as_str());
            names.filter(|name| !POSITIONS.contains(name)).map(str::to_owned).collect()
        }
    }
}

impl Line {
    /// What a curve tells of a quantity.
    ///
    /// # Errors
    /// Where it does not tell of it in numbers.
    pub fn of(frame: &DataFrame, quantity: &str) -> PolarsResult<Self> {
        let measures = measures(frame).ok();
        let values = numbers(frame, if measures.is_some() { "value" } else { quantity })?;
        let is_told = |row: usize| measures.is_none_or(|measures| measures.get(row) == Some(quantity));
        let rows: Vec<usize> = (0..frame.height()).filter(|&row| is_told(row)).collect();
        let (x, places) = places(frame, &rows);
        let points = rows.into_iter().zip(places).filter_map(|(row, x)| Some((x?, values[row]?)));
        Ok(Self { x, points: points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect() })
    }
}

/// The names of measures, where a row is one of them: its value is in column `value`.
fn measures(frame: &DataFrame) -> PolarsResult<&StringChunked> {
    frame.column("value").and(frame.column("measure"))?.str()
}

fn numbers(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<f64>>> {
    Ok(frame.column(name)?.cast(&DataType::Float64)?.f64()?.iter().collect())
}

/// Where some rows of a curve are: at their steps, where those go on from epoch to epoch; else, where there are epochs, at these, of
/// which steps are equal parts that end at the next whole number; else at their numbers of neighbours, or at their own from 1.
fn places(frame: &DataFrame, rows: &[usize]) -> (&'static str, Vec<Option<f64>>) {
    let (steps, epochs) = (numbers(frame, "step").ok(), numbers(frame, "epoch").ok());
    let at = |places: &[Option<f64>]| rows.iter().map(|&row| places[row]).collect();
    match (steps, epochs) {
        (Some(steps), Some(epochs)) if !go_on(&steps, &epochs) => {
            let mut last: BTreeMap<u64, f64> = BTreeMap::new();
            for (step, epoch) in steps.iter().zip(&epochs).filter_map(|(step, epoch)| step.zip(*epoch)) {
                let last = last.entry(epoch.to_bits()).or_insert(step);
                *last = last.max(step);
            }
            let part = |row: &usize| {
                let (step, epoch) = (steps[*row]?, epochs[*row]?);
                Some(epoch + (step + 1.0) / (last[&epoch.to_bits()] + 1.0))
            };
            ("epoch", rows.iter().map(part).collect())
        }
        (Some(steps), _) => ("step", at(&steps)),
        (None, Some(epochs)) => ("epoch", at(&epochs)),
        (None, None) => match numbers(frame, "neighbours") {
            Ok(neighbours) => ("neighbours", at(&neighbours)),
            Err(_) => ("point", (1..=rows.len()).map(|place| Some(place as f64)).collect()),
        },
    }
}

/// Whether steps are counted through all epochs: one begins after the last step of the one before it.
fn go_on(steps: &[Option<f64>], epochs: &[Option<f64>]) -> bool {
    let known: Vec<(f64, f64)> =
        epochs.iter().zip(steps).filter_map(|(epoch, step)| epoch.zip(*step)).collect();
    known.windows(2).any(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    fn line(frame: PolarsResult<DataFrame>, quantity: &str) -> (&'static str, Vec<(f64, f64)>) {
        let Line { x, points } = Line::of(&frame.unwrap(), quantity).unwrap();
        (x, points)
    }

    #[test]
    fn steps_that_begin_again_are_parts_of_their_epochs() {
        let frame = df!("epoch" => [0, 0, 1, 1, 1, 1], "step" => [0, 1, 0, 1, 2, 3], "loss" => [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        let expected = [(0.5, 6.0), (1.0, 5.0), (1.25, 4.0), (1.5, 3.0), (1.75, 2.0), (2.0, 1.0)];
        assert_eq!(line(frame, "loss"), ("epoch", expected.to_vec()));
        let one_a_piece = df!("epoch" => [0, 1, 2], "step" => [0, 0, 0], "loss" => [3.0, 2.0, 1.0]);
        assert_eq!(line(one_a_piece, "loss"), ("epoch", vec![(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]));
    }

    #[test]
    fn steps_that_go_on_are_where_they_say() {
        let frame = df!("epoch" => [0, 0, 1], "step" => [10, 20, 30], "loss" => [Some(3.0), None, Some(1.0)]);
        assert_eq!(line(frame, "loss"), ("step", vec![(10.0, 3.0), (30.0, 1.0)]));
    }

    #[test]
    fn measures_are_where_their_own_rows_are() {
        let measures = ["acc", "purity", "acc"];
        let frame = df!("epoch" => [4, 4, 9], "measure" => measures, "value" => [0.1, 0.5, 0.2]).unwrap();
        assert_eq!(quantities(&frame), BTreeSet::from(["acc", "purity"].map(str::to_owned)));
        assert_eq!(line(Ok(frame.clone()), "acc"), ("epoch", vec![(4.0, 0.1), (9.0, 0.2)]));
        let unplaced = frame.drop("epoch");
        assert_eq!(line(unplaced, "acc"), ("point", vec![(1.0, 0.1), (2.0, 0.2)]));
    }
}
