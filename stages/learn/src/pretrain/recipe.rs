//! What a network is trained for: objectives, each with a weight and a range of epochs, and the graph some of them are about.

use ablate_stage::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nnclr;
use crate::feedback::GraphFeedback;
use crate::head::Mlp;

/// A loss, what it counts, and when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The loss.
    pub loss: Loss,
    /// What it is multiplied by.
    #[serde(default = "one")]
    pub weight: f64,
    /// The first epoch it counts in, from 0.
    #[serde(default)]
    pub from: usize,
    /// The first epoch it counts in no more; it counts to the end where that is `None`.
    #[serde(default)]
    pub until: Option<usize>,
}

/// A loss on the views of a batch. z are projections, o cluster probabilities of the first view; primes are of the second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Loss {
    /// SimCLR's NT-Xent of z and z′.
    NtXent {
        /// τ.
        temperature: f64,
    },
    /// NNCLR: NT-Xent of the predictions of one view and the nearest neighbours of the other in a support set.
    NnClr {
        /// τ.
        temperature: f64,
        /// Projections kept as the support set.
        queue: usize,
    },
    /// GCC before there is a graph: SimCLR from z alone, which is also a candidate of its own.
    SimClrOneSided {
        /// τ.
        temperature: f64,
    },
    /// GCC's representation graph contrast, of z, z′ and z of the first neighbours each image lists.
    Rgc {
        /// τ.
        temperature: f64,
        /// The formula.
        #[serde(default)]
        form: RgcForm,
        /// How many of those that an image lists, itself as a rule among them, are shown; as many as there are where it lists
        /// fewer.
        #[serde(default = "three")]
        shown: usize,
    },
    /// GCC's assignment graph contrast, of o and the cluster probabilities of a partner.
    Agc {
        /// τ.
        #[serde(default = "one")]
        temperature: f64,
        /// Whose they are.
        #[serde(default)]
        partner: Partner,
    },
    /// GCC's regulariser: how far clusters are from equal sizes, in o.
    ClusterEntropy,
}

/// A formula of the representation graph contrast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RgcForm {
    /// That of GCC's program: neighbours weighted by √(3 / degree) in the exponent and outside it; everything else is a negative.
    #[default]
    AsReleased,
    /// That of the paper: all pairs of the batch and the neighbours shown that the graph joins, weighted by its Laplacian; pairs
    /// it does not join are negatives. Anchors are the second views.
    AsPublished,
}

/// With whom an image is to share its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Partner {
    /// One of those it lists, drawn anew at each step.
    #[default]
    Neighbour,
    /// Its own second view.
    Itself,
}

fn one() -> f64 {
    1.0
}

fn three() -> usize {
    3
}

/// A method, spelled out.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// From features to z.
    pub projector: Option<Mlp>,
    /// From z to predictions.
    pub predictor: Option<Mlp>,
    /// Outputs of the cluster head, where an objective has one; as many as there are classes where it is `None`.
    pub clusters: Option<usize>,
    /// Whether both views of the images go through the network as one batch, so that batch norms see both.
    pub together: bool,
    /// Whether an epoch ends before a batch that would be smaller than the others.
    pub drop_last: bool,
    /// What is learned from, all at once.
    pub objectives: Vec<Objective>,
    /// The graph that objectives are about.
    pub graph: Option<GraphFeedback>,
    /// Where the unlabelled images go, the places from which on images are given the features of others, as GCC's program does.
    pub misplace_from: Option<usize>,
}

/// What the objectives of an epoch need to be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Projections.
    pub projections: bool,
    /// Predictions.
    pub predictions: bool,
    /// Clusters of the first view.
    pub clusters: bool,
    /// Clusters of the second.
    pub clusters_of_second: bool,
    /// Views of so many listed neighbours.
    pub listed: usize,
    /// A view of a neighbour drawn at random.
    pub random: bool,
}

impl Objective {
    /// A loss that counts once, throughout.
    pub fn new(loss: Loss) -> Self {
        Self { loss, weight: 1.0, from: 0, until: None }
    }

