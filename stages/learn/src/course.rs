//! The loop every stage that trains goes through: from the first step, or a checkpoint, to the last.
//!
//! It stops on request, watches that the loss stays finite, reports, checkpoints, and keeps the learning curve. What a step
//! is, and what changes in it, is the caller's: everything random there is a function of the seed and the position, so that
//! a checkpoint is numbers and a position, and a killed and resumed run gives the bits of an unbroken one.

use std::path::Path;
use std::time::Instant;

use ablate_data::{Column, Columns};
use ablate_stage::{BadArtifact, Job, Progress, StageError, TensorData, Tensors};

use crate::checkpoint::Checkpoints;
use crate::schedule::{Position, Schedule};

/// The output that holds what a training ended with, for a longer one to go on from.
pub const STATE: &str = "state";

/// Everything that changes while training.
pub trait Trained {
    /// All of it, as tensors.
    fn store(&self) -> Tensors;

    /// Takes back what [`store`](Self::store) gave, or changes nothing.
    ///
    /// # Errors
    /// Where something is missing or does not fit.
    fn load(&mut self, tensors: &Tensors) -> Result<(), BadArtifact>;
}

/// The way from the first step to the last.
#[derive(Clone, Debug)]
pub struct Course {
    /// The steps of each epoch.
    pub steps: Vec<usize>,
    /// Samples a step, for the report.
    pub samples: usize,
    /// The learning rate before the schedule.
    pub lr: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// What curves call the parts of a step, where it has any.
    pub parts: Vec<String>,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The loss; 0 where there was nothing to learn from.
    pub loss: f32,
    /// The [parts](Course::parts); not a number where one was not measured.
    pub parts: Vec<f32>,
}

/// A step of a course.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step within the epoch, from 0.
    pub step: usize,
    /// The loss; 0 where there was nothing to learn from.
    pub loss: f32,
    /// The learning rate.
    pub lr: f64,
}

/// A learning curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// A point a step.
    pub points: Vec<Point>,
    /// The parts by name, each with a value a step.
    pub parts: Vec<(String, Vec<f32>)>,
}

/// What the steps so far came to.
#[derive(Clone, Debug, Default)]
struct Record {
    losses: Vec<f32>,
    /// A row a step.
    parts: Vec<f32>,
}

