//! Pipelines to graphs: which instances there are, and what reaches them.

mod fakes;

use std::collections::BTreeMap;
use std::fmt::Write;

use ablate::expand::expand;
use ablate::graph::Graph;
use ablate::pipeline;
use ablate::source::SourceMap;

/// The sample of the documentation, with `axes` and `rest` after its stages.
fn sample(rest: &str) -> String {
    format!(
        r#"Pipeline(
    name: "knn-ablation",
    stages: {{
        "images":   (stage: Images(source: FashionMnistMini)),
        "encoder":  (stage: Pretrain(method: SimClr(temperature: 0.2), epochs: 20), from: {{"images": "images"}}),
        "features": (stage: Embed(), from: {{"encoder": "encoder", "images": "images"}}),
        "graph":    (stage: KnnGraph(k: 10), from: {{"embeddings": "features"}}),
        "refined":  (stage: GnnRefine(layers: 2), from: {{"embeddings": "features", "graph": "graph"}}),
        "probe":    (stage: LinearEval(), from: {{"embeddings": "refined", "images": "images"}}),
    }},
    {rest}
)"#
    )
}

fn graph(text: &str) -> Graph {
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text);
    let graph = pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &fakes::registry()));
    graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)))
}

/// Names of all instances with their inputs, one a line.
fn listing(graph: &Graph) -> String {
    let mut text = String::new();
    for id in graph.ids() {
        let wires = graph.instance(id).inputs.iter().map(|(port, wire)| {
            assert!(wire.from < id, "sources come before consumers");
            format!("{port}: {}.{}", graph.instance_name(wire.from), wire.output)
        });
        let wires = wires.collect::<Vec<_>>().join(", ");
        let arrow = if wires.is_empty() { "" } else { " <- " };
        writeln!(text, "{}{arrow}{wires}", graph.instance_name(id)).unwrap();
    }
    text
}

/// How many instances each stage has.
fn counts(graph: &Graph) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for instance in &graph.instances {
        *counts.entry(&*instance.stage).or_default() += 1;
    }
    counts
}

