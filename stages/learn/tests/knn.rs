//! Nearest neighbours, the graphs made of them and their vote, against golden values and hand-made cases.

use std::collections::BTreeSet;

use ablate_learn::artifacts::{Embeddings, Graph};
use ablate_learn::knn::{Similarity, nearest};
use ablate_learn::knn_eval::vote;
use ablate_learn::knn_graph::{Direction, EdgeWeight, KnnGraph, Scope};
use ablate_learn::rows;
use ndarray::Array2;

/// sin(a·i + b·j + c), the inputs of the golden values.
fn waves(rows: usize, dim: usize, a: f64, b: f64, c: f64) -> Array2<f32> {
    Array2::from_shape_fn((rows, dim), |(i, j)| (a * i as f64 + b * j as f64 + c).sin() as f32)
}

fn normalised(mut table: Array2<f32>) -> Array2<f32> {
    let dim = table.ncols();
    rows::normalise(table.as_slice_mut().unwrap(), dim);
    table
}

fn embeddings(rows: Array2<f32>, labels: &[i64], split: &[u8]) -> Embeddings {
    let dim = rows.ncols();
    Embeddings {
        values: rows.into_raw_vec_and_offset().0,
        dim,
        labels: labels.to_vec(),
        split: split.to_vec(),
    }
}

fn edges(graph: &Graph) -> Vec<(i64, i64)> {
    graph.source.iter().copied().zip(graph.target.iter().copied()).collect()
}

/// Points on a line.
fn line(places: &[f32], labels: &[i64], split: &[u8]) -> Embeddings {
    embeddings(Array2::from_shape_vec((places.len(), 1), places.to_vec()).unwrap(), labels, split)
}

#[test]
fn neighbours_and_weights_of_a_feature_history_equal_gcc() {
    let mut mean = Array2::zeros((7, 5));
    for phase in [0.2, 0.5, 0.8, 1.1] {
        mean += &normalised(waves(7, 5, 0.9, 0.6, phase));
    }
    let embeddings = embeddings(mean / 4.0, &[-1; 7], &[0; 7]);
    let stage = KnnGraph {
        metric: Similarity::InnerProduct,
        include_self: true,
        weight: EdgeWeight::InverseDegree,
        ..KnnGraph::new(4)
    };
    let graph = stage.build(&embeddings).unwrap();
    let rows: Vec<&[i64]> = graph.source.chunks(4).collect();
    let expected =
        [[0, 6, 1, 5], [1, 0, 2, 6], [2, 3, 1, 4], [3, 4, 2, 5], [4, 3, 5, 2], [5, 6, 4, 0], [6, 0, 5, 1]];
    assert_eq!(rows, expected.iter().map(|row| &row[..]).collect::<Vec<_>>());
    for (source, weight) in graph.source.iter().zip(&graph.weight) {
        let expected = if *source == 5 { 0.774_596_7 } else { 0.866_025_4 };
        assert!((weight - expected).abs() < 1e-6, "node {source}: {weight} is not {expected}");
    }
}

#[test]
fn heat_graph_equals_icicle() {
    let rows = waves(6, 4, 1.9, 0.45, 0.3) * 3.0;
    let stage = KnnGraph { metric: Similarity::L2, weight: EdgeWeight::Heat { t: 2.0 }, ..KnnGraph::new(1) };
    let embeddings = embeddings(rows.clone(), &[-1; 6], &[0; 6]);
    let nearest = stage.build(&embeddings).unwrap();
    assert_eq!(nearest.source, [3, 4, 5, 0, 1, 2]);
    let square_distance: f32 = (&rows.row(0) - &rows.row(3)).mapv(|v| v * v).sum();
    assert!((nearest.weight[0] - (-square_distance / 2.0).exp()).abs() < 1e-6);
    let three = KnnGraph { k: 3, ..stage }.build(&embeddings).unwrap();
    let sets: Vec<BTreeSet<i64>> = three.source.chunks(3).map(|row| row.iter().copied().collect()).collect();
    let expected = [[1, 3, 4], [0, 3, 4], [1, 3, 5], [0, 1, 4], [0, 1, 3], [1, 2, 3]];
    assert_eq!(sets, expected.map(|row| row.into_iter().collect()));
}

