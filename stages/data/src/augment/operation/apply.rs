//! What operations make of an image.

use super::{Op, shorter_side_to};
use crate::Image;
use crate::augment::{Hole, View, blur, geometry, resize, tone};
use crate::random::Draws;

/// A change of an image by a strength.
type Change = fn(Image, f64) -> Image;

impl Op {
    pub(in crate::augment) fn apply(&self, view: &mut View, draws: &mut Draws) {
        let image = &view.image;
        let (height, width) = (image.height(), image.width());
        match self {
            &Self::RandomResizedCrop { size, scale, ratio, interpolation } => {
                let part = random_part(height, width, scale, ratio, draws);
                let part =
                    geometry::crop(image, part.top as isize, part.left as isize, part.height, part.width);
                let (height, width) = size.map_or((height, width), |size| (size, size));
                view.image = resize::resize(&part, height, width, interpolation);
            }
            Self::RandomHorizontalFlip { p } => {
                if draws.chance(*p) {
                    view.map(geometry::flip);
                }
            }
            &Self::RandomCrop { size, padding } => {
                let (to_height, to_width) = size.map_or((height, width), |size| (size, size));
                let mut start = |of: usize, part: usize| {
                    let room =
                        (of + 2 * padding).checked_sub(part).expect("`extent` checks that the crop fits");
                    draws.below(room as u32 + 1) as isize - padding as isize
                };
                let (top, left) = (start(height, to_height), start(width, to_width));
                view.image = geometry::crop(image, top, left, to_height, to_width);
            }
            &Self::Resize { size, interpolation } => {
                let (height, width) = shorter_side_to(size, height, width);
                view.image = resize::resize(image, height, width, interpolation);
            }
            &Self::ResizeTo { height, width, interpolation } => {
                view.image = resize::resize(image, height, width, interpolation);
            }
            &Self::CenterCrop { size } => view.image = geometry::centre_crop(image, size, size),
            &Self::ColorJitter { brightness, contrast, saturation, hue } => {
                let enhancements: [(f64, Change); 3] = [
                    (brightness, tone::enhance_brightness),
                    (contrast, tone::enhance_contrast),
                    (saturation, tone::enhance_colour),
                ];
                let mut changes: Vec<(f64, Change)> = Vec::with_capacity(4);
                for (strength, change) in enhancements.into_iter().filter(|&(strength, _)| strength > 0.0) {
                    changes.push((draws.range((1.0 - strength).max(0.0), 1.0 + strength), change));
                }
                if hue > 0.0 {
                    changes.push((draws.range(-hue, hue), tone::shift_hue));
                }
                draws.shuffle(&mut changes);
                changes.into_iter().for_each(|(value, change)| view.map(|image| change(image, value)));
            }
            Self::RandomApply { p, ops } => {
                if draws.chance(*p) {
                    ops.iter().for_each(|op| op.apply(view, draws));
                }
            }
            Self::RandomGrayscale { p } => {
                if draws.chance(*p) {
                    view.map(tone::grey);
                }
            }
            &Self::GaussianBlur { radius } => {
                let radius = draws.range(radius.0, radius.1);
                view.map(|image| blur::gaussian_blur(image, radius));
            }
            &Self::KernelBlur { kernel, sigma } => {
                let sigma = draws.range(sigma.0, sigma.1);
                view.map(|image| blur::kernel_blur(image, kernel, sigma));
            }
            &Self::Solarize { threshold } => view.map(|image| tone::solarize(image, threshold)),
            &Self::Posterize { bits } => view.map(|image| tone::posterize(image, bits)),
            &Self::Rotate { degrees } => {
                view.image = geometry::rotate(image, draws.range(degrees.0, degrees.1));
            }
            &Self::Affine { matrix: (a, b, c, d, e, f) } => {
                view.image = geometry::affine(image, [a, b, c, d, e, f]);
            }
            &Self::Color { factor } => view.change_by(factor, draws, tone::enhance_colour),
            &Self::Contrast { factor } => view.change_by(factor, draws, tone::enhance_contrast),
            &Self::Brightness { factor } => view.change_by(factor, draws, tone::enhance_brightness),
            &Self::Sharpness { factor } => view.change_by(factor, draws, tone::enhance_sharpness),
            &Self::Hue { turns } => view.change_by(turns, draws, tone::shift_hue),
            Self::AutoContrast => view.map(tone::auto_contrast),
            Self::Equalize => view.map(tone::equalize),
            Self::RandomOps { n } => (0..*n).for_each(|_| apply_random_op(view, draws)),
            &Self::Cutout { length } => {
                let side = 1 + draws.below(length as u32) as usize;
                let reach = side / 2;
                let (row, column) = (draws.below(height as u32) as usize, draws.below(width as u32) as usize);
                view.holes.push(Hole {
                    top: row.saturating_sub(reach),
                    bottom: (row + reach).min(height),
                    left: column.saturating_sub(reach),
                    right: (column + reach).min(width),
                });
            }
        }
    }
}

