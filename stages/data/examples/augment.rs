//! Two random views of an image, printed as grey levels.

use std::path::Path;

use ablate_data::random::Key;
use ablate_data::{Images, Source, Views};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let image = Images::new(Source::FashionMnistMini).read(Path::new("."))?.image(0)?;
    for (view, augmentation) in (0..).zip(Views::default().augmentations(2)) {
        let seen = augmentation.apply(&image, &mut Key { seed: 1, epoch: 0, sample: 0, view }.draws()).image;
        for row in seen.pixels().chunks(seen.width()) {
            println!(
                "{}",
                row.iter()
                    .map(|&value| char::from(b" .:-=+*#%@"[usize::from(value) / 26]))
                    .collect::<String>()
            );
        }
    }
    Ok(())
}
