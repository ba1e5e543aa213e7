//! Self-labelling: a clustering that teaches itself from its confident predictions.
//!
//! SCAN's third step (Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to classify images
//! without labels", ECCV 2020, section 2.3), as GCC uses it (Zhong et al., "Graph contrastive clustering", ICCV 2021).

use std::sync::Arc;

use ablate_data::{ImageSet, Views};
use ablate_stage::{
    ArtifactKind, BadArtifact, FieldError, Job, Metrics, Port, Preset, Request, Split, Stage, StageError,
    Tensors,
};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Assignment;
use crate::assign::by_head;
use crate::device;
use crate::ema;
use crate::encoder::{Encoder, Showing};
use crate::layers::Linear;
use crate::losses::confidence_cross_entropy;
use crate::measured::{Measure, Measured};
use crate::optimiser::{Optimiser, OptimiserState};
use crate::rows::upload;
use crate::schedule::Schedule;
use crate::training::{Curriculum, Losses, Pass, Task, Training, seen_rows};
use crate::watch::Watch;
use crate::weights::{Mode, Weights};

/// The output of figures taken on the way.
const PROGRESS: &str = "progress";

/// Trains backbone and cluster head on their own confident predictions, on the train and unlabelled splits; test images
/// are assigned to clusters at the end and not trained on.
///
/// Reads the `encoder`, the `images`, and the initial clusters `assignment`: a cluster head is fitted to them on the frozen
/// features first, and takes the place of one the encoder has. Without an `assignment`, training goes on from the encoder's
/// own head. Writes the `encoder`, the `assignment` of every image, by its weak view, with probabilities, the learning
/// `curve`, which also tells the share of `confident` images in each step, and `metrics`: `transductive` 1 where there are test images
/// and the initial clusters were wired, which may have been found with them. A step without any confident image has the loss 0 and
/// moves no parameter; the running statistics of batch norms move at each step, as in SCAN's program. Images that do not fill a last
/// batch wait for another epoch, as there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelfLabel {
    /// The probability above which a prediction counts as confident. The default is SCAN's; GCC uses 0.98.
    pub threshold: f64,
    /// Whether clusters weigh the same, however many confident images each has.
    pub balance: bool,
    /// Passes over the images. The default is SCAN's and GCC's for CIFAR.
    pub epochs: usize,
    /// Images a step. The default is SCAN's and GCC's for CIFAR.
    pub batch: usize,
    /// How parameters follow their gradients. The default is SCAN's; GCC has a rate of 5e-5.
    pub optimiser: Optimiser,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// The view predictions are made on, while training and in the end.
    pub weak: Views,
    /// The view they are learned on.
    pub strong: Views,
    /// α: after each step, parameters are replaced by their moving average, shadow ← α shadow + (1 − α) parameter. SCAN's
    /// program, whose default is 0.999, also sets the running statistics back to their initial values each time; here they go
    /// on, since statistics of other parameters normalise nothing.
    pub ema: Option<f64>,
    /// Epochs, from the first, in which unlabelled images are trained on; in all where it is `None`. GCC has 0 on STL-10.
    pub unlabelled_epochs: Option<usize>,
    /// Looking at the cluster head by the true labels on the way: a figure in the output `progress`, by which nothing is chosen.
    pub watch: Option<Watch>,
}

impl Default for SelfLabel {
    fn default() -> Self {
        Self {
            threshold: 0.99,
            balance: true,
            epochs: 200,
            batch: 1000,
            optimiser: Optimiser::Adam { lr: 1e-4, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 1e-4 },
            schedule: Schedule::Constant,
            weak: Views::PLAIN,
            strong: Views::Strong { size: None, ops: 4, cutout: 16 },
            ema: None,
            unlabelled_epochs: None,
            watch: None,
        }
    }
}

