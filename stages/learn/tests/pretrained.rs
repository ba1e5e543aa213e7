//! A network that was trained elsewhere computes here what it computed there.

mod workbench;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate_data::ChannelStats;
use ablate_learn::backbone::{Backbone, Stem};
use ablate_learn::encoder::{Architecture, Encoder};
use ablate_learn::head::{Mlp, Norm};
use ablate_learn::pretrained::{Parts, Pretrained};
use ablate_stage::{Stage, Tensors};
use burn::tensor::Device;
use workbench::{Run, Workbench};

fn parts() -> Parts {
    Parts {
        backbone: Backbone::SmallCnn { width: 4, grid: 1 },
        projector: Some(Mlp::new([8, 6], Norm::Hidden)),
        predictor: None,
        clusters: Some(3),
        preprocess: ChannelStats { mean: vec![0.25; 3], std: vec![0.5; 3] },
    }
}

fn encoder() -> Encoder {
    let Parts { backbone, projector, predictor, clusters, preprocess } = parts();
    let architecture = Architecture { backbone, channels: 3, projector, predictor, clusters };
    Encoder::new(architecture, preprocess, 3, &Device::flex())
}

fn import() -> Pretrained {
    let (names, modules) = (BTreeMap::new(), BTreeMap::new());
    Pretrained { file: PathBuf::from("net.safetensors"), network: None, names, modules }
}

/// The names of GCC's program.
fn theirs() -> BTreeMap<String, String> {
    let names = [("projector.", "contrastive_head."), ("cluster_head.", "cluster_head.0.")];
    names.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned())).into()
}

#[test]
fn what_was_exported_comes_back_to_the_bit() {
    let bench = Workbench::new();
    encoder().write(&bench.path("net.safetensors")).unwrap();
    bench.run(&import(), Run::of(&[], 1)).done();
    let [before, after] =
        ["net.safetensors", "Pretrained/encoder"].map(|name| std::fs::read(bench.path(name)).unwrap());
    assert_eq!(before, after);
}

#[test]
fn tensors_of_other_names_find_their_places() {
    let bench = Workbench::new();
    encoder().write(&bench.path("ours")).unwrap();
    let ours = Tensors::read(&bench.path("ours")).unwrap();
    let called = |name: &str| {
        let found = theirs().into_iter().find_map(|(ours, theirs)| Some(theirs + name.strip_prefix(&ours)?));
        found.unwrap_or_else(|| name.to_owned())
    };
    let state_dict = ours.iter().fold(Tensors::new(), |all, (name, tensor)| {
        all.with(called(name), tensor.shape(), tensor.data().clone())
    });
    let state_dict = state_dict.with("fc.bias", &[1], ablate_stage::TensorData::F32(vec![1.0]));
    state_dict.write(&bench.path("net.safetensors")).unwrap();
    let untold = bench.run(&import(), Run::of(&[], 1)).message();
    assert_eq!(untold, "net.safetensors: it does not say what it holds; say it with `network`");
    let told = Pretrained { network: Some(parts()), ..import() };
    let misnamed = bench.run(&told, Run::of(&[], 1)).message();
    assert_eq!(misnamed, "net.safetensors: it has no tensor `cluster_head.bias`");
    bench.run(&Pretrained { names: theirs(), ..told }, Run::of(&[], 1)).done();
    let [before, after] = ["ours", "Pretrained/encoder"].map(|name| std::fs::read(bench.path(name)).unwrap());
    assert_eq!(before, after);
}

#[test]
fn modules_of_other_names_find_their_places() {
    let bench = Workbench::new();
    let parts = Parts { backbone: Backbone::ResNet18 { stem: Stem::Cifar }, projector: None, ..parts() };
    let Parts { backbone, projector, predictor, clusters, preprocess } = parts.clone();
    let architecture = Architecture { backbone, channels: 3, projector, predictor, clusters };
    Encoder::new(architecture, preprocess, 3, &Device::flex()).write(&bench.path("ours")).unwrap();
    let ours = Tensors::read(&bench.path("ours")).unwrap();
    let state_dict = ours.iter().fold(Tensors::new(), |all, (name, tensor)| {
        let theirs = name.replace("downsample", "shortcut").replace("cluster_head", "head");
        all.with(theirs, tensor.shape(), tensor.data().clone())
    });
    state_dict.write(&bench.path("net.safetensors")).unwrap();
    let names = BTreeMap::from([("cluster_head.".to_owned(), "head.".to_owned())]);
    let told = Pretrained { network: Some(parts), names, ..import() };
    let misnamed = bench.run(&told, Run::of(&[], 1)).message();
    assert!(misnamed.contains("it has no tensor `backbone.layer2.0.downsample."), "{misnamed}");
    let modules = BTreeMap::from([("downsample".to_owned(), "shortcut".to_owned())]);
    bench.run(&Pretrained { modules, ..told }, Run::of(&[], 1)).done();
    let [before, after] = ["ours", "Pretrained/encoder"].map(|name| std::fs::read(bench.path(name)).unwrap());
    assert_eq!(before, after);
}

#[test]
fn parts_that_make_no_network_are_told_by_their_fields() {
    let preprocess = ChannelStats { mean: vec![0.5; 2], std: vec![0.5, 0.0] };
    let parts = Parts { preprocess, clusters: Some(0), ..parts() };
    let names = BTreeMap::from([("head.".to_owned(), "fc.".to_owned())]);
    let wrong = Pretrained { network: Some(parts), names, ..import() }.validate();
    let wrong: Vec<String> =
        wrong.into_iter().map(|error| format!("{} {}", error.path, error.message)).collect();
    let expected = [
        "network.preprocess.mean must have 1 or 3 channels, has 2",
        "network.clusters must be 1 to 65536, is 0",
        "network.preprocess.std must be 2 numbers above 0, is [0.5, 0.0]",
        "names has `head.`; names in an encoder begin with backbone., projector., predictor., cluster_head.",
    ];
    assert_eq!(wrong, expected);
}
