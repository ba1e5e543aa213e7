//! The arithmetic, on slices. Images are `[B, H, W, C]`, so a row of a kernel's window is one run of memory.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

/// Elements of a block of im2col: what stays in a core's cache.
const BLOCK: usize = 1 << 17;
/// Rows whose sums are taken in one go.
const ROWS: usize = 512;
/// Most parts a weight gradient is summed in.
const PARTS: usize = 16;

/// The shape of a convolution: square kernel, padded by half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// B.
    pub batch: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// C.
    pub input: usize,
    /// O.
    pub output: usize,
    /// k.
    pub kernel: usize,
    /// Stride, both ways.
    pub stride: usize,
}

impl Geometry {
    fn out(&self, length: usize) -> usize {
        (length + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    fn lines_per_image(&self) -> usize {
        self.out(self.height)
    }

    fn line(&self) -> usize {
        self.out(self.width)
    }

    /// Elements under the kernel.
    fn window(&self) -> usize {
        self.kernel * self.kernel * self.input
    }

    /// `[B, H, W, C]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.height, self.width, self.input]
    }

    /// `[B, H′, W′, O]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.lines_per_image(), self.line(), self.output]
    }

    /// `[O, C, k, k]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.output, self.input, self.kernel, self.kernel]
    }

    /// Output lines whose windows fill a block.
    fn lines_per_block(&self) -> usize {
        (BLOCK / (self.line() * self.window())).max(1)
    }

    /// `[O, C, k, k]` to `[O, k, k, C]`, the order of windows.
    fn window_ordered(self, weight: &[f32]) -> Vec<f32> {
        let (k2, c) = (self.kernel * self.kernel, self.input);
        let mut ordered = vec![0.0; weight.len()];
        for (from, to) in weight.chunks_exact(k2 * c).zip(ordered.chunks_exact_mut(k2 * c)) {
            for place in 0..k2 {
                for channel in 0..c {
                    to[place * c + channel] = from[channel * k2 + place];
                }
            }
        }
        ordered
    }

    /// The inverse of [`window_ordered`](Self::window_ordered).
    fn unordered(self, ordered: &[f32]) -> Vec<f32> {
        let (k2, c) = (self.kernel * self.kernel, self.input);
        let mut weight = vec![0.0; ordered.len()];
        for (from, to) in ordered.chunks_exact(k2 * c).zip(weight.chunks_exact_mut(k2 * c)) {
            for place in 0..k2 {
                for channel in 0..c {
                    to[channel * k2 + place] = from[place * c + channel];
                }
            }
        }
        weight
    }

    /// Calls `run(in window, in image)` for every run of a kernel row that lies inside the image, over the output pixels
    /// of `lines` (counted through the whole batch), windows counted from the first.
    fn for_each_run(&self, lines: Range<usize>, mut run: impl FnMut(Range<usize>, Range<usize>)) {
        let (c, k, half) = (self.input, self.kernel, self.kernel / 2);
        let mut window = 0;
        for line in lines {
            let (image, y) = (line / self.lines_per_image(), line % self.lines_per_image());
            for x in 0..self.line() {
                // Columns of the kernel inside the image.
                let left = x * self.stride;
                let first = half.saturating_sub(left);
                let last = k.min(self.width + half - left);
                for row in 0..k {
                    let at = y * self.stride + row;
                    if at >= half && at - half < self.height && first < last {
                        let start = window + (row * k + first) * c;
                        let pixel = (image * self.height + at - half) * self.width + left + first - half;
                        let length = (last - first) * c;
                        run(start..start + length, pixel * c..pixel * c + length);
                    }
                }
                window += self.window();
            }
        }
    }
}

fn matrix(values: &[f32], rows: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, values.len() / rows), values).expect("rows divide the values")
}

fn matrix_mut(values: &mut [f32], rows: usize) -> ArrayViewMut2<'_, f32> {
    let columns = values.len() / rows;
    ArrayViewMut2::from_shape((rows, columns), values).expect("rows divide the values")
}

/// The convolution of `x` with `weight`, without bias.
pub(super) fn convolve(geometry: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let weight = geometry.window_ordered(weight);
    let weight = matrix(&weight, geometry.output);
    let mut y = vec![0.0; geometry.output_shape().iter().product()];
    let (line, window) = (geometry.line(), geometry.window());
    let block = geometry.lines_per_block();
    y.par_chunks_mut(block * line * geometry.output).enumerate().for_each_init(
        Vec::new,
        |columns, (at, y)| {
            let pixels = y.len() / geometry.output;
            columns.clear();
            columns.resize(pixels * window, 0.0);
            let first = at * block;
            geometry.for_each_run(first..first + pixels / line, |to, from| {
                columns[to].copy_from_slice(&x[from]);
            });
            general_mat_mul(1.0, &matrix(columns, pixels), &weight.t(), 0.0, &mut matrix_mut(y, pixels));
        },
    );
    y
}

