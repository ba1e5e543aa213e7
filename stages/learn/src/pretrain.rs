//! Pretraining of an encoder without labels.
//!
//! A method is a list of objectives in a shared training loop. It trains on the images of the train and unlabelled splits;
//! test images are never seen.

mod nnclr;
mod simclr;

use std::sync::Arc;

use ablate_data::{ImageSet, Views};
use ablate_stage::{ArtifactKind, FieldError, Job, Kin, Port, Preset, Request, Side, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::course::{STATE, write_curve};
use crate::device;
use crate::encoder::{Architecture, Encoder};
use crate::head::Mlp;
use crate::optimiser::Optimiser;
use crate::schedule::Schedule;
use crate::training::{Objective, Training};

/// Trains an encoder without labels, on the train and unlabelled splits; test images are never seen.
///
/// Reads `images`; writes the `encoder` and its learning `curve`, a row a step. A last, partial batch of an epoch is left
/// out. Images are normalised by the mean and standard deviation of their channels over the train split, or the unlabelled one
/// where there is none for training, and these travel with the encoder.
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
    /// How the two views of an image are drawn.
    #[serde(default)]
    pub views: Views,
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
    /// No training: the freshly drawn network, as a baseline. `epochs`, `batch`, `optimiser`, `schedule` and `views` are
    /// not used.
    Untrained,
}

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
    fn heads(&self) -> (Option<Mlp>, Option<Mlp>) {
        match self {
            Self::SimClr { projector, .. } => (Some(projector.clone()), None),
            Self::NnClr { projector, predictor, .. } => (Some(projector.clone()), Some(predictor.clone())),
            Self::Untrained => (None, None),
        }
    }

    /// What the network is trained for, if it is.
    fn objective(&self, seed: u64) -> Option<Box<dyn Objective>> {
        match *self {
            Self::SimClr { temperature, .. } => Some(Box::new(simclr::SimClr { temperature })),
            Self::NnClr { queue, temperature, ref projector, .. } => {
                Some(Box::new(nnclr::NnClr::new(queue, projector.output(), temperature, seed)))
            }
            Self::Untrained => None,
        }
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (projector, predictor) = self.heads();
        errors.extend(projector.iter().flat_map(|head| head.validate("method.projector")));
        errors.extend(predictor.iter().flat_map(|head| head.validate("method.predictor")));
        match *self {
            Self::SimClr { temperature, .. } | Self::NnClr { temperature, .. }
                if !(temperature > 0.0 && temperature.is_finite()) =>
            {
                let message = format!("must be above 0, is {temperature}");
                errors.push(FieldError::new("method.temperature", message));
            }
            Self::SimClr { .. } | Self::NnClr { .. } | Self::Untrained => {}
        }
        if let Self::NnClr { queue, projector, predictor, .. } = self {
            if !(1..=nnclr::MAX_QUEUE).contains(queue) {
                let message = format!("must be 1 to {}, is {queue}", nnclr::MAX_QUEUE);
                errors.push(FieldError::new("method.queue", message));
            }
            if projector.widths.last() != predictor.widths.last() {
                let message = "must end in as many dimensions as the projector, to be compared with it";
                errors.push(FieldError::new("method.predictor.widths", message));
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

    fn training(&self) -> Training {
        Training {
            kind: Self::KIND,
            epochs: self.epochs,
            batch: self.batch,
            optimiser: self.optimiser,
            schedule: self.schedule,
            views: self.views.augmentations(2),
        }
    }
}

impl Stage for Pretrain {
    const KIND: &'static str = "Pretrain";
    const REVISION: u32 = 3;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("images", ArtifactKind::Images)]
    }

    fn outputs(&self) -> Vec<Port> {
        let mut outputs = vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("curve", ArtifactKind::Curve),
        ];
        if self.can_be_continued() {
            outputs.push(Port::required(STATE, ArtifactKind::File));
        }
        outputs
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.method.validate();
        errors.extend(self.backbone.validate("backbone"));
        errors.extend(self.training().validate());
        errors.extend(self.views.validate("views"));
        errors
    }

    fn request(&self) -> Request {
        Request::TRAIN
    }

    fn kin(&self) -> Option<Kin> {
        let shorter = Kin { field: "epochs", side: Side::Below, output: STATE };
        self.can_be_continued().then_some(shorter)
    }

    fn presets() -> Vec<(&'static str, Vec<Preset>)> {
        vec![("views", Views::presets())]
    }

    fn preview(&self, job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError> {
        self.training().preview(job).map(Some)
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let device = device::open(job.device())?;
        let images = Arc::new(ImageSet::from_job(job, "images")?);
        let preprocess = images.channel_stats();
        let (projector, predictor) = self.method.heads();
        let architecture = Architecture {
            backbone: self.backbone,
            channels: images.channels(),
            projector,
            predictor,
            clusters: None,
        };
        let mut encoder = Encoder::new(architecture, preprocess, job.seed(), &device);
        let curve = match self.method.objective(job.seed()) {
            Some(mut objective) => self.training().run(job, &mut encoder, &mut *objective, &images)?,
            None => Vec::new(),
        };
        encoder.write(job.output("encoder"))?;
        write_curve(&curve, job.output("curve"))
    }
}
