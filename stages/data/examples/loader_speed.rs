//! Measures how many images a second the loader makes views of: `loader_speed [THREADS]`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ablate_data::{ImageSet, Loader, Loading, Position, Source, Views};

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    let start = Instant::now();
    let grey = Source::FashionMnistMini.read(Path::new("."))?;
    println!("embedded images decoded in {:.3} s", start.elapsed().as_secs_f64());
    let pixels =
        grey.pixels.iter().flat_map(|&value| [value, 255 - value, value / 2]).take(8_000 * 32 * 32 * 3);
    let colour = ImageSet {
        height: 32,
        width: 32,
        channels: 3,
        pixels: pixels.collect(),
        labels: grey.labels[..8_000].to_vec(),
        split: grey.split[..8_000].to_vec(),
        ..grey.clone()
    };
    for set in [grey, colour] {
        let shape = format!("{}×{}×{}", set.height, set.width, set.channels);
        let loader = Loader::new(Loading {
            rows: (0..set.len() as u32).collect(),
            batch: 256,
            drop_last: true,
            shuffle: true,
            views: Views::default().augmentations(2),
            stats: set.channel_stats(),
            seed: 0,
            set: Arc::new(set),
        })?;
        let start = Instant::now();
        let images: usize =
            loader.batches(Position::default(), 2, threads).map(|batch| batch.rows.len()).sum();
        let rate = images as f64 / start.elapsed().as_secs_f64();
        println!("{shape}: {rate:.0} images/s in two views, {threads} threads");
    }
    Ok(())
}
