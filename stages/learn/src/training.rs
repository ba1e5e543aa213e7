//! The training loop every stage that trains an encoder goes through.
//!
//! A stage composes objectives; the loop does the rest: batches of views, gradients, learning rate, checkpoints, the
//! learning curve. Everything random is a function of the seed and the position, so a checkpoint is numbers and a position,
//! and a killed and resumed run gives the bits of an unbroken one.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ablate_data::{Augmentation, Column, Columns, ImageSet, Loader, Loading};
use ablate_stage::{BadArtifact, Job, Split, StageError, TensorData, Tensors};
use burn::prelude::*;

use crate::checkpoint::Checkpoints;
use crate::encoder::Encoder;
use crate::optimiser::{Optimiser, OptimiserState};
use crate::schedule::{Position, Schedule};
use crate::weights::host;

/// What a network is trained for.
pub trait Objective {
    /// The loss of one step, one element; `None` where the step has nothing to learn from.
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>>;

    /// Called after the parameters have moved.
    fn after_step(&mut self, _encoder: &mut Encoder) {}

    /// Puts what it remembers between steps into `tensors`, under `prefix`.
    #[must_use]
    fn store(&self, prefix: &str, tensors: Tensors) -> Tensors;

    /// Takes back what [`store`](Self::store) put there.
    ///
    /// # Errors
    /// Where it is not there.
    fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact>;
}

/// An objective's part in the total.
pub struct Term {
    /// The objective.
    pub objective: Box<dyn Objective>,
    /// What its loss is multiplied by.
    pub weight: f64,
    /// The epochs it takes part in.
    pub epochs: Range<usize>,
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
    /// Epochs.
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

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step within the epoch, from 0.
    pub step: usize,
    /// The total loss; 0 where there was nothing to learn from.
    pub loss: f32,
    /// The learning rate.
    pub lr: f64,
}

/// The rows training may see: those of the train and unlabelled splits.
pub fn seen_rows(images: &ImageSet) -> Vec<u32> {
    let rows = (0..).zip(&images.split).filter(|(_, split)| match split {
        Split::Train | Split::Unlabelled => true,
        Split::Test => false,
    });
    rows.map(|(row, _)| row).collect()
}

/// Everything that changes while training.
struct State<'a> {
    encoder: &'a mut Encoder,
    optimiser: OptimiserState,
    terms: &'a mut [Term],
    /// The loss of every step so far.
    losses: Vec<f32>,
}

impl State<'_> {
    fn store(&self) -> Tensors {
        let mut tensors = self.encoder.weights.store("weights/", Tensors::new());
        tensors = self.optimiser.store("optimiser/", tensors);
        for (at, term) in self.terms.iter().enumerate() {
            tensors = term.objective.store(&format!("objective {at}/"), tensors);
        }
        tensors.with("losses", &[self.losses.len()], TensorData::F32(self.losses.clone()))
    }

    fn load(&mut self, optimiser: Optimiser, tensors: &Tensors) -> Result<(), BadArtifact> {
        self.encoder.weights.load("weights/", tensors)?;
        self.optimiser = OptimiserState::new(optimiser).load(&self.encoder.weights, "optimiser/", tensors)?;
        for (at, term) in self.terms.iter_mut().enumerate() {
            term.objective.load(&format!("objective {at}/"), tensors)?;
        }
        self.losses = tensors.f32("losses")?.to_vec();
        Ok(())
    }
}

