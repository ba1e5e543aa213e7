//! The learning stages of ablate: everything that trains, embeds, builds graphs, or evaluates.
//!
//! Losses, layers, metrics, schedules and graph builders are public functions on plain tensors; the stages compose them.

pub mod artifacts;
pub mod assign;
pub mod backbone;
pub mod checkpoint;
pub mod cluster;
pub mod cluster_eval;
pub mod conv_norm;
pub mod course;
pub mod cross_view;
pub mod curve_eval;
pub mod device;
pub mod ema;
pub mod embed;
pub mod encoder;
pub mod feedback;
pub mod gnn;
pub mod gnn_refine;
pub mod graph_eval;
pub mod head;
pub mod kmeans;
pub mod knn;
pub mod knn_eval;
pub mod knn_graph;
pub mod layers;
pub mod linear_eval;
pub mod losses;
pub mod measured;
pub mod metrics;
pub mod optimiser;
pub mod partition;
pub mod pretrain;
pub mod pretrained;
pub mod projection;
pub mod propagate;
pub mod rows;
pub mod schedule;
pub mod self_label;
pub mod training;
pub mod watch;
pub mod weights;

use ablate_stage::Registry;

/// Adds every learning stage to a registry, and the accelerators this build can use.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
        .with_accelerators(device::accelerators)
        .with::<pretrain::Pretrain>()
        .with::<pretrained::Pretrained>()
        .with::<embed::Embed>()
        .with::<self_label::SelfLabel>()
        .with::<knn_graph::KnnGraph>()
        .with::<knn_eval::KnnEval>()
        .with::<graph_eval::GraphEval>()
        .with::<cluster::Cluster>()
        .with::<projection::Projection>()
        .with::<gnn_refine::GnnRefine>()
        .with::<linear_eval::LinearEval>()
        .with::<cluster_eval::ClusterEval>()
        .with::<curve_eval::CurveEval>()
}
