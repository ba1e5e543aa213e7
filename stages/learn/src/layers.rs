//! Layers, as descriptions: each names its tensors in [`Weights`], initialises them, and applies them.
//!
//! Initial values are drawn for the name of the tensor, so they depend on the seed and the name and on nothing else.

use ablate_data::random::Draws;
use burn::prelude::*;
use burn::tensor::module::{batch_norm, batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;

use crate::weights::{Mode, Running, Weights};

/// A square convolution without bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Name of the layer.
    pub name: String,
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Stride, both ways.
    pub stride: usize,
}

impl Conv2d {
    /// Kaiming normal, fan-out, for ReLU (He et al. 2015): N(0, 2 / (out · kernel²)), as torchvision's networks have.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        let name = format!("{}.weight", self.name);
        let shape = [self.output, self.input, self.kernel, self.kernel];
        let std = (2.0 / (self.output * self.kernel * self.kernel) as f64).sqrt();
        let mut draws = Draws::named(seed, &name);
        let values = (0..shape.iter().product()).map(|_| (std * draws.normal()) as f32).collect();
        weights.insert(name, &shape, values);
    }

    pub(crate) fn kernel(&self, weights: &Weights, mode: Mode) -> Tensor<4> {
        weights.tensor(&format!("{}.weight", self.name), mode)
    }

    /// `[B, input, H, W]` to `[B, output, ⌈H/stride⌉, ⌈W/stride⌉]`, padded by half the kernel.
    pub fn forward(&self, weights: &Weights, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.kernel / 2; 2], [1; 2], 1);
        conv2d(x, self.kernel(weights, mode), None, options)
    }
}

/// A linear layer, y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Name of the layer.
    pub name: String,
    /// Features in.
    pub input: usize,
    /// Features out.
    pub output: usize,
    /// Whether there is a b.
    pub bias: bool,
}

impl Linear {
    /// PyTorch's default: both uniform in ±1/√input.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        let bound = 1.0 / (self.input as f64).sqrt();
        let mut insert = |part: &str, shape: &[usize]| {
            let name = format!("{}.{part}", self.name);
            let mut draws = Draws::named(seed, &name);
            let values = (0..shape.iter().product()).map(|_| draws.range(-bound, bound) as f32).collect();
            weights.insert(name, shape, values);
        };
        insert("weight", &[self.output, self.input]);
        if self.bias {
            insert("bias", &[self.output]);
        }
    }

    /// `[B, input]` to `[B, output]`.
    pub fn forward(&self, weights: &Weights, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        let y = x.matmul(weights.tensor::<2>(&format!("{}.weight", self.name), mode).transpose());
        if self.bias { y + weights.tensor::<1>(&format!("{}.bias", self.name), mode).unsqueeze() } else { y }
    }
}

/// A batch normalisation over channels (Ioffe & Szegedy 2015, algorithm 1).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Name of the layer.
    pub name: String,
    /// Channels.
    pub channels: usize,
}

impl BatchNorm {
    pub(crate) const EPSILON: f64 = 1e-5;
    /// Share of the newest batch in the running statistics.
    const MOMENTUM: f64 = 0.1;

    /// Scale 1, shift 0, running mean 0, running variance 1.
    pub fn initialise(&self, weights: &mut Weights) {
        weights.insert(format!("{}.weight", self.name), &[self.channels], vec![1.0; self.channels]);
        weights.insert(format!("{}.bias", self.name), &[self.channels], vec![0.0; self.channels]);
        weights.insert_running(self.name.clone(), self.channels);
    }

    /// `[B, C, ..]` to the same shape.
    pub fn forward<const D: usize>(&self, weights: &mut Weights, x: Tensor<D>, mode: Mode) -> Tensor<D> {
        let (scale, shift) = self.affine(weights, mode);
        if mode == Mode::Evaluate {
            let Running { mean, variance, .. } = weights.running(&self.name).clone();
            return batch_norm(x, scale, shift, mean, variance, Self::EPSILON);
        }
        let count = x.dims().iter().product::<usize>() / self.channels;
        let batch = batch_norm_train(x, scale, shift, Self::EPSILON);
        self.remember(weights, batch.mean, batch.variance, count);
        batch.output
    }

