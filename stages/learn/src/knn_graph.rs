//! The stage that joins each sample to its nearest neighbours.

use std::collections::{BTreeMap, BTreeSet};

use ablate_stage::{
    ArtifactKind, FieldError, Job, Kin, Metrics, Port, Request, Side, Split, Stage, StageError,
};
use ndarray::Axis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{Embeddings, Graph};
use crate::knn::{KnnError, Similarity, nearest, nearest_others};

/// Joins each sample to its `k` nearest neighbours in the embedding space, found exactly.
///
/// Input `embeddings`; outputs `graph` and `metrics`: `edges`, `mean_degree` (incoming edges a node) and, where labels
/// exist, `purity`: the share of edges between two labelled samples that join the same class, loops left out. Labels
/// are read for that figure alone; no edge depends on one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KnnGraph {
    /// Neighbours a sample lists.
    pub k: usize,
    /// How near two samples are.
    pub metric: Similarity,
    /// Whether a sample may list itself. It then takes one of the `k` places, usually the first: GCC's five neighbours
    /// and the sample are `k: 6, include_self: true`.
    pub include_self: bool,
    /// The weight of an edge.
    pub weight: EdgeWeight,
    /// Which way edges point, and so who hears whom.
    pub direction: Direction,
    /// Whether held-out samples may be listed.
    pub scope: Scope,
}

impl Default for KnnGraph {
    fn default() -> Self {
        Self {
            k: 10,
            metric: Similarity::default(),
            include_self: false,
            weight: EdgeWeight::default(),
            direction: Direction::default(),
            scope: Scope::default(),
        }
    }
}

/// The weight of the edge between a sample and a neighbour it lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum EdgeWeight {
    /// 1.
    #[default]
    One,
    /// Their similarity by the stage's metric, which for cosine and inner product may be negative.
    Similarity,
    /// The heat kernel exp(−d²/t) of their Euclidean distance d. IcicleGCN's code has t = 2.
    Heat {
        /// t, in squared units of the embeddings.
        t: f32,
    },
    /// GCC's √(3 / deg) of the neighbour, deg being the number of distinct samples it lists or is listed by: samples
    /// that everyone lists count less. In an `Inductive` graph, what held-out samples list is not counted.
    InverseDegree,
}

/// Which way edges point. A message travels from `edge_index` row 0 (source) to row 1 (target).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// From the neighbour to the sample that lists it: every sample hears its `k` neighbours.
    #[default]
    FromNeighbours,
    /// From the sample to the neighbours it lists, as in SSL-GraphNNCLR's released code: a sample hears those that list
    /// it, and a held-out sample that nobody may list hears no one.
    ToNeighbours,
    /// Both ways, each pair once, with the larger of the two weights.
    Symmetric,
}

/// Whether held-out samples may be listed as neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Samples of all splits list samples of all splits.
    #[default]
    Transductive,
    /// Everyone lists samples outside the test split only, so no edge joins two test samples, and (unless edges point
    /// `ToNeighbours`) no message leaves a test sample: what the others hear does not depend on the held-out data.
    Inductive,
}

/// The distinct nodes that each of `n` nodes lists or is listed by, of pairs (node, neighbour it lists).
///
/// # Panics
/// When there is no such node.
pub fn joined(n: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Vec<BTreeSet<u32>> {
    let mut joined = vec![BTreeSet::new(); n];
    for (node, neighbour) in pairs {
        joined[node as usize].insert(neighbour);
        joined[neighbour as usize].insert(node);
    }
    joined
}

/// GCC's weight of a neighbour, √(3 / deg): [`EdgeWeight::InverseDegree`].
pub fn inverse_degree_weight(degree: usize) -> f32 {
    (3.0 / degree as f64).sqrt() as f32
}

/// That `node` lists `neighbour`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Listing {
    node: u32,
    neighbour: u32,
    similarity: f32,
}

impl KnnGraph {
    /// With every other field at its default.
    pub fn new(k: usize) -> Self {
        Self { k, ..Self::default() }
    }

    /// The graph over embeddings. Edges are in order of the listing node, then nearest first; those of a `Symmetric`
    /// graph in order of target, then source.
    ///
    /// # Errors
    /// Where there are too few samples for `k`, or similarities overflow.
    pub fn build(&self, embeddings: &Embeddings) -> Result<Graph, KnnError> {
        let listings = self.list(embeddings)?;
        let weights = self.weigh(&listings, embeddings);
        Ok(self.direct(&listings, &weights, &embeddings.split))
    }

    /// Whether its edges are the first of those a larger `k` gives, node by node.
    fn is_prefix(&self) -> bool {
        self.direction != Direction::Symmetric && self.weight != EdgeWeight::InverseDegree
    }

    /// The graph from that of a larger `k`; `None` where that does not have as many edges a node.
    fn prefix(&self, larger: &Graph) -> Option<Graph> {
        let listers = match self.direction {
            Direction::FromNeighbours => &larger.target,
            Direction::ToNeighbours => &larger.source,
            Direction::Symmetric => return None,
        };
        let mut kept = Vec::with_capacity(larger.split.len() * self.k);
        let mut first = 0;
        for (edge, node) in listers.iter().enumerate() {
            if listers[first] != *node {
                first = edge;
            }
            if edge - first < self.k {
                kept.push(edge);
            }
        }
        (kept.len() == larger.split.len() * self.k).then(|| Graph {
            source: kept.iter().map(|&edge| larger.source[edge]).collect(),
            target: kept.iter().map(|&edge| larger.target[edge]).collect(),
            weight: kept.iter().map(|&edge| larger.weight[edge]).collect(),
            split: larger.split.clone(),
        })
    }

