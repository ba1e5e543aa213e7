//! The views methods train on, by name.

use ablate_stage::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{RATIO, four, half};
use super::{Augmentation, Interpolation, Op};

/// Which random views of an image a method trains on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Views {
    /// Crop, flip, colour jitter, grey: SimCLR without blur, with the strengths that GCC uses for small images
    /// (`mynameischaos/GCC` @ 530c11b).
    SimClr {
        /// Side of a view in pixels; `None` gives the size of the images.
        #[serde(default)]
        size: Option<usize>,
        /// Area of the crop as a fraction of the image's, (low, high).
        #[serde(default = "scale")]
        scale: (f64, f64),
        /// Probability of mirroring left and right.
        #[serde(default = "half")]
        flip: f64,
        /// Probability of colour jitter.
        #[serde(default = "jitter")]
        jitter: f64,
        /// Strength of the change of brightness.
        #[serde(default = "strength")]
        brightness: f64,
        /// Strength of the change of contrast.
        #[serde(default = "strength")]
        contrast: f64,
        /// Strength of the change of saturation. Nothing for one channel.
        #[serde(default = "strength")]
        saturation: f64,
        /// Greatest turn of the hue. Nothing for one channel.
        #[serde(default = "hue")]
        hue: f64,
        /// Probability of the change to grey. Nothing for one channel.
        #[serde(default = "fifth")]
        grayscale: f64,
    },
    /// The two views of AdaSim, which SSL-GraphNNCLR trains on: both SimCLR's with bicubic crops; the first always
    /// blurred, every further one blurred with probability 0.1 and solarised with probability 0.2.
    GraphNnClr {
        /// Side of a view in pixels; `None` gives the size of the images.
        #[serde(default)]
        size: Option<usize>,
        /// Area of the crop as a fraction of the image's, (low, high).
        #[serde(default = "adasim_scale")]
        scale: (f64, f64),
        /// Standard deviation of the blur in pixels, (low, high); for images of 224 pixels by default.
        #[serde(default = "adasim_blur")]
        blur: (f64, f64),
    },
    /// The image itself, resized and cropped where asked for: the view for evaluation, and the weak view of
    /// self-labelling.
    Weak {
        /// Length the shorter side is resized to before; not resized where it is `None`.
        #[serde(default)]
        resize: Option<usize>,
        /// Side of the square that is kept in the middle; all is kept where it is `None`.
        #[serde(default)]
        crop: Option<usize>,
    },
    /// The strong view of self-labelling in SCAN and GCC: flip, crop, random operations, cutout.
    Strong {
        /// Side of a view in pixels; `None` gives the size of the images.
        #[serde(default)]
        size: Option<usize>,
        /// How many random operations.
        #[serde(default = "four")]
        ops: usize,
        /// Greatest side of the square that is cut out, in pixels.
        #[serde(default = "sixteen")]
        cutout: usize,
    },
    /// Any operations.
    Custom(Vec<Op>),
}

fn scale() -> (f64, f64) {
    (0.2, 1.0)
}

fn jitter() -> f64 {
    0.8
}

fn strength() -> f64 {
    0.4
}

fn hue() -> f64 {
    0.1
}

fn fifth() -> f64 {
    0.2
}

fn adasim_scale() -> (f64, f64) {
    (0.4, 1.0)
}

fn adasim_blur() -> (f64, f64) {
    (0.1, 2.0)
}

fn sixteen() -> usize {
    16
}

impl Default for Views {
    /// [`SimClr`](Self::SimClr) with its defaults.
    fn default() -> Self {
        Self::SimClr {
            size: None,
            scale: scale(),
            flip: half(),
            jitter: jitter(),
            brightness: strength(),
            contrast: strength(),
            saturation: strength(),
            hue: hue(),
            grayscale: fifth(),
        }
    }
}

impl Views {
    /// The image as it is.
    pub const PLAIN: Self = Self::Weak { resize: None, crop: None };

    /// The augmentations of `count` views of an image.
    pub fn augmentations(&self, count: usize) -> Vec<Augmentation> {
        (0..count).map(|view| Augmentation(self.ops(view))).collect()
    }

