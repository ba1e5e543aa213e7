//! Graph neural networks: GCN and GraphSAGE layers with jumping knowledge.

use ablate_data::random::Draws;
use ablate_stage::FieldError;
use burn::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::Linear;
use crate::propagate::{Adjacency, Edge};
use crate::weights::{Mode, Weights};

/// The kind of layers, and how many: one layer is one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Architecture {
    /// Graph convolutions (Kipf and Welling 2017): D^(-1/2) (A + I) D^(-1/2) x W + b.
    Gcn {
        /// Number of layers.
        #[serde(default = "two")]
        layers: usize,
    },
    /// GraphSAGE with the mean of the neighbours (Hamilton et al. 2017): W_l mean + b + W_r x.
    Sage {
        /// Number of layers.
        #[serde(default = "two")]
        layers: usize,
    },
}

fn two() -> usize {
    2
}

impl Default for Architecture {
    fn default() -> Self {
        Self::Gcn { layers: two() }
    }
}

impl Architecture {
    /// Number of layers.
    pub fn layers(self) -> usize {
        match self {
            Self::Gcn { layers } | Self::Sage { layers } => layers,
        }
    }

    /// The matrix its layers propagate with.
    pub fn adjacency(self, edges: &[Edge], nodes: usize) -> Adjacency {
        match self {
            Self::Gcn { .. } => Adjacency::symmetric(edges, nodes),
            Self::Sage { .. } => Adjacency::mean(edges, nodes),
        }
    }

    /// What is wrong with its values; `path` is its place in the stage.
    pub fn validate(self, path: &str) -> Vec<FieldError> {
        let error = || FieldError::new(&format!("{path}.layers"), "must be at least 1, is 0");
        if self.layers() == 0 { vec![error()] } else { Vec::new() }
    }
}

/// How the outputs of the layers become one (Xu et al. 2018, "jumping knowledge").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JumpingKnowledge {
    /// The last layer's alone.
    Last,
    /// Element-wise maximum.
    #[default]
    Max,
    /// Element-wise mean.
    Mean,
    /// Element-wise sum.
    Sum,
    /// One behind the other.
    Concat,
}

/// A stack of layers of one width, without activations between them, as in SSL-GraphNNCLR's refinement.
///
/// Tensors are named as PyTorch Geometric's: `{name}.{layer}.lin.weight` and `.bias` of a GCN,
/// `.lin_l.weight`, `.lin_l.bias` and `.lin_r.weight` of GraphSAGE.
#[derive(Clone, Debug)]
pub struct Gnn {
    /// Name of the network.
    pub name: String,
    /// Kind and number of layers.
    pub architecture: Architecture,
    /// Features in.
    pub input: usize,
    /// Width of every layer.
    pub hidden: usize,
    /// How the layers' outputs become one.
    pub jumping: JumpingKnowledge,
}

impl Gnn {
    /// Features out.
    pub fn output(&self) -> usize {
        match self.jumping {
            JumpingKnowledge::Concat => self.hidden * self.architecture.layers(),
            JumpingKnowledge::Last
            | JumpingKnowledge::Max
            | JumpingKnowledge::Mean
            | JumpingKnowledge::Sum => self.hidden,
        }
    }

    /// Initial values as PyTorch Geometric draws them: Glorot uniform and bias 0 for GCN, ±1/√input for GraphSAGE.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        for layer in 0..self.architecture.layers() {
            match self.architecture {
                Architecture::Gcn { .. } => {
                    let Linear { name, input, output, .. } = self.linear(layer, "lin", false);
                    let bound = (6.0 / (input + output) as f64).sqrt();
                    let name = format!("{name}.weight");
                    let mut draws = Draws::named(seed, &name);
                    let values = (0..input * output).map(|_| draws.range(-bound, bound) as f32).collect();
                    weights.insert(name, &[output, input], values);
                    weights.insert(format!("{}.{layer}.bias", self.name), &[output], vec![0.0; output]);
                }
                Architecture::Sage { .. } => {
                    self.linear(layer, "lin_l", true).initialise(weights, seed);
                    self.linear(layer, "lin_r", false).initialise(weights, seed);
                }
            }
        }
    }

    /// `[N, input]` to `[N, output]` over the graph of `adjacency`, which is [`Architecture::adjacency`]'s.
    pub fn forward(&self, weights: &Weights, x: Tensor<2>, adjacency: &Adjacency, mode: Mode) -> Tensor<2> {
        let mut outputs = Vec::with_capacity(self.architecture.layers());
        let mut x = x;
        for layer in 0..self.architecture.layers() {
            x = match self.architecture {
                Architecture::Gcn { .. } => {
                    // A (x W) = (A x) W, and the narrower side is propagated.
                    let linear = self.linear(layer, "lin", false);
                    let y = if linear.input <= linear.output {
                        linear.forward(weights, adjacency.propagate(x), mode)
                    } else {
                        adjacency.propagate(linear.forward(weights, x, mode))
                    };
                    y + weights.tensor::<1>(&format!("{}.{layer}.bias", self.name), mode).unsqueeze()
                }
                Architecture::Sage { .. } => {
                    let heard = adjacency.propagate(x.clone());
                    self.linear(layer, "lin_l", true).forward(weights, heard, mode)
                        + self.linear(layer, "lin_r", false).forward(weights, x, mode)
                }
            };
            outputs.push(x.clone());
        }
        self.join(outputs)
    }

    fn linear(&self, layer: usize, part: &str, bias: bool) -> Linear {
        let input = if layer == 0 { self.input } else { self.hidden };
        Linear { name: format!("{}.{layer}.{part}", self.name), input, output: self.hidden, bias }
    }

    fn join(&self, outputs: Vec<Tensor<2>>) -> Tensor<2> {
        let layers = outputs.len();
        let mut outputs = outputs.into_iter();
        let mut fold = |join: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
            outputs.by_ref().reduce(join).expect("at least one layer")
        };
        match self.jumping {
            JumpingKnowledge::Last => fold(|_, last| last),
            JumpingKnowledge::Max => fold(Tensor::max_pair),
            JumpingKnowledge::Sum => fold(|a, b| a + b),
            JumpingKnowledge::Mean => fold(|a, b| a + b).div_scalar(layers as f64),
            JumpingKnowledge::Concat => Tensor::cat(outputs.collect(), 1),
        }
    }
}
