//! Gaussian blur as Pillow does it: three box blurs a direction, in 8-bit fixed point.

use crate::Image;

/// Box blurs a direction.
const PASSES: u32 = 3;

/// Blurs by a Gaussian whose standard deviation is `radius` pixels, to within what three boxes can do. Beyond the edge
/// the outermost pixel goes on.
///
/// Gwosdek, Grewenig, Bruhn, Weickert, "Theoretical foundations of Gaussian convolution by extended box filtering", 2011.
pub(crate) fn gaussian_blur(mut image: Image, radius: f64) -> Image {
    let radius = box_radius(radius as f32);
    if radius > 0.0 {
        let (height, width, channels) = (image.height(), image.width(), image.channels());
        let pixels = image.pixels_mut();
        for channel in 0..channels {
            for row in 0..height {
                blur_line(pixels, row * width * channels + channel, channels, width, radius);
            }
            for column in 0..width {
                blur_line(pixels, column * channels + channel, width * channels, height, radius);
            }
        }
    }
    image
}

/// The radius, with a fraction, of the boxes that have the Gaussian's variance when applied [`PASSES`] times.
fn box_radius(radius: f32) -> f32 {
    let variance = radius * radius / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    whole + fraction / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)))
}

/// Blurs `len` values from `start` on, `stride` apart.
fn blur_line(pixels: &mut [u8], start: usize, stride: usize, len: usize, radius: f32) {
    let whole = radius as usize;
    // Weight of a value inside the box, and of the two at its fractional ends, with 24 fraction bits.
    let inside = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let end = (1_u32 << 24).saturating_sub((whole as u32 * 2 + 1) * inside) / 2;
    let mut line: Vec<u32> = (0..len).map(|at| u32::from(pixels[start + at * stride])).collect();
    let mut blurred = line.clone();
    for _ in 0..PASSES {
        let value = |at: usize, by: isize| line[at.saturating_add_signed(by).min(len - 1)];
        let reach = whole as isize;
        let mut sum: u32 = (-reach..=reach).map(|by| value(0, by)).sum();
        for (at, blurred) in blurred.iter_mut().enumerate() {
            let (before, after) = (value(at, -reach - 1), value(at, reach + 1));
            *blurred = (sum * inside + (before + after) * end + (1 << 23)) >> 24;
            sum = sum + after - value(at, -reach);
        }
        std::mem::swap(&mut line, &mut blurred);
    }
    for (at, &value) in line.iter().enumerate() {
        pixels[start + at * stride] = value as u8;
    }
}