impl View {
    fn map(&mut self, change: impl FnOnce(Image) -> Image) {
        // The image is moved through the change; what stands in for it meanwhile is never seen.
        let image = std::mem::replace(&mut self.image, Image::new(1, 1, 1, vec![0]));
        self.image = change(image);
    }

    fn change_by(&mut self, (low, high): (f64, f64), draws: &mut Draws, change: Change) {
        let factor = draws.range(low, high);
        self.map(|image| change(image, factor));
    }
}

struct Part {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// torchvision's `RandomResizedCrop.get_params`.
fn random_part(height: usize, width: usize, scale: (f64, f64), ratio: (f64, f64), draws: &mut Draws) -> Part {
    let area = (height * width) as f64;
    for _ in 0..10 {
        let area = area * draws.range(scale.0, scale.1);
        let aspect = draws.range(ratio.0.ln(), ratio.1.ln()).exp();
        let w = (area * aspect).sqrt().round_ties_even() as usize;
        let h = (area / aspect).sqrt().round_ties_even() as usize;
        if 0 < w && w <= width && 0 < h && h <= height {
            let top = draws.below((height - h + 1) as u32) as usize;
            let left = draws.below((width - w + 1) as u32) as usize;
            return Part { top, left, height: h, width: w };
        }
    }
    let whole = width as f64 / height as f64;
    let rounded = |side: f64| side.round_ties_even().max(1.0) as usize;
    let (h, w) = if whole < ratio.0 {
        (rounded(width as f64 / ratio.0).min(height), width)
    } else if whole > ratio.1 {
        (height, rounded(height as f64 * ratio.1).min(width))
    } else {
        (height, width)
    };
    Part { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// One of the 14 operations of [`Op::RandomOps`] (`mynameischaos/GCC` @ 530c11b, `data/augment.py`).
fn apply_random_op(view: &mut View, draws: &mut Draws) {
    const FACTOR: (f64, f64) = (0.05, 0.95);
    let signed = |draws: &mut Draws, low: f64, high: f64| {
        let value = draws.range(low, high);
        if draws.chance(0.5) { -value } else { value }
    };
    let (height, width) = (view.image.height() as f64, view.image.width() as f64);
    match draws.below(14) {
        0 => {}
        1 => view.map(tone::auto_contrast),
        2 => view.map(tone::equalize),
        3 => view.image = geometry::rotate(&view.image, signed(draws, -30.0, 30.0)),
        4 => {
            let threshold = draws.range(0.0, 256.0);
            view.map(|image| tone::solarize(image, threshold));
        }
        5 => view.change_by(FACTOR, draws, tone::enhance_colour),
        6 => view.change_by(FACTOR, draws, tone::enhance_contrast),
        7 => view.change_by(FACTOR, draws, tone::enhance_brightness),
        8 => view.change_by(FACTOR, draws, tone::enhance_sharpness),
        9 => view.image = geometry::affine(&view.image, [1.0, signed(draws, -0.1, 0.1), 0.0, 0.0, 1.0, 0.0]),
        10 => view.image = geometry::affine(&view.image, [1.0, 0.0, 0.0, signed(draws, -0.1, 0.1), 1.0, 0.0]),
        11 => {
            let shift = signed(draws, -0.1, 0.1) * width;
            view.image = geometry::affine(&view.image, [1.0, 0.0, shift, 0.0, 1.0, 0.0]);
        }
        12 => {
            let shift = signed(draws, -0.1, 0.1) * height;
            view.image = geometry::affine(&view.image, [1.0, 0.0, 0.0, 0.0, 1.0, shift]);
        }
        _ => {
            let bits = draws.range(4.0, 8.0) as u8;
            view.map(|image| tone::posterize(image, bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Augmentation;
    use crate::random::Key;

    /// Views of an image in many draws.
    fn views(ops: &str, image: &Image, count: u32) -> Vec<View> {
        let augmentation: Augmentation = ron::from_str(ops).unwrap();
        assert_eq!(augmentation.validate("ops"), []);
        (0..count)
            .map(|sample| augmentation.apply(image, &mut Key { sample, ..Key::default() }.draws()))
            .collect()
    }

    fn noise(height: usize, width: usize, channels: usize) -> Image {
        let pixels = (0..height * width * channels).map(|at| (at * 131 % 251) as u8).collect();
        Image::new(height, width, channels, pixels)
    }

    #[test]
    fn parts_have_areas_and_ratios_in_range() {
        let mut draws = Key::default().draws();
        let mut sum = 0.0;
        for _ in 0..4000 {
            let Part { top, left, height, width } =
                random_part(200, 300, (0.2, 0.5), (0.75, 4.0 / 3.0), &mut draws);
            assert!(top + height <= 200 && left + width <= 300);
            let (area, ratio) = ((height * width) as f64 / 60_000.0, width as f64 / height as f64);
            assert!((0.195..0.505).contains(&area) && (0.74..1.35).contains(&ratio), "{area} {ratio}");
            sum += area;
        }
        assert!((sum / 4000.0 - 0.35).abs() < 0.01, "mean area {}", sum / 4000.0);
    }

    #[test]
    fn where_no_part_fits_the_middle_is_taken() {
        let part = |height, width| {
            let part = random_part(height, width, (0.9, 1.0), (0.75, 4.0 / 3.0), &mut Key::default().draws());
            (part.top, part.left, part.height, part.width)
        };
        assert_eq!(part(1, 100), (0, 49, 1, 1));
        assert_eq!(part(100, 6), (46, 0, 8, 6));
    }

    #[test]
    fn padded_crops_start_everywhere() {
        let starts: BTreeSet<Vec<u8>> =
            views("[RandomCrop(padding: 1)]", &Image::new(2, 2, 1, vec![1, 2, 3, 4]), 200)
                .into_iter()
                .map(|view| view.image.pixels().to_vec())
                .collect();
        let expected = [
            [0, 0, 0, 1],
            [0, 0, 1, 2],
            [0, 0, 2, 0],
            [0, 1, 0, 3],
            [1, 2, 3, 4],
            [2, 0, 4, 0],
            [0, 3, 0, 0],
            [3, 4, 0, 0],
            [4, 0, 0, 0],
        ];
        assert_eq!(starts, expected.map(|pixels| pixels.to_vec()).into());
    }

    #[test]
    fn jitter_draws_its_factors_from_the_whole_range() {
        let image = Image::new(1, 1, 3, vec![100, 100, 100]);
        let values: Vec<u8> = views("[ColorJitter(brightness: 0.4)]", &image, 2000)
            .iter()
            .map(|view| view.image.pixels()[1])
            .collect();
        assert_eq!((values.iter().min(), values.iter().max()), (Some(&60), Some(&139)));
        let values = views("[ColorJitter(saturation: 0.4, hue: 0.5)]", &image, 50);
        assert!(values.iter().all(|view| view.image == image), "grey has neither saturation nor hue");
    }

    #[test]
    fn jitter_takes_its_changes_in_random_order() {
        // Brightness beyond white, then less contrast, differs from less contrast, then brightness.
        let image = Image::new(1, 2, 1, vec![0, 200]);
        let ends: BTreeSet<bool> = views("[ColorJitter(brightness: 1.0, contrast: 1.0)]", &image, 400)
            .iter()
            .filter(|view| view.image.pixels()[0] > 0)
            .map(|view| view.image.pixels()[1] == 255)
            .collect();
        assert_eq!(ends, BTreeSet::from([false, true]));
    }

    #[test]
    fn coins_fall_with_their_probabilities() {
        let image = Image::new(1, 2, 3, vec![0, 0, 0, 255, 0, 0]);
        let share = |ops: &str| {
            let changed = views(ops, &image, 4000).iter().filter(|view| view.image != image).count();
            changed as f64 / 4000.0
        };
        assert!((share("[RandomHorizontalFlip()]") - 0.5).abs() < 0.03);
        assert!((share("[RandomGrayscale(p: 0.2)]") - 0.2).abs() < 0.03);
        assert!((share("[RandomApply(p: 0.8, ops: [Solarize()])]") - 0.8).abs() < 0.03);
        assert!(
            share("[RandomHorizontalFlip(p: 0.0)]") == 0.0 && share("[RandomHorizontalFlip(p: 1.0)]") == 1.0
        );
    }

    #[test]
    fn random_ops_keep_the_size_and_are_many() {
        for channels in [1, 3] {
            let image = noise(9, 11, channels);
            assert!(views("[RandomOps(n: 0)]", &image, 5).iter().all(|view| view.image == image));
            let views = views("[RandomOps(n: 1)]", &image, 600);
            assert!(views.iter().all(|view| (view.image.height(), view.image.width()) == (9, 11)));
            let distinct: BTreeSet<_> = views.iter().map(|view| view.image.pixels().to_vec()).collect();
            assert!(distinct.len() > 100, "{}", distinct.len());
        }
    }

    #[test]
    fn holes_have_sides_up_to_their_length_and_stay_within_the_image() {
        let views = views("[Cutout(length: 4)]", &noise(9, 11, 1), 3000);
        let holes: BTreeSet<(usize, usize)> = views
            .iter()
            .map(|view| view.holes[0])
            .inspect(|hole| assert!(hole.bottom <= 9 && hole.right <= 11))
            .map(|hole| (hole.bottom - hole.top, hole.right - hole.left))
            .collect();
        // Sides of 1 cut nothing, of 2 and 3 cut 2, of 4 cut 4; less at an edge, where half of it is outside.
        assert_eq!(holes.iter().map(|hole| hole.0).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3, 4]));
        let whole = views.iter().filter(|view| view.holes[0].top == view.holes[0].bottom).count();
        assert!((whole as f64 / 3000.0 - 0.25).abs() < 0.03, "{whole} of 3000 cut nothing");
    }

    #[test]
    fn colour_operations_leave_one_channel_as_it_is() {
        let image = noise(5, 5, 1);
        let ops = "[ColorJitter(saturation: 1.0, hue: 0.5), RandomGrayscale(p: 1.0), Color(factor: (0.0, 0.0)), Hue(turns: (0.2, 0.2))]";
        assert!(views(ops, &image, 5).iter().all(|view| view.image == image));
    }
}
