//! Training as a whole: it learns, it goes on where it was stopped, and it gives the same bits whatever happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate_data::{ImageSet, Source, first_of_each_class};
use ablate_learn::artifacts::{Assignment, Embeddings};
use ablate_learn::embed::Embed;
use ablate_learn::pretrain::Pretrain;
use ablate_learn::self_label::SelfLabel;
use ablate_stage::cache::Digest;
use ablate_stage::{Device, Job, JobFiles, Report, Split, Stage, StageError, StopFlag, Tensors};
use tempfile::TempDir;

/// A folder with some images in it, where stages are run.
struct Lab {
    dir: TempDir,
}

/// What a run told.
#[derive(Default)]
struct Told {
    progress: Vec<String>,
    resumed: Vec<String>,
}

impl Lab {
    fn new(train: usize, test: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let set = Source::FashionMnistMini.read(Path::new("/")).unwrap();
        let mut rows = first_of_each_class(&set, Split::Train, Some(train)).unwrap();
        rows.extend(first_of_each_class(&set, Split::Test, Some(test)).unwrap());
        set.select(&rows).write(&dir.path().join("images")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a stage in `threads` threads, stopping it at `stop_at` reports of progress. Artifacts are files named as ports;
    /// those it writes go to the folder `out`, and those it reads are in the lab's own.
    fn run(
        &self,
        stage: &impl Stage,
        out: &str,
        threads: usize,
        stop_at: Option<usize>,
    ) -> (Result<(), StageError>, Told) {
        self.run_seeded(stage, out, threads, stop_at, 7)
    }

    fn run_seeded(
        &self,
        stage: &impl Stage,
        out: &str,
        threads: usize,
        stop_at: Option<usize>,
        seed: u64,
    ) -> (Result<(), StageError>, Told) {
        assert_eq!(stage.validate(), []);
        for folder in [out, &format!("{out}/scratch")] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        let inputs = stage.inputs().into_iter().map(|port| (port.name.clone(), self.path(&port.name)));
        let inputs = inputs.filter(|(_, path)| path.exists());
        let outputs =
            stage.outputs().into_iter().map(|port| (port.name.clone(), self.path(out).join(&port.name)));
        let files = JobFiles {
            inputs: inputs.collect(),
            outputs: outputs.collect::<BTreeMap<_, _>>(),
            scratch: self.path(out).join("scratch"),
            project: self.dir.path().to_owned(),
        };
        let stop = StopFlag::default();
        let mut told = Told::default();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let result = pool.install(|| {
            let mut report = |report| match report {
                Report::Progress { note, .. } => {
                    told.progress.push(note);
                    if Some(told.progress.len()) == stop_at {
                        stop.raise();
                    }
                }
                Report::Resumed(from) => told.resumed.push(from),
                Report::Line(_) => {}
            };
            stage.run(&mut Job::new(files, seed, Device::Cpu, threads, stop.clone(), &mut report))
        });
        if result.is_ok() {
            for port in stage.outputs() {
                port.kind.check(&self.path(out).join(&port.name)).unwrap();
            }
        }
        (result, told)
    }

    /// Makes an artifact of `out` an input of later stages.
    fn keep(&self, out: &str, port: &str) {
        std::fs::copy(self.path(out).join(port), self.path(port)).unwrap();
    }

    fn digests(&self, stage: &impl Stage, out: &str) -> Vec<Digest> {
        let digest = |name: &str| Digest::of_file(&self.path(out).join(name)).unwrap();
        stage.outputs().iter().map(|port| digest(&port.name)).collect()
    }
}

fn stage<S: Stage>(text: &str) -> S {
    ron::from_str(text).unwrap()
}

const SIMCLR: &str =
    "(method: SimClr(temperature: 0.5, projector: (widths: [32, 16])), backbone: SmallCnn(width: 8),
    epochs: 3, batch: 32, optimiser: Sgd(lr: 0.1))";
const NNCLR: &str =
    "(method: NnClr(queue: 64, projector: (widths: [32, 16], norm: All), predictor: (widths: [32, 16])),
    backbone: SmallCnn(width: 8), epochs: 2, batch: 32, optimiser: Adam(lr: 0.001, weight_decay: 0.0001))";

