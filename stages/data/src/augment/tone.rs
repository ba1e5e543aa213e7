//! Changing values where they stand: enhancements, hue, lookup tables.

use crate::Image;

/// Rec. 601 luma, 0.299 R + 0.587 G + 0.114 B, in Pillow's 16-bit fixed point.
fn luma(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue] => {
            let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
            ((sum + 0x8000) >> 16) as u8
        }
        // One channel is its own luma.
        _ => pixel[0],
    }
}

/// The luma of every pixel, in every channel.
pub(crate) fn grey(mut image: Image) -> Image {
    let channels = image.channels();
    image.pixels_mut().chunks_exact_mut(channels).for_each(|pixel| pixel.fill(luma(pixel)));
    image
}

/// Pillow's `Image.blend` of a degenerate value with the image's own: 0 gives the degenerate one, 1 the image, above 1
/// more than it. The fraction is cut off.
fn blend(degenerate: u8, value: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(degenerate), f32::from(value));
    (from + factor * (to - from)) as u8
}

/// Saturation: blends with the luma. Images of one channel stay as they are.
pub(crate) fn enhance_colour(mut image: Image, factor: f64) -> Image {
    if image.channels() == 3 {
        for pixel in image.pixels_mut().chunks_exact_mut(3) {
            let grey = luma(pixel);
            pixel.iter_mut().for_each(|value| *value = blend(grey, *value, factor as f32));
        }
    }
    image
}

/// Blends with the mean luma of the image, rounded.
pub(crate) fn enhance_contrast(image: Image, factor: f64) -> Image {
    let sum: u64 = image.pixels().chunks_exact(image.channels()).map(|pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / (image.height() * image.width()) as f64 + 0.5) as u8;
    map_values(image, |value| blend(mean, value, factor as f32))
}

/// Blends with black.
pub(crate) fn enhance_brightness(image: Image, factor: f64) -> Image {
    map_values(image, |value| blend(0, value, factor as f32))
}

/// Blends with the image smoothed by \[1 1 1; 1 5 1; 1 1 1\] / 13; the outermost pixels stay as they are.
pub(crate) fn enhance_sharpness(mut image: Image, factor: f64) -> Image {
    let (height, width, channels) = (image.height(), image.width(), image.channels());
    let original = image.pixels().to_vec();
    let value =
        |row: usize, column: usize, channel: usize| original[(row * width + column) * channels + channel];
    for row in 1..height.saturating_sub(1) {
        for column in 1..width.saturating_sub(1) {
            for channel in 0..channels {
                let centre = value(row, column, channel);
                let mut sum = 4 * u32::from(centre);
                for near in row - 1..=row + 1 {
                    sum +=
                        (column - 1..=column + 1).map(|at| u32::from(value(near, at, channel))).sum::<u32>();
                }
                // Rounded to the nearest; an odd divisor has no ties.
                let smooth = ((2 * sum + 13) / 26) as u8;
                let at = (row * width + column) * channels + channel;
                image.pixels_mut()[at] = blend(smooth, centre, factor as f32);
            }
        }
    }
    image
}

/// Turns the hue by `turns` of the HSV circle, in Pillow's 8-bit HSV. Images of one channel stay as they are.
pub(crate) fn shift_hue(mut image: Image, turns: f64) -> Image {
    if image.channels() == 3 {
        let shift = (turns * 255.0) as i32 as u8;
        for pixel in image.pixels_mut().chunks_exact_mut(3) {
            let [hue, saturation, value] = to_hsv([pixel[0], pixel[1], pixel[2]]);
            pixel.copy_from_slice(&to_rgb([hue.wrapping_add(shift), saturation, value]));
        }
    }
    image
}

fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    if high == low {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let (sixth, from, to) = if red == high {
        (0.0, blue, green)
    } else if green == high {
        (2.0, red, blue)
    } else {
        (4.0, green, red)
    };
    let [from, to] = [from, to].map(|value| f32::from(high - value) / range);
    let sixths = sixth + from - to;
    // From -1/6 up to 5/6 of the circle; Pillow takes the remainder of one more.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turns < 1.0 { turns } else { turns - 1.0 }) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, high]
}

