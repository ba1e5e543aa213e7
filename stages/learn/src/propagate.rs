//! Messages along the edges of a graph: products with a sparse matrix, y = A x.
//!
//! On the processor the product is one operation over rows in compressed form, several times as fast as gathering every
//! edge's message and adding it up: burn adds up on one thread. Each row is summed in edge order by one thread, so results
//! do not depend on the number of threads. Other devices gather and scatter, whose atomic additions have no fixed order.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::{Device as BurnDevice, IndexingUpdateOp, TensorData};
use rayon::prelude::*;

use crate::artifacts::Graph;

/// Rows a task: enough work to hand out, few enough to share evenly.
const ROWS: usize = 64;

/// A sparse square matrix over the nodes of a graph: row t, column s weighs the message from s to t.
#[derive(Clone, Debug)]
pub struct Adjacency {
    forward: Arc<Rows>,
    /// The transpose, which carries gradients.
    backward: Arc<Rows>,
}

/// A matrix by compressed rows.
#[derive(Debug, PartialEq)]
struct Rows {
    /// `[N + 1]`, where each row starts.
    start: Vec<usize>,
    /// `[E]`.
    column: Vec<u32>,
    /// `[E]`.
    value: Vec<f32>,
}

/// An edge from `source` to `target`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Where the message starts.
    pub source: u32,
    /// The node that receives it.
    pub target: u32,
    /// Its weight.
    pub weight: f32,
}

impl Edge {
    /// The edges of a graph, with their weights or, unless `weighted`, with weight 1.
    pub fn of_graph(graph: &Graph, weighted: bool) -> Vec<Self> {
        let ends = graph.source.iter().zip(&graph.target).zip(&graph.weight);
        let edge = |((&source, &target), &weight): ((&i64, &i64), &f32)| Self {
            source: source as u32,
            target: target as u32,
            weight: if weighted { weight } else { 1.0 },
        };
        ends.map(edge).collect()
    }
}

impl Adjacency {
    /// D^(-1/2) (A + I) D^(-1/2) with D the incoming weight of A + I (Kipf and Welling 2017, eq. 2, as in PyTorch
    /// Geometric's `GCNConv`): parallel edges count each, a node's loops count once, as the loop of I. A node whose
    /// incoming weight is not positive is cut off.
    pub fn symmetric(edges: &[Edge], nodes: usize) -> Self {
        let mut with_loops: Vec<Edge> =
            edges.iter().filter(|edge| edge.source != edge.target).copied().collect();
        let mut loops = vec![1.0; nodes];
        edges.iter().filter(|edge| edge.source == edge.target).for_each(|edge| {
            loops[edge.target as usize] = edge.weight;
        });
        let itself = |(node, weight)| Edge { source: node as u32, target: node as u32, weight };
        with_loops.extend(loops.into_iter().enumerate().map(itself));
        let mut degree = vec![0.0_f64; nodes];
        with_loops.iter().for_each(|edge| degree[edge.target as usize] += f64::from(edge.weight));
        let root = |node: u32| match degree[node as usize] {
            degree if degree > 0.0 => degree.sqrt().recip(),
            _ => 0.0,
        };
        let normalised = with_loops.iter().map(|edge| Edge {
            weight: (root(edge.source) * f64::from(edge.weight) * root(edge.target)) as f32,
            ..*edge
        });
        Self::new(&normalised.collect::<Vec<_>>(), nodes)
    }

    /// The mean over the incoming edges, by weight (GraphSAGE, Hamilton et al. 2017); 0 for a node without any.
    pub fn mean(edges: &[Edge], nodes: usize) -> Self {
        let mut total = vec![0.0_f64; nodes];
        edges.iter().for_each(|edge| total[edge.target as usize] += f64::from(edge.weight));
        let share = edges.iter().map(|edge| Edge {
            weight: match total[edge.target as usize] {
                total if total > 0.0 => (f64::from(edge.weight) / total) as f32,
                _ => 0.0,
            },
            ..*edge
        });
        Self::new(&share.collect::<Vec<_>>(), nodes)
    }

    fn new(edges: &[Edge], nodes: usize) -> Self {
        let forward = Rows::new(edges.iter().map(|edge| (edge.target, edge.source, edge.weight)), nodes);
        let backward = Rows::new(edges.iter().map(|edge| (edge.source, edge.target, edge.weight)), nodes);
        Self { forward: Arc::new(forward), backward: Arc::new(backward) }
    }

