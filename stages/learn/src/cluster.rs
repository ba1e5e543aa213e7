//! The stage that clusters embeddings by k-means.

use ablate_data::random::Draws;
use ablate_stage::{ArtifactKind, FieldError, Job, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{Assignment, Embeddings};
use crate::kmeans::KMeans;
use crate::rows;

/// Clusters embeddings by k-means, with scikit-learn's seeding and stopping rule.
///
/// Samples of every split are clustered together, as the deep-clustering papers do; labels are passed on for
/// `ClusterEval` and used for nothing but the default number of clusters. Input `embeddings`; output `assignment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Number of clusters; without one, the number of classes among the labels.
    pub clusters: Option<usize>,
    /// Starts from different seeds, of which the one of least inertia is kept. IcicleGCN has 20.
    pub n_init: usize,
    /// Most iterations a start.
    pub max_iter: usize,
    /// A start ends when its centres move by at most this times the mean variance of the features.
    pub tolerance: f64,
    /// Whether each embedding is first divided by its norm, so that distance is angle, as the contrastive losses compare
    /// embeddings; scikit-learn clusters them as they are.
    pub normalise: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { clusters: None, n_init: 10, max_iter: 300, tolerance: 1e-4, normalise: true }
    }
}

impl Stage for Cluster {
    const KIND: &'static str = "Cluster";
    const REVISION: u32 = 2;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("assignment", ArtifactKind::Assignment)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let at_least_one = |path: &str, value: usize| {
            (value == 0).then(|| FieldError::new(path, "must be at least 1, is 0"))
        };
        let tolerance = (!(self.tolerance.is_finite() && self.tolerance >= 0.0))
            .then(|| FieldError::new("tolerance", format!("must be 0 or more, is {}", self.tolerance)));
        let errors = [
            at_least_one("clusters", self.clusters.unwrap_or(1)),
            at_least_one("n_init", self.n_init),
            at_least_one("max_iter", self.max_iter),
            tolerance,
        ];
        errors.into_iter().flatten().collect()
    }

    fn request(&self) -> Request {
        Request::ALL_CPUS
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let mut embeddings = Embeddings::from_job(job, "embeddings")?;
        let clusters = self.clusters.unwrap_or_else(|| embeddings.num_classes());
        if clusters == 0 {
            let reason = "no sample has a label, so the number of clusters is unknown; set `clusters`";
            return Err(StageError::input("embeddings", reason));
        }
        if embeddings.len() < clusters {
            let reason = format!("{} samples cannot make {clusters} clusters", embeddings.len());
            return Err(StageError::input("embeddings", reason));
        }
        if self.normalise {
            rows::normalise(&mut embeddings.values, embeddings.dim);
        }
        let method =
            KMeans { clusters, n_init: self.n_init, max_iter: self.max_iter, tolerance: self.tolerance };
        let mut draws = Draws::named(job.seed(), "k-means");
        let found = method.fit(embeddings.rows(), &mut || draws.uniform());
        let labelled = embeddings.labels.iter().any(|&label| label >= 0);
        let assignment = Assignment {
            cluster: found.cluster.into_iter().map(i64::from).collect(),
            num_clusters: clusters,
            probabilities: None,
            labels: labelled.then_some(embeddings.labels),
            split: embeddings.split,
        };
        assignment.write(job.output("assignment"))
    }
}
