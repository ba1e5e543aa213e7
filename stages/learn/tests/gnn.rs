//! Graph layers and the refinement objective against golden values and finite differences.

#![expect(clippy::excessive_precision, reason = "golden values stand as the original programs printed them")]

use ablate_learn::cross_view::{CrossView, GraphView, distance};
use ablate_learn::ema;
use ablate_learn::gnn::{Architecture, Gnn, JumpingKnowledge};
use ablate_learn::propagate::{Adjacency, Edge};
use ablate_learn::weights::{Mode, Weights};
use ablate_stage::Tensors;
use burn::prelude::*;
use burn::tensor::{Device, TensorData};

/// sin(a·i + b·j + c), the inputs of the golden values.
fn waves(rows: usize, dim: usize, a: f64, b: f64, c: f64) -> Vec<f32> {
    (0..rows * dim).map(|at| (a * (at / dim) as f64 + b * (at % dim) as f64 + c).sin() as f32).collect()
}

fn unit_rows(mut values: Vec<f32>, dim: usize) -> Vec<f32> {
    ablate_learn::rows::normalise(&mut values, dim);
    values
}

fn tensor(values: Vec<f32>, dim: usize) -> Tensor<2> {
    let rows = values.len() / dim;
    Tensor::from_data(TensorData::new(values, [rows, dim]), &Device::flex())
}

fn edges(ends: &[(u32, u32)]) -> Vec<Edge> {
    ends.iter().map(|&(source, target)| Edge { source, target, weight: 1.0 }).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "element {at}: {found} is not {expected}");
    }
}

/// 0→1, 0→2, 1→2, 2→0, 4→0, 4→1: node 4 hears no one, node 3 is alone.
const SMALL: [(u32, u32); 6] = [(0, 1), (0, 2), (1, 2), (2, 0), (4, 0), (4, 1)];

fn layer(architecture: Architecture, jumping: JumpingKnowledge) -> Gnn {
    Gnn { name: "f".to_owned(), architecture, input: 3, hidden: 3, jumping }
}

