//! Convolutions, forward and backward, on slices. Images are `[B, H, W, C]`, so that a row of a kernel's window is one run of
//! memory in an image with a border of zeros: products are taken there, in registers, and windows are never copied out.
//!
//! Each sum of products is taken in an order that the shape alone decides: in pieces of [`DEPTH`] products, one after the other.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Products that are summed before the sum is added to those before.
const DEPTH: usize = 256;
/// Most parts a weight gradient is summed in.
const PARTS: usize = 16;
/// Elements of the windows of a block, in whole lines of pixels: pieces of sums over pixels begin anew with each block. It was
/// once what was copied of the windows at a time; with another size the last bits of what was trained would be others.
const BLOCK: usize = 1 << 17;
/// Output pixels that a thread takes at a time, at least.
const PIXELS: usize = 256;
/// Most registers that stand side by side in a tile.
const WIDE: usize = 3;

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

/// Elements of a window that lie side by side in an image.
#[derive(Clone, Copy)]
struct Run {
    /// The first of them in the window.
    element: usize,
    /// Where it is, counted from where the window begins.
    place: usize,
    length: usize,
}

impl Geometry {
    fn out(&self, length: usize) -> usize {
        (length + 2 * self.border() - self.kernel) / self.stride + 1
    }

    /// `[B, H, W, C]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.height, self.width, self.input]
    }

    /// `[B, H′, W′, O]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out(self.height), self.out(self.width), self.output]
    }

    /// `[O, C, k, k]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.output, self.input, self.kernel, self.kernel]
    }

    /// Elements of an image.
    fn image(&self) -> usize {
        self.height * self.width * self.input
    }

    /// Output pixels of an image.
    fn pixels(&self) -> usize {
        self.out(self.height) * self.out(self.width)
    }

    /// Zeros around an image, in pixels.
    fn border(&self) -> usize {
        self.kernel / 2
    }

    /// Elements of a row of an image with its border.
    fn padded_row(&self) -> usize {
        (self.width + 2 * self.border()) * self.input
    }

    /// Elements of an image with its border.
    fn padded_image(&self) -> usize {
        (self.height + 2 * self.border()) * self.padded_row()
    }

    /// Elements of a row of a window.
    fn run(&self) -> usize {
        self.kernel * self.input
    }

    /// Elements of a window.
    fn window(&self) -> usize {
        self.kernel * self.run()
    }

    /// Where the windows of some images begin, in these with their borders, pixel by pixel.
    fn starts(&self, images: usize) -> Vec<usize> {
        let (lines, line) = (self.out(self.height), self.out(self.width));
        let places = (0..images).flat_map(|image| (0..lines).map(move |y| (image, y)));
        let places = places.flat_map(|(image, y)| (0..line).map(move |x| (image, y, x)));
        let start = |(image, y, x)| {
            image * self.padded_image() + self.stride * (y * self.padded_row() + x * self.input)
        };
        places.map(start).collect()
    }

    /// The runs of some elements of the window.
    fn runs(&self, elements: Range<usize>) -> impl Iterator<Item = Run> {
        let mut element = elements.start;
        std::iter::from_fn(move || {
            let (row, column) = (element / self.run(), element % self.run());
            let length = (self.run() - column).min(elements.end - element);
            let run = Run { element, place: row * self.padded_row() + column, length };
            element += length;
            (length > 0).then_some(run)
        })
    }

    /// The rows of images with and without their borders: where each begins.
    fn rows(&self, images: usize) -> impl Iterator<Item = (usize, usize)> {
        let inside = self.border() * (self.padded_row() + self.input);
        let places = (0..images).flat_map(|image| (0..self.height).map(move |y| (image, y)));
        places.map(move |(image, y)| {
            let padded = image * self.padded_image() + y * self.padded_row() + inside;
            (padded, image * self.image() + y * self.width * self.input)
        })
    }

    /// Copies images into `padded`, which has their borders.
    fn pad(&self, images: &[f32], padded: &mut Vec<f32>) {
        let count = images.len() / self.image();
        padded.resize(count * self.padded_image(), 0.0);
        let row = self.width * self.input;
        for (to, from) in self.rows(count) {
            padded[to..to + row].copy_from_slice(&images[from..from + row]);
        }
    }

    /// Copies images out of `padded`.
    fn unpad(&self, padded: &[f32], images: &mut [f32]) {
        let row = self.width * self.input;
        for (from, to) in self.rows(images.len() / self.image()) {
            images[to..to + row].copy_from_slice(&padded[from..from + row]);
        }
    }

    /// The places in `[O, C, k, k]` of the weights of a window's elements, for the first output channel; those for the next are
    /// a window's elements further on.
    fn weight_places(&self) -> Vec<usize> {
        let place = |element: usize| {
            let (pixel, channel) = (element / self.input, element % self.input);
            channel * self.kernel * self.kernel + pixel
        };
        (0..self.window()).map(place).collect()
    }

    /// Output pixels of a [block](BLOCK).
    fn block(&self) -> usize {
        let line = self.out(self.width);
        (BLOCK / (line * self.window())).max(1) * line
    }
}

