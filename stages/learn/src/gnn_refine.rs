//! The stage that refines embeddings over a graph, without labels.

use ablate_data::random::{Key, derived, permutation};
use ablate_stage::{
    ArtifactKind, BadArtifact, FieldError, Job, Metrics, Port, Request, Split, Stage, StageError, Tensors,
};
use burn::tensor::Device as BurnDevice;
use ndarray::Axis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{Embeddings, Graph};
use crate::course::{Course, Curve, Taken, Trained};
use crate::cross_view::{CrossView, GraphView};
use crate::gnn::{Architecture, Gnn, JumpingKnowledge};
use crate::optimiser::{Optimiser, OptimiserState};
use crate::partition;
use crate::propagate::Edge;
use crate::rows::{self, upload};
use crate::schedule::{Position, Schedule};
use crate::weights::{Mode, Weights, host};
use crate::{device, ema};

/// Refines embeddings with a graph neural network that is trained, without labels, to predict one view of the graph from
/// another: SSL-GraphNNCLR's refinement.
///
/// As released, every node is trained on, held-out ones too, by their features: the result is transductive. With
/// `train_on: Seen` and a graph of scope `Inductive`, whose edges do not point `ToNeighbours`, nothing of the other samples'
/// refined features depends on held-out ones. Labels are never read. Inputs `embeddings` and `graph`, and for the second
/// view `StudentGraph` also `embeddings_student` and `graph_student`. Outputs `embeddings`, `curve`, a row a step, and `metrics`:
/// `transductive`, 1 where held-out samples had a part in the features of others, so that tables can say so, and 0 elsewhere.
///
/// Widths, epochs, parts and rate are by default what refines the 12,000 embeddings of the quickstart in seconds on two
/// cores; SSL-GraphNNCLR's own stand with each field. Departures from the released code: subgraphs are grown breadth first
/// where METIS is used, and the final embeddings are computed over the whole graph, so that no edge is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GnnRefine {
    /// The encoder's layers.
    pub arch: Architecture,
    /// Width of each layer. SSL-GraphNNCLR has 768.
    pub hidden: usize,
    /// How the layers' outputs become one.
    pub jk: JumpingKnowledge,
    /// Where the second view comes from.
    pub second_view: SecondView,
    /// The nodes it is trained on; every node is refined.
    pub train_on: TrainOn,
    /// Passes over these nodes. SSL-GraphNNCLR has 100.
    pub epochs: usize,
    /// Subgraphs the graph is cut into for training; edges between them are left out. 1 trains on the whole graph.
    /// SSL-GraphNNCLR has 40.
    pub parts: usize,
    /// Subgraphs a step. SSL-GraphNNCLR has 16.
    pub parts_per_step: usize,
    /// How weights follow their gradients. SSL-GraphNNCLR has Adam with a rate of 1e-4.
    pub optimiser: Optimiser,
    /// Momentum of the teacher's moving average, SSL-GraphNNCLR's.
    pub ema: f64,
    /// Whether edges count by their weight; otherwise each counts 1, as in SSL-GraphNNCLR.
    pub edge_weights: bool,
    /// Whether embeddings are first divided by their norms.
    pub normalise: bool,
    /// Whether the result is the input beside the refined features, rather than these alone as in SSL-GraphNNCLR. Hearing
    /// neighbours blurs what is a sample's own: on Fashion-MNIST's pixels, a linear probe reads less off the refined
    /// features than off the input, and more off both. Refined rows are then divided by their norms, so that neither
    /// drowns the other.
    pub concat_input: bool,
}

/// Which nodes a network is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrainOn {
    /// All, as in SSL-GraphNNCLR's released code.
    #[default]
    All,
    /// Those outside the test split: held-out nodes are in no batch, so that no loss, batch norm or message of theirs
    /// reaches the weights.
    Seen,
}

/// The second view of the graph that the networks are trained to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum SecondView {
    /// The same graph with features masked and edges dropped at random, anew each step (BGRL, Thakoor et al. 2022).
    Augmented {
        /// Share of the features that are set to 0, the same ones for all nodes.
        #[serde(default = "default_rate")]
        feature_mask: f64,
        /// Share of the edges that are left out.
        #[serde(default = "default_rate")]
        edge_drop: f64,
    },
    /// Another graph over the same samples, with its own embeddings, as pretraining records of its student network. The
    /// refined features of both are put beside each other.
    StudentGraph,
}

