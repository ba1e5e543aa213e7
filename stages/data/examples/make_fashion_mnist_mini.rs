//! Makes `assets/fashion-mnist-mini.png` from the files of Debian's package `dataset-fashion-mnist`, in the layout that
//! `src/fashion_mnist.rs` describes.
//!
//! ```text
//! cargo run -p ablate-data --example make_fashion_mnist_mini -- stages/data/assets/fashion-mnist-mini.png
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use ablate_data::{Images, Source, Stored};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

const COLUMNS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: make_fashion_mnist_mini FILE.png")?;
    let source = Source::FashionMnist { folder: "/usr/share/datasets/fashion-mnist".into() };
    let part = Images { train: Some(10_000), test: Some(2_000), ..Images::new(source) };
    let set = part.read(Path::new("/"))?;
    let Stored::Pixels(pixels) = &set.images else { return Err("the images are pixels".into()) };

    let width = COLUMNS * pixels.width;
    let mut sheet = Vec::new();
    for line in (0..set.len()).collect::<Vec<_>>().chunks(COLUMNS) {
        for row in 0..pixels.height {
            for &image in line {
                sheet.extend_from_slice(&pixels.of(image)[row * pixels.width..][..pixels.width]);
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