impl Training {
    /// Trains `encoder` on the images [`seen_rows`] allows, and returns the learning curve. Checkpoints in the job's scratch
    /// folder, and goes on from the newest one there. A batch is made smaller where there are fewer images, and a last,
    /// partial batch of an epoch is left out.
    ///
    /// # Errors
    /// [`StageError::Diverged`] where the loss is no longer finite, [`StageError::Stopped`] where the job was asked to
    /// stop; where there are fewer than two images, or the views do not fit them; where a checkpoint cannot be written.
    pub fn run(
        &self,
        job: &mut Job<'_>,
        encoder: &mut Encoder,
        terms: &mut [Term],
        images: &Arc<ImageSet>,
    ) -> Result<Vec<Point>, StageError> {
        let loader = self.loader(images, encoder, job.seed())?;
        let steps = loader.steps();
        let total = self.epochs * steps;
        let mut checkpoints = Checkpoints::open(job.scratch());
        let mut state =
            State { encoder, optimiser: OptimiserState::new(self.optimiser), terms, losses: Vec::new() };
        let resumed = checkpoints.newest(|tensors| state.load(self.optimiser, tensors))?;
        let first = state.losses.len();
        if resumed.is_some() {
            job.resumed(format!(
                "epoch {} of {}, step {}",
                first / steps + 1,
                self.epochs,
                first % steps + 1
            ));
        }
        let started = Instant::now();
        let from = ablate_data::Position { epoch: (first / steps) as u32, step: first % steps };
        for drawn in loader.batches(from, self.epochs as u32, job.threads()) {
            if job.stop_requested() {
                checkpoints.save(state.losses.len() as u64, &state.store())?;
                return Err(StageError::Stopped);
            }
            let (epoch, step) = (drawn.position.epoch as usize, drawn.position.step);
            let views: Vec<_> = drawn.views.into_iter().map(|view| state.encoder.upload(view)).collect();
            let loss = step_once(&mut state, &views, epoch, self.lr(epoch, step, steps));
            if !loss.is_finite() {
                return Err(StageError::Diverged { loss: f64::from(loss), epoch, step });
            }
            state.losses.push(loss);
            let done = state.losses.len();
            let rate = ((done - first) * drawn.rows.len()) as f64 / started.elapsed().as_secs_f64();
            let note = format!("epoch {} of {}, loss {loss:.4}, {rate:.0} images/s", epoch + 1, self.epochs);
            job.progress(done as u64, total as u64, "step", note);
            if done < total && (step + 1 == steps || checkpoints.due()) {
                checkpoints.save(done as u64, &state.store())?;
            }
        }
        let point = |(at, &loss): (usize, &f32)| {
            let (epoch, step) = (at / steps, at % steps);
            Point { epoch, step, loss, lr: self.lr(epoch, step, steps) }
        };
        Ok(state.losses.iter().enumerate().map(point).collect())
    }

    fn loader(&self, images: &Arc<ImageSet>, encoder: &Encoder, seed: u64) -> Result<Loader, StageError> {
        let rows = seen_rows(images);
        if rows.len() < 2 {
            let reason = "it has fewer than two images outside the test split: nothing to train on";
            return Err(StageError::input("images", reason));
        }
        let loading = Loading {
            set: Arc::clone(images),
            batch: self.batch.min(rows.len()),
            rows,
            drop_last: true,
            shuffle: true,
            views: self.views.clone(),
            stats: encoder.preprocess().clone(),
            seed,
        };
        Loader::new(loading).map_err(|error| StageError::input("images", error))
    }

    fn lr(&self, epoch: usize, step: usize, steps: usize) -> f64 {
        let at = Position { epoch, step, epochs: self.epochs, steps };
        self.schedule.lr(self.optimiser.lr(), at)
    }
}

/// Takes a step, and returns its loss. Nothing moves where the loss is not finite.
fn step_once(state: &mut State<'_>, views: &[Tensor<4>], epoch: usize, lr: f64) -> f32 {
    let mut pass = Pass { encoder: state.encoder, views };
    let active = || |term: &&mut Term| term.epochs.contains(&epoch);
    let losses = state.terms.iter_mut().filter(active());
    let losses = losses.filter_map(|term| Some(term.objective.loss(&mut pass)?.mul_scalar(term.weight)));
    let Some(loss) = losses.reduce(|a, b| a + b) else { return 0.0 };
    let value = host(loss.clone().without_autodiff())[0];
    if value.is_finite() {
        state.optimiser.step(&mut state.encoder.weights, loss.backward(), lr);
        for term in state.terms.iter_mut().filter(active()) {
            term.objective.after_step(state.encoder);
        }
    }
    value
}

/// Writes an artifact of kind `Curve`: a row a step.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_curve(points: &[Point], path: &std::path::Path) -> Result<(), StageError> {
    Columns::new()
        .with("epoch", Column::I64(points.iter().map(|point| point.epoch as i64).collect()))
        .with("step", Column::I64(points.iter().map(|point| point.step as i64).collect()))
        .with("loss", Column::F64(points.iter().map(|point| f64::from(point.loss)).collect()))
        .with("lr", Column::F64(points.iter().map(|point| point.lr).collect()))
        .write(path)
}
