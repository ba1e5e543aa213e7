//! The stage that takes figures out of a curve.

use std::collections::BTreeSet;

use ablate_data::{Column, Columns};
use ablate_stage::{ArtifactKind, FieldError, Job, Metrics, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes what a curve says at some epochs, so that tables can show it: the loss, the accuracy, the purity of graphs against
/// progress.
///
/// Input `curve`. Output `metrics`: `epoch_N` for each epoch N asked for, by the last row of the quantity in that epoch or before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurveEval {
    /// A column of the curve, as `loss`, or one of its measures, as `purity@1`, where it has columns `measure` and `value`.
    pub quantity: String,
    /// The epochs, counted from 0.
    pub epochs: Vec<u32>,
}

impl CurveEval {
    /// The rows of the quantity that have a value, each with its epoch.
    fn rows(&self, curve: &Columns) -> Result<Vec<(i64, f64)>, String> {
        let Some(Column::I64(epochs)) = curve.get("epoch") else {
            return Err("it has no column `epoch` of whole numbers".to_owned());
        };
        let (values, is_meant): (_, Box<dyn Fn(usize) -> bool>) =
            match (curve.get("measure"), curve.get("value")) {
                (Some(Column::Text(measures)), Some(values)) => {
                    (values, Box::new(|row| measures[row] == self.quantity))
                }
                _ => {
                    let known =
                        || curve.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                    let values = curve.get(&self.quantity);
                    (
                        values.ok_or_else(|| {
                            format!("it has no column `{}`; it has {}", self.quantity, known())
                        })?,
                        Box::new(|_| true),
                    )
                }
            };
        let value = |row: usize| match values {
            Column::I64(values) => Some(values[row] as f64),
            Column::F64(values) => Some(values[row]),
            Column::Text(_) => None,
        };
        let meant = (0..epochs.len()).filter(|&row| is_meant(row));
        let rows: Vec<(i64, f64)> = meant.filter_map(|row| Some((epochs[row], value(row)?))).collect();
        if rows.is_empty() {
            return Err(format!("it has no number for `{}`", self.quantity));
        }
        Ok(rows)
    }
}

impl Stage for CurveEval {
    const KIND: &'static str = "CurveEval";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("curve", ArtifactKind::Curve)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("metrics", ArtifactKind::Metrics)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.quantity.is_empty() {
            errors.push(FieldError::new("quantity", "must name a column or a measure"));
        }
        if self.epochs.is_empty() || self.epochs.iter().collect::<BTreeSet<_>>().len() < self.epochs.len() {
            errors.push(FieldError::new("epochs", "must be at least one, each once"));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let curve = Columns::read(job.input("curve")?).map_err(|error| StageError::input("curve", error))?;
        let rows = self.rows(&curve).map_err(|reason| StageError::input("curve", reason))?;
        let mut metrics = Metrics::default();
        for &epoch in &self.epochs {
            let last = rows.iter().rfind(|(at, _)| *at <= i64::from(epoch));
            let (_, value) = last.ok_or_else(|| {
                StageError::input("curve", format!("it has no `{}` up to epoch {epoch}", self.quantity))
            })?;
            if !value.is_finite() {
                return Err(StageError::input(
                    "curve",
                    format!("`{}` is {value} at epoch {epoch}", self.quantity),
                ));
            }
            metrics.insert(format!("epoch_{epoch}"), *value);
        }
        metrics.write(job.output("metrics"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(curve: &Columns, quantity: &str) -> Result<Vec<(i64, f64)>, String> {
        CurveEval { quantity: quantity.to_owned(), epochs: vec![0] }.rows(curve)
    }

    #[test]
    fn a_quantity_is_a_column_or_a_measure() {
        let epochs = || Column::I64(vec![0, 0, 5]);
        let wide = Columns::new().with("epoch", epochs()).with("loss", Column::F64(vec![2.0, 1.0, 0.5]));
        assert_eq!(at(&wide, "loss"), Ok(vec![(0, 2.0), (0, 1.0), (5, 0.5)]));
        assert_eq!(at(&wide, "los"), Err("it has no column `los`; it has `epoch`, `loss`".to_owned()));
        let measures = Column::Text(["a", "b", "a"].map(str::to_owned).to_vec());
        let long = Columns::new()
            .with("epoch", epochs())
            .with("measure", measures)
            .with("value", Column::F64(vec![1.0, 2.0, 3.0]));
        assert_eq!(at(&long, "a"), Ok(vec![(0, 1.0), (5, 3.0)]));
        assert_eq!(at(&long, "c"), Err("it has no number for `c`".to_owned()));
        assert_eq!(at(&Columns::new(), "c"), Err("it has no column `epoch` of whole numbers".to_owned()));
    }
}
