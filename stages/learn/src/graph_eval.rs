//! The stage that says how often neighbours share a class.

use std::collections::BTreeMap;
use std::path::Path;

use ablate_data::{Column, Columns};
use ablate_stage::{ArtifactKind, BadArtifact, FieldError, Job, Metrics, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Graph;

/// Measures how often neighbours in a graph share a class.
///
/// Input `graph`, whose edges point `FromNeighbours` and come nearest first, and `images` for the labels. Output `metrics`:
/// for each number k asked for, `purity@k`: the share of the first k neighbours of each sample, itself left out, that are of its
/// class, over all pairs that have labels. A sample with fewer neighbours counts with those it has. Output `curve`: `purity` by the number of
/// `neighbours`. Output `mixing`: of the
/// neighbours of each class (row), all that are listed, the share that are of each class (column).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GraphEval {
    /// Numbers of neighbours.
    pub k: Vec<usize>,
}

impl Default for GraphEval {
    /// Those of GCC's figure.
    fn default() -> Self {
        Self { k: (1..=10).map(|tens| 5 * tens).collect() }
    }
}

/// The share of the first `k` neighbours of each node that are of its class, for each `k`: neighbours are the sources of the edges
/// to a node, in order, itself left out. `labels` are `[N]`, −1 where unknown; `None` where no two labelled nodes are joined.
///
/// # Panics
/// When there is not a label a node.
pub fn purities(graph: &Graph, labels: &[i64], ks: &[usize]) -> Option<Vec<f64>> {
    assert_eq!(labels.len(), graph.num_nodes(), "a label a node, -1 where unknown");
    let most = ks.iter().max().copied().unwrap_or(0);
    // By place in the lists: pairs of the same class, and all pairs.
    let (mut same, mut all) = (vec![0_u64; most], vec![0_u64; most]);
    let mut listed = vec![0_usize; labels.len()];
    for (&source, &target) in
        graph.source.iter().zip(&graph.target).filter(|(source, target)| source != target)
    {
        let place = listed[target as usize];
        listed[target as usize] += 1;
        let (a, b) = (labels[source as usize], labels[target as usize]);
        if place < most && a >= 0 && b >= 0 {
            all[place] += 1;
            same[place] += u64::from(a == b);
        }
    }
    let share = |&k: &usize| {
        let (same, all): (u64, u64) = (same[..k].iter().sum(), all[..k].iter().sum());
        (all > 0).then(|| same as f64 / all as f64)
    };
    ks.iter().map(share).collect()
}

/// Of the neighbours of each class the share that are of each class, by both, over all pairs that have labels, a node and itself left
/// out. A pair of classes that no edge joins is missing. `labels` are `[N]`, −1 where unknown.
///
/// # Panics
/// When there is not a label a node.
pub fn mixing(graph: &Graph, labels: &[i64]) -> BTreeMap<(i64, i64), f64> {
    assert_eq!(labels.len(), graph.num_nodes(), "a label a node, -1 where unknown");
    let (mut pairs, mut totals) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
    for (source, target) in graph.source.iter().zip(&graph.target).filter(|(source, target)| source != target)
    {
        let (of, neighbour) = (labels[*target as usize], labels[*source as usize]);
        if of >= 0 && neighbour >= 0 {
            *pairs.entry((of, neighbour)).or_default() += 1;
            *totals.entry(of).or_default() += 1;
        }
    }
    pairs.into_iter().map(|(pair, count)| (pair, count as f64 / totals[&pair.0] as f64)).collect()
}

