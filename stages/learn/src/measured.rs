//! Figures taken after epochs of a training.

use ablate_data::{Column, Columns};
use ablate_stage::{BadArtifact, TensorData, Tensors};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The share of pairs of one class among the first so many neighbours of a graph.
    Purity(usize),
    /// The agreement of the cluster head with the true labels (ACC).
    Accuracy,
}

impl Measure {
    fn name(self) -> String {
        match self {
            Self::Purity(k) => format!("purity@{k}"),
            Self::Accuracy => "acc".to_owned(),
        }
    }

    /// A number to be stored by; purity of the first 0 neighbours is no measure.
    fn code(self) -> i64 {
        match self {
            Self::Purity(k) => k as i64,
            Self::Accuracy => 0,
        }
    }

    fn of_code(code: i64) -> Self {
        match usize::try_from(code) {
            Ok(k) if k > 0 => Self::Purity(k),
            _ => Self::Accuracy,
        }
    }
}

/// The figures of a training, in the order they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(Vec<(usize, Measure, f64)>);

impl Measured {
    /// Adds what was measured after an epoch.
    pub fn push(&mut self, epoch: usize, measure: Measure, value: f64) {
        self.0.push((epoch, measure, value));
    }

    /// The last figure of a measure.
    pub fn last(&self, measure: Measure) -> Option<f64> {
        self.0.iter().rfind(|(_, known, _)| *known == measure).map(|(.., value)| *value)
    }

    /// A row a figure: `epoch`, `measure`, `value`.
    pub fn columns(&self) -> Columns {
        Columns::new()
            .with("epoch", Column::I64(self.0.iter().map(|(epoch, ..)| *epoch as i64).collect()))
            .with("measure", Column::Text(self.0.iter().map(|(_, measure, _)| measure.name()).collect()))
            .with("value", Column::F64(self.0.iter().map(|(.., value)| *value).collect()))
    }

    /// Puts them into `tensors` under a name.
    #[must_use]
    pub fn store(&self, name: &str, tensors: Tensors) -> Tensors {
        let row = |&(epoch, measure, value): &(usize, Measure, f64)| {
            [epoch as i64, measure.code(), value.to_bits().cast_signed()]
        };
        let rows: Vec<i64> = self.0.iter().flat_map(row).collect();
        tensors.with(name, &[self.0.len(), 3], TensorData::I64(rows))
    }

    /// What [`store`](Self::store) put there.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn load(name: &str, tensors: &Tensors) -> Result<Self, BadArtifact> {
        let of =
            |row: &[i64]| (row[0] as usize, Measure::of_code(row[1]), f64::from_bits(row[2].cast_unsigned()));
        Ok(Self(tensors.i64(name)?.chunks_exact(3).map(of).collect()))
    }
}