    /// Whether it counts in an epoch.
    pub fn counts_in(&self, epoch: usize) -> bool {
        self.weight != 0.0 && epoch >= self.from && self.until.is_none_or(|until| epoch < until)
    }
}

impl Loss {
    /// What curves call it.
    fn name(&self) -> &'static str {
        match self {
            Self::NtXent { .. } => "nt_xent",
            Self::NnClr { .. } => "nnclr",
            Self::SimClrOneSided { .. } => "simclr_one_sided",
            Self::Rgc { .. } => "rgc",
            Self::Agc { .. } => "agc",
            Self::ClusterEntropy => "cluster_entropy",
        }
    }

    /// τ, where it has one.
    fn temperature(&self) -> Option<f64> {
        match *self {
            Self::NtXent { temperature }
            | Self::NnClr { temperature, .. }
            | Self::SimClrOneSided { temperature }
            | Self::Rgc { temperature, .. }
            | Self::Agc { temperature, .. } => Some(temperature),
            Self::ClusterEntropy => None,
        }
    }

    fn uses_clusters(&self) -> bool {
        match self {
            Self::Agc { .. } | Self::ClusterEntropy => true,
            Self::NtXent { .. } | Self::NnClr { .. } | Self::SimClrOneSided { .. } | Self::Rgc { .. } => {
                false
            }
        }
    }

    fn uses_graph(&self) -> bool {
        match self {
            Self::Rgc { .. } | Self::Agc { partner: Partner::Neighbour, .. } => true,
            Self::NtXent { .. }
            | Self::NnClr { .. }
            | Self::SimClrOneSided { .. }
            | Self::Agc { partner: Partner::Itself, .. }
            | Self::ClusterEntropy => false,
        }
    }
}

impl Needs {
    /// Views of each image of a batch and of its neighbours that go through the network.
    pub fn views(&self) -> usize {
        2 + self.listed + usize::from(self.random)
    }
}

impl Recipe {
    /// What curves call its objectives, where there are several; those of one kind are told apart by numbers.
    pub fn parts(&self) -> Vec<String> {
        if self.objectives.len() < 2 {
            return Vec::new();
        }
        let names: Vec<&str> = self.objectives.iter().map(|term| term.loss.name()).collect();
        let name = |(at, name): (usize, &&str)| match names[..at]
            .iter()
            .filter(|earlier| *earlier == name)
            .count()
        {
            0 => (*name).to_owned(),
            earlier => format!("{name}_{}", earlier + 1),
        };
        names.iter().enumerate().map(name).collect()
    }

    /// Whether there is a cluster head.
    pub fn has_clusters(&self) -> bool {
        self.objectives.iter().any(|term| term.loss.uses_clusters())
    }

    /// What the objectives of an epoch need.
    pub fn needs(&self, epoch: usize) -> Needs {
        let recorded = self.graph.is_some_and(|graph| graph.records(epoch));
        let mut needs = Needs { projections: recorded, ..Needs::default() };
        for term in self.objectives.iter().filter(|term| term.counts_in(epoch)) {
            match term.loss {
                Loss::NtXent { .. } | Loss::SimClrOneSided { .. } => needs.projections = true,
                Loss::NnClr { .. } => {
                    needs.projections = true;
                    needs.predictions = true;
                }
                Loss::Rgc { shown, .. } => {
                    needs.projections = true;
                    let each = self.graph.map_or(0, |graph| graph.k + 1);
                    needs.listed = needs.listed.max(shown.min(each));
                }
                Loss::Agc { partner, .. } => {
                    needs.clusters = true;
                    match partner {
                        Partner::Neighbour => needs.random = true,
                        Partner::Itself => needs.clusters_of_second = true,
                    }
                }
                Loss::ClusterEntropy => needs.clusters = true,
            }
        }
        needs
    }

