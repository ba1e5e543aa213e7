//! The artifacts this package reads and writes, as structs.

use std::path::Path;

use ablate_stage::{BadArtifact, Job, StageError, TensorData, Tensors};

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

    /// Reads an artifact of kind `Embeddings`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = Tensors::read(path)?;
        let dim = tensors.get("embeddings")?.shape().get(1).copied();
        let dim = dim.ok_or_else(|| BadArtifact::new("`embeddings` is not [N, D]"))?;
        let split = tensors.u8("split")?.to_vec();
        let labels =
            if tensors.contains("labels") { tensors.i64("labels")?.to_vec() } else { vec![-1; split.len()] };
        let values = tensors.f32("embeddings")?.to_vec();
        if values.len() != split.len() * dim || labels.len() != split.len() {
            return Err(BadArtifact::new("`embeddings`, `labels` and `split` differ in length"));
        }
        Ok(Self { values, dim, labels, split })
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
    /// Reads an artifact of kind `Graph`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = Tensors::read(path)?;
        let edges = tensors.i64("edge_index")?;
        let (source, target) = edges.split_at(edges.len() / 2);
        let weight = tensors.f32("edge_weight")?.to_vec();
        let split = tensors.u8("split")?.to_vec();
        let n = split.len() as i64;
        if source.len() != target.len()
            || weight.len() != source.len()
            || edges.iter().any(|&node| node < 0 || node >= n)
        {
            return Err(BadArtifact::new(
                "`edge_index` and `edge_weight` are not a graph over the rows of `split`",
            ));
        }
        Ok(Self { source: source.to_vec(), target: target.to_vec(), weight, split })
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
