//! Tables: what is averaged, what is not, and how it looks.
#![cfg(feature = "tables")]

mod fakes;

use std::collections::BTreeMap;

use ablate::expand::expand;
use ablate::graph::{Graph, InstanceId};
use ablate::pipeline;
use ablate::rows::{Outcome, all_metrics, gather};
use ablate::source::SourceMap;
use ablate::table;
use ablate_stage::cache::{ActionResult, Provenance};

fn graph(rest: &str) -> Graph {
    let text = format!(
        r#"Pipeline(
    name: "t",
    stages: {{
        "images":   (stage: Images(source: FashionMnistMini)),
        "encoder":  (stage: Pretrain(), from: {{"images": "images"}}),
        "features": (stage: Embed(), from: {{"encoder": "encoder", "images": "images"}}),
        "graph":    (stage: KnnGraph(k: 10), from: {{"embeddings": "features"}}),
        "refined":  (stage: GnnRefine(layers: 2), from: {{"embeddings": "features", "graph": "graph"}}),
        "probe":    (stage: LinearEval(), from: {{"embeddings": "refined", "images": "images"}}),
    }},
    axes: {{
        "graph.k": [5, 10],
        "features": (paths: ["probe.from.embeddings"], values: {{"raw|x": "features", "refined": "refined"}}),
    }},
    {rest}
)"#
    );
    let mut sources = SourceMap::new();
    let source = sources.add("t.ron", text.as_str());
    let graph = pipeline::parse(source, &text).and_then(|pipeline| expand(&pipeline, &fakes::registry()));
    graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)))
}

/// Results of every probe: 0.5 for raw features, 0.6 and 0.7 for refined ones at k = 5 and 10, and 0.02 more each seed.
fn results(graph: &Graph) -> BTreeMap<InstanceId, ActionResult> {
    let probes = graph.ids().filter(|&id| &*graph.instance(id).stage == "probe");
    probes
        .map(|id| {
            let name = graph.instance_name(id);
            let base = if name.contains("raw") {
                0.5
            } else if name.contains("k=5") {
                0.6
            } else {
                0.7
            };
            let accuracy = base + 0.02 * graph.instance(id).seed.expect("the encoder is seeded") as f64;
            let metrics = BTreeMap::from([("accuracy".to_owned(), accuracy)]);
            (id, ActionResult { outputs: BTreeMap::new(), metrics, provenance: Provenance::default() })
        })
        .collect()
}

fn terminal(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'static>) -> String {
    table::build(graph, &graph.tables[0], outcome).unwrap().to_terminal()
}

/// Results that live as long as the test program.
fn leaked(graph: &Graph) -> &'static BTreeMap<InstanceId, ActionResult> {
    Box::leak(Box::new(results(graph)))
}

const ROWS_AND_COLUMNS: &str = r#"seeds: [0, 1],
    tables: {"t": (rows: ["features"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},"#;

#[test]
fn only_seeds_are_averaged_and_a_shared_result_counts_once() {
    let graph = graph(ROWS_AND_COLUMNS);
    let results = leaked(&graph);
    insta::assert_snapshot!(terminal(&graph, |id| results.get(&id).map_or(Outcome::Missing, Outcome::Done)));
}

#[test]
fn an_axis_the_table_leaves_out_becomes_a_row_axis() {
    let graph = graph(
        r#"tables: {"t": (rows: ["features"], cells: {"linear": Mean("probe.accuracy"), "again": Median("probe.accuracy")})},"#,
    );
    let results = leaked(&graph);
    insta::assert_snapshot!(terminal(&graph, |id| results.get(&id).map_or(Outcome::Missing, Outcome::Done)));
}

#[test]
fn missing_and_failed_cells_say_so() {
    let graph = graph(ROWS_AND_COLUMNS);
    let results = leaked(&graph);
    let shown = terminal(&graph, |id| {
        let name = graph.instance_name(id);
        match results.get(&id) {
            Some(_) if name.contains("k=10") => Outcome::Failed,
            Some(_) if name.contains("raw") && name.contains("seed=1") => Outcome::Missing,
            Some(_) if name.contains("k=5") => Outcome::Missing,
            Some(result) => Outcome::Done(result),
            None => Outcome::Missing,
        }
    });
    insta::assert_snapshot!(shown);
}

#[test]
fn markdown_and_csv_hold_the_same_table() {
    let graph = graph(ROWS_AND_COLUMNS);
    let results = leaked(&graph);
    let table =
        table::build(&graph, &graph.tables[0], |id| results.get(&id).map_or(Outcome::Missing, Outcome::Done))
            .unwrap();
    insta::assert_snapshot!(table.to_markdown());
    insta::assert_snapshot!(table.to_csv().unwrap());
}

#[test]
fn the_frame_of_trials_has_full_precision_and_says_what_is_missing() {
    let graph = graph("seeds: [0, 1],");
    let results = leaked(&graph);
    let outcome = |id| match results.get(&id) {
        Some(_) if graph.instance_name(id).contains("k=10") => Outcome::Missing,
        Some(result) => Outcome::Done(result),
        None => Outcome::Missing,
    };
    let rows = gather(&graph, &all_metrics(&graph, outcome), outcome);
    let mut csv = Vec::new();
    table::write_csv(&mut table::frame(&graph, &rows).unwrap(), &mut csv).unwrap();
    insta::assert_snapshot!(String::from_utf8(csv).unwrap());
}
