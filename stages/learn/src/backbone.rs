//! Convolutional networks that turn images into features.

use std::ops::Range;

use ablate_stage::FieldError;
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conv_norm::{Activation, ConvNorm};
use crate::layers::{BatchNorm, Conv2d};
use crate::weights::{Mode, Weights};

/// A network from images to features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Backbone {
    /// Three 3×3 convolutions of stride 2 with batch norm and ReLU, of `width`, 2 `width` and 4 `width` channels, then the
    /// mean over each cell of a grid. For images of 28 to 64 pixels, fast enough for a processor.
    SmallCnn {
        /// Channels of the first convolution. Features have 4 `width` `grid`² dimensions.
        #[serde(default = "width")]
        width: usize,
        /// Cells of the grid along a side of the image. With 1, features say what is in the image; with more, also where,
        /// which a linear probe on images that are all cut alike can use.
        #[serde(default = "grid")]
        grid: usize,
    },
    /// ResNet-18 (He et al. 2016), 512 features, with torchvision's parameter names.
    ResNet18 {
        /// The layers before the first residual block.
        #[serde(default)]
        stem: Stem,
    },
    /// ResNet-34 (He et al. 2016), 512 features, with torchvision's parameter names.
    ResNet34 {
        /// The layers before the first residual block.
        #[serde(default)]
        stem: Stem,
    },
}

/// The layers of a ResNet before its first residual block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stem {
    /// A 3×3 convolution: for images of 32 pixels.
    #[default]
    Cifar,
    /// A 3×3 convolution and a 2×2 maximum of stride 2, padded by 1: for images of 64 and 96 pixels (GCC, SCAN).
    Stl,
    /// A 7×7 convolution of stride 2 and a 3×3 maximum of stride 2: torchvision's.
    ImageNet,
}

/// Most channels of a first convolution; the last then has 75 million weights.
const MAX_WIDTH: usize = 1024;
/// The most cells along a side.
const MAX_GRID: usize = 16;

fn width() -> usize {
    32
}

fn grid() -> usize {
    1
}

impl Default for Backbone {
    fn default() -> Self {
        Self::SmallCnn { width: width(), grid: grid() }
    }
}

impl Backbone {
    /// Dimensions of the features.
    pub fn features(&self) -> usize {
        match *self {
            Self::SmallCnn { width, grid } => 4 * width * grid * grid,
            Self::ResNet18 { .. } | Self::ResNet34 { .. } => 512,
        }
    }

    /// What is wrong with its values; `path` is its place in the stage.
    pub fn validate(&self, path: &str) -> Vec<FieldError> {
        match *self {
            Self::SmallCnn { width, grid } => {
                let fields = [("width", width, MAX_WIDTH), ("grid", grid, MAX_GRID)];
                let wrong = fields.into_iter().filter(|(_, value, most)| !(1..=*most).contains(value));
                let error = |(field, value, most)| {
                    FieldError::new(&format!("{path}.{field}"), format!("must be 1 to {most}, is {value}"))
                };
                wrong.map(error).collect()
            }
            Self::ResNet18 { .. } | Self::ResNet34 { .. } => Vec::new(),
        }
    }

    /// The layers, whose tensors are named under `prefix`, for images of `channels` channels.
    pub fn network(&self, prefix: &str, channels: usize) -> Network {
        let mut builder = Builder { prefix, steps: Vec::new() };
        let mut cells = 1;
        match *self {
            Self::SmallCnn { width, grid } => {
                cells = grid;
                let mut input = channels;
                for (at, output) in (1..).zip([width, 2 * width, 4 * width]) {
                    builder.conv(&format!("conv{at}"), &format!("bn{at}"), (input, output), (3, 2));
                    input = output;
                }
            }
            Self::ResNet18 { stem } => builder.resnet(channels, stem, [2, 2, 2, 2]),
            Self::ResNet34 { stem } => builder.resnet(channels, stem, [3, 4, 6, 3]),
        }
        Network { steps: builder.steps, grid: cells }
    }
}

/// The layers of a backbone.
#[derive(Clone, Debug)]
pub struct Network {
    steps: Vec<Step>,
    /// Cells along a side of the last layer that features are the means of.
    grid: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// Convolution, batch norm, ReLU.
    Conv(ConvNorm),
    MaxPool {
        kernel: usize,
    },
    Residual(Residual),
}

/// ReLU(conv-BN-ReLU-conv-BN (x) + shortcut (x)).
#[derive(Clone, Debug)]
struct Residual {
    first: ConvNorm,
    second: ConvNorm,
    /// A 1×1 convolution where the shape changes.
    shortcut: Option<ConvNorm>,
}

struct Builder<'a> {
    prefix: &'a str,
    steps: Vec<Step>,
}