#[test]
fn stopped_anywhere_and_resumed_it_gives_the_bits_of_an_unbroken_run() {
    let lab = Lab::new(130, 10);
    for (name, text) in [("simclr", SIMCLR), ("nnclr", NNCLR)] {
        let pretrain: Pretrain = stage(text);
        let (result, told) = lab.run(&pretrain, name, 2, None);
        result.unwrap();
        assert_eq!(told.resumed, [] as [&str; 0]);
        let unbroken = lab.digests(&pretrain, name);
        let alone = format!("{name} in one thread");
        lab.run(&pretrain, &alone, 1, None).0.unwrap();
        assert_eq!(lab.digests(&pretrain, &alone), unbroken, "{alone}");
        // Four steps an epoch: after the first step, in the middle, at the end of an epoch, before the last.
        for stop_at in [1, 3, 4, 7] {
            let broken = format!("{name} stopped at {stop_at}");
            let (result, _) = lab.run(&pretrain, &broken, 1, Some(stop_at));
            assert!(matches!(result, Err(StageError::Stopped)), "{broken}: {result:?}");
            let (result, told) = lab.run(&pretrain, &broken, 2, None);
            result.unwrap();
            let from = format!("epoch {} of {}, step {}", stop_at / 4 + 1, pretrain.epochs, stop_at % 4 + 1);
            assert_eq!(told.resumed, [from]);
            assert_eq!(lab.digests(&pretrain, &broken), unbroken, "{broken}");
        }
    }
}

#[test]
fn another_seed_or_field_gives_another_encoder() {
    let lab = Lab::new(64, 10);
    let encoder = |text: &str, seed: u64| {
        let pretrain: Pretrain = stage(text);
        let out = format!("seed {seed} {}", text.len());
        lab.run_seeded(&pretrain, &out, 2, None, seed).0.unwrap();
        lab.digests(&pretrain, &out)[0]
    };
    let first = encoder(SIMCLR, 7);
    assert_ne!(encoder(SIMCLR, 8), first);
    assert_ne!(encoder(&SIMCLR.replace("0.5", "0.65"), 7), first);
}

/// The same images with the pixels of the test split inverted and every label moved on by one.
fn disguised(images: &ImageSet) -> ImageSet {
    let size = images.image_len();
    let mut other = images.clone();
    for (pixels, split) in other.pixels.chunks_exact_mut(size).zip(&images.split) {
        if *split == Split::Test {
            pixels.iter_mut().for_each(|value| *value = 255 - *value);
        }
    }
    other.labels.iter_mut().for_each(|label| *label = (*label + 1) % 10);
    other
}

#[test]
fn training_sees_neither_test_images_nor_labels() {
    let (lab, images) = self_labelling_lab();
    let stages: (Pretrain, SelfLabel) = (stage(NNCLR), stage(SELF_LABEL));
    let encoders = |out: &str| {
        lab.run(&stages.0, &format!("pretrained on {out}"), 2, None).0.unwrap();
        lab.run(&stages.1, &format!("labelled from {out}"), 2, None).0.unwrap();
        let pretrained = lab.digests(&stages.0, &format!("pretrained on {out}"))[0];
        (pretrained, lab.digests(&stages.1, &format!("labelled from {out}"))[0])
    };
    let expected = encoders("all");
    disguised(&images).write(&lab.path("images")).unwrap();
    assert_eq!(encoders("disguised"), expected);
    // The disguise is not lost on what may look.
    let found = Assignment::read(&lab.path("labelled from disguised/assignment")).unwrap();
    let before = Assignment::read(&lab.path("labelled from all/assignment")).unwrap();
    assert_ne!(found.probabilities, before.probabilities);
}