fn elements(shape: [usize; 4]) -> usize {
    shape.into_iter().product()
}

/// The convolution of `x` with `weight`, without bias.
pub(super) fn convolve(arch: Arch, geometry: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), elements(geometry.input_shape()));
    assert_eq!(weight.len(), elements(geometry.weight_shape()));
    let mut panels = Panels::zeros(geometry.window(), geometry.output, arch.dispatch(Lanes));
    let places = geometry.weight_places();
    panels.for_each_row(|element, first, values| {
        let weights = weight[places[element]..].iter().step_by(geometry.window()).skip(first);
        values.iter_mut().zip(weights).for_each(|(value, weight)| *value = *weight);
    });
    let images = PIXELS.div_ceil(geometry.pixels());
    let starts = geometry.starts(images);
    let mut y = vec![0.0; elements(geometry.output_shape())];
    y.par_chunks_mut(images * geometry.pixels() * geometry.output)
        .zip(x.par_chunks(images * geometry.image()))
        .for_each_init(Vec::new, |padded, (y, images)| {
            geometry.pad(images, padded);
            let starts = &starts[..y.len() / geometry.output];
            arch.dispatch(Forward { geometry, padded, starts, weight: &panels, y });
        });
    y
}

/// The gradients of a convolution: of its input, if `need_input`, and of its weight.
pub(super) fn convolve_backward(
    arch: Arch,
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    need_input: bool,
) -> (Option<Vec<f32>>, Vec<f32>) {
    assert_eq!(x.len(), elements(geometry.input_shape()));
    assert_eq!(weight.len(), elements(geometry.weight_shape()));
    assert_eq!(dy.len(), elements(geometry.output_shape()));
    let lanes = arch.dispatch(Lanes);
    let places = geometry.weight_places();
    let row_of_window = |row: usize| {
        let mut panels = Panels::zeros(geometry.output, geometry.run(), lanes);
        panels.for_each_row(|output, first, values| {
            let weight = &weight[output * geometry.window()..];
            let places = &places[row * geometry.run() + first..];
            values.iter_mut().zip(places).for_each(|(value, &place)| *value = weight[place]);
        });
        panels
    };
    let window_rows: Vec<Panels> = (0..geometry.kernel).filter(|_| need_input).map(row_of_window).collect();

    let images = geometry.batch.div_ceil(PARTS).max(1);
    let starts = geometry.starts(images);
    let mut dx = vec![0.0; if need_input { x.len() } else { 0 }];
    let parts = geometry.batch.div_ceil(images);
    let mut inputs: Vec<&mut [f32]> = dx.chunks_mut(images * geometry.image()).collect();
    inputs.resize_with(parts, Default::default);
    let partial = inputs
        .into_par_iter()
        .zip(x.par_chunks(images * geometry.image()))
        .zip(dy.par_chunks(images * geometry.pixels() * geometry.output))
        .map_init(Default::default, |(padded, gradient): &mut (Vec<f32>, Vec<f32>), ((dx, x), dy)| {
            geometry.pad(x, padded);
            let starts = &starts[..dy.len() / geometry.output];
            let mut dw = Panels::zeros(geometry.window(), geometry.output, lanes);
            arch.dispatch(BackwardOfWeight { geometry, padded, starts, dy, dw: &mut dw });
            if need_input {
                gradient.clear();
                gradient.resize(padded.len(), 0.0);
                arch.dispatch(BackwardOfInput {
                    geometry,
                    starts,
                    dy,
                    window_rows: &window_rows,
                    dx: gradient,
                });
                geometry.unpad(gradient, dx);
            }
            dw
        });
    let partial: Vec<Panels> = partial.collect();
    let mut sum = Panels::zeros(geometry.window(), geometry.output, lanes);
    sum.values.par_chunks_mut(4096).enumerate().for_each(|(at, sum)| {
        for part in &partial {
            sum.iter_mut().zip(&part.values[at * 4096..]).for_each(|(sum, value)| *sum += value);
        }
    });
    let mut dw = vec![0.0; weight.len()];
    sum.for_each_row(|element, first, values| {
        let weights = dw[places[element]..].iter_mut().step_by(geometry.window()).skip(first);
        weights.zip(values).for_each(|(weight, value)| *weight = *value);
    });
    (need_input.then_some(dx), dw)
}

