//! Image data sets, random numbers and augmentation for ablate.
//!
//! Nothing here depends on a tensor library: images are bytes, batches are plain vectors.

pub mod augment;
mod choose;
mod contact_sheet;
mod decode;
mod files;
mod gallery;
mod image;
mod image_set;
mod images;
mod loader;
mod neighbours;
mod pixels;
pub mod random;
mod resizing;
mod source;
mod table;

use ablate_stage::Registry;

pub use crate::image::Image;
pub use augment::{Augmentation, Extent, Op, View, Views};
pub use choose::Choose;
pub use contact_sheet::{ContactSheet, views_sheet};
pub use decode::{EXTENSIONS, decode};
pub use files::{Files, ImageError, Paths};
pub use gallery::Gallery;
pub use image_set::{ChannelStats, ImageSet, Stored};
pub use images::Images;
pub use loader::{Batch, BatchView, Batches, Loader, LoaderError, Loading, NeighbourViews, Pick, Position};
pub use neighbours::Neighbours;
pub use pixels::Pixels;
pub use resizing::Resizing;
pub use source::{ArrayFile, ClassList, Granularity, Layout, OnError, Source, Storage};
pub use table::{Column, Columns};

/// Adds every data stage to a registry.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry.with::<Images>().with::<Gallery>().with::<Neighbours>()
}
