//! Moving pixels: crops, flips, and affine maps with the nearest neighbour.

use crate::Image;

/// The part of an image from `top`, `left` on. Both may be negative, and the part may reach beyond the image; what is
/// outside is black.
pub(crate) fn crop(image: &Image, top: isize, left: isize, height: usize, width: usize) -> Image {
    let channels = image.channels();
    let mut pixels = vec![0; height * width * channels];
    let inside = |start: isize, len: usize, of: usize| {
        let first = start.clamp(0, of as isize);
        let end = (start + len as isize).clamp(first, of as isize);
        (first as usize, (end - first) as usize, (first - start) as usize)
    };
    let (from_row, rows, to_row) = inside(top, height, image.height());
    let (from_column, columns, to_column) = inside(left, width, image.width());
    if columns > 0 {
        for row in 0..rows {
            let from = ((from_row + row) * image.width() + from_column) * channels;
            let to = ((to_row + row) * width + to_column) * channels;
            let part = &image.pixels()[from..from + columns * channels];
            pixels[to..to + columns * channels].copy_from_slice(part);
        }
    }
    Image::new(height, width, channels, pixels)
}

/// The part in the middle; the offset is half the difference, rounded half to even as Python rounds. Where the image is
/// smaller it is padded with black, the odd pixel going right and below.
pub(crate) fn centre_crop(image: &Image, height: usize, width: usize) -> Image {
    let offset = |of: usize, part: usize| {
        if part <= of {
            ((of - part) as f64 / 2.0).round_ties_even() as isize
        } else {
            -(((part - of) / 2) as isize)
        }
    };
    crop(image, offset(image.height(), height), offset(image.width(), width), height, width)
}

/// The image mirrored left to right.
pub(crate) fn flip(mut image: Image) -> Image {
    let (width, channels) = (image.width(), image.channels());
    for row in image.pixels_mut().chunks_exact_mut(width * channels) {
        for column in 0..width / 2 {
            for channel in 0..channels {
                row.swap(column * channels + channel, (width - 1 - column) * channels + channel);
            }
        }
    }
    image
}

/// Pillow's `transform(size, AFFINE, (a, b, c, d, e, f), NEAREST)`: the output pixel at column x, row y is the input
/// pixel at column ax + by + c, row dx + ey + f, taken at pixel centres; black where there is none.
///
/// Maps without shear step in floating point, the others in fixed point with 16 fraction bits; Pillow does so, and the
/// nearest pixel depends on it.
pub(crate) fn affine(image: &Image, [a, b, c, d, e, f]: [f64; 6]) -> Image {
    let (height, width) = (image.height(), image.width());
    if b == 0.0 && d == 0.0 {
        let steps = |start: f64, step: f64, n: usize, limit: usize| -> Vec<Option<usize>> {
            let at = std::iter::successors(Some(start + step * 0.5), |at| Some(at + step)).take(n);
            at.map(|at| (at >= 0.0 && at < limit as f64).then_some(at as usize)).collect()
        };
        let (rows, columns) = (steps(f, e, height, height), steps(c, a, width, width));
        map(image, |row, column| Some((rows[row]?, columns[column]?)))
    } else {
        let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
        let (start_x, start_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
        let [a, b, d, e] = [a, b, d, e].map(fixed);
        map(image, |row, column| {
            let (x, y) = (column as i64, row as i64);
            let source_row = usize::try_from((start_y + d * x + e * y) >> 16).ok()?;
            let source_column = usize::try_from((start_x + a * x + b * y) >> 16).ok()?;
            (source_row < height && source_column < width).then_some((source_row, source_column))
        })
    }
}

/// Pillow's `rotate(degrees, NEAREST)`: counter-clockwise about the centre, the size unchanged, uncovered pixels black.
pub(crate) fn rotate(image: &Image, degrees: f64) -> Image {
    let (height, width) = (image.height(), image.width());
    let degrees = degrees.rem_euclid(360.0);
    // Quarter turns of what they fit move pixels exactly.
    if degrees == 0.0 {
        return image.clone();
    }
    if degrees == 180.0 {
        return map(image, |row, column| Some((height - 1 - row, width - 1 - column)));
    }
    if height == width && degrees == 90.0 {
        return map(image, |row, column| Some((column, width - 1 - row)));
    }
    if height == width && degrees == 270.0 {
        return map(image, |row, column| Some((height - 1 - column, row)));
    }
    // Sine and cosine to 15 decimals, as Pillow has them.
    let rounded = |value: f64| (value * 1e15).round() / 1e15;
    let angle = -degrees.to_radians();
    let (cos, sin) = (rounded(angle.cos()), rounded(angle.sin()));
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    affine(image, [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y])
}

/// The image whose pixel at (row, column) is `source`'s pixel of the original, or black.
fn map(image: &Image, source: impl Fn(usize, usize) -> Option<(usize, usize)>) -> Image {
    let (height, width, channels) = (image.height(), image.width(), image.channels());
    let mut pixels = vec![0; height * width * channels];
    for (at, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
        if let Some((row, column)) = source(at / width, at % width) {
            pixel.copy_from_slice(image.pixel(row, column));
        }
    }
    Image::new(height, width, channels, pixels)
}
