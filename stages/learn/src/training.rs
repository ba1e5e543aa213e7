//! The training loop every stage that trains an encoder goes through.
//!
//! A stage composes objectives; the loop does the rest: batches of views, gradients, learning rate, checkpoints, the
//! learning curve. Everything random is a function of the seed and the position, so a checkpoint is numbers and a position,
//! and a killed and resumed run gives the bits of an unbroken one.

use std::ops::Range;
use std::time::Instant;

use ablate_data::{Columns, ImageSet, Loader, Views};
use ablate_stage::{BadArtifact, Job, StageError, TensorData, Tensors};
use burn::prelude::*;

use crate::checkpoint::Checkpoints;
use crate::encoder::{Encoder, Preprocess};
use crate::optimiser::{Optimiser, OptimiserState};
use crate::schedule::{Position, Schedule};
use crate::weights::host;

/// What a network is trained for.
pub trait Objective {
    /// The loss of one step, one element; `None` where the step has nothing to learn from.
    fn loss(&mut self, pass: &mut Pass<'_>) -> Option<Tensor<1>>;

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

/// One step: the encoder, and the views of a batch, `[B, H, W, C]` each, prepared for it.
pub struct Pass<'a> {
    /// The encoder.
    pub encoder: &'a mut Encoder,
    /// The views, in the order the stage asked for them.
    pub views: &'a [Tensor<4>],
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// Epochs.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// How parameters move.
    pub optimiser: Optimiser,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How each view of an image is drawn.
    pub views: &'a Views,
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
        self.optimiser = OptimiserState::load(optimiser, &self.encoder.weights, "optimiser/", tensors)?;
        for (at, term) in self.terms.iter_mut().enumerate() {
            term.objective.load(&format!("objective {at}/"), tensors)?;
        }
        self.losses = tensors.f32("losses")?.to_vec();
        Ok(())
    }
}

impl Training<'_> {
    /// Trains `encoder` on all of `images`, and returns the learning curve. Checkpoints in the job's scratch folder, and
    /// goes on from the newest one there.
    ///
    /// # Errors
    /// [`StageError::Diverged`] where the loss is no longer finite, [`StageError::Stopped`] where the job was asked to
    /// stop, and where a checkpoint cannot be written.
    pub fn run(
        &self,
        job: &mut Job<'_>,
        encoder: &mut Encoder,
        terms: &mut [Term],
        images: &ImageSet,
    ) -> Result<Vec<Point>, StageError> {
        let batch = self.batch.min(images.len());
        let steps = images.len() / batch;
        let total = self.epochs * steps;
        let mut checkpoints = Checkpoints::open(job.scratch());
        let mut state =
            State { encoder, optimiser: OptimiserState::new(self.optimiser), terms, losses: Vec::new() };
        let resumed = checkpoints.newest(|tensors| state.load(self.optimiser, tensors))?;
        if resumed.is_some() {
            let done = state.losses.len();
            job.resumed(format!("epoch {} of {}, step {}", done / steps + 1, self.epochs, done % steps + 1));
        }
        let Preprocess { mean, std } = state.encoder.preprocess().clone();
        let loader = Loader::new(images, self.views, batch, job.seed(), mean, std);
        let started = (Instant::now(), state.losses.len());
        while state.losses.len() < total {
            let epoch = state.losses.len() / steps;
            let first = state.losses.len() % steps;
            for (step, drawn) in (first..steps).zip(loader.epoch(epoch as u32, first)) {
                let views: Vec<_> =
                    drawn.views.into_iter().map(|view| state.encoder.batch(view, images)).collect();
                if job.stop_requested() {
                    checkpoints.save(state.losses.len() as u64, &state.store())?;
                    return Err(StageError::Stopped);
                }
                let lr = self.lr(epoch, step, steps);
                let loss = step_once(&mut state, &views, epoch, lr);
                if !loss.is_finite() {
                    return Err(StageError::Diverged { loss: f64::from(loss), epoch, step });
                }
                state.losses.push(loss);
                let done = state.losses.len();
                let rate = ((done - started.1) * batch) as f64 / started.0.elapsed().as_secs_f64();
                job.progress(
                    done as u64,
                    total as u64,
                    "step",
                    format!("epoch {} of {}, loss {loss:.4}, {rate:.0} images/s", epoch + 1, self.epochs),
                );
                if done < total && (step + 1 == steps || checkpoints.due()) {
                    checkpoints.save(done as u64, &state.store())?;
                }
            }
        }
        let point = |(at, &loss): (usize, &f32)| {
            let (epoch, step) = (at / steps, at % steps);
            Point { epoch, step, loss, lr: self.lr(epoch, step, steps) }
        };
        Ok(state.losses.iter().enumerate().map(point).collect())
    }

    fn lr(&self, epoch: usize, step: usize, steps: usize) -> f64 {
        let at = Position { epoch, step, epochs: self.epochs, steps };
        self.schedule.lr(self.optimiser.lr(), at)
    }
}

fn step_once(state: &mut State<'_>, views: &[Tensor<4>], epoch: usize, lr: f64) -> f32 {
    let mut pass = Pass { encoder: state.encoder, views };
    let active = state.terms.iter_mut().filter(|term| term.epochs.contains(&epoch));
    let losses = active.filter_map(|term| Some(term.objective.loss(&mut pass)?.mul_scalar(term.weight)));
    let Some(loss) = losses.reduce(|a, b| a + b) else { return 0.0 };
    let value = host(loss.clone().without_autodiff())[0];
    if value.is_finite() {
        let gradients = loss.backward();
        state.optimiser.step(&mut state.encoder.weights, gradients, lr);
    }
    value
}

/// Writes an artifact of kind `Curve`: a row a step.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_curve(points: &[Point], path: &std::path::Path) -> Result<(), StageError> {
    Columns::new()
        .with_i64("epoch", points.iter().map(|point| point.epoch as i64).collect())
        .with_i64("step", points.iter().map(|point| point.step as i64).collect())
        .with_f32("loss", points.iter().map(|point| point.loss).collect())
        .with_f64("lr", points.iter().map(|point| point.lr).collect())
        .write(path)
}