impl Stage for SelfLabel {
    const KIND: &'static str = "SelfLabel";
    const REVISION: u32 = 4;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("images", ArtifactKind::Images),
            Port::optional("assignment", ArtifactKind::Assignment),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let mut outputs = vec![
            Port::required("encoder", ArtifactKind::Encoder),
            Port::required("assignment", ArtifactKind::Assignment),
            Port::required("curve", ArtifactKind::Curve),
            Port::required("metrics", ArtifactKind::Metrics),
        ];
        if self.watch.is_some() {
            outputs.push(Port::required(PROGRESS, ArtifactKind::Curve));
        }
        outputs
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.training().validate();
        errors.extend(self.weak.validate("weak"));
        errors.extend(self.strong.validate("strong"));
        errors.extend(self.watch.iter().flat_map(|watch| watch.validate("watch", self.epochs)));
        if !(0.0..1.0).contains(&self.threshold) {
            errors.push(FieldError::new("threshold", format!("must be in [0, 1), is {}", self.threshold)));
        }
        if let Some(alpha) = self.ema.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            errors.push(FieldError::new("ema", format!("must be in [0, 1], is {alpha}")));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::TRAIN
    }

    fn passes(&self) -> f64 {
        // Of a weak and a strong view.
        2.0 * self.epochs as f64
    }

    fn presets() -> Vec<(&'static str, Vec<Preset>)> {
        vec![("weak", Views::presets()), ("strong", Views::presets())]
    }

    fn preview(&self, job: &mut Job<'_>) -> Result<Option<Vec<u8>>, StageError> {
        self.training().preview(job).map(Some)
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let device = device::open(job.device())?;
        let images = Arc::new(ImageSet::from_job(job, "images")?);
        let encoder = Encoder::from_job(job, "encoder", &device)?;
        encoder.check_images(&images, "encoder")?;
        let mut hears_held_out = false;
        let mut encoder = match (job.optional_input("assignment"), encoder.architecture().clusters) {
            (Some(_), _) => {
                let clusters = Assignment::from_job(job, "assignment")?;
                // Whoever found them may have looked at every image.
                hears_held_out = images.split.contains(&Split::Test);
                self.with_fitted_head(encoder, &images, &clusters, job)?
            }
            (None, Some(_)) => encoder.without_projector(),
            (None, None) => {
                let reason = "it has no cluster head; wire the clusters to begin with to `assignment`";
                return Err(StageError::input("encoder", reason));
            }
        };
        let mut task = SelfLabelling {
            threshold: self.threshold,
            balance: self.balance,
            shadow: self.ema.map(|alpha| (alpha, encoder.weights.clone())),
            images: Arc::clone(&images),
            curriculum: Curriculum::new(&images, self.unlabelled_epochs)?,
            watch: self.watch.clone(),
            measured: Measured::default(),
        };
        let curve = self.training().run(job, &mut encoder, &mut task, &images)?;
        if let Some(path) = job.optional_output(PROGRESS) {
            task.measured.columns().write(path)?;
        }
        let mut metrics = Metrics::default();
        metrics.insert("transductive", f64::from(u8::from(hears_held_out)));
        metrics.write(job.output("metrics"))?;
        let idle = curve.points.iter().filter(|point| point.loss == 0.0).count();
        if idle > 0 {
            job.log(format!(
                "{idle} of {} steps had a loss of 0: no image was above the threshold {}, or nothing was left to learn",
                curve.points.len(),
                self.threshold
            ));
        }
        encoder.write(job.output("encoder"))?;
        let everything = self.showing(&images, (0..).take(images.len()).collect());
        by_head(&mut encoder, &everything, job)?.write(job.output("assignment"))?;
        curve.write(job.output("curve"))
    }
}

impl SelfLabel {
    fn training(&self) -> Training {
        Training {
            kind: Self::KIND,
            epochs: self.epochs,
            batch: self.batch,
            optimiser: self.optimiser,
            schedule: self.schedule,
            views: [self.weak.augmentations(1), self.strong.augmentations(1)].concat(),
            drop_last: true,
            unlabelled_epochs: self.unlabelled_epochs,
        }
    }

    fn showing<'a>(&'a self, images: &'a Arc<ImageSet>, rows: Vec<u32>) -> Showing<'a> {
        Showing { images, rows, view: &self.weak, batch: self.batch }
    }

    /// The encoder with a cluster head that predicts `clusters` from the frozen features of the images training may see.
    fn with_fitted_head(
        &self,
        encoder: Encoder,
        images: &Arc<ImageSet>,
        clusters: &Assignment,
        job: &mut Job<'_>,
    ) -> Result<Encoder, StageError> {
        if clusters.cluster.len() != images.len() {
            let reason = format!("it has {} rows for {} images", clusters.cluster.len(), images.len());
            return Err(StageError::input("assignment", reason));
        }
        let rows = seen_rows(images)?;
        let targets: Vec<usize> = rows.iter().map(|&row| clusters.cluster[row as usize] as usize).collect();
        let mut encoder = encoder.with_cluster_head(clusters.num_clusters, job.seed());
        let mut features = Vec::new();
        encoder.show(&self.showing(images, rows), job, |_, _, batch| {
            features.push(batch);
            Ok(())
        })?;
        let head = fit_head(Tensor::cat(features, 0), &targets, clusters.num_clusters, job.seed());
        for (name, parameter) in encoder.weights.parameters_mut() {
            match name {
                "cluster_head.weight" => parameter.set(head.weight.clone().flatten(0, 1)),
                "cluster_head.bias" => parameter.set(head.bias.clone()),
                _ => {}
            }
        }
        Ok(encoder)
    }
}

/// Steps and learning rate of fitting a cluster head; a linear layer on standardised features is convex, and converged by
/// then.
const FIT: (usize, f64) = (200, 0.01);

/// Features with a smaller standard deviation say nothing of an image.
const LEAST_STD: f64 = 1e-6;

/// A linear layer.
struct Head {
    /// `[K, D]`.
    weight: Tensor<2>,
    /// `[K]`.
    bias: Tensor<1>,
}

