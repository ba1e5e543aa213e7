//! The stage that asks what a linear classifier reads off embeddings.

use std::path::Path;

use ablate_data::random::Draws;
use ablate_data::{Column, Columns};
use ablate_stage::{
    ArtifactKind, FieldError, Job, Metrics, Port, Progress, Request, Split, Stage, StageError,
};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{Embeddings, Labelled};
use crate::metrics::{accuracy, mean_and_std};
use crate::rows;

/// Rows a chunk of a product.
const CHUNK: usize = 512;
/// Most parts a gradient is summed in: a bound on memory, and a fixed order of addition.
const PARTS: usize = 16;

/// Trains a linear classifier on the training split's embeddings and reports its accuracy on the test split.
///
/// The protocol of SSL-GraphNNCLR's evaluation: softmax regression, cross-entropy, Adam over the whole training split at
/// once, repeated from new initial weights (Xavier uniform, bias 0). Input `embeddings`. Outputs: `metrics`, the means over
/// the repeats `accuracy` and `train_accuracy`, and the population standard deviation `accuracy_std`; `predictions`, a row
/// a labelled sample of the train and test splits, by the first repeat: `index` (row of the data set), `split`, `label`,
/// `prediction`, and its probability `confidence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinearEval {
    /// Steps of Adam, each over the whole training split.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
    /// Decay added to the gradient of the weights, not of the bias.
    pub weight_decay: f64,
    /// Times it is trained from new initial weights.
    pub repeats: usize,
    /// Whether features are first given mean 0 and variance 1 over the training split. The original has them as they
    /// are, and then 100 steps stop well short of the optimum for features of small scale, such as unit vectors: the
    /// figure measures scale as much as content. A published figure is reproduced with `false`.
    pub standardise: bool,
}

impl Default for LinearEval {
    fn default() -> Self {
        Self { steps: 100, lr: 0.01, weight_decay: 0.0, repeats: 20, standardise: true }
    }
}

/// What a probe says of a sample.
#[derive(Clone, Copy, Debug)]
struct Prediction {
    class: i64,
    probability: f32,
}

/// `repeats` softmax regressions side by side, so that each product is one large one: class c of repeat r is column
/// r · classes + c.
struct Probes {
    classes: usize,
    /// `[D + 1, repeats · classes]`; the last row is the bias.
    weights: Array2<f32>,
}

impl Probes {
    /// Xavier uniform weights (Glorot and Bengio 2010), bias 0.
    fn new(dim: usize, classes: usize, repeats: usize, draws: &mut Draws) -> Self {
        let bound = (6.0 / (dim + classes) as f64).sqrt();
        let mut weights = Array2::zeros((dim + 1, repeats * classes));
        let mut drawn = weights.slice_axis_mut(Axis(0), Slice::from(..dim));
        for repeat in 0..repeats {
            let columns = Slice::from(repeat * classes..(repeat + 1) * classes);
            drawn.slice_axis_mut(Axis(1), columns).mapv_inplace(|_| draws.range(-bound, bound) as f32);
        }
        Self { classes, weights }
    }

    /// `[rows, repeats · classes]`.
    fn logits(&self, rows: ArrayView2<'_, f32>) -> Array2<f32> {
        let dim = rows.ncols();
        let bias = self.weights.row(dim);
        let mut logits = Array2::from_shape_fn((rows.nrows(), bias.len()), |(_, column)| bias[column]);
        let weights = self.weights.slice_axis(Axis(0), Slice::from(..dim));
        general_mat_mul(1.0, &rows, &weights, 1.0, &mut logits);
        logits
    }

    /// The gradient of the mean cross-entropy over `rows` `[N, D]`, summed over the repeats (each column belongs to one).
    fn gradient(&self, rows: ArrayView2<'_, f32>, classes: &[usize]) -> Array2<f32> {
        let part = rows.nrows().div_ceil(PARTS).next_multiple_of(CHUNK);
        let parts: Vec<Array2<f32>> = (0..rows.nrows().div_ceil(part))
            .into_par_iter()
            .map(|at| {
                let end = ((at + 1) * part).min(rows.nrows());
                let mut sum = Array2::zeros(self.weights.raw_dim());
                for first in (at * part..end).step_by(CHUNK) {
                    let chunk = first..(first + CHUNK).min(end);
                    let rows = rows.slice_axis(Axis(0), Slice::from(chunk.clone()));
                    self.add_gradient(rows, &classes[chunk], &mut sum);
                }
                sum
            })
            .collect();
        let mut parts = parts.into_iter();
        let first = parts.next().expect("at least one row");
        let sum = parts.fold(first, |sum, part| sum + part);
        sum / rows.nrows() as f32
    }

