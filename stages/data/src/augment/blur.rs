//! Gaussian blur: as Pillow does it, by three box blurs a direction in 8-bit fixed point, and as OpenCV does, by a kernel.

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
/// Convolves with a Gaussian of `size` pixels, an odd number, and standard deviation `sigma`, and rounds once. Beyond the edge
/// the image is mirrored about its outermost pixel (`cv2.GaussianBlur` with its default border, `BORDER_REFLECT_101`).
pub(crate) fn kernel_blur(mut image: Image, size: usize, sigma: f64) -> Image {
    let reach = (size / 2) as isize;
    let weights: Vec<f32> =
        (-reach..=reach).map(|at| (-((at * at) as f64) / (2.0 * sigma * sigma)).exp() as f32).collect();
    let sum: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|weight| weight / sum).collect();
    let (height, width, channels) = (image.height(), image.width(), image.channels());
    let mut rows = vec![0.0_f32; image.pixels().len()];
    for (row, out) in rows.chunks_exact_mut(width * channels).enumerate() {
        for (weight, by) in weights.iter().zip(-reach..) {
            for column in 0..width {
                let from = (row * width + mirrored(column as isize + by, width)) * channels;
                for channel in 0..channels {
                    out[column * channels + channel] += weight * f32::from(image.pixels()[from + channel]);
                }
            }
        }
    }
    let line = width * channels;
    let mut sums = vec![0.0_f32; line];
    for (row, out) in image.pixels_mut().chunks_exact_mut(line).enumerate() {
        sums.fill(0.0);
        for (weight, by) in weights.iter().zip(-reach..) {
            let from = &rows[mirrored(row as isize + by, height) * line..][..line];
            sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
        }
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = sum.round_ties_even() as u8);
    }
    image
}

/// The place in `0..len` that a place outside is mirrored to: −1 to 1, `len` to `len` − 2.
fn mirrored(at: isize, len: usize) -> usize {
    let period = (2 * (len as isize - 1)).max(1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_are_mirrored_about_the_outermost_pixel() {
        let places: Vec<usize> = (-5..8).map(|at| mirrored(at, 3)).collect();
        assert_eq!(places, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!((-3..3).map(|at| mirrored(at, 1)).collect::<Vec<_>>(), [0; 6]);
    }

    #[test]
    fn a_kernel_spreads_a_point_by_its_weights_and_keeps_a_plain_image() {
        let mut point = Image::new(5, 5, 1, vec![0; 25]);
        point.pixels_mut()[12] = 255;
        let found = kernel_blur(point, 3, 1.0);
        // exp(-1/2) = 0.6065; the weights are 0.2741, 0.4519, 0.2741.
        let weight = [0.0, 0.274_068_6, 0.451_862_8, 0.274_068_6, 0.0];
        for row in 0..5 {
            for column in 0..5 {
                let expected = (255.0_f64 * weight[row] * weight[column]).round();
                assert_eq!(f64::from(found.pixel(row, column)[0]), expected, "{row} {column}");
            }
        }
        let plain = Image::new(4, 6, 3, vec![77; 72]);
        assert_eq!(kernel_blur(plain.clone(), 23, 2.0), plain);
    }
}