impl Default for SecondView {
    fn default() -> Self {
        Self::Augmented { feature_mask: default_rate(), edge_drop: default_rate() }
    }
}

fn default_rate() -> f64 {
    0.2
}

impl Default for GnnRefine {
    fn default() -> Self {
        Self {
            arch: Architecture::default(),
            hidden: 128,
            jk: JumpingKnowledge::default(),
            second_view: SecondView::default(),
            train_on: TrainOn::default(),
            epochs: 10,
            parts: 8,
            parts_per_step: 1,
            optimiser: Optimiser::Adam { lr: 1e-3, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0 },
            ema: 0.99,
            edge_weights: false,
            normalise: true,
            concat_input: true,
        }
    }
}

/// Features and edges of all samples.
struct Nodes {
    features: Embeddings,
    edges: Vec<Edge>,
}

impl Nodes {
    fn read(stage: &GnnRefine, job: &Job<'_>, features: &str, graph: &str) -> Result<Self, StageError> {
        let mut embeddings = Embeddings::from_job(job, features)?;
        let edges = Graph::from_job(job, graph)?;
        if edges.num_nodes() != embeddings.len() {
            let (nodes, rows) = (edges.num_nodes(), embeddings.len());
            let reason = format!("a graph of {nodes} nodes does not fit the {rows} rows of `{features}`");
            return Err(StageError::input(graph, reason));
        }
        if stage.normalise {
            rows::normalise(&mut embeddings.values, embeddings.dim);
        }
        Ok(Self { features: embeddings, edges: Edge::of_graph(&edges, stage.edge_weights) })
    }

    /// Whether held-out samples are trained on, as `part` says, or are neighbours that others hear.
    fn hear_held_out(&self, part: &[Option<u32>]) -> bool {
        let held_out = |node: usize| self.features.split[node] == Split::Test as u8;
        let trained_on = (0..part.len()).any(|node| held_out(node) && part[node].is_some());
        let heard =
            self.edges.iter().any(|edge| edge.source != edge.target && held_out(edge.source as usize));
        trained_on || heard
    }

    /// Everything, as one view.
    fn whole(&self, arch: Architecture, device: &BurnDevice) -> GraphView {
        let (n, dim) = (self.features.len(), self.features.dim);
        GraphView {
            x: upload(self.features.values.clone(), [n, dim], device),
            adjacency: arch.adjacency(&self.edges, n),
        }
    }
}

/// The nodes of a step and the edges within its parts.
struct Batch {
    nodes: Vec<usize>,
    /// `[N]`, each node's place among `nodes`.
    place: Vec<Option<u32>>,
}

impl Batch {
    fn new(part: &[Option<u32>], chosen: &[u32]) -> Self {
        let within = |node: &usize| part[*node].is_some_and(|part| chosen.contains(&part));
        let nodes: Vec<usize> = (0..part.len()).filter(within).collect();
        let mut place = vec![None; part.len()];
        nodes.iter().enumerate().for_each(|(at, &node)| place[node] = Some(at as u32));
        Self { nodes, place }
    }

    fn features(&self, nodes: &Nodes) -> Vec<f32> {
        nodes.features.rows().select(Axis(0), &self.nodes).into_raw_vec_and_offset().0
    }

    fn edges(&self, nodes: &Nodes, part: &[Option<u32>]) -> Vec<Edge> {
        let within = nodes.edges.iter().filter_map(|edge| {
            let (source, target) = (edge.source as usize, edge.target as usize);
            let places = self.place[source].zip(self.place[target]).filter(|_| part[source] == part[target]);
            places.map(|(source, target)| Edge { source, target, weight: edge.weight })
        });
        within.collect()
    }
}

/// Everything that changes while training.
struct State {
    student: Weights,
    teacher: Weights,
    optimiser: OptimiserState,
}

