//! GCC: Zhong, Wu, Chen, Huang, Deng, Nie, Lin, Hua, "Graph contrastive clustering", ICCV 2021, and its program,
//! `mynameischaos/GCC` @ 530c11b.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recipe::{Loss, Partner, Recipe, Rgc, Term};
use crate::feedback::GraphFeedback;
use crate::head::{Mlp, Norm};

/// τ of the program, on every data set.
pub(super) fn temperature() -> f64 {
    0.1
}

/// The contrastive head: one hidden layer as wide as the features of a ResNet-18, and no batch norm.
pub(super) fn projector() -> Mlp {
    Mlp::new([512, 128], Norm::None)
}

pub(super) fn on() -> bool {
    true
}

/// What the losses are multiplied by. The program has 2, 1 and 2; the paper's λ = ½ and η = 1 are the same but for a factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// Of the contrast of representations, before and over the graph.
    pub rgc: f64,
    /// Of the contrast of assignments.
    pub agc: f64,
    /// Of the regulariser of cluster sizes.
    pub entropy: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { rgc: 2.0, agc: 1.0, entropy: 2.0 }
    }
}

/// The fields of the method.
pub(super) struct Gcc<'a> {
    pub clusters: Option<usize>,
    pub temperature: f64,
    pub projector: &'a Mlp,
    pub graph: GraphFeedback,
    pub pretext_epochs: Option<usize>,
    pub graph_contrast: bool,
    pub form: Rgc,
    pub partner: Partner,
    pub weights: LossWeights,
    pub misplace_from: Option<usize>,
}

impl Gcc<'_> {
    /// SimCLR from one side until there is a graph, then the contrasts over it and the regulariser.
    pub fn recipe(&self) -> Recipe {
        let &Self { temperature, graph, weights, .. } = self;
        let switch = self.pretext_epochs.unwrap_or(graph.start + 1);
        let from = |from, weight, loss| Term { loss, weight, from, until: None };
        let pretext = Term::new(Loss::SimClrOneSided { temperature });
        let pretext = Term { weight: weights.rgc, until: self.graph_contrast.then_some(switch), ..pretext };
        let over_graph = Loss::Rgc { temperature, form: self.form, shown: 3 };
        let mut objectives = vec![pretext];
        objectives.extend(self.graph_contrast.then(|| from(switch, weights.rgc, over_graph)));
        objectives.push(from(switch, weights.agc, Loss::Agc { temperature: 1.0, partner: self.partner }));
        objectives.push(from(switch, weights.entropy, Loss::ClusterEntropy));
        Recipe {
            projector: Some(self.projector.clone()),
            predictor: None,
            clusters: self.clusters,
            together: true,
            drop_last: false,
            objectives,
            graph: Some(graph),
            misplace_from: self.misplace_from,
        }
    }
}
