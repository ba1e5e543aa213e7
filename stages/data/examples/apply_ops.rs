//! Applies operations to images: `apply_ops OUT_FOLDER OPS_FILE IMAGE…`, where the file has an operation a line, as in a
//! pipeline. Writes `OUT_FOLDER/<line>-<image>.png`. `apply_ops.py` compares with Pillow and OpenCV.

use std::error::Error;
use std::fs;
use std::path::Path;

use ablate_data::random::Key;
use ablate_data::{Augmentation, Op, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ops, images @ ..] = &arguments[..] else {
        return Err("usage: apply_ops OUT_FOLDER OPS_FILE IMAGE…".into());
    };
    let ops = fs::read_to_string(ops)?.lines().map(ron::from_str).collect::<Result<Vec<Op>, _>>()?;
    for path in images {
        let image = decode(&fs::read(path)?)?;
        let stem = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        for (line, op) in ops.iter().enumerate() {
            let made = Augmentation(vec![op.clone()]).apply(&image, &mut Key::default().draws()).image;
            let target = Path::new(folder).join(format!("{line}-{stem}.png"));
            image::save_buffer(
                target,
                made.pixels(),
                made.width() as u32,
                made.height() as u32,
                image::ExtendedColorType::Rgb8,
            )?;
        }
    }
    Ok(())
}
