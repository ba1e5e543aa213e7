//! Training as a whole: it learns, it goes on where it was stopped, and it gives the same bits whatever happens.

mod workbench;

use std::path::Path;

use ablate_data::{Column, Columns};
use ablate_data::{ImageSet, Images, Source, Stored};
use ablate_learn::artifacts::{Assignment, Embeddings};
use ablate_learn::cluster::Cluster;
use ablate_learn::embed::Embed;
use ablate_learn::graph_eval::GraphEval;
use ablate_learn::knn_graph::KnnGraph;
use ablate_learn::pretrain::Pretrain;
use ablate_learn::self_label::SelfLabel;
use ablate_stage::{Metrics, Progress, Split, Stage, StageError, Tensors};
use workbench::{Run, Workbench, golden};

/// A workbench with some images on it.
fn with_images(train: usize, test: usize) -> Workbench {
    let bench = Workbench::new();
    let part = Images { train: Some(train), test: Some(test), ..Images::new(Source::FashionMnistMini) };
    part.read(Path::new("/")).unwrap().write(&bench.path("images")).unwrap();
    bench
}

fn stage<S: Stage>(text: &str) -> S {
    // As pipelines are read.
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap()
}

const SIMCLR: &str =
    "(method: SimClr(temperature: 0.5, projector: (widths: [32, 16])), backbone: SmallCnn(width: 8),
    epochs: 3, batch: 32, optimiser: Sgd(lr: 0.1))";
const NNCLR: &str =
    "(method: NnClr(queue: 64, projector: (widths: [32, 16], norm: All), predictor: (widths: [32, 16])),
    backbone: SmallCnn(width: 8), epochs: 2, batch: 32, optimiser: Adam(lr: 0.001, weight_decay: 0.0001))";

/// A graph after the third epoch and the fifth, and five steps an epoch of 130 images, the last one of two.
const GCC: &str =
    "(method: Gcc(projector: (widths: [32, 16], norm: None), graph: (k: 3, start: 2, every: 2, history: 2)),
    backbone: SmallCnn(width: 8), epochs: 6, batch: 32, optimiser: Sgd(lr: 0.05),
    select: BestByLabel(every: 2))";

/// Stops a training at each of some steps, and compares what it ends in with an unbroken one; `steps` are those of each epoch.
fn check_stops(bench: &Workbench, name: &str, text: &str, steps: &[usize], stops: &[usize]) {
    let pretrain: Pretrain = stage(text);
    let told = bench.run(&pretrain, Run::into(name, 2)).done();
    assert_eq!(told.resumed, [] as [&str; 0]);
    let unbroken = bench.digests(&pretrain, name);
    let alone = format!("{name} in one thread");
    bench.run(&pretrain, Run::into(&alone, 1)).done();
    assert_eq!(bench.digests(&pretrain, &alone), unbroken, "{alone}");
    for &stop_at in stops {
        let broken = format!("{name} stopped at {stop_at}");
        let outcome = bench.run(&pretrain, Run { stop_at, ..Run::into(&broken, 1) });
        assert!(matches!(outcome.result, Err(StageError::Stopped)), "{broken}: {outcome:?}");
        let told = bench.run(&pretrain, Run::into(&broken, 2)).done();
        let (mut epoch, mut step) = (0, stop_at);
        while step >= steps[epoch] {
            step -= steps[epoch];
            epoch += 1;
        }
        assert_eq!(told.resumed, [format!("epoch {} of {}, step {}", epoch + 1, steps.len(), step + 1)]);
        assert_eq!(bench.digests(&pretrain, &broken), unbroken, "{broken}");
    }
}

#[test]
fn stopped_anywhere_and_resumed_it_gives_the_bits_of_an_unbroken_run() {
    let bench = with_images(130, 10);
    // After the first step, in the middle, at the end of an epoch, before the last.
    check_stops(&bench, "simclr", SIMCLR, &[4; 3], &[1, 3, 4, 7]);
    check_stops(&bench, "nnclr", NNCLR, &[4; 2], &[1, 3, 4, 7]);
    // While features are recorded, right after the first graph, amid the graph phase, right after the second.
    check_stops(&bench, "gcc", GCC, &[5; 6], &[13, 15, 18, 25]);
    let published = GCC.replace("Gcc(", "Gcc(form: AsPublished, partner: Itself, ");
    check_stops(&bench, "published", &published, &[5; 6], &[22]);
}

