//! GCC: Zhong, Wu, Chen, Huang, Deng, Nie, Lin, Hua, "Graph contrastive clustering", ICCV 2021, and its program,
//! `mynameischaos/GCC` @ 530c11b.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recipe::{Loss, Objective, Partner, Recipe, RgcForm};
use crate::feedback::GraphFeedback;
use crate::head::{Mlp, Norm};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gcc {
    /// Number of clusters; without one, the number of classes.
    pub clusters: Option<usize>,
    /// τ of the contrasts of representations; the program's on every data set.
    pub temperature: f64,
    /// From features to z. The program's has one hidden layer as wide as the features of a ResNet-18, and no batch norm.
    pub projector: Mlp,
    /// The graph.
    pub graph: GraphFeedback,
    /// Epochs before the contrasts over the graph; without, until there is one.
    pub pretext_epochs: Option<usize>,
    /// Whether representations are contrasted over the graph at all; otherwise the first phase's loss goes on.
    pub graph_contrast: bool,
    /// The formula of that contrast.
    pub form: RgcForm,
    /// With whom an image is to share its cluster.
    pub partner: Partner,
    /// What the losses count.
    pub weights: LossWeights,
    /// With `unlabelled_epochs`: the number of train images that stand before the unlabelled ones. When these go, as released
    /// everything after that place is given the features of the unlabelled image in its place, for one graph: 5000 on
    /// STL-10. Without, images keep their own.
    pub misplace_from: Option<usize>,
}

impl Default for Gcc {
    fn default() -> Self {
        Self {
            clusters: None,
            temperature: 0.1,
            projector: Mlp::new([512, 128], Norm::None),
            graph: GraphFeedback::default(),
            pretext_epochs: None,
            graph_contrast: true,
            form: RgcForm::default(),
            partner: Partner::default(),
            weights: LossWeights::default(),
            misplace_from: None,
        }
    }
}

impl Gcc {
    /// SimCLR from one side until there is a graph, then the contrasts over it and the regulariser.
    pub fn recipe(&self) -> Recipe {
        let &Self { temperature, graph, weights, .. } = self;
        let switch = self.pretext_epochs.unwrap_or(graph.start + 1);
        let from = |from, weight, loss| Objective { loss, weight, from, until: None };
        let pretext = Objective::new(Loss::SimClrOneSided { temperature });
        let pretext =
            Objective { weight: weights.rgc, until: self.graph_contrast.then_some(switch), ..pretext };
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