#[test]
fn simclr_and_nnclr_learn_to_tell_256_images_apart() {
    let lab = Lab::new(256, 10);
    for (name, text) in [("simclr", SIMCLR), ("nnclr", NNCLR)] {
        let text = text.replace("epochs: 3", "epochs: 12").replace("epochs: 2", "epochs: 12");
        let (result, told) = lab.run(&stage::<Pretrain>(&text), name, 2, None);
        result.unwrap();
        let loss = |note: &String| -> f64 {
            note.split("loss ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
        };
        let mean = |notes: &[String]| notes.iter().map(loss).sum::<f64>() / notes.len() as f64;
        let (first, last) = (mean(&told.progress[..8]), mean(&told.progress[88..]));
        assert!(last < first - 0.25, "{name}: from {first} to {last}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_stage() {
    let lab = Lab::new(64, 10);
    let wild: Pretrain = stage(&SIMCLR.replace("Sgd(lr: 0.1)", "Sgd(lr: 1e38, weight_decay: 1e30)"));
    let (result, _) = lab.run(&wild, "wild", 2, None);
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("the loss became ") && message.contains("in epoch 0, step"), "{message}");
    assert!(lab.path("wild/scratch/curve.parquet").is_file());
}

#[test]
fn embeddings_are_of_every_image_and_pixels_need_no_encoder() {
    let lab = Lab::new(40, 20);
    let images = ImageSet::read(&lab.path("images")).unwrap();
    lab.run(&stage::<Pretrain>("(method: Untrained, backbone: SmallCnn(width: 4))"), "out", 1, None)
        .0
        .unwrap();
    lab.keep("out", "encoder");
    for (text, dim) in [("()", 16), ("(batch: 7)", 16), ("(layer: Pixels, normalise: true)", 784)] {
        let embed: Embed = stage(text);
        assert_eq!(embed.inputs().len(), if dim == 784 { 1 } else { 2 });
        lab.run(&embed, "out", 2, None).0.unwrap();
        let found = Embeddings::read(&lab.path("out/embeddings")).unwrap();
        assert_eq!((found.len(), found.dim, &found.labels), (60, dim, &images.labels));
        if dim == 784 {
            let length: f32 = found.row(3).iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
    }
    let (result, _) = lab.run(&stage::<Embed>("(layer: Projector)"), "out", 1, None);
    assert_eq!(
        result.unwrap_err().to_string(),
        "input `encoder`: it has no projector; use `layer: Backbone`"
    );
}

const SELF_LABEL: &str = "(threshold: 0.3, epochs: 3, batch: 64, optimiser: Adam(lr: 0.001), ema: Some(0.5))";

/// A lab with an encoder, and the classes as the clusters to begin with.
fn self_labelling_lab() -> (Lab, ImageSet) {
    let lab = Lab::new(200, 40);
    let images = ImageSet::read(&lab.path("images")).unwrap();
    let pretrain: Pretrain = stage(&SIMCLR.replace("epochs: 3", "epochs: 8"));
    lab.run(&pretrain, "pretrained", 2, None).0.unwrap();
    lab.keep("pretrained", "encoder");
    let clusters = Assignment {
        cluster: images.labels.clone(),
        num_clusters: 10,
        probabilities: None,
        labels: None,
        split: images.split.iter().map(|&split| split as u8).collect(),
    };
    clusters.write(&lab.path("assignment")).unwrap();
    (lab, images)
}

fn agreement(found: &Assignment, images: &ImageSet, split: Split) -> f64 {
    let rows = images.rows(split);
    let same = rows.iter().filter(|&&row| found.cluster[row as usize] == images.labels[row as usize]).count();
    same as f64 / rows.len() as f64
}

#[test]
fn self_labelling_begins_with_the_given_clusters_and_assigns_every_image() {
    let (lab, images) = self_labelling_lab();
    lab.run(&stage::<SelfLabel>(SELF_LABEL), "out", 2, None).0.unwrap();
    let found = Assignment::read(&lab.path("out/assignment")).unwrap();
    let (train, test) = (agreement(&found, &images, Split::Train), agreement(&found, &images, Split::Test));
    assert!(train > 0.6 && test > 0.4, "agreement with the initial clusters: train {train}, test {test}");
    for (row, &cluster) in found.probabilities.as_ref().unwrap().chunks_exact(10).zip(&found.cluster) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(row.iter().all(|&p| p <= row[cluster as usize]));
    }
    // Its encoder has a cluster head, and is taken up where it stands.
    lab.keep("out", "encoder");
    std::fs::remove_file(lab.path("assignment")).unwrap();
    lab.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), "again", 2, None).0.unwrap();
    assert_eq!(Assignment::read(&lab.path("again/assignment")).unwrap().cluster, found.cluster);
    // A wired assignment counts for more than that head.
    let swapped = Assignment {
        cluster: images.labels.iter().map(|&label| 9 - label).collect(),
        num_clusters: 10,
        probabilities: None,
        labels: None,
        split: found.split,
    };
    swapped.write(&lab.path("assignment")).unwrap();
    lab.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), "swapped", 2, None).0.unwrap();
    let turned = Assignment::read(&lab.path("swapped/assignment")).unwrap();
    assert!(agreement(&turned, &ImageSet { labels: swapped.cluster, ..images }, Split::Train) > 0.6);
}