impl Builder<'_> {
    fn pair(
        &self,
        conv: &str,
        norm: &str,
        (input, output): (usize, usize),
        (kernel, stride): (usize, usize),
    ) -> ConvNorm {
        let name = |layer: &str| format!("{}{layer}", self.prefix);
        ConvNorm {
            conv: Conv2d { name: name(conv), input, output, kernel, stride },
            norm: BatchNorm { name: name(norm), channels: output },
        }
    }

    fn conv(&mut self, conv: &str, norm: &str, channels: (usize, usize), shape: (usize, usize)) {
        let pair = self.pair(conv, norm, channels, shape);
        self.steps.push(Step::Conv(pair));
    }

    fn resnet(&mut self, channels: usize, stem: Stem, blocks: [usize; 4]) {
        match stem {
            Stem::Cifar => self.conv("conv1", "bn1", (channels, 64), (3, 1)),
            Stem::Stl => {
                self.conv("conv1", "bn1", (channels, 64), (3, 1));
                self.steps.push(Step::MaxPool { kernel: 2 });
            }
            Stem::ImageNet => {
                self.conv("conv1", "bn1", (channels, 64), (7, 2));
                self.steps.push(Step::MaxPool { kernel: 3 });
            }
        }
        let mut input = 64;
        for (layer, (blocks, output)) in (1..).zip(blocks.into_iter().zip([64, 128, 256, 512])) {
            for block in 0..blocks {
                let stride = if layer > 1 && block == 0 { 2 } else { 1 };
                let at = |part: &str| format!("layer{layer}.{block}.{part}");
                let pair = |conv: &str, norm: &str, input, shape| {
                    self.pair(&at(conv), &at(norm), (input, output), shape)
                };
                let residual = Residual {
                    first: pair("conv1", "bn1", input, (3, stride)),
                    second: pair("conv2", "bn2", output, (3, 1)),
                    shortcut: (stride != 1 || input != output)
                        .then(|| pair("downsample.0", "downsample.1", input, (1, stride))),
                };
                self.steps.push(Step::Residual(residual));
                input = output;
            }
        }
    }
}

impl Network {
    /// Puts freshly drawn tensors into `weights`.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        for step in &self.steps {
            match step {
                Step::Conv(pair) => pair.initialise(weights, seed),
                Step::MaxPool { .. } => {}
                Step::Residual(Residual { first, second, shortcut }) => {
                    first.initialise(weights, seed);
                    second.initialise(weights, seed);
                    shortcut.iter().for_each(|pair| pair.initialise(weights, seed));
                }
            }
        }
    }

    /// Images `[B, C, H, W]` to features `[B, features]`: the mean of the last layer over each cell of the grid, cells in the
    /// order row, column.
    pub fn forward(&self, weights: &mut Weights, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x = images.permute([0, 2, 3, 1]);
        for step in &self.steps {
            x = match step {
                Step::Conv(pair) => pair.forward(weights, x, mode, Activation::Relu),
                Step::MaxPool { kernel } => {
                    let options = MaxPoolOptions::new([*kernel; 2]).with_stride([2; 2]).with_padding([1; 2]);
                    max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
                }
                Step::Residual(Residual { first, second, shortcut }) => {
                    let y = first.forward(weights, x.clone(), mode, Activation::Relu);
                    let y = second.forward(weights, y, mode, Activation::None);
                    let straight = match shortcut {
                        Some(pair) => pair.forward(weights, x, mode, Activation::None),
                        None => x,
                    };
                    relu(y + straight)
                }
            };
        }
        let [_, height, width, _] = x.dims();
        let cells = spans(height, self.grid)
            .flat_map(|rows| spans(width, self.grid).map(move |columns| (rows.clone(), columns)));
        let means = cells.map(|(rows, columns)| mean_over(x.clone(), rows, columns));
        Tensor::cat(means.collect(), 1)
    }
}

/// The parts of a side of `length` pixels that a grid of `cells` takes the means of: of equal length where that goes, else
/// overlapping by a pixel (torchvision's `AdaptiveAvgPool2d`).
fn spans(length: usize, cells: usize) -> impl Iterator<Item = Range<usize>> {
    (0..cells).map(move |cell| cell * length / cells..((cell + 1) * length).div_ceil(cells))
}

