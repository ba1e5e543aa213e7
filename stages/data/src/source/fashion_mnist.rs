//! The part of Fashion-MNIST that the program carries.
//!
//! `assets/fashion-mnist-mini.png` is a sheet of 120 rows of 100 images, 28×28 each, in data-set order (10,000 train
//! images, then 2,000 test images), above five rows of pixels that hold one label each; what is left of the last of them
//! is 255. `assets/fashion-mnist-mini.md` says where the images come from.

use ablate_stage::{Split, StageError};
use image::ImageFormat;

use crate::{ImageSet, Pixels, Stored};

/// Name of the data set.
pub(crate) const NAME: &str = "Fashion-MNIST";

/// The classes, by label.
pub(crate) const CLASSES: [&str; 10] =
    ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const SHEET: &[u8] = include_bytes!("../../assets/fashion-mnist-mini.png");
const SIDE: usize = 28;
const COLUMNS: usize = 100;
const TRAIN: usize = 10_000;
const TEST: usize = 2_000;

/// The first 1,000 train and 200 test images of each class, in file order, train before test.
pub(crate) fn read_embedded() -> Result<ImageSet, StageError> {
    let sheet = image::load_from_memory_with_format(SHEET, ImageFormat::Png)
        .map_err(|error| StageError::Failed(format!("the embedded images cannot be decoded: {error}")))?
        .into_luma8()
        .into_raw();
    let n = TRAIN + TEST;
    let (images, labels) = sheet.split_at(n * SIDE * SIDE);
    let row_of = |image: usize, row: usize| {
        let at = (image / COLUMNS * SIDE + row) * COLUMNS + image % COLUMNS;
        &images[at * SIDE..][..SIDE]
    };
    let bytes = (0..n).flat_map(|image| (0..SIDE).flat_map(move |row| row_of(image, row))).copied().collect();
    Ok(ImageSet {
        name: NAME.to_owned(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        labels: labels[..n].iter().map(|&label| i64::from(label)).collect(),
        split: [vec![Split::Train; TRAIN], vec![Split::Test; TEST]].concat(),
        names: None,
        images: Stored::Pixels(Pixels { height: SIDE, width: SIDE, channels: 1, bytes }),
    })
}