#[test]
fn self_labelling_without_confidence_changes_no_parameter() {
    let (lab, _) = self_labelling_lab();
    lab.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), "fitted", 1, None).0.unwrap();
    let unsure: SelfLabel = stage("(threshold: 0.9999999, epochs: 1, batch: 100)");
    let (result, told) = lab.run(&unsure, "out", 1, None);
    result.unwrap();
    assert_eq!(told.progress.len(), 2);
    let encoders = ["fitted", "out"].map(|out| Tensors::read(&lab.path(out).join("encoder")).unwrap());
    for name in ["backbone.conv1.weight", "cluster_head.weight", "cluster_head.bias"] {
        assert_eq!(encoders[0].get(name).unwrap(), encoders[1].get(name).unwrap(), "{name}");
    }
    let name = "backbone.bn1.running_mean";
    assert_ne!(
        encoders[0].get(name).unwrap(),
        encoders[1].get(name).unwrap(),
        "statistics move all the same"
    );
}

#[test]
fn self_labelling_without_a_cluster_head_asks_for_clusters() {
    let (lab, _) = self_labelling_lab();
    std::fs::remove_file(lab.path("assignment")).unwrap();
    let (result, _) = lab.run(&stage::<SelfLabel>(SELF_LABEL), "out", 1, None);
    assert_eq!(
        result.unwrap_err().to_string(),
        "input `encoder`: it has no cluster head; wire the clusters to begin with to `assignment`"
    );
}

#[test]
fn self_labelling_stopped_and_resumed_gives_the_bits_of_an_unbroken_run() {
    let (lab, _) = self_labelling_lab();
    let self_label: SelfLabel = stage(SELF_LABEL);
    lab.run(&self_label, "unbroken", 2, None).0.unwrap();
    for stop_at in [1, 3, 5] {
        let (result, _) = lab.run(&self_label, "broken", 2, Some(stop_at));
        assert!(matches!(result, Err(StageError::Stopped)));
        lab.run(&self_label, "broken", 1, None).0.unwrap();
        assert_eq!(
            lab.digests(&self_label, "broken"),
            lab.digests(&self_label, "unbroken"),
            "stopped at {stop_at}"
        );
        std::fs::remove_dir_all(lab.path("broken")).unwrap();
    }
}

/// The guard of `REVISION`, as in `golden_runs.rs`: raise it where a digest moves, and record the new one.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_same_fields_give_the_same_bytes() {
    if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")) {
        return;
    }
    let (lab, _) = self_labelling_lab();
    let mut found = Vec::new();
    let mut record = |name: &str, result: Result<(), StageError>, digests: Vec<Digest>| {
        result.unwrap();
        let digests: Vec<_> = digests.iter().map(Digest::short).collect();
        found.push(format!("{name} {}", digests.join(" ")));
    };
    let (simclr, nnclr): (Pretrain, Pretrain) = (stage(SIMCLR), stage(NNCLR));
    record(
        &format!("SimCLR {}", Pretrain::REVISION),
        lab.run(&simclr, "simclr", 2, None).0,
        lab.digests(&simclr, "simclr"),
    );
    record(
        &format!("NNCLR {}", Pretrain::REVISION),
        lab.run(&nnclr, "nnclr", 2, None).0,
        lab.digests(&nnclr, "nnclr"),
    );
    let embed: Embed = stage("()");
    record(
        &format!("Embed {}", Embed::REVISION),
        lab.run(&embed, "embed", 2, None).0,
        lab.digests(&embed, "embed"),
    );
    let self_label: SelfLabel = stage(SELF_LABEL);
    record(
        &format!("SelfLabel {}", SelfLabel::REVISION),
        lab.run(&self_label, "labels", 2, None).0,
        lab.digests(&self_label, "labels"),
    );
    let recorded = [
        "SimCLR 2 dc3851824c9f bc544f26f110",
        "NNCLR 2 269db42d6067 62ba5fce0a42",
        "Embed 2 f6d599bbb1ea",
        "SelfLabel 2 b3f6fe703fc0 0102492db699 509f76995979",
    ];
    assert_eq!(
        found, recorded,
        "raise the REVISION of the kinds whose results changed, and record their lines"
    );
}