/// Columns of a matrix in panels, each of at most [`WIDE`] registers.
struct Panels {
    panels: Vec<Panel>,
    rows: usize,
    columns: usize,
    lanes: usize,
    /// By panel, then by row; columns that are not there are zero.
    values: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Panel {
    /// Its first column.
    first: usize,
    /// Registers of a row.
    registers: usize,
    /// Where its values begin.
    begin: usize,
}

impl Panels {
    fn zeros(rows: usize, columns: usize, lanes: usize) -> Self {
        let registers = columns.div_ceil(lanes);
        let count = registers.div_ceil(WIDE);
        let ends: Vec<usize> = (0..=count).map(|panel| panel * registers / count).collect();
        let panel = |ends: &[usize]| Panel {
            first: ends[0] * lanes,
            registers: ends[1] - ends[0],
            begin: ends[0] * lanes * rows,
        };
        let panels = ends.windows(2).map(panel).collect();
        Self { panels, rows, columns, lanes, values: vec![0.0; rows * registers * lanes] }
    }

    /// Calls `with(row, first column, values)` for each row of each panel.
    fn for_each_row(&mut self, mut with: impl FnMut(usize, usize, &mut [f32])) {
        for &Panel { first, registers, begin } in &self.panels {
            let width = registers * self.lanes;
            let rows = self.values[begin..][..self.rows * width].chunks_exact_mut(width);
            for (row, values) in rows.enumerate() {
                with(row, first, &mut values[..width.min(self.columns - first)]);
            }
        }
    }

    /// The rows of a panel, in registers.
    #[inline(always)]
    fn registers<S: Simd, const N: usize>(&self, panel: Panel) -> &[[S::f32s; N]] {
        let values = &self.values[panel.begin..][..self.rows * N * S::F32_LANES];
        S::as_simd_f32s(values).0.as_chunks().0
    }
}

/// Values in a register.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// At most as many values as a register holds, most often as many.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values) {
        ([all], _) => *all,
        _ => simd.partial_load_f32s(values),
    }
}

/// As [`load`].
#[inline(always)]
fn store<S: Simd>(simd: S, to: &mut [f32], values: S::f32s) {
    if let ([all], _) = S::as_mut_simd_f32s(to) {
        *all = values;
    } else {
        simd.partial_store_f32s(to, values);
    }
}

/// Rows of a tile: as many as there are registers for.
const fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// Calls a method for tiles of [`tile_rows`], as many registers wide as a panel.
macro_rules! for_tiles {
    ($simd:ident, $registers:expr, $this:ident.$method:ident($($argument:expr),*)) => {
        match ($registers, tile_rows::<S>()) {
            (1, 8) => $this.$method::<S, 8, 1>($simd, $($argument),*),
            (2, 8) => $this.$method::<S, 8, 2>($simd, $($argument),*),
            (_, 8) => $this.$method::<S, 8, WIDE>($simd, $($argument),*),
            (1, _) => $this.$method::<S, 4, 1>($simd, $($argument),*),
            (2, _) => $this.$method::<S, 4, 2>($simd, $($argument),*),
            (_, _) => $this.$method::<S, 4, WIDE>($simd, $($argument),*),
        }
    };
}

