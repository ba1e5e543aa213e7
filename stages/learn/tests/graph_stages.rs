//! What every graph and evaluation stage promises when it is run: the same bits for any number of threads, and after a
//! kill; figures that can be checked by hand; and errors that name the input.

mod workbench;

use ablate_data::{Column, Columns};
use ablate_learn::artifacts::{Assignment, Embeddings};
use ablate_learn::cluster::Cluster;
use ablate_learn::cluster_eval::ClusterEval;
use ablate_learn::gnn::Architecture;
use ablate_learn::gnn_refine::{GnnRefine, SecondView, TrainOn};
use ablate_learn::knn_eval::KnnEval;
use ablate_learn::knn_graph::{EdgeWeight, KnnGraph, Scope};
use ablate_learn::linear_eval::LinearEval;
use ablate_stage::{Metrics, Split, Stage, StageError};
use workbench::{Run, Workbench, write_embeddings};

fn refine() -> GnnRefine {
    GnnRefine { hidden: 16, epochs: 2, parts: 3, parts_per_step: 2, ..GnnRefine::default() }
}

fn probe() -> LinearEval {
    LinearEval { steps: 50, repeats: 3, lr: 0.1, ..LinearEval::default() }
}

/// A bench with embeddings, their graph, and clusters.
fn laid_out(samples: usize) -> Workbench {
    let bench = Workbench::new();
    write_embeddings(&bench.path("embeddings"), samples, 12, 4);
    bench.run(&KnnGraph::new(5), Run::of(&[("embeddings", "embeddings")], 1)).done();
    bench.run(&Cluster::default(), Run::of(&[("embeddings", "embeddings")], 1)).done();
    bench
}

#[test]
fn threads_do_not_change_a_bit() {
    let bench = laid_out(2500);
    fn check<S: Stage + Sync>(bench: &Workbench, stage: &S, inputs: &[(&str, &str)]) {
        let digests = [1, 2, 3].map(|threads| {
            bench.run(stage, Run::of(inputs, threads)).done();
            bench.digests(stage, S::KIND)
        });
        assert_eq!(digests[0], digests[1], "{} on 1 and 2 threads", S::KIND);
        assert_eq!(digests[0], digests[2], "{} on 1 and 3 threads", S::KIND);
    }
    let embeddings = ("embeddings", "embeddings");
    check(&bench, &KnnGraph { weight: EdgeWeight::InverseDegree, ..KnnGraph::new(5) }, &[embeddings]);
    check(&bench, &Cluster::default(), &[embeddings]);
    check(&bench, &KnnEval::default(), &[embeddings]);
    check(&bench, &probe(), &[embeddings]);
    check(&bench, &refine(), &[embeddings, ("graph", "KnnGraph/graph")]);
}

#[test]
fn a_stopped_refinement_goes_on_to_the_same_bits() {
    let inputs = [("embeddings", "embeddings"), ("graph", "KnnGraph/graph")];
    let (unbroken, stopped) = (laid_out(300), laid_out(300));
    unbroken.run(&refine(), Run::of(&inputs, 2)).done();
    let outcome = stopped.run(&refine(), Run { stop_at: 2, ..Run::of(&inputs, 2) });
    assert!(matches!(outcome.result, Err(StageError::Stopped)), "{outcome:?}");
    stopped.run(&refine(), Run::of(&inputs, 1)).done();
    assert_eq!(stopped.digests(&refine(), "GnnRefine"), unbroken.digests(&refine(), "GnnRefine"));
}

/// Writes the embeddings anew, changed by `change` where they are held out.
fn change_held_out(bench: &Workbench, change: impl Fn(&mut Embeddings, usize)) {
    let mut embeddings = Embeddings::read(&bench.path("embeddings")).unwrap();
    for row in (0..embeddings.len()).filter(|row| row % 7 != 6 && row % 5 == 4) {
        assert_eq!(embeddings.split[row], Split::Test as u8);
        change(&mut embeddings, row);
    }
    embeddings.write(&bench.path("embeddings")).unwrap();
}

