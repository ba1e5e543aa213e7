//! The operations augmentations are made of: their parameters. What they do is in `apply`, what they need in `check`.

mod apply;
mod check;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Interpolation;

/// The aspect ratios of a random crop, torchvision's.
pub(super) const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

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
    /// Gaussian blur by a kernel of fixed size, mirrored at the edges (`cv2.GaussianBlur`).
    KernelBlur {
        /// Pixels of the kernel either way, an odd number.
        kernel: usize,
        /// Standard deviation in pixels.
        sigma: (f64, f64),
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
    RATIO
}

pub(super) fn half() -> f64 {
    0.5
}

fn tenth() -> f64 {
    0.1
}

fn middle() -> f64 {
    128.0
}

pub(super) fn four() -> usize {
    4
}

impl Op {
    pub(super) fn is_cutout(&self) -> bool {
        matches!(self, Self::Cutout { .. })
    }
}

fn shorter_side_to(size: usize, height: usize, width: usize) -> (usize, usize) {
    if height <= width { (size, size * width / height) } else { (size * height / width, size) }
}
