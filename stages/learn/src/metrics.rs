//! Agreement between a partition and the true classes: ACC, NMI, ARI, FMI and macro-F1.
//!
//! Everything is computed from one [`Contingency`] table. Cluster ids and labels are any integers; only which samples
//! share one matters. Samples without a label are the caller's to leave out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// How often each cluster meets each class.
///
/// Definitions follow scikit-learn 1.x, where the published figures come from; natural logarithms throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    /// `[clusters][classes]`, both in ascending order of id.
    counts: Vec<Vec<u64>>,
    /// The ids of the clusters, ascending.
    clusters: Vec<i64>,
    /// The ids of the classes, ascending.
    classes: Vec<i64>,
    /// What [`matching`](Self::matching) found.
    matching: OnceLock<BTreeMap<i64, i64>>,
}

impl Contingency {
    /// Counts the pairs of `clusters[i]` and `labels[i]`, `[N]` each.
    ///
    /// # Panics
    /// When the slices differ in length or are empty.
    pub fn new(clusters: &[i64], labels: &[i64]) -> Self {
        assert_eq!(clusters.len(), labels.len(), "one cluster and one label a sample");
        assert!(!labels.is_empty(), "agreement of no samples is undefined");
        let (cluster_ids, cluster_of) = enumerate(clusters);
        let (class_ids, class_of) = enumerate(labels);
        let mut counts = vec![vec![0; class_ids.len()]; cluster_ids.len()];
        for (cluster, label) in clusters.iter().zip(labels) {
            counts[cluster_of[cluster]][class_of[label]] += 1;
        }
        Self { counts, clusters: cluster_ids, classes: class_ids, matching: OnceLock::new() }
    }

    /// The number of clusters that hold a sample.
    pub fn num_clusters(&self) -> usize {
        self.clusters.len()
    }

    /// Most clusters, and most classes, that are matched: the time grows with their cube, the memory with their square.
    pub const MAX_SIDE: usize = 4096;

    /// The greater of the numbers of clusters and of classes, those that hold a sample.
    pub fn side(&self) -> usize {
        self.clusters.len().max(self.classes.len())
    }

    /// The one-to-one matching of clusters to classes that keeps most samples (Hungarian method): cluster id → class
    /// id. Where there are more clusters than classes, those left over are missing.
    ///
    /// # Panics
    /// When there are more than [`MAX_SIDE`](Self::MAX_SIDE) clusters or classes.
    pub fn matching(&self) -> &BTreeMap<i64, i64> {
        self.matching.get_or_init(|| self.find_matching())
    }

    fn find_matching(&self) -> BTreeMap<i64, i64> {
        let side = self.side();
        assert!(side <= Self::MAX_SIDE, "{side} clusters or classes are too many to be matched");
        let weights = Matrix::from_fn(side, side, |(cluster, class)| {
            self.counts.get(cluster).and_then(|row| row.get(class)).map_or(0, |&count| count as i64)
        });
        let (_, class_of) = kuhn_munkres(&weights);
        let pairs = self.clusters.iter().zip(class_of);
        pairs.filter_map(|(&cluster, class)| Some((cluster, *self.classes.get(class)?))).collect()
    }

    /// Clustering accuracy: the share of samples whose cluster is matched to their class. With as many clusters as
    /// classes this is the published ACC.
    pub fn accuracy(&self) -> f64 {
        let matching = self.matching();
        let matched: u64 = self
            .cells()
            .filter(|(cluster, class, _)| matching.get(cluster) == Some(class))
            .map(|cell| cell.2)
            .sum();
        matched as f64 / self.total()
    }

    /// Normalised mutual information, by the arithmetic mean of the two entropies; 1 where both partitions have a
    /// single part.
    pub fn nmi(&self) -> f64 {
        let total = self.total();
        let entropy = |sizes: &[u64]| -> f64 {
            sizes.iter().map(|&size| size as f64 / total).map(|p| -p * p.ln()).sum()
        };
        let (cluster_sizes, class_sizes) = (self.cluster_sizes(), self.class_sizes());
        let mean_entropy = (entropy(&cluster_sizes) + entropy(&class_sizes)) / 2.0;
        if mean_entropy == 0.0 {
            return 1.0;
        }
        let mut information = 0.0;
        for (row, &cluster_size) in self.counts.iter().zip(&cluster_sizes) {
            for (&count, &class_size) in row.iter().zip(&class_sizes).filter(|(count, _)| **count > 0) {
                let joint = count as f64 / total;
                let independent = (cluster_size as f64 / total) * (class_size as f64 / total);
                information += joint * (joint / independent).ln();
            }
        }
        (information / mean_entropy).clamp(0.0, 1.0)
    }

