//! Convolution, batch norm and ReLU: one layer, computed in one of two ways.
//!
//! Burn's processor backend computes a convolution's weight gradient as a convolution whose kernel is the output
//! gradient, which leaves matrix products of nine columns. On the processor the layer is therefore one operation of ours,
//! forward and backward, with the batch norm and the ReLU fused. Work is split by the shape alone,
//! and partial sums are added in a fixed order, so results do not depend on the number of threads. On other devices it is
//! burn's own operations, one after the other.

mod convolution;
mod norm;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::{Device as BurnDevice, TensorData};
use pulp::Arch;

use crate::layers::{BatchNorm, Conv2d};
use crate::weights::{Mode, Weights};

pub use convolution::Geometry;

/// A convolution and the batch norm of its output.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The batch norm.
    pub norm: BatchNorm,
}

/// What follows a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, ·).
    Relu,
}

impl ConvNorm {
    /// Initialises both.
    pub fn initialise(&self, weights: &mut Weights, seed: u64) {
        self.conv.initialise(weights, seed);
        self.norm.initialise(weights);
    }

    /// `[B, H, W, input]` to `[B, ⌈H/stride⌉, ⌈W/stride⌉, output]`.
    pub fn forward(
        &self,
        weights: &mut Weights,
        x: Tensor<4>,
        mode: Mode,
        activation: Activation,
    ) -> Tensor<4> {
        if *weights.device() == BurnDevice::flex() {
            self.forward_fused(weights, x, mode, activation)
        } else {
            self.forward_by_parts(weights, x, mode, activation)
        }
    }

    fn forward_by_parts(
        &self,
        weights: &mut Weights,
        x: Tensor<4>,
        mode: Mode,
        activation: Activation,
    ) -> Tensor<4> {
        let y = self.conv.forward(weights, x.permute([0, 3, 1, 2]), mode);
        let y = self.norm.forward(weights, y, mode).permute([0, 2, 3, 1]);
        if activation == Activation::Relu { relu(y) } else { y }
    }

    fn forward_fused(
        &self,
        weights: &mut Weights,
        x: Tensor<4>,
        mode: Mode,
        activation: Activation,
    ) -> Tensor<4> {
        let [batch, height, width, input] = x.dims();
        let Conv2d { output, kernel, stride, .. } = self.conv;
        let geometry = Geometry { batch, height, width, input, output, kernel, stride };
        let kernel = self.conv.kernel(weights, mode);
        let (scale, shift) = self.norm.affine(weights, mode);
        let rectified = activation == Activation::Relu;
        if mode == Mode::Evaluate {
            let (factor, summand) = self.norm.running_affine(weights, scale, shift);
            return conv_affine(x, kernel, factor, summand, geometry, rectified);
        }
        let (y, mean, variance) = conv_norm(x, kernel, scale, shift, geometry, BatchNorm::EPSILON, rectified);
        let [batch, height, width, _] = y.dims();
        self.norm.remember(weights, mean, variance, batch * height * width);
        y
    }
}

/// A convolution without bias, the batch norm of its output by the batch's statistics, and a ReLU if `relu`.
///
/// `x` `[B, H, W, C]`, `weight` `[O, C, k, k]`, `scale` and `shift` `[O]`. Returns the output `[B, H′, W′, O]` and the
/// batch's mean and biased variance, `[O]` each, without gradients.
fn conv_norm(
    x: Tensor<4>,
    weight: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    geometry: Geometry,
    epsilon: f64,
    relu: bool,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let (y, mean, variance) = <Dispatch as ConvNormOps>::conv_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        geometry,
        epsilon,
        relu,
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}

/// A convolution without bias, times `scale` plus `shift`, and a ReLU if `relu`. Shapes as for [`conv_norm`]. For
/// evaluation: without gradients.
fn conv_affine(
    x: Tensor<4>,
    weight: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    geometry: Geometry,
    relu: bool,
) -> Tensor<4> {
    let x = x.without_autodiff().into_dispatch();
    let y = <Dispatch as ConvNormOps>::conv_affine(
        x,
        weight.without_autodiff().into_dispatch(),
        scale.without_autodiff().into_dispatch(),
        shift.without_autodiff().into_dispatch(),
        geometry,
        relu,
    );
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
trait ConvNormOps: Backend {
    fn conv_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        geometry: Geometry,
        epsilon: f64,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn conv_affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
    ) -> FloatTensor<Self>;
}

