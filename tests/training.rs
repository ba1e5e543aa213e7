//! Training through the whole program: the same bits from the same seed, whatever the threads and whoever is killed.
#![cfg(feature = "learn")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::available_parallelism;

use ablate::journal::Event;
use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Store};
use common::{Project, finish, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};

/// The quickstart's stages, small.
const PIPELINE: &str = r#"Pipeline(
    name: "small",
    stages: {
        "images": (stage: Images(source: FashionMnistMini, train: 300, test: 100)),
        "encoder": (
            stage: Pretrain(
                method: SimClr(), backbone: SmallCnn(width: 8), epochs: 3, batch: 50, optimiser: Adam(lr: 0.003),
            ),
            from: {"images": "images"},
        ),
        "raw": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),
        "graph": (stage: KnnGraph(k: 5), from: {"embeddings": "raw"}),
        "refined": (stage: GnnRefine(epochs: 2), from: {"embeddings": "raw", "graph": "graph"}),
        "probe": (stage: LinearEval(repeats: 1), from: {"embeddings": "refined"}),
        "neighbours": (stage: KnnEval(), from: {"embeddings": "refined"}),
        "clusters": (stage: Cluster(n_init: 2), from: {"embeddings": "refined"}),
        "clustering": (stage: ClusterEval(), from: {"assignment": "clusters"}),
    },
    axes: {
        "encoder.method": {
            "SimCLR": SimClr(),
            "NNCLR": NnClr(queue: 128, projector: (widths: [32, 16]), predictor: (widths: [32, 16])),
        },
    },
    seeds: [0, 1],
)"#;

/// Every action and what it made.
fn outputs(project: &Path) -> BTreeMap<ActionDigest, BTreeMap<String, Digest>> {
    let store = Store::open(&project.join(".ablate")).unwrap();
    let digests = |result: ActionResult| {
        result.outputs.into_iter().map(|(port, object)| (port, object.digest)).collect()
    };
    let actions = store.manifests().unwrap().into_iter().map(|(action, _)| action);
    actions.map(|action| (action, digests(store.result(&action).unwrap()))).collect()
}

#[test]
fn one_seed_gives_the_same_bits_with_one_thread_and_with_all() {
    let cpus = available_parallelism().unwrap().to_string();
    let [alone, shared] = ["1", cpus.as_str()].map(|jobs| {
        let project = Project::new();
        project.write("p.ron", PIPELINE).expect(0, &["run", "p.ron", "--jobs", jobs]);
        outputs(project.path())
    });
    assert_eq!(alone.len(), 1 + 4 * 8);
    assert_eq!(alone, shared);
}

#[test]
fn the_longest_training_begins_first() {
    let stage = |(name, epochs)| {
        let fields = format!("method: SimClr(), epochs: {epochs}, backbone: SmallCnn(width: 4), batch: 20");
        format!("\"{name}\": (stage: Pretrain({fields}), from: {{\"images\": \"images\"}}),")
    };
    let encoders = [("a", 1), ("b", 3), ("c", 2)].map(stage).concat();
    let images = r#""images": (stage: Images(source: FashionMnistMini, train: 40, test: 0)),"#;
    let project = Project::new();
    project.write("p.ron", format!("Pipeline(name: \"p\", stages: {{{images}{encoders}}})"));
    let events = project.expect(0, &["run", "p.ron", "--jobs", "1", "--json"]).stdout;
    let started = events.lines().filter_map(|line| line.split_once(r#""started","instance":""#));
    let order: Vec<&str> = started.map(|(_, rest)| rest.split(['[', '"']).next().unwrap()).collect();
    assert_eq!(order, ["images", "b", "c", "a"]);
}

#[test]
fn a_training_killed_after_a_checkpoint_ends_in_the_same_weights() {
    killed_and_resumed("SimClr()", 40);
}

/// What it remembers between epochs, features and a graph of them, is part of its checkpoints.
#[test]
fn a_training_killed_while_it_learns_from_a_graph_ends_in_the_same_weights() {
    let from = killed_and_resumed("Gcc(graph: (k: 3, start: 0, every: 1, history: 2))", 20);
    let epoch: usize = from.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!(epoch > EPOCHS, "there was a graph: {from}");
}

/// How many epochs are over when a training is killed, and of how many batches they are.
const EPOCHS: usize = 2;
const BATCHES: usize = 6;

/// Kills a training of so many epochs, resumes it, and compares it with one that was left alone. Returns what it went on from.
fn killed_and_resumed(method: &str, epochs: usize) -> String {
    let stages = PIPELINE
        .replace("epochs: 3", &format!("epochs: {epochs}"))
        .replace("SimClr(), backbone", &format!("{method}, backbone"));
    let until_embeddings = stages.find("        \"graph\"").unwrap();
    let pipeline = format!("{}}})", &stages[..until_embeddings]);
    let unbroken = Project::new();
    unbroken.write("p.ron", &pipeline).expect(0, &["run", "p.ron"]);

    let killed = Project::new();
    killed.write("p.ron", &pipeline);
    let run = killed.start_group(&["run", "p.ron"]);
    let scratch = killed.store().join("scratch");
    wait_until("a checkpoint", || {
        let folders = std::fs::read_dir(&scratch).into_iter().flatten().flatten();
        folders
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .flatten()
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "safetensors"))
            .filter_map(|file| file.file_name().to_str()?.split('-').next()?.parse().ok())
            .any(|steps: usize| steps >= EPOCHS * BATCHES)
    });
    kill_process_group(Pid::from_child(&run), Signal::KILL).unwrap();
    assert_eq!(finish(run).code, -1, "it was killed before its end");
    killed.expect(0, &["run", "p.ron"]);
    let resumed = resumed(&killed);
    assert_eq!(resumed.len(), 1, "it goes on from a checkpoint");
    assert_eq!(outputs(killed.path()), outputs(unbroken.path()));
    resumed[0].1.clone()
}

