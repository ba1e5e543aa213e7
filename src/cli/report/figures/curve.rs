//! Curves as artifacts hold them: a column a quantity, or a row a value of a named measure.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{DataFrame, DataType, PolarsResult, StringChunked};

/// Columns that say where a curve is, not how it does.
const POSITIONS: [&str; 4] = ["epoch", "step", "neighbours", "lr"];

/// Where the points of a curve are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// At their steps.
    Steps,
    /// At epochs, of which steps are equal parts that end at the next whole number.
    PartsOfEpochs,
    /// At their epochs.
    Epochs,
    /// At their numbers of neighbours.
    Neighbours,
    /// At their own numbers, from 1.
    Numbers,
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

/// What a curve tells of a quantity: where, and how much, both finite.
///
/// # Errors
/// Where it does not tell of it in numbers.
pub(super) fn line(frame: &DataFrame, quantity: &str, places: Places) -> PolarsResult<Vec<(f64, f64)>> {
    let measures = measures(frame).ok();
    let values = numbers(frame, if measures.is_some() { "value" } else { quantity })?;
    let is_told = |row: usize| measures.is_none_or(|measures| measures.get(row) == Some(quantity));
    let rows: Vec<usize> = (0..frame.height()).filter(|&row| is_told(row)).collect();
    let at = places.of(frame, &rows)?;
    let points = rows.into_iter().zip(at).filter_map(|(row, x)| Some((x?, values[row]?)));
    Ok(points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
}

/// The names of measures, where a row is one of them: its value is in column `value`.
fn measures(frame: &DataFrame) -> PolarsResult<&StringChunked> {
    frame.column("value").and(frame.column("measure"))?.str()
}

fn numbers(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<f64>>> {
    Ok(frame.column(name)?.cast(&DataType::Float64)?.f64()?.iter().collect())
}

impl Places {
    /// Where the points are of all curves that one chart is to show: at their steps, unless some count these anew in each epoch.
    pub fn in_all(frames: &[&DataFrame]) -> Self {
        let have = |name: &str| frames.iter().all(|frame| numbers(frame, name).is_ok());
        let begin_anew = || frames.iter().any(|frame| go_on(frame) == Some(false));
        match (have("step"), have("epoch")) {
            (true, true) if begin_anew() => Self::PartsOfEpochs,
            (true, _) => Self::Steps,
            (false, true) => Self::Epochs,
            (false, false) if have("neighbours") => Self::Neighbours,
            (false, false) => Self::Numbers,
        }
    }

    /// What is counted from left to right.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::PartsOfEpochs => "epochs done",
            Self::Epochs => "epoch",
            Self::Neighbours => "neighbours",
            Self::Numbers => "point",
        }
    }

    /// The places of some rows.
    fn of(self, frame: &DataFrame, rows: &[usize]) -> PolarsResult<Vec<Option<f64>>> {
        let at =
            |name: &str| numbers(frame, name).map(|places| rows.iter().map(|&row| places[row]).collect());
        match self {
            Self::Steps => at("step"),
            Self::Epochs => at("epoch"),
            Self::Neighbours => at("neighbours"),
            Self::Numbers => Ok((1..=rows.len()).map(|place| Some(place as f64)).collect()),
            Self::PartsOfEpochs => {
                let (steps, epochs) = (numbers(frame, "step")?, numbers(frame, "epoch")?);
                let mut last: BTreeMap<u64, f64> = BTreeMap::new();
                for (step, epoch) in steps.iter().zip(&epochs).filter_map(|(step, epoch)| step.zip(*epoch)) {
                    let last = last.entry(epoch.to_bits()).or_insert(step);
                    *last = last.max(step);
                }
                let part = |row: &usize| {
                    let (step, epoch) = (steps[*row]?, epochs[*row]?);
                    Some(epoch + (step + 1.0) / (last[&epoch.to_bits()] + 1.0))
                };
                Ok(rows.iter().map(part).collect())
            }
        }
    }
}

