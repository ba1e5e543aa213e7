//! What every graph and evaluation stage promises when it is run: the same bits for any number of threads;
//! figures that can be checked by hand; and errors that name the input.

mod bench;

use ablate_learn::cluster::Cluster;
use ablate_learn::cluster_eval::ClusterEval;
use ablate_learn::knn_eval::KnnEval;
use ablate_learn::knn_graph::{EdgeWeight, KnnGraph};
use ablate_learn::linear_eval::LinearEval;
use ablate_stage::{Metrics, Stage, StageError};
use bench::{Bench, write_embeddings};

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
}