impl Course {
    /// Takes every step that is left, and returns the learning curve. `step` is given the position and the learning rate, and
    /// returns what it came to; where the loss is not finite, nothing has moved. Checkpoints are in the job's scratch folder; without
    /// one, the job's kin is what a shorter course ended with. What this one ends with is written to the output
    /// [`STATE`], where the stage declares it.
    ///
    /// # Errors
    /// [`StageError::Diverged`] where the loss is no longer finite, [`StageError::Stopped`] where the job was asked to
    /// stop; where a checkpoint cannot be written; what `step` fails with.
    pub fn run<S: Trained>(
        &self,
        job: &mut Job<'_>,
        state: &mut S,
        mut step: impl FnMut(&mut Job<'_>, &mut S, Position, f64) -> Result<Taken, StageError>,
    ) -> Result<Curve, StageError> {
        let (epochs, ends) = (self.steps.len(), self.ends());
        let total = ends.last().copied().unwrap_or(0);
        let mut checkpoints = Checkpoints::open(job.scratch()?);
        let resumed = checkpoints.newest(|tensors| self.resume(state, tensors))?;
        let mut record = if let Some(record) = resumed {
            let at = self.position(&ends, record.losses.len());
            job.resumed(format!("epoch {} of {epochs}, step {}", at.epoch + 1, at.step + 1));
            record
        } else if let Some((epochs, record)) = self.shorter(&ends, job, state) {
            job.resumed(format!("a training of {epochs} epochs"));
            record
        } else {
            Record::default()
        };
        let (first, started) = (record.losses.len(), Instant::now());
        while record.losses.len() < total {
            if job.stop_requested() {
                checkpoints.save(record.losses.len() as u64, &self.store(state, &record))?;
                return Err(StageError::Stopped);
            }
            let at = self.position(&ends, record.losses.len());
            let Taken { loss, parts } = step(job, state, at, self.schedule.lr(self.lr, at))?;
            if !loss.is_finite() {
                let curve = job.scratch()?.join("curve.parquet");
                self.curve(&ends, &record).write(&curve)?;
                return Err(StageError::Diverged {
                    loss: f64::from(loss),
                    epoch: at.epoch,
                    step: at.step,
                    curve,
                });
            }
            record.losses.push(loss);
            record.parts.extend(parts);
            let done = record.losses.len();
            let rate = ((done - first) * self.samples) as f64 / started.elapsed().as_secs_f64();
            let progress = Progress::of(done as u64, total as u64, "step")
                .noting(format!("epoch {} of {epochs}", at.epoch + 1))
                .with("loss", f64::from(loss))
                .with("samples/s", rate);
            job.progress(progress);
            if done < total && checkpoints.due(at.step + 1 == at.steps) {
                checkpoints.save(done as u64, &self.store(state, &record))?;
            }
        }
        if let Some(path) = job.optional_output(STATE) {
            self.store(state, &record).write(path)?;
        }
        Ok(self.curve(&ends, &record))
    }

    /// The steps taken when each epoch has ended.
    fn ends(&self) -> Vec<usize> {
        let end = |taken: &mut usize, steps: &usize| {
            *taken += steps;
            Some(*taken)
        };
        self.steps.iter().scan(0, end).collect()
    }

    /// Where in the training a step belongs, counted through all epochs from 0.
    fn position(&self, ends: &[usize], step: usize) -> Position {
        // After the last step, the epoch after the last.
        let epoch = ends.partition_point(|&end| end <= step);
        let steps = self.steps.get(epoch).copied().unwrap_or(0);
        let begins = epoch.checked_sub(1).map_or(0, |before| ends[before]);
        Position { epoch, step: step - begins, epochs: ends.len(), steps }
    }

    fn curve(&self, ends: &[usize], record: &Record) -> Curve {
        let point = |(step, &loss): (usize, &f32)| {
            let at = self.position(ends, step);
            Point { epoch: at.epoch, step: at.step, loss, lr: self.schedule.lr(self.lr, at) }
        };
        let part = |(at, name): (usize, &String)| {
            (name.clone(), record.parts.iter().skip(at).step_by(self.parts.len()).copied().collect())
        };
        Curve {
            points: record.losses.iter().enumerate().map(point).collect(),
            parts: self.parts.iter().enumerate().map(part).collect(),
        }
    }

    /// A state, and what the steps until it came to.
    fn store(&self, state: &impl Trained, record: &Record) -> Tensors {
        let (steps, parts) = (record.losses.len(), self.parts.len());
        let tensors = state.store().with("losses", &[steps], TensorData::F32(record.losses.clone()));
        if parts == 0 {
            return tensors;
        }
        tensors.with("parts", &[steps, parts], TensorData::F32(record.parts.clone()))
    }

    /// Takes back a state, and returns what the steps until then came to.
    fn resume(&self, state: &mut impl Trained, tensors: &Tensors) -> Result<Record, BadArtifact> {
        let losses = tensors.f32("losses")?.to_vec();
        let parts = if self.parts.is_empty() { Vec::new() } else { tensors.f32("parts")?.to_vec() };
        if parts.len() != losses.len() * self.parts.len() {
            return Err(BadArtifact::new("its losses have other parts"));
        }
        state.load(tensors)?;
        Ok(Record { losses, parts })
    }

    /// Takes over what a course of fewer epochs ended with, and returns how many, and what they came to.
    fn shorter(&self, ends: &[usize], job: &Job<'_>, state: &mut impl Trained) -> Option<(usize, Record)> {
        let tensors = Tensors::read(job.kin()?).ok()?;
        let steps = tensors.f32("losses").ok()?.len();
        let epochs = ends.iter().position(|&end| end == steps)? + 1;
        if epochs == ends.len() {
            return None;
        }
        Some((epochs, self.resume(state, &tensors).ok()?))
    }
}

impl Curve {
    /// Writes an artifact of kind `Curve`: a row a step, with `epoch`, `step` within it, `loss`, `lr` and the parts; of these, what was
    /// not measured is not a number.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let points = || self.points.iter();
        let columns = Columns::new()
            .with("epoch", Column::I64(points().map(|point| point.epoch as i64).collect()))
            .with("step", Column::I64(points().map(|point| point.step as i64).collect()))
            .with("loss", Column::F64(points().map(|point| f64::from(point.loss)).collect()))
            .with("lr", Column::F64(points().map(|point| point.lr).collect()));
        let with = |columns: Columns, (name, values): &(String, Vec<f32>)| {
            columns.with(name.as_str(), Column::F64(values.iter().copied().map(f64::from).collect()))
        };
        self.parts.iter().fold(columns, with).write(path)
    }
}