/// Whether steps are counted through all epochs: each begins after the last step of the one before it. `None` where there is one
/// epoch, which does not tell.
fn go_on(frame: &DataFrame) -> Option<bool> {
    let (steps, epochs) = (numbers(frame, "step").ok()?, numbers(frame, "epoch").ok()?);
    let known: Vec<(f64, f64)> =
        epochs.into_iter().zip(steps).filter_map(|(epoch, step)| epoch.zip(step)).collect();
    let mut begun = known.windows(2).filter(|pair| pair[0].0 < pair[1].0).peekable();
    begun.peek()?;
    Some(begun.all(|pair| pair[0].1 < pair[1].1))
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    /// The points of a curve in a chart of its own.
    fn alone(frame: PolarsResult<DataFrame>, quantity: &str) -> (&'static str, Vec<(f64, f64)>) {
        let frame = frame.unwrap();
        let places = Places::in_all(&[&frame]);
        (places.name(), line(&frame, quantity, places).unwrap())
    }

    #[test]
    fn steps_that_begin_again_are_parts_of_their_epochs() {
        let frame = df!("epoch" => [0, 0, 1, 1, 1, 1], "step" => [0, 1, 0, 1, 2, 3], "loss" => [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        let expected = [(0.5, 6.0), (1.0, 5.0), (1.25, 4.0), (1.5, 3.0), (1.75, 2.0), (2.0, 1.0)];
        assert_eq!(alone(frame, "loss"), ("epochs done", expected.to_vec()));
        let one_a_piece = df!("epoch" => [0, 1, 2], "step" => [0, 0, 0], "loss" => [3.0, 2.0, 1.0]);
        let expected = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)];
        assert_eq!(alone(one_a_piece, "loss"), ("epochs done", expected.to_vec()));
        // Told of now and then, the first step of an epoch may be beyond the last of the one before.
        let seldom = df!("epoch" => [1, 3, 4, 6], "step" => [19, 9, 29, 19], "loss" => [4.0, 3.0, 2.0, 1.0]);
        assert_eq!(alone(seldom, "loss").0, "epochs done");
    }

    #[test]
    fn steps_that_go_on_are_where_they_say() {
        let frame = df!("epoch" => [0, 0, 1], "step" => [10, 20, 30], "loss" => [Some(3.0), None, Some(1.0)]);
        assert_eq!(alone(frame, "loss"), ("step", vec![(10.0, 3.0), (30.0, 1.0)]));
    }

    #[test]
    fn curves_of_one_chart_are_placed_alike() {
        let one = df!("epoch" => [0, 0], "step" => [0, 1], "loss" => [2.0, 1.0]).unwrap();
        let anew = df!("epoch" => [0, 0, 1], "step" => [0, 1, 0], "loss" => [3.0, 2.0, 1.0]).unwrap();
        let on = df!("epoch" => [0, 0, 1], "step" => [0, 1, 2], "loss" => [3.0, 2.0, 1.0]).unwrap();
        assert_eq!(Places::in_all(&[&one]), Places::Steps);
        assert_eq!(Places::in_all(&[&one, &on]), Places::Steps);
        assert_eq!(Places::in_all(&[&one, &anew]), Places::PartsOfEpochs);
        assert_eq!(line(&one, "loss", Places::PartsOfEpochs).unwrap(), [(0.5, 2.0), (1.0, 1.0)]);
    }

    #[test]
    fn measures_are_where_their_own_rows_are() {
        let measures = ["acc", "purity", "acc"];
        let frame = df!("epoch" => [4, 4, 9], "measure" => measures, "value" => [0.1, 0.5, 0.2]).unwrap();
        assert_eq!(quantities(&frame), BTreeSet::from(["acc", "purity"].map(str::to_owned)));
        assert_eq!(alone(Ok(frame.clone()), "acc"), ("epoch", vec![(4.0, 0.1), (9.0, 0.2)]));
        assert_eq!(alone(frame.drop("epoch"), "acc"), ("point", vec![(1.0, 0.1), (2.0, 0.2)]));
    }
}
