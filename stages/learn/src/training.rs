//! How an encoder is trained: what Pretrain and SelfLabel have in common.
//!
//! A stage brings an objective; the images, their views, gradients and the learning rate are seen to here, and the loop is
//! that of [`Course`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use ablate_data::random::derived;
use ablate_data::{Augmentation, ImageSet, Loader, Loading, views_sheet};
use ablate_stage::{BadArtifact, FieldError, Job, Split, StageError, Tensors};
use burn::prelude::*;

use crate::course::{Course, Point, Trained};
use crate::encoder::Encoder;
use crate::optimiser::{Optimiser, OptimiserState};
use crate::schedule::Schedule;
use crate::weights::host;

/// What a network is trained for.
pub trait Objective {
    /// The loss of one step, one element; `None` where the step has nothing to learn from.
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>>;

    /// Called after the parameters have moved.
    fn after_step(&mut self, _encoder: &mut Encoder) {}

    /// Puts what it remembers between steps into `tensors`, under `prefix`.
    #[must_use]
    fn store(&self, _prefix: &str, tensors: Tensors) -> Tensors {
        tensors
    }

    /// Takes back what [`store`](Self::store) put there, or changes nothing.
    ///
    /// # Errors
    /// Where it is not there.
    fn load(&mut self, _prefix: &str, _tensors: &Tensors) -> Result<(), BadArtifact> {
        Ok(())
    }
}

/// One step: the encoder, and the views of a batch, `[B, C, H, W]` each, prepared for it.
pub struct Pass<'a> {
    /// The encoder.
    pub encoder: &'a mut Encoder,
    /// The views, in the order the stage asked for them.
    pub views: &'a [Tensor<4>],
}

/// How to train.
#[derive(Clone, Debug)]
pub struct Training {
    /// The stage kind, so that no two draw the same orders and views from one seed.
    pub kind: &'static str,
    /// Passes over the images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// How parameters move.
    pub optimiser: Optimiser,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How each view of an image is drawn.
    pub views: Vec<Augmentation>,
}

/// The rows training may see: those of the train and unlabelled splits.
///
/// # Errors
/// About input `images`, where there are fewer than two.
pub fn seen_rows(images: &ImageSet) -> Result<Vec<u32>, StageError> {
    let rows = (0..).zip(&images.split).filter(|(_, split)| match split {
        Split::Train | Split::Unlabelled => true,
        Split::Test => false,
    });
    let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
    if rows.len() < 2 {
        let reason = "it has fewer than two images outside the test split: nothing to train on";
        return Err(StageError::input("images", reason));
    }
    Ok(rows)
}

/// Everything that changes while training.
struct State<'a> {
    encoder: &'a mut Encoder,
    optimiser: OptimiserState,
    objective: &'a mut dyn Objective,
}

impl Trained for State<'_> {
    fn store(&self) -> Tensors {
        let tensors = self.encoder.weights.store("weights/", Tensors::new());
        let tensors = self.optimiser.store("optimiser/", tensors);
        self.objective.store("objective/", tensors)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<(), BadArtifact> {
        let mut weights = self.encoder.weights.clone();
        weights.load("weights/", tensors)?;
        let optimiser = self.optimiser.load(&weights, "optimiser/", tensors)?;
        self.objective.load("objective/", tensors)?;
        (self.encoder.weights, self.optimiser) = (weights, optimiser);
        Ok(())
    }
}

impl State<'_> {
    /// Takes a step, and returns its loss; 0 where there was nothing to learn from. Nothing moves where the loss is not finite.
    fn step(&mut self, views: &[Tensor<4>], lr: f64) -> f32 {
        let Some(loss) = self.objective.loss(&mut Pass { encoder: self.encoder, views }) else { return 0.0 };
        let value = host(loss.clone().without_autodiff())[0];
        if value.is_finite() {
            self.optimiser.step(&mut self.encoder.weights, loss.backward(), lr);
            self.objective.after_step(self.encoder);
        }
        value
    }
}

impl Training {
    /// What is wrong with its values, by the names they have in every stage that trains an encoder.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.optimiser.validate("optimiser");
        errors.extend(self.schedule.validate("schedule", self.epochs));
        if self.batch < 2 {
            errors.push(FieldError::new("batch", format!("must be at least 2, is {}", self.batch)));
        }
        errors
    }

    /// A picture of the views of some images in the first epochs.
    ///
    /// # Errors
    /// Where the images cannot be read, or the views do not fit them.
    pub fn preview(&self, job: &Job<'_>) -> Result<Vec<u8>, StageError> {
        let images = ImageSet::from_job(job, "images")?;
        views_sheet(&images, &self.views, derived(job.seed(), self.kind))
    }

    /// Trains `encoder` on the images [`seen_rows`] allows, and returns the learning curve. A batch is made smaller where
    /// there are fewer images, and a last, partial batch of an epoch is left out.
    ///
    /// # Errors
    /// As [`Course::run`], and where there are fewer than two images, or the views do not fit them.
    pub fn run(
        &self,
        job: &mut Job<'_>,
        encoder: &mut Encoder,
        objective: &mut dyn Objective,
        images: &Arc<ImageSet>,
    ) -> Result<Vec<Point>, StageError> {
        let rows = seen_rows(images)?;
        let batch = self.batch.min(rows.len());
        let loading = Loading {
            set: Arc::clone(images),
            batch,
            rows,
            drop_last: true,
            shuffle: true,
            views: self.views.clone(),
            stats: encoder.preprocess().clone(),
            seed: derived(job.seed(), self.kind),
        };
        let loader = Loader::new(loading).map_err(|error| StageError::input("images", error))?;
        let course = Course {
            epochs: self.epochs,
            steps: loader.steps(),
            samples: batch,
            lr: self.optimiser.lr(),
            schedule: self.schedule,
        };
        let mut state = State { encoder, optimiser: OptimiserState::new(self.optimiser), objective };
        let (threads, epochs) = (job.threads(), self.epochs as u32);
        let (mut batches, mut waited, started) = (None, Duration::ZERO, Instant::now());
        let curve = course.run(job, &mut state, |state, at, lr| {
            let from = ablate_data::Position { epoch: at.epoch as u32, step: at.step };
            let batches = batches.get_or_insert_with(|| loader.batches(from, epochs, threads));
            let asked = Instant::now();
            let drawn = batches.next().expect("the loader has a batch for every step");
            let drawn = drawn.map_err(|error| StageError::input("images", error))?;
            waited += asked.elapsed();
            let views: Vec<_> = drawn.views.into_iter().map(|view| state.encoder.upload(view)).collect();
            Ok(state.step(&views, lr))
        })?;
        let share = waited.as_secs_f64() / started.elapsed().as_secs_f64();
        job.log(format!("{:.1} % of the time went into waiting for images", 100.0 * share));
        Ok(curve)
    }
}