#[test]
fn unlabelled_images_are_left_out_after_their_epochs() {
    let bench = with_images(130, 10);
    let mut images = ImageSet::read(&bench.path("images"), Path::new("/")).unwrap();
    for row in 90..130 {
        (images.split[row], images.labels[row]) = (Split::Unlabelled, -1);
    }
    images.write(&bench.path("images")).unwrap();
    let text = GCC.replace("epochs: 6,", "epochs: 6, unlabelled_epochs: Some(3),");
    check_stops(&bench, "without", &text, &[5, 5, 5, 3, 3, 3], &[14, 15, 19]);
    let misplaced = text.replace("Gcc(", "Gcc(misplace_from: Some(60), ");
    bench.run(&stage::<Pretrain>(&misplaced), Run::into("misplaced", 2)).done();
    let progress = |out: &str| Columns::read(&bench.path(out).join("progress")).unwrap();
    let [kept, misplaced] = ["without", "misplaced"].map(progress);
    assert_eq!(kept.get("epoch"), Some(&Column::I64(vec![2, 2, 2, 4, 4, 4])));
    assert_ne!(kept.get("value"), misplaced.get("value"), "the first graph is of other features");
}

#[test]
fn gcc_writes_what_it_measured_and_clusters_by_its_head() {
    let bench = with_images(130, 10);
    bench.run(&stage::<Pretrain>(GCC), Run::into("gcc", 2)).done();
    let progress = Columns::read(&bench.path("gcc/progress")).unwrap();
    let Some(Column::Text(measures)) = progress.get("measure") else { panic!("{progress:?}") };
    assert_eq!(measures.concat(), "purity@1purity@3acc".repeat(2));
    let Some(Column::F64(values)) = progress.get("value") else { panic!("{progress:?}") };
    assert!(values.iter().all(|value| (0.1..=1.0).contains(value)), "{values:?}");
    let metrics = Metrics::read(&bench.path("gcc/metrics")).unwrap();
    assert_eq!(metrics.values()["oracle"], 1.0);
    assert_eq!(metrics.values()["acc"], values[2].max(values[5]));
    let first = values[2] >= values[5];
    assert_eq!(metrics.values()["epoch"], if first { 2.0 } else { 4.0 });

    let curve = Columns::read(&bench.path("gcc/curve")).unwrap();
    let column = |name: &str| match curve.get(name) {
        Some(Column::F64(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let [pretext, rgc, agc, entropy] = ["simclr_one_sided", "rgc", "agc", "cluster_entropy"].map(column);
    for (step, loss) in column("loss").into_iter().enumerate() {
        let (first, then) = (2.0 * pretext[step], 2.0 * rgc[step] + agc[step] + 2.0 * entropy[step]);
        let (counts, rests) = if step < 15 { (first, then) } else { (then, first) };
        assert!((counts - loss).abs() < 1e-4 && rests.is_nan(), "step {step}: {counts}, {rests} for {loss}");
    }

    bench.keep("gcc", "encoder");
    let stored = Tensors::read(&bench.path("encoder")).unwrap();
    for (name, shape) in [
        ("backbone.conv1.weight", &[8, 1, 3, 3][..]),
        ("projector.0.weight", &[32, 32]),
        ("projector.2.bias", &[16]),
        ("cluster_head.weight", &[10, 32]),
        ("cluster_head.bias", &[10]),
    ] {
        assert_eq!(stored.get(name).unwrap().shape(), shape, "{name}");
    }
    bench.run(&stage::<Cluster>("(method: Head(batch: 50))"), Run::into("clusters", 2)).done();
    let found = Assignment::read(&bench.path("clusters/assignment")).unwrap();
    assert_eq!((found.cluster.len(), found.num_clusters), (140, 10));
    for (row, &cluster) in found.probabilities.as_ref().unwrap().chunks_exact(10).zip(&found.cluster) {
        assert!(row.iter().all(|&p| p <= row[cluster as usize]));
    }
    // SelfLabel goes on from the head.
    bench.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), Run::into("labelled", 2)).done();
    assert_eq!(Assignment::read(&bench.path("labelled/assignment")).unwrap().cluster, found.cluster);
}

#[test]
fn what_a_method_cannot_work_with_is_named() {
    let check = |text: &str, expected: &[(&str, &str)]| {
        let errors = stage::<Pretrain>(text).validate();
        let errors: Vec<_> = errors.iter().map(|error| (&*error.path, &*error.message)).collect();
        assert_eq!(errors, expected, "{text}");
    };
    check("(method: Gcc())", &[]);
    check("(method: SimClr(temperature: 0.0))", &[("method.temperature", "must be above 0, is 0")]);
    check(
        "(method: NnClr(queue: 0, predictor: (widths: [3])))",
        &[
            ("method.queue", "must be 1 to 1048576, is 0"),
            (
                "method.predictor.widths",
                "must end in as many dimensions as the projector, to be compared with it",
            ),
        ],
    );
    check(
        "(method: Gcc(temperature: -1.0, pretext_epochs: Some(50), graph: (k: 0)))",
        &[
            ("method.graph.k", "must be 1 to 1024, is 0"),
            ("method.temperature", "must be above 0, is -1"),
            ("method.pretext_epochs", "must be at least 51, the first epoch with a graph, is 50"),
        ],
    );
    check(
        "(method: Custom(objectives: [(loss: Rgc(temperature: 0.1), weight: -1.0)]), select: BestByLabel())",
        &[
            ("method.objectives[0].weight", "must be at least 0, is -1"),
            ("method.objectives[0].loss", "needs a `graph`"),
            ("select", "needs a method that learns clusters, as `Gcc()`"),
        ],
    );
    let never = "`rgc` would begin in epoch 51, counted from 0, of 50";
    check("(method: Gcc(), epochs: 50)", &[("method.graph.start", never)]);
    let never = "`rgc` would begin in epoch 60, counted from 0, of 60";
    check("(method: Gcc(pretext_epochs: Some(60)), epochs: 60)", &[("method.pretext_epochs", never)]);
    check(
        "(method: Gcc(), select: BestByLabel(), watch: Some(every: 0))",
        &[
            ("watch.every", "must be at least 1, is 0"),
            ("watch", "goes with `Last`: to select by labels is to look at them"),
        ],
    );
}

#[test]
fn what_is_looked_at_on_the_way_is_a_figure_and_changes_nothing() {
    let (bench, _) = self_labelling_bench();
    let measures = |out: &str| {
        let progress = Columns::read(&bench.path(out).join("progress")).unwrap();
        let Some(Column::Text(measures)) = progress.get("measure") else { panic!("{progress:?}") };
        measures.concat()
    };
    let last = GCC.replace(" select: BestByLabel(every: 2)", "");
    bench.run(&stage::<Pretrain>(&last), Run::into("alone", 2)).done();
    let watched: Pretrain = stage(&last.replace("(lr: 0.05),", "(lr: 0.05), watch: Some(every: 4)"));
    bench.run(&watched, Run::into("watched", 2)).done();
    let encoder = |out: &str| bench.digests(&stage::<Pretrain>(&last), out)["encoder"];
    assert_eq!(encoder("watched"), encoder("alone"));
    assert_eq!(measures("alone"), "purity@1purity@3".repeat(2));
    assert_eq!(measures("watched"), "purity@1purity@3purity@1purity@3acc");

    let labelled: SelfLabel = stage(SELF_LABEL);
    let watched: SelfLabel = stage(&SELF_LABEL.replace("epochs: 3", "epochs: 3, watch: Some(every: 1)"));
    bench.run(&labelled, Run::into("labelled", 2)).done();
    bench.run(&watched, Run::into("looked at", 2)).done();
    let encoder = |out: &str| bench.digests(&labelled, out)["encoder"];
    assert_eq!(encoder("looked at"), encoder("labelled"));
    assert_eq!(measures("looked at"), "accacc");
    let metrics = Metrics::read(&bench.path("labelled/metrics")).unwrap();
    assert_eq!(metrics.values()["transductive"], 1.0, "the first clusters are of test images too");
    let curve = Columns::read(&bench.path("labelled/curve")).unwrap();
    let Some(Column::F64(shares)) = curve.get("confident") else { panic!("{curve:?}") };
    assert!(shares.iter().all(|share| (0.5..=1.0).contains(share)), "{shares:?}");
}

#[test]
fn another_seed_or_field_gives_another_encoder() {
    let bench = with_images(64, 10);
    let encoder = |text: &str, seed: u64| {
        let pretrain: Pretrain = stage(text);
        let out = format!("seed {seed} {}", text.len());
        bench.run(&pretrain, Run { seed, ..Run::into(&out, 2) }).done();
        bench.digests(&pretrain, &out)["encoder"]
    };
    let first = encoder(SIMCLR, 7);
    assert_ne!(encoder(SIMCLR, 8), first);
    assert_ne!(encoder(&SIMCLR.replace("0.5", "0.65"), 7), first);
}

/// The same images with the pixels of the test split inverted and every label moved on by one.
fn disguised(images: &ImageSet) -> ImageSet {
    let mut other = images.clone();
    let Stored::Pixels(pixels) = &mut other.images else { unreachable!("the images are pixels") };
    let size = pixels.image_len();
    for (pixels, split) in pixels.bytes.chunks_exact_mut(size).zip(&images.split) {
        if *split == Split::Test {
            pixels.iter_mut().for_each(|value| *value = 255 - *value);
        }
    }
    other.labels.iter_mut().for_each(|label| *label = (*label + 1) % 10);
    other
}

#[test]
fn training_sees_neither_test_images_nor_labels() {
    let (bench, images) = self_labelling_bench();
    let stages: (Pretrain, SelfLabel) = (stage(NNCLR), stage(SELF_LABEL));
    let encoders = |out: &str| {
        bench.run(&stages.0, Run::into(&format!("pretrained on {out}"), 2)).done();
        bench.run(&stages.1, Run::into(&format!("labelled from {out}"), 2)).done();
        let pretrained = bench.digests(&stages.0, &format!("pretrained on {out}"))["encoder"];
        (pretrained, bench.digests(&stages.1, &format!("labelled from {out}"))["encoder"])
    };
    let expected = encoders("all");
    disguised(&images).write(&bench.path("images")).unwrap();
    assert_eq!(encoders("disguised"), expected);
    // The disguise is not lost on what may look.
    let found = Assignment::read(&bench.path("labelled from disguised/assignment")).unwrap();
    let before = Assignment::read(&bench.path("labelled from all/assignment")).unwrap();
    assert_ne!(found.probabilities, before.probabilities);
}

#[test]
fn a_training_is_guessed_to_take_as_long_as_its_views_are_many() {
    let passes = |text: &str| stage::<Pretrain>(text).passes();
    assert_eq!(passes("(method: SimClr(), epochs: 20)"), 40.0);
    // Two views an image until there is a graph, then also three of those it lists and one drawn among them.
    assert_eq!(passes("(method: Gcc(graph: (start: 1)), epochs: 20)"), 2.0 * 2.0 + 18.0 * 6.0);
    assert_eq!(stage::<SelfLabel>("(epochs: 8)").passes(), 16.0);
}

#[test]
fn simclr_and_nnclr_learn_to_tell_256_images_apart() {
    let bench = with_images(256, 10);
    for (name, text) in [("simclr", SIMCLR), ("nnclr", NNCLR)] {
        let text = text.replace("epochs: 3", "epochs: 12").replace("epochs: 2", "epochs: 12");
        let told = bench.run(&stage::<Pretrain>(&text), Run::into(name, 2)).done();
        let mean = |told: &[Progress]| {
            told.iter().map(|told| told.values()["loss"]).sum::<f64>() / told.len() as f64
        };
        let (first, last) = (mean(&told.progress[..8]), mean(&told.progress[88..]));
        assert!(last < first - 0.25, "{name}: from {first} to {last}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_stage() {
    let bench = with_images(64, 10);
    let wild: Pretrain = stage(&SIMCLR.replace("Sgd(lr: 0.1)", "Sgd(lr: 1e38, weight_decay: 1e30)"));
    let outcome = bench.run(&wild, Run::into("wild", 2));
    let message = outcome.message();
    assert!(message.starts_with("the loss became ") && message.contains("in epoch 0, step"), "{message}");
    assert!(bench.path("wild/scratch/curve.parquet").is_file());
}

#[test]
fn embeddings_are_of_every_image_and_pixels_need_no_encoder() {
    let bench = with_images(40, 20);
    let images = ImageSet::read(&bench.path("images"), Path::new("/")).unwrap();
    bench
        .run(&stage::<Pretrain>("(method: Untrained, backbone: SmallCnn(width: 4))"), Run::into("out", 1))
        .done();
    bench.keep("out", "encoder");
    for (text, dim) in [("()", 16), ("(batch: 7)", 16), ("(layer: Pixels, normalise: true)", 784)] {
        let embed: Embed = stage(text);
        assert_eq!(embed.inputs().len(), if dim == 784 { 1 } else { 2 });
        bench.run(&embed, Run::into("out", 2)).done();
        let found = Embeddings::read(&bench.path("out/embeddings")).unwrap();
        assert_eq!((found.len(), found.dim, &found.labels), (60, dim, &images.labels));
        if dim == 784 {
            let length: f32 = found.row(3).iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
    }
    let outcome = bench.run(&stage::<Embed>("(layer: Projector)"), Run::into("out", 1));
    assert_eq!(outcome.message(), "input `encoder`: it has no projector; use `layer: Backbone`");
}

const SELF_LABEL: &str = "(threshold: 0.3, epochs: 3, batch: 64, optimiser: Adam(lr: 0.001), ema: Some(0.5))";

/// A workbench with an encoder, and the classes as the clusters to begin with.
fn self_labelling_bench() -> (Workbench, ImageSet) {
    let bench = with_images(200, 40);
    let images = ImageSet::read(&bench.path("images"), Path::new("/")).unwrap();
    let pretrain: Pretrain = stage(&SIMCLR.replace("epochs: 3", "epochs: 8"));
    bench.run(&pretrain, Run::into("pretrained", 2)).done();
    bench.keep("pretrained", "encoder");
    let clusters = Assignment {
        cluster: images.labels.clone(),
        num_clusters: 10,
        probabilities: None,
        labels: None,
        split: images.split.iter().map(|&split| split as u8).collect(),
    };
    clusters.write(&bench.path("assignment")).unwrap();
    (bench, images)
}

fn agreement(found: &Assignment, images: &ImageSet, split: Split) -> f64 {
    let rows = images.rows(split);
    let same = rows.iter().filter(|&&row| found.cluster[row as usize] == images.labels[row as usize]).count();
    same as f64 / rows.len() as f64
}

#[test]
fn self_labelling_begins_with_the_given_clusters_and_assigns_every_image() {
    let (bench, images) = self_labelling_bench();
    bench.run(&stage::<SelfLabel>(SELF_LABEL), Run::into("out", 2)).done();
    let found = Assignment::read(&bench.path("out/assignment")).unwrap();
    let (train, test) = (agreement(&found, &images, Split::Train), agreement(&found, &images, Split::Test));
    assert!(train > 0.6 && test > 0.4, "agreement with the initial clusters: train {train}, test {test}");
    for (row, &cluster) in found.probabilities.as_ref().unwrap().chunks_exact(10).zip(&found.cluster) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(row.iter().all(|&p| p <= row[cluster as usize]));
    }
    // Its encoder has a cluster head, and is taken up where it stands.
    bench.keep("out", "encoder");
    std::fs::remove_file(bench.path("assignment")).unwrap();
    bench.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), Run::into("again", 2)).done();
    assert_eq!(Assignment::read(&bench.path("again/assignment")).unwrap().cluster, found.cluster);
    // A wired assignment counts for more than that head.
    let swapped = Assignment {
        cluster: images.labels.iter().map(|&label| 9 - label).collect(),
        num_clusters: 10,
        probabilities: None,
        labels: None,
        split: found.split,
    };
    swapped.write(&bench.path("assignment")).unwrap();
    bench.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), Run::into("swapped", 2)).done();
    let turned = Assignment::read(&bench.path("swapped/assignment")).unwrap();
    assert!(agreement(&turned, &ImageSet { labels: swapped.cluster, ..images }, Split::Train) > 0.6);
}

