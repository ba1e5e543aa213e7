//! The loss of NNCLR.

use burn::prelude::*;

use super::nt_xent;

/// NNCLR (Dwibedi et al. 2021, eq. 3, symmetrised): predictions are drawn to the nearest neighbours of the other view.
///
/// `n`, `n_prime` are the nearest neighbours, in the support set, of the projections of either view, `p`, `p_prime` the
/// predictions; all `[B, D]`. No gradient flows into the neighbours.
///
/// L = ½ \[NT-Xent(n, p′) + NT-Xent(n′, p)\]
///
/// Departs from eq. 3, whose candidates are the B predictions only: with NT-Xent they are the 2B − 1 other rows, as in the
/// widely used implementation of lightly.
pub fn nnclr(
    n: Tensor<2>,
    n_prime: Tensor<2>,
    p: Tensor<2>,
    p_prime: Tensor<2>,
    temperature: f64,
) -> Tensor<1> {
    let there = nt_xent(n.detach(), p_prime, temperature);
    let back = nt_xent(n_prime.detach(), p, temperature);
    (there + back).mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// The formula, a term at a time: each neighbour is paired with the prediction of the other view, and all other
    /// neighbours and predictions are candidates too, for either of the pair.
    fn slow(
        n: &[Vec<f64>],
        n_prime: &[Vec<f64>],
        p: &[Vec<f64>],
        p_prime: &[Vec<f64>],
        temperature: f64,
    ) -> f64 {
        let contrast = |n: &[Vec<f64>], p: &[Vec<f64>]| {
            let (n, p) = (unit(n.to_vec()), unit(p.to_vec()));
            let weight = |a: &[f64], b: &[f64]| (dot(a, b) / temperature).exp();
            let mut sum = 0.0;
            for i in 0..n.len() {
                for (own, other) in [(&n, &p), (&p, &n)] {
                    let mut candidates = 0.0;
                    for k in 0..n.len() {
                        candidates += weight(&own[i], &other[k]);
                        if k != i {
                            candidates += weight(&own[i], &own[k]);
                        }
                    }
                    sum -= (weight(&n[i], &p[i]) / candidates).ln();
                }
            }
            sum / (2 * n.len()) as f64
        };
        (contrast(n, p_prime) + contrast(n_prime, p)) / 2.0
    }

    #[test]
    fn it_equals_its_formula_and_gradient() {
        let [n, n_prime, p, p_prime] =
            [(0.7, 0.1), (1.1, 0.9), (0.5, 1.7), (0.9, 2.6)].map(|(a, c)| waves(4, 5, a, 1.3, c));
        for temperature in [0.1, 0.5] {
            let loss = |p: Tensor<2>, p_prime: Tensor<2>| {
                nnclr(tensor(&n), tensor(&n_prime), p, p_prime, temperature)
            };
            let slow = |p: &[Vec<f64>], p_prime: &[Vec<f64>]| slow(&n, &n_prime, p, p_prime, temperature);
            let (found, expected) = (value(loss(tensor(&p), tensor(&p_prime))), slow(&p, &p_prime));
            assert!((found - expected).abs() < 1e-4 * expected, "τ {temperature}: {found}, not {expected}");
            check_gradient(&p, |x| loss(x, tensor(&p_prime)), |x| slow(x, &p_prime));
            check_gradient(&p_prime, |x| loss(tensor(&p), x), |x| slow(&p, x));
        }
    }

    #[test]
    fn neighbours_get_no_gradient() {
        let leaf = |c: f64| tensor(&waves(4, 5, 0.7, 1.3, c)).autodiff().require_grad();
        let (n, p) = (leaf(0.1), leaf(1.7));
        let gradients = nnclr(n.clone(), leaf(0.9), p.clone(), leaf(2.6), 0.5).backward();
        assert!(n.grad(&gradients).is_none());
        assert!(p.grad(&gradients).is_some());
    }
}
