//! The guard of `REVISION`: a tiny run of each stage kind must give the bytes recorded here.
//!
//! A digest that moves means that the same fields now give other results, so cached ones would lie: raise the kind's
//! `REVISION`, and record the new digests beside it. Digests hold for processors with AVX-512 and FMA; kernels for others may
//! round products differently, and there the test has nothing to say.

mod workbench;

use ablate_learn::cluster::Cluster;
use ablate_learn::cluster_eval::ClusterEval;
use ablate_learn::gnn::Architecture;
use ablate_learn::gnn_refine::GnnRefine;
use ablate_learn::knn_eval::KnnEval;
use ablate_learn::knn_graph::{Direction, EdgeWeight, KnnGraph};
use ablate_learn::linear_eval::LinearEval;
use ablate_learn::projection::{Layout, Projection};
use ablate_stage::Stage;
use workbench::{Run, Workbench, golden, write_embeddings};

fn line<S: Stage>(bench: &Workbench, stage: &S, inputs: &[(&str, &str)]) -> String {
    bench.run(stage, Run::of(inputs, 2)).done();
    golden(bench, stage, S::KIND)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_same_fields_give_the_same_bytes() {
    if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")) {
        return;
    }
    let bench = Workbench::new();
    write_embeddings(&bench.path("embeddings"), 150, 8, 3);
    let embeddings = ("embeddings", "embeddings");
    let graph =
        KnnGraph { weight: EdgeWeight::InverseDegree, direction: Direction::Symmetric, ..KnnGraph::new(4) };
    let sage = Architecture::Sage { layers: 2 };
    let refine = GnnRefine { arch: sage, hidden: 6, epochs: 3, parts: 2, ..GnnRefine::default() };
    let projection = |layout| Projection { layout, ..Projection::default() };
    let found = [
        line(&bench, &graph, &[embeddings]),
        line(&bench, &refine, &[embeddings, ("graph", "KnnGraph/graph")]),
        line(&bench, &LinearEval { steps: 5, repeats: 2, ..LinearEval::default() }, &[embeddings]),
        line(&bench, &KnnEval::default(), &[embeddings]),
        line(&bench, &Cluster { n_init: 2, ..Cluster::default() }, &[embeddings]),
        line(&bench, &ClusterEval::default(), &[("assignment", "Cluster/assignment")]),
        line(&bench, &projection(Layout::TSne { perplexity: 10.0, epochs: 50 }), &[embeddings]),
        line(&bench, &projection(Layout::Umap { neighbours: 8, min_dist: 0.1, epochs: 20 }), &[embeddings]),
    ];
    let recorded = [
        "KnnGraph 2 graph a4c47921a2c9 metrics c5f032ee2f96",
        "GnnRefine 3 curve 544dc4b99496 embeddings 9dad6b37e59f metrics 8a6e32d3e577",
        "LinearEval 1 metrics 15df2d455756 predictions d2c145806ab9",
        "KnnEval 1 metrics e4bbbf2d60b0",
        "Cluster 3 assignment 8b563c688ba7",
        "ClusterEval 2 metrics 9e890d27570f predictions 74fdeae75d4e",
        "Projection 1 metrics 18cf8c36514b points ba0b471a0882",
        "Projection 1 metrics cabbf31be0be points f67633677729",
    ];
    assert_eq!(
        found, recorded,
        "raise the REVISION of the kinds whose results changed, and record their lines"
    );
}