/// Softmax regression of `targets` in `0..clusters` on `features` `[N, D]`, standardised, by full-batch Adam. The
/// standardisation is folded into the layer; features that are the same for all, as of a dead ReLU, have the weight 0.
fn fit_head(features: Tensor<2>, targets: &[usize], clusters: usize, seed: u64) -> Head {
    let ([n, dim], device) = (features.dims(), features.device());
    let mean = features.clone().mean_dim(0);
    let std = (features.clone() - mean.clone()).powi_scalar(2).mean_dim(0).sqrt();
    let scale = std.clone().greater_elem(LEAST_STD).float() / std.clamp_min(LEAST_STD);
    let x = (features - mean.clone()) * scale.clone();
    let mut share = vec![0.0; n * clusters];
    for (place, &target) in targets.iter().enumerate() {
        share[place * clusters + target] = 1.0 / n as f32;
    }
    let share = upload(share, [n, clusters], &device);

    let head = Linear { name: "head".to_owned(), input: dim, output: clusters, bias: true };
    let mut weights = Weights::new(&device);
    head.initialise(&mut weights, seed);
    let (steps, lr) = FIT;
    let optimiser = Optimiser::Adam { lr, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0 };
    let mut state = OptimiserState::new(optimiser);
    for _ in 0..steps {
        let log_probability = log_softmax(head.forward(&weights, x.clone(), Mode::Train), 1);
        let loss = (log_probability * share.clone()).sum_dim(1).sum().neg();
        state.step(&mut weights, loss.backward(), lr);
    }
    let weight = weights.tensor::<2>("head.weight", Mode::Evaluate) * scale;
    let bias =
        weights.tensor::<1>("head.bias", Mode::Evaluate) - (weight.clone() * mean).sum_dim(1).flatten(0, 1);
    Head { weight, bias }
}

/// Predictions on the weak view, by batch statistics and without gradients, label the strong view.
struct SelfLabelling {
    threshold: f64,
    balance: bool,
    /// α and the averaged parameters.
    shadow: Option<(f64, Weights)>,
    images: Arc<ImageSet>,
    curriculum: Curriculum,
    watch: Option<Watch>,
    measured: Measured,
}

impl Task for SelfLabelling {
    fn parts(&self) -> Vec<String> {
        vec!["confident".to_owned()]
    }

    fn losses(&mut self, pass: &mut Pass<'_>) -> Losses {
        let [weak, strong] = pass.views else { unreachable!("the stage asks for two views") };
        let mut logits = |view: &Tensor<4>, mode| {
            let h = pass.encoder.features(view.clone(), mode);
            pass.encoder.cluster(h, mode)
        };
        let weak = logits(weak, Mode::Observe);
        let strong = logits(strong, Mode::Train);
        let device = weak.device().without_autodiff();
        let found = confidence_cross_entropy(weak, strong, self.threshold, self.balance);
        let (total, rows) = found.map_or((None, 0), |(loss, rows)| (Some(loss), rows));
        let share = upload(vec![rows as f32 / pass.rows.len() as f32], [1], &device);
        Losses { total, parts: vec![Some(share)] }
    }

    fn after_epoch(
        &mut self,
        epoch: usize,
        encoder: &mut Encoder,
        job: &mut Job<'_>,
    ) -> Result<(), StageError> {
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.is_due(epoch))
            && let Some(acc) = watch.accuracy(encoder, &self.images, self.curriculum.rows(epoch), job)?
        {
            self.measured.push(epoch, Measure::Accuracy, acc);
        }
        Ok(())
    }

    fn after_step(&mut self, encoder: &mut Encoder) {
        if let Some((alpha, shadow)) = &mut self.shadow {
            ema::update(shadow, &encoder.weights, *alpha);
            ema::update(&mut encoder.weights, shadow, 0.0);
        }
    }

    fn store(&self, prefix: &str, tensors: Tensors) -> Tensors {
        let tensors = self.measured.store(&format!("{prefix}progress"), tensors);
        match &self.shadow {
            Some((_, shadow)) => shadow.store(&format!("{prefix}shadow/"), tensors),
            None => tensors,
        }
    }

    fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        let measured = Measured::load(&format!("{prefix}progress"), tensors)?;
        if let Some((_, shadow)) = &mut self.shadow {
            shadow.load(&format!("{prefix}shadow/"), tensors)?;
        }
        self.measured = measured;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device as BurnDevice;

    use super::*;
    use crate::rows::largest;
    use crate::weights::host;

    #[test]
    fn a_fitted_head_tells_clusters_apart_and_gives_dead_features_no_weight() {
        // Feature 0 is dead, 1 constant, 2 and 3 tell three clusters apart.
        let targets: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let row = |i: usize| {
            let (angle, noise) = ((i % 3) as f32 * 2.1, (i as f32 * 0.7).sin() * 0.2);
            [0.0, 0.3, 5.0 + angle.cos() + noise, 0.01 * (angle.sin() - noise)]
        };
        let features: Vec<f32> = (0..60).flat_map(row).collect();
        let features = upload(features, [60, 4], &BurnDevice::flex());
        let head = fit_head(features.clone(), &targets, 3, 1);
        for row in host(head.weight.clone()).chunks(4) {
            assert_eq!(row[..2], [0.0, 0.0]);
        }
        let logits = host(features.matmul(head.weight.transpose()) + head.bias.unsqueeze());
        let found: Vec<usize> = logits.chunks(3).map(largest).collect();
        assert_eq!(found, targets);
    }
}