    /// Whether a node is one that nobody may list.
    fn held_out<'a>(&self, split: &'a [u8]) -> impl Fn(u32) -> bool + use<'a> {
        let inductive = self.scope == Scope::Inductive;
        move |node| inductive && split[node as usize] == Split::Test as u8
    }

    fn list(&self, embeddings: &Embeddings) -> Result<Vec<Listing>, KnnError> {
        let rows = embeddings.rows();
        let held_out = self.held_out(&embeddings.split);
        let (queries, base): (Vec<usize>, Vec<usize>) =
            (0..embeddings.len()).partition(|&node| held_out(node as u32));
        let base_rows = rows.select(Axis(0), &base);
        let among_base = match self.include_self {
            true => nearest(base_rows.view(), base_rows.view(), self.k, self.metric)?,
            false => nearest_others(base_rows.view(), self.k, self.metric)?,
        };
        let to_base = nearest(base_rows.view(), rows.select(Axis(0), &queries).view(), self.k, self.metric)?;
        let mut listings = Vec::with_capacity(embeddings.len() * self.k);
        for (nodes, found) in [(&base, among_base), (&queries, to_base)] {
            for (&node, (index, similarity)) in nodes.iter().zip(found.rows()) {
                listings.extend(index.iter().zip(similarity).map(|(&place, &similarity)| Listing {
                    node: node as u32,
                    neighbour: base[place as usize] as u32,
                    similarity,
                }));
            }
        }
        listings.sort_by_key(|listing| listing.node);
        Ok(listings)
    }

    fn weigh(&self, listings: &[Listing], embeddings: &Embeddings) -> Vec<f32> {
        match self.weight {
            EdgeWeight::One => vec![1.0; listings.len()],
            EdgeWeight::Similarity => listings.iter().map(|listing| listing.similarity).collect(),
            EdgeWeight::Heat { t } => {
                let square_distance =
                    |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum() };
                let row = |node: u32| embeddings.row(node as usize);
                let heat = |listing: &Listing| {
                    (-square_distance(row(listing.node), row(listing.neighbour)) / t).exp()
                };
                listings.iter().map(heat).collect()
            }
            EdgeWeight::InverseDegree => {
                // What held-out samples list is not counted, or the weight between two others would tell of them.
                let held_out = self.held_out(&embeddings.split);
                let counted = listings.iter().filter(|listing| !held_out(listing.node));
                let pairs = counted.map(|listing| (listing.node, listing.neighbour));
                let joined = joined(embeddings.len(), pairs);
                let degree = |listing: &Listing| joined[listing.neighbour as usize].len();
                listings.iter().map(|listing| inverse_degree_weight(degree(listing))).collect()
            }
        }
    }

    fn direct(&self, listings: &[Listing], weights: &[f32], split: &[u8]) -> Graph {
        let heard = listings.iter().zip(weights).map(|(l, &w)| (l.neighbour, l.node, w));
        let told = listings.iter().zip(weights).map(|(l, &w)| (l.node, l.neighbour, w));
        let edges: Vec<(u32, u32, f32)> = match self.direction {
            Direction::FromNeighbours => heard.collect(),
            Direction::ToNeighbours => told.collect(),
            Direction::Symmetric => {
                let silent = self.held_out(split);
                let mut largest = BTreeMap::new();
                for (source, target, weight) in heard.chain(told).filter(|edge| !silent(edge.0)) {
                    let kept = largest.entry((target, source)).or_insert(weight);
                    *kept = weight.max(*kept);
                }
                largest.into_iter().map(|((target, source), weight)| (source, target, weight)).collect()
            }
        };
        Graph {
            source: edges.iter().map(|edge| i64::from(edge.0)).collect(),
            target: edges.iter().map(|edge| i64::from(edge.1)).collect(),
            weight: edges.iter().map(|edge| edge.2).collect(),
            split: split.to_vec(),
        }
    }
}

impl Stage for KnnGraph {
    const KIND: &'static str = "KnnGraph";
    const REVISION: u32 = 2;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("graph", ArtifactKind::Graph), Port::required("metrics", ArtifactKind::Metrics)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.k == 0 {
            errors.push(FieldError::new("k", "must be at least 1, is 0"));
        }
        match self.weight {
            EdgeWeight::Heat { t } if !(t.is_finite() && t > 0.0) => {
                errors.push(FieldError::new("weight.t", format!("must be above 0, is {t}")));
            }
            EdgeWeight::Similarity if self.metric == Similarity::L2 => {
                let message = "squared distances make no weights; use Heat, or metric Cosine or InnerProduct";
                errors.push(FieldError::new("weight", message));
            }
            EdgeWeight::One
            | EdgeWeight::Similarity
            | EdgeWeight::Heat { .. }
            | EdgeWeight::InverseDegree => {}
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ALL_CPUS
    }

    fn kin(&self) -> Option<Kin> {
        self.is_prefix().then_some(Kin { field: "k", side: Side::Above, output: "graph" })
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let embeddings = Embeddings::from_job(job, "embeddings")?;
        let larger = job.kin().and_then(|path| Graph::read(path).ok());
        let graph = match larger.and_then(|larger| self.prefix(&larger)) {
            Some(graph) => {
                job.resumed("the graph of more neighbours");
                graph
            }
            None => self.build(&embeddings).map_err(|error| StageError::input("embeddings", error))?,
        };
        graph.write(job.output("graph"))?;
        let mut metrics = Metrics::default();
        metrics.insert("edges", graph.len() as f64);
        metrics.insert("mean_degree", graph.len() as f64 / embeddings.len() as f64);
        if let Some(purity) = graph.purity(&embeddings.labels) {
            metrics.insert("purity", purity);
        }
        metrics.write(job.output("metrics"))
    }
}
