//! Statistics over seeds, as pure functions of numbers.
//!
//! Intervals and tests are two-sided. Where there is too little to go by, or no spread at all, there is no interval and
//! no test: a cell then says nothing rather than something wrong.

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;

/// Above this many differences that are not 0, the signed ranks are taken to be normally distributed.
const MAX_EXACT: usize = 60;

/// A paired test of the hypothesis that two methods do equally well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Test {
    /// Student's t-test of the mean difference.
    #[default]
    PairedT,
    /// Wilcoxon's signed-rank test.
    Wilcoxon,
}

impl Test {
    /// The p-value of some differences; `None` of fewer than two, and where all are equal, within `grain`.
    pub fn p(self, differences: &[f64], grain: f64) -> Option<f64> {
        if differences.len() < 2 || spread(differences) <= grain {
            return None;
        }
        match self {
            Self::PairedT => paired_t(differences, grain),
            Self::Wilcoxon => wilcoxon(differences, grain),
        }
    }

    /// What it is called in a footnote.
    pub fn name(self) -> &'static str {
        match self {
            Self::PairedT => "paired t-test",
            Self::Wilcoxon => "Wilcoxon signed-rank test",
        }
    }
}

/// How far apart differences of these values may be by rounding alone: four times the spacing of numbers as large as the
/// largest value.
pub fn grain(values: impl IntoIterator<Item = f64>) -> f64 {
    4.0 * f64::EPSILON * values.into_iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

/// From the lowest to the highest value.
fn spread(values: &[f64]) -> f64 {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - lowest
}

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation (divisor `n - 1`); `None` of fewer than two values.
pub fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Half the width of the 95 % confidence interval of the mean, by Student's t; `None` of fewer than two values.
pub fn ci95(values: &[f64]) -> Option<f64> {
    let std = std(values)?;
    let n = values.len() as f64;
    let student = StudentsT::new(0.0, 1.0, n - 1.0).expect("there are at least two values");
    Some(student.inverse_cdf(0.975) * std / n.sqrt())
}

/// The p-value of Student's t-test that differences have mean 0; `None` of fewer than two, and of those that are equal within
/// `grain`.
pub fn paired_t(differences: &[f64], grain: f64) -> Option<f64> {
    let (mean, std) = (mean(differences)?, std(differences)?);
    let n = differences.len() as f64;
    // Equal differences come out of rounded subtractions a few bits apart.
    if spread(differences) <= grain || std == 0.0 {
        return None;
    }
    let (t, freedom) = (mean / (std / n.sqrt()), n - 1.0);
    // P(|T| > t) for T of Student's distribution is the regularised incomplete beta function.
    Some(beta_reg(freedom / 2.0, 0.5, freedom / (freedom + t * t)))
}

/// The p-value of Wilcoxon's signed-rank test that differences are symmetric about 0.
///
/// Zeros are dropped (Wilcoxon's own rule), ties share the mean of their ranks. Up to 60 differences every way to
/// sign the ranks is counted, so ties are exact as well; above, the normal approximation is used with its correction for
/// ties. Differences within `grain` of 0 are zeros, and those within it of one another ties. `None` where no difference is
/// left.
pub fn wilcoxon(differences: &[f64], grain: f64) -> Option<f64> {
    let mut kept: Vec<f64> =
        differences.iter().copied().filter(|difference| difference.abs() > grain).collect();
    if kept.is_empty() {
        return None;
    }
    kept.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = doubled_ranks(&kept, grain);
    let total: usize = ranks.iter().sum();
    let positive: usize =
        kept.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    let smaller = positive.min(total - positive);
    if kept.len() <= MAX_EXACT {
        return Some((2.0 * share_of_signs_up_to(&ranks, smaller)).min(1.0));
    }
    let variance: f64 = ranks.iter().map(|&rank| (rank as f64 / 2.0).powi(2)).sum::<f64>() / 4.0;
    let z = (smaller as f64 / 2.0 - total as f64 / 4.0) / variance.sqrt();
    Some(erfc(z.abs() / std::f64::consts::SQRT_2))
}

/// Twice the ranks of numbers sorted by size, ties sharing their mean: whole numbers in any case.
fn doubled_ranks(sorted: &[f64], grain: f64) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for ties in sorted.chunk_by(|a, b| b.abs() - a.abs() <= grain) {
        let first = ranks.len() + 1;
        let last = ranks.len() + ties.len();
        ranks.extend(std::iter::repeat_n(first + last, ties.len()));
    }
    ranks
}

/// Of all ways to give ranks a sign, the share whose positive ranks add up to at most `bound`.
fn share_of_signs_up_to(ranks: &[usize], bound: usize) -> f64 {
    let mut share = vec![0.0; ranks.iter().sum::<usize>() + 1];
    share[0] = 1.0;
    for &rank in ranks {
        for sum in (0..share.len()).rev() {
            let with = if sum >= rank { share[sum - rank] } else { 0.0 };
            share[sum] = (share[sum] + with) / 2.0;
        }
    }
    share[..=bound].iter().sum()
}

/// P-values corrected for being several (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (place, &index) in order.iter().enumerate() {
        least = least.max((p[index] * (p.len() - place) as f64).min(1.0));
        corrected[index] = least;
    }
    corrected
}