    /// A x, `[N, D]` to `[N, D]`.
    ///
    /// # Panics
    /// When `x` has not a row a node.
    pub fn propagate(&self, x: Tensor<2>) -> Tensor<2> {
        assert_eq!(x.dims()[0], self.forward.nodes(), "a row a node");
        if x.device().inner() == BurnDevice::flex() {
            let y = <Dispatch as PropagateOps>::propagate(
                x.into_dispatch(),
                self.forward.clone(),
                self.backward.clone(),
            );
            Tensor::from_dispatch(y)
        } else {
            self.gather_and_scatter(x)
        }
    }

    /// [`propagate`](Self::propagate) by burn's own operations, as devices other than the processor do it.
    pub fn gather_and_scatter(&self, x: Tensor<2>) -> Tensor<2> {
        let Rows { start, column, value } = &*self.forward;
        let [nodes, dim] = x.dims();
        let edges = column.len();
        let device = x.device();
        let indices = |values: Vec<i32>| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [edges, 1]), &device).expand([edges, dim])
        };
        let sources = indices(column.iter().map(|&column| column as i32).collect());
        let row_of_entry = (0..nodes).flat_map(|row| vec![row as i32; start[row + 1] - start[row]]);
        let targets = indices(row_of_entry.collect());
        let weights = Tensor::<2>::from_data(TensorData::new(value.clone(), [edges, 1]), &device);
        let messages = x.clone().gather(0, sources) * weights;
        x.zeros_like().scatter(0, targets, messages, IndexingUpdateOp::Add)
    }
}

impl Rows {
    /// From entries (row, column, value); those of a row keep their order.
    fn new(entries: impl Iterator<Item = (u32, u32, f32)> + Clone, nodes: usize) -> Self {
        let mut start = vec![0; nodes + 1];
        entries.clone().for_each(|(row, ..)| start[row as usize + 1] += 1);
        (0..nodes).for_each(|row| start[row + 1] += start[row]);
        let mut next = start.clone();
        let mut column = vec![0; start[nodes]];
        let mut value = vec![0.0; start[nodes]];
        for (row, from, weight) in entries {
            let slot = &mut next[row as usize];
            (column[*slot], value[*slot]) = (from, weight);
            *slot += 1;
        }
        Self { start, column, value }
    }

    fn nodes(&self) -> usize {
        self.start.len() - 1
    }

    /// The product with `x` `[N, dim]`.
    fn multiply(&self, x: &[f32], dim: usize) -> Vec<f32> {
        let mut y = vec![0.0; self.nodes() * dim];
        y.par_chunks_mut((ROWS * dim).max(1)).enumerate().for_each(|(block, y)| {
            for (row, y) in y.chunks_exact_mut(dim).enumerate() {
                let entries = self.start[block * ROWS + row]..self.start[block * ROWS + row + 1];
                for (&column, &value) in self.column[entries.clone()].iter().zip(&self.value[entries]) {
                    let x = &x[column as usize * dim..][..dim];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += value * x);
                }
            }
        });
        y
    }
}

#[backend_extension(Flex, Autodiff)]
trait PropagateOps: Backend {
    fn propagate(x: FloatTensor<Self>, forward: Arc<Rows>, backward: Arc<Rows>) -> FloatTensor<Self>;
}

impl PropagateOps for Flex {
    fn propagate(x: FloatTensor<Self>, forward: Arc<Rows>, _: Arc<Rows>) -> FloatTensor<Self> {
        multiply(&forward, x)
    }
}

fn multiply(rows: &Rows, x: FloatTensor<Flex>) -> FloatTensor<Flex> {
    let x = x.to_contiguous();
    let values: &[f32] = x.as_slice().expect("the processor computes in f32, on contiguous tensors");
    let dim = values.len() / rows.nodes().max(1);
    FloatTensor::<Flex>::from_data(TensorData::new(rows.multiply(values, dim), [rows.nodes(), dim]))
}

/// dL/dx = Aᵀ dL/dy.
#[derive(Debug)]
struct PropagateBackward;

impl Backward<Flex, 1> for PropagateBackward {
    type State = Arc<Rows>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x] = ops.parents;
        let dy = gradients.consume::<Flex>(&ops.node);
        if let Some(x) = x {
            gradients.register::<Flex>(x.id, multiply(&ops.state, dy));
        }
    }
}

impl<C: CheckpointStrategy> PropagateOps for Autodiff<Flex, C> {
    fn propagate(x: FloatTensor<Self>, forward: Arc<Rows>, backward: Arc<Rows>) -> FloatTensor<Self> {
        let prepared = PropagateBackward.prepare::<C>([x.node()]).compute_bound().stateful();
        let y = multiply(&forward, x.primitive().clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(backward, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}
