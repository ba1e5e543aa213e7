//! What a projection promises: groups that lie apart stay apart, the same bits for any number of threads, and errors that name
//! the input.

mod workbench;

use ablate_data::{Column, Columns};
use ablate_learn::artifacts::{Assignment, Embeddings};
use ablate_learn::projection::{Layout, Projection};
use ablate_stage::{Metrics, Stage};
use workbench::{Run, Workbench, write_embeddings};

const LAYOUTS: [Layout; 3] = [
    Layout::Pca,
    Layout::TSne { perplexity: 20.0, epochs: 400 },
    Layout::Umap { neighbours: 10, min_dist: 0.1, epochs: 100 },
];

fn inputs() -> [(&'static str, &'static str); 2] {
    [("embeddings", "embeddings"), ("assignment", "assignment")]
}

fn laid_out() -> Workbench {
    let bench = Workbench::new();
    write_embeddings(&bench.path("embeddings"), 600, 12, 3);
    let of = |i: usize| (i % 3) as i64;
    let assignment = Assignment {
        cluster: (0..600).map(of).collect(),
        num_clusters: 3,
        probabilities: None,
        labels: None,
        split: vec![0; 600],
    };
    assignment.write(&bench.path("assignment")).unwrap();
    bench
}

fn floats(table: &Columns, name: &str) -> Vec<f64> {
    match table.get(name) {
        Some(Column::F64(values)) => values.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

fn integers(table: &Columns, name: &str) -> Vec<i64> {
    match table.get(name) {
        Some(Column::I64(values)) => values.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

/// The share of samples that are nearest to the mean of their own cluster.
fn apart(table: &Columns) -> f64 {
    let (x, y, cluster) = (floats(table, "x"), floats(table, "y"), integers(table, "cluster"));
    let rows = |of: i64| (0..x.len()).filter(|&row| cluster[row] == of).collect();
    let rows: Vec<Vec<usize>> = (0..3).map(rows).collect();
    let mean =
        |rows: &Vec<usize>, axis: &[f64]| rows.iter().map(|&row| axis[row]).sum::<f64>() / rows.len() as f64;
    let means: Vec<(f64, f64)> = rows.iter().map(|rows| (mean(rows, &x), mean(rows, &y))).collect();
    let square = |row: usize, to: usize| (x[row] - means[to].0).powi(2) + (y[row] - means[to].1).powi(2);
    let own = |(of, rows): (usize, &Vec<usize>)| {
        rows.iter().filter(|&&row| (0..3).all(|to| square(row, of) <= square(row, to))).count()
    };
    rows.iter().enumerate().map(own).sum::<usize>() as f64 / x.len() as f64
}

#[test]
fn groups_that_lie_apart_stay_apart_and_threads_do_not_change_a_bit() {
    let bench = laid_out();
    for layout in LAYOUTS {
        let stage = Projection { layout, ..Projection::default() };
        let digests = [1, 2].map(|threads| {
            bench.run(&stage, Run::of(&inputs(), threads)).done();
            bench.digests(&stage, Projection::KIND)
        });
        assert_eq!(digests[0], digests[1], "{layout:?}");
        let table = Columns::read(&bench.path("Projection/points")).unwrap();
        let apart = apart(&table);
        assert!(apart > 0.99, "{layout:?} mixes the groups: {apart}");
        let kept = Metrics::read(&bench.path("Projection/metrics")).unwrap();
        let kept = kept.values()["kept@10"];
        // By chance, ten of the 599 others are kept to a sixtieth.
        assert!(kept > 0.1, "{layout:?} keeps {kept}");
    }
}

#[test]
fn the_samples_shown_are_spread_over_the_data_set() {
    let bench = laid_out();
    let stage = Projection { layout: Layout::Pca, samples: 12, normalise: true };
    bench.run(&stage, Run::of(&inputs(), 1)).done();
    let table = Columns::read(&bench.path("Projection/points")).unwrap();
    let rows: Vec<i64> = (0..12).map(|at| at * 50).collect();
    assert_eq!(integers(&table, "row"), rows);
    assert_eq!(integers(&table, "cluster"), rows.iter().map(|row| row % 3).collect::<Vec<_>>());
    let label = |row: &i64| if row % 7 == 6 { -1 } else { row % 3 };
    assert_eq!(integers(&table, "label"), rows.iter().map(label).collect::<Vec<_>>());
}

#[test]
fn embeddings_that_are_all_one_have_one_place() {
    let bench = Workbench::new();
    let (values, labels, split) = (vec![0.5; 100 * 4], vec![0; 100], vec![0; 100]);
    Embeddings { values, dim: 4, labels, split }.write(&bench.path("embeddings")).unwrap();
    for layout in LAYOUTS {
        bench.run(&Projection { layout, ..Projection::default() }, Run::of(&[], 1)).done();
        assert_eq!(Metrics::read(&bench.path("Projection/metrics")).unwrap().values()["kept@10"], 0.0);
    }
}

#[test]
fn too_few_samples_are_an_error_of_the_input() {
    let bench = Workbench::new();
    write_embeddings(&bench.path("embeddings"), 11, 4, 2);
    let message = bench.run(&Projection::default(), Run::of(&inputs(), 1)).message();
    assert_eq!(message, "input `embeddings`: 11 samples of 4 dimensions are too few to be placed");
    write_embeddings(&bench.path("embeddings"), 60, 4, 2);
    let message = bench.run(&Projection::default(), Run::of(&[], 1)).message();
    let expected = "input `embeddings`: 60 samples allow a perplexity of 20, and 30 is asked for; lower it";
    assert_eq!(message, expected);
    std::fs::copy(laid_out().path("assignment"), bench.path("assignment")).unwrap();
    let message = bench.run(&Projection::default(), Run::of(&inputs(), 1)).message();
    assert_eq!(message, "input `assignment`: it has 600 rows for 60 embeddings");
}