impl Stage for GraphEval {
    const KIND: &'static str = "GraphEval";
    const REVISION: u32 = 3;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("graph", ArtifactKind::Graph), Port::required("images", ArtifactKind::Images)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("metrics", ArtifactKind::Metrics),
            Port::required("curve", ArtifactKind::Curve),
            Port::required("mixing", ArtifactKind::Matrix),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        let message = format!("must be numbers from 1, is {:?}", self.k);
        let wrong = self.k.is_empty() || self.k.contains(&0);
        wrong.then(|| FieldError::new("k", message)).into_iter().collect()
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let graph = Graph::from_job(job, "graph")?;
        let (labels, classes) =
            classes(job.input("images")?).map_err(|error| StageError::input("images", error))?;
        if labels.len() != graph.num_nodes() {
            let reason = format!("it has {} images for a graph of {}", labels.len(), graph.num_nodes());
            return Err(StageError::input("images", reason));
        }
        let purities = purities(&graph, &labels, &self.k)
            .ok_or_else(|| StageError::input("graph", "it joins no two images that have labels"))?;
        let mut metrics = Metrics::default();
        let mut by_number: BTreeMap<i64, f64> = BTreeMap::new();
        for (&k, purity) in self.k.iter().zip(purities) {
            metrics.insert(format!("purity@{k}"), purity);
            by_number.insert(k as i64, purity);
        }
        metrics.write(job.output("metrics"))?;
        Columns::new()
            .with("neighbours", Column::I64(by_number.keys().copied().collect()))
            .with("purity", Column::F64(by_number.into_values().collect()))
            .write(job.output("curve"))?;
        write_mixing(&mixing(&graph, &labels), &classes, job.output("mixing"))
    }
}

/// First the classes with themselves, which gives the order of all, then those of others that are not 0. Names have numbers before
/// them, for classes may be called the same.
fn write_mixing(
    shares: &BTreeMap<(i64, i64), f64>,
    classes: &[String],
    path: &Path,
) -> Result<(), StageError> {
    let same = (0..classes.len() as i64).map(|class| (class, class));
    let pairs: Vec<(i64, i64)> =
        same.chain(shares.keys().copied().filter(|(class, other)| class != other)).collect();
    let name = |class: i64| format!("{class} {}", classes[class as usize]);
    let share = |pair| shares.get(pair).copied().unwrap_or(0.0);
    Columns::new()
        .with("row", Column::Text(pairs.iter().map(|pair| name(pair.0)).collect()))
        .with("column", Column::Text(pairs.iter().map(|pair| name(pair.1)).collect()))
        .with("value", Column::F64(pairs.iter().map(share).collect()))
        .write(path)
}

/// The labels of a data set, and the names of its classes.
fn classes(images: &Path) -> Result<(Vec<i64>, Vec<String>), BadArtifact> {
    let tensors = ArtifactKind::Images.read_tensors(images)?;
    let names = tensors.metadata("classes").expect("an artifact of images names its classes");
    let names = serde_json::from_str(names).map_err(|error| BadArtifact::new(error.to_string()))?;
    Ok((tensors.i64("labels")?.to_vec(), names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_neighbours_of_each_sample_count() {
        // 0 hears itself, 1, 2, 3; 1 hears 0, 3; 2 hears 3, which has no label.
        let graph = Graph {
            source: vec![0, 1, 2, 3, 0, 3, 3],
            target: vec![0, 0, 0, 0, 1, 1, 2],
            weight: vec![1.0; 7],
            split: vec![0; 4],
        };
        // Places: first 1→0, 0→1; second 2→0; 3 is nobody's.
        assert_eq!(purities(&graph, &[0, 0, 1, -1], &[1, 2, 9]), Some(vec![1.0, 2.0 / 3.0, 2.0 / 3.0]));
        assert_eq!(purities(&graph, &[0, -1, -1, -1], &[1]), None);
        // 0's neighbours are 1, of its class, and 2; 1's is 0; 2's has no label.
        let shares = mixing(&graph, &[0, 0, 1, -1]);
        assert_eq!(shares, BTreeMap::from([((0, 0), 2.0 / 3.0), ((0, 1), 1.0 / 3.0)]));
        let file = tempfile::NamedTempFile::new().unwrap();
        write_mixing(&shares, &["crane", "crane"].map(str::to_owned), file.path()).unwrap();
        let text = |values: [&str; 3]| Column::Text(values.map(str::to_owned).to_vec());
        let expected = Columns::new()
            .with("row", text(["0 crane", "1 crane", "0 crane"]))
            .with("column", text(["0 crane", "1 crane", "1 crane"]))
            .with("value", Column::F64(vec![2.0 / 3.0, 0.0, 1.0 / 3.0]));
        assert_eq!(Columns::read(file.path()).unwrap(), expected);
    }
}