    fn ops(&self, view: usize) -> Vec<Op> {
        match self {
            &Self::SimClr { size, scale, flip, jitter, brightness, contrast, saturation, hue, grayscale } => {
                vec![
                    Op::RandomResizedCrop {
                        size,
                        scale,
                        ratio: RATIO,
                        interpolation: Interpolation::Bilinear,
                    },
                    Op::RandomHorizontalFlip { p: flip },
                    Op::RandomApply {
                        p: jitter,
                        ops: vec![Op::ColorJitter { brightness, contrast, saturation, hue }],
                    },
                    Op::RandomGrayscale { p: grayscale },
                ]
            }
            &Self::GraphNnClr { size, scale, blur } => {
                let jitter = Op::ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 };
                let mut ops = vec![
                    Op::RandomResizedCrop {
                        size,
                        scale,
                        ratio: RATIO,
                        interpolation: Interpolation::Bicubic,
                    },
                    Op::RandomHorizontalFlip { p: 0.5 },
                    Op::RandomApply { p: 0.8, ops: vec![jitter] },
                    Op::RandomGrayscale { p: 0.2 },
                ];
                let blur = Op::GaussianBlur { radius: blur };
                if view == 0 {
                    ops.push(blur);
                } else {
                    ops.push(Op::RandomApply { p: 0.1, ops: vec![blur] });
                    ops.push(Op::RandomApply { p: 0.2, ops: vec![Op::Solarize { threshold: 128.0 }] });
                }
                ops
            }
            &Self::Weak { resize, crop } => {
                let resize = resize.map(|size| Op::Resize { size, interpolation: Interpolation::Bilinear });
                resize.into_iter().chain(crop.map(|size| Op::CenterCrop { size })).collect()
            }
            &Self::Strong { size, ops, cutout } => vec![
                Op::RandomHorizontalFlip { p: 0.5 },
                Op::RandomCrop { size, padding: 0 },
                Op::RandomOps { n: ops },
                Op::Cutout { length: cutout },
            ],
            Self::Custom(ops) => ops.clone(),
        }
    }

    /// Everything wrong with its values; `path` is the path of the field it stands in.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        // A preset's fields have the meanings, and so the bounds, of the operations they become, under other names.
        let renamed: &[(&str, &str)] = match self {
            Self::SimClr { .. } => &[
                ("[0].size", ".size"),
                ("[0].scale", ".scale"),
                ("[1].p", ".flip"),
                ("[2].p", ".jitter"),
                ("[2].ops[0].", "."),
                ("[3].p", ".grayscale"),
            ],
            Self::GraphNnClr { .. } => {
                &[("[0].size", ".size"), ("[0].scale", ".scale"), ("[4].radius", ".blur")]
            }
            Self::Weak { resize: Some(_), .. } => &[("[0].size", ".resize"), ("[1].size", ".crop")],
            Self::Weak { resize: None, .. } => &[("[0].size", ".crop")],
            Self::Strong { .. } => &[("[1].size", ".size"), ("[2].n", ".ops"), ("[3].length", ".cutout")],
            Self::Custom(_) => &[],
        };
        let mut errors = Augmentation(self.ops(0)).validate("");
        for error in &mut errors {
            let renamed = renamed.iter().find_map(|(from, to)| Some((*to, error.path.strip_prefix(from)?)));
            error.path = match renamed {
                Some((to, rest)) => format!("{path}{to}{rest}"),
                None => format!("{path}{}", error.path),
            };
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Extent;

    #[test]
    fn presets_have_defaults_and_take_changes() {
        let views: Views = ron::from_str("SimClr()").unwrap();
        assert_eq!(views, Views::default());
        let expected = "[RandomResizedCrop(size:None,scale:(0.2,1.0),ratio:(0.75,1.3333333333333333),interpolation:Bilinear),\
             RandomHorizontalFlip(p:0.5),RandomApply(p:0.8,ops:[ColorJitter(brightness:0.4,contrast:0.4,saturation:0.4,hue:0.1)]),\
             RandomGrayscale(p:0.2)]";
        assert_eq!(ron::to_string(&views.augmentations(2)[1]).unwrap(), expected);
        let second =
            ron::from_str::<Views>("GraphNnClr(size: Some(224))").unwrap().augmentations(2).remove(1);
        assert_eq!(second.0.len(), 6);
        let weak: Views = ron::from_str("Weak(resize: Some(40), crop: Some(32))").unwrap();
        assert_eq!(weak.augmentations(1)[0].output_size(Extent::exactly(32, 48)), Ok((32, 32)));
        assert_eq!(Views::PLAIN.augmentations(1), [Augmentation::default()]);
    }

    #[test]
    fn a_bad_value_is_reported_at_its_field() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let errors = ron::from_str::<Views>(text).unwrap().validate("views");
            let errors: Vec<_> =
                errors.iter().map(|error| (error.path.as_str(), error.message.as_str())).collect();
            assert_eq!(errors, expected);
        };
        check("SimClr()", &[]);
        check("GraphNnClr()", &[]);
        check("Strong()", &[]);
        check(
            "SimClr(size: Some(0), flip: 1.5, hue: 0.6)",
            &[
                ("views.size", "must be 1 to 4096 pixels, is Some(0)"),
                ("views.flip", "must be a probability, 0 to 1, is 1.5"),
                ("views.hue", "must be 0 to 0.5, is 0.6"),
            ],
        );
        check("Weak(crop: Some(0))", &[("views.crop", "must be 1 to 4096 pixels, is 0")]);
        check(
            "Custom([Cutout(length: 4), RandomApply(p: 0.5, ops: [Posterize(bits: 9)])])",
            &[
                ("views[0]", "`Cutout` must come last: it acts after normalisation"),
                ("views[1].ops[0].bits", "must be 1 to 8, is 9"),
            ],
        );
    }

    #[test]
    fn a_size_that_cannot_be_is_an_error() {
        let check = |text: &str, expected: &str| {
            let augmentation = ron::from_str::<Views>(text).unwrap().augmentations(1).remove(0);
            assert_eq!(augmentation.output_size(Extent::exactly(28, 30)).unwrap_err(), expected);
        };
        check("Strong(size: Some(32))", "`RandomCrop` of 32×32 from 28×30 pixels with a padding of 0");
        check(
            "Custom([RandomApply(ops: [CenterCrop(size: 8)])])",
            "`RandomApply` would make 8×8 of 28×30 pixels in some views only",
        );
    }
}
