//! The loss of self-labelling.

use burn::prelude::*;
use burn::tensor::activation::{log_softmax, softmax};

use crate::rows;
use crate::weights::host;

/// Cross-entropy of strongly augmented views with the confident predictions on weakly augmented ones (SCAN,
/// Van Gansbeke et al. 2020, section 2.3; `ConfidenceBasedCE` of its program).
///
/// `weak`, `strong` are logits `[B, K]` of the same images. With p = softmax(weak), a row takes part where max p is above
/// `threshold` (strictly), its target is y = argmax p, and
///
/// L = Σᵢ w(yᵢ) · −log softmax(strongᵢ)\[yᵢ\] / Σᵢ w(yᵢ)
///
/// where w(c) is the number of rows that take part divided by the number of those with target c if `balance`, and 1
/// otherwise. No gradient flows into `weak`. Returns L and how many rows take part; `None` where none does: the original
/// fails there.
pub fn confidence_cross_entropy(
    weak: Tensor<2>,
    strong: Tensor<2>,
    threshold: f64,
    balance: bool,
) -> Option<(Tensor<1>, usize)> {
    let [batch, clusters] = weak.dims();
    assert_eq!(weak.dims(), strong.dims(), "the logits are [B, K] both");
    let probability = host(softmax(weak.without_autodiff(), 1));
    let mut counts = vec![0usize; clusters];
    let mut targets = Vec::new();
    for (row, probability) in probability.chunks_exact(clusters).enumerate() {
        let target = rows::largest(probability);
        if f64::from(probability[target]) > threshold {
            counts[target] += 1;
            targets.push((row, target));
        }
    }
    let count = targets.len();
    if count == 0 {
        return None;
    }
    let class_weight = |target: usize| if balance { count as f64 / counts[target] as f64 } else { 1.0 };
    let total: f64 = targets.iter().map(|&(_, target)| class_weight(target)).sum();
    let mut share = vec![0.0f32; batch * clusters];
    for (row, target) in targets {
        share[row * clusters + target] = (class_weight(target) / total) as f32;
    }
    let share = rows::upload(share, [batch, clusters], &strong.device().without_autodiff());
    Some(((log_softmax(strong, 1) * share).sum_dim(1).sum().neg(), count))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn logits(scale: f64, c: f64) -> Vec<Vec<f64>> {
        let scaled = |row: Vec<f64>| row.into_iter().map(|x| scale * x).collect();
        waves(8, 4, 1.1, 2.3, c).into_iter().map(scaled).collect()
    }

    fn slow(weak: &[Vec<f64>], strong: &[Vec<f64>], threshold: f64, balance: bool) -> f64 {
        let soft = |row: &[f64]| -> Vec<f64> {
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(|x| x.exp() / total).collect()
        };
        let target = |row: &[f64]| {
            let p = soft(row);
            (0..p.len()).find(|&c| p.iter().all(|&q| q <= p[c]) && p[c] > threshold)
        };
        let targets: Vec<_> = weak.iter().map(|row| target(row)).collect();
        let kept = targets.iter().flatten().count() as f64;
        let weight = |c: usize| {
            let same = targets.iter().flatten().filter(|&&t| t == c).count() as f64;
            if balance { kept / same } else { 1.0 }
        };
        let (mut sum, mut total) = (0.0, 0.0);
        for (row, target) in strong.iter().zip(&targets) {
            if let Some(c) = *target {
                sum -= weight(c) * soft(row)[c].ln();
                total += weight(c);
            }
        }
        sum / total
    }

    #[test]
    fn it_equals_the_formula_and_its_gradient() {
        let (weak, strong) = (logits(6.0, 0.3), logits(3.0, 0.9));
        for (threshold, balance) in [(0.5, true), (0.8, true), (0.8, false), (0.98, true)] {
            let loss =
                |x: Tensor<2>| confidence_cross_entropy(tensor(&weak), x, threshold, balance).unwrap().0;
            let expected = slow(&weak, &strong, threshold, balance);
            assert!((value(loss(tensor(&strong))) - expected).abs() < 1e-5);
            check_gradient(&strong, loss, |x| slow(&weak, x, threshold, balance));
        }
    }

    #[test]
    fn no_confident_row_is_no_loss() {
        assert!(
            confidence_cross_entropy(tensor(&logits(6.0, 0.3)), tensor(&logits(3.0, 0.9)), 0.9999, true)
                .is_none()
        );
        let certain = vec![vec![200.0, 0.0], vec![0.0, 0.0]];
        assert!(
            confidence_cross_entropy(tensor(&certain), tensor(&certain), 1.0, true).is_none(),
            "above, strictly"
        );
    }
}
