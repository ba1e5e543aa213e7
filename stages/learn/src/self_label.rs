//! Self-labelling: a clustering that teaches itself from its confident predictions.
//!
//! SCAN's third step (Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to classify images
//! without labels", ECCV 2020, section 2.3), as GCC uses it (Zhong et al., "Graph contrastive clustering", ICCV 2021).

use std::sync::Arc;

use ablate_data::{ImageSet, Views};
use ablate_stage::{ArtifactKind, BadArtifact, FieldError, Job, Port, Request, Stage, StageError, Tensors};
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, softmax};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Assignment;
use crate::device;
use crate::ema;
use crate::encoder::Encoder;
use crate::layers::Linear;
use crate::losses::confidence_cross_entropy;
use crate::optimiser::{Optimiser, OptimiserState};
use crate::schedule::Schedule;
use crate::training::{Objective, Pass, Term, Training, seen_rows, write_curve};
use crate::weights::{Mode, Weights, host};

/// Trains backbone and cluster head on their own confident predictions, on the train and unlabelled splits; test images
/// are assigned to clusters at the end and not trained on.
///
/// Reads the `encoder`, the `images`, and the initial clusters `assignment`, which an encoder without a cluster head needs:
/// a head is then fitted to them on the frozen features first. Writes the `encoder`, the `assignment` of every image with
/// its probabilities, and the learning `curve`, where a step without any confident image has the loss 0 and changes nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelfLabel {
    /// The probability above which a prediction counts as confident. The default is SCAN's; GCC uses 0.98.
    #[serde(default = "threshold")]
    pub threshold: f64,
    /// Whether clusters weigh the same, however many confident images each has.
    #[serde(default = "balance")]
    pub balance: bool,
    /// Passes over the images.
    #[serde(default = "epochs")]
    pub epochs: usize,
    /// Images a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// How parameters follow their gradients.
    #[serde(default = "optimiser")]
    pub optimiser: Optimiser,
    /// How the learning rate moves.
    #[serde(default = "schedule")]
    pub schedule: Schedule,
    /// The view predictions are made on.
    #[serde(default = "weak")]
    pub weak: Views,
    /// The view they are learned on.
    #[serde(default = "strong")]
    pub strong: Views,
    /// α: after each step, parameters are replaced by their moving average, shadow ← α shadow + (1 − α) parameter.
    #[serde(default)]
    pub ema: Option<f64>,
}

fn threshold() -> f64 {
    0.99
}

fn balance() -> bool {
    true
}

fn epochs() -> usize {
    200
}

fn batch() -> usize {
    1000
}

fn optimiser() -> Optimiser {
    Optimiser::Adam { lr: 1e-4, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 1e-4 }
}

fn weak() -> Views {
    Views::Weak { resize: None, crop: None }
}

fn strong() -> Views {
    Views::Strong { size: None, ops: 4, cutout: 16 }
}

fn schedule() -> Schedule {
    Schedule::Constant
}

impl Stage for SelfLabel {
    const KIND: &'static str = "SelfLabel";
    const REVISION: u32 = 1;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("images", ArtifactKind::Images),
            Port::optional("assignment", ArtifactKind::Assignment),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("assignment", ArtifactKind::Assignment),
            Port::required("curve", ArtifactKind::Curve),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.optimiser.validate("optimiser");
        errors.extend(self.schedule.validate("schedule", self.epochs));
        errors.extend(self.weak.validate("weak"));
        errors.extend(self.strong.validate("strong"));
        if !(0.0..1.0).contains(&self.threshold) {
            errors.push(FieldError::new("threshold", format!("must be in [0, 1), is {}", self.threshold)));
        }
        if self.batch < 2 {
            errors.push(FieldError::new("batch", format!("must be at least 2, is {}", self.batch)));
        }
        if let Some(alpha) = self.ema.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            errors.push(FieldError::new("ema", format!("must be in [0, 1], is {alpha}")));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::TRAIN
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let device = device::open(job.device())?;
        let images = Arc::new(ImageSet::from_job(job, "images")?);
        let encoder = Encoder::from_job(job, "encoder", &device)?;
        encoder.check_images(&images, "encoder")?;
        let mut encoder = match (job.optional_input("assignment"), encoder.architecture().clusters) {
            (Some(_), None) => {
                fit_head(encoder, &images, &Assignment::from_job(job, "assignment")?, job.seed())?
            }
            (_, Some(_)) => encoder.without_projector(),
            (None, None) => {
                let reason = "it has no cluster head; wire the clusters to begin with to `assignment`";
                return Err(StageError::input("encoder", reason));
            }
        };
        let objective = SelfLabelling {
            threshold: self.threshold,
            balance: self.balance,
            shadow: self.ema.map(|alpha| (alpha, encoder.weights.clone())),
        };
        let mut terms = [Term { objective: Box::new(objective), weight: 1.0, epochs: 0..self.epochs }];
        let training = Training {
            epochs: self.epochs,
            batch: self.batch,
            optimiser: self.optimiser,
            schedule: self.schedule,
            views: [self.weak.augmentations(1), self.strong.augmentations(1)].concat(),
        };
        let curve = training.run(job, &mut encoder, &mut terms, &images)?;
        let idle = curve.iter().filter(|point| point.loss == 0.0).count();
        if idle > 0 {
            job.log(format!(
                "{idle} of {} steps had no image above the threshold {}",
                curve.len(),
                self.threshold
            ));
        }
        encoder.write(job.output("encoder"))?;
        assign(&mut encoder, &images, self.batch).write(job.output("assignment"))?;
        write_curve(&curve, job.output("curve"))
    }
}

