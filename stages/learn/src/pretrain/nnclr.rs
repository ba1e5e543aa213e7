//! NNCLR: Dwibedi, Aytar, Tompson, Sermanet, Zisserman, "With a little help from my friends: nearest-neighbor contrastive
//! learning of visual representations", ICCV 2021. Where the paper leaves room, as in lightly's implementation.

use ablate_data::random::Draws;
use ablate_stage::{BadArtifact, TensorData, Tensors};
use burn::prelude::*;

use crate::head::{Mlp, Norm};
use crate::losses::{nnclr, normalise};
use crate::rows::{self, upload};
use crate::training::{Objective, Pass};
use crate::weights::{Mode, host};

/// Most rows of Q; the paper's largest has 98,304.
pub(super) const MAX_QUEUE: usize = 1 << 20;

/// Q of the paper, in lightly's benchmark.
pub(super) fn queue() -> usize {
    4096
}

/// g: batch norm after each layer; 2 layers on CIFAR.
pub(super) fn projector() -> Mlp {
    Mlp::new([2048, 256], Norm::All)
}

/// q.
pub(super) fn predictor() -> Mlp {
    Mlp::new([4096, 256], Norm::Hidden)
}

/// z = g(f(x̃)), p = q(z); NN(z, Q) is the row of Q nearest to z by cosine; the loss is that of [`nnclr`]. Each view is a
/// batch of its own to the batch norms. The second view's z then replace the oldest rows of Q (first in, first out).
pub(super) struct NnClr {
    temperature: f64,
    /// Q, `[queue, D]`, rows of length one.
    support: Vec<f32>,
    dim: usize,
    /// The row to be replaced next.
    oldest: usize,
}

impl NnClr {
    /// With a support set of random directions, so that the first steps have neighbours to choose from.
    pub fn new(queue: usize, dim: usize, temperature: f64, seed: u64) -> Self {
        let mut draws = Draws::named(seed, "support set of NNCLR");
        let mut support: Vec<f32> = (0..queue * dim).map(|_| draws.normal() as f32).collect();
        rows::normalise(&mut support, dim);
        Self { temperature, support, dim, oldest: 0 }
    }

    /// NN(z, Q), `[B, D]`.
    fn nearest(&self, z: Tensor<2>) -> Tensor<2> {
        let rows = self.support.len() / self.dim;
        let support = upload(self.support.clone(), [rows, self.dim], &z.device());
        let nearest = z.matmul(support.clone().transpose()).argmax(1).flatten(0, 1);
        support.select(0, nearest)
    }

    fn enqueue(&mut self, z: &[f32]) {
        let rows = self.support.len() / self.dim;
        for row in z.chunks_exact(self.dim) {
            self.support[self.oldest * self.dim..][..self.dim].copy_from_slice(row);
            self.oldest = (self.oldest + 1) % rows;
        }
    }
}

impl Objective for NnClr {
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>> {
        let mut project = |view: &Tensor<4>| {
            let h = pass.encoder.features(view.clone(), Mode::Train);
            let z = pass.encoder.project(h, Mode::Train);
            (normalise(z.clone().without_autodiff()), pass.encoder.predict(z, Mode::Train))
        };
        let (z, p) = project(&pass.views[0]);
        let (z_prime, p_prime) = project(&pass.views[1]);
        let loss = nnclr(self.nearest(z), self.nearest(z_prime.clone()), p, p_prime, self.temperature);
        self.enqueue(&host(z_prime));
        Some(loss)
    }

    fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let shape = [self.support.len() / self.dim, self.dim];
        tensors.with(format!("{prefix}support"), &shape, TensorData::F32(self.support.clone())).with(
            format!("{prefix}oldest"),
            &[],
            TensorData::I64(vec![self.oldest as i64]),
        )
    }

    fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        let support = tensors.f32(&format!("{prefix}support"))?;
        let oldest =
            tensors.i64(&format!("{prefix}oldest"))?.first().and_then(|&oldest| usize::try_from(oldest).ok());
        match oldest {
            Some(oldest) if support.len() == self.support.len() && oldest < support.len() / self.dim => {
                self.support = support.to_vec();
                self.oldest = oldest;
                Ok(())
            }
            _ => Err(BadArtifact::new("the support set is of another size")),
        }
    }
}
