//! How an encoder is trained: what Pretrain and SelfLabel have in common.
//!
//! A stage brings a task; the images, their views, gradients and the learning rate are seen to here, and the loop is
//! that of [`Course`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use ablate_data::random::derived;
use ablate_data::{Augmentation, ImageSet, Loader, Loading, NeighbourViews, views_sheet};
use ablate_stage::{BadArtifact, FieldError, Job, Split, StageError, Tensors};
use burn::prelude::*;

use crate::course::{Course, Curve, Taken, Trained};
use crate::encoder::Encoder;
use crate::optimiser::{Optimiser, OptimiserState};
use crate::schedule::Schedule;
use crate::weights::host;

/// What one step is to make smaller, and what that is made of.
pub struct Losses {
    /// The loss, one element; `None` where the step has nothing to learn from.
    pub total: Option<Tensor<1>>,
    /// The [parts](Task::parts), one element each, without gradients; `None` for one that has no part in this step.
    pub parts: Vec<Option<Tensor<1>>>,
}

/// What a network is trained for.
pub trait Task {
    /// What curves call the parts of a loss, where it has several, or something else is measured at each step.
    fn parts(&self) -> Vec<String> {
        Vec::new()
    }

    /// The losses of one step.
    fn losses(&mut self, pass: &mut Pass<'_>) -> Losses;

    /// Called after the parameters have moved.
    fn after_step(&mut self, _encoder: &mut Encoder) {}

    /// What it wants to be shown from an epoch on.
    fn wanted(&self, _epoch: usize) -> Wanted {
        Wanted { neighbours: None, until: usize::MAX }
    }

    /// Called after the last step of an epoch.
    ///
    /// # Errors
    /// Where training cannot go on.
    fn after_epoch(
        &mut self,
        _epoch: usize,
        _encoder: &mut Encoder,
        _job: &mut Job<'_>,
    ) -> Result<(), StageError> {
        Ok(())
    }

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

/// What a task wants to be shown, beside the views the stage asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Views of the neighbours of each image.
    pub neighbours: Option<NeighbourViews>,
    /// The epoch from which that may change.
    pub until: usize,
}

/// One step: the encoder, and the views of a batch, `[B, C, H, W]` each, prepared for it.
pub struct Pass<'a> {
    /// The encoder.
    pub encoder: &'a mut Encoder,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The rows of the images in their data set, `[B]`.
    pub rows: &'a [u32],
    /// The views, in the order the stage asked for them, then those of neighbours.
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
    /// Whether an epoch ends before a batch that would be smaller than the others.
    pub drop_last: bool,
    /// Epochs, from the first, in which images of the unlabelled split are seen; in all where it is `None`.
    pub unlabelled_epochs: Option<usize>,
}

/// The rows training may see: those of the train and unlabelled splits.
///
/// # Errors
/// About input `images`, where there are fewer than two.
pub fn seen_rows(images: &ImageSet) -> Result<Vec<u32>, StageError> {
    rows_of(images, |split| match split {
        Split::Train | Split::Unlabelled => true,
        Split::Test => false,
    })
}

fn rows_of(images: &ImageSet, seen: impl Fn(Split) -> bool) -> Result<Vec<u32>, StageError> {
    let rows = (0..).zip(&images.split).filter(|&(_, &split)| seen(split));
    let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
    if rows.len() < 2 {
        let reason = "it has fewer than two images outside the test split: nothing to train on";
        return Err(StageError::input("images", reason));
    }
    Ok(rows)
}

/// The rows a training sees, ascending.
#[derive(Clone, Debug)]
pub struct Curriculum {
    first: Vec<u32>,
    /// The epoch from which unlabelled images are left out, and the other rows.
    then: Option<(usize, Vec<u32>)>,
}

impl Curriculum {
    /// The rows of the train split, and in the first `unlabelled_epochs`, or in all, those of the unlabelled one.
    ///
    /// # Errors
    /// About input `images`, where there are fewer than two.
    pub fn new(images: &ImageSet, unlabelled_epochs: Option<usize>) -> Result<Self, StageError> {
        let first = seen_rows(images)?;
        let then = match unlabelled_epochs {
            Some(epochs) => Some((epochs, rows_of(images, |split| split == Split::Train)?)),
            None => None,
        };
        // Nothing changes where there is nothing unlabelled.
        Ok(Self { then: then.filter(|(_, rows)| *rows != first), first })
    }

    /// Those of an epoch.
    pub fn rows(&self, epoch: usize) -> &[u32] {
        match &self.then {
            Some((from, rows)) if epoch >= *from => rows,
            _ => &self.first,
        }
    }

    /// The epoch from which fewer are seen, where there is one.
    pub fn change(&self) -> Option<usize> {
        self.then.as_ref().map(|(from, _)| *from)
    }
}

/// Everything that changes while training.
struct State<'a> {
    encoder: &'a mut Encoder,
    optimiser: OptimiserState,
    task: &'a mut dyn Task,
}

