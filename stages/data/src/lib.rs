//! Image data sets, random numbers and augmentation for ablate.
//!
//! Nothing here depends on a tensor library: images are bytes, batches are plain vectors.

pub mod augment;
mod fashion_mnist;
mod idx;
mod image;
mod image_set;
mod images;
mod loader;
pub mod random;
mod table;

use ablate_stage::Registry;

pub use crate::image::Image;
pub use augment::{Augmentation, Op, View, Views};
pub use image_set::{ChannelStats, ImageSet};
pub use images::{Images, Source, first_of_each_class};
pub use loader::{Batch, BatchView, Batches, Loader, LoaderError, Loading, Position};
pub use table::{Column, Columns};

/// Adds every data stage to a registry.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry.with::<Images>()
}
