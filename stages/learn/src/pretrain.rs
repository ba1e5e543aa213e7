//! Pretraining of an encoder without labels.
//!
//! A method is a list of objectives in a shared training loop. It trains on the images of the train and unlabelled splits;
//! test images are never seen.

mod gcc;
mod learner;
mod nnclr;
mod recipe;
mod selection;
mod simclr;

use std::sync::Arc;

use ablate_data::{ChannelStats, ImageSet, Views};
use ablate_stage::{
    ArtifactKind, FieldError, Job, Kin, Metrics, Port, Preset, Request, Side, Stage, StageError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::course::{Curve, STATE};
use crate::device;
use crate::encoder::{Architecture, Encoder};
use crate::feedback::GraphFeedback;
use crate::head::Mlp;
use crate::optimiser::Optimiser;
use crate::schedule::Schedule;
use crate::training::{Curriculum, Training};
use crate::watch::Watch;
use learner::Learner;

pub use gcc::{Gcc, LossWeights};
pub use recipe::{Loss, Objective, Partner, Recipe, RgcForm};
pub use selection::Selection;

/// Trains an encoder without labels, on the train and unlabelled splits; test images are never seen.
///
/// Reads `images`; writes the `encoder` and its learning `curve`, a row a step: the loss, and of several objectives each by itself,
/// before its weight. What images are normalised by travels with the
/// encoder. Methods that make a graph, a `watch` and a selection by label also write `progress`, of columns `epoch`, `measure`, `value`:
/// `purity@1` and `purity@k` of each graph (the share of the neighbours in these places that have the image's class), `acc` of
/// each look at the cluster head; labels are read for that alone. A selection by label also writes `metrics`: `oracle` 1, and
/// the `epoch` and `acc` selected; `oracle` 0 where there are no labels to select by, and the network is the last. With `schedule: Constant` there is `state` too, from which a training of more epochs goes on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// What is learned from.
    pub method: Method,
    /// The network from images to features.
    #[serde(default)]
    pub backbone: Backbone,
    /// Passes over the images.
    #[serde(default = "epochs")]
    pub epochs: usize,
    /// Images a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// How parameters follow their gradients. The default is that of lightly's CIFAR-10 benchmarks, whose rate is
    /// 0.06 · `batch` / 128: with another `batch`, set `lr` too.
    #[serde(default = "optimiser")]
    pub optimiser: Optimiser,
    /// How the learning rate moves.
    #[serde(default = "schedule")]
    pub schedule: Schedule,
    /// How the two views of an image, and those of its neighbours, are drawn.
    #[serde(default)]
    pub views: Views,
    /// The mean and standard deviation channels are normalised by. Without, those over the train split, or the unlabelled one
    /// where there is none for training.
    #[serde(default)]
    pub normalise: Option<ChannelStats>,
    /// Epochs, from the first, in which unlabelled images are seen; in all where it is `None`. GCC leaves out those of STL-10
    /// after 51.
    #[serde(default)]
    pub unlabelled_epochs: Option<usize>,
    /// Which network is the result.
    #[serde(default)]
    pub select: Selection,
    /// Looking at the cluster head by the true labels on the way: a figure in the output `progress`, by which nothing is chosen.
    #[serde(default)]
    pub watch: Option<Watch>,
    /// The numbers computed with.
    #[serde(default)]
    pub precision: Precision,
}

/// A method of pretraining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Method {
    /// SimCLR (Chen et al. 2020): two views of an image are drawn together, and apart from every other image of the batch.
    SimClr {
        /// τ. The default is the paper's for CIFAR-10 (its appendix B.9).
        #[serde(default = "temperature")]
        temperature: f64,
        /// g, from features to z.
        #[serde(default = "simclr::projector")]
        projector: Mlp,
    },
    /// NNCLR (Dwibedi et al. 2021): as SimCLR, with one view replaced by its nearest neighbour among earlier ones.
    NnClr {
        /// Projections kept as the support set Q.
        #[serde(default = "nnclr::queue")]
        queue: usize,
        /// τ. The default is that of lightly's implementation; the paper uses 0.1.
        #[serde(default = "temperature")]
        temperature: f64,
        /// g, from features to z. The default is lightly's for CIFAR-10.
        #[serde(default = "nnclr::projector")]
        projector: Mlp,
        /// q, from z to p.
        #[serde(default = "nnclr::predictor")]
        predictor: Mlp,
    },
    /// GCC (Zhong et al. 2021): first as SimCLR; then images are drawn to their neighbours in a graph of the network's own
    /// features, and clusters are learned on which neighbours agree. The clusters are those of the cluster head:
    /// `Cluster(method: Head())`. A last, partial batch of an epoch is kept. Defaults are the program's
    /// (`mynameischaos/GCC` @ 530c11b), which go with 1000 epochs, `Sgd(lr: 0.4, weight_decay: 0.0001)` and
    /// `Cosine(final_lr: 0.0004, every: Epoch)`.
    Gcc(Gcc),
    /// Objectives of one's own, all at once.
    Custom {
        /// What is learned from.
        objectives: Vec<Objective>,
        /// From features to z; without, z is the features.
        #[serde(default)]
        projector: Option<Mlp>,
        /// From z to predictions.
        #[serde(default)]
        predictor: Option<Mlp>,
        /// Number of clusters, where an objective has them; without one, the number of classes.
        #[serde(default)]
        clusters: Option<usize>,
        /// Whether both views of the images go through the network as one batch, so that batch norms see both.
        #[serde(default = "on")]
        together: bool,
        /// Whether an epoch ends before a batch that would be smaller than the others.
        #[serde(default)]
        drop_last: bool,
        /// The graph that objectives are about.
        #[serde(default)]
        graph: Option<GraphFeedback>,
    },
    /// No training: the freshly drawn network, as a baseline. `epochs`, `batch`, `optimiser`, `schedule` and `views` are
    /// not used.
    Untrained,
}