    fn add_gradient(&self, rows: ArrayView2<'_, f32>, classes: &[usize], sum: &mut Array2<f32>) {
        let mut error = self.logits(rows);
        for (mut row, &class) in error.outer_iter_mut().zip(classes) {
            let row = row.as_slice_mut().expect("row-major");
            for probe in row.chunks_exact_mut(self.classes) {
                softmax(probe);
                probe[class] -= 1.0;
            }
        }
        let dim = rows.ncols();
        let mut weights = sum.slice_axis_mut(Axis(0), Slice::from(..dim));
        general_mat_mul(1.0, &rows.t(), &error, 1.0, &mut weights);
        sum.row_mut(dim).scaled_add(1.0, &error.sum_axis(Axis(0)));
    }

    /// Each repeat's most probable class of each row, `[repeats][N]`; of equals, the lowest.
    fn predict(&self, samples: ArrayView2<'_, f32>) -> Vec<Vec<Prediction>> {
        let repeats = self.weights.ncols() / self.classes;
        let chunks: Vec<ArrayView2<'_, f32>> = samples.axis_chunks_iter(Axis(0), CHUNK).collect();
        let of_chunk = |samples: ArrayView2<'_, f32>| {
            let mut logits = self.logits(samples);
            let mut predictions = vec![Vec::with_capacity(samples.nrows()); repeats];
            for mut row in logits.outer_iter_mut() {
                let row = row.as_slice_mut().expect("row-major");
                for (probe, predictions) in row.chunks_exact_mut(self.classes).zip(&mut predictions) {
                    softmax(probe);
                    let class = rows::largest(probe);
                    predictions.push(Prediction { class: class as i64, probability: probe[class] });
                }
            }
            predictions
        };
        // Logits are reduced where they are made: those of all samples would take classes times as much memory.
        let chunks: Vec<Vec<Vec<Prediction>>> = chunks.into_par_iter().map(of_chunk).collect();
        (0..repeats).map(|repeat| chunks.iter().flat_map(|of| &of[repeat]).copied().collect()).collect()
    }
}

fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
    let total: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= total);
}

/// Adam (Kingma and Ba 2015, algorithm 1) with PyTorch's defaults.
struct Adam {
    first: Array2<f32>,
    second: Array2<f32>,
    steps: i32,
}

impl Adam {
    fn new(like: &Array2<f32>) -> Self {
        Self { first: Array2::zeros(like.raw_dim()), second: Array2::zeros(like.raw_dim()), steps: 0 }
    }

    fn step(&mut self, weights: &mut Array2<f32>, gradient: &Array2<f32>, lr: f64) {
        let (beta1, beta2, epsilon) = (0.9_f32, 0.999_f32, 1e-8_f32);
        self.steps += 1;
        let rate = (lr / (1.0 - f64::from(beta1).powi(self.steps))) as f32;
        let scale = (1.0 - f64::from(beta2).powi(self.steps)).sqrt() as f32;
        ndarray::Zip::from(weights).and(gradient).and(&mut self.first).and(&mut self.second).for_each(
            |weight, &gradient, first, second| {
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *weight -= rate * *first / (second.sqrt() / scale + epsilon);
            },
        );
    }
}

