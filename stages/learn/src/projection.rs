//! The stage that places the samples of a data set in the plane, to look at them.

mod pca;
mod tsne;
mod umap;

use ablate_data::random::Draws;
use ablate_data::{Column, Columns};
use ablate_stage::{ArtifactKind, FieldError, Job, Metrics, Port, Progress, Request, Stage, StageError};
use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use pca::principal_components;
pub use tsne::{TSne, t_sne};
pub use umap::{Umap, umap};

use crate::artifacts::{Assignment, Embeddings};
use crate::knn::{self, Neighbours, Similarity};
use crate::rows;

/// Places the samples of a data set in the plane, so that a report can draw them.
///
/// Input `embeddings`, and `assignment` where clusters are to be seen too. Output `points`: a row a sample shown, with its `row`
/// in the data set, `split`, `label` (−1 where unknown), `cluster` where there is an assignment, and its place `x`, `y`. Output
/// `metrics`: `kept@10`, the share of each sample's ten nearest neighbours that are among its ten nearest in the plane. A picture
/// that keeps few says little of the embeddings. Of the layouts, `Umap` alone draws by the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Projection {
    /// How places are found.
    pub layout: Layout,
    /// Most samples shown: those at equal distances in the data set's order.
    pub samples: usize,
    /// Whether vectors are first scaled to length one.
    pub normalise: bool,
}

/// How places are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Layout {
    /// The two directions of most variance.
    Pca,
    /// t-SNE (van der Maaten and Hinton 2008), by Barnes and Hut's approximation (van der Maaten 2014), from the principal
    /// components, with scikit-learn's schedule.
    TSne {
        /// How many neighbours a sample has, in effect.
        #[serde(default = "perplexity")]
        perplexity: f64,
        /// Steps of gradient descent.
        #[serde(default = "epochs")]
        epochs: usize,
    },
    /// UMAP (McInnes, Healy and Melville 2018), from the principal components.
    Umap {
        /// Neighbours of a sample, itself among them.
        #[serde(default = "neighbours")]
        neighbours: usize,
        /// How near two samples may come in the plane, where the spread of all is 1.
        #[serde(default = "min_dist")]
        min_dist: f64,
        /// Passes over the graph.
        #[serde(default = "passes")]
        epochs: usize,
    },
}

/// scikit-learn's.
fn perplexity() -> f64 {
    30.0
}

/// scikit-learn's.
fn epochs() -> usize {
    1000
}

/// umap-learn's.
fn neighbours() -> usize {
    15
}

/// umap-learn's.
fn min_dist() -> f64 {
    0.1
}

/// umap-learn's, of up to 10,000 samples.
fn passes() -> usize {
    500
}

/// Neighbours that are looked for in the plane.
const KEPT: usize = 10;

/// The most samples: a picture of more shows nothing more.
const MAX_SAMPLES: usize = 50_000;

impl Default for Projection {
    fn default() -> Self {
        let layout = Layout::TSne { perplexity: perplexity(), epochs: epochs() };
        Self { layout, samples: 3000, normalise: false }
    }
}

