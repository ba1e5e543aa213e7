//! What every graph and evaluation stage promises when it is run: the same bits for any number of threads, and after a
//! kill; figures that can be checked by hand; and errors that name the input.

mod bench;

use ablate_data::{Column, Columns};
use ablate_learn::artifacts::Embeddings;
use ablate_learn::cluster::Cluster;
use ablate_learn::cluster_eval::ClusterEval;
use ablate_learn::gnn::Architecture;
use ablate_learn::gnn_refine::{GnnRefine, SecondView, TrainOn};
use ablate_learn::knn_eval::KnnEval;
use ablate_learn::knn_graph::{EdgeWeight, KnnGraph, Scope};
use ablate_learn::linear_eval::LinearEval;
use ablate_stage::{Metrics, Split, Stage, StageError};
use bench::{Bench, write_embeddings};

fn refine() -> GnnRefine {
    GnnRefine { hidden: 16, epochs: 2, parts: 3, parts_per_step: 2, ..GnnRefine::default() }
}

fn probe() -> LinearEval {
    LinearEval { steps: 50, repeats: 3, lr: 0.1, ..LinearEval::default() }
}

/// A bench with embeddings, their graph, and clusters.
fn laid_out(samples: usize) -> Bench {
    let bench = Bench::new();
    write_embeddings(&bench.path("embeddings"), samples, 12, 4);
    bench.run(&KnnGraph::new(5), &[("embeddings", "embeddings")], 1).unwrap();
    bench.run(&Cluster::default(), &[("embeddings", "embeddings")], 1).unwrap();
    bench
}

#[test]
fn threads_do_not_change_a_bit() {
    let bench = laid_out(2500);
    fn check<S: Stage + Sync>(bench: &Bench, stage: &S, inputs: &[(&str, &str)]) {
        let digests = [1, 2, 3].map(|threads| {
            bench.run(stage, inputs, threads).unwrap();
            bench.digests(stage)
        });
        assert_eq!(digests[0], digests[1], "{} on 1 and 2 threads", S::KIND);
        assert_eq!(digests[0], digests[2], "{} on 1 and 3 threads", S::KIND);
    }
    let embeddings = ("embeddings", "embeddings");
    check(&bench, &KnnGraph { weight: EdgeWeight::InverseDegree, ..KnnGraph::new(5) }, &[embeddings]);
    check(&bench, &Cluster::default(), &[embeddings]);
    check(&bench, &KnnEval::default(), &[embeddings]);
    check(&bench, &probe(), &[embeddings]);
    check(&bench, &refine(), &[embeddings, ("graph", "KnnGraph.graph")]);
}

#[test]
fn a_stopped_refinement_goes_on_to_the_same_bits() {
    let inputs = [("embeddings", "embeddings"), ("graph", "KnnGraph.graph")];
    let (unbroken, stopped) = (laid_out(300), laid_out(300));
    unbroken.run(&refine(), &inputs, 2).unwrap();
    let error = stopped.run_until(&refine(), &inputs, 2, 2).unwrap_err();
    assert!(matches!(error, StageError::Stopped), "{error}");
    stopped.run(&refine(), &inputs, 1).unwrap();
    assert_eq!(stopped.digests(&refine()), unbroken.digests(&refine()));
}

/// Writes the embeddings anew, changed by `change` where they are held out.
fn change_held_out(bench: &Bench, change: impl Fn(&mut Embeddings, usize)) {
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
            bench.run(&graph, &[("embeddings", "embeddings")], 2).unwrap();
            let stage = GnnRefine { arch, train_on, edge_weights: true, ..refine() };
            bench.run(&stage, &[("embeddings", "embeddings"), ("graph", "KnnGraph.graph")], 2).unwrap();
            let refined = Embeddings::read(&bench.output::<GnnRefine>("embeddings")).unwrap();
            let seen = (0..refined.len()).filter(|&row| refined.split[row] != Split::Test as u8);
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
        bench.run(&probe(), &[("embeddings", "embeddings")], 2).unwrap();
        let table = Columns::read(&bench.output::<LinearEval>("predictions")).unwrap();
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
        |bench: &Bench, path: &str, name: &str| Metrics::read(&bench.path(path)).unwrap().values()[name];
    bench.run(&ClusterEval::default(), &[("assignment", "Cluster.assignment")], 1).unwrap();
    bench.run(&KnnEval::default(), &embeddings, 1).unwrap();
    bench.run(&probe(), &embeddings, 1).unwrap();
    assert!(metric(&bench, "ClusterEval.metrics", "acc") > 0.9);
    assert!(metric(&bench, "KnnEval.metrics", "accuracy") > 0.9);
    assert!(metric(&bench, "LinearEval.metrics", "accuracy") > 0.9);
    assert!(metric(&bench, "KnnGraph.metrics", "purity") > 0.8);
    assert_eq!(metric(&bench, "KnnGraph.metrics", "mean_degree"), 5.0);
    assert_eq!(metric(&bench, "ClusterEval.metrics", "clusters"), 4.0);
}

#[test]
fn two_graphs_are_refined_side_by_side() {
    let bench = laid_out(120);
    let stage = GnnRefine { second_view: SecondView::StudentGraph, concat_input: true, ..refine() };
    let inputs = [
        ("embeddings", "embeddings"),
        ("graph", "KnnGraph.graph"),
        ("embeddings_student", "embeddings"),
        ("graph_student", "KnnGraph.graph"),
    ];
    bench.run(&stage, &inputs, 2).unwrap();
    let refined = ablate_learn::artifacts::Embeddings::read(&bench.path("GnnRefine.embeddings")).unwrap();
    assert_eq!((refined.len(), refined.dim), (120, 2 * (12 + 16)));
}

#[test]
fn what_does_not_fit_is_said_of_the_input() {
    let bench = laid_out(60);
    let embeddings = [("embeddings", "embeddings")];
    let message = |result: Result<(), StageError>| result.unwrap_err().to_string();
    assert_eq!(
        message(bench.run(&KnnGraph::new(60), &embeddings, 1)),
        "input `embeddings`: 60 neighbours asked for, but only 59 rows can be one; lower k"
    );
    assert_eq!(
        message(bench.run(&Cluster { clusters: Some(61), ..Cluster::default() }, &embeddings, 1)),
        "input `embeddings`: 60 samples cannot make 61 clusters"
    );
    write_embeddings(&bench.path("more"), 61, 12, 4);
    assert_eq!(
        message(bench.run(&refine(), &[("embeddings", "more"), ("graph", "KnnGraph.graph")], 1)),
        "input `graph`: a graph of 60 nodes does not fit the 61 rows of `embeddings`"
    );
}
