//! Random views of images.
//!
//! The operations are those of torchvision on Pillow images, down to Pillow's 8-bit rounding, so that an augmentation
//! written for them means the same here. They act on images of 1 or 3 channels; what means nothing for one channel (hue,
//! saturation, the change to grey) leaves it as it is.

mod blur;
mod extent;
mod geometry;
mod operation;
mod resize;
mod tone;
mod views;

use ablate_stage::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::Draws;
use crate::{ChannelStats, Image};

pub use extent::Extent;
pub use operation::Op;
pub use resize::Interpolation;
pub use views::Views;

/// Operations, applied one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Augmentation(pub Vec<Op>);

/// Pixels that become 0 after normalisation, which is the mean of the data set: rows `top..bottom`, columns
/// `left..right` of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First row.
    pub top: usize,
    /// Row after the last.
    pub bottom: usize,
    /// First column.
    pub left: usize,
    /// Column after the last.
    pub right: usize,
}

/// What an augmentation makes of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The pixels.
    pub image: Image,
    /// What [`Op::Cutout`] cuts out of them once they are normalised.
    pub holes: Vec<Hole>,
}

impl Augmentation {
    /// A random view of an image.
    ///
    /// # Panics
    /// When [`output_size`](Self::output_size) of the image's size is an error.
    pub fn apply(&self, image: &Image, draws: &mut Draws) -> View {
        let mut view = View { image: image.clone(), holes: Vec::new() };
        self.0.iter().for_each(|op| op.apply(&mut view, draws));
        view
    }

    /// What is known of the sizes of views, from what is known of the images'.
    ///
    /// # Errors
    /// Where an operation cannot work with a size it may meet, as a sentence.
    pub fn extent(&self, images: Extent) -> Result<Extent, String> {
        self.0.iter().try_fold(images, |extent, op| op.extent(extent))
    }

    /// Height and width of every view.
    ///
    /// # Errors
    /// Where an operation cannot work with a size it may meet, or the views would differ in size, as a sentence.
    pub fn output_size(&self, images: Extent) -> Result<(usize, usize), String> {
        let Extent { height, width, exact } = self.extent(images)?;
        match exact {
            true => Ok((height, width)),
            false => Err("the images differ in size, and so would their views; crop or resize them to one size, in the \
                          views or with `resize` of `Images`"
                .to_owned()),
        }
    }

    /// Everything wrong with its values; `path` is the path of the field it stands in.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (at, op) in self.0.iter().enumerate() {
            let path = format!("{path}[{at}]");
            op.validate(&path, &mut errors);
            if op.is_cutout() && self.0[at..].iter().any(|later| !later.is_cutout()) {
                errors.push(FieldError::new(&path, "`Cutout` must come last: it acts after normalisation"));
            }
        }
        errors
    }
}

impl View {
    /// Writes the view as numbers, `[C, H, W]`: each value is scaled to \[0, 1\], less its channel's mean, over its
    /// channel's standard deviation; holes are 0.
    ///
    /// # Panics
    /// When `out` does not have as many elements, or `stats` not as many channels, as the view.
    pub fn normalise_into(&self, stats: &ChannelStats, out: &mut [f32]) {
        let Self { image, holes } = self;
        let (width, channels) = (image.width(), image.channels());
        assert_eq!(out.len(), image.pixels().len(), "a view has C × H × W numbers");
        normalise(image.pixels(), channels, stats, out);
        for hole in holes {
            for plane in out.chunks_exact_mut(image.height() * width) {
                for row in hole.top..hole.bottom {
                    plane[row * width..][hole.left..hole.right].fill(0.0);
                }
            }
        }
    }
}

impl View {
    /// The view as a picture: holes are middle grey.
    pub fn blanked(self) -> Image {
        let Self { mut image, holes } = self;
        let (width, channels) = (image.width(), image.channels());
        for Hole { top, bottom, left, right } in holes {
            for row in image.pixels_mut().chunks_exact_mut(width * channels).take(bottom).skip(top) {
                row[left * channels..right * channels].fill(128);
            }
        }
        image
    }
}

/// Writes pixels `[H, W, C]` as normalised numbers `[C, H, W]`.
pub(crate) fn normalise(pixels: &[u8], channels: usize, stats: &ChannelStats, out: &mut [f32]) {
    assert!(
        stats.mean.len() == channels && stats.std.len() == channels,
        "statistics have {channels} channels"
    );
    for (channel, plane) in out.chunks_exact_mut(pixels.len() / channels).enumerate() {
        let (mean, std) = (stats.mean[channel], stats.std[channel]);
        let table: [f32; 256] = std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
        let values = pixels.iter().skip(channel).step_by(channels);
        plane.iter_mut().zip(values).for_each(|(number, &value)| *number = table[usize::from(value)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    fn stats(channels: usize) -> ChannelStats {
        ChannelStats { mean: vec![0.5; channels], std: vec![0.25; channels] }
    }

    #[test]
    fn a_view_becomes_planes_of_normalised_numbers_with_holes_at_the_mean() {
        let image = Image::new(1, 2, 3, vec![0, 255, 51, 102, 0, 255]);
        let hole = Hole { top: 0, bottom: 1, left: 1, right: 2 };
        let mut out = [9.0; 6];
        View { image, holes: vec![hole] }.normalise_into(&stats(3), &mut out);
        let expected = [-2.0, 0.0, 2.0, 0.0, -1.2, 0.0];
        for (found, expected) in out.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
    }

    #[test]
    fn a_view_depends_on_its_draws_only() {
        let image = Image::new(9, 7, 3, (0..189).map(|value| (value * 37 % 256) as u8).collect());
        let augmentation = &Views::default().augmentations(1)[0];
        let key = Key { seed: 3, epoch: 1, sample: 4, view: 1 };
        let view = |key: Key| augmentation.apply(&image, &mut key.draws());
        assert_eq!(view(key), view(key));
        assert_ne!(view(key), view(Key { view: 0, ..key }));
    }

    #[test]
    fn an_augmentation_is_written_as_a_list() {
        let text = "[RandomResizedCrop(size: Some(32)),RandomApply(p: 0.8,ops: [ColorJitter(brightness: 0.4)]),AutoContrast,Cutout(length: 8)]";
        let augmentation: Augmentation = ron::from_str(text).unwrap();
        assert_eq!(augmentation.output_size(Extent::exactly(28, 28)), Ok((32, 32)));
        assert_eq!(augmentation.validate("views"), []);
        let again: Augmentation = ron::from_str(&ron::to_string(&augmentation).unwrap()).unwrap();
        assert_eq!(again, augmentation);
        assert!(ron::from_str::<Augmentation>("[Cutout(lenght: 8)]").is_err());
    }
}
