//! Values of the original programs, for inputs given by formulas, and the sizes of their networks.

use ablate_data::ChannelStats;
use ablate_learn::backbone::{Backbone, Stem};
use ablate_learn::encoder::{Architecture, Encoder};
use ablate_learn::knn::{Similarity, nearest};
use ablate_learn::knn_eval::vote;
use ablate_learn::losses::{agc, cluster_entropy, confidence_cross_entropy, nt_xent, rgc, simclr_onesided};
use ablate_learn::pretrain::{Gcc, Method};
use ablate_learn::rows;
use burn::prelude::*;
use burn::tensor::Device;
use burn::tensor::activation::softmax;
use ndarray::Array2;

/// G(n, d, a, b, c)\[i, j\] = scale · sin(a i + b j + c).
fn waves(n: usize, d: usize, scale: f64, (a, b, c): (f64, f64, f64)) -> Tensor<2> {
    let values = (0..n * d).map(|at| (scale * (a * (at / d) as f64 + b * (at % d) as f64 + c).sin()) as f32);
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [n, d]), &Device::flex())
}

fn check(name: &str, loss: Tensor<1>, expected: f64) {
    let found = f64::from(loss.into_scalar::<f32>());
    assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{name}: {found}, expected {expected}");
}

#[test]
fn the_contrastive_loss_is_that_of_cc() {
    let z0 = waves(4, 8, 1.0, (0.7, 1.3, 0.1));
    let z1 = waves(4, 8, 1.0, (0.7, 1.3, 0.4));
    check("InstanceLoss of CC, τ 0.5", nt_xent(z0, z1, 0.5), 1.2736765696);
}

/// Logits of the weak and the strong views of eight images.
fn logits() -> (Tensor<2>, Tensor<2>) {
    (waves(8, 4, 6.0, (1.1, 2.3, 0.3)), waves(8, 4, 3.0, (1.1, 2.3, 0.9)))
}

#[test]
fn self_labelling_is_that_of_scan() {
    let (weak, strong) = logits();
    for (threshold, balance, expected) in
        [(0.80, true, 0.4753657), (0.80, false, 0.4799384), (0.98, true, 0.5494498), (0.98, false, 0.5494498)]
    {
        let (found, _) = confidence_cross_entropy(weak.clone(), strong.clone(), threshold, balance)
            .expect("some rows are above the threshold");
        check(&format!("threshold {threshold}, balance {balance}"), found, expected);
    }
}

/// The targets at a threshold, as the loss shows them: of a row's strong logits, that of the target alone has a
/// gradient below 0. `None` for a row that takes no part.
fn targets(threshold: f64) -> Vec<Option<usize>> {
    let (weak, strong) = logits();
    let strong = strong.autodiff().require_grad();
    let Some((loss, _)) = confidence_cross_entropy(weak, strong.clone(), threshold, false) else {
        return vec![None; 8];
    };
    let gradient = strong.grad(&loss.backward()).expect("the loss depends on the strong view");
    let gradient = gradient.into_data().try_to_vec::<f32>().unwrap();
    gradient.chunks_exact(4).map(|row| row.iter().position(|&slope| slope < 0.0)).collect()
}

#[test]
fn self_labels_and_their_probabilities_are_those_of_scan() {
    let expected = [
        (3, 0.80723),
        (0, 0.62214),
        (2, 0.67949),
        (2, 0.99936),
        (1, 0.96048),
        (1, 0.99324),
        (3, 0.88889),
        (0, 0.82961),
    ];
    for (row, (target, probability)) in expected.into_iter().enumerate() {
        let found = [probability - 1e-5, probability + 1e-5].map(|threshold| targets(threshold)[row]);
        assert_eq!(found, [Some(target), None], "row {row}, below and above {probability}");
    }
}

