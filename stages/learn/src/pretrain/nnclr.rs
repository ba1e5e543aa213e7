//! NNCLR: Dwibedi, Aytar, Tompson, Sermanet, Zisserman, "With a little help from my friends: nearest-neighbor contrastive
//! learning of visual representations", ICCV 2021. Where the paper leaves room, as in lightly's implementation.

use ablate_data::random::Draws;
use ablate_stage::{BadArtifact, TensorData, Tensors};
use burn::prelude::*;

use super::recipe::{Loss, Objective, Recipe};
use crate::head::{Mlp, Norm};
use crate::rows::{self, upload};

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

/// z = g(f(x̃)), p = q(z); NN(z, Q) is the row of Q nearest to z by cosine; the loss is that of [`nnclr`](crate::losses::nnclr).
/// Each view is a batch of its own to the batch norms. The second view's z then replace the oldest rows of Q (first in, first
/// out).
pub(super) fn recipe(temperature: f64, queue: usize, projector: &Mlp, predictor: &Mlp) -> Recipe {
    Recipe {
        projector: Some(projector.clone()),
        predictor: Some(predictor.clone()),
        clusters: None,
        together: false,
        drop_last: true,
        objectives: vec![Objective::new(Loss::NnClr { temperature, queue })],
        graph: None,
        misplace_from: None,
    }
}

/// Q: earlier projections.
#[derive(Clone, Debug)]
pub(super) struct SupportSet {
    /// `[queue, D]`, rows of length one.
    rows: Vec<f32>,
    dim: usize,
    /// The row to be replaced next.
    oldest: usize,
}

impl SupportSet {
    /// Random directions, so that the first steps have neighbours to choose from.
    pub fn new(queue: usize, dim: usize, seed: u64) -> Self {
        let mut draws = Draws::named(seed, "support set of NNCLR");
        let mut rows: Vec<f32> = (0..queue * dim).map(|_| draws.normal() as f32).collect();
        rows::normalise(&mut rows, dim);
        Self { rows, dim, oldest: 0 }
    }

    /// NN(z, Q), `[B, D]`.
    pub fn nearest(&self, z: Tensor<2>) -> Tensor<2> {
        let rows = self.rows.len() / self.dim;
        let support = upload(self.rows.clone(), [rows, self.dim], &z.device());
        let nearest = z.matmul(support.clone().transpose()).argmax(1).flatten(0, 1);
        support.select(0, nearest)
    }

    /// Replaces the oldest rows by those of `z` `[B, D]`.
    pub fn enqueue(&mut self, z: &[f32]) {
        let rows = self.rows.len() / self.dim;
        for row in z.chunks_exact(self.dim) {
            self.rows[self.oldest * self.dim..][..self.dim].copy_from_slice(row);
            self.oldest = (self.oldest + 1) % rows;
        }
    }

    /// Puts it into `tensors` under `prefix`.
    #[must_use]
    pub fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let shape = [self.rows.len() / self.dim, self.dim];
        tensors.with(format!("{prefix}support"), &shape, TensorData::F32(self.rows.clone())).with(
            format!("{prefix}oldest"),
            &[],
            TensorData::I64(vec![self.oldest as i64]),
        )
    }

    /// Takes back what [`store`](Self::store) put there, or changes nothing.
    ///
    /// # Errors
    /// Where it is not there, or of another size.
    pub fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        let rows = tensors.f32(&format!("{prefix}support"))?;
        let oldest =
            tensors.i64(&format!("{prefix}oldest"))?.first().and_then(|&oldest| usize::try_from(oldest).ok());
        match oldest {
            Some(oldest) if rows.len() == self.rows.len() && oldest < rows.len() / self.dim => {
                self.rows = rows.to_vec();
                self.oldest = oldest;
                Ok(())
            }
            _ => Err(BadArtifact::new("the support set is of another size")),
        }
    }
}
