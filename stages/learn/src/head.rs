//! Heads: small multilayer perceptrons on features.

use ablate_stage::FieldError;
use burn::prelude::*;
use burn::tensor::activation::relu;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::{BatchNorm, Linear};
use crate::weights::{Mode, Weights};

/// A multilayer perceptron: linear layers with ReLU between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// Output dimensions of each layer, first to last.
    pub widths: Vec<usize>,
    /// Where batch norms stand.
    #[serde(default)]
    pub norm: Norm,
}

/// Most layers of a head, and most outputs of each: what is more is a slip, and would take all memory.
const MAX_LAYERS: usize = 8;
const MAX_WIDTH: usize = 16_384;

/// Which linear layers of a head are followed by a batch norm (and then have no bias).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Norm {
    /// None.
    None,
    /// All but the last.
    #[default]
    Hidden,
    /// All.
    All,
}

impl Mlp {
    /// One of these widths and norms.
    pub fn new(widths: impl Into<Vec<usize>>, norm: Norm) -> Self {
        Self { widths: widths.into(), norm }
    }

    /// Dimensions of its output.
    ///
    /// # Panics
    /// When it has no layer, which [`validate`](Self::validate) refuses.
    pub fn output(&self) -> usize {
        *self.widths.last().expect("a head has a layer")
    }

    /// What is wrong with its values; `path` is its place in the stage.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        let good = (1..=MAX_LAYERS).contains(&self.widths.len())
            && self.widths.iter().all(|width| (1..=MAX_WIDTH).contains(width));
        if !good {
            let message =
                format!("must be 1 to {MAX_LAYERS} numbers of 1 to {MAX_WIDTH}, is {:?}", self.widths);
            return vec![FieldError::new(&format!("{path}.widths"), message)];
        }
        Vec::new()
    }

    /// The layers on `input` features. Their tensors are named as by PyTorch's `Sequential`: `prefix`, and the place in
    /// the sequence of linear layers, batch norms and ReLUs.
    pub fn network(&self, prefix: &str, input: usize) -> MlpNetwork {
        let last = self.widths.len() - 1;
        let (mut input, mut place, mut layers) = (input, 0, Vec::new());
        for (at, &output) in self.widths.iter().enumerate() {
            let normed = match self.norm {
                Norm::None => false,
                Norm::Hidden => at < last,
                Norm::All => true,
            };
            let linear = Linear { name: format!("{prefix}{place}"), input, output, bias: !normed };
            place += 1;
            let norm = normed.then(|| BatchNorm { name: format!("{prefix}{place}"), channels: output });
            place += usize::from(normed) + usize::from(at < last);
            layers.push((linear, norm));
            input = output;
        }
        MlpNetwork { layers }
    }
}

/// The layers of a head.
#[derive(Clone, Debug)]
pub struct MlpNetwork {
    layers: Vec<(Linear, Option<BatchNorm>)>,
}

impl MlpNetwork {
    /// Puts freshly drawn tensors into `weights`.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        for (linear, norm) in &self.layers {
            linear.initialise(weights, seed);
            if let Some(norm) = norm {
                norm.initialise(weights);
            }
        }
    }

    /// `[B, input]` to `[B, output]`.
    pub fn forward(&self, weights: &mut Weights, mut x: Tensor<2>, mode: Mode) -> Tensor<2> {
        for (at, (linear, norm)) in self.layers.iter().enumerate() {
            if at > 0 {
                x = relu(x);
            }
            x = linear.forward(weights, x, mode);
            if let Some(norm) = norm {
                x = norm.forward(weights, x, mode);
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device as BurnDevice;

    use super::*;

    fn names(head: Mlp) -> Vec<String> {
        let mut weights = Weights::new(&BurnDevice::flex());
        head.network("projector.", 5).initialise(&mut weights, 0);
        weights.parameters().map(|(name, parameter)| format!("{name} {:?}", parameter.shape())).collect()
    }

    #[test]
    fn tensors_are_named_as_in_a_sequential() {
        assert_eq!(
            names(Mlp::new([4, 3], Norm::None)),
            [
                "projector.0.bias [4]",
                "projector.0.weight [4, 5]",
                "projector.2.bias [3]",
                "projector.2.weight [3, 4]"
            ]
        );
        assert_eq!(
            names(Mlp::new([4, 3], Norm::Hidden)),
            [
                "projector.0.weight [4, 5]",
                "projector.1.bias [4]",
                "projector.1.weight [4]",
                "projector.3.bias [3]",
                "projector.3.weight [3, 4]",
            ]
        );
        let all = names(Mlp::new([4, 3], Norm::All));
        assert_eq!(all.last().unwrap(), "projector.4.weight [3]");
        assert_eq!(
            all.iter().filter(|name| name.starts_with("projector.3.")).count(),
            1,
            "no bias before a norm"
        );
    }

    #[test]
    fn a_head_without_layers_is_refused() {
        let errors = Mlp::new([], Norm::None).validate("method.projector");
        assert_eq!(
            errors,
            [FieldError::new("method.projector.widths", "must be 1 to 8 numbers of 1 to 16384, is []")]
        );
    }
}
