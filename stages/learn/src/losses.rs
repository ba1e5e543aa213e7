//! Objectives on plain tensors. Each returns a tensor of one element, the mean over the batch.
//!
//! Burn has an NT-Xent of its own; the one here is held, as every loss, to a slow loop and to values of the original programs,
//! and its sums have a fixed order.

mod contrastive;
mod graph_contrastive;
mod neighbour;
mod self_label;

pub use contrastive::nt_xent;
pub use graph_contrastive::{agc, cluster_entropy, rgc, rgc_published, simclr_onesided};
pub use neighbour::nnclr;
pub use self_label::confidence_cross_entropy;

use burn::prelude::*;

/// Rows divided by their Euclidean length: x / max(‖x‖, 1e-12). `[N, D]` to `[N, D]`.
pub fn normalise(x: Tensor<2>) -> Tensor<2> {
    // Clamped below the root: a row of zeros then has the gradient 0, and not 0/0.
    let length = x.clone().powi_scalar(2).sum_dim(1).clamp_min(1e-24).sqrt();
    x / length
}

#[cfg(test)]
pub(crate) mod testing {
    use burn::prelude::*;
    use burn::tensor::Device as BurnDevice;

    use crate::weights::host;

    /// G(n, d, a, b, c)\[i, j\] = sin(a i + b j + c), the inputs golden values are given for.
    pub fn waves(n: usize, d: usize, a: f64, b: f64, c: f64) -> Vec<Vec<f64>> {
        (0..n).map(|i| (0..d).map(|j| (a * i as f64 + b * j as f64 + c).sin()).collect()).collect()
    }

    pub fn unit(rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let scale = |row: Vec<f64>| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.into_iter().map(|x| x / length).collect()
        };
        rows.into_iter().map(scale).collect()
    }

    pub fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    pub fn tensor(rows: &[Vec<f64>]) -> Tensor<2> {
        let flat: Vec<f32> = rows.iter().flatten().map(|&x| x as f32).collect();
        let shape = [rows.len(), rows[0].len()];
        crate::rows::upload(flat, shape, &BurnDevice::flex())
    }

    pub fn value(loss: Tensor<1>) -> f64 {
        f64::from(host(loss)[0])
    }

    /// Compares the gradient of `loss` at `x` with central differences of `slow`, the same loss in f64.
    pub fn check_gradient(
        x: &[Vec<f64>],
        loss: impl Fn(Tensor<2>) -> Tensor<1>,
        slow: impl Fn(&[Vec<f64>]) -> f64,
    ) {
        let leaf = tensor(x).autodiff().require_grad();
        let gradients = loss(leaf.clone()).backward();
        let found = host(leaf.grad(&gradients).expect("the loss depends on its input"));
        let h = 1e-5;
        for i in 0..x.len() {
            for j in 0..x[0].len() {
                let at = |by: f64| {
                    let mut moved = x.to_vec();
                    moved[i][j] += by;
                    slow(&moved)
                };
                let expected = (at(h) - at(-h)) / (2.0 * h);
                let found = f64::from(found[i * x[0].len() + j]);
                assert!((found - expected).abs() < 1e-4, "d/dx[{i}][{j}]: {found}, expected {expected}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::weights::host;

    #[test]
    fn rows_get_length_one_and_zeros_stay() {
        let x = tensor(&[vec![3.0, 4.0], vec![0.0, 0.0]]).autodiff().require_grad();
        let unit = normalise(x.clone());
        assert_eq!(host(unit.clone()), [0.6, 0.8, 0.0, 0.0]);
        let gradients = unit.sum().backward();
        assert!(host(x.grad(&gradients).unwrap()).iter().all(|value| value.is_finite()));
    }
}
