//! Measures how many images a second the loader makes views of, and nothing else:
//! `loader_speed IMAGES [VIEWS] [THREADS]`, with images and views as in a pipeline, for instance
//! `loader_speed '(source: HuggingFace(folder: "cifar10"))' 'SimClr()' 2`. `loader_speed.py` measures torchvision's.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ablate_data::{Images, Loader, Loading, Position, Views};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let images: Images = ron::from_str(&arguments.next().unwrap_or("(source: FashionMnistMini)".to_owned()))?;
    let views: Views = ron::from_str(&arguments.next().unwrap_or("SimClr()".to_owned()))?;
    let threads = arguments.next().map_or(Ok(2), |text| text.parse())?;

    let start = Instant::now();
    let set = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?
        .install(|| images.read(Path::new(".")))?;
    println!("{} images read in {:.2} s", set.len(), start.elapsed().as_secs_f64());
    let loader = Loader::new(Loading {
        rows: (0..set.len() as u32).collect(),
        batch: 256,
        drop_last: true,
        shuffle: true,
        views: views.augmentations(2),
        stats: set.channel_stats(),
        seed: 0,
        set: Arc::new(set),
    })?;
    let start = Instant::now();
    let mut images = 0;
    for batch in loader.batches(Position::default(), 1, threads) {
        images += batch?.rows.len();
    }
    let rate = images as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} images/s in two views, {threads} threads");
    Ok(())
}
