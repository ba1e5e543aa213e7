//! Values of the original programs, for inputs given by formulas.

use ablate_learn::losses::{confidence_cross_entropy, nt_xent};
use burn::prelude::*;
use burn::tensor::Device;

/// G(n, d, a, b, c)\[i, j\] = scale · sin(a i + b j + c).
fn waves(n: usize, d: usize, scale: f64, (a, b, c): (f64, f64, f64)) -> Tensor<2> {
    let values = (0..n * d).map(|at| (scale * (a * (at / d) as f64 + b * (at % d) as f64 + c).sin()) as f32);
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [n, d]), &Device::flex())
}

fn check(name: &str, loss: Tensor<1>, expected: f64) {
    let found = f64::from(loss.into_scalar::<f32>());
    assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{name}: {found}, expected {expected}");
}

#[test]
fn the_contrastive_loss_is_that_of_cc() {
    let z0 = waves(4, 8, 1.0, (0.7, 1.3, 0.1));
    let z1 = waves(4, 8, 1.0, (0.7, 1.3, 0.4));
    check("InstanceLoss of CC, τ 0.5", nt_xent(z0, z1, 0.5), 1.2736765696);
}

#[test]
fn self_labelling_is_that_of_scan() {
    let weak = waves(8, 4, 6.0, (1.1, 2.3, 0.3));
    let strong = waves(8, 4, 3.0, (1.1, 2.3, 0.9));
    for (threshold, balance, expected) in
        [(0.80, true, 0.4753657), (0.80, false, 0.4799384), (0.98, true, 0.5494498), (0.98, false, 0.5494498)]
    {
        let found = confidence_cross_entropy(weak.clone(), strong.clone(), threshold, balance)
            .expect("some rows are above the threshold");
        check(&format!("threshold {threshold}, balance {balance}"), found, expected);
    }
}
