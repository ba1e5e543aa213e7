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

    #[test]
    fn it_pairs_each_view_with_the_neighbour_of_the_other() {
        let rows = |c: f64| tensor(&waves(4, 5, 0.7, 1.3, c));
        let loss = value(nnclr(rows(0.1), rows(0.9), rows(1.7), rows(2.6), 0.1));
        let there = value(nt_xent(rows(0.1), rows(2.6), 0.1));
        let back = value(nt_xent(rows(0.9), rows(1.7), 0.1));
        assert!((loss - (there + back) / 2.0).abs() < 1e-6);
        let swapped = value(nnclr(rows(0.9), rows(0.1), rows(2.6), rows(1.7), 0.1));
        assert!((loss - swapped).abs() < 1e-6, "views may be swapped");
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
