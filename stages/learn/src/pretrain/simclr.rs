//! SimCLR: Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations",
//! ICML 2020.

use burn::prelude::*;

use crate::head::{Mlp, Norm};
use crate::losses::nt_xent;
use crate::training::{Objective, Pass};
use crate::weights::Mode;

/// Algorithm 1: h = f(x̃), z = g(h), the loss NT-Xent. Both views go through the network as one batch, as in the authors'
/// program, so batch norms see both.
pub(super) struct SimClr {
    /// τ.
    pub temperature: f64,
}

/// g: one hidden layer, 128 dimensions out (section 2.1 and appendix B of the paper, which say nothing of norms), with batch
/// norm on the hidden layer. The authors' program, google-research/simclr, also norms the output, without a shift.
pub(super) fn projector() -> Mlp {
    Mlp::new([512, 128], Norm::Hidden)
}

impl Objective for SimClr {
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>> {
        let h = pass.encoder.features(Tensor::cat(pass.views.to_vec(), 0), Mode::Train);
        let z = pass.encoder.project(h, Mode::Train);
        let batch = z.dims()[0] / 2;
        let (z, z_prime) = (z.clone().narrow(0, 0, batch), z.narrow(0, batch, batch));
        Some(nt_xent(z, z_prime, self.temperature))
    }
}
