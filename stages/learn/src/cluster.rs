//! The stage that puts each image of a data set into a cluster.

use std::sync::Arc;

use ablate_data::random::Draws;
use ablate_data::{ImageSet, Views};
use ablate_stage::{ArtifactKind, FieldError, Job, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{Assignment, Embeddings};
use crate::assign::by_head;
use crate::device;
use crate::encoder::{Encoder, Showing};
use crate::kmeans::KMeans;
use crate::rows;

/// Puts each sample into a cluster: of embeddings by k-means, with scikit-learn's seeding and stopping rule, or of images by the
/// cluster head of an encoder.
///
/// Samples of every split are clustered together, as the deep-clustering papers do; labels are passed on for
/// `ClusterEval` and used for nothing but the default number of clusters. Input `embeddings`, or for `Head` `encoder` and
/// `images`; output `assignment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// What clusters are made by. All other fields are of `KMeans`.
    pub method: Grouping,
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

/// What clusters are made by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Grouping {
    /// k-means.
    #[default]
    KMeans,
    /// The most probable cluster by the cluster head that was trained with the encoder (GCC, SelfLabel).
    Head {
        /// How an image is shown to the encoder.
        #[serde(default = "plain")]
        view: Views,
        /// Images computed at once.
        #[serde(default = "batch")]
        batch: usize,
    },
}

fn plain() -> Views {
    Views::PLAIN
}

fn batch() -> usize {
    256
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            method: Grouping::KMeans,
            clusters: None,
            n_init: 10,
            max_iter: 300,
            tolerance: 1e-4,
            normalise: true,
        }
    }
}

impl Stage for Cluster {
    const KIND: &'static str = "Cluster";
    const REVISION: u32 = 3;
    const SEEDED: bool = true;

    fn seeded(&self) -> bool {
        match &self.method {
            Grouping::KMeans => true,
            Grouping::Head { view, .. } => !matches!(view, Views::Weak { .. }),
        }
    }

    fn inputs(&self) -> Vec<Port> {
        match self.method {
            Grouping::KMeans => vec![Port::required("embeddings", ArtifactKind::Embeddings)],
            Grouping::Head { .. } => vec![
                Port::required("encoder", ArtifactKind::Encoder),
                Port::required("images", ArtifactKind::Images),
            ],
        }
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
        let mut errors: Vec<_> = errors.into_iter().flatten().collect();
        if let Grouping::Head { view, batch } = &self.method {
            errors.extend(view.validate("method.view"));
            errors.extend(at_least_one("method.batch", *batch));
        }
        errors
    }

    fn request(&self) -> Request {
        match self.method {
            Grouping::KMeans => Request::ALL_CPUS,
            Grouping::Head { .. } => Request::TRAIN,
        }
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        if let Grouping::Head { view, batch } = &self.method {
            let images = Arc::new(ImageSet::from_job(job, "images")?);
            let mut encoder = Encoder::from_job(job, "encoder", &device::open(job.device())?)?;
            encoder.check_images(&images, "encoder")?;
            let rows = (0..).take(images.len()).collect();
            let everything = Showing { images: &images, rows, view, batch: *batch };
            return by_head(&mut encoder, &everything, job)?.write(job.output("assignment"));
        }
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