    pub(crate) fn affine(&self, weights: &Weights, mode: Mode) -> (Tensor<1>, Tensor<1>) {
        let part = |part: &str| weights.tensor(&format!("{}.{part}", self.name), mode);
        (part("weight"), part("bias"))
    }

    /// The factor and summand that evaluation comes to.
    pub(crate) fn running_affine(
        &self,
        weights: &Weights,
        scale: Tensor<1>,
        shift: Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>) {
        let Running { mean, variance, .. } = weights.running(&self.name).clone();
        let factor = scale / variance.add_scalar(Self::EPSILON).sqrt();
        (factor.clone(), shift - mean * factor)
    }

    /// Blends a batch of `count` values a channel into the running statistics. Batches are normalised by their biased
    /// variance, and the running variance is of unbiased ones, as in PyTorch (burn's own module keeps biased ones).
    pub(crate) fn remember(&self, weights: &mut Weights, mean: Tensor<1>, variance: Tensor<1>, count: usize) {
        let unbiased = count as f64 / count.saturating_sub(1).max(1) as f64;
        let blend = |old: &Tensor<1>, new: Tensor<1>, correction: f64| {
            old.clone().mul_scalar(1.0 - Self::MOMENTUM)
                + new.without_autodiff().mul_scalar(Self::MOMENTUM * correction)
        };
        let running = weights.running_mut(&self.name);
        running.mean = blend(&running.mean, mean, 1.0);
        running.variance = blend(&running.variance, variance, unbiased);
        running.batches += 1;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device as BurnDevice;

    use super::*;
    use crate::weights::host;

    #[test]
    fn running_statistics_are_those_of_pytorch() {
        let mut weights = Weights::new(&BurnDevice::flex());
        let norm = BatchNorm { name: "bn".to_owned(), channels: 2 };
        norm.initialise(&mut weights);
        let x = Tensor::<2>::from_floats([[1.0, 10.0], [2.0, 10.0], [6.0, 40.0]], &BurnDevice::flex());
        norm.forward(&mut weights, x.clone(), Mode::Train);
        norm.forward(&mut weights, x.clone(), Mode::Observe);
        let before = weights.running("bn").clone();
        // Means 3 and 20, unbiased variances 7 and 300, each blended in twice by a tenth.
        let blend = |old: f32, new: f32| 0.9 * (0.9 * old + 0.1 * new) + 0.1 * new;
        let close = |found: Vec<f32>, expected: [f32; 2]| {
            found
                .iter()
                .zip(expected)
                .for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{found:?} {expected:?}"));
        };
        close(host(before.mean.clone()), [blend(0.0, 3.0), blend(0.0, 20.0)]);
        close(host(before.variance.clone()), [blend(1.0, 7.0), blend(1.0, 300.0)]);
        assert_eq!(before.batches, 2);
        norm.forward(&mut weights, x, Mode::Evaluate);
        assert_eq!(weights.running("bn").batches, 2, "evaluation changes nothing");
    }

    #[test]
    fn initial_values_have_their_spread_and_depend_on_seed_and_name_alone() {
        let draw = |seed, name: &str| {
            let mut weights = Weights::new(&BurnDevice::flex());
            let conv = Conv2d { name: name.to_owned(), input: 8, output: 32, kernel: 3, stride: 1 };
            conv.initialise(&mut weights, seed);
            host(weights.tensor::<4>(&format!("{name}.weight"), Mode::Evaluate))
        };
        let values = draw(0, "conv1");
        let variance = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        assert!((variance / (2.0 / 288.0) - 1.0).abs() < 0.1, "{variance}");
        assert_eq!(values, draw(0, "conv1"));
        assert_ne!(values, draw(1, "conv1"));
        assert_ne!(values, draw(0, "conv2"));
        let mut weights = Weights::new(&BurnDevice::flex());
        let linear = Linear { name: "fc".to_owned(), input: 16, output: 64, bias: true };
        linear.initialise(&mut weights, 0);
        let values = host(weights.tensor::<2>("fc.weight", Mode::Evaluate));
        let most = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!((0.24..=0.25).contains(&most), "uniform in ±1/4: {most}");
    }
}
