//! The operations augmentations are made of.

use ablate_stage::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hole, Interpolation, View, blur, geometry, resize, tone};
use crate::Image;
use crate::random::Draws;

/// Largest size, padding or blur an operation takes, in pixels.
const MAX_SIDE: usize = 4096;

/// One step of an augmentation. Ranges are (low, high), and a value is drawn uniformly from them; equal ends give that
/// value always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Op {
    /// A part of random area and aspect ratio, resized to a square. Ten tries to find one that fits, then the largest
    /// part in the middle with a ratio in range (torchvision's `RandomResizedCrop`).
    RandomResizedCrop {
        /// Side of the result in pixels; `None` gives the size of the image.
        #[serde(default)]
        size: Option<usize>,
        /// Area of the part as a fraction of the image's.
        #[serde(default = "crop_scale")]
        scale: (f64, f64),
        /// Width of the part over its height, drawn uniformly in the logarithm.
        #[serde(default = "crop_ratio")]
        ratio: (f64, f64),
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// Mirrors left and right.
    RandomHorizontalFlip {
        /// Probability.
        #[serde(default = "half")]
        p: f64,
    },
    /// A square part at a random place.
    RandomCrop {
        /// Side in pixels; `None` gives the size of the image.
        #[serde(default)]
        size: Option<usize>,
        /// Black pixels added on every side before.
        #[serde(default)]
        padding: usize,
    },
    /// Resizes so that the shorter side has a length; the other keeps the aspect ratio, rounded down.
    Resize {
        /// Length of the shorter side in pixels.
        size: usize,
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// Resizes to a height and width, whatever the aspect ratio.
    ResizeTo {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// The square in the middle; what is missing is black.
    CenterCrop {
        /// Side in pixels.
        size: usize,
    },
    /// Changes brightness, contrast, saturation and hue, in random order (torchvision's `ColorJitter`).
    ColorJitter {
        /// Strength v: the factor is drawn from max(0, 1 − v) to 1 + v.
        #[serde(default)]
        brightness: f64,
        /// Strength, likewise.
        #[serde(default)]
        contrast: f64,
        /// Strength, likewise. Nothing for one channel.
        #[serde(default)]
        saturation: f64,
        /// Greatest turn of the hue, at most 0.5 of the circle either way. Nothing for one channel.
        #[serde(default)]
        hue: f64,
    },
    /// All of some operations, or none of them.
    RandomApply {
        /// Probability.
        #[serde(default = "half")]
        p: f64,
        /// The operations.
        ops: Vec<Op>,
    },
    /// Turns colours into their luma. Nothing for one channel.
    RandomGrayscale {
        /// Probability.
        #[serde(default = "tenth")]
        p: f64,
    },
    /// Gaussian blur.
    GaussianBlur {
        /// Standard deviation in pixels.
        radius: (f64, f64),
    },
    /// Inverts values from a threshold on.
    Solarize {
        /// The threshold.
        #[serde(default = "middle")]
        threshold: f64,
    },
    /// Keeps the top bits of each value.
    Posterize {
        /// How many, 1 to 8.
        bits: u8,
    },
    /// Rotates about the centre, counter-clockwise; uncovered pixels are black.
    Rotate {
        /// Angle in degrees.
        degrees: (f64, f64),
    },
    /// Maps the output pixel at column x, row y to the input pixel at column ax + by + c, row dx + ey + f; uncovered
    /// pixels are black.
    Affine {
        /// (a, b, c, d, e, f).
        matrix: (f64, f64, f64, f64, f64, f64),
    },
    /// Saturation: 0 gives grey, 1 the image. Nothing for one channel.
    Color {
        /// The factor.
        factor: (f64, f64),
    },
    /// Contrast: 0 gives the mean grey, 1 the image.
    Contrast {
        /// The factor.
        factor: (f64, f64),
    },
    /// Brightness: 0 gives black, 1 the image.
    Brightness {
        /// The factor.
        factor: (f64, f64),
    },
    /// Sharpness: 0 gives a smoothed image, 1 the image.
    Sharpness {
        /// The factor.
        factor: (f64, f64),
    },
    /// Turns the hue. Nothing for one channel.
    Hue {
        /// By how much, as a fraction of the circle.
        turns: (f64, f64),
    },
    /// Stretches the values of each channel to the whole range.
    AutoContrast,
    /// Equalises the histogram of each channel.
    Equalize,
    /// Some operations drawn with replacement, and their strengths with them, from the 14 of the strong augmentation of
    /// SCAN and GCC: nothing, auto-contrast, equalise, rotate ±30°, solarise from 0 to 256, colour, contrast, brightness
    /// and sharpness by 0.05 to 0.95, shear ±0.1 and translate ±0.1 along either axis, posterise to 4 to 7 bits.
    RandomOps {
        /// How many.
        #[serde(default = "four")]
        n: usize,
    },
    /// Sets a square to the data set's mean. Its side is drawn from 1 to `length`, its centre from all pixels; it must
    /// be the last operation.
    Cutout {
        /// Greatest side in pixels.
        length: usize,
    },
}

fn crop_scale() -> (f64, f64) {
    (0.08, 1.0)
}

fn crop_ratio() -> (f64, f64) {
    (3.0 / 4.0, 4.0 / 3.0)
}

fn half() -> f64 {
    0.5
}

fn tenth() -> f64 {
    0.1
}

fn middle() -> f64 {
    128.0
}

fn four() -> usize {
    4
}

/// A change of an image by a strength.
type Change = fn(Image, f64) -> Image;

impl Op {
    pub(super) fn is_cutout(&self) -> bool {
        matches!(self, Self::Cutout { .. })
    }

    pub(super) fn apply(&self, view: &mut View, draws: &mut Draws) {
        let image = &view.image;
        let (height, width) = (image.height(), image.width());
        match self {
            &Self::RandomResizedCrop { size, scale, ratio, interpolation } => {
                let part = random_part(height, width, scale, ratio, draws);
                let part =
                    geometry::crop(image, part.top as isize, part.left as isize, part.height, part.width);
                let (height, width) = size.map_or((height, width), |size| (size, size));
                view.image = resize::resize(&part, height, width, interpolation);
            }
            Self::RandomHorizontalFlip { p } => {
                if draws.chance(*p) {
                    view.map(geometry::flip);
                }
            }
            &Self::RandomCrop { size, padding } => {
                let (to_height, to_width) = size.map_or((height, width), |size| (size, size));
                let mut start = |of: usize, part: usize| {
                    let room =
                        (of + 2 * padding).checked_sub(part).expect("output_size checks that the crop fits");
                    draws.below(room as u32 + 1) as isize - padding as isize
                };
                let (top, left) = (start(height, to_height), start(width, to_width));
                view.image = geometry::crop(image, top, left, to_height, to_width);
            }
            &Self::Resize { size, interpolation } => {
                let (height, width) = shorter_side_to(size, height, width);
                view.image = resize::resize(image, height, width, interpolation);
            }
            &Self::ResizeTo { height, width, interpolation } => {
                view.image = resize::resize(image, height, width, interpolation);
            }
            &Self::CenterCrop { size } => view.image = geometry::centre_crop(image, size, size),
            &Self::ColorJitter { brightness, contrast, saturation, hue } => {
                let enhancements: [(f64, Change); 3] = [
                    (brightness, tone::enhance_brightness),
                    (contrast, tone::enhance_contrast),
                    (saturation, tone::enhance_colour),
                ];
                let mut changes: Vec<(f64, Change)> = Vec::with_capacity(4);
                for (strength, change) in enhancements.into_iter().filter(|&(strength, _)| strength > 0.0) {
                    changes.push((draws.range((1.0 - strength).max(0.0), 1.0 + strength), change));
                }
                if hue > 0.0 {
                    changes.push((draws.range(-hue, hue), tone::shift_hue));
                }
                draws.shuffle(&mut changes);
                changes.into_iter().for_each(|(value, change)| view.map(|image| change(image, value)));
            }
            Self::RandomApply { p, ops } => {
                if draws.chance(*p) {
                    ops.iter().for_each(|op| op.apply(view, draws));
                }
            }
            Self::RandomGrayscale { p } => {
                if draws.chance(*p) {
                    view.map(tone::grey);
                }
            }
            &Self::GaussianBlur { radius } => {
                let radius = draws.range(radius.0, radius.1);
                view.map(|image| blur::gaussian_blur(image, radius));
            }
            &Self::Solarize { threshold } => view.map(|image| tone::solarize(image, threshold)),
            &Self::Posterize { bits } => view.map(|image| tone::posterize(image, bits)),
            &Self::Rotate { degrees } => {
                view.image = geometry::rotate(image, draws.range(degrees.0, degrees.1));
            }
            &Self::Affine { matrix: (a, b, c, d, e, f) } => {
                view.image = geometry::affine(image, [a, b, c, d, e, f]);
            }
            &Self::Color { factor } => view.change_by(factor, draws, tone::enhance_colour),
            &Self::Contrast { factor } => view.change_by(factor, draws, tone::enhance_contrast),
            &Self::Brightness { factor } => view.change_by(factor, draws, tone::enhance_brightness),
            &Self::Sharpness { factor } => view.change_by(factor, draws, tone::enhance_sharpness),
            &Self::Hue { turns } => view.change_by(turns, draws, tone::shift_hue),
            Self::AutoContrast => view.map(tone::auto_contrast),
            Self::Equalize => view.map(tone::equalize),
            Self::RandomOps { n } => (0..*n).for_each(|_| apply_random_op(view, draws)),
            &Self::Cutout { length } => {
                let side = 1 + draws.below(length as u32) as usize;
                let reach = side / 2;
                let (row, column) = (draws.below(height as u32) as usize, draws.below(width as u32) as usize);
                view.holes.push(Hole {
                    top: row.saturating_sub(reach),
                    bottom: (row + reach).min(height),
                    left: column.saturating_sub(reach),
                    right: (column + reach).min(width),
                });
            }
        }
    }

    pub(super) fn output_size(&self, height: usize, width: usize) -> Result<(usize, usize), String> {
        match self {
            Self::RandomResizedCrop { size, .. } => Ok(size.map_or((height, width), |size| (size, size))),
            &Self::RandomCrop { size: Some(size), padding } => {
                if size > height.min(width) + 2 * padding {
                    return Err(format!(
                        "`RandomCrop` of {size}×{size} from {height}×{width} pixels with a padding of {padding}"
                    ));
                }
                Ok((size, size))
            }
            &Self::Resize { size, .. } => Ok(shorter_side_to(size, height, width)),
            &Self::ResizeTo { height, width, .. } => Ok((height, width)),
            &Self::CenterCrop { size } => Ok((size, size)),
            Self::RandomApply { ops, .. } => {
                let mut after = (height, width);
                for op in ops {
                    after = op.output_size(after.0, after.1)?;
                }
                if after != (height, width) {
                    return Err(format!(
                        "`RandomApply` would make {}×{} of {height}×{width} pixels in some views only",
                        after.0, after.1
                    ));
                }
                Ok(after)
            }
            Self::RandomHorizontalFlip { .. }
            | Self::RandomCrop { size: None, .. }
            | Self::ColorJitter { .. }
            | Self::RandomGrayscale { .. }
            | Self::GaussianBlur { .. }
            | Self::Solarize { .. }
            | Self::Posterize { .. }
            | Self::Rotate { .. }
            | Self::Affine { .. }
            | Self::Color { .. }
            | Self::Contrast { .. }
            | Self::Brightness { .. }
            | Self::Sharpness { .. }
            | Self::Hue { .. }
            | Self::AutoContrast
            | Self::Equalize
            | Self::RandomOps { .. }
            | Self::Cutout { .. } => Ok((height, width)),
        }
    }

    pub(super) fn validate(&self, path: &str, errors: &mut Vec<FieldError>) {
        let mut check = |field: &str, good: bool, expected: &str, found: &dyn std::fmt::Debug| {
            if !good {
                let path = format!("{path}.{field}");
                errors.push(FieldError::new(&path, format!("must be {expected}, is {found:?}")));
            }
        };
        let side = |side: usize| (1..=MAX_SIDE).contains(&side);
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        let within =
            |(low, high): (f64, f64), least: f64, most: f64| least <= low && low <= high && high <= most;
        const SIDE: &str = "1 to 4096 pixels";
        const PROBABILITY: &str = "a probability, 0 to 1";
        const FACTOR: &str = "a range (low, high) within 0 to 10";
        match self {
            &Self::RandomResizedCrop { size, scale, ratio, .. } => {
                check("size", size.is_none_or(side), SIDE, &size);
                let good = scale.0 > 0.0 && within(scale, 0.0, 1.0);
                check("scale", good, "a range (low, high) above 0, at most 1", &scale);
                check("ratio", within(ratio, 0.01, 100.0), "a range (low, high) within 0.01 to 100", &ratio);
            }
            &Self::RandomHorizontalFlip { p } | &Self::RandomGrayscale { p } => {
                check("p", probability(p), PROBABILITY, &p);
            }
            &Self::RandomCrop { size, padding } => {
                check("size", size.is_none_or(side), SIDE, &size);
                check("padding", padding <= MAX_SIDE, "at most 4096 pixels", &padding);
            }
            &Self::Resize { size, .. } | &Self::CenterCrop { size } => check("size", side(size), SIDE, &size),
            &Self::ResizeTo { height, width, .. } => {
                check("height", side(height), SIDE, &height);
                check("width", side(width), SIDE, &width);
            }
            &Self::ColorJitter { brightness, contrast, saturation, hue } => {
                for (field, strength) in
                    [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)]
                {
                    check(field, (0.0..=10.0).contains(&strength), "0 to 10", &strength);
                }
                check("hue", (0.0..=0.5).contains(&hue), "0 to 0.5", &hue);
            }
            Self::RandomApply { p, ops } => {
                check("p", probability(*p), PROBABILITY, p);
                for (at, op) in ops.iter().enumerate() {
                    let path = format!("{path}.ops[{at}]");
                    op.validate(&path, errors);
                    if op.is_cutout() {
                        errors.push(FieldError::new(&path, "`Cutout` cannot stand within `RandomApply`"));
                    }
                }
            }
            &Self::GaussianBlur { radius } => {
                check("radius", within(radius, 0.0, 100.0), "a range (low, high) within 0 to 100", &radius);
            }
            &Self::Solarize { threshold } => {
                check("threshold", (0.0..=256.0).contains(&threshold), "0 to 256", &threshold);
            }
            &Self::Posterize { bits } => check("bits", (1..=8).contains(&bits), "1 to 8", &bits),
            &Self::Rotate { degrees } => {
                let good = within(degrees, -360.0, 360.0);
                check("degrees", good, "a range (low, high) within -360 to 360", &degrees);
            }
            &Self::Affine { matrix: (a, b, c, d, e, f) } => {
                let good = [a, b, c, d, e, f].iter().all(|value| value.abs() <= MAX_SIDE as f64);
                check("matrix", good, "six numbers within ±4096", &(a, b, c, d, e, f));
            }
            &Self::Color { factor }
            | &Self::Contrast { factor }
            | &Self::Brightness { factor }
            | &Self::Sharpness { factor } => check("factor", within(factor, 0.0, 10.0), FACTOR, &factor),
            &Self::Hue { turns } => {
                check("turns", within(turns, -0.5, 0.5), "a range (low, high) within -0.5 to 0.5", &turns);
            }
            Self::AutoContrast | Self::Equalize => {}
            Self::RandomOps { n } => check("n", *n <= 100, "at most 100", n),
            &Self::Cutout { length } => check("length", side(length), SIDE, &length),
        }
    }
}

impl View {
    fn map(&mut self, change: impl FnOnce(Image) -> Image) {
        // The image is moved through the change; what stands in for it meanwhile is never seen.
        let image = std::mem::replace(&mut self.image, Image::new(1, 1, 1, vec![0]));
        self.image = change(image);
    }

    fn change_by(&mut self, (low, high): (f64, f64), draws: &mut Draws, change: Change) {
        let factor = draws.range(low, high);
        self.map(|image| change(image, factor));
    }
}

struct Part {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// torchvision's `RandomResizedCrop.get_params`.
fn random_part(height: usize, width: usize, scale: (f64, f64), ratio: (f64, f64), draws: &mut Draws) -> Part {
    let area = (height * width) as f64;
    for _ in 0..10 {
        let area = area * draws.range(scale.0, scale.1);
        let aspect = draws.range(ratio.0.ln(), ratio.1.ln()).exp();
        let w = (area * aspect).sqrt().round_ties_even() as usize;
        let h = (area / aspect).sqrt().round_ties_even() as usize;
        if 0 < w && w <= width && 0 < h && h <= height {
            let top = draws.below((height - h + 1) as u32) as usize;
            let left = draws.below((width - w + 1) as u32) as usize;
            return Part { top, left, height: h, width: w };
        }
    }
    let whole = width as f64 / height as f64;
    let rounded = |side: f64| side.round_ties_even().max(1.0) as usize;
    let (h, w) = if whole < ratio.0 {
        (rounded(width as f64 / ratio.0).min(height), width)
    } else if whole > ratio.1 {
        (height, rounded(height as f64 * ratio.1).min(width))
    } else {
        (height, width)
    };
    Part { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

fn shorter_side_to(size: usize, height: usize, width: usize) -> (usize, usize) {
    if height <= width { (size, size * width / height) } else { (size * height / width, size) }
}

/// One of the 14 operations of [`Op::RandomOps`] (`mynameischaos/GCC` @ 530c11b, `data/augment.py`).
fn apply_random_op(view: &mut View, draws: &mut Draws) {
    const FACTOR: (f64, f64) = (0.05, 0.95);
    let signed = |draws: &mut Draws, low: f64, high: f64| {
        let value = draws.range(low, high);
        if draws.chance(0.5) { -value } else { value }
    };
    let (height, width) = (view.image.height() as f64, view.image.width() as f64);
    match draws.below(14) {
        0 => {}
        1 => view.map(tone::auto_contrast),
        2 => view.map(tone::equalize),
        3 => view.image = geometry::rotate(&view.image, signed(draws, -30.0, 30.0)),
        4 => {
            let threshold = draws.range(0.0, 256.0);
            view.map(|image| tone::solarize(image, threshold));
        }
        5 => view.change_by(FACTOR, draws, tone::enhance_colour),
        6 => view.change_by(FACTOR, draws, tone::enhance_contrast),
        7 => view.change_by(FACTOR, draws, tone::enhance_brightness),
        8 => view.change_by(FACTOR, draws, tone::enhance_sharpness),
        9 => view.image = geometry::affine(&view.image, [1.0, signed(draws, -0.1, 0.1), 0.0, 0.0, 1.0, 0.0]),
        10 => view.image = geometry::affine(&view.image, [1.0, 0.0, 0.0, signed(draws, -0.1, 0.1), 1.0, 0.0]),
        11 => {
            let shift = signed(draws, -0.1, 0.1) * width;
            view.image = geometry::affine(&view.image, [1.0, 0.0, shift, 0.0, 1.0, 0.0]);
        }
        12 => {
            let shift = signed(draws, -0.1, 0.1) * height;
            view.image = geometry::affine(&view.image, [1.0, 0.0, 0.0, 0.0, 1.0, shift]);
        }
        _ => {
            let bits = draws.range(4.0, 8.0) as u8;
            view.map(|image| tone::posterize(image, bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Augmentation;
    use crate::random::Key;

    /// Views of an image in many draws.
    fn views(ops: &str, image: &Image, count: u32) -> Vec<View> {
        let augmentation: Augmentation = ron::from_str(ops).unwrap();
        assert_eq!(augmentation.validate("ops"), []);
        (0..count)
            .map(|sample| augmentation.apply(image, &mut Key { sample, ..Key::default() }.draws()))
            .collect()
    }

    fn noise(height: usize, width: usize, channels: usize) -> Image {
        let pixels = (0..height * width * channels).map(|at| (at * 131 % 251) as u8).collect();
        Image::new(height, width, channels, pixels)
    }

    #[test]
    fn parts_have_areas_and_ratios_in_range() {
        let mut draws = Key::default().draws();
        let mut sum = 0.0;
        for _ in 0..4000 {
            let Part { top, left, height, width } =
                random_part(200, 300, (0.2, 0.5), (0.75, 4.0 / 3.0), &mut draws);
            assert!(top + height <= 200 && left + width <= 300);
            let (area, ratio) = ((height * width) as f64 / 60_000.0, width as f64 / height as f64);
            assert!((0.195..0.505).contains(&area) && (0.74..1.35).contains(&ratio), "{area} {ratio}");
            sum += area;
        }
        assert!((sum / 4000.0 - 0.35).abs() < 0.01, "mean area {}", sum / 4000.0);
    }

    #[test]
    fn where_no_part_fits_the_middle_is_taken() {
        let part = |height, width| {
            let part = random_part(height, width, (0.9, 1.0), (0.75, 4.0 / 3.0), &mut Key::default().draws());
            (part.top, part.left, part.height, part.width)
        };
        assert_eq!(part(1, 100), (0, 49, 1, 1));
        assert_eq!(part(100, 6), (46, 0, 8, 6));
    }

    #[test]
    fn padded_crops_start_everywhere() {
        let starts: BTreeSet<Vec<u8>> =
            views("[RandomCrop(padding: 1)]", &Image::new(2, 2, 1, vec![1, 2, 3, 4]), 200)
                .into_iter()
                .map(|view| view.image.pixels().to_vec())
                .collect();
        let expected = [
            [0, 0, 0, 1],
            [0, 0, 1, 2],
            [0, 0, 2, 0],
            [0, 1, 0, 3],
            [1, 2, 3, 4],
            [2, 0, 4, 0],
            [0, 3, 0, 0],
            [3, 4, 0, 0],
            [4, 0, 0, 0],
        ];
        assert_eq!(starts, expected.map(|pixels| pixels.to_vec()).into());
    }

    #[test]
    fn jitter_draws_its_factors_from_the_whole_range() {
        let image = Image::new(1, 1, 3, vec![100, 100, 100]);
        let values: Vec<u8> = views("[ColorJitter(brightness: 0.4)]", &image, 2000)
            .iter()
            .map(|view| view.image.pixels()[1])
            .collect();
        assert_eq!((values.iter().min(), values.iter().max()), (Some(&60), Some(&139)));
        let values = views("[ColorJitter(saturation: 0.4, hue: 0.5)]", &image, 50);
        assert!(values.iter().all(|view| view.image == image), "grey has neither saturation nor hue");
    }

    #[test]
    fn jitter_takes_its_changes_in_random_order() {
        // Brightness beyond white, then less contrast, differs from less contrast, then brightness.
        let image = Image::new(1, 2, 1, vec![0, 200]);
        let ends: BTreeSet<bool> = views("[ColorJitter(brightness: 1.0, contrast: 1.0)]", &image, 400)
            .iter()
            .filter(|view| view.image.pixels()[0] > 0)
            .map(|view| view.image.pixels()[1] == 255)
            .collect();
        assert_eq!(ends, BTreeSet::from([false, true]));
    }

    #[test]
    fn coins_fall_with_their_probabilities() {
        let image = Image::new(1, 2, 3, vec![0, 0, 0, 255, 0, 0]);
        let share = |ops: &str| {
            let changed = views(ops, &image, 4000).iter().filter(|view| view.image != image).count();
            changed as f64 / 4000.0
        };
        assert!((share("[RandomHorizontalFlip()]") - 0.5).abs() < 0.03);
        assert!((share("[RandomGrayscale(p: 0.2)]") - 0.2).abs() < 0.03);
        assert!((share("[RandomApply(p: 0.8, ops: [Solarize()])]") - 0.8).abs() < 0.03);
        assert!(
            share("[RandomHorizontalFlip(p: 0.0)]") == 0.0 && share("[RandomHorizontalFlip(p: 1.0)]") == 1.0
        );
    }

    #[test]
    fn random_ops_keep_the_size_and_are_many() {
        for channels in [1, 3] {
            let image = noise(9, 11, channels);
            assert!(views("[RandomOps(n: 0)]", &image, 5).iter().all(|view| view.image == image));
            let views = views("[RandomOps(n: 1)]", &image, 600);
            assert!(views.iter().all(|view| (view.image.height(), view.image.width()) == (9, 11)));
            let distinct: BTreeSet<_> = views.iter().map(|view| view.image.pixels().to_vec()).collect();
            assert!(distinct.len() > 100, "{}", distinct.len());
        }
    }

    #[test]
    fn holes_have_sides_up_to_their_length_and_stay_within_the_image() {
        let views = views("[Cutout(length: 4)]", &noise(9, 11, 1), 3000);
        let holes: BTreeSet<(usize, usize)> = views
            .iter()
            .map(|view| view.holes[0])
            .inspect(|hole| assert!(hole.bottom <= 9 && hole.right <= 11))
            .map(|hole| (hole.bottom - hole.top, hole.right - hole.left))
            .collect();
        // Sides of 1 cut nothing, of 2 and 3 cut 2, of 4 cut 4; less at an edge, where half of it is outside.
        assert_eq!(holes.iter().map(|hole| hole.0).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3, 4]));
        let whole = views.iter().filter(|view| view.holes[0].top == view.holes[0].bottom).count();
        assert!((whole as f64 / 3000.0 - 0.25).abs() < 0.03, "{whole} of 3000 cut nothing");
    }

    #[test]
    fn colour_operations_leave_one_channel_as_it_is() {
        let image = noise(5, 5, 1);
        let ops = "[ColorJitter(saturation: 1.0, hue: 0.5), RandomGrayscale(p: 1.0), Color(factor: (0.0, 0.0)), Hue(turns: (0.2, 0.2))]";
        assert!(views(ops, &image, 5).iter().all(|view| view.image == image));
    }
}