impl Trained for State {
    fn store(&self) -> Tensors {
        let tensors = self.student.store("student/", Tensors::new());
        let tensors = self.teacher.store("teacher/", tensors);
        self.optimiser.store("optimiser/", tensors)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<(), BadArtifact> {
        let (mut student, mut teacher) = (self.student.clone(), self.teacher.clone());
        student.load("student/", tensors)?;
        teacher.load("teacher/", tensors)?;
        let optimiser = self.optimiser.load(&student, "optimiser/", tensors)?;
        *self = Self { student, teacher, optimiser };
        Ok(())
    }
}

impl GnnRefine {
    /// The views of one step.
    fn views(
        &self,
        seed: u64,
        (first, second): (&Nodes, Option<&Nodes>),
        part: &[Option<u32>],
        at: Position,
        device: &BurnDevice,
    ) -> [GraphView; 2] {
        let order = permutation(seed, at.epoch as u32, self.parts as u32);
        let chosen = order.chunks(self.parts_per_step).nth(at.step).expect("a step of the epoch");
        let batch = Batch::new(part, chosen);
        let (n, dim) = (batch.nodes.len(), first.features.dim);
        let view = |features: Vec<f32>, edges: &[Edge]| GraphView {
            x: upload(features, [n, dim], device),
            adjacency: self.arch.adjacency(edges, n),
        };
        let (features, edges) = (batch.features(first), batch.edges(first, part));
        let plain = view(features.clone(), &edges);
        let other = match (self.second_view, second) {
            (SecondView::Augmented { feature_mask, edge_drop }, _) => {
                let key = Key { seed, epoch: at.epoch as u32, sample: at.step as u32, view: 0 };
                let mut draws = key.draws();
                let keep: Vec<bool> = (0..dim).map(|_| !draws.chance(feature_mask)).collect();
                let mut masked = features;
                for row in masked.chunks_exact_mut(dim) {
                    row.iter_mut().zip(&keep).for_each(|(value, keep)| *value *= f32::from(u8::from(*keep)));
                }
                let kept: Vec<Edge> = edges.into_iter().filter(|_| !draws.chance(edge_drop)).collect();
                view(masked, &kept)
            }
            (SecondView::StudentGraph, second) => {
                let second = second.expect("the student's ports are read for this view");
                view(batch.features(second), &batch.edges(second, part))
            }
        };
        [plain, other]
    }

    /// Trains the networks; returns the student and the learning curve.
    fn train(
        &self,
        job: &mut Job<'_>,
        method: &CrossView,
        nodes: (&Nodes, Option<&Nodes>),
        part: &[Option<u32>],
        device: &BurnDevice,
    ) -> Result<(Weights, Curve), StageError> {
        let mut student = Weights::new(device);
        method.initialise(&mut student, job.seed());
        let teacher = student.clone();
        let mut state = State { student, teacher, optimiser: OptimiserState::new(self.optimiser) };
        let steps = self.parts.div_ceil(self.parts_per_step);
        let course = Course {
            steps: vec![steps; self.epochs],
            samples: part.iter().flatten().count() / steps,
            lr: self.optimiser.lr(),
            schedule: Schedule::Constant,
            parts: Vec::new(),
        };
        let seed = derived(job.seed(), Self::KIND);
        let curve = course.run(job, &mut state, |_, state, at, lr| {
            let [first, second] = self.views(seed, nodes, part, at, device);
            let loss = method.loss(&mut state.student, &state.teacher, [&first, &second]);
            let value = host(loss.clone().without_autodiff())[0];
            if value.is_finite() {
                state.optimiser.step(&mut state.student, loss.backward(), lr);
                ema::update(&mut state.teacher, &state.student, self.ema);
            }
            Ok(Taken { loss: value, parts: Vec::new() })
        })?;
        Ok((state.student, curve))
    }

    /// The part of each node that is trained on, `[N]`. A part is grown along the edges between such nodes alone.
    fn partition(&self, nodes: &Nodes) -> Vec<Option<u32>> {
        let split = &nodes.features.split;
        let trained = |node: usize| match self.train_on {
            TrainOn::All => true,
            TrainOn::Seen => split[node] != Split::Test as u8,
        };
        let mut place = vec![None; split.len()];
        let mut count = 0;
        for (_, place) in place.iter_mut().enumerate().filter(|(node, _)| trained(*node)) {
            *place = Some(count);
            count += 1;
        }
        let between = nodes.edges.iter().filter_map(|edge| {
            let ends = place[edge.source as usize].zip(place[edge.target as usize]);
            ends.map(|(source, target)| Edge { source, target, ..*edge })
        });
        let part = partition::grow(&between.collect::<Vec<_>>(), count as usize, self.parts);
        place.into_iter().map(|place| place.map(|place| part[place as usize])).collect()
    }
}

/// Puts tables of `rows` rows beside each other, row-major.
fn beside(tables: &[(Vec<f32>, usize)], rows: usize) -> (Vec<f32>, usize) {
    let dim = tables.iter().map(|(_, dim)| dim).sum();
    let mut values = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        tables.iter().for_each(|(table, dim)| values.extend_from_slice(&table[row * dim..(row + 1) * dim]));
    }
    (values, dim)
}