#[test]
fn contrasts_over_the_graph_are_those_of_gcc() {
    let z0 = waves(4, 8, 1.0, (0.7, 1.3, 0.1));
    let z1 = waves(4, 8, 1.0, (0.7, 1.3, 0.4));
    check("RGC, pretext phase", simclr_onesided(z0.clone(), z1.clone(), 0.1), 1.2074714139);
    let neighbours = [1.0, 2.0, 3.0].map(|t| waves(4, 8, 1.0, (0.7, 1.3, 0.1 + 0.35 * t)));
    let weight = |at: usize| (3.0 / (4.0 + ((at / 3 + at % 3 + 1) % 3) as f32)).sqrt();
    let weights = TensorData::new((0..12).map(weight).collect::<Vec<f32>>(), [4, 3]);
    let weights = Tensor::from_data(weights, &Device::flex());
    let loss = rgc(z0, z1, &neighbours, weights, 0.1);
    // What comes of likely mistakes is refused by name first, so that a failure says which was made.
    let found = f64::from(loss.clone().into_scalar::<f32>());
    for (mistake, wrong) in
        [("vectors not scaled by weights", 0.9676036807), ("no outer weight", 0.8678649109)]
    {
        assert!((found - wrong).abs() > 1e-3, "RGC, graph phase: {found} is that of {mistake}");
    }
    check("RGC, graph phase", loss, 0.8943653249);
}

#[test]
fn contrasts_of_clusters_are_those_of_gcc() {
    let o = softmax(waves(6, 4, 2.0, (0.9, 1.7, 0.2)), 1);
    let r = softmax(waves(6, 4, 2.0, (0.9, 1.7, 0.5)), 1);
    check("AGC", agc(o.clone(), r.clone(), 1.0), 0.9464449443);
    check("CR", cluster_entropy(o.clone()), 0.0071416260);
    check("AGC + 2 CR", agc(o.clone(), r, 1.0) + cluster_entropy(o) * 2.0, 0.9607281963);
}

#[test]
fn networks_have_as_many_parameters_as_those_of_gcc() {
    let method = Method::Gcc(Gcc::default());
    let projector = method.recipe().expect("GCC trains").projector;
    for (data_set, backbone, clusters, expected) in [
        ("CIFAR-10", Backbone::ResNet18 { stem: Stem::Cifar }, 10, 11_502_282),
        ("CIFAR-100 (20)", Backbone::ResNet18 { stem: Stem::Cifar }, 20, 11_507_412),
        ("ImageNet-Dogs", Backbone::ResNet18 { stem: Stem::Stl }, 15, 11_504_847),
        ("Tiny-ImageNet", Backbone::ResNet34 { stem: Stem::Stl }, 200, 21_707_912),
    ] {
        let projector = projector.clone();
        let architecture =
            Architecture { backbone, channels: 3, projector, predictor: None, clusters: Some(clusters) };
        let preprocess = ChannelStats { mean: vec![0.0; 3], std: vec![1.0; 3] };
        let encoder = Encoder::new(architecture, preprocess, 0, &Device::flex());
        let sizes = encoder.weights.parameters().map(|(_, tensor)| tensor.shape().iter().product::<usize>());
        assert_eq!(sizes.sum::<usize>(), expected, "{data_set}");
    }
}

/// N(G(n, 5, 0.9, 0.6, c)).
fn unit_waves(n: usize, c: f64) -> Array2<f32> {
    let mut values = waves(n, 5, 1.0, (0.9, 0.6, c)).into_data().try_to_vec::<f32>().unwrap();
    rows::normalise(&mut values, 5);
    Array2::from_shape_vec((n, 5), values).unwrap()
}

#[test]
fn the_neighbours_vote_is_that_of_gcc() {
    let neighbours =
        nearest(unit_waves(7, 0.2).view(), unit_waves(3, 0.35).view(), 3, Similarity::InnerProduct).unwrap();
    assert_eq!(vote(&neighbours, &[0, 1, 0, 1, 1, 0, 1], 0.1), [0, 1, 0]);
}
