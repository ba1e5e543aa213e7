//! The normalised temperature-scaled cross-entropy of SimCLR.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use super::normalise;

/// Stands for "not a candidate" in a row of logits: its exponential is 0 beside any cosine.
pub(super) const EXCLUDED: f64 = -1e9;

/// NT-Xent, both directions (Chen et al. 2020, "SimCLR", eq. 1 and algorithm 1; InstanceLoss of Contrastive Clustering).
///
/// `z`, `z_prime` `[B, D]` are two views of the same B images; rows need not have length one. With the 2B rows stacked,
/// s the cosine similarity and j(i) the other view of i:
///
/// L = 1/2B Σᵢ −log( exp(s(i, j(i))/τ) / Σ_{k ≠ i} exp(s(i, k)/τ) )
pub fn nt_xent(z: Tensor<2>, z_prime: Tensor<2>, temperature: f64) -> Tensor<1> {
    let [batch, _] = z.dims();
    assert_eq!(z.dims(), z_prime.dims(), "the views are [B, D] both");
    let rows = normalise(Tensor::cat(vec![z, z_prime], 0));
    let logits = rows.clone().matmul(rows.transpose()).div_scalar(temperature);
    let itself = Tensor::<2>::eye(2 * batch, &logits.device()).bool();
    let log_probability = log_softmax(logits.mask_fill(itself, EXCLUDED), 1);
    mean_of_diagonal(log_probability.clone().slice([0..batch, batch..2 * batch]))
        .add(mean_of_diagonal(log_probability.slice([batch..2 * batch, 0..batch])))
        .mul_scalar(-0.5)
}

/// `[B, B]` to the mean of its diagonal.
pub(super) fn mean_of_diagonal(square: Tensor<2>) -> Tensor<1> {
    let [batch, _] = square.dims();
    let diagonal = Tensor::<2>::eye(batch, &square.device());
    // By rows first: burn sums more than four million elements on all threads, in no fixed order.
    (square * diagonal).sum_dim(1).sum().div_scalar(batch as f64)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// The formula, a term at a time.
    fn slow(z: &[Vec<f64>], z_prime: &[Vec<f64>], temperature: f64) -> f64 {
        let rows = unit([z, z_prime].concat());
        let batch = z.len();
        let loss = |i: usize| {
            let weight = |k: usize| (dot(&rows[i], &rows[k]) / temperature).exp();
            let candidates: f64 = (0..2 * batch).filter(|&k| k != i).map(weight).sum();
            -(weight((i + batch) % (2 * batch)) / candidates).ln()
        };
        (0..2 * batch).map(loss).sum::<f64>() / (2 * batch) as f64
    }

    fn views() -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        (waves(5, 6, 0.7, 1.3, 0.1), waves(5, 6, 1.1, 0.6, 0.4))
    }

    #[test]
    fn it_equals_its_formula() {
        let (z, z_prime) = views();
        for temperature in [0.05, 0.5, 2.0] {
            let found = value(nt_xent(tensor(&z), tensor(&z_prime), temperature));
            let expected = slow(&z, &z_prime, temperature);
            assert!((found - expected).abs() < 1e-4 * expected.abs(), "τ {temperature}: {found}");
        }
    }

    #[test]
    fn views_may_be_swapped_and_rows_scaled() {
        let (z, z_prime) = views();
        let loss = value(nt_xent(tensor(&z), tensor(&z_prime), 0.5));
        let swapped = value(nt_xent(tensor(&z_prime), tensor(&z), 0.5));
        let scaled = value(nt_xent(tensor(&z) * 17.0, tensor(&z_prime) * 0.01, 0.5));
        assert!((loss - swapped).abs() < 1e-6 && (loss - scaled).abs() < 1e-6, "{loss} {swapped} {scaled}");
    }

    #[test]
    fn equal_rows_give_the_log_of_the_number_of_candidates() {
        let rows = vec![vec![0.3, -0.2, 0.9]; 4];
        let loss = value(nt_xent(tensor(&rows), tensor(&rows), 0.07));
        assert!((loss - 7f64.ln()).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let (z, z_prime) = views();
        check_gradient(&z, |x| nt_xent(x, tensor(&z_prime), 0.5), |x| slow(x, &z_prime, 0.5));
        check_gradient(&z_prime, |x| nt_xent(tensor(&z), x, 0.5), |x| slow(&z, x, 0.5));
    }
}
