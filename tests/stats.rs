//! Statistics against SciPy: `tests/stats.py` makes the numbers.

use ablate::stats::{Factorial, Test, bootstrap, ci95, grain, holm, mean, median, paired_t, std, wilcoxon};
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
    for (_, test) in Test::ALL {
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
    for (_, test) in Test::ALL {
        assert_eq!(test.p(&equal, unit), None);
    }
    let (tied, unit) = of(&[(0.3, 0.1), (0.2, 0.4), (0.9, 0.7), (0.6, 0.5), (0.1 + 0.2, 0.3)]);
    assert_eq!(Test::Wilcoxon.p(&tied, unit), wilcoxon(&[2.0, -2.0, 2.0, 1.0], 0.0));
    assert_ne!(wilcoxon(&tied, 0.0), wilcoxon(&tied, unit));
}

/// The share of all n^n resamples, one by one, whose t is at least that of the values.
fn every_resample(values: &[f64]) -> f64 {
    let n = values.len();
    let t = |values: &[f64], from: f64| {
        let (mean, std) = (mean(values).unwrap(), std(values).unwrap());
        ((mean - from) / (std / (n as f64).sqrt())).abs()
    };
    let (observed, middle) = (t(values, 0.0), mean(values).unwrap());
    let resamples = n.pow(n as u32);
    let is_extreme = |index: &usize| {
        let drawn: Vec<f64> = (0..n).map(|place| values[index / n.pow(place as u32) % n]).collect();
        let is_one_value = drawn.iter().all(|value| *value == drawn[0]);
        is_one_value || t(&drawn, middle) >= observed * (1.0 - 1e-9)
    };
    (0..resamples).filter(is_extreme).count() as f64 / resamples as f64
}

#[test]
fn a_bootstrap_of_few_differences_counts_every_resample() {
    let samples: [&[f64]; 8] = [
        &[0.1, 0.3],
        &[0.849, 0.853, 0.841],
        &[1.0, 2.0, 3.0, 4.0],
        &[0.02, -0.01, 0.03, 0.05],
        &[0.02, 0.01, 0.03, 0.05, 0.02],
        &[-0.31, 0.6, 0.02, -0.59, -0.15],
        &[-3.0, 4.5, 1e-3, 2.0, 2.0, 7.25],
        &[0.3012, 0.5987, 0.0259, 0.5906, 0.1547, 0.4],
    ];
    for values in samples {
        let (ours, theirs) = (bootstrap(values, 0.0).unwrap(), every_resample(values));
        assert!((ours - theirs).abs() < 1e-12, "{values:?}: {ours} {theirs}");
    }
    // Of two differences half the resamples have one value only; of five, 5 of 3125: so little can be shown at best.
    assert_eq!(bootstrap(&[1.0, 1.001], 0.0), Some(0.5));
    assert_eq!(bootstrap(&[1.0, 1.001, 1.002, 0.999, 0.9985], 0.0), Some(5.0 / 3125.0));
    assert_eq!(bootstrap(&[-1.0, 1.0], 0.0), Some(1.0));
}

/// How many of differences that are 1 or -1 are drawn as 1 is binomially distributed, so the share of resamples is known.
#[test]
fn a_bootstrap_of_many_differences_comes_close_to_every_resample() {
    for (n, ones) in [(12_u32, 8_u32), (20, 15), (60, 40)] {
        let values: Vec<f64> = (0..n).map(|at| if at < ones { 1.0 } else { -1.0 }).collect();
        let (size, chance) = (f64::from(n), f64::from(ones) / f64::from(n));
        let middle = 2.0 * chance - 1.0;
        let t = |mean: f64, from: f64| (mean - from).abs() / (1.0 - mean * mean).sqrt();
        let mut share = 0.0;
        let mut likely = (1.0 - chance).powi(n as i32);
        for drawn in 0..=n {
            let mean = 2.0 * f64::from(drawn) / size - 1.0;
            if drawn == 0 || drawn == n || t(mean, middle) >= t(middle, 0.0) * (1.0 - 1e-9) {
                share += likely;
            }
            likely *= f64::from(n - drawn) / f64::from(drawn + 1) * chance / (1.0 - chance);
        }
        let ours = bootstrap(&values, 0.0).unwrap();
        // Four standard deviations of a share of 9,999 draws.
        assert!((ours - share).abs() < 4.0 * (share / 9_999.0).sqrt() + 1e-4, "{n}: {ours} {share}");
        let turned: Vec<f64> = values.iter().rev().copied().collect();
        assert_eq!(bootstrap(&turned, 0.0), Some(ours), "seeds have no order");
    }
    let many: Vec<f64> = (0..1_001).map(|at| f64::from(at % 7) - 2.9).collect();
    assert_eq!(bootstrap(&many, 0.0), paired_t(&many, 0.0));
}

#[track_caller]
fn near(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-12, "{what}: {ours}, not {theirs}");
}

