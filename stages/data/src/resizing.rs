//! How images are brought to a size once, before any view of them.

use ablate_stage::{FieldError, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::augment::{Augmentation, Extent, Interpolation, Op};
use crate::random::Key;
use crate::source::too_large;
use crate::{Image, Pixels};

/// How images are brought to a size before anything else, by antialiased bilinear interpolation, as torchvision resizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Resizing {
    /// The shorter side to this many pixels, then the square in the middle.
    Square(usize),
    /// To a height and width, whatever the aspect ratio.
    Stretch(usize, usize),
    /// The shorter side to this many pixels; the other keeps the aspect ratio.
    ShorterSide(usize),
}

impl Resizing {
    fn augmentation(self) -> Augmentation {
        let interpolation = Interpolation::Bilinear;
        Augmentation(match self {
            Self::Square(size) => vec![Op::Resize { size, interpolation }, Op::CenterCrop { size }],
            Self::Stretch(height, width) => vec![Op::ResizeTo { height, width, interpolation }],
            Self::ShorterSide(size) => vec![Op::Resize { size, interpolation }],
        })
    }

    /// The image at its new size.
    pub fn apply(self, image: &Image) -> Image {
        // None of the operations draws.
        self.augmentation().apply(image, &mut Key::default().draws()).image
    }

    /// All images at their new size.
    ///
    /// # Errors
    /// Where there is not enough memory for them.
    pub fn apply_to_all(self, pixels: Pixels) -> Result<Pixels, StageError> {
        let Extent { height, width, .. } = self.extent(Extent::exactly(pixels.height, pixels.width));
        let (images, channels) = (pixels.len(), pixels.channels);
        let resized = pixels.map(height, width, |image| self.apply(&image));
        resized.map_err(|_| too_large(images, height, width, channels))
    }

    /// Most pixels there are on the way, for an image of this size.
    pub(crate) fn largest(self, height: usize, width: usize) -> u64 {
        let scaled = |size: usize| {
            let (shorter, longer) = (height.min(width).max(1) as u64, height.max(width) as u64);
            let size = size as u64;
            size.saturating_mul(size.saturating_mul(longer) / shorter)
        };
        match self {
            Self::Square(size) | Self::ShorterSide(size) => scaled(size),
            Self::Stretch(height, width) => (height as u64).saturating_mul(width as u64),
        }
    }

    /// What is known of sizes afterwards.
    pub fn extent(self, images: Extent) -> Extent {
        self.augmentation().extent(images).expect("resizing works with every size")
    }

    /// What is wrong with its values; `path` is the path of the field it stands in.
    pub fn validate(self, path: &str) -> Vec<FieldError> {
        let mut errors = self.augmentation().validate("");
        errors.truncate(1);
        errors.iter_mut().for_each(|error| error.path = path.to_owned());
        errors
    }
}