#[test]
fn the_sample_has_each_instance_once() {
    let graph = graph(&sample(
        r#"axes: {
            "graph.k": [5, 10, 20],
            "encoder.method": {"SimCLR": SimClr(temperature: 0.2), "NNCLR": NnClr(queue: 4096)},
            "probe.from.embeddings": {"raw": "features", "refined": "refined"},
        },
        seeds: [0, 1, 2],
        tables: {"table-2": (rows: ["encoder.method", "probe.from.embeddings"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},"#,
    ));
    let expected = [
        ("images", 1),
        ("encoder", 2 * 3),
        ("features", 2 * 3),
        ("graph", 3 * 2 * 3),
        ("refined", 3 * 2 * 3),
        // Raw features know nothing of k.
        ("probe", 2 * 3 + 3 * 2 * 3),
    ];
    assert_eq!(counts(&graph), BTreeMap::from(expected));
    assert_eq!(graph.trials.len(), 3 * 2 * 2 * 3);
    assert!(graph.trials.iter().all(|trial| trial.instances.len() == 6));
    let names: Vec<String> = graph.ids().map(|id| graph.instance_name(id)).collect();
    assert!(names.contains(&"probe[method=SimCLR,embeddings=raw,seed=2]".to_owned()), "{names:#?}");
    assert!(names.contains(&"probe[k=5,method=NNCLR,embeddings=refined,seed=0]".to_owned()), "{names:#?}");
    let table = &graph.tables[0];
    assert_eq!((table.rows.len(), table.columns.len(), table.cells[0].0.as_str()), (2, 1, "accuracy"));
}

#[test]
fn an_axis_reaches_a_stage_and_what_follows_from_it() {
    insta::assert_snapshot!(listing(&graph(&sample(r#"axes: {"refined.layers": [1, 2]},"#))), @r"
    images
    encoder[seed=0] <- images: images.images
    features[seed=0] <- encoder: encoder[seed=0].encoder, images: images.images
    graph[seed=0] <- embeddings: features[seed=0].embeddings
    refined[layers=1,seed=0] <- embeddings: features[seed=0].embeddings, graph: graph[seed=0].graph
    refined[layers=2,seed=0] <- embeddings: features[seed=0].embeddings, graph: graph[seed=0].graph
    probe[layers=1,seed=0] <- embeddings: refined[layers=1,seed=0].embeddings, images: images.images
    probe[layers=2,seed=0] <- embeddings: refined[layers=2,seed=0].embeddings, images: images.images
    ");
}

#[test]
fn a_wire_axis_carries_the_axes_of_what_it_is_plugged_into() {
    let text = sample(
        r#"axes: {"probe.from.embeddings": {"raw": "features", "refined": "refined"}, "graph.k": [5, 10]},
        seeds: "3..5","#,
    );
    insta::assert_snapshot!(listing(&graph(&text)), @r"
    images
    encoder[seed=3] <- images: images.images
    encoder[seed=4] <- images: images.images
    features[seed=3] <- encoder: encoder[seed=3].encoder, images: images.images
    features[seed=4] <- encoder: encoder[seed=4].encoder, images: images.images
    graph[k=5,seed=3] <- embeddings: features[seed=3].embeddings
    graph[k=5,seed=4] <- embeddings: features[seed=4].embeddings
    graph[k=10,seed=3] <- embeddings: features[seed=3].embeddings
    graph[k=10,seed=4] <- embeddings: features[seed=4].embeddings
    probe[embeddings=raw,seed=3] <- embeddings: features[seed=3].embeddings, images: images.images
    probe[embeddings=raw,seed=4] <- embeddings: features[seed=4].embeddings, images: images.images
    refined[k=5,seed=3] <- embeddings: features[seed=3].embeddings, graph: graph[k=5,seed=3].graph
    refined[k=5,seed=4] <- embeddings: features[seed=4].embeddings, graph: graph[k=5,seed=4].graph
    refined[k=10,seed=3] <- embeddings: features[seed=3].embeddings, graph: graph[k=10,seed=3].graph
    refined[k=10,seed=4] <- embeddings: features[seed=4].embeddings, graph: graph[k=10,seed=4].graph
    probe[embeddings=refined,k=5,seed=3] <- embeddings: refined[k=5,seed=3].embeddings, images: images.images
    probe[embeddings=refined,k=5,seed=4] <- embeddings: refined[k=5,seed=4].embeddings, images: images.images
    probe[embeddings=refined,k=10,seed=3] <- embeddings: refined[k=10,seed=3].embeddings, images: images.images
    probe[embeddings=refined,k=10,seed=4] <- embeddings: refined[k=10,seed=4].embeddings, images: images.images
    ");
}

#[test]
fn seeds_reach_only_what_follows_from_a_seeded_stage() {
    let text = r#"(
        name: "s",
        stages: {
            "images": (stage: Images(source: Folder(path: "a"))),
            "a": (stage: Pretrain(), from: {"images": "images"}),
            "b": (stage: Embed, from: {"images": "images", "encoder": "a"}),
        },
        seeds: [7, 8],
    )"#;
    insta::assert_snapshot!(listing(&graph(text)), @r"
    images
    a[seed=7] <- images: images.images
    a[seed=8] <- images: images.images
    b[seed=7] <- encoder: a[seed=7].encoder, images: images.images
    b[seed=8] <- encoder: a[seed=8].encoder, images: images.images
    ");
}

#[test]
fn one_axis_can_set_several_places_whole_stages_and_inputs_left_open() {
    let text = sample(
        r#"axes: {
            "space": (paths: ["refined.from.embeddings", "graph.from.embeddings"], values: ["features", "halves.second"]),
            "refined": [GnnRefine(layers: 3)],
            "refined.from.graph": {"with": "graph", "without": None},
        },"#,
    )
    .replace(r#""graph":    ("#, r#""halves": (stage: Split(), from: {"embeddings": "features"}), "graph": ("#);
    insta::assert_snapshot!(listing(&graph(&text)), @r"
    images
    encoder[seed=0] <- images: images.images
    features[seed=0] <- encoder: encoder[seed=0].encoder, images: images.images
    halves[seed=0] <- embeddings: features[seed=0].embeddings
    graph[space=features,seed=0] <- embeddings: features[seed=0].embeddings
    refined[space=features,refined=GnnRefine(layers: 3),graph=without,seed=0] <- embeddings: features[seed=0].embeddings
    graph[space=halves.second,seed=0] <- embeddings: halves[seed=0].second
    refined[space=features,refined=GnnRefine(layers: 3),graph=with,seed=0] <- embeddings: features[seed=0].embeddings, graph: graph[space=features,seed=0].graph
    refined[space=halves.second,refined=GnnRefine(layers: 3),graph=without,seed=0] <- embeddings: halves[seed=0].second
    probe[space=features,refined=GnnRefine(layers: 3),graph=without,seed=0] <- embeddings: refined[space=features,refined=GnnRefine(layers: 3),graph=without,seed=0].embeddings, images: images.images
    refined[space=halves.second,refined=GnnRefine(layers: 3),graph=with,seed=0] <- embeddings: halves[seed=0].second, graph: graph[space=halves.second,seed=0].graph
    probe[space=features,refined=GnnRefine(layers: 3),graph=with,seed=0] <- embeddings: refined[space=features,refined=GnnRefine(layers: 3),graph=with,seed=0].embeddings, images: images.images
    probe[space=halves.second,refined=GnnRefine(layers: 3),graph=without,seed=0] <- embeddings: refined[space=halves.second,refined=GnnRefine(layers: 3),graph=without,seed=0].embeddings, images: images.images
    probe[space=halves.second,refined=GnnRefine(layers: 3),graph=with,seed=0] <- embeddings: refined[space=halves.second,refined=GnnRefine(layers: 3),graph=with,seed=0].embeddings, images: images.images
    ");
}

#[test]
fn a_path_reaches_into_variants_and_defaults() {
    let graph = graph(&sample(
        r#"axes: {
            "encoder.method.temperature": [0.1, 1],
            "encoder.optimizer.lr": [1e-3],
            "encoder.decay": [None, [0.5], Some([0.25])],
        },"#,
    ));
    let encoders = graph.instances.iter().filter(|instance| &*instance.stage == "encoder");
    let texts: Vec<String> =
        encoders.map(|it| it.params.canonical().replace('\n', "").replace("    ", "")).collect();
    insta::assert_debug_snapshot!(texts, @r#"
    [
        "Pretrain(method: SimClr(temperature: 0.1,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: None,)",
        "Pretrain(method: SimClr(temperature: 0.1,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: Some([0.5,]),)",
        "Pretrain(method: SimClr(temperature: 0.1,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: Some([0.25,]),)",
        "Pretrain(method: SimClr(temperature: 1.0,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: None,)",
        "Pretrain(method: SimClr(temperature: 1.0,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: Some([0.5,]),)",
        "Pretrain(method: SimClr(temperature: 1.0,),epochs: 20,optimizer: Optimizer(lr: 0.001,momentum: 0.9,),decay: Some([0.25,]),)",
    ]
    "#);
}

#[test]
fn a_path_reaches_into_a_stage_without_fields() {
    let text = sample(r#"axes: {"encoder.optimizer.lr": [0.25]},"#)
        .replace("Pretrain(method: SimClr(temperature: 0.2), epochs: 20)", "Pretrain()");
    let encoder = graph(&text).instances.into_iter().find(|instance| &*instance.stage == "encoder").unwrap();
    assert!(encoder.params.canonical().contains("lr: 0.25"), "{}", encoder.params.canonical());
}

#[test]
fn equal_parameters_are_decoded_once() {
    let graph = graph(&sample(r#"axes: {"encoder.epochs": [1, 2]}, seeds: "0..100","#));
    let probes: Vec<_> = graph.instances.iter().filter(|instance| &*instance.stage == "probe").collect();
    assert_eq!(probes.len(), 200);
    assert!(probes.iter().all(|probe| std::sync::Arc::ptr_eq(&probe.params, &probes[0].params)));
}