#[test]
fn an_inductive_refinement_of_the_others_does_not_depend_on_held_out_samples() {
    let graph = KnnGraph { scope: Scope::Inductive, weight: EdgeWeight::InverseDegree, ..KnnGraph::new(5) };
    for arch in [Architecture::default(), Architecture::Sage { layers: 2 }] {
        let others = |train_on, disturbed: bool| {
            let bench = laid_out(200);
            if disturbed {
                change_held_out(&bench, |embeddings, row| {
                    let dim = embeddings.dim;
                    embeddings.values[row * dim..][..dim].iter_mut().for_each(|value| *value = 0.3 - *value);
                    embeddings.labels[row] = 0;
                });
            }
            bench.run(&graph, Run::of(&[("embeddings", "embeddings")], 2)).done();
            let stage = GnnRefine { arch, train_on, edge_weights: true, ..refine() };
            bench
                .run(&stage, Run::of(&[("embeddings", "embeddings"), ("graph", "KnnGraph/graph")], 2))
                .done();
            let refined = Embeddings::read(&bench.path("GnnRefine/embeddings")).unwrap();
            let seen = (0..refined.len()).filter(|&row| refined.split[row] != Split::Test as u8);
            let told = Metrics::read(&bench.path("GnnRefine/metrics")).unwrap().values()["transductive"];
            assert_eq!(told, f64::from(u8::from(train_on == TrainOn::All)));
            seen.flat_map(|row| refined.row(row).to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(others(TrainOn::Seen, true), others(TrainOn::Seen, false));
        assert_ne!(others(TrainOn::All, true), others(TrainOn::All, false), "transductive");
    }
}

#[test]
fn a_probe_predicts_without_looking_at_test_labels() {
    let bench = laid_out(200);
    let predictions = || {
        bench.run(&probe(), Run::of(&[("embeddings", "embeddings")], 2)).done();
        let table = Columns::read(&bench.path("LinearEval/predictions")).unwrap();
        ["index", "prediction", "confidence"].map(|column| table.get(column).cloned().unwrap())
    };
    let expected: [Column; 3] = predictions();
    change_held_out(&bench, |embeddings, row| embeddings.labels[row] = (embeddings.labels[row] + 1) % 4);
    assert_eq!(predictions(), expected);
}

#[test]
fn separable_classes_are_found_by_every_measure() {
    let bench = laid_out(400);
    let embeddings = [("embeddings", "embeddings")];
    let metric =
        |bench: &Workbench, path: &str, name: &str| Metrics::read(&bench.path(path)).unwrap().values()[name];
    bench.run(&ClusterEval::default(), Run::of(&[("assignment", "Cluster/assignment")], 1)).done();
    bench.run(&KnnEval::default(), Run::of(&embeddings, 1)).done();
    bench.run(&probe(), Run::of(&embeddings, 1)).done();
    assert!(metric(&bench, "ClusterEval/metrics", "acc") > 0.9);
    assert!(metric(&bench, "KnnEval/metrics", "accuracy") > 0.9);
    assert!(metric(&bench, "LinearEval/metrics", "accuracy") > 0.9);
    assert!(metric(&bench, "KnnGraph/metrics", "purity") > 0.8);
    assert_eq!(metric(&bench, "KnnGraph/metrics", "mean_degree"), 5.0);
    assert_eq!(metric(&bench, "ClusterEval/metrics", "clusters"), 4.0);
}

#[test]
fn a_cluster_more_than_there_are_classes_predicts_none() {
    let bench = Workbench::new();
    let assignment = Assignment {
        cluster: vec![0, 0, 0, 1, 1, 2, 2],
        num_clusters: 3,
        labels: Some(vec![1, 1, -1, 0, 0, 0, 1]),
        probabilities: None,
        split: vec![0, 0, 0, 0, 1, 0, 1],
    };
    assignment.write(&bench.path("assignment")).unwrap();
    bench.run(&ClusterEval::default(), Run::of(&[("assignment", "assignment")], 1)).done();
    let integers = |values: [i64; 6]| Column::I64(values.to_vec());
    let expected = Columns::new()
        .with("index", integers([0, 1, 3, 4, 5, 6]))
        .with("split", integers([0, 0, 0, 1, 0, 1]))
        .with("label", integers([1, 1, 0, 0, 0, 1]))
        .with("prediction", integers([1, 1, 0, 0, -1, -1]))
        .with("cluster", integers([0, 0, 1, 1, 2, 2]));
    assert_eq!(Columns::read(&bench.path("ClusterEval/predictions")).unwrap(), expected);
    let metrics = Metrics::read(&bench.path("ClusterEval/metrics")).unwrap();
    assert_eq!(metrics.values()["acc"], 4.0 / 6.0);
}

#[test]
fn two_graphs_are_refined_side_by_side() {
    let bench = laid_out(120);
    let stage = GnnRefine { second_view: SecondView::StudentGraph, concat_input: true, ..refine() };
    let inputs = [
        ("embeddings", "embeddings"),
        ("graph", "KnnGraph/graph"),
        ("embeddings_student", "embeddings"),
        ("graph_student", "KnnGraph/graph"),
    ];
    bench.run(&stage, Run::of(&inputs, 2)).done();
    let refined = ablate_learn::artifacts::Embeddings::read(&bench.path("GnnRefine/embeddings")).unwrap();
    assert_eq!((refined.len(), refined.dim), (120, 2 * (12 + 16)));
}

#[test]
fn what_does_not_fit_is_said_of_the_input() {
    let bench = laid_out(60);
    let embeddings = [("embeddings", "embeddings")];
    assert_eq!(
        bench.run(&KnnGraph::new(60), Run::of(&embeddings, 1)).message(),
        "input `embeddings`: 60 neighbours asked for, but only 59 rows can be one; lower k"
    );
    assert_eq!(
        bench.run(&Cluster { clusters: Some(61), ..Cluster::default() }, Run::of(&embeddings, 1)).message(),
        "input `embeddings`: 60 samples cannot make 61 clusters"
    );
    write_embeddings(&bench.path("more"), 61, 12, 4);
    assert_eq!(
        bench.run(&refine(), Run::of(&[("embeddings", "more"), ("graph", "KnnGraph/graph")], 1)).message(),
        "input `graph`: a graph of 60 nodes does not fit the 61 rows of `embeddings`"
    );
}