impl LinearEval {
    /// The trained probes for `rows` `[N, D]` with `labels` in `0..classes`.
    fn train(
        &self,
        rows: ArrayView2<'_, f32>,
        labels: &[usize],
        classes: usize,
        job: &mut Job<'_>,
    ) -> Result<Probes, StageError> {
        let mut draws = Draws::named(job.seed(), "linear probe");
        let mut probes = Probes::new(rows.ncols(), classes, self.repeats, &mut draws);
        let mut adam = Adam::new(&probes.weights);
        for step in 0..self.steps {
            if job.stop_requested() {
                return Err(StageError::Stopped);
            }
            let mut gradient = probes.gradient(rows, labels);
            if self.weight_decay > 0.0 {
                let dim = rows.ncols();
                let weights = probes.weights.slice_axis(Axis(0), Slice::from(..dim));
                let mut decayed = gradient.slice_axis_mut(Axis(0), Slice::from(..dim));
                decayed.scaled_add(self.weight_decay as f32, &weights);
            }
            adam.step(&mut probes.weights, &gradient, self.lr);
            if !probes.weights.iter().all(|weight| weight.is_finite()) {
                let step = step + 1;
                let found = format!("the probe's weights are no longer finite after step {step}; lower `lr`");
                return Err(StageError::Failed(found));
            }
            job.progress(Progress::of(step as u64 + 1, self.steps as u64, "step"));
        }
        Ok(probes)
    }
}

/// Shifts and scales features to mean 0 and variance 1 over `train`; constant ones become 0.
fn standardise(train: &mut Array2<f32>, test: &mut Array2<f32>) {
    let wide = |row: ArrayView2<'_, f32>| row.mapv(f64::from);
    let mut sum = Array1::<f64>::zeros(train.ncols());
    let mut squares = Array1::<f64>::zeros(train.ncols());
    for row in train.axis_chunks_iter(Axis(0), CHUNK) {
        let row = wide(row);
        sum += &row.sum_axis(Axis(0));
        squares += &row.mapv(|value| value * value).sum_axis(Axis(0));
    }
    let n = train.nrows() as f64;
    let mean = sum / n;
    let variance = squares / n - mean.mapv(|mean| mean * mean);
    let mean = mean.mapv(|mean| mean as f32);
    let scale = variance.mapv(|variance| if variance > 1e-12 { (1.0 / variance.sqrt()) as f32 } else { 0.0 });
    for rows in [train, test] {
        rows.axis_chunks_iter_mut(Axis(0), CHUNK).for_each(|mut rows| {
            rows -= &mean;
            rows *= &scale;
        });
    }
}

impl Stage for LinearEval {
    const KIND: &'static str = "LinearEval";
    const REVISION: u32 = 1;
    const SEEDED: bool = true;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("metrics", ArtifactKind::Metrics),
            Port::required("predictions", ArtifactKind::Predictions),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (path, value) in [("steps", self.steps), ("repeats", self.repeats)] {
            if value == 0 {
                errors.push(FieldError::new(path, "must be at least 1, is 0"));
            }
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            errors.push(FieldError::new("lr", format!("must be above 0, is {}", self.lr)));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let message = format!("must be 0 or more, is {}", self.weight_decay);
            errors.push(FieldError::new("weight_decay", message));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ALL_CPUS
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let embeddings = Embeddings::from_job(job, "embeddings")?;
        let [mut train, mut test] = [embeddings.labelled(Split::Train)?, embeddings.labelled(Split::Test)?];
        if self.standardise {
            standardise(&mut train.rows, &mut test.rows);
        }
        let largest = train.labels.iter().max().expect("at least one labelled sample");
        let classes = usize::try_from(*largest).expect("labels are 0 or more") + 1;
        let targets: Vec<usize> = train.labels.iter().map(|&label| label as usize).collect();
        let probes = self.train(train.rows.view(), &targets, classes, job)?;
        let [train_predictions, test_predictions] =
            [&train, &test].map(|samples| probes.predict(samples.rows.view()));
        let accuracies = |predictions: &[Vec<Prediction>], labels: &[i64]| -> Vec<f64> {
            let classes = |repeat: &Vec<Prediction>| -> Vec<i64> { repeat.iter().map(|p| p.class).collect() };
            predictions.iter().map(|repeat| accuracy(&classes(repeat), labels)).collect()
        };
        let (test_mean, test_std) = mean_and_std(&accuracies(&test_predictions, &test.labels));
        let (train_mean, _) = mean_and_std(&accuracies(&train_predictions, &train.labels));
        let mut metrics = Metrics::default();
        metrics.insert("accuracy", test_mean);
        metrics.insert("accuracy_std", test_std);
        metrics.insert("train_accuracy", train_mean);
        metrics.write(job.output("metrics"))?;
        let parts = [(&train, &train_predictions[0]), (&test, &test_predictions[0])];
        write_predictions(&parts, &embeddings, job.output("predictions"))
    }
}