    /// The first epoch after this one that needs something else, or has another graph.
    pub fn changes_after(&self, epoch: usize) -> usize {
        let bounds = self.objectives.iter().flat_map(|term| [Some(term.from), term.until]).flatten();
        let graph = self.graph.iter().map(|graph| graph.changes_after(epoch));
        bounds.chain(graph).filter(|&bound| bound > epoch).min().unwrap_or(usize::MAX)
    }

    /// What is wrong with it in a training of so many epochs, by the names of a method's fields.
    pub fn validate(&self, epochs: usize) -> Vec<FieldError> {
        let mut errors = Vec::new();
        errors.extend(self.projector.iter().flat_map(|head| head.validate("method.projector")));
        errors.extend(self.predictor.iter().flat_map(|head| head.validate("method.predictor")));
        errors.extend(self.graph.iter().flat_map(|graph| graph.validate("method.graph")));
        if let Some(clusters) =
            self.clusters.filter(|clusters| !(2..=ablate_stage::MAX_CLUSTERS).contains(clusters))
        {
            let message = format!("must be 2 to {}, is {clusters}", ablate_stage::MAX_CLUSTERS);
            errors.push(FieldError::new("method.clusters", message));
        }
        if self.objectives.is_empty() {
            errors.push(FieldError::new("method.objectives", "must be at least one"));
        }
        if self.drop_last && self.graph.is_some() {
            let message = "must be false with a `graph`, which is of every image";
            errors.push(FieldError::new("method.drop_last", message));
        }
        for (at, term) in self.objectives.iter().enumerate() {
            let at = |field: &str| format!("method.objectives[{at}].{field}");
            errors.extend(self.validate_term(term, epochs, &at));
        }
        errors
    }

    fn validate_term(&self, term: &Objective, epochs: usize, at: &dyn Fn(&str) -> String) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String| errors.push(FieldError::new(&at(field), message));
        let weight = term.weight;
        if !(weight >= 0.0 && weight.is_finite()) {
            wrong("weight", format!("must be at least 0, is {weight}"));
        }
        if let Some(temperature) = term.loss.temperature().filter(|&t| !(t > 0.0 && t.is_finite())) {
            wrong("loss.temperature", format!("must be above 0, is {temperature}"));
        }
        if weight != 0.0 && epochs > 0 && term.from >= epochs {
            let what = term.loss.name();
            let begins = term.from;
            wrong("from", format!("`{what}` would begin in epoch {begins}, counted from 0, of {epochs}"));
        }
        if let Some(until) = term.until.filter(|&until| until <= term.from) {
            wrong("until", format!("must be above `from`, is {until}"));
        }
        match (self.graph, term.loss.uses_graph()) {
            (Some(graph), true) if term.from <= graph.start => {
                let first = graph.start + 1;
                wrong(
                    "from",
                    format!("must be at least {first}, the first epoch with a graph, is {}", term.from),
                );
            }
            (None, true) => wrong("loss", "needs a `graph`".to_owned()),
            (Some(_), true) | (_, false) => {}
        }
        match term.loss {
            Loss::NnClr { queue, .. } => {
                if !(1..=nnclr::MAX_QUEUE).contains(&queue) {
                    wrong("loss.queue", format!("must be 1 to {}, is {queue}", nnclr::MAX_QUEUE));
                }
                let ends = [&self.projector, &self.predictor]
                    .map(|head| head.as_ref().and_then(|head| head.widths.last().copied()));
                match ends {
                    [Some(z), Some(p)] if z == p => {}
                    [Some(_), Some(_)] => errors.push(FieldError::new(
                        "method.predictor.widths",
                        "must end in as many dimensions as the projector, to be compared with it",
                    )),
                    [None, _] | [_, None] => {
                        wrong("loss", "needs a `projector` and a `predictor`".to_owned())
                    }
                }
            }
            Loss::Rgc { shown: 0, .. } => wrong("loss.shown", "must be at least 1, is 0".to_owned()),
            Loss::NtXent { .. }
            | Loss::SimClrOneSided { .. }
            | Loss::Rgc { .. }
            | Loss::Agc { .. }
            | Loss::ClusterEntropy => {}
        }
        errors
    }
}
