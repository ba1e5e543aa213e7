//! Looking at a cluster head by the true labels while it is trained.

use std::sync::Arc;

use ablate_data::{ImageSet, Views};
use ablate_stage::{FieldError, Job, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assign::probabilities;
use crate::encoder::{Encoder, Showing};
use crate::metrics::Contingency;
use crate::rows::largest;

/// When and how the cluster head is looked at by the true labels of the images trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// It is looked at after each epoch whose number this divides, counted from 0, but not after the first.
    #[serde(default = "every")]
    pub every: usize,
    /// How images are shown to it.
    #[serde(default = "plain")]
    pub view: Views,
    /// Images computed at once.
    #[serde(default = "batch")]
    pub batch: usize,
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

impl Watch {
    /// Whether the network is looked at after an epoch.
    pub fn is_due(&self, epoch: usize) -> bool {
        epoch > 0 && epoch.is_multiple_of(self.every)
    }

    /// How well the cluster head agrees with the labels of some rows (ACC); `None` where none has one.
    ///
    /// # Errors
    /// Where images cannot be shown.
    pub fn accuracy(
        &self,
        encoder: &mut Encoder,
        images: &Arc<ImageSet>,
        rows: &[u32],
        job: &mut Job<'_>,
    ) -> Result<Option<f64>, StageError> {
        let label = |row: u32| images.labels[row as usize];
        let rows: Vec<u32> = rows.iter().copied().filter(|&row| label(row) >= 0).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let labels: Vec<i64> = rows.iter().map(|&row| label(row)).collect();
        let showing = Showing { images, rows, view: &self.view, batch: self.batch };
        let (values, clusters) = probabilities(encoder, &showing, job)?;
        let found: Vec<i64> = values.chunks_exact(clusters).map(|row| largest(row) as i64).collect();
        let table = Contingency::new(&found, &labels);
        Ok((table.side() <= Contingency::MAX_SIDE).then(|| table.accuracy()))
    }

    /// What is wrong with its values in a training of so many epochs; `path` is its place in the stage.
    pub fn validate(&self, path: &str, epochs: usize) -> Vec<FieldError> {
        let Self { every, view, batch } = self;
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
