//! Values of the original programs, for inputs given by formulas.

use ablate_learn::losses::{confidence_cross_entropy, nt_xent, nt_xent_one_sided};
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
fn contrastive_losses_are_those_of_cc_and_scan() {
    let z0 = waves(4, 8, 1.0, (0.7, 1.3, 0.1));
    let z1 = waves(4, 8, 1.0, (0.7, 1.3, 0.4));
    check("InstanceLoss of CC, τ 0.5", nt_xent(z0.clone(), z1.clone(), 0.5), 1.2736765696);
    check("SimCLRLoss of SCAN, τ 0.1", nt_xent_one_sided(z0, z1, 0.1), 0.5578253123);
}

#[test]
fn self_labelling_is_that_of_scan() {
    let weak = waves(8, 4, 6.0, (1.1, 2.3, 0.3));
    let strong = waves(8, 4, 3.0, (1.1, 2.3, 0.9));
    for (threshold, balance, expected, count) in [
        (0.80, true, 0.4753657, 6),
        (0.80, false, 0.4799384, 6),
        (0.98, true, 0.5494498, 2),
        (0.98, false, 0.5494498, 2),
    ] {
        let found = confidence_cross_entropy(weak.clone(), strong.clone(), threshold, balance)
            .expect("some rows are above the threshold");
        assert_eq!(found.count, count, "threshold {threshold}");
        check(&format!("threshold {threshold}, balance {balance}"), found.loss, expected);
    }
}