/// The outputs of figures taken on the way, and of a selection by label.
const PROGRESS: &str = "progress";
const METRICS: &str = "metrics";

/// The numbers a network computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
}

fn temperature() -> f64 {
    0.5
}

fn on() -> bool {
    true
}

fn epochs() -> usize {
    200
}

fn batch() -> usize {
    256
}

fn optimiser() -> Optimiser {
    Optimiser::Sgd { lr: 0.12, momentum: 0.9, weight_decay: 5e-4, nesterov: false }
}

fn schedule() -> Schedule {
    Schedule::COSINE
}

impl Method {
    /// What the network is trained for, if it is.
    pub fn recipe(&self) -> Option<Recipe> {
        match self {
            Self::SimClr { temperature, projector } => Some(simclr::recipe(*temperature, projector)),
            Self::NnClr { queue, temperature, projector, predictor } => {
                Some(nnclr::recipe(*temperature, *queue, projector, predictor))
            }
            Self::Gcc(gcc) => Some(gcc.recipe()),
            Self::Custom { objectives, projector, predictor, clusters, together, drop_last, graph } => {
                Some(Recipe {
                    projector: projector.clone(),
                    predictor: predictor.clone(),
                    clusters: *clusters,
                    together: *together,
                    drop_last: *drop_last,
                    objectives: objectives.clone(),
                    graph: *graph,
                    misplace_from: None,
                })
            }
            Self::Untrained => None,
        }
    }

    fn validate(&self, epochs: usize) -> Vec<FieldError> {
        let mut errors = self.recipe().map_or_else(Vec::new, |recipe| recipe.validate(epochs));
        let switch = match self {
            Self::Gcc(Gcc { pretext_epochs: None, .. }) => "method.graph.start",
            _ => "method.pretext_epochs",
        };
        match self {
            Self::Custom { .. } | Self::Untrained => {}
            // A preset's fields have the meanings, and so the bounds, of the objectives they become, under other names.
            Self::SimClr { .. } | Self::NnClr { .. } | Self::Gcc(_) => {
                for error in &mut errors {
                    let objective = error.path.strip_prefix("method.objectives[");
                    let field = match objective.and_then(|rest| rest.split_once("].")) {
                        Some((_, "loss.temperature")) => "method.temperature",
                        Some((_, "loss.queue")) => "method.queue",
                        Some((_, "weight")) => "method.weights",
                        Some((_, "from" | "until")) => switch,
                        Some(_) | None => continue,
                    };
                    field.clone_into(&mut error.path);
                }
                errors.dedup_by(|a, b| a.path == b.path);
            }
        }
        errors
    }
}

impl Pretrain {
    /// Whether its first epochs are those of a longer training: nothing in them depends on how many there are.
    fn can_be_continued(&self) -> bool {
        matches!(self.schedule, Schedule::Constant) && !matches!(self.method, Method::Untrained)
    }

    fn training(&self, drop_last: bool) -> Training {
        Training {
            kind: Self::KIND,
            epochs: self.epochs,
            batch: self.batch,
            optimiser: self.optimiser,
            schedule: self.schedule,
            views: self.views.augmentations(2),
            drop_last,
            unlabelled_epochs: self.unlabelled_epochs,
        }
    }

    /// How images are prepared for the network.
    fn preprocess(&self, images: &ImageSet) -> Result<ChannelStats, StageError> {
        let Some(stats) = &self.normalise else { return Ok(images.channel_stats()) };
        let (channels, given) = (images.channels(), stats.mean.len());
        if channels != given {
            let reason = format!("its images have {channels} channels, and `normalise` is for {given}");
            return Err(StageError::input("images", reason));
        }
        Ok(stats.clone())
    }

    /// The network the recipe needs for these images.
    fn architecture(&self, recipe: Option<&Recipe>, images: &ImageSet) -> Result<Architecture, StageError> {
        let clusters = recipe.filter(|recipe| recipe.has_clusters());
        let clusters = clusters.map(|recipe| recipe.clusters.unwrap_or(images.classes.len()));
        if clusters.is_some_and(|clusters| clusters < 2) {
            let reason =
                "it has fewer than two classes, so the number of clusters is unknown; set `clusters`";
            return Err(StageError::input("images", reason));
        }
        Ok(Architecture {
            backbone: self.backbone,
            channels: images.channels(),
            projector: recipe.and_then(|recipe| recipe.projector.clone()),
            predictor: recipe.and_then(|recipe| recipe.predictor.clone()),
            clusters,
        })
    }

