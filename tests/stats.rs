//! Statistics against SciPy: `tests/stats.py` makes the numbers.

use ablate::stats::{ci95, holm, mean, median, paired_t, std, wilcoxon};
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
        close("the t-test", &values, paired_t(&values), t);
        close("the signed-rank test", &values, wilcoxon(&values), w);
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
    assert_eq!((mean(&[]), median(&[]), wilcoxon(&[])), (None, None, None));
    assert_eq!((std(&[1.0]), ci95(&[1.0]), paired_t(&[1.0])), (None, None, None));
    assert_eq!(paired_t(&[0.3 - 0.1, 0.4 - 0.2, 0.5 - 0.3]), None, "equal but for rounding");
    assert_eq!(wilcoxon(&[0.0, 0.0]), None);
}