/// The cluster of every image by the encoder's cluster head, with probabilities.
fn assign(encoder: &mut Encoder, images: &ImageSet, batch: usize) -> Assignment {
    let num_clusters = encoder.architecture().clusters.expect("only encoders with a cluster head get here");
    let rows: Vec<u32> = (0..).take(images.len()).collect();
    let mut probabilities = Vec::with_capacity(images.len() * num_clusters);
    for rows in rows.chunks(batch) {
        let h = encoder.features(encoder.prepare(images, rows), Mode::Evaluate);
        probabilities.extend(host(softmax(encoder.cluster(h, Mode::Evaluate), 1)));
    }
    let most = |row: &[f32]| -> i64 {
        let (cluster, _) = (0..).zip(row).reduce(|a, b| if b.1 > a.1 { b } else { a }).expect("K is above 0");
        cluster
    };
    Assignment {
        cluster: probabilities.chunks_exact(num_clusters).map(most).collect(),
        num_clusters,
        probabilities: Some(probabilities),
        labels: Some(images.labels.clone()),
        split: images.split.iter().map(|&split| split as u8).collect(),
    }
}

/// Steps and learning rate of fitting a cluster head; a linear layer on standardised features is convex, and converged by
/// then.
const FIT: (usize, f64) = (200, 0.01);

/// The encoder with a cluster head that predicts `clusters` from the frozen features: softmax regression on the features of
/// the images training may see, standardised, by full-batch Adam. The standardisation is folded into the head.
fn fit_head(
    encoder: Encoder,
    images: &ImageSet,
    clusters: &Assignment,
    seed: u64,
) -> Result<Encoder, StageError> {
    if clusters.cluster.len() != images.len() {
        let reason = format!("it has {} rows for {} images", clusters.cluster.len(), images.len());
        return Err(StageError::input("assignment", reason));
    }
    let mut encoder = encoder.with_cluster_head(clusters.num_clusters, seed);
    let rows = seen_rows(images);
    let features: Vec<_> = rows
        .chunks(256)
        .map(|rows| encoder.features(encoder.prepare(images, rows), Mode::Evaluate))
        .collect();
    let features = Tensor::cat(features, 0);
    let [n, dim] = features.dims();
    let mean = features.clone().mean_dim(0);
    let std = (features.clone() - mean.clone()).powi_scalar(2).mean_dim(0).sqrt().clamp_min(1e-6);
    let x = (features - mean.clone()) / std.clone();
    let mut share = vec![0.0; n * clusters.num_clusters];
    for (place, &row) in rows.iter().enumerate() {
        share[place * clusters.num_clusters + clusters.cluster[row as usize] as usize] = 1.0 / n as f32;
    }
    let share = burn::tensor::TensorData::new(share, [n, clusters.num_clusters]);
    let share = Tensor::<2>::from_data(share, encoder.weights.device());

    let head = Linear { name: "head".to_owned(), input: dim, output: clusters.num_clusters, bias: true };
    let mut weights = Weights::new(encoder.weights.device());
    head.initialise(&mut weights, seed);
    let (steps, lr) = FIT;
    let optimiser = Optimiser::Adam { lr, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0 };
    let mut state = OptimiserState::new(optimiser);
    for _ in 0..steps {
        let log_probability = log_softmax(head.forward(&weights, x.clone(), Mode::Train), 1);
        let loss = (log_probability * share.clone()).sum_dim(1).sum().neg();
        state.step(&mut weights, loss.backward(), lr);
    }
    let weight = weights.tensor::<2>("head.weight", Mode::Evaluate) / std;
    let bias =
        weights.tensor::<1>("head.bias", Mode::Evaluate) - (weight.clone() * mean).sum_dim(1).flatten(0, 1);
    for (name, parameter) in encoder.weights.parameters_mut() {
        match name {
            "cluster_head.weight" => parameter.set(weight.clone().flatten(0, 1)),
            "cluster_head.bias" => parameter.set(bias.clone()),
            _ => {}
        }
    }
    Ok(encoder)
}

/// Predictions on the weak view, by batch statistics and without gradients, label the strong view.
struct SelfLabelling {
    threshold: f64,
    balance: bool,
    /// α and the averaged parameters.
    shadow: Option<(f64, Weights)>,
}

impl Objective for SelfLabelling {
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>> {
        let [weak, strong] = pass.views else { unreachable!("the stage asks for two views") };
        let mut logits = |view: &Tensor<4>, mode| {
            let h = pass.encoder.features(view.clone(), mode);
            pass.encoder.cluster(h, mode)
        };
        let weak = logits(weak, Mode::Observe);
        let strong = logits(strong, Mode::Train);
        confidence_cross_entropy(weak, strong, self.threshold, self.balance)
    }

    fn after_step(&mut self, encoder: &mut Encoder) {
        if let Some((alpha, shadow)) = &mut self.shadow {
            ema::update(shadow, &encoder.weights, *alpha);
            ema::update(&mut encoder.weights, shadow, 0.0);
        }
    }

    fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        match &self.shadow {
            Some((_, shadow)) => shadow.store(&format!("{prefix}shadow/"), tensors),
            None => tensors,
        }
    }

    fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        match &mut self.shadow {
            Some((_, shadow)) => shadow.load(&format!("{prefix}shadow/"), tensors),
            None => Ok(()),
        }
    }
}
