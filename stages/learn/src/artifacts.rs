//! The artifacts this package reads and writes, as structs.

use std::collections::BTreeSet;
use std::path::Path;

use ablate_stage::{ArtifactKind, BadArtifact, Job, Split, StageError, TensorData, Tensors};
use ndarray::{Array2, ArrayView2, Axis};

/// Embeddings of a data set, rows in data-set order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// `[N, D]`, row-major.
    pub values: Vec<f32>,
    /// D.
    pub dim: usize,
    /// `[N]`, −1 where unknown.
    pub labels: Vec<i64>,
    /// `[N]`, codes of [`ablate_stage::Split`].
    pub split: Vec<u8>,
}

impl Embeddings {
    /// N.
    pub fn len(&self) -> usize {
        self.split.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.split.is_empty()
    }

    /// Row `i`, `[D]`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dim..(i + 1) * self.dim]
    }

    /// The number of distinct labels, −1 aside.
    pub fn num_classes(&self) -> usize {
        self.labels.iter().filter(|label| **label >= 0).collect::<BTreeSet<_>>().len()
    }

    /// The samples of one split that have a label.
    ///
    /// # Errors
    /// Where there is none, as an error of input `embeddings`.
    pub fn labelled(&self, split: Split) -> Result<Labelled, StageError> {
        let index: Vec<usize> =
            (0..self.len()).filter(|&i| self.split[i] == split as u8 && self.labels[i] >= 0).collect();
        if index.is_empty() {
            return Err(StageError::input("embeddings", format!("no sample of split {split:?} has a label")));
        }
        let labels = index.iter().map(|&i| self.labels[i]).collect();
        Ok(Labelled { rows: self.rows().select(Axis(0), &index), labels, index })
    }

    /// All rows, `[N, D]`.
    pub fn rows(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.len(), self.dim), &self.values).expect("embeddings are [N, D]")
    }

    /// Reads an artifact of kind `Embeddings`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = ArtifactKind::Embeddings.read_tensors(path)?;
        let split = tensors.u8("split")?.to_vec();
        let labels =
            if tensors.contains("labels") { tensors.i64("labels")?.to_vec() } else { vec![-1; split.len()] };
        let dim = tensors.get("embeddings")?.shape()[1];
        Ok(Self { values: tensors.f32("embeddings")?.to_vec(), dim, labels, split })
    }

    /// Reads the embeddings wired to a job's port.
    ///
    /// # Errors
    /// Where the port is not wired, or does not hold embeddings.
    pub fn from_job(job: &Job<'_>, port: &str) -> Result<Self, StageError> {
        Self::read(job.input(port)?).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Embeddings`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let n = self.len();
        Tensors::new()
            .with("embeddings", &[n, self.dim], TensorData::F32(self.values.clone()))
            .with("labels", &[n], TensorData::I64(self.labels.clone()))
            .with("split", &[n], TensorData::U8(self.split.clone()))
            .write(path)
    }
}

/// Some rows of a data set, each with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// `[n, D]`.
    pub rows: Array2<f32>,
    /// `[n]`, 0 or more.
    pub labels: Vec<i64>,
    /// `[n]`, the rows of the data set they are, ascending.
    pub index: Vec<usize>,
}

/// A graph over the rows of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// `[E]`, where each edge starts.
    pub source: Vec<i64>,
    /// `[E]`, where each edge ends: the node that receives the message.
    pub target: Vec<i64>,
    /// `[E]`.
    pub weight: Vec<f32>,
    /// `[N]`, codes of [`ablate_stage::Split`].
    pub split: Vec<u8>,
}

impl Graph {
    /// E.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether there is no edge.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// N.
    pub fn num_nodes(&self) -> usize {
        self.split.len()
    }

    /// The share of edges that join two samples of the same class, among edges between two different labelled samples;
    /// none where there is no such edge.
    ///
    /// # Panics
    /// When `labels` is not `[N]`.
    pub fn purity(&self, labels: &[i64]) -> Option<f64> {
        assert_eq!(labels.len(), self.num_nodes(), "a label a node, -1 where unknown");
        let ends = self.source.iter().zip(&self.target).filter(|(source, target)| source != target);
        let (mut same, mut labelled) = (0_u64, 0_u64);
        for (&source, &target) in ends {
            let (a, b) = (labels[source as usize], labels[target as usize]);
            labelled += u64::from(a >= 0 && b >= 0);
            same += u64::from(a >= 0 && a == b);
        }
        (labelled > 0).then(|| same as f64 / labelled as f64)
    }

    /// Reads an artifact of kind `Graph`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = ArtifactKind::Graph.read_tensors(path)?;
        let edges = tensors.i64("edge_index")?;
        let (source, target) = edges.split_at(edges.len() / 2);
        Ok(Self {
            source: source.to_vec(),
            target: target.to_vec(),
            weight: tensors.f32("edge_weight")?.to_vec(),
            split: tensors.u8("split")?.to_vec(),
        })
    }

    /// Reads the graph wired to a job's port.
    ///
    /// # Errors
    /// Where the port is not wired, or does not hold a graph.
    pub fn from_job(job: &Job<'_>, port: &str) -> Result<Self, StageError> {
        Self::read(job.input(port)?).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Graph`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let edges = self.source.len();
        let mut edge_index = self.source.clone();
        edge_index.extend_from_slice(&self.target);
        Tensors::new()
            .with("edge_index", &[2, edges], TensorData::I64(edge_index))
            .with("edge_weight", &[edges], TensorData::F32(self.weight.clone()))
            .with("split", &[self.split.len()], TensorData::U8(self.split.clone()))
            .with_metadata("num_nodes", self.split.len().to_string())
            .write(path)
    }
}

