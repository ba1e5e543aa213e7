//! Statistics over seeds, as pure functions of numbers.
//!
//! Intervals and tests are two-sided. Where there is too little to go by, or no spread at all, there is no interval and
//! no test: a cell then says nothing rather than something wrong.

mod factorial;

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;
use statrs::function::factorial::binomial;

pub use factorial::Factorial;

/// Above this many differences that are not 0, the signed ranks are taken to be normally distributed.
const MAX_EXACT: usize = 60;
/// Up to this many differences, every resample of a bootstrap is counted: 24,310 different ones.
const MAX_COUNTED: usize = 9;
/// Above this many differences, a bootstrap of the mean cannot be told from Student's t.
const MAX_RESAMPLED: usize = 1_000;
/// The resamples that are drawn where they are too many to count.
const RESAMPLES: usize = 9_999;

/// A paired test of the hypothesis that two methods do equally well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Test {
    /// Student's t-test of the mean difference.
    #[default]
    PairedT,
    /// Wilcoxon's signed-rank test.
    Wilcoxon,
    /// A studentised bootstrap of the mean difference.
    Bootstrap,
}

impl Test {
    /// Each of them by the word in pipeline files.
    pub const ALL: [(&'static str, Self); 3] =
        [("PairedT", Self::PairedT), ("Wilcoxon", Self::Wilcoxon), ("Bootstrap", Self::Bootstrap)];

    /// The p-value of some differences; `None` of fewer than two, and where all are equal, within `grain`.
    pub fn p(self, differences: &[f64], grain: f64) -> Option<f64> {
        if differences.len() < 2 || spread(differences) <= grain {
            return None;
        }
        match self {
            Self::PairedT => paired_t(differences, grain),
            Self::Wilcoxon => wilcoxon(differences, grain),
            Self::Bootstrap => bootstrap(differences, grain),
        }
    }

    /// What it is called in a footnote.
    pub fn name(self) -> &'static str {
        match self {
            Self::PairedT => "paired t-test",
            Self::Wilcoxon => "Wilcoxon signed-rank test",
            Self::Bootstrap => "studentised paired bootstrap",
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

/// The p-value of a bootstrap test that differences have mean 0 (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
/// algorithm 16.2, on both sides); `None` where [`paired_t`] has none.
///
/// The differences are shifted to mean 0 and drawn from with replacement, as many as there are. P is the share of these
/// resamples whose Student's t is at least as large as that of the differences, either way. A resample of one value only has no
/// spread and counts among them: percentiles of the mean alone would call any two differences of one sign significant.
/// Up to 9 differences every resample is counted; above, 9,999 are drawn, always the same ones, and P is `(1 + those) / 10,000`
/// (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, equation 4.11); above 1,000 it is Student's t-test.
pub fn bootstrap(differences: &[f64], grain: f64) -> Option<f64> {
    let student = paired_t(differences, grain)?;
    if differences.len() > MAX_RESAMPLED {
        return Some(student);
    }
    let n = differences.len() as f64;
    let (mean, std) = (mean(differences)?, std(differences)?);
    let mut shifted: Vec<f64> = differences.iter().map(|difference| difference - mean).collect();
    // In whatever order seeds are written, the same ones are drawn.
    shifted.sort_by(f64::total_cmp);
    // Rounding must not part resamples that are as large on paper.
    let bound = (mean / std).powi(2) * (1.0 - 1e-9);
    let is_extreme = |sum: f64, squares: f64| {
        let variance = (squares - sum * sum / n) / (n - 1.0);
        (sum / n).powi(2) >= bound * variance
    };
    Some(if differences.len() <= MAX_COUNTED {
        let resamples = n.powi(differences.len() as i32);
        extremes(&shifted, differences.len(), (0.0, 0.0), &is_extreme) / resamples
    } else {
        let extremes = resamples(&shifted).filter(|&(sum, squares)| is_extreme(sum, squares)).count();
        (extremes + 1) as f64 / (RESAMPLES + 1) as f64
    })
}

/// How many of the ways to draw `left` more of `values`, in order and with replacement, are extreme; `so_far` are the sum and
/// the sum of squares of what is drawn already.
fn extremes(values: &[f64], left: usize, so_far: (f64, f64), is_extreme: &impl Fn(f64, f64) -> bool) -> f64 {
    let Some((value, others)) = values.split_first() else {
        return if left == 0 && is_extreme(so_far.0, so_far.1) { 1.0 } else { 0.0 };
    };
    let fewest = if others.is_empty() { left } else { 0 };
    let with = |count: usize| {
        let drawn = count as f64;
        let so_far = (so_far.0 + drawn * value, so_far.1 + drawn * value * value);
        binomial(left as u64, count as u64) * extremes(others, left - count, so_far, is_extreme)
    };
    (fewest..=left).map(with).sum()
}

/// The sum and the sum of squares of each resample that is drawn, by SplitMix64 from a fixed state (Steele, Lea and Flood,
/// "Fast Splittable Pseudorandom Number Generators", 2014).
fn resamples(values: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let mut state: u64 = 0;
    let mut index = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * values.len() as u64) >> 32) as usize
    };
    (0..RESAMPLES).map(move |_| {
        values.iter().fold((0.0, 0.0), |(sum, squares), _| {
            let value = values[index()];
            (sum + value, squares + value * value)
        })
    })
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
