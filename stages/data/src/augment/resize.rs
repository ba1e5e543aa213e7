//! Resampling as Pillow's `Image.resize` does it: separable, antialiased, in 8-bit fixed point.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Image;

/// How pixels between pixels are made up. Where an image shrinks, the filter is widened by the factor it shrinks by, so
/// every input pixel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Interpolation {
    /// Triangle filter over 2 pixels.
    #[default]
    Bilinear,
    /// Cubic convolution over 4 pixels, a = −0.5.
    Bicubic,
}

/// Fraction bits of a weight: 32, less 8 of the pixel, less 2 for sign and overshoot.
const PRECISION: u32 = 22;

impl Interpolation {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, at: f64) -> f64 {
        let x = at.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Bicubic => 0.0,
        }
    }
}

/// What one output pixel is made of: fixed-point weights of consecutive input pixels.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, interpolation: Interpolation) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = interpolation.support() * widening;
    let of = |out: usize| {
        let centre = (out as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |at: usize| interpolation.weight((at as f64 - centre + 0.5) * (1.0 / widening));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / sum * f64::from(1 << PRECISION)).round() as i32;
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(of).collect()
}

fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// The image at another size. The rows are resampled first, and rounded to bytes, then the columns.
pub(crate) fn resize(image: &Image, height: usize, width: usize, interpolation: Interpolation) -> Image {
    let channels = image.channels();
    let mut pixels = image.pixels().to_vec();
    if width != image.width() {
        let taps = taps(image.width(), width, interpolation);
        pixels = match channels {
            3 => resample_rows::<3>(&pixels, image.width(), &taps),
            _ => resample_rows::<1>(&pixels, image.width(), &taps),
        };
    }
    if height != image.height() {
        pixels = resample_columns(&pixels, width * channels, &taps(image.height(), height, interpolation));
    }
    Image::new(height, width, channels, pixels)
}

fn resample_rows<const C: usize>(pixels: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<C>();
    let mut resampled = Vec::with_capacity(pixels.len() / width * taps.len() * C);
    for row in pixels.chunks_exact(width) {
        for Taps { first, weights } in taps {
            let mut sums = [HALF; C];
            for (weight, pixel) in weights.iter().zip(&row[*first..]) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += weight * i32::from(value));
            }
            resampled.extend(sums.map(round));
        }
    }
    resampled
}

fn resample_columns(pixels: &[u8], stride: usize, taps: &[Taps]) -> Vec<u8> {
    let mut resampled = Vec::with_capacity(taps.len() * stride);
    let mut sums = vec![0; stride];
    for Taps { first, weights } in taps {
        sums.fill(HALF);
        for (weight, row) in weights.iter().zip(pixels[first * stride..].chunks_exact(stride)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * i32::from(value));
        }
        resampled.extend(sums.iter().map(|&sum| round(sum)));
    }
    resampled
}