impl Stage for GnnRefine {
    const KIND: &'static str = "GnnRefine";
    const REVISION: u32 = 3;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::required("embeddings", ArtifactKind::Embeddings),
            Port::required("graph", ArtifactKind::Graph),
        ];
        if self.second_view == SecondView::StudentGraph {
            ports.push(Port::required("embeddings_student", ArtifactKind::Embeddings));
            ports.push(Port::required("graph_student", ArtifactKind::Graph));
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("embeddings", ArtifactKind::Embeddings),
            Port::required("curve", ArtifactKind::Curve),
            Port::required("metrics", ArtifactKind::Metrics),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.arch.validate("arch");
        errors.extend(self.optimiser.validate("optimiser"));
        let counts = [
            ("hidden", self.hidden),
            ("epochs", self.epochs),
            ("parts", self.parts),
            ("parts_per_step", self.parts_per_step),
        ];
        for (path, count) in counts {
            if count == 0 {
                errors.push(FieldError::new(path, "must be at least 1, is 0"));
            }
        }
        let mut share = |path: &str, value: f64, fits: bool, range: &str| {
            if !fits {
                errors.push(FieldError::new(path, format!("must be in {range}, is {value}")));
            }
        };
        share("ema", self.ema, (0.0..=1.0).contains(&self.ema), "[0, 1]");
        match self.second_view {
            SecondView::Augmented { feature_mask, edge_drop } => {
                let rates = [("feature_mask", feature_mask), ("edge_drop", edge_drop)];
                for (field, rate) in rates {
                    share(&format!("second_view.{field}"), rate, (0.0..1.0).contains(&rate), "[0, 1)");
                }
            }
            SecondView::StudentGraph => {}
        }
        errors
    }

    fn request(&self) -> Request {
        Request::TRAIN
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let device = device::open(job.device())?;
        let first = Nodes::read(self, job, "embeddings", "graph")?;
        let second = match self.second_view {
            SecondView::Augmented { .. } => None,
            SecondView::StudentGraph => Some(Nodes::read(self, job, "embeddings_student", "graph_student")?),
        };
        let (n, dim) = (first.features.len(), first.features.dim);
        if let Some(student) = &second
            && (student.features.len(), student.features.dim) != (n, dim)
        {
            let reason = format!(
                "[{}, {}] does not fit `embeddings` of [{n}, {dim}]",
                student.features.len(),
                student.features.dim
            );
            return Err(StageError::input("embeddings_student", reason));
        }
        let part = self.partition(&first);
        let trained = part.iter().flatten().count();
        // The predictor's batch norm needs two nodes a step.
        if trained / self.parts < 2 {
            let reason = format!("{trained} samples cannot be cut into {} parts of two or more", self.parts);
            return Err(StageError::input("embeddings", reason));
        }
        let encoder = Gnn {
            name: "encoder".to_owned(),
            architecture: self.arch,
            input: dim,
            hidden: self.hidden,
            jumping: self.jk,
        };
        let method = CrossView { encoder };
        let (student, curve) = self.train(job, &method, (&first, second.as_ref()), &part, &device)?;
        let mut tables = Vec::new();
        for nodes in [Some(&first), second.as_ref()].into_iter().flatten() {
            if self.concat_input {
                tables.push((nodes.features.values.clone(), dim));
            }
            let view = nodes.whole(self.arch, &device);
            let refined = method.encoder.forward(&student, view.x, &view.adjacency, Mode::Evaluate);
            let mut refined = host(refined);
            if self.concat_input {
                rows::normalise(&mut refined, method.encoder.output());
            }
            tables.push((refined, method.encoder.output()));
        }
        let transductive =
            [Some(&first), second.as_ref()].into_iter().flatten().any(|nodes| nodes.hear_held_out(&part));
        let mut metrics = Metrics::default();
        metrics.insert("transductive", f64::from(u8::from(transductive)));
        metrics.write(job.output("metrics"))?;
        let (values, dim) = beside(&tables, n);
        Embeddings { values, dim, ..first.features }.write(job.output("embeddings"))?;
        curve.write(job.output("curve"))
    }
}