/// Two axes of two values, two seeds a unit apart: 1, 2, 3 and 8, and 2, 3, 4 and 9.
#[test]
fn effects_of_two_axes_worked_out_by_hand() {
    let design = Factorial::new(vec![2, 2], &[vec![1.0, 2.0, 3.0, 8.0], vec![2.0, 3.0, 4.0, 9.0]]);
    assert_eq!(design.means(&[]), [[3.5, 4.5]]);
    assert_eq!(design.means(&[0]), [[1.5, 2.5], [5.5, 6.5]]);
    assert_eq!(design.effects(&[0]), [[-2.0, -2.0], [2.0, 2.0]]);
    assert_eq!(design.effects(&[1]), [[-1.5, -1.5], [1.5, 1.5]]);
    assert_eq!(design.effects(&[0, 1]), [[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]]);
    // Of 60 in all: 8 · 2², 8 · 1.5², 8 · 1²; the seeds account for the 2 that are left.
    let shares = [&[0][..], &[1], &[0, 1]].map(|term| design.share(term).unwrap() * 60.0);
    for (share, by_hand) in shares.into_iter().zip([32.0, 18.0, 8.0]) {
        near("sum of squares", share, by_hand);
    }
    assert_eq!(Factorial::new(vec![2], &[vec![0.1 + 0.2, 0.3]]).share(&[0]), None, "nothing to account for");
}

/// The life of batteries by material and temperature, four of each: Montgomery, "Design and Analysis of Experiments", tables
/// 5.1 and 5.5.
#[test]
fn sums_of_squares_are_those_of_the_textbook() {
    let lives = [
        [[130, 155, 74, 180], [34, 40, 80, 75], [20, 70, 82, 58]],
        [[150, 188, 159, 126], [136, 122, 106, 115], [25, 70, 58, 45]],
        [[138, 110, 168, 160], [174, 120, 150, 139], [96, 104, 82, 60]],
    ];
    let of =
        |each: usize| -> Vec<f64> { lives.iter().flatten().map(|lives| f64::from(lives[each])).collect() };
    let design = Factorial::new(vec![3, 3], &[of(0), of(1), of(2), of(3)]);
    for (term, squares) in [(&[0][..], 10_683.72), (&[1], 39_118.72), (&[0, 1], 9_613.78)] {
        let share = design.share(term).unwrap();
        assert!((share - squares / 77_646.97).abs() < 1e-6, "{term:?}: {share}");
    }
}

/// Axes of 2, 3 and 2 values, three of them at each combination and seed, against sums written out.
#[test]
fn effects_are_those_of_sums_written_out() {
    let value = |seed: usize, a: usize, b: usize, c: usize, each: usize| {
        let at = (((seed * 2 + a) * 3 + b) * 2 + c) * 3 + each;
        (at * at * 37 % 101) as f64 / 10.0 + (a * b) as f64
    };
    let mut all = Vec::new();
    let values: Vec<Vec<f64>> = (0..2)
        .map(|seed| {
            let mut of_seed = Vec::new();
            for (a, b, c, each) in points() {
                of_seed.push(value(seed, a, b, c, each));
                all.push((seed, [a, b, c], value(seed, a, b, c, each)));
            }
            of_seed
        })
        .collect();
    let design = Factorial::new(vec![2, 3, 2], &values);
    let mean_where = |is_in: &dyn Fn(usize, [usize; 3]) -> bool| {
        let found: Vec<f64> = all.iter().filter(|(seed, at, _)| is_in(*seed, *at)).map(|it| it.2).collect();
        mean(&found).unwrap()
    };
    let total = mean_where(&|_, _| true);
    let squares: f64 = all.iter().map(|(.., value)| (value - total).powi(2)).sum();
    for seed in 0..2 {
        let grand = mean_where(&|s, _| s == seed);
        for axis in 0..3 {
            for (at, effect) in design.effects(&[axis]).iter().enumerate() {
                near("effect", effect[seed], mean_where(&|s, p| s == seed && p[axis] == at) - grand);
            }
        }
        for (one, two) in [(0, 1), (0, 2), (1, 2)] {
            let effects = design.effects(&[one, two]);
            for (combination, effect) in design.combinations(&[one, two]).iter().zip(&effects) {
                let (a, b) = (combination[0], combination[1]);
                let both = mean_where(&|s, p| s == seed && p[one] == a && p[two] == b);
                let alone = |axis: usize, at: usize| mean_where(&|s, p| s == seed && p[axis] == at);
                near("interaction", effect[seed], both - alone(one, a) - alone(two, b) + grand);
            }
        }
    }
    let of_axis: f64 = all.iter().map(|(_, at, _)| (mean_where(&|_, p| p[1] == at[1]) - total).powi(2)).sum();
    near("share", design.share(&[1]).unwrap(), of_axis / squares);
    let of_pair = |at: [usize; 3]| {
        let (one, two) = (mean_where(&|_, p| p[0] == at[0]), mean_where(&|_, p| p[1] == at[1]));
        (mean_where(&|_, p| p[..2] == at[..2]) - one - two + total).powi(2)
    };
    near("share", design.share(&[0, 1]).unwrap(), all.iter().map(|it| of_pair(it.1)).sum::<f64>() / squares);
}

fn points() -> Vec<(usize, usize, usize, usize)> {
    let mut points = Vec::new();
    for a in 0..2 {
        for b in 0..3 {
            for c in 0..2 {
                points.extend((0..3).map(|each| (a, b, c, each)));
            }
        }
    }
    points
}