    /// Adjusted Rand index (Hubert and Arabie 1985), not clipped: 0 is chance, and worse than chance is negative.
    pub fn ari(&self) -> f64 {
        let pairs = self.pairs();
        let (together, apart) = (pairs.same_both, pairs.differ_both);
        let (split, joined) = (pairs.same_class_only, pairs.same_cluster_only);
        if split == 0.0 && joined == 0.0 {
            return 1.0;
        }
        2.0 * (together * apart - split * joined)
            / ((together + split) * (split + apart) + (together + joined) * (joined + apart))
    }

    /// Fowlkes-Mallows index: the geometric mean of pairwise precision and recall; 0 where no pair shares both cluster
    /// and class.
    pub fn fmi(&self) -> f64 {
        let pairs = self.pairs();
        if pairs.same_both == 0.0 {
            return 0.0;
        }
        let precision = pairs.same_both / (pairs.same_both + pairs.same_cluster_only);
        let recall = pairs.same_both / (pairs.same_both + pairs.same_class_only);
        (precision * recall).sqrt()
    }

    /// Unweighted mean over the classes of the F1 score of their matched clusters; an unmatched class counts 0.
    pub fn macro_f1(&self) -> f64 {
        let matching = self.matching();
        let cluster_sizes: BTreeMap<i64, u64> =
            self.clusters.iter().copied().zip(self.cluster_sizes()).collect();
        let class_sizes: BTreeMap<i64, u64> = self.classes.iter().copied().zip(self.class_sizes()).collect();
        let matched = self.cells().filter(|(cluster, class, _)| matching.get(cluster) == Some(class));
        let f1 = |(cluster, class, count): (i64, i64, u64)| {
            2.0 * count as f64 / (cluster_sizes[&cluster] + class_sizes[&class]) as f64
        };
        matched.map(f1).sum::<f64>() / self.classes.len() as f64
    }

    fn cells(&self) -> impl Iterator<Item = (i64, i64, u64)> {
        self.clusters.iter().zip(&self.counts).flat_map(|(&cluster, row)| {
            self.classes.iter().zip(row).map(move |(&class, &count)| (cluster, class, count))
        })
    }

    fn cluster_sizes(&self) -> Vec<u64> {
        self.counts.iter().map(|row| row.iter().sum()).collect()
    }

    fn class_sizes(&self) -> Vec<u64> {
        (0..self.classes.len()).map(|class| self.counts.iter().map(|row| row[class]).sum()).collect()
    }

    fn total(&self) -> f64 {
        self.counts.iter().flatten().sum::<u64>() as f64
    }

    fn pairs(&self) -> Pairs {
        let ordered = |sizes: &mut dyn Iterator<Item = u64>| -> f64 {
            sizes.map(|size| size as f64 * (size as f64 - 1.0)).sum()
        };
        let total = self.total();
        let same_both = ordered(&mut self.counts.iter().flatten().copied());
        let same_cluster_only = ordered(&mut self.cluster_sizes().into_iter()) - same_both;
        let same_class_only = ordered(&mut self.class_sizes().into_iter()) - same_both;
        let differ_both = total * (total - 1.0) - same_both - same_cluster_only - same_class_only;
        Pairs { same_both, same_cluster_only, same_class_only, differ_both }
    }
}

/// Ordered pairs of samples, by whether they share a cluster and a class.
struct Pairs {
    same_both: f64,
    same_cluster_only: f64,
    same_class_only: f64,
    differ_both: f64,
}

/// The distinct ids, ascending, and the place of each.
fn enumerate(ids: &[i64]) -> (Vec<i64>, BTreeMap<i64, usize>) {
    let mut place: BTreeMap<i64, usize> = ids.iter().map(|&id| (id, 0)).collect();
    place.values_mut().enumerate().for_each(|(index, slot)| *slot = index);
    (place.keys().copied().collect(), place)
}

/// The share of predictions that equal their label, `[N]` each.
///
/// # Panics
/// When the slices differ in length or are empty.
pub fn accuracy(predictions: &[i64], labels: &[i64]) -> f64 {
    assert_eq!(predictions.len(), labels.len(), "one prediction and one label a sample");
    assert!(!labels.is_empty(), "accuracy on no samples is undefined");
    let right = predictions.iter().zip(labels).filter(|(prediction, label)| prediction == label).count();
    right as f64 / labels.len() as f64
}

/// Mean and population standard deviation.
///
/// # Panics
/// When there is no value.
pub fn mean_and_std(values: &[f64]) -> (f64, f64) {
    assert!(!values.is_empty(), "the mean of no values is undefined");
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}