/// The convolution of some images.
struct Forward<'a> {
    geometry: &'a Geometry,
    padded: &'a [f32],
    starts: &'a [usize],
    /// By element of the window, and output channel.
    weight: &'a Panels,
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (weight, window) = (self.weight, self.geometry.window());
        for begin in (0..window).step_by(DEPTH) {
            let elements = begin..window.min(begin + DEPTH);
            let runs: Vec<Run> = self.geometry.runs(elements).collect();
            for &panel in &weight.panels {
                for_tiles!(simd, panel.registers, self.panel(panel, &runs));
            }
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, panel: Panel, runs: &[Run]) {
        let weight = self.weight.registers::<S, N>(panel);
        let is_first = runs[0].element == 0;
        for tile in (0..self.starts.len()).step_by(M) {
            let last = self.starts.len() - 1;
            let mut starts = [0; M];
            for (m, start) in starts.iter_mut().enumerate() {
                *start = self.starts[last.min(tile + m)];
            }
            let mut sums = [[simd.splat_f32s(0.0); N]; M];
            for &Run { element, place, length } in runs {
                let mut x: [&[f32]; M] = [&[]; M];
                for (x, start) in x.iter_mut().zip(starts) {
                    *x = &self.padded[start + place..][..length];
                }
                let weight = &weight[element..][..length];
                for at in 0..length {
                    for m in 0..M {
                        let x = simd.splat_f32s(x[m][at]);
                        for n in 0..N {
                            sums[m][n] = simd.mul_add_e_f32s(x, weight[at][n], sums[m][n]);
                        }
                    }
                }
            }
            for (pixel, sums) in (tile..=last).zip(sums) {
                let columns = pixel * self.geometry.output..(pixel + 1) * self.geometry.output;
                let to = self.y[columns][panel.first..].chunks_mut(S::F32_LANES);
                for (to, mut sum) in to.zip(sums) {
                    if !is_first {
                        sum = simd.add_f32s(load(simd, to), sum);
                    }
                    store(simd, to, sum);
                }
            }
        }
    }
}

/// The gradient of the weight, from some images.
struct BackwardOfWeight<'a> {
    geometry: &'a Geometry,
    padded: &'a [f32],
    starts: &'a [usize],
    dy: &'a [f32],
    /// By element of the window, and output channel.
    dw: &'a mut Panels,
}

impl WithSimd for BackwardOfWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let outputs = self.geometry.output;
        let runs: Vec<Run> = self.geometry.runs(0..self.geometry.window()).collect();
        let mut gradient = Panels::zeros(DEPTH, outputs, S::F32_LANES);
        let blocks = self.starts.chunks(self.geometry.block());
        for (starts, dy) in blocks.zip(self.dy.chunks(self.geometry.block() * outputs)) {
            for (starts, dy) in starts.chunks(DEPTH).zip(dy.chunks(DEPTH * outputs)) {
                gradient.for_each_row(|pixel, first, values| {
                    if let Some(dy) = dy.chunks_exact(outputs).nth(pixel) {
                        values.copy_from_slice(&dy[first..][..values.len()]);
                    }
                });
                for panel in 0..gradient.panels.len() {
                    let registers = gradient.panels[panel].registers;
                    for_tiles!(simd, registers, self.panel(panel, starts, &gradient, &runs));
                }
            }
        }
    }
}

impl BackwardOfWeight<'_> {
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        panel: usize,
        starts: &[usize],
        gradient: &Panels,
        runs: &[Run],
    ) {
        let dy = &gradient.registers::<S, N>(gradient.panels[panel])[..starts.len()];
        for &Run { element, place, length } in runs {
            let mut done = 0;
            while done < length {
                if length < M {
                    self.tile::<S, 1, N>(simd, panel, (element + done, 0), (place + done, starts), dy);
                    done += 1;
                } else {
                    // The last tile begins among the elements of the one before.
                    let at = done.min(length - M);
                    self.tile::<S, M, N>(simd, panel, (element + at, done - at), (place + at, starts), dy);
                    done = at + M;
                }
            }
        }
    }

    /// The products of `M` elements of the windows from one on, but for those that are done.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        panel: usize,
        (element, done): (usize, usize),
        (place, starts): (usize, &[usize]),
        dy: &[[S::f32s; N]],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        for (start, dy) in starts.iter().zip(dy) {
            let x = &self.padded[start + place..][..M];
            for m in 0..M {
                let x = simd.splat_f32s(x[m]);
                for n in 0..N {
                    sums[m][n] = simd.mul_add_e_f32s(x, dy[n], sums[m][n]);
                }
            }
        }
        let width = N * S::F32_LANES;
        let begin = self.dw.panels[panel].begin + element * width;
        let (dw, _) = S::as_mut_simd_f32s(&mut self.dw.values[begin..][..M * width]);
        for (dw, sums) in dw.chunks_exact_mut(N).zip(sums).skip(done) {
            for (dw, sum) in dw.iter_mut().zip(sums) {
                *dw = simd.add_f32s(*dw, sum);
            }
        }
    }
}

