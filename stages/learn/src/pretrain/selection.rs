//! Which of the networks a training goes through is its result.

use std::sync::Arc;

use ablate_data::{ImageSet, Views};
use ablate_stage::{BadArtifact, FieldError, Job, StageError, TensorData, Tensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assign::probabilities;
use crate::encoder::{Encoder, Showing};
use crate::metrics::Contingency;
use crate::rows::largest;
use crate::weights::Weights;

/// Which of the networks a training goes through is its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Selection {
    /// The last.
    #[default]
    Last,
    /// The one whose cluster head agrees best with the true labels of the images trained on (ACC), as GCC's program selects. An
    /// oracle: nobody without labels can choose so, and the output `metrics` says `oracle` 1.
    BestByLabel {
        /// It is looked at after each epoch whose number this divides, counted from 0, but not after the first.
        #[serde(default = "every")]
        every: usize,
        /// How images are shown to it.
        #[serde(default = "plain")]
        view: Views,
        /// Images computed at once.
        #[serde(default = "batch")]
        batch: usize,
    },
}

fn every() -> usize {
    5
}

fn plain() -> Views {
    Views::PLAIN
}

fn batch() -> usize {
    256
}

impl Selection {
    /// Whether it uses the labels.
    pub fn is_oracle(&self) -> bool {
        match self {
            Self::Last => false,
            Self::BestByLabel { .. } => true,
        }
    }

    /// Whether the network is looked at after an epoch.
    pub fn is_due(&self, epoch: usize) -> bool {
        match self {
            Self::Last => false,
            Self::BestByLabel { every, .. } => epoch > 0 && epoch.is_multiple_of(*every),
        }
    }

    /// How well the cluster head agrees with the labels of some rows; `None` where none has one.
    ///
    /// # Errors
    /// Where images cannot be shown.
    pub fn accuracy(
        &self,
        encoder: &mut Encoder,
        images: &Arc<ImageSet>,
        mut rows: Vec<u32>,
        job: &mut Job<'_>,
    ) -> Result<Option<f64>, StageError> {
        rows.retain(|&row| images.labels[row as usize] >= 0);
        let Self::BestByLabel { view, batch, .. } = self else { return Ok(None) };
        if rows.is_empty() {
            return Ok(None);
        }
        let labels: Vec<i64> = rows.iter().map(|&row| images.labels[row as usize]).collect();
        let (values, clusters) = probabilities(encoder, &Showing { images, rows, view, batch: *batch }, job)?;
        let found: Vec<i64> = values.chunks_exact(clusters).map(|row| largest(row) as i64).collect();
        let table = Contingency::new(&found, &labels);
        Ok((table.side() <= Contingency::MAX_SIDE).then(|| table.accuracy()))
    }

    /// What is wrong with its values in a training of so many epochs; `path` is its place in the stage.
    pub fn validate(&self, path: &str, epochs: usize) -> Vec<FieldError> {
        let Self::BestByLabel { every, view, batch } = self else { return Vec::new() };
        let zero = [("every", *every), ("batch", *batch)].into_iter().filter(|(_, value)| *value == 0);
        let mut errors: Vec<_> = zero
            .map(|(field, _)| FieldError::new(&format!("{path}.{field}"), "must be at least 1, is 0"))
            .collect();
        if *every > 0 && *every >= epochs {
            let message =
                format!("must be below {epochs}, the epochs, or no network is looked at; is {every}");
            errors.push(FieldError::new(&format!("{path}.every"), message));
        }
        errors.extend(view.validate(&format!("{path}.view")));
        errors
    }
}

/// The best network so far.
#[derive(Clone, Debug)]
pub struct Best {
    /// The epoch after which it was looked at.
    pub epoch: usize,
    /// Its agreement with the labels.
    pub acc: f64,
    /// Its numbers.
    pub weights: Weights,
}

impl Best {
    /// Puts it into `tensors` under `prefix`.
    #[must_use]
    pub fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let mark = vec![self.epoch as i64, self.acc.to_bits().cast_signed()];
        let tensors = tensors.with(format!("{prefix}mark"), &[2], TensorData::I64(mark));
        self.weights.store(&format!("{prefix}weights/"), tensors)
    }

    /// What [`store`](Self::store) put there, for a network with the tensors of `weights`; `None` where there is nothing.
    ///
    /// # Errors
    /// Where it does not fit.
    pub fn load(prefix: &str, tensors: &Tensors, mut weights: Weights) -> Result<Option<Self>, BadArtifact> {
        let name = format!("{prefix}mark");
        if !tensors.contains(&name) {
            return Ok(None);
        }
        weights.load(&format!("{prefix}weights/"), tensors)?;
        match *tensors.i64(&name)? {
            [epoch, acc] => {
                Ok(Some(Self { epoch: epoch as usize, acc: f64::from_bits(acc.cast_unsigned()), weights }))
            }
            _ => Err(BadArtifact::new(format!("tensor `{name}` is not two numbers"))),
        }
    }
}