impl Stage for Projection {
    const KIND: &'static str = "Projection";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn seeded(&self) -> bool {
        match self.layout {
            Layout::Pca | Layout::TSne { .. } => false,
            Layout::Umap { .. } => true,
        }
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::required("embeddings", ArtifactKind::Embeddings),
            Port::optional("assignment", ArtifactKind::Assignment),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("points", ArtifactKind::Points), Port::required("metrics", ArtifactKind::Metrics)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check = |field: &str, right: bool, must: &str, value: &dyn std::fmt::Display| {
            if !right {
                errors.push(FieldError::new(field, format!("must be {must}, is {value}")));
            }
        };
        let samples = (KEPT + 2..=MAX_SAMPLES).contains(&self.samples);
        check("samples", samples, &format!("{} to {MAX_SAMPLES}", KEPT + 2), &self.samples);
        match self.layout {
            Layout::Pca => {}
            Layout::TSne { perplexity, epochs } => {
                check("layout.perplexity", (2.0..=1000.0).contains(&perplexity), "2 to 1000", &perplexity);
                check("layout.epochs", epochs > 0, "at least 1", &epochs);
            }
            Layout::Umap { neighbours, min_dist, epochs } => {
                check("layout.neighbours", (2..=1000).contains(&neighbours), "2 to 1000", &neighbours);
                check("layout.min_dist", (0.0..1.0).contains(&min_dist), "at least 0 and below 1", &min_dist);
                check("layout.epochs", epochs > 0, "at least 1", &epochs);
            }
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let embeddings = Embeddings::from_job(job, "embeddings")?;
        let clusters = match job.optional_input("assignment") {
            Some(_) => Some(Assignment::from_job(job, "assignment")?.cluster),
            None => None,
        };
        if let Some(clusters) = clusters.as_ref().filter(|clusters| clusters.len() != embeddings.len()) {
            let reason = format!("it has {} rows for {} embeddings", clusters.len(), embeddings.len());
            return Err(StageError::input("assignment", reason));
        }
        let shown = self.shown(embeddings.len());
        let mut points = embeddings.rows().select(Axis(0), &shown);
        drop(embeddings.values);
        if self.normalise {
            let dim = points.ncols();
            rows::normalise(points.as_slice_mut().expect("a selection is in order"), dim);
        }
        let places = self.place(&points, job)?;
        let of = |column: &[i64]| Column::I64(shown.iter().map(|&row| column[row]).collect());
        let along = |axis: usize| Column::F64(places.column(axis).iter().map(|&v| f64::from(v)).collect());
        let split: Vec<i64> = embeddings.split.iter().map(|&split| i64::from(split)).collect();
        let mut table = Columns::new()
            .with("row", Column::I64(shown.iter().map(|&row| row as i64).collect()))
            .with("split", of(&split))
            .with("label", of(&embeddings.labels));
        if let Some(clusters) = &clusters {
            table = table.with("cluster", of(clusters));
        }
        table.with("x", along(0)).with("y", along(1)).write(job.output("points"))?;
        let mut metrics = Metrics::default();
        metrics.insert(format!("kept@{KEPT}"), kept(&points, &places)?);
        metrics.write(job.output("metrics"))
    }
}

impl Projection {
    /// The rows that are shown of `count`, ascending.
    fn shown(&self, count: usize) -> Vec<usize> {
        let shown = self.samples.min(count);
        (0..shown).map(|at| at * count / shown).collect()
    }

    fn place(&self, points: &Array2<f32>, job: &mut Job<'_>) -> Result<Array2<f32>, StageError> {
        let (count, dim) = points.dim();
        if count < KEPT + 2 || dim < 2 {
            let reason = format!("{count} samples of {dim} dimensions are too few to be placed");
            return Err(StageError::input("embeddings", reason));
        }
        let start = principal_components(points.view(), 2);
        match self.layout {
            Layout::Pca => Ok(start),
            Layout::TSne { perplexity, epochs } => {
                let most = (count - 1) as f64 / 3.0;
                if perplexity > most {
                    let reason = format!(
                        "{count} samples allow a perplexity of {most:.0}, and {perplexity} is asked for; lower it"
                    );
                    return Err(StageError::input("embeddings", reason));
                }
                let near = neighbours_of(points, ((3.0 * perplexity) as usize + 1).min(count - 1))?;
                let mut done = |epoch| job.progress(Progress::of(epoch as u64, epochs as u64, "step"));
                Ok(t_sne(&near, &start, TSne { perplexity, epochs }, &mut done))
            }
            Layout::Umap { neighbours, min_dist, epochs } => {
                let near = neighbours_of(points, (neighbours - 1).min(count - 1))?;
                let mut draws = Draws::named(job.seed(), "projection");
                let mut done = |epoch| job.progress(Progress::of(epoch as u64, epochs as u64, "pass"));
                Ok(umap(&near, &start, Umap { min_dist, epochs }, &mut draws, &mut done))
            }
        }
    }
}

fn neighbours_of(points: &Array2<f32>, k: usize) -> Result<Neighbours, StageError> {
    knn::nearest_others(points.view(), k, Similarity::L2)
        .map_err(|error| StageError::input("embeddings", error))
}

/// The share of the nearest neighbours of each point `[N, D]` that are nearest to it by their places `[N, 2]` too; none of points that
/// are all one.
fn kept(points: &Array2<f32>, places: &Array2<f32>) -> Result<f64, StageError> {
    let (before, after) = (neighbours_of(points, KEPT)?, neighbours_of(places, KEPT)?);
    if points.rows().into_iter().all(|row| row == points.row(0)) {
        return Ok(0.0);
    }
    let pairs = before.rows().zip(after.rows());
    let kept: usize = pairs.map(|((a, _), (b, _))| a.iter().filter(|near| b.contains(near)).count()).sum();
    Ok(kept as f64 / (points.nrows() * KEPT) as f64)
}
