//! Image data sets, random numbers and augmentation for ablate.
//!
//! Nothing here depends on a tensor library: images are bytes, batches are plain vectors.

mod fashion_mnist;
mod idx;
mod image;
mod image_set;
mod images;
pub mod random;

use ablate_stage::Registry;

pub use crate::image::Image;
pub use image_set::{ChannelStats, ImageSet};
pub use images::{Images, Source, first_of_each_class};

/// Adds every data stage to a registry.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry.with::<Images>()
}
