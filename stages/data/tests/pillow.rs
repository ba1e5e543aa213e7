//! Operations give what Pillow gives, byte for byte (`fixtures/make_pillow.py` made the expected images).

use std::collections::BTreeMap;

use ablate_data::random::Key;
use ablate_data::{Augmentation, Image, Op};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixtures {
    images: BTreeMap<String, Plain>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    image: String,
    expected: Plain,
}

#[derive(Deserialize)]
struct Plain {
    height: usize,
    width: usize,
    channels: usize,
    pixels: String,
}

impl Plain {
    fn image(&self) -> Image {
        let byte = |at: usize| u8::from_str_radix(&self.pixels[at..at + 2], 16).unwrap();
        let pixels = (0..self.pixels.len()).step_by(2).map(byte).collect();
        Image::new(self.height, self.width, self.channels, pixels)
    }
}

#[test]
fn operations_give_what_pillow_gives() {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/pillow.json")).unwrap();
    assert_eq!(fixtures.cases.len(), 147);
    let mut different = Vec::new();
    for Case { op, image, expected } in &fixtures.cases {
        let parsed: Op = ron::from_str(op).unwrap();
        let found =
            Augmentation(vec![parsed]).apply(&fixtures.images[image].image(), &mut Key::default().draws());
        let (found, expected) = (found.image, expected.image());
        assert_eq!((found.height(), found.width()), (expected.height(), expected.width()), "{op} of {image}");
        let differences = found.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b));
        let count = differences.clone().filter(|&difference| difference > 0).count();
        if count > 0 {
            let most = differences.max().unwrap();
            different.push(format!(
                "{op} of {image}: {count} of {} values, by up to {most}",
                found.pixels().len()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