#[test]
fn self_labelling_without_confidence_changes_no_parameter() {
    let (bench, _) = self_labelling_bench();
    bench.run(&stage::<SelfLabel>("(threshold: 0.3, epochs: 0)"), Run::into("fitted", 1)).done();
    let unsure: SelfLabel = stage("(threshold: 0.9999999, epochs: 1, batch: 100)");
    let told = bench.run(&unsure, Run::into("out", 1)).done();
    assert_eq!(told.progress.len(), 2);
    let encoders = ["fitted", "out"].map(|out| Tensors::read(&bench.path(out).join("encoder")).unwrap());
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
    let (bench, _) = self_labelling_bench();
    std::fs::remove_file(bench.path("assignment")).unwrap();
    let outcome = bench.run(&stage::<SelfLabel>(SELF_LABEL), Run::into("out", 1));
    assert_eq!(
        outcome.message(),
        "input `encoder`: it has no cluster head; wire the clusters to begin with to `assignment`"
    );
}

#[test]
fn self_labelling_stopped_and_resumed_gives_the_bits_of_an_unbroken_run() {
    let (bench, _) = self_labelling_bench();
    let self_label: SelfLabel = stage(SELF_LABEL);
    bench.run(&self_label, Run::into("unbroken", 2)).done();
    for stop_at in [1, 3, 5] {
        let outcome = bench.run(&self_label, Run { stop_at, ..Run::into("broken", 2) });
        assert!(matches!(outcome.result, Err(StageError::Stopped)));
        bench.run(&self_label, Run::into("broken", 1)).done();
        assert_eq!(
            bench.digests(&self_label, "broken"),
            bench.digests(&self_label, "unbroken"),
            "stopped at {stop_at}"
        );
        std::fs::remove_dir_all(bench.path("broken")).unwrap();
    }
}