impl Trained for State<'_> {
    fn store(&self) -> Tensors {
        let tensors = self.encoder.weights.store("weights/", Tensors::new());
        let tensors = self.optimiser.store("optimiser/", tensors);
        self.task.store("objective/", tensors)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<(), BadArtifact> {
        let mut weights = self.encoder.weights.clone();
        weights.load("weights/", tensors)?;
        let optimiser = self.optimiser.load(&weights, "optimiser/", tensors)?;
        self.task.load("objective/", tensors)?;
        (self.encoder.weights, self.optimiser) = (weights, optimiser);
        Ok(())
    }
}

impl State<'_> {
    /// Takes a step. Nothing moves where the loss is not finite.
    fn step(&mut self, epoch: usize, rows: &[u32], views: &[Tensor<4>], lr: f64) -> Taken {
        let mut pass = Pass { encoder: self.encoder, epoch, rows, views };
        let Losses { total, parts } = self.task.losses(&mut pass);
        let of_total = total.iter().map(|total| total.clone().without_autodiff());
        let known: Vec<Tensor<1>> = of_total.chain(parts.iter().flatten().cloned()).collect();
        // All at once: a device is waited for each time it is asked.
        let mut values = if known.is_empty() { Vec::new() } else { host(Tensor::cat(known, 0)) }.into_iter();
        let mut next = |is_there: bool| if is_there { values.next() } else { None };
        let loss = next(total.is_some()).unwrap_or(0.0);
        let parts = parts.iter().map(|part| next(part.is_some()).unwrap_or(f32::NAN)).collect();
        if let Some(total) = total.filter(|_| loss.is_finite()) {
            self.optimiser.step(&mut self.encoder.weights, total.backward(), lr);
            self.task.after_step(self.encoder);
        }
        Taken { loss, parts }
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

    /// The loader of an epoch's images.
    fn loader(
        &self,
        job: &Job<'_>,
        encoder: &Encoder,
        images: &Arc<ImageSet>,
        rows: &[u32],
    ) -> Result<Loader, StageError> {
        let loading = Loading {
            set: Arc::clone(images),
            batch: self.batch.min(rows.len()),
            rows: rows.to_vec(),
            drop_last: self.drop_last,
            shuffle: true,
            views: self.views.clone(),
            stats: encoder.preprocess().clone(),
            seed: derived(job.seed(), self.kind),
        };
        Loader::new(loading).map_err(|error| StageError::input("images", error))
    }

    /// Trains `encoder` on the images of a [`Curriculum`], and returns the learning curve. A batch is made smaller where
    /// there are fewer images.
    ///
    /// # Errors
    /// As [`Course::run`], and where there are fewer than two images, or the views do not fit them; what the task fails
    /// with.
    pub fn run(
        &self,
        job: &mut Job<'_>,
        encoder: &mut Encoder,
        task: &mut dyn Task,
        images: &Arc<ImageSet>,
    ) -> Result<Curve, StageError> {
        let curriculum = Curriculum::new(images, self.unlabelled_epochs)?;
        let change = curriculum.change().unwrap_or(self.epochs).min(self.epochs);
        let loader = |epoch| self.loader(job, encoder, images, curriculum.rows(epoch));
        let (first, then) = (loader(0)?, loader(self.epochs)?);
        let course = Course {
            steps: (0..self.epochs)
                .map(|at| if at < change { first.steps() } else { then.steps() })
                .collect(),
            samples: self.batch.min(curriculum.rows(0).len()),
            lr: self.optimiser.lr(),
            schedule: self.schedule,
            parts: task.parts(),
        };
        let mut state = State { encoder, optimiser: OptimiserState::new(self.optimiser), task };
        let (mut batches, mut waited, started) = (None, Duration::ZERO, Instant::now());
        let curve = course.run(job, &mut state, |job, state, at, lr| {
            let from = ablate_data::Position { epoch: at.epoch as u32, step: at.step };
            let asked = Instant::now();
            let drawn = match batches.as_mut().and_then(Iterator::next) {
                Some(drawn) => drawn,
                None => {
                    let Wanted { neighbours, until } = state.task.wanted(at.epoch);
                    let (loader, last) =
                        if at.epoch < change { (&first, change) } else { (&then, self.epochs) };
                    let loader = match neighbours {
                        Some(neighbours) => loader.with_neighbours(neighbours),
                        None => Ok(loader.clone()),
                    };
                    let loader = loader.map_err(|error| StageError::input("images", error))?;
                    let until = last.min(until.max(at.epoch + 1)) as u32;
                    let batches = batches.insert(loader.batches(from, until, job.threads()));
                    batches.next().expect("the loader has a batch for every step")
                }
            };
            let drawn = drawn.map_err(|error| StageError::input("images", error))?;
            waited += asked.elapsed();
            let views: Vec<_> = drawn.views.into_iter().map(|view| state.encoder.upload(view)).collect();
            let taken = state.step(at.epoch, &drawn.rows, &views, lr);
            if taken.loss.is_finite() && at.step + 1 == at.steps {
                state.task.after_epoch(at.epoch, state.encoder, job)?;
            }
            Ok(taken)
        })?;
        let share = waited.as_secs_f64() / started.elapsed().as_secs_f64();
        job.log(format!("{:.1} % of the time went into waiting for images", 100.0 * share));
        Ok(curve)
    }
}
