//! The stage that compares an assignment with the true classes.

use ablate_data::{Column, Columns};
use ablate_stage::{ArtifactKind, FieldError, Job, Metrics, Port, Request, Split, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Assignment;
use crate::metrics::Contingency;

/// Compares an assignment with the true classes.
///
/// Input `assignment`, and `images` where the assignment carries no labels. Output `metrics`: `acc` (Hungarian
/// matching), `nmi` (arithmetic mean of the entropies), `ari`, `fmi` (Fowlkes-Mallows), `f1` (macro F1 after matching),
/// `samples` and `clusters` (those that are not empty). Output `predictions`, a row a sample: `index` (row of the data set),
/// `split`, `label`, `cluster`, and as its `prediction` the class its cluster is matched to, −1 where there are more clusters than
/// classes and it is left over. Samples without a label are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterEval {
    /// The samples compared.
    #[serde(default)]
    pub split: Evaluated,
}

/// A choice of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Evaluated {
    /// Every labelled sample, as the deep-clustering papers report.
    #[default]
    All,
    /// The training split.
    Train,
    /// The held-out split.
    Test,
}

impl Evaluated {
    fn includes(self, split: u8) -> bool {
        match self {
            Self::All => true,
            Self::Train => split == Split::Train as u8,
            Self::Test => split == Split::Test as u8,
        }
    }
}

impl Stage for ClusterEval {
    const KIND: &'static str = "ClusterEval";
    const REVISION: u32 = 2;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::required("assignment", ArtifactKind::Assignment),
            Port::optional("images", ArtifactKind::Images),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("metrics", ArtifactKind::Metrics),
            Port::required("predictions", ArtifactKind::Predictions),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        Vec::new()
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let assignment = Assignment::from_job(job, "assignment")?;
        let labels = match (&assignment.labels, job.optional_input("images")) {
            (Some(labels), _) => labels.clone(),
            (None, Some(path)) => {
                let read = || ArtifactKind::Images.read_tensors(path)?.i64("labels").map(<[i64]>::to_vec);
                read().map_err(|error| StageError::input("images", error))?
            }
            (None, None) => {
                return Err(StageError::input(
                    "assignment",
                    "it carries no labels; wire `images` to give them",
                ));
            }
        };
        if labels.len() != assignment.cluster.len() {
            let (found, expected) = (labels.len(), assignment.cluster.len());
            let reason = format!("it has {found} labels for an assignment of {expected} samples");
            return Err(StageError::input("images", reason));
        }
        let is_chosen = |&at: &usize| labels[at] >= 0 && self.split.includes(assignment.split[at]);
        let chosen: Vec<usize> = (0..labels.len()).filter(is_chosen).collect();
        let [clusters, labels] = [&assignment.cluster, &labels]
            .map(|values| chosen.iter().map(|&at| values[at]).collect::<Vec<i64>>());
        if labels.is_empty() {
            let reason = format!("no sample of split {:?} has a label", self.split);
            return Err(StageError::input("assignment", reason));
        }
        let table = Contingency::new(&clusters, &labels);
        if table.side() > Contingency::MAX_SIDE {
            let (found, most) = (table.side(), Contingency::MAX_SIDE);
            let reason =
                format!("{found} clusters or classes hold samples, and at most {most} can be matched");
            return Err(StageError::input("assignment", reason));
        }
        let mut metrics = Metrics::default();
        metrics.insert("acc", table.accuracy());
        metrics.insert("nmi", table.nmi());
        metrics.insert("ari", table.ari());
        metrics.insert("fmi", table.fmi());
        metrics.insert("f1", table.macro_f1());
        metrics.insert("samples", labels.len() as f64);
        metrics.insert("clusters", table.num_clusters() as f64);
        metrics.write(job.output("metrics"))?;
        let matching = table.matching();
        let prediction = |cluster: &i64| matching.get(cluster).copied().unwrap_or(-1);
        let split = chosen.iter().map(|&at| i64::from(assignment.split[at]));
        Columns::new()
            .with("index", Column::I64(chosen.iter().map(|&at| at as i64).collect()))
            .with("split", Column::I64(split.collect()))
            .with("label", Column::I64(labels))
            .with("prediction", Column::I64(clusters.iter().map(prediction).collect()))
            .with("cluster", Column::I64(clusters))
            .write(job.output("predictions"))
    }
}