/// The guard of `REVISION`, as in `golden_runs.rs`: raise it where a digest moves, and record the new one.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_same_fields_give_the_same_bytes() {
    if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")) {
        return;
    }
    let (bench, _) = self_labelling_bench();
    fn line<S: Stage>(bench: &Workbench, text: &str, out: &str) -> String {
        let stage: S = stage(text);
        bench.run(&stage, Run::into(out, 2)).done();
        golden(bench, &stage, out)
    }
    let found = [
        line::<Pretrain>(&bench, SIMCLR, "simclr"),
        line::<Pretrain>(&bench, NNCLR, "nnclr"),
        line::<Pretrain>(&bench, GCC, "gcc"),
        line::<Embed>(&bench, "()", "embed"),
        line::<SelfLabel>(&bench, SELF_LABEL, "labels"),
        {
            bench.keep("embed", "embeddings");
            bench.run(&KnnGraph::new(4), Run::into("joined", 2)).done();
            bench.keep("joined", "graph");
            line::<GraphEval>(&bench, "(k: [1, 4])", "purity")
        },
        {
            bench.keep("gcc", "encoder");
            line::<Cluster>(&bench, "(method: Head())", "head")
        },
    ];
    let recorded = [
        "Pretrain 4 curve bc544f26f110 encoder a4e56063194a",
        "Pretrain 4 curve 62ba5fce0a42 encoder af5898bdff6c",
        "Pretrain 4 curve 057c76c1bdcd encoder 5f544e8405e7 metrics a3c664503d52 progress 0f80ced8b198",
        "Embed 2 embeddings f6d599bbb1ea",
        "SelfLabel 4 assignment 0102492db699 curve 1344e82f76bf encoder 684add1d2f2f metrics 8a6e32d3e577",
        "GraphEval 3 curve 9fffeaa2c933 metrics 1cba9d06359f mixing 18210e2a473e",
        "Cluster 3 assignment 6779a0c92f22",
    ];
    assert_eq!(
        found, recorded,
        "raise the REVISION of the kinds whose results changed, and record their lines"
    );
}