#[cfg(test)]
mod tests {
    use ablate_data::Columns;
    use ablate_stage::{Device, JobFiles, StopFlag};

    use super::*;

    /// A number that is halved at each step, and refuses to be what it was not.
    struct Halved(f32);

    impl Trained for Halved {
        fn store(&self) -> Tensors {
            Tensors::new().with("value", &[1], TensorData::F32(vec![self.0]))
        }

        fn load(&mut self, tensors: &Tensors) -> Result<(), BadArtifact> {
            let value = tensors.f32("value")?[0];
            if value <= 0.0 {
                return Err(BadArtifact::new("it is not a half of anything"));
            }
            self.0 = value;
            Ok(())
        }
    }

    fn course() -> Course {
        let parts = vec!["value".to_owned(), "rate".to_owned()];
        Course { steps: vec![2; 3], samples: 1, lr: 0.5, schedule: Schedule::Constant, parts }
    }

    /// Runs a course in a scratch folder; the loss is 1 / value, and infinite from `diverges` on.
    fn run(scratch: &Path, diverges: usize) -> Result<(f32, Curve), StageError> {
        let files = JobFiles { scratch: scratch.to_owned(), ..JobFiles::default() };
        let mut report = |_| {};
        let mut job = Job::new(files, 0, Device::Cpu, 1, StopFlag::default(), &mut report);
        let mut state = Halved(1.0);
        let curve = course().run(&mut job, &mut state, |_, state, at, lr| {
            if at.epoch * 2 + at.step == diverges {
                return Ok(Taken { loss: f32::INFINITY, parts: vec![0.0; 2] });
            }
            state.0 *= lr as f32;
            Ok(Taken { loss: 1.0 / state.0, parts: vec![state.0, lr as f32] })
        })?;
        Ok((state.0, curve))
    }

    #[test]
    fn checkpoints_that_do_not_fit_are_passed_over_for_a_fresh_start() {
        let fresh = tempfile::tempdir().unwrap();
        let expected = run(fresh.path(), usize::MAX).unwrap();
        assert_eq!(expected.0, 1.0 / 64.0);
        let values = vec![0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625];
        assert_eq!(expected.1.parts, [("value".to_owned(), values), ("rate".to_owned(), vec![0.5; 6])]);
        let alone = |tensors: Tensors| tensors.with("losses", &[1], TensorData::F32(vec![2.0]));
        let losses =
            |tensors: Tensors| alone(tensors).with("parts", &[1, 2], TensorData::F32(vec![0.5, 0.5]));
        let unfit = [
            Halved(0.25).store(),
            losses(Tensors::new()),
            losses(Halved(-1.0).store()),
            alone(Halved(0.5).store()),
            alone(Halved(0.5).store()).with("parts", &[1, 1], TensorData::F32(vec![0.5])),
        ];
        for bad in unfit {
            let scratch = tempfile::tempdir().unwrap();
            Checkpoints::open(scratch.path()).save(1, &bad).unwrap();
            assert_eq!(run(scratch.path(), usize::MAX).unwrap(), expected);
        }
        let scratch = tempfile::tempdir().unwrap();
        Checkpoints::open(scratch.path()).save(1, &losses(Halved(0.5).store())).unwrap();
        assert_eq!(run(scratch.path(), usize::MAX).unwrap(), expected, "and one that fits is gone on from");
    }

    #[test]
    fn epochs_may_differ_in_length() {
        let course = Course { steps: vec![3, 1, 2], ..course() };
        let ends = course.ends();
        assert_eq!(ends, [3, 4, 6]);
        let places = (0..7).map(|step| course.position(&ends, step)).map(|at| (at.epoch, at.step, at.steps));
        let expected = [(0, 0, 3), (0, 1, 3), (0, 2, 3), (1, 0, 1), (2, 0, 2), (2, 1, 2), (3, 0, 0)];
        assert_eq!(places.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_loss_that_is_not_finite_keeps_the_curve() {
        let scratch = tempfile::tempdir().unwrap();
        let message = run(scratch.path(), 3).unwrap_err().to_string();
        let curve = scratch.path().join("curve.parquet");
        assert_eq!(
            message,
            format!(
                "the loss became inf in epoch 1, step 1; lower the learning rate, or raise the warm-up. The curve up to \
                 there is {}",
                curve.display()
            )
        );
        assert_eq!(Columns::read(&curve).unwrap().get("loss"), Some(&Column::F64(vec![2.0, 4.0, 8.0])));
    }
}