/// By hue: which sixth of the circle it is in, and where in that.
static SIXTHS: [(usize, f64); 256] = {
    let mut sixths = [(0, 0.0); 256];
    let mut hue = 0;
    while hue < 256 {
        let place = hue as f64 * 6.0 / 255.0;
        let sixth = place as usize;
        sixths[hue] = (sixth % 6, (place - sixth as f64) as f32 as f64);
        hue += 1;
    }
    sixths
};

/// By saturation: its part of the greatest.
static STRENGTHS: [f64; 256] = {
    let mut strengths = [0.0; 256];
    let mut saturation = 0;
    while saturation < 256 {
        strengths[saturation] = (saturation as f32 / 255.0) as f64;
        saturation += 1;
    }
    strengths
};

/// By sixth: which of the value, p, q and t of Pillow's program is red, green and blue.
static CHANNELS: [[usize; 3]; 6] = [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]];

fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let (sixth, fraction) = SIXTHS[usize::from(hue)];
    let strength = STRENGTHS[usize::from(saturation)];
    let faded = |by: f64| (f64::from(value) * (1.0 - by) + 0.5) as u8;
    let (p, q, t) = (faded(strength), faded(strength * fraction), faded(strength * (1.0 - fraction)));
    CHANNELS[sixth].map(|channel| [value, p, q, t][channel])
}

fn look_up(image: &mut Image, channel: usize, table: &[u8; 256]) {
    let channels = image.channels();
    let values = image.pixels_mut().iter_mut().skip(channel).step_by(channels);
    values.for_each(|value| *value = table[usize::from(*value)]);
}

fn histogram(image: &Image, channel: usize) -> [u32; 256] {
    let mut counts = [0; 256];
    let values = image.pixels().iter().skip(channel).step_by(image.channels());
    values.for_each(|&value| counts[usize::from(value)] += 1);
    counts
}

fn map_values(mut image: Image, of: impl Fn(u8) -> u8) -> Image {
    let table: [u8; 256] = std::array::from_fn(|value| of(value as u8));
    image.pixels_mut().iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    image
}

/// Inverts values from the threshold on.
pub(crate) fn solarize(image: Image, threshold: f64) -> Image {
    map_values(image, |value| if f64::from(value) < threshold { value } else { 255 - value })
}

/// Keeps the top `bits` (0 to 8) of each value.
pub(crate) fn posterize(image: Image, bits: u8) -> Image {
    let mask = (0xFF00_u32 >> bits) as u8;
    map_values(image, |value| value & mask)
}

/// Stretches each channel so that its least value becomes 0 and its greatest 255.
pub(crate) fn auto_contrast(mut image: Image) -> Image {
    for channel in 0..image.channels() {
        let counts = histogram(&image, channel);
        let low = counts.iter().position(|&count| count > 0).expect("an image has pixels");
        let high = counts.iter().rposition(|&count| count > 0).expect("an image has pixels");
        if high > low {
            let scale = 255.0 / (high - low) as f64;
            let offset = -(low as f64) * scale;
            let table = std::array::from_fn(|value| (value as f64 * scale + offset) as u8);
            look_up(&mut image, channel, &table);
        }
    }
    image
}

/// Equalises the histogram of each channel.
pub(crate) fn equalize(mut image: Image) -> Image {
    for channel in 0..image.channels() {
        let counts = histogram(&image, channel);
        let last = counts.iter().rev().find(|&&count| count > 0).expect("an image has pixels");
        let step = (counts.iter().sum::<u32>() - last) / 255;
        if step > 0 {
            let mut below = step / 2;
            let table = counts.map(|count| {
                let value = (below / step).min(255) as u8;
                below += count;
                value
            });
            look_up(&mut image, channel, &table);
        }
    }
    image
}
