//! Statistics against SciPy: `tests/stats.py` makes the numbers.

use ablate::stats::{Test, ci95, grain, holm, mean, median, paired_t, std, wilcoxon};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    p: Vec<f64>,
    holm: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    values: Vec<f64>,
    mean: f64,
    std: Option<f64>,
    median: f64,
    ci95: Option<f64>,
    paired_t: Option<f64>,
    wilcoxon: Option<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("stats.json")).unwrap()
}

#[track_caller]
fn close(what: &str, values: &[f64], ours: Option<f64>, theirs: Option<f64>) {
    let same = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-10 * theirs.abs().max(1e-6),
        (ours, theirs) => ours == theirs,
    };
    assert!(same, "{what} of {values:?} is {ours:?}, SciPy says {theirs:?}");
}

#[test]
fn statistics_are_those_of_scipy() {
    for Case { values, mean: m, std: s, median: d, ci95: c, paired_t: t, wilcoxon: w } in fixture().cases {
        close("the mean", &values, mean(&values), Some(m));
        close("the standard deviation", &values, std(&values), s);
        close("the median", &values, median(&values), Some(d));
        close("the interval", &values, ci95(&values), c);
        close("the t-test", &values, paired_t(&values, 0.0), t);
        close("the signed-rank test", &values, wilcoxon(&values, 0.0), w);
    }
}

#[test]
fn holm_corrects_in_order_and_keeps_places() {
    let Fixture { p, holm: expected, .. } = fixture();
    for (ours, theirs) in holm(&p).iter().zip(&expected) {
        assert!((ours - theirs).abs() < 1e-15, "{ours} {theirs}");
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn too_little_gives_nothing() {
    assert_eq!((mean(&[]), median(&[]), wilcoxon(&[], 0.0)), (None, None, None));
    assert_eq!((std(&[1.0]), ci95(&[1.0]), paired_t(&[1.0], 0.0)), (None, None, None));
    assert_eq!(wilcoxon(&[0.0, 0.0], 0.0), None);
}

#[test]
fn a_test_needs_two_differences_that_are_not_all_equal() {
    for test in [Test::PairedT, Test::Wilcoxon] {
        assert_eq!(test.p(&[], 0.0), None);
        assert_eq!(test.p(&[0.1], 0.0), None);
        assert_eq!(test.p(&[0.1, 0.1, 0.1], 0.0), None);
        assert!(test.p(&[0.1, 0.2], 0.0).is_some());
    }
}

/// Differences of decimal fractions that are equal on paper come out of subtractions a few bits apart.
#[test]
fn rounding_makes_no_difference() {
    let of = |pairs: &[(f64, f64)]| {
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        (differences, grain(pairs.iter().flat_map(|(a, b)| [*a, *b])))
    };
    let (equal, unit) = of(&[(0.3, 0.1), (0.4, 0.2), (0.9, 0.7)]);
    assert_ne!((equal[0], equal[1]), (equal[1], equal[2]), "a case without rounding proves nothing");
    for test in [Test::PairedT, Test::Wilcoxon] {
        assert_eq!(test.p(&equal, unit), None);
    }
    let (tied, unit) = of(&[(0.3, 0.1), (0.2, 0.4), (0.9, 0.7), (0.6, 0.5), (0.1 + 0.2, 0.3)]);
    assert_eq!(Test::Wilcoxon.p(&tied, unit), wilcoxon(&[2.0, -2.0, 2.0, 1.0], 0.0));
    assert_ne!(wilcoxon(&tied, 0.0), wilcoxon(&tied, unit));
}