/// `[B, H, W, C]` to the mean over some rows and columns, `[B, C]`.
fn mean_over(x: Tensor<4>, rows: Range<usize>, columns: Range<usize>) -> Tensor<2> {
    let [batch, height, width, channels] = x.dims();
    let pixels = rows.len() * columns.len();
    let cell = if pixels == height * width { x } else { x.slice([0..batch, rows, columns, 0..channels]) };
    cell.reshape([batch, pixels, channels]).mean_dim(1).flatten(1, 2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device as BurnDevice;

    use super::*;
    use crate::weights::{Parameter, host};

    fn weights(backbone: Backbone, channels: usize) -> (Network, Weights) {
        let network = backbone.network("", channels);
        let mut weights = Weights::new(&BurnDevice::flex());
        network.initialise(&mut weights, 0);
        (network, weights)
    }

    #[test]
    fn parameters_are_as_many_as_in_the_original_programs() {
        let check = |backbone, expected| {
            let (_, weights) = weights(backbone, 3);
            let count = |(_, parameter): (_, &Parameter)| parameter.shape().iter().product::<usize>();
            assert_eq!(weights.parameters().map(count).sum::<usize>(), expected, "{backbone:?}");
        };
        check(Backbone::ResNet18 { stem: Stem::Cifar }, 11_168_832);
        check(Backbone::ResNet18 { stem: Stem::Stl }, 11_168_832);
        check(Backbone::ResNet34 { stem: Stem::Stl }, 21_276_992);
        // torchvision's resnet18 has 11,689,512 with its classifier of 1,000 classes on 512 features.
        check(Backbone::ResNet18 { stem: Stem::ImageNet }, 11_689_512 - 513_000);
    }

    #[test]
    fn resnet_18_has_torchvisions_names_and_shapes() {
        let (_, weights) = weights(Backbone::ResNet18 { stem: Stem::ImageNet }, 3);
        let stored = weights.store("", ablate_stage::Tensors::new());
        assert_eq!(stored.iter().count(), 120, "torchvision's state_dict has 122, two of them of fc");
        for (name, shape) in [
            ("conv1.weight", vec![64, 3, 7, 7]),
            ("bn1.running_var", vec![64]),
            ("bn1.num_batches_tracked", vec![]),
            ("layer1.0.conv1.weight", vec![64, 64, 3, 3]),
            ("layer2.0.downsample.0.weight", vec![128, 64, 1, 1]),
            ("layer2.0.downsample.1.bias", vec![128]),
            ("layer4.1.bn2.running_mean", vec![512]),
        ] {
            assert_eq!(stored.get(name).unwrap().shape(), shape, "{name}");
        }
        assert!(!stored.contains("layer1.0.downsample.0.weight"));
    }

    #[test]
    fn maxima_of_a_stem_are_over_windows_that_begin_one_pixel_outside() {
        // Sides of the image, and of the maps after convolution and maximum: 6 becomes 4 as GCC's 96 becomes 49.
        for (stem, kernel, [side, convolved, pooled]) in
            [(Stem::Stl, 2, [6, 6, 4]), (Stem::ImageNet, 3, [12, 6, 3])]
        {
            let (network, weights) = weights(Backbone::ResNet18 { stem }, 1);
            let image = (0..side * side).map(|at| (1.7 * at as f32 + (at as f32).sqrt()).sin()).collect();
            let image = crate::rows::upload(image, [1, 1, side, side], &BurnDevice::flex());
            // The map after some steps: cells of a grid of as many are its pixels, each with 64 channels.
            let map = |steps: usize, side: usize| {
                let part = Network { steps: network.steps[..steps].to_vec(), grid: side };
                host(part.forward(&mut weights.clone(), image.clone(), Mode::Observe))
            };
            let before = map(1, convolved);
            let window = |at: usize| (2 * at).saturating_sub(1)..(2 * at + kernel - 1).min(convolved);
            let mut expected = Vec::new();
            for (y, x) in (0..pooled).flat_map(|y| (0..pooled).map(move |x| (y, x))) {
                for channel in 0..64 {
                    let pixels = window(y).flat_map(|row| window(x).map(move |column| (row, column)));
                    let values =
                        pixels.map(|(row, column)| before[(row * convolved + column) * 64 + channel]);
                    expected.push(values.fold(f32::MIN, f32::max));
                }
            }
            assert_eq!(map(2, pooled), expected, "{stem:?}");
        }
    }

    #[test]
    fn features_are_of_the_promised_size_for_every_backbone_and_stem() {
        for (backbone, side) in [
            (Backbone::SmallCnn { width: 4, grid: 1 }, 28),
            (Backbone::SmallCnn { width: 4, grid: 3 }, 28),
            (Backbone::ResNet18 { stem: Stem::Cifar }, 8),
            (Backbone::ResNet18 { stem: Stem::Stl }, 12),
            (Backbone::ResNet34 { stem: Stem::ImageNet }, 33),
        ] {
            let (network, mut weights) = weights(backbone, 1);
            let images = Tensor::<4>::ones([2, 1, side, side], &BurnDevice::flex());
            let features = network.forward(&mut weights, images, Mode::Observe);
            assert_eq!(features.dims(), [2, backbone.features()], "{backbone:?}");
            assert!(host(features).iter().all(|value| value.is_finite()));
        }
    }
}