const IDENTITY: [f32; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

#[test]
fn gcn_passes_messages_from_source_to_target() {
    let gnn = layer(Architecture::Gcn { layers: 1 }, JumpingKnowledge::Last);
    let mut weights = Weights::new(&Device::flex());
    weights.insert("f.0.lin.weight", &[3, 3], IDENTITY.to_vec());
    weights.insert("f.0.bias", &[3], vec![0.0; 3]);
    let x = waves(5, 3, 0.5, 0.8, 0.1);
    let adjacency = gnn.architecture.adjacency(&edges(&SMALL), 5);
    let mut expected = vec![0.82872109, 0.714673, 0.16711386];
    expected.extend([0.71986612, 0.72772288, 0.2941527, 0.51856108, 0.90502558, 0.7425137]);
    expected.extend(&x[9..]);
    let found = gnn.forward(&weights, tensor(x, 3), &adjacency, Mode::Evaluate);
    assert_close(&values(found), &expected, 1e-6);
}

#[test]
fn sage_adds_the_mean_of_what_it_hears() {
    let gnn = layer(Architecture::Sage { layers: 1 }, JumpingKnowledge::Last);
    let mut weights = Weights::new(&Device::flex());
    weights.insert("f.0.lin_l.weight", &[3, 3], IDENTITY.to_vec());
    weights.insert("f.0.lin_l.bias", &[3], vec![0.0; 3]);
    weights.insert("f.0.lin_r.weight", &[3, 3], IDENTITY.to_vec());
    let x = waves(5, 3, 0.5, 0.8, 0.1);
    let adjacency = gnn.architecture.adjacency(&edges(&SMALL), 5);
    let mut expected = vec![0.97704178, 1.37610162, 0.94043668, 1.04616387, 1.49673785, 1.03941074];
    expected.extend([1.22344531, 1.83068841, 1.32746049]);
    expected.extend(&x[9..]);
    let found = gnn.forward(&weights, tensor(x, 3), &adjacency, Mode::Evaluate);
    assert_close(&values(found), &expected, 2e-6);
}

#[test]
fn jumping_knowledge_joins_the_layers() {
    let of = |jumping| {
        let gnn = layer(Architecture::Gcn { layers: 2 }, jumping);
        let mut weights = Weights::new(&Device::flex());
        gnn.initialise(&mut weights, 5);
        let adjacency = gnn.architecture.adjacency(&edges(&SMALL), 5);
        let joined = gnn.forward(&weights, tensor(waves(5, 3, 0.5, 0.8, 0.1), 3), &adjacency, Mode::Evaluate);
        assert_eq!(joined.dims(), [5, gnn.output()]);
        values(joined)
    };
    let both = of(JumpingKnowledge::Concat);
    let pairs: Vec<(f32, f32)> =
        both.chunks(6).flat_map(|row| (0..3).map(|j| (row[j], row[j + 3])).collect::<Vec<_>>()).collect();
    let check = |jumping, join: fn(f32, f32) -> f32| {
        let expected: Vec<f32> = pairs.iter().map(|&(a, b)| join(a, b)).collect();
        assert_close(&of(jumping), &expected, 1e-6);
    };
    check(JumpingKnowledge::Last, |_, b| b);
    check(JumpingKnowledge::Max, f32::max);
    check(JumpingKnowledge::Sum, |a, b| a + b);
    check(JumpingKnowledge::Mean, |a, b| (a + b) / 2.0);
}

#[test]
fn loops_count_once_and_parallel_edges_each() {
    let x = tensor(vec![1.0, 10.0], 1);
    let repeated = Adjacency::symmetric(&edges(&[(0, 0), (0, 0), (1, 0), (1, 0)]), 2);
    // Node 0 hears itself once and node 1 twice: degree 3; node 1 hears itself: degree 1.
    assert_close(&values(repeated.propagate(x.clone())), &[1.0 / 3.0 + 20.0 / 3f32.sqrt(), 10.0], 1e-5);
    let weighted = [Edge { source: 0, target: 1, weight: 3.0 }, Edge { source: 1, target: 1, weight: 1.0 }];
    assert_close(&values(Adjacency::mean(&weighted, 2).propagate(x)), &[0.0, 13.0 / 4.0], 1e-6);
}

#[test]
fn gradients_flow_against_the_edges() {
    let adjacency = Adjacency::symmetric(&edges(&SMALL), 5);
    let start = waves(5, 3, 0.7, 0.4, 0.3);
    let factors = waves(5, 3, 1.1, 0.9, 0.2);
    let loss = |x: Tensor<2>| {
        let y = adjacency.propagate(x);
        (y.powi_scalar(2) * tensor(factors.clone(), 3)).sum()
    };
    let x = tensor(start.clone(), 3).autodiff().require_grad();
    let gradients = loss(x.clone()).backward();
    let found = values(x.grad(&gradients).unwrap());
    for at in 0..start.len() {
        let moved = |by: f32| {
            let mut start = start.clone();
            start[at] += by;
            values(loss(tensor(start, 3)))[0]
        };
        let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        assert!((found[at] - expected).abs() < 2e-3, "element {at}: {} is not {expected}", found[at]);
    }
}

#[test]
fn every_device_route_gives_the_same_product() {
    let ends: Vec<(u32, u32)> = (0..400).map(|i| ((i * 7 + i * i) % 50, (i * 3 + 1) % 50)).collect();
    let adjacency = Adjacency::symmetric(&edges(&ends), 50);
    let x = tensor(waves(50, 6, 0.3, 0.8, 0.0), 6);
    assert_close(&values(adjacency.gather_and_scatter(x.clone())), &values(adjacency.propagate(x)), 1e-5);
}

#[test]
fn distance_is_two_minus_two_cosines() {
    let (a, b) = (waves(4, 3, 0.5, 0.8, 0.1), waves(4, 3, 0.5, 0.8, 0.6));
    let found = values(distance(tensor(a, 3), tensor(b, 3)));
    assert_close(&found, &[0.15529893, 0.13249871, 0.17866359, 0.32079359], 1e-6);
}

/// The networks of the golden refinement step; `phase` tells student and teacher apart.
fn networks(phase: f64) -> Weights {
    let mut weights = Weights::new(&Device::flex());
    let matrix = |c: f64| waves(3, 3, 0.37, 0.91, c);
    let vector = |c: f64| (0..3).map(|i| (0.1 * (0.5 * f64::from(i) + c).sin()) as f32).collect::<Vec<f32>>();
    for layer in [1, 2] {
        let l = f64::from(layer);
        weights.insert(format!("encoder.{}.lin.weight", layer - 1), &[3, 3], matrix(0.13 * l + phase));
        weights.insert(format!("encoder.{}.bias", layer - 1), &[3], vector(0.2 * l + phase));
    }
    weights.insert("projection.weight", &[3, 3], matrix(0.7 + phase));
    weights.insert("projection.bias", &[3], vector(0.7 + phase));
    weights.insert("predictor.weight", &[3, 3], matrix(1.1));
    weights.insert("predictor.bias", &[3], vector(1.1));
    weights.insert("predictor_norm.weight", &[3], vec![1.0; 3]);
    weights.insert("predictor_norm.bias", &[3], vec![0.0; 3]);
    weights.insert_running("predictor_norm", 3);
    weights
}

#[test]
fn a_refinement_step_equals_the_original() {
    let encoder = Gnn {
        name: "encoder".to_owned(),
        architecture: Architecture::Gcn { layers: 2 },
        input: 3,
        hidden: 3,
        jumping: JumpingKnowledge::Max,
    };
    let view = |phase: f64, ends: &[(u32, u32)]| GraphView {
        x: tensor(unit_rows(waves(5, 3, 0.5, 0.8, phase), 3), 3),
        adjacency: encoder.architecture.adjacency(&edges(ends), 5),
    };
    let first = view(0.1, &[(0, 1), (1, 0), (2, 3), (3, 2), (4, 0), (4, 2)]);
    let second = view(0.6, &[(0, 2), (1, 0), (2, 1), (3, 2), (4, 1), (4, 3)]);
    let (mut student, mut teacher) = (networks(0.0), networks(0.3));
    for (view, expected) in
        [(&first, [2.34135977, 2.37297888, 2.07484981]), (&second, [1.71788222, 1.76354004, 1.56193438])]
    {
        let embedding = encoder.forward(&student, view.x.clone(), &view.adjacency, Mode::Evaluate);
        assert_close(&values(embedding)[..3], &expected, 1e-5);
    }
    let method = CrossView { encoder };
    let loss = values(method.loss(&mut student, &teacher, [&first, &second]))[0];
    assert!((loss - 1.7358760131).abs() < 1.7e-4, "{loss}");
    ema::update(&mut teacher, &student, 0.99);
    let stored = teacher.store("", Tensors::new());
    let row = &stored.f32("encoder.0.lin.weight").unwrap()[..3];
    assert_close(row, &[0.41399844, 0.97237374, 0.77958206], 1e-6);
}
