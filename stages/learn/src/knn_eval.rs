//! The stage that classifies held-out samples by the vote of their nearest training samples.

use ablate_stage::{ArtifactKind, FieldError, Job, Metrics, Port, Request, Split, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Embeddings;
use crate::knn::{Neighbours, Similarity, nearest};
use crate::metrics::accuracy;
use crate::rows;

/// Classifies held-out samples by a weighted vote of their nearest training samples.
///
/// Neighbours vote for their class with weight exp(cosine / temperature) (Wu et al. 2018; the evaluation script of
/// DINO has `k` 10 to 200 and temperature 0.07, GCC's 100 and 0.1). Nothing is trained, so the result depends on the
/// embeddings alone. Input `embeddings`; output `metrics`: `accuracy` over the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KnnEval {
    /// Neighbours that vote.
    pub k: usize,
    /// The lower, the more the nearest decide.
    pub temperature: f32,
}

impl Default for KnnEval {
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// The class of each query by the weighted vote of its neighbours, exp(similarity / temperature) each; of classes with
/// equal votes, the lowest. `labels` are those of the base, 0 or more.
///
/// # Panics
/// When a label is negative, or a neighbour is not in the base.
pub fn vote(neighbours: &Neighbours, labels: &[i64], temperature: f32) -> Vec<i64> {
    let classes = labels.iter().max().map_or(0, |&last| last as usize + 1);
    let winner = |(index, similarity): (&[u32], &[f32])| {
        let mut votes = vec![0.0; classes];
        for (&neighbour, &near) in index.iter().zip(similarity) {
            // Relative to the nearest, so that no temperature overflows.
            let weight = (f64::from(near - similarity[0]) / f64::from(temperature)).exp();
            let class = usize::try_from(labels[neighbour as usize]).expect("the base is labelled");
            votes[class] += weight;
        }
        rows::largest(&votes) as i64
    };
    neighbours.rows().map(winner).collect()
}

impl Stage for KnnEval {
    const KIND: &'static str = "KnnEval";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("metrics", ArtifactKind::Metrics)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.k == 0 {
            errors.push(FieldError::new("k", "must be at least 1, is 0"));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            errors.push(FieldError::new("temperature", format!("must be above 0, is {}", self.temperature)));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ALL_CPUS
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let embeddings = Embeddings::from_job(job, "embeddings")?;
        let [bank, queries] = [embeddings.labelled(Split::Train)?, embeddings.labelled(Split::Test)?];
        let neighbours = nearest(bank.rows.view(), queries.rows.view(), self.k, Similarity::Cosine)
            .map_err(|error| StageError::input("embeddings", error))?;
        let predictions = vote(&neighbours, &bank.labels, self.temperature);
        let mut metrics = Metrics::default();
        metrics.insert("accuracy", accuracy(&predictions, &queries.labels));
        metrics.write(job.output("metrics"))
    }
}