/// The gradients of a convolution: of its input, if `need_input`, and of its weight.
pub(super) fn convolve_backward(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    need_input: bool,
) -> (Option<Vec<f32>>, Vec<f32>) {
    let weight = geometry.window_ordered(weight);
    let weight = matrix(&weight, geometry.output);
    let images_per_part = geometry.batch.div_ceil(PARTS).max(1);
    let image = geometry.height * geometry.width * geometry.input;
    let mut dx = if need_input { vec![0.0; geometry.batch * image] } else { Vec::new() };
    let parts = geometry.batch.div_ceil(images_per_part);
    let mut inputs: Vec<&mut [f32]> = if need_input {
        dx.chunks_mut(images_per_part * image).collect()
    } else {
        (0..parts).map(|_| <&mut [f32]>::default()).collect()
    };
    let partial: Vec<Vec<f32>> = inputs
        .par_iter_mut()
        .enumerate()
        .map(|(part, dx)| {
            let images = part * images_per_part..((part + 1) * images_per_part).min(geometry.batch);
            backward_of_part(geometry, x, &weight, dy, images, dx)
        })
        .collect();
    let mut dw = vec![0.0; weight.len()];
    dw.par_chunks_mut(4096).enumerate().for_each(|(at, dw)| {
        for part in &partial {
            for (sum, value) in dw.iter_mut().zip(&part[at * 4096..]) {
                *sum += value;
            }
        }
    });
    (need_input.then_some(dx), geometry.unordered(&dw))
}

/// The gradient of the weight, in window order, from some images; and that of these images into `dx` unless it is empty.
fn backward_of_part(
    geometry: &Geometry,
    x: &[f32],
    weight: &ArrayView2<'_, f32>,
    dy: &[f32],
    images: Range<usize>,
    dx: &mut [f32],
) -> Vec<f32> {
    let (line, window) = (geometry.line(), geometry.window());
    let origin = images.start * geometry.height * geometry.width * geometry.input;
    let lines = images.start * geometry.lines_per_image()..images.end * geometry.lines_per_image();
    let mut dw = vec![0.0; weight.len()];
    let mut columns = Vec::new();
    for first in lines.clone().step_by(geometry.lines_per_block()) {
        let block = first..(first + geometry.lines_per_block()).min(lines.end);
        let pixels = block.len() * line;
        let dy = matrix(&dy[first * line * geometry.output..][..pixels * geometry.output], pixels);
        columns.clear();
        columns.resize(pixels * window, 0.0);
        geometry.for_each_run(block.clone(), |to, from| columns[to].copy_from_slice(&x[from]));
        let mut sum = matrix_mut(&mut dw, geometry.output);
        general_mat_mul(1.0, &dy.t(), &matrix(&columns, pixels), 1.0, &mut sum);
        if !dx.is_empty() {
            general_mat_mul(1.0, &dy, weight, 0.0, &mut matrix_mut(&mut columns, pixels));
            geometry.for_each_run(block, |from, to| {
                let to = &mut dx[to.start - origin..to.end - origin];
                for (sum, value) in to.iter_mut().zip(&columns[from]) {
                    *sum += value;
                }
            });
        }
    }
    dw
}

/// Sums over rows of two quantities a channel, in f64 over blocks of rows taken in order.
fn sums(
    rows: usize,
    channels: usize,
    block: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync,
) -> [Vec<f64>; 2] {
    let partial: Vec<(Vec<f32>, Vec<f32>)> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|at| {
            let (mut a, mut b) = (vec![0.0; channels], vec![0.0; channels]);
            block(at * ROWS..((at + 1) * ROWS).min(rows), &mut a, &mut b);
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
    let mut y = values.to_vec();
    affine(&mut y, &factor, &summand, relu);
    y
}

/// x ← x · factor + summand by channel, and max(0, ·) if `relu`.
pub(super) fn affine(values: &mut [f32], factor: &[f32], summand: &[f32], relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    values.par_chunks_mut(ROWS * factor.len()).for_each(|rows| {
        for row in rows.chunks_exact_mut(factor.len()) {
            for ((value, factor), summand) in row.iter_mut().zip(factor).zip(summand) {
                *value = (*value * factor + summand).max(floor);
            }
        }
    });
}

/// The gradients through ReLU and batch norm.
pub(super) struct NormGradients {
    pub convolved: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// With x̂ = (x − mean) / √(variance + ε) and g the gradient after the ReLU's mask, over n rows:
/// dshift = Σ g, dscale = Σ g x̂, dx = scale / √(variance + ε) · (g − dshift / n − x̂ dscale / n).
pub(super) fn normalise_backward(values: &[f32], dy: &[f32], norm: &Norm<'_>, relu: bool) -> NormGradients {
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
    let mut convolved = vec![0.0; values.len()];
    let block = ROWS * channels;
    convolved.par_chunks_mut(block).enumerate().for_each(|(at, out)| {
        let range = at * block..at * block + out.len();
        let (factor, summand) = (&factor[..channels], &summand[..channels]);
        let (b, c) = (&b[..channels], &c[..channels]);
        let rows = values[range.clone()].chunks_exact(channels).zip(dy[range].chunks_exact(channels));
        for (out, (row, dy)) in out.chunks_exact_mut(channels).zip(rows) {
            for at in 0..channels {
                let open = f32::from(row[at] * factor[at] + summand[at] > floor);
                let g = open * dy[at];
                out[at] = factor[at] * g - b[at] - c[at] * row[at];
            }
        }
    });
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
    NormGradients { convolved, scale: narrow(dscale), shift: narrow(dshift) }
}