type Primitive = FloatTensor<Flex>;

/// The elements of a contiguous tensor, row-major.
fn elements(tensor: &Primitive) -> &[f32] {
    tensor.as_slice().expect("the processor computes in f32, on contiguous tensors")
}

fn primitive<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape))
}

impl ConvNormOps for Flex {
    fn conv_norm(
        x: Primitive,
        weight: Primitive,
        scale: Primitive,
        shift: Primitive,
        geometry: Geometry,
        epsilon: f64,
        relu: bool,
    ) -> (Primitive, Primitive, Primitive) {
        let [x, weight, scale, shift] = [x, weight, scale, shift].map(|tensor| tensor.to_contiguous());
        let (y, saved) = forward(&x, &weight, &scale, &shift, geometry, epsilon, relu);
        let channels = [geometry.output];
        (y, primitive(saved.mean, channels), primitive(saved.variance, channels))
    }

    fn conv_affine(
        x: Primitive,
        weight: Primitive,
        scale: Primitive,
        shift: Primitive,
        geometry: Geometry,
        relu: bool,
    ) -> Primitive {
        let [x, weight, scale, shift] = [x, weight, scale, shift].map(|tensor| tensor.to_contiguous());
        let mut y = convolution::convolve(Arch::new(), &geometry, elements(&x), elements(&weight));
        norm::affine(&mut y, elements(&scale), elements(&shift), relu);
        primitive(y, geometry.output_shape())
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    /// Output of the convolution.
    convolved: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

fn forward(
    x: &Primitive,
    weight: &Primitive,
    scale: &Primitive,
    shift: &Primitive,
    geometry: Geometry,
    epsilon: f64,
    relu: bool,
) -> (Primitive, Saved) {
    let convolved = convolution::convolve(Arch::new(), &geometry, elements(x), elements(weight));
    let (mean, variance) = norm::moments(&convolved, geometry.output);
    let y = norm::normalise(
        &convolved,
        &norm::Norm {
            mean: &mean,
            variance: &variance,
            scale: elements(scale),
            shift: elements(shift),
            epsilon,
        },
        relu,
    );
    (primitive(y, geometry.output_shape()), Saved { convolved, mean, variance })
}

#[derive(Debug)]
struct ConvNormBackward;

#[derive(Clone, Debug)]
struct State {
    x: Primitive,
    weight: Primitive,
    scale: Primitive,
    shift: Primitive,
    saved: std::sync::Arc<Saved>,
    geometry: Geometry,
    epsilon: f64,
    relu: bool,
}

impl Backward<Flex, 4> for ConvNormBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node, scale_node, shift_node] = ops.parents;
        let dy = gradients.consume::<Flex>(&ops.node).into_data().try_into_vec::<f32>();
        let mut dy = dy.expect("the processor computes in f32");
        let State { x, weight, scale, shift, saved, geometry, epsilon, relu } = ops.state;
        let norm = norm::Norm {
            mean: &saved.mean,
            variance: &saved.variance,
            scale: elements(&scale),
            shift: elements(&shift),
            epsilon,
        };
        let through_norm = norm::normalise_backward(&saved.convolved, &mut dy, &norm, relu);
        let (dx, dw) = convolution::convolve_backward(
            Arch::new(),
            &geometry,
            elements(&x),
            elements(&weight),
            &dy,
            x_node.is_some(),
        );
        if let (Some(node), Some(dx)) = (x_node, dx) {
            gradients.register::<Flex>(node.id, primitive(dx, geometry.input_shape()));
        }
        if let Some(node) = weight_node {
            gradients.register::<Flex>(node.id, primitive(dw, geometry.weight_shape()));
        }
        if let Some(node) = scale_node {
            gradients.register::<Flex>(node.id, primitive(through_norm.scale, [geometry.output]));
        }
        if let Some(node) = shift_node {
            gradients.register::<Flex>(node.id, primitive(through_norm.shift, [geometry.output]));
        }
    }
}

