//! Which of the networks a training goes through is its result.

use ablate_stage::{BadArtifact, FieldError, TensorData, Tensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::watch::Watch;
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
    BestByLabel(Watch),
}

impl Selection {
    /// Whether it uses the labels.
    pub fn is_oracle(&self) -> bool {
        self.watch().is_some()
    }

    /// How it looks at networks.
    pub fn watch(&self) -> Option<&Watch> {
        match self {
            Self::Last => None,
            Self::BestByLabel(watch) => Some(watch),
        }
    }

    /// What is wrong with its values in a training of so many epochs; `path` is its place in the stage.
    pub fn validate(&self, path: &str, epochs: usize) -> Vec<FieldError> {
        self.watch().map_or_else(Vec::new, |watch| watch.validate(path, epochs))
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
