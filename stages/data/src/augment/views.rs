//! The views methods train on, by name.

use ablate_stage::{FieldError, Preset};
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
    /// The views of Contrastive Clustering, which IcicleGCN trains on too: crop, flip, jitter of strength (0.8, 0.8, 0.8, 0.2)
    /// times `strength`, grey, and blur where it is asked for, by an OpenCV kernel of 23 pixels.
    Cc {
        /// Side of a view in pixels; `None` gives the size of the images. The papers enlarge all images to 224.
        #[serde(default)]
        size: Option<usize>,
        /// Strength of the colour jitter: 0.5 for CIFAR, 1 for ImageNet's subsets and STL-10.
        #[serde(default = "half")]
        strength: f64,
        /// Probability of blur: 0 for CIFAR and STL-10, 0.5 for ImageNet's subsets.
        #[serde(default)]
        blur: f64,
    },
    /// Random crop and colour jitter, as CNN2Graph names them. Its paper gives no strengths: these are ours.
    Cnn2Graph {
        /// Side of a view in pixels; `None` gives the size of the images.
        #[serde(default)]
        size: Option<usize>,
        /// Area of the crop as a fraction of the image's, (low, high).
        #[serde(default = "cnn2graph_scale")]
        scale: (f64, f64),
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
    /// Any operations, the same for every view.
    Custom(Vec<Op>),
    /// Any operations, for each view its own; the last are those of every further view too.
    Each(Vec<Vec<Op>>),
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

fn cnn2graph_scale() -> (f64, f64) {
    (0.8, 1.0)
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
            &Self::Cc { size, strength, blur } => {
                let (most, hue) = (0.8 * strength, 0.2 * strength);
                let jitter = Op::ColorJitter { brightness: most, contrast: most, saturation: most, hue };
                let mut ops = vec![
                    Op::RandomResizedCrop {
                        size,
                        scale: (0.08, 1.0),
                        ratio: RATIO,
                        interpolation: Interpolation::Bilinear,
                    },
                    Op::RandomHorizontalFlip { p: 0.5 },
                    Op::RandomApply { p: 0.8, ops: vec![jitter] },
                    Op::RandomGrayscale { p: 0.2 },
                ];
                if blur != 0.0 {
                    let kernel = Op::KernelBlur { kernel: 23, sigma: (0.1, 2.0) };
                    ops.push(Op::RandomApply { p: blur, ops: vec![kernel] });
                }
                ops
            }
            &Self::Cnn2Graph { size, scale } => vec![
                Op::RandomResizedCrop { size, scale, ratio: RATIO, interpolation: Interpolation::Bilinear },
                Op::ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
            ],
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
            Self::Each(views) => views.get(view).or(views.last()).cloned().unwrap_or_default(),
        }
    }

    /// The views the four systems train on, by name: what is written in a pipeline, and the operations it stands for.
    pub fn presets() -> Vec<Preset> {
        let preset = |name: &'static str, written: &'static str, views: Self| {
            let each: Vec<Vec<Op>> = views.augmentations(2).into_iter().map(|view| view.0).collect();
            let [first, second] = &each[..] else { unreachable!("two views are asked for") };
            let expanded = if first == second { Self::Custom(first.clone()) } else { Self::Each(each) };
            Preset::new(name, written, &expanded)
        };
        let (size, blur) = (None, adasim_blur());
        vec![
            preset("GCC, and SimCLR on small images", "SimClr()", Self::default()),
            preset("GCC, self-labelling", "Strong()", Self::Strong { size, ops: four(), cutout: sixteen() }),
            preset("SSL-GraphNNCLR", "GraphNnClr()", Self::GraphNnClr { size, scale: adasim_scale(), blur }),
            preset("IcicleGCN and CC, CIFAR", "Cc()", Self::Cc { size, strength: 0.5, blur: 0.0 }),
            preset(
                "IcicleGCN and CC, ImageNet",
                "Cc(strength: 1.0, blur: 0.5)",
                Self::Cc { size, strength: 1.0, blur: 0.5 },
            ),
            preset("CNN2Graph", "Cnn2Graph()", Self::Cnn2Graph { size, scale: cnn2graph_scale() }),
        ]
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
            Self::Cc { .. } => &[("[0].size", ".size"), ("[4].p", ".blur")],
            Self::Cnn2Graph { .. } => &[("[0].size", ".size"), ("[0].scale", ".scale")],
            Self::Weak { resize: Some(_), .. } => &[("[0].size", ".resize"), ("[1].size", ".crop")],
            Self::Weak { resize: None, .. } => &[("[0].size", ".crop")],
            Self::Strong { .. } => &[("[1].size", ".size"), ("[2].n", ".ops"), ("[3].length", ".cutout")],
            Self::Custom(_) | Self::Each(_) => &[],
        };
        let mut errors = match self {
            Self::Each(views) if views.is_empty() => {
                vec![FieldError::new("", "must have the operations of a view")]
            }
            Self::Each(views) => {
                let of =
                    |(at, ops): (usize, &Vec<Op>)| Augmentation(ops.clone()).validate(&format!("[{at}]"));
                views.iter().enumerate().flat_map(of).collect()
            }
            // The turn of the hue bounds the strength of all of the jitter.
            &Self::Cc { size, strength, blur } if !(0.0..=2.5).contains(&strength) => {
                let message = format!("must be 0 to 2.5, is {strength:?}");
                let mut errors = vec![FieldError::new(".strength", message)];
                let others = Self::Cc { size, strength: 1.0, blur };
                errors.extend(Augmentation(others.ops(0)).validate(""));
                errors
            }
            Self::SimClr { .. }
            | Self::GraphNnClr { .. }
            | Self::Cc { .. }
            | Self::Cnn2Graph { .. }
            | Self::Weak { .. }
            | Self::Strong { .. }
            | Self::Custom(_) => Augmentation(self.ops(0)).validate(""),
        };
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
    fn presets_are_written_as_they_are_called_and_expand_to_what_they_do() {
        for Preset { name, written, expanded } in Views::presets() {
            let (short, long): (Views, Views) =
                (ron::from_str(&written).unwrap(), ron::from_str(&expanded).unwrap());
            assert_eq!(short.augmentations(2), long.augmentations(2), "{name}");
            assert_eq!(long.validate("views"), [], "{name}");
        }
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
        check("Cc(strength: 20.0)", &[("views.strength", "must be 0 to 2.5, is 20.0")]);
        check(
            "Cc(strength: -1.0, blur: -0.5)",
            &[
                ("views.strength", "must be 0 to 2.5, is -1.0"),
                ("views.blur", "must be a probability, 0 to 1, is -0.5"),
            ],
        );
        check("Cc(blur: 2.0)", &[("views.blur", "must be a probability, 0 to 1, is 2.0")]);
        check("Each([])", &[("views", "must have the operations of a view")]);
        check("Each([[], [Posterize(bits: 9)]])", &[("views[1][0].bits", "must be 1 to 8, is 9")]);
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