/// Writes the predictions for some samples each, in order of row.
fn write_predictions(
    parts: &[(&Labelled, &Vec<Prediction>)],
    embeddings: &Embeddings,
    path: &Path,
) -> Result<(), StageError> {
    let of_part = |(samples, predictions): &(&Labelled, &Vec<Prediction>)| -> Vec<(usize, Prediction)> {
        samples.index.iter().copied().zip(predictions.iter().copied()).collect()
    };
    let mut rows: Vec<(usize, Prediction)> = parts.iter().flat_map(of_part).collect();
    rows.sort_by_key(|&(index, _)| index);
    let integers =
        |value: &dyn Fn(&(usize, Prediction)) -> i64| Column::I64(rows.iter().map(value).collect());
    Columns::new()
        .with("index", integers(&|row| row.0 as i64))
        .with("split", integers(&|row| i64::from(embeddings.split[row.0])))
        .with("label", integers(&|row| embeddings.labels[row.0]))
        .with("prediction", integers(&|row| row.1.class))
        .with("confidence", Column::F64(rows.iter().map(|row| f64::from(row.1.probability)).collect()))
        .write(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(rows: usize, dim: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, dim), |(i, j)| (0.7 * i as f32 + 1.3 * j as f32).sin())
    }

    /// The sum over the probes of their mean cross-entropies, in f64.
    fn loss(weights: &Array2<f64>, rows: &Array2<f32>, labels: &[usize], classes: usize) -> f64 {
        let dim = rows.ncols();
        let mut total = 0.0;
        for (row, &label) in rows.outer_iter().zip(labels) {
            let logit = |column: usize| -> f64 {
                let product = |j: usize| f64::from(row[j]) * weights[[j, column]];
                weights[[dim, column]] + (0..dim).map(product).sum::<f64>()
            };
            for first in (0..weights.ncols()).step_by(classes) {
                let exponentials: f64 = (0..classes).map(|class| logit(first + class).exp()).sum();
                total += exponentials.ln() - logit(first + label);
            }
        }
        total / rows.nrows() as f64
    }

    #[test]
    fn the_gradient_equals_finite_differences() {
        let (rows, classes, repeats) = (waves(1100, 4), 3, 2);
        let labels: Vec<usize> = (0..1100).map(|i| i * i % classes).collect();
        let probes = Probes::new(4, classes, repeats, &mut Draws::named(1, "test"));
        let found = probes.gradient(rows.view(), &labels);
        let weights = probes.weights.mapv(f64::from);
        for ((i, j), &found) in found.indexed_iter() {
            let at = |by: f64| {
                let mut moved = weights.clone();
                moved[[i, j]] += by;
                loss(&moved, &rows, &labels, classes)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(found) - expected).abs() < 1e-5, "[{i}, {j}]: {found}, expected {expected}");
        }
    }

    #[test]
    fn adam_follows_its_formulas() {
        let start = [0.5, -1.25, 2.0];
        let mut weights = Array2::from_shape_vec((1, 3), start.map(|w| w as f32).to_vec()).unwrap();
        let mut adam = Adam::new(&weights);
        let mut slow = start.map(|w: f64| (w, 0.0, 0.0));
        for step in 1..=6 {
            let gradient = weights.mapv(|w| 0.3 * w * w - 0.1);
            adam.step(&mut weights, &gradient, 0.05);
            for (w, m, v) in &mut slow {
                let g = 0.3 * *w * *w - 0.1;
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let (m_hat, v_hat) = (*m / (1.0 - 0.9f64.powi(step)), *v / (1.0 - 0.999f64.powi(step)));
                *w -= 0.05 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (found, (expected, ..)) in weights.iter().zip(slow) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
    }

    #[test]
    fn features_are_standardised_by_the_training_split() {
        let mut train = ndarray::array![[1.0, 5.0], [3.0, 5.0]];
        let mut test = ndarray::array![[5.0, 9.0]];
        standardise(&mut train, &mut test);
        assert_eq!(train, ndarray::array![[-1.0, 0.0], [1.0, 0.0]]);
        assert_eq!(test, ndarray::array![[3.0, 0.0]]);
    }
}
