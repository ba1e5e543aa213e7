//! Self-supervision across two views of a graph, after BYOL: SSL-GraphNNCLR's refinement objective (SelfGNN, Kefato and
//! Girdzijauskas 2021).

use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::gnn::Gnn;
use crate::layers::{BatchNorm, Linear};
use crate::losses::normalise;
use crate::propagate::Adjacency;
use crate::weights::{Mode, Weights};

/// The networks: an encoder f, a projection p = ReLU(linear) and a predictor h = ReLU(batch norm(linear)). The student
/// has all three; of the teacher's copy only f and p are used.
#[derive(Clone, Debug)]
pub struct CrossView {
    /// f; its name is `encoder`.
    pub encoder: Gnn,
}

/// Nodes with features, `[N, D]`, and the graph over them.
#[derive(Clone, Debug)]
pub struct GraphView {
    /// `[N, D]`.
    pub x: Tensor<2>,
    /// As the encoder's [`Architecture::adjacency`](crate::gnn::Architecture::adjacency) makes it.
    pub adjacency: Adjacency,
}

impl CrossView {
    /// Adds the initial values of all three networks.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        self.encoder.initialise(weights, seed);
        self.projection().initialise(weights, seed);
        self.predictor().initialise(weights, seed);
        self.predictor_norm().initialise(weights);
    }

    /// mean over the nodes of ℓ(h(p(f(x₁))), p′(f′(x₂))) + ℓ(h(p(f(x₂))), p′(f′(x₁))) with ℓ(a, b) = 2 − 2 cos(a, b);
    /// primes are the teacher's, through which no gradient flows.
    ///
    /// # Panics
    /// When the views have different numbers of nodes.
    pub fn loss(&self, student: &mut Weights, teacher: &Weights, views: [&GraphView; 2]) -> Tensor<1> {
        let targets = views.map(|view| self.project(teacher, view, Mode::Observe));
        let predictions = views.map(|view| {
            let projected = self.project(student, view, Mode::Train);
            let predicted = self.predictor().forward(student, projected, Mode::Train);
            relu(self.predictor_norm().forward(student, predicted, Mode::Train))
        });
        let [first, second] = predictions;
        let [first_target, second_target] = targets;
        (distance(first, second_target) + distance(second, first_target)).mean()
    }

    fn project(&self, weights: &Weights, view: &GraphView, mode: Mode) -> Tensor<2> {
        let encoded = self.encoder.forward(weights, view.x.clone(), &view.adjacency, mode);
        relu(self.projection().forward(weights, encoded, mode))
    }

    fn projection(&self) -> Linear {
        self.square("projection")
    }

    fn predictor(&self) -> Linear {
        self.square("predictor")
    }

    fn predictor_norm(&self) -> BatchNorm {
        BatchNorm { name: "predictor_norm".to_owned(), channels: self.encoder.output() }
    }

    fn square(&self, name: &str) -> Linear {
        let width = self.encoder.output();
        Linear { name: name.to_owned(), input: width, output: width, bias: true }
    }
}

/// 2 − 2 cos of each pair of rows, `[N, D]` to `[N, 1]`.
pub fn distance(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    (normalise(a) * normalise(b)).sum_dim(1).mul_scalar(-2.0).add_scalar(2.0)
}