    /// Whether figures are taken on the way.
    fn is_measured(&self) -> bool {
        let graph = self.method.recipe().is_some_and(|recipe| recipe.graph.is_some());
        graph || self.select.is_oracle() || self.watch.is_some()
    }
}

impl Stage for Pretrain {
    const KIND: &'static str = "Pretrain";
    const REVISION: u32 = 4;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("images", ArtifactKind::Images)]
    }

    fn outputs(&self) -> Vec<Port> {
        let mut outputs = vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("curve", ArtifactKind::Curve),
        ];
        if self.is_measured() {
            outputs.push(Port::required(PROGRESS, ArtifactKind::Curve));
        }
        if self.select.is_oracle() {
            outputs.push(Port::required(METRICS, ArtifactKind::Metrics));
        }
        if self.can_be_continued() {
            outputs.push(Port::required(STATE, ArtifactKind::File));
        }
        outputs
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.method.validate(self.epochs);
        errors.extend(self.backbone.validate("backbone"));
        errors.extend(self.training(false).validate());
        errors.extend(self.views.validate("views"));
        errors.extend(self.select.validate("select", self.epochs));
        errors.extend(self.watch.iter().flat_map(|watch| watch.validate("watch", self.epochs)));
        if let Some(ChannelStats { mean, std }) = &self.normalise {
            let good =
                mean.iter().chain(std).all(|value| value.is_finite()) && std.iter().all(|&std| std > 0.0);
            if mean.is_empty() || mean.len() != std.len() || !good {
                let message = "must be a mean and a standard deviation above 0 for each channel";
                errors.push(FieldError::new("normalise", message));
            }
        }
        let looks = [("select", self.select.is_oracle()), ("watch", self.watch.is_some())];
        if !self.method.recipe().is_some_and(|recipe| recipe.has_clusters()) {
            let needs = |field| FieldError::new(field, "needs a method that learns clusters, as `Gcc()`");
            errors.extend(looks.iter().filter(|(_, looks)| *looks).map(|(field, _)| needs(field)));
        }
        if looks.iter().all(|(_, looks)| *looks) {
            errors.push(FieldError::new("watch", "goes with `Last`: to select by labels is to look at them"));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::TRAIN
    }

    fn passes(&self) -> f64 {
        let Some(recipe) = self.method.recipe() else { return 1.0 };
        // Some epochs are enough for a guess, however many there are.
        let asked = self.epochs.clamp(1, 1000);
        let views: usize = (0..asked).map(|at| recipe.needs(at * (self.epochs / asked)).views()).sum();
        (views * self.epochs.max(1)) as f64 / asked as f64
    }

    fn kin(&self) -> Option<Kin> {
        let shorter = Kin { field: "epochs", side: Side::Below, output: STATE };
        self.can_be_continued().then_some(shorter)
    }

    fn presets() -> Vec<(&'static str, Vec<Preset>)> {
        vec![("views", Views::presets())]
    }

    fn preview(&self, job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError> {
        self.training(false).preview(job).map(Some)
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let device = device::open(job.device())?;
        let images = Arc::new(ImageSet::from_job(job, "images")?);
        let recipe = self.method.recipe();
        let architecture = self.architecture(recipe.as_ref(), &images)?;
        let mut encoder = Encoder::new(architecture, self.preprocess(&images)?, job.seed(), &device);
        let Some(recipe) = recipe else {
            encoder.write(job.output("encoder"))?;
            return Curve::default().write(job.output("curve"));
        };
        let training = self.training(recipe.drop_last);
        let curriculum = Curriculum::new(&images, self.unlabelled_epochs)?;
        let augmentation = self.views.augmentations(1).remove(0);
        let looks = (self.select.watch().or(self.watch.as_ref()).cloned(), self.select.is_oracle());
        let mut learner =
            Learner::new(recipe, &encoder, &images, curriculum, augmentation, looks, job.seed());
        let curve = training.run(job, &mut encoder, &mut learner, &images)?;
        let last_purity = learner.last_purity();
        if let Some(purity) = last_purity {
            job.log(format!("{:.1} % of the last graph's neighbours share a class", 100.0 * purity));
        }
        if let Some(path) = job.optional_output(PROGRESS) {
            learner.measured().columns().write(path)?;
        }
        let selected = learner.select(&mut encoder);
        if self.select.is_oracle() && selected.is_none() {
            job.log("there are no labels to select by, or too many classes: the last network is the result");
        }
        if let Some(path) = job.optional_output(METRICS) {
            let mut metrics = Metrics::default();
            metrics.insert("oracle", if selected.is_some() { 1.0 } else { 0.0 });
            if let Some(best) = selected {
                metrics.insert("epoch", best.epoch as f64);
                metrics.insert("acc", best.acc);
            }
            metrics.write(path)?;
        }
        encoder.write(job.output("encoder"))?;
        curve.write(job.output("curve"))
    }
}