#[test]
fn weighted_vote_equals_the_golden_classes() {
    let bank = normalised(waves(7, 5, 0.9, 0.6, 0.2));
    let queries = normalised(waves(3, 5, 0.9, 0.6, 0.35));
    let neighbours = nearest(bank.view(), queries.view(), 3, Similarity::InnerProduct).unwrap();
    assert_eq!(vote(&neighbours, &[0, 1, 0, 1, 1, 0, 1], 0.1), [0, 1, 0]);
    assert_eq!(vote(&neighbours, &[0, 1, 0, 1, 1, 0, 1], 1e-6).len(), 3, "no temperature overflows");
}

#[test]
fn direction_says_who_hears_whom() {
    // 0 and 1 list each other, 2 lists 1.
    let embeddings = line(&[0.0, 1.0, 2.5], &[0, 0, 1], &[0; 3]);
    let stage = |direction| KnnGraph { metric: Similarity::L2, direction, ..KnnGraph::new(1) };
    let build = |direction| edges(&stage(direction).build(&embeddings).unwrap());
    assert_eq!(build(Direction::FromNeighbours), [(1, 0), (0, 1), (1, 2)]);
    assert_eq!(build(Direction::ToNeighbours), [(0, 1), (1, 0), (2, 1)]);
    assert_eq!(build(Direction::Symmetric), [(1, 0), (0, 1), (2, 1), (1, 2)]);
}

#[test]
fn an_inductive_graph_keeps_held_out_samples_out_of_what_others_hear() {
    // 1 and 3 are held out; they list their nearest training samples.
    let embeddings = line(&[0.0, 1.0, 3.0, 3.1, 9.0], &[-1; 5], &[0, 1, 0, 1, 2]);
    let stage = |direction| KnnGraph {
        metric: Similarity::L2,
        scope: Scope::Inductive,
        direction,
        ..KnnGraph::new(1)
    };
    let build = |direction| edges(&stage(direction).build(&embeddings).unwrap());
    assert_eq!(build(Direction::FromNeighbours), [(2, 0), (0, 1), (0, 2), (2, 3), (2, 4)]);
    assert_eq!(build(Direction::ToNeighbours), [(0, 2), (1, 0), (2, 0), (3, 2), (4, 2)]);
    let symmetric = build(Direction::Symmetric);
    assert_eq!(symmetric, [(2, 0), (0, 1), (0, 2), (4, 2), (2, 3), (2, 4)]);
}

/// Source, target and weight (its bits) of the edges between samples that are not held out.
fn among_the_others(graph: &Graph) -> BTreeSet<(i64, i64, u32)> {
    let ends = graph.source.iter().zip(&graph.target).zip(&graph.weight);
    let others = ends.filter(|((source, target), _)| {
        graph.split[**source as usize] != 1 && graph.split[**target as usize] != 1
    });
    others.map(|((&source, &target), weight)| (source, target, weight.to_bits())).collect()
}

#[test]
fn nothing_of_an_inductive_graph_among_the_others_depends_on_held_out_samples() {
    let split: Vec<u8> = (0..60).map(|i| [0, 0, 1, 2][i % 4]).collect();
    let rows = waves(60, 5, 0.9, 0.6, 0.2);
    let mut moved = rows.clone();
    for (i, mut row) in moved.outer_iter_mut().enumerate().filter(|(i, _)| split[*i] == 1) {
        row.mapv_inplace(|value| 3.0 * value - 0.1 * i as f32);
    }
    let [rows, moved] = [rows, moved].map(|rows| embeddings(rows, &[-1; 60], &split));
    for metric in [Similarity::Cosine, Similarity::InnerProduct, Similarity::L2] {
        for weight in [EdgeWeight::One, EdgeWeight::Heat { t: 2.0 }, EdgeWeight::InverseDegree] {
            for direction in [Direction::FromNeighbours, Direction::ToNeighbours, Direction::Symmetric] {
                let stage =
                    KnnGraph { metric, weight, direction, scope: Scope::Inductive, ..KnnGraph::new(4) };
                let [found, expected] =
                    [&moved, &rows].map(|rows| among_the_others(&stage.build(rows).unwrap()));
                assert_eq!(found, expected, "{stage:?}");
            }
        }
    }
}

#[test]
fn purity_counts_edges_between_labelled_samples() {
    let graph = Graph {
        source: vec![0, 1, 2, 3, 0, 4],
        target: vec![1, 2, 3, 0, 0, 0],
        weight: vec![1.0; 6],
        split: vec![0; 5],
    };
    // 0→1 same, 1→2 differ, 2→3 and 3→0 touch an unlabelled node, 0→0 is a loop, 4→0 differ.
    assert_eq!(graph.purity(&[0, 0, 1, -1, 1]), Some(1.0 / 3.0));
    assert_eq!(graph.purity(&[-1; 5]), None);
}