/// A cluster for each row of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// `[N]`, in `0..num_clusters`.
    pub cluster: Vec<i64>,
    /// K.
    pub num_clusters: usize,
    /// `[N, K]`, row-major, where the method is soft.
    pub probabilities: Option<Vec<f32>>,
    /// `[N]`, −1 where unknown; for evaluation.
    pub labels: Option<Vec<i64>>,
    /// `[N]`, codes of [`ablate_stage::Split`].
    pub split: Vec<u8>,
}

impl Assignment {
    /// Reads an artifact of kind `Assignment`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = ArtifactKind::Assignment.read_tensors(path)?;
        let labels = match tensors.contains("labels") {
            true => Some(tensors.i64("labels")?.to_vec()),
            false => None,
        };
        let probabilities = match tensors.contains("probabilities") {
            true => Some(tensors.f32("probabilities")?.to_vec()),
            false => None,
        };
        let num_clusters = tensors.metadata("num_clusters").and_then(|text| text.parse().ok());
        Ok(Self {
            cluster: tensors.i64("cluster")?.to_vec(),
            num_clusters: num_clusters.expect("it is checked to be a number"),
            probabilities,
            labels,
            split: tensors.u8("split")?.to_vec(),
        })
    }

    /// Reads the assignment wired to a job's port.
    ///
    /// # Errors
    /// Where the port is not wired, or does not hold an assignment.
    pub fn from_job(job: &Job<'_>, port: &str) -> Result<Self, StageError> {
        Self::read(job.input(port)?).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Assignment`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let n = self.split.len();
        let mut tensors = Tensors::new()
            .with("cluster", &[n], TensorData::I64(self.cluster.clone()))
            .with("split", &[n], TensorData::U8(self.split.clone()))
            .with_metadata("num_clusters", self.num_clusters.to_string());
        if let Some(probabilities) = &self.probabilities {
            let shape = [n, self.num_clusters];
            tensors = tensors.with("probabilities", &shape, TensorData::F32(probabilities.clone()));
        }
        if let Some(labels) = &self.labels {
            tensors = tensors.with("labels", &[n], TensorData::I64(labels.clone()));
        }
        tensors.write(path)
    }
}
