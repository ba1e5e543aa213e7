//! Batch norm and ReLU, forward and backward, on slices: `[rows, channels]`.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

/// Rows whose sums are taken in one go.
const ROWS: usize = 512;

/// Sums over rows of two quantities a channel, in f64 over blocks of rows taken in order.
fn sums(
    rows: usize,
    channels: usize,
    block: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync,
) -> [Vec<f64>; 2] {
    let arch = Arch::new();
    let partial: Vec<(Vec<f32>, Vec<f32>)> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|at| {
            let (mut a, mut b) = (vec![0.0; channels], vec![0.0; channels]);
            arch.dispatch(|| block(at * ROWS..((at + 1) * ROWS).min(rows), &mut a, &mut b));
            (a, b)
        })
        .collect();
    let mut totals = [vec![0.0; channels], vec![0.0; channels]];
    for (a, b) in &partial {
        for (totals, values) in totals.iter_mut().zip([a, b]) {
            for (total, &value) in totals.iter_mut().zip(values) {
                *total += f64::from(value);
            }
        }
    }
    totals
}

/// Mean and biased variance of each channel of `[rows, channels]`.
pub(super) fn moments(values: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = values.len() / channels;
    let [sum, _] = sums(rows, channels, |rows, sum, _| {
        for row in values[rows.start * channels..rows.end * channels].chunks_exact(channels) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
    });
    let mean: Vec<f32> = sum.iter().map(|sum| (sum / rows as f64) as f32).collect();
    // A second pass, about the mean: sums of squares less the squared mean would cancel.
    let [squares, _] = sums(rows, channels, |rows, squares, _| {
        for row in values[rows.start * channels..rows.end * channels].chunks_exact(channels) {
            for ((sum, value), mean) in squares.iter_mut().zip(row).zip(&mean) {
                *sum += (value - mean) * (value - mean);
            }
        }
    });
    let variance = squares.iter().map(|sum| (sum / rows as f64) as f32).collect();
    (mean, variance)
}

/// A batch norm, by channel.
pub(super) struct Norm<'a> {
    pub mean: &'a [f32],
    pub variance: &'a [f32],
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub epsilon: f64,
}

impl Norm<'_> {
    /// 1 / √(variance + ε).
    fn inverse_std(&self) -> Vec<f32> {
        let inverse = |&variance: &f32| (1.0 / (f64::from(variance) + self.epsilon).sqrt()) as f32;
        self.variance.iter().map(inverse).collect()
    }

    /// The factor and summand a channel's values get.
    fn affine(&self, inverse_std: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let factor: Vec<f32> =
            self.scale.iter().zip(inverse_std).map(|(scale, inverse)| scale * inverse).collect();
        let summand = self.shift.iter().zip(self.mean).zip(&factor);
        (factor.clone(), summand.map(|((shift, mean), factor)| shift - mean * factor).collect())
    }
}

/// (x − mean) / √(variance + ε) · scale + shift, and max(0, ·) if `relu`.
pub(super) fn normalise(values: &[f32], norm: &Norm<'_>, relu: bool) -> Vec<f32> {
    let (factor, summand) = norm.affine(&norm.inverse_std());
    let mut y = vec![0.0; values.len()];
    let block = ROWS * factor.len();
    let arch = Arch::new();
    y.par_chunks_mut(block).zip(values.par_chunks(block)).for_each(|(y, values)| {
        arch.dispatch(|| {
            y.copy_from_slice(values);
            affine_rows(y, &factor, &summand, relu);
        });
    });
    y
}

/// x ← x · factor + summand by channel, and max(0, ·) if `relu`.
pub(super) fn affine(values: &mut [f32], factor: &[f32], summand: &[f32], relu: bool) {
    let arch = Arch::new();
    let rows = values.par_chunks_mut(ROWS * factor.len());
    rows.for_each(|rows| arch.dispatch(|| affine_rows(rows, factor, summand, relu)));
}

#[inline(always)]
fn affine_rows(rows: &mut [f32], factor: &[f32], summand: &[f32], relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for row in rows.chunks_exact_mut(factor.len()) {
        for ((value, factor), summand) in row.iter_mut().zip(factor).zip(summand) {
            *value = (*value * factor + summand).max(floor);
        }
    }
}

/// The gradients of a batch norm's parameters.
pub(super) struct NormGradients {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Through ReLU and batch norm: turns `dy`, the gradient of the output, into that of the input.
///
/// With x̂ = (x − mean) / √(variance + ε) and g the gradient after the ReLU's mask, over n rows:
/// dshift = Σ g, dscale = Σ g x̂, dx = scale / √(variance + ε) · (g − dshift / n − x̂ dscale / n).
pub(super) fn normalise_backward(
    values: &[f32],
    dy: &mut [f32],
    norm: &Norm<'_>,
    relu: bool,
) -> NormGradients {
    let channels = norm.mean.len();
    let rows = values.len() / channels;
    let inverse_std = norm.inverse_std();
    let (factor, summand) = norm.affine(&inverse_std);
    // The ReLU lets through where its input is above this. Multiplied rather than chosen by a branch, which would be
    // mispredicted every other time.
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let [dshift, dscale] = sums(rows, channels, |rows, shift, scale| {
        let range = rows.start * channels..rows.end * channels;
        // Slices of one length, so that the loop over channels has no bounds to check and is vectorised.
        let (shift, scale) = (&mut shift[..channels], &mut scale[..channels]);
        let (factor, summand) = (&factor[..channels], &summand[..channels]);
        let (mean, inverse_std) = (&norm.mean[..channels], &inverse_std[..channels]);
        for (row, dy) in values[range.clone()].chunks_exact(channels).zip(dy[range].chunks_exact(channels)) {
            for at in 0..channels {
                let open = f32::from(row[at] * factor[at] + summand[at] > floor);
                let g = open * dy[at];
                shift[at] += g;
                scale[at] += g * ((row[at] - mean[at]) * inverse_std[at]);
            }
        }
    });
    // dx = a g − b − c x, with a, b, c by channel.
    let n = rows as f64;
    let slope =
        |channel: usize| f64::from(factor[channel]) * dscale[channel] / n * f64::from(inverse_std[channel]);
    let c: Vec<f32> = (0..channels).map(|channel| slope(channel) as f32).collect();
    let b = (0..channels).map(|channel| {
        f64::from(factor[channel]) * dshift[channel] / n - slope(channel) * f64::from(norm.mean[channel])
    });
    let b: Vec<f32> = b.map(|b| b as f32).collect();
    let block = ROWS * channels;
    let arch = Arch::new();
    dy.par_chunks_mut(block).zip(values.par_chunks(block)).for_each(|(dy, values)| {
        arch.dispatch(|| {
            let (factor, summand) = (&factor[..channels], &summand[..channels]);
            let (b, c) = (&b[..channels], &c[..channels]);
            for (dy, row) in dy.chunks_exact_mut(channels).zip(values.chunks_exact(channels)) {
                for at in 0..channels {
                    let open = f32::from(row[at] * factor[at] + summand[at] > floor);
                    let g = open * dy[at];
                    dy[at] = factor[at] * g - b[at] - c[at] * row[at];
                }
            }
        });
    });
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
    NormGradients { scale: narrow(dscale), shift: narrow(dshift) }
}