impl<C: CheckpointStrategy> ConvNormOps for Autodiff<Flex, C> {
    fn conv_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        geometry: Geometry,
        epsilon: f64,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let prepared = ConvNormBackward
            .prepare::<C>([x.node(), weight.node(), scale.node(), shift.node()])
            .compute_bound()
            .stateful();
        let [x, weight, scale, shift] =
            [x, weight, scale, shift].map(|tensor| tensor.primitive().to_contiguous());
        let (y, saved) = forward(&x, &weight, &scale, &shift, geometry, epsilon, relu);
        let channels = [geometry.output];
        let mean = FloatTensor::<Self>::new(primitive(saved.mean.clone(), channels));
        let variance = FloatTensor::<Self>::new(primitive(saved.variance.clone(), channels));
        let y = match prepared {
            OpsKind::Tracked(prepared) => {
                let saved = std::sync::Arc::new(saved);
                prepared.finish(State { x, weight, scale, shift, saved, geometry, epsilon, relu }, y)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        (y, mean, variance)
    }

    fn conv_affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
    ) -> FloatTensor<Self> {
        let [x, weight, scale, shift] = [x, weight, scale, shift].map(|tensor| tensor.primitive().clone());
        let y = Flex::conv_affine(x, weight, scale, shift, geometry, relu);
        FloatTensor::<Self>::new(y)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::{batch_norm_train, conv2d};
    use burn::tensor::ops::ConvOptions;

    use super::*;
    use crate::weights::host;

    const SHAPES: [Geometry; 5] = [
        Geometry { batch: 3, height: 7, width: 5, input: 2, output: 4, kernel: 3, stride: 1 },
        Geometry { batch: 2, height: 8, width: 9, input: 3, output: 5, kernel: 3, stride: 2 },
        Geometry { batch: 20, height: 4, width: 4, input: 1, output: 3, kernel: 3, stride: 2 },
        Geometry { batch: 2, height: 6, width: 6, input: 3, output: 2, kernel: 1, stride: 2 },
        Geometry { batch: 2, height: 11, width: 9, input: 2, output: 3, kernel: 7, stride: 2 },
    ];

    /// Values that look random, and are not near the ReLU's kink.
    fn wave<const D: usize>(shape: [usize; D], phase: f64) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|at| (phase + 1.7 * at as f64 + 0.3 * (at as f64).sqrt()).sin() as f32);
        Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), &BurnDevice::flex())
    }

    struct Leaves {
        x: Tensor<4>,
        weight: Tensor<4>,
        scale: Tensor<1>,
        shift: Tensor<1>,
    }

    fn leaves(geometry: &Geometry) -> Leaves {
        let channels = [geometry.output];
        Leaves {
            x: wave(geometry.input_shape(), 0.1).autodiff().require_grad(),
            weight: wave(geometry.weight_shape(), 0.7).autodiff().require_grad(),
            scale: wave(channels, 1.3).autodiff().require_grad(),
            shift: wave(channels, 2.2).autodiff().require_grad(),
        }
    }

    fn check_close(what: &str, found: Vec<f32>, expected: Vec<f32>) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let scale = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        for (at, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 2e-4 * scale, "{what}[{at}]: {found}, expected {expected}");
        }
    }

    /// The same by burn's own operations.
    fn by_parts(leaves: &Leaves, geometry: &Geometry, rectified: bool) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
        let options = ConvOptions::new([geometry.stride; 2], [geometry.kernel / 2; 2], [1; 2], 1);
        let y = conv2d(leaves.x.clone().permute([0, 3, 1, 2]), leaves.weight.clone(), None, options);
        let y = batch_norm_train(y, leaves.scale.clone(), leaves.shift.clone(), 1e-5);
        let output = y.output.permute([0, 2, 3, 1]);
        (if rectified { relu(output) } else { output }, y.mean, y.variance)
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_parts() {
        for geometry in SHAPES {
            for rectified in [false, true] {
                let (ours, theirs) = (leaves(&geometry), leaves(&geometry));
                let (y, mean, variance) = conv_norm(
                    ours.x.clone(),
                    ours.weight.clone(),
                    ours.scale.clone(),
                    ours.shift.clone(),
                    geometry,
                    1e-5,
                    rectified,
                );
                let expected = by_parts(&theirs, &geometry, rectified);
                let what = format!("{geometry:?}, ReLU {rectified}");
                assert_eq!(y.dims(), geometry.output_shape());
                check_close(&what, host(y.clone()), host(expected.0.clone()));
                check_close(&what, host(mean), host(expected.1));
                check_close(&what, host(variance), host(expected.2));
                let upstream = wave(geometry.output_shape(), 0.4);
                let found = (y * upstream.clone()).sum().backward();
                let expected = (expected.0 * upstream).sum().backward();
                let compare = |part: &str, found: Option<Vec<f32>>, expected: Option<Vec<f32>>| {
                    check_close(&format!("d{part}, {what}"), found.unwrap(), expected.unwrap());
                };
                compare("x", ours.x.grad(&found).map(host), theirs.x.grad(&expected).map(host));
                compare(
                    "weight",
                    ours.weight.grad(&found).map(host),
                    theirs.weight.grad(&expected).map(host),
                );
                compare("scale", ours.scale.grad(&found).map(host), theirs.scale.grad(&expected).map(host));
                compare("shift", ours.shift.grad(&found).map(host), theirs.shift.grad(&expected).map(host));
            }
        }
    }

    #[test]
    fn evaluation_is_the_convolution_scaled_and_shifted() {
        for geometry in SHAPES {
            let Leaves { x, weight, scale, shift } = leaves(&geometry);
            let found = conv_affine(x.clone(), weight.clone(), scale.clone(), shift.clone(), geometry, true);
            let options = ConvOptions::new([geometry.stride; 2], [geometry.kernel / 2; 2], [1; 2], 1);
            let y = conv2d(x.permute([0, 3, 1, 2]), weight, None, options).permute([0, 2, 3, 1]);
            let expected = relu(y * scale.unsqueeze() + shift.unsqueeze());
            assert!(!found.is_tracked());
            check_close(&format!("{geometry:?}"), host(found), host(expected));
        }
    }

    #[test]
    fn both_routes_compute_the_same_and_remember_the_same() {
        let geometry = SHAPES[1];
        let Geometry { input, output, kernel, stride, .. } = geometry;
        let layer = ConvNorm {
            conv: Conv2d { name: "conv".to_owned(), input, output, kernel, stride },
            norm: BatchNorm { name: "bn".to_owned(), channels: output },
        };
        let fresh = || {
            let mut weights = Weights::new(&BurnDevice::flex());
            layer.initialise(&mut weights, 3);
            for (name, parameter) in weights.parameters_mut() {
                match name {
                    "bn.weight" => parameter.set(wave([output], 1.3)),
                    "bn.bias" => parameter.set(wave([output], 2.2)),
                    _ => {}
                }
            }
            weights
        };
        let (mut fused, mut parts) = (fresh(), fresh());
        for (step, mode) in [Mode::Train, Mode::Observe, Mode::Evaluate, Mode::Train].into_iter().enumerate()
        {
            for activation in [Activation::None, Activation::Relu] {
                let x = wave(geometry.input_shape(), 0.1 + step as f64);
                let found = layer.forward_fused(&mut fused, x.clone(), mode, activation);
                let expected = layer.forward_by_parts(&mut parts, x, mode, activation);
                let what = format!("{mode:?}, {activation:?}");
                assert_eq!(found.is_tracked(), expected.is_tracked(), "{what}");
                check_close(&what, host(found), host(expected));
                let [found, expected] = [&fused, &parts].map(|weights| weights.running("bn").clone());
                check_close(&format!("running mean, {what}"), host(found.mean), host(expected.mean));
                check_close(
                    &format!("running variance, {what}"),
                    host(found.variance),
                    host(expected.variance),
                );
                assert_eq!(found.batches, expected.batches, "{what}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let geometry =
            Geometry { batch: 37, height: 14, width: 14, input: 8, output: 16, kernel: 3, stride: 1 };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let Leaves { x, weight, scale, shift } = leaves(&geometry);
                let (y, ..) = conv_norm(x.clone(), weight.clone(), scale, shift, geometry, 1e-5, true);
                let gradients = y.clone().powi_scalar(2).sum_dim(3).sum().backward();
                [host(y), host(x.grad(&gradients).unwrap()), host(weight.grad(&gradients).unwrap())]
            })
        };
        let once = run(1);
        assert!(once.iter().flatten().any(|&value| value != 0.0));
        for threads in [1, 2, 3] {
            assert_eq!(run(threads), once, "{threads} threads");
        }
    }
}
