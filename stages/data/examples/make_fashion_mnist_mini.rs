//! Makes `assets/fashion-mnist-mini.png` from the files of Debian's package `dataset-fashion-mnist`, in the layout that
//! `src/fashion_mnist.rs` describes.
//!
//! ```text
//! cargo run -p ablate-data --example make_fashion_mnist_mini -- stages/data/assets/fashion-mnist-mini.png
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use ablate_data::{Source, first_of_each_class};
use ablate_stage::Split;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

const COLUMNS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: make_fashion_mnist_mini FILE.png")?;
    let source = Source::FashionMnist { folder: "/usr/share/datasets/fashion-mnist".into() };
    let all = source.read(Path::new("/"))?;
    let mut rows = first_of_each_class(&all, Split::Train, Some(10_000))?;
    rows.extend(first_of_each_class(&all, Split::Test, Some(2_000))?);
    let set = all.select(&rows);

    let width = COLUMNS * set.width;
    let mut sheet = Vec::new();
    for line in (0..set.len()).collect::<Vec<_>>().chunks(COLUMNS) {
        for row in 0..set.height {
            for &image in line {
                sheet.extend_from_slice(&set.pixels_of(image)[row * set.width..][..set.width]);
            }
        }
    }
    sheet.extend(set.labels.iter().map(|&label| label as u8));
    sheet.resize(sheet.len().next_multiple_of(width), 255);

    let mut png = Vec::new();
    let height = sheet.len() / width;
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive).write_image(
        &sheet,
        width as u32,
        height as u32,
        ExtendedColorType::L8,
    )?;
    fs::write(&path, &png)?;
    println!("{path}: {} images, {width}×{height} pixels, {} bytes", set.len(), png.len());
    Ok(())
}