/// The gradient of some images.
struct BackwardOfInput<'a> {
    geometry: &'a Geometry,
    starts: &'a [usize],
    dy: &'a [f32],
    /// By row of the window: the weights by output channel, and element of that row.
    window_rows: &'a [Panels],
    /// With borders; zero before.
    dx: &'a mut [f32],
}

impl WithSimd for BackwardOfInput<'_> {
    type Output = ();

    /// What an element of an image gets from several windows is added in the order of these: of pixels in a tile, later ones have
    /// it earlier in their windows, which are therefore gone through from their ends.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for tile in (0..self.starts.len()).step_by(tile_rows::<S>()) {
            for (row, panels) in self.window_rows.iter().enumerate().rev() {
                for &panel in panels.panels.iter().rev() {
                    for_tiles!(simd, panel.registers, self.tile(tile, row, panel));
                }
            }
        }
    }
}

impl BackwardOfInput<'_> {
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        tile: usize,
        row: usize,
        panel: Panel,
    ) {
        let (outputs, run) = (self.geometry.output, self.geometry.run());
        let last = self.starts.len() - 1;
        let mut dy: [&[f32]; M] = [&[]; M];
        for (m, dy) in dy.iter_mut().enumerate() {
            *dy = &self.dy[last.min(tile + m) * outputs..][..outputs];
        }
        let weight = &self.window_rows[row].registers::<S, N>(panel)[..outputs];
        let mut totals = [[simd.splat_f32s(0.0); N]; M];
        for begin in (0..outputs).step_by(DEPTH) {
            let mut sums = [[simd.splat_f32s(0.0); N]; M];
            for at in begin..outputs.min(begin + DEPTH) {
                for m in 0..M {
                    let dy = simd.splat_f32s(dy[m][at]);
                    for n in 0..N {
                        sums[m][n] = simd.mul_add_e_f32s(dy, weight[at][n], sums[m][n]);
                    }
                }
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total = simd.add_f32s(*total, sum);
                }
            }
        }
        for (start, totals) in self.starts[tile..].iter().zip(totals) {
            let place = start + row * self.geometry.padded_row();
            let to = self.dx[place..place + run][panel.first..].chunks_mut(S::F32_LANES);
            for (to, total) in to.zip(totals) {
                let sum = simd.add_f32s(load(simd, to), total);
                store(simd, to, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(length: usize, phase: f64) -> Vec<f32> {
        (0..length).map(|at| (phase + 1.7 * at as f64 + 0.3 * (at as f64).sqrt()).sin() as f32).collect()
    }

    /// Input, weight, and gradient of the output.
    fn operands(geometry: &Geometry) -> [Vec<f32>; 3] {
        let (x, weight) = (elements(geometry.input_shape()), elements(geometry.weight_shape()));
        [wave(x, 0.1), wave(weight, 0.7), wave(elements(geometry.output_shape()), 0.4)]
    }

    /// Output, and the gradients of input and weight.
    fn sums(arch: Arch, geometry: &Geometry) -> [Vec<f32>; 3] {
        let [x, weight, dy] = operands(geometry);
        let (dx, dw) = convolve_backward(arch, geometry, &x, &weight, &dy, true);
        let (none, same) = convolve_backward(arch, geometry, &x, &weight, &dy, false);
        assert_eq!((none, &same), (None, &dw));
        [convolve(arch, geometry, &x, &weight), dx.unwrap(), dw]
    }

    /// Products summed in pieces of [`DEPTH`], one after the other.
    fn in_pieces(products: &[(f32, f32)]) -> Option<f32> {
        let piece = |piece: &[(f32, f32)]| piece.iter().fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
        products.chunks(DEPTH).map(piece).reduce(|sum, piece| sum + piece)
    }

    /// The same one by one, in the order that the module promises.
    fn one_by_one(geometry: &Geometry) -> [Vec<f32>; 3] {
        let Geometry { batch, height, width, input, output, kernel, stride } = *geometry;
        let [x, weight, dy] = operands(geometry);
        let [_, lines, line, _] = geometry.output_shape();
        let pixels: Vec<(usize, usize, usize)> = (0..batch)
            .flat_map(|image| (0..lines).flat_map(move |y| (0..line).map(move |x| (image, y, x))))
            .collect();
        let window: Vec<(usize, usize, usize)> = (0..kernel)
            .flat_map(|row| (0..kernel).flat_map(move |column| (0..input).map(move |c| (row, column, c))))
            .collect();
        // Where in the images an element of the window of a pixel is, but for those outside.
        let place = |&(image, y, x): &(usize, usize, usize), &(row, column, c): &(usize, usize, usize)| {
            let y = (y * stride + row).checked_sub(kernel / 2).filter(|&y| y < height)?;
            let x = (x * stride + column).checked_sub(kernel / 2).filter(|&x| x < width)?;
            Some(((image * height + y) * width + x) * input + c)
        };
        let value = |pixel, element| place(pixel, element).map_or(0.0, |at| x[at]);
        let place_of_weight = |o: usize, &(row, column, c): &(usize, usize, usize)| {
            ((o * input + c) * kernel + row) * kernel + column
        };
        let mut sums = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]];
        for (at, pixel) in pixels.iter().enumerate() {
            for o in 0..output {
                let product = |element| (value(pixel, element), weight[place_of_weight(o, element)]);
                let products: Vec<(f32, f32)> = window.iter().map(product).collect();
                sums[0][at * output + o] = in_pieces(&products).unwrap();
            }
            for element in &window {
                let Some(to) = place(pixel, element) else { continue };
                let product = |o: usize| (dy[at * output + o], weight[place_of_weight(o, element)]);
                let products: Vec<(f32, f32)> = (0..output).map(product).collect();
                sums[1][to] += in_pieces(&products).unwrap();
            }
        }
        let part = batch.div_ceil(PARTS).max(1) * lines * line;
        for (o, element) in (0..output).flat_map(|o| window.iter().map(move |element| (o, element))) {
            for part in (0..pixels.len()).step_by(part).map(|at| at..pixels.len().min(at + part)) {
                let mut sum = 0.0;
                for block in part.clone().step_by(geometry.block()) {
                    let block = block..part.end.min(block + geometry.block());
                    for piece in block.clone().step_by(DEPTH) {
                        let piece = piece..block.end.min(piece + DEPTH);
                        let product = |at: usize| (dy[at * output + o], value(&pixels[at], element));
                        sum += in_pieces(&piece.map(product).collect::<Vec<_>>()).unwrap();
                    }
                }
                sums[2][place_of_weight(o, element)] += sum;
            }
        }
        sums
    }

    #[cfg(target_arch = "x86_64")]
    fn with_fused_products() -> Vec<Arch> {
        let narrow = pulp::x86::V3::try_new().map(Arch::V3);
        narrow.into_iter().chain(pulp::x86::V4::try_new().map(Arch::V4)).collect()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn with_fused_products() -> Vec<Arch> {
        Vec::new()
    }

    #[test]
    fn every_bit_is_as_of_sums_one_by_one_whatever_the_registers() {
        let of = |batch, side: [usize; 2], channels: [usize; 2], kernel, stride| Geometry {
            batch,
            height: side[0],
            width: side[1],
            input: channels[0],
            output: channels[1],
            kernel,
            stride,
        };
        for geometry in [
            // More than a piece of a window, of output channels, of pixels; more than a block of pixels.
            of(3, [5, 4], [30, 44], 3, 2),
            of(1, [3, 3], [2, 300], 3, 1),
            of(1, [17, 18], [1, 50], 3, 1),
            of(2, [16, 16], [100, 3], 3, 1),
            // A last part that is smaller, and a window wider than an image.
            of(17, [7, 6], [3, 24], 3, 2),
            of(2, [2, 3], [9, 17], 7, 2),
            of(2, [6, 5], [3, 33], 1, 2),
            of(0, [4, 4], [2, 3], 3, 1),
        ] {
            let expected = one_by_one(&geometry);
            for arch in with_fused_products() {
                assert_eq!(sums(arch, &geometry), expected, "{geometry:?} on {arch:?}");
            }
        }
    }
}
