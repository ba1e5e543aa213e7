//! SimCLR: Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations",
//! ICML 2020.

use super::recipe::{Loss, Objective, Recipe};
use crate::head::{Mlp, Norm};

/// g: one hidden layer, 128 dimensions out (section 2.1 and appendix B of the paper, which say nothing of norms), with batch
/// norm on the hidden layer. The authors' program, google-research/simclr, also norms the output, without a shift.
pub(super) fn projector() -> Mlp {
    Mlp::new([512, 128], Norm::Hidden)
}

/// Algorithm 1: h = f(x̃), z = g(h), the loss NT-Xent. Both views go through the network as one batch, as in the authors'
/// program, so batch norms see both.
pub(super) fn recipe(temperature: f64, projector: &Mlp) -> Recipe {
    Recipe {
        projector: Some(projector.clone()),
        predictor: None,
        clusters: None,
        together: true,
        drop_last: true,
        objectives: vec![Objective::new(Loss::NtXent { temperature })],
        graph: None,
        misplace_from: None,
    }
}
