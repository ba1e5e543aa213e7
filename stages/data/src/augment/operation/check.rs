//! What operations need: sizes they can work with, values in range.

use ablate_stage::FieldError;

use super::{Op, shorter_side_to};
use crate::augment::Extent;

/// Largest size, padding or blur an operation takes, in pixels.
const MAX_SIDE: usize = 4096;

impl Op {
    pub(in crate::augment) fn extent(&self, images: Extent) -> Result<Extent, String> {
        let Extent { height, width, exact } = images;
        match self {
            Self::RandomResizedCrop { size, .. } => {
                Ok(size.map_or(images, |size| Extent::exactly(size, size)))
            }
            &Self::RandomCrop { size: Some(size), padding } => {
                if size > height.min(width) + 2 * padding {
                    return Err(format!(
                        "`RandomCrop` of {size}×{size} from {height}×{width} pixels with a padding of {padding}"
                    ));
                }
                Ok(Extent::exactly(size, size))
            }
            &Self::Resize { size, .. } if exact => {
                let (height, width) = shorter_side_to(size, height, width);
                Ok(Extent::exactly(height, width))
            }
            &Self::Resize { size, .. } => Ok(Extent::at_least(size, size)),
            &Self::ResizeTo { height, width, .. } => Ok(Extent::exactly(height, width)),
            &Self::CenterCrop { size } => Ok(Extent::exactly(size, size)),
            Self::RandomApply { ops, .. } => {
                let after = ops.iter().try_fold(images, |extent, op| op.extent(extent))?;
                if after != images {
                    return Err(format!(
                        "`RandomApply` would make {}×{} of {height}×{width} pixels in some views only",
                        after.height, after.width
                    ));
                }
                Ok(after)
            }
            Self::RandomHorizontalFlip { .. }
            | Self::RandomCrop { size: None, .. }
            | Self::ColorJitter { .. }
            | Self::RandomGrayscale { .. }
            | Self::GaussianBlur { .. }
            | Self::KernelBlur { .. }
            | Self::Solarize { .. }
            | Self::Posterize { .. }
            | Self::Rotate { .. }
            | Self::Affine { .. }
            | Self::Color { .. }
            | Self::Contrast { .. }
            | Self::Brightness { .. }
            | Self::Sharpness { .. }
            | Self::Hue { .. }
            | Self::AutoContrast
            | Self::Equalize
            | Self::RandomOps { .. }
            | Self::Cutout { .. } => Ok(images),
        }
    }

    pub(in crate::augment) fn validate(&self, path: &str, errors: &mut Vec<FieldError>) {
        let mut check = |field: &str, good: bool, expected: &str, found: &dyn std::fmt::Debug| {
            if !good {
                let path = format!("{path}.{field}");
                errors.push(FieldError::new(&path, format!("must be {expected}, is {found:?}")));
            }
        };
        let side = |side: usize| (1..=MAX_SIDE).contains(&side);
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        let within =
            |(low, high): (f64, f64), least: f64, most: f64| least <= low && low <= high && high <= most;
        const SIDE: &str = "1 to 4096 pixels";
        const PROBABILITY: &str = "a probability, 0 to 1";
        const FACTOR: &str = "a range (low, high) within 0 to 10";
        match self {
            &Self::RandomResizedCrop { size, scale, ratio, .. } => {
                check("size", size.is_none_or(side), SIDE, &size);
                let good = scale.0 > 0.0 && within(scale, 0.0, 1.0);
                check("scale", good, "a range (low, high) above 0, at most 1", &scale);
                check("ratio", within(ratio, 0.01, 100.0), "a range (low, high) within 0.01 to 100", &ratio);
            }
            &Self::RandomHorizontalFlip { p } | &Self::RandomGrayscale { p } => {
                check("p", probability(p), PROBABILITY, &p);
            }
            &Self::RandomCrop { size, padding } => {
                check("size", size.is_none_or(side), SIDE, &size);
                check("padding", padding <= MAX_SIDE, "at most 4096 pixels", &padding);
            }
            &Self::Resize { size, .. } | &Self::CenterCrop { size } => check("size", side(size), SIDE, &size),
            &Self::ResizeTo { height, width, .. } => {
                check("height", side(height), SIDE, &height);
                check("width", side(width), SIDE, &width);
            }
            &Self::ColorJitter { brightness, contrast, saturation, hue } => {
                for (field, strength) in
                    [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)]
                {
                    check(field, (0.0..=10.0).contains(&strength), "0 to 10", &strength);
                }
                check("hue", (0.0..=0.5).contains(&hue), "0 to 0.5", &hue);
            }
            Self::RandomApply { p, ops } => {
                check("p", probability(*p), PROBABILITY, p);
                for (at, op) in ops.iter().enumerate() {
                    let path = format!("{path}.ops[{at}]");
                    op.validate(&path, errors);
                    if op.is_cutout() {
                        errors.push(FieldError::new(&path, "`Cutout` cannot stand within `RandomApply`"));
                    }
                }
            }
            &Self::GaussianBlur { radius } => {
                check("radius", within(radius, 0.0, 100.0), "a range (low, high) within 0 to 100", &radius);
            }
            &Self::KernelBlur { kernel, sigma } => {
                let odd = kernel % 2 == 1 && kernel < 1000;
                check("kernel", odd, "an odd number below 1000", &kernel);
                let good = sigma.0 > 0.0 && within(sigma, 0.0, 100.0);
                check("sigma", good, "a range (low, high) above 0, at most 100", &sigma);
            }
            &Self::Solarize { threshold } => {
                check("threshold", (0.0..=256.0).contains(&threshold), "0 to 256", &threshold);
            }
            &Self::Posterize { bits } => check("bits", (1..=8).contains(&bits), "1 to 8", &bits),
            &Self::Rotate { degrees } => {
                let good = within(degrees, -360.0, 360.0);
                check("degrees", good, "a range (low, high) within -360 to 360", &degrees);
            }
            &Self::Affine { matrix: (a, b, c, d, e, f) } => {
                let good = [a, b, c, d, e, f].iter().all(|value| value.abs() <= MAX_SIDE as f64);
                check("matrix", good, "six numbers within ±4096", &(a, b, c, d, e, f));
            }
            &Self::Color { factor }
            | &Self::Contrast { factor }
            | &Self::Brightness { factor }
            | &Self::Sharpness { factor } => check("factor", within(factor, 0.0, 10.0), FACTOR, &factor),
            &Self::Hue { turns } => {
                check("turns", within(turns, -0.5, 0.5), "a range (low, high) within -0.5 to 0.5", &turns);
            }
            Self::AutoContrast | Self::Equalize => {}
            Self::RandomOps { n } => check("n", *n <= 100, "at most 100", n),
            &Self::Cutout { length } => check("length", side(length), SIDE, &length),
        }
    }
}