/// What the last run's stages went on from.
fn resumed(project: &Project) -> Vec<(String, String)> {
    let told = project.journal().into_iter().filter_map(|event| match event {
        Event::Resumed { instance, from } => Some((instance, from)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_longer_training_and_a_smaller_graph_take_over_what_is_there() {
    let pipeline = |epochs: usize, k: usize, schedule: &str| {
        let start = PIPELINE.find("        \"refined\"").unwrap();
        let stages =
            PIPELINE[..start].replace("epochs: 3", &format!("epochs: {epochs}, schedule: {schedule}"));
        format!("{}}})", stages.replace("k: 5", &format!("k: {k}")))
    };
    let project = Project::new();
    project.write("p.ron", pipeline(2, 8, "Constant")).expect(0, &["run", "p.ron"]);
    assert_eq!(resumed(&project), []);
    project.write("p.ron", pipeline(4, 8, "Constant")).expect(0, &["run", "p.ron"]);
    assert_eq!(resumed(&project), [("encoder[seed=0]".to_owned(), "a training of 2 epochs".to_owned())]);
    project.write("p.ron", pipeline(4, 3, "Constant")).expect(0, &["run", "p.ron"]);
    assert_eq!(resumed(&project), [("graph[seed=0]".to_owned(), "the graph of more neighbours".to_owned())]);

    let fresh = Project::new();
    fresh.write("p.ron", pipeline(4, 3, "Constant")).expect(0, &["run", "p.ron"]);
    assert_eq!(resumed(&fresh), []);
    let (taken_over, made) = (outputs(project.path()), outputs(fresh.path()));
    assert!(made.iter().all(|(action, outputs)| taken_over[action] == *outputs));

    // A cosine over two epochs is not the beginning of one over four.
    project.write("p.ron", pipeline(2, 3, "Cosine()")).expect(0, &["run", "p.ron"]);
    project.write("p.ron", pipeline(4, 3, "Cosine()")).expect(0, &["run", "p.ron"]);
    assert_eq!(resumed(&project), []);
}

#[test]
fn a_network_leaves_and_comes_back_through_a_file() {
    let project = Project::new();
    let stages = PIPELINE.replace("SimClr(), backbone", "Gcc(graph: (start: 0)), backbone");
    let until_embeddings = stages.find("        \"graph\"").unwrap();
    project.write("p.ron", format!("{}}})", &stages[..until_embeddings]));
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["get", "p.ron", "encoder.encoder", "--to", "net.safetensors"]);
    let imported = r#"Pipeline(
    name: "imported",
    stages: {
        "images": (stage: Images(source: FashionMnistMini, train: 300, test: 100)),
        "encoder": (stage: Pretrained(file: "net.safetensors")),
        "raw": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),
        "clusters": (stage: Cluster(method: Head()), from: {"images": "images", "encoder": "encoder"}),
        "clustering": (stage: ClusterEval(), from: {"assignment": "clusters"}),
    },
)"#;
    project.write("q.ron", imported).expect(0, &["run", "q.ron"]);
    project.expect(0, &["get", "q.ron", "encoder", "--to", "again.safetensors"]);
    let bytes = |name: &str| std::fs::read(project.path().join(name)).unwrap();
    assert_eq!(bytes("net.safetensors"), bytes("again.safetensors"));
    for (pipeline, features) in [("p.ron", "there.safetensors"), ("q.ron", "here.safetensors")] {
        project.expect(0, &["get", pipeline, "raw", "--to", features]);
    }
    assert_eq!(bytes("there.safetensors"), bytes("here.safetensors"));
}
