//! Tables: what is averaged, what is not, and how it looks.
#![cfg(feature = "tables")]

mod fakes;

use std::collections::BTreeMap;

use ablate::expand::expand;
use ablate::graph::{Graph, InstanceId};
use ablate::pipeline;
use ablate::rows::{Outcome, all_metrics};
use ablate::source::SourceMap;
use ablate::table::{self, Filter, Look, Published, Rank, Table, Trials};
use ablate_stage::cache::{ActionDigest, ActionResult, Provenance};
use litemap::LiteMap;

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
            let metrics = LiteMap::from_iter([("accuracy".to_owned(), accuracy)]);
            (id, ActionResult { outputs: LiteMap::new(), metrics, provenance: Provenance::default() })
        })
        .collect()
}

fn build(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'static>) -> Table {
    let spec = &graph.tables[0];
    table::build(&Trials::gather(graph, &spec.metrics(), outcome).unwrap(), spec, &[]).unwrap()
}

fn terminal(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'static>) -> String {
    build(graph, outcome).to_terminal(Look::default())
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
    insta::assert_snapshot!(terminal(&graph, done(results)));
}

#[test]
fn an_axis_the_table_leaves_out_becomes_a_row_axis() {
    let graph = graph(
        r#"tables: {"t": (rows: ["features"], cells: {"linear": Mean("probe.accuracy"), "again": Median("probe.accuracy")})},"#,
    );
    let results = leaked(&graph);
    insta::assert_snapshot!(terminal(&graph, done(results)));
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
            Some(result) => Outcome::Done(key(id), result),
            None => Outcome::Missing,
        }
    });
    insta::assert_snapshot!(shown);
}

/// What may still come is said first; what will not is counted.
#[test]
fn a_cell_says_why_each_value_is_not_there() {
    let graph = graph(
        r#"seeds: [0, 1, 2], tables: {"t": (rows: ["features"], columns: ["graph.k"], cell: Mean("probe.accuracy"))},"#,
    );
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let silent: &ActionResult = Box::leak(Box::new(ActionResult {
        outputs: LiteMap::new(),
        metrics: LiteMap::new(),
        provenance: Provenance::default(),
    }));
    let shown = |states: [&str; 3]| {
        let outcome = |id: InstanceId| {
            let instance = graph.instance(id);
            let state =
                instance.seed.filter(|_| &*instance.stage == "probe").map(|seed| states[seed as usize]);
            match state {
                Some("failed") => Outcome::Failed,
                Some("running") => Outcome::Running,
                Some("missing") => Outcome::Missing,
                Some("silent") => Outcome::Done(key(id), silent),
                _ => Outcome::Done(key(id), &results[&id]),
            }
        };
        let trials = Trials::gather(&graph, &graph.tables[0].metrics(), outcome).unwrap();
        table::build(&trials, &graph.tables[0], &[]).unwrap().rows[0].cells[0].text.clone()
    };
    assert_eq!(shown(["failed", "running", "missing"]), "running (1 failed)");
    assert_eq!(shown(["failed", "missing", "missing"]), "missing (1 failed)");
    assert_eq!(shown(["failed", "failed", "failed"]), "failed");
    assert_eq!(shown(["silent", "silent", "failed"]), "failed (2 not reported)");
    assert_eq!(shown(["silent", "silent", "silent"]), "not reported");
    assert_eq!(shown(["done", "silent", "failed"]), "0.800 (1 of 3, 1 failed, 1 not reported)");
    assert_eq!(shown(["done", "missing", "running"]), "0.800 (1 of 3, 1 running)");
}

#[test]
fn markdown_and_csv_hold_the_same_table() {
    let graph = graph(ROWS_AND_COLUMNS);
    let results = leaked(&graph);
    let table = build(&graph, done(results));
    insta::assert_snapshot!(table.to_markdown());
    insta::assert_snapshot!(String::from_utf8(table.to_csv().unwrap()).unwrap());
}

#[test]
fn the_frame_of_trials_has_full_precision_and_says_what_is_missing() {
    let graph = graph("seeds: [0, 1],");
    let results = leaked(&graph);
    let outcome = |id| match results.get(&id) {
        Some(_) if graph.instance_name(id).contains("k=10") => Outcome::Missing,
        Some(result) => Outcome::Done(key(id), result),
        None => Outcome::Missing,
    };
    let action = |id: InstanceId| results.get(&id).map(|_| ActionDigest::of_manifest("key"));
    let trials = Trials::detail(&graph, &all_metrics(&graph, outcome), outcome, action).unwrap();
    let mut csv = Vec::new();
    table::write_csv(&trials.frame, &mut csv).unwrap();
    insta::assert_snapshot!(String::from_utf8(csv).unwrap());
}

/// Results of every instance: probes report what `accuracy` says, and everything else ran on the device `device` says.
fn told(
    graph: &Graph,
    accuracy: impl Fn(&str, u64) -> f64,
    device: impl Fn(&str) -> &'static str,
    metrics: impl Fn(&str) -> Vec<(&'static str, f64)>,
) -> &'static BTreeMap<InstanceId, ActionResult> {
    let result = |id: InstanceId| {
        let (name, instance) = (graph.instance_name(id), graph.instance(id));
        let mut values: LiteMap<String, f64> =
            metrics(&name).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if &*instance.stage == "probe" {
            values.insert("accuracy".to_owned(), accuracy(&name, instance.seed.unwrap()));
        }
        let provenance = Provenance { device: device(&name).to_owned(), ..Provenance::default() };
        (id, ActionResult { outputs: LiteMap::new(), metrics: values, provenance })
    };
    Box::leak(Box::new(graph.ids().map(result).collect()))
}

fn done(results: &'static BTreeMap<InstanceId, ActionResult>) -> impl Fn(InstanceId) -> Outcome<'static> {
    |id| results.get(&id).map_or(Outcome::Missing, |result| Outcome::Done(key(id), result))
}

/// Each instance has a result of its own.
fn key(id: InstanceId) -> ActionDigest {
    ActionDigest::of_manifest(&id.0.to_string())
}

const COMPARED: &str = r#"seeds: [0, 1, 2, 3],
    tables: {"t": (
        rows: ["features"], columns: ["graph.k"], baseline: {"features": "raw|x"},
        cell: MeanStd("probe.accuracy", Percent, Digits(2)),
    )},"#;

/// Refined features are better by 0.03 and 0.05, give or take; raw ones do not depend on k.
fn improved(name: &str, seed: u64) -> f64 {
    let noise = [0.0, 0.004, -0.003, 0.001][seed as usize];
    let better = match (name.contains("refined"), name.contains("k=10")) {
        (true, true) => 0.05 + [0.0005, -0.0005, 0.0, 0.001][seed as usize],
        (true, false) => 0.001 * seed as f64,
        (false, _) => 0.0,
    };
    0.8 + noise + better
}

#[test]
fn cells_are_compared_with_a_baseline_seed_by_seed() {
    let graph = graph(COMPARED);
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let table = build(&graph, done(results));
    insta::assert_snapshot!(table.to_markdown());
    let numbers = &table.rows[1].cells[1].numbers;
    // SciPy: `scipy.stats.ttest_1samp([0.0505, 0.0495, 0.05, 0.051], 0).pvalue`, twice that by Holm.
    let p = 5.84239887942415e-7;
    assert!((numbers.difference.unwrap() - 0.05025).abs() < 1e-12);
    assert!((numbers.p.unwrap() / p - 1.0).abs() < 1e-9, "{:?}", numbers.p);
    assert!((numbers.p_holm.unwrap() / (2.0 * p) - 1.0).abs() < 1e-9, "{:?}", numbers.p_holm);
}

#[test]
fn a_missing_baseline_compares_nothing() {
    let graph = graph(COMPARED);
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let shown = terminal(&graph, |id| match graph.instance_name(id).contains("raw") {
        true => Outcome::Running,
        false => Outcome::Done(key(id), &results[&id]),
    });
    insta::assert_snapshot!(shown);
}

#[test]
fn every_statistic_is_shown_in_its_own_way() {
    let graph = graph(
        r#"seeds: [0, 1, 2],
    tables: {"t": (rows: ["features"], cells: {
        "a": MeanStd("probe.accuracy"), "b": MeanCi("probe.accuracy"), "c": Mean("probe.accuracy", Percent),
        "d": Median("probe.accuracy", Digits(1)), "e": Best("probe.accuracy"), "f": Best("probe.accuracy", Lower),
        "g": Count("probe.accuracy"), "h": Mean("probe.none"),
    })},"#,
    );
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    insta::assert_snapshot!(terminal(&graph, done(results)));
}

#[test]
fn devices_labels_and_held_out_samples_are_marked() {
    let graph = graph(ROWS_AND_COLUMNS);
    let device = |name: &str| match name {
        "encoder[seed=1]" => "cuda:3",
        _ => "cpu",
    };
    let metrics = |name: &str| match name {
        name if name.starts_with("refined[k=10") => vec![("transductive", 1.0), ("oracle", 0.0)],
        name if name.starts_with("probe[k=5,features=refined") => vec![("oracle", 1.0)],
        _ => Vec::new(),
    };
    let results = told(&graph, improved, device, metrics);
    insta::assert_snapshot!(terminal(&graph, done(results)));
}

#[test]
fn published_values_stand_beside_ours_or_in_rows_of_their_own() {
    let csv = "features,graph.k,value,std,source\nrefined,10,84.10,0.3,\"Doe, 2024\"\nDoeNet,5,91.2,,\"Doe, 2024\"\n";
    for placing in ["Beside", "Rows"] {
        let graph = graph(&COMPARED.replace("baseline:", &format!("published: {placing}, baseline:")));
        let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
        let spec = &graph.tables[0];
        let published = Published::read(csv, spec, &graph.axes).unwrap();
        let trials = Trials::gather(&graph, &spec.metrics(), done(results)).unwrap();
        let table = table::build(&trials, spec, &published).unwrap();
        insta::assert_snapshot!(placing, table.to_markdown());
    }
}

#[test]
fn best_and_second_are_those_of_a_column_or_of_each_value_of_an_axis_in_it() {
    for (within, expected) in [("", ["-", "second", "best"]), ("within: [\"features\"],", ["-", "-", "best"])]
    {
        let graph = graph(&format!(
            "tables: {{\"t\": (rows: [\"features\", \"graph.k\"], {within} cell: MeanStd(\"probe.accuracy\"))}},"
        ));
        let results = leaked(&graph);
        let table = build(&graph, done(results));
        let labels =
            table.rows.iter().map(|row| row.labels.iter().flatten().cloned().collect::<Vec<_>>().join(" "));
        assert_eq!(labels.collect::<Vec<_>>(), ["raw|x", "refined 5", "refined 10"]);
        let ranks = table.rows.iter().map(|row| match row.cells[0].rank {
            Rank::Best => "best",
            Rank::Second => "second",
            Rank::Other => "-",
        });
        assert_eq!(ranks.collect::<Vec<_>>(), expected, "{within}");
    }
}

#[test]
fn what_is_wrong_with_published_values_is_told() {
    let graph = graph(COMPARED);
    let check = |csv: &str, expected: &str| {
        assert_eq!(Published::read(csv, &graph.tables[0], &graph.axes).unwrap_err(), expected);
    };
    check("features,graph.k\nraw|x,5\n", "it has no column `value`");
    check(
        "feature,value\nraw|x,5\n",
        "column `feature` is no axis of the table (`features`, `graph.k`) and none of `cell`, `value`, `std`, `source`, `oracle`",
    );
    check("features,value\nraw|x,?\n", "row 1: `?` is no number");
    check("features,value,oracle\nraw|x,1,maybe\n", "row 1: its `oracle` must be `yes` or `no`, is `maybe`");
    check("features,value\nraw|x,1\nraw|x,\n", "row 2: it has no value");
    check("features,cell,value\nraw|x,acc,1\n", "row 1: its `cell` must be one of `accuracy`");
    check("graph.k,value\n5,1\n7,1\n", "row 2: `7` is no column of the table; `graph.k` is one of `5`, `10`");
    check(
        "features,graph.k,value,source\nraw|x,5,1,A\nraw|x,10,1,A\nraw|x,5,2,B\n",
        "row 3: it is for the same labels and cell as row 1",
    );
}

#[test]
fn trials_are_chosen_by_labels_seeds_and_metrics() {
    let graph = graph(COMPARED);
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let trials = Trials::gather(&graph, &graph.tables[0].metrics(), done(results)).unwrap();
    let height = |conditions: &[&str]| {
        let filters: Vec<Filter> = conditions.iter().map(|text| Filter::parse(text).unwrap()).collect();
        trials.clone().filter(&filters).map(|trials| trials.frame.height())
    };
    // Raw features do not depend on k: 4 seeds of those, and 2 × 4 of refined ones.
    assert_eq!(height(&[]), Ok(12));
    assert_eq!(height(&["features=raw|x"]), Ok(4));
    assert_eq!(height(&["k=5,10"]), Ok(8));
    assert_eq!(height(&["graph.k != 5"]), Ok(8));
    assert_eq!(height(&["features=refined", "seed=0,3"]), Ok(4));
    assert_eq!(height(&["seed!=0"]), Ok(9));
    assert_eq!(height(&["seed>=2"]), Ok(6));
    // Each condition looks at all trials, whatever the others leave.
    assert_eq!(height(&["features=raw|x", "k=5"]), Ok(0));
    assert_eq!(height(&["probe.accuracy>=0.84"]), Ok(4));
    assert_eq!(height(&["probe.accuracy<0.84"]), Ok(8));
    let names = "they have `graph.k`, `features`, `seed`, `probe.accuracy`";
    assert_eq!(height(&["depth=3"]), Err(format!("the trials have no `depth`; {names}")));
    assert_eq!(height(&["k>5"]), Ok(4));
    assert_eq!(height(&["k<=10"]), Ok(8));
    assert_eq!(
        height(&["features>5"]),
        Err("`features>5` compares by size, and `raw|x` is no number".to_owned())
    );
    let known = "no trial has `7` for `graph.k`; there are `10`, `5`";
    assert_eq!(height(&["k=5,7"]), Err(known.to_owned()));
    assert_eq!(height(&["seed=x"]), Err("`seed=x` needs a number, `x` is none".to_owned()));
    let forms = "write `method=SimCLR,NNCLR`, `features!=raw` or `probe.accuracy>=0.8`";
    assert_eq!(Filter::parse("=3"), Err(format!("`=3` is no condition; {forms}")));
}

#[test]
fn a_grouped_table_pools_what_it_does_not_name() {
    let graph = graph(COMPARED);
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let metrics = graph.tables[0].metrics();
    let trials = Trials::gather(&graph, &metrics, done(results)).unwrap();
    let table = table::by(&trials, &["features".to_owned()], &metrics).unwrap();
    insta::assert_snapshot!(table.to_terminal(Look::default()));
}

#[test]
fn pipelines_stand_side_by_side() {
    let (one, two) = (graph(ROWS_AND_COLUMNS), graph(COMPARED));
    let metrics = one.tables[0].metrics();
    let of = |graph: &Graph, name| {
        let results = told(graph, improved, |_| if name == "two" { "cuda:0" } else { "cpu" }, |_| Vec::new());
        Trials::gather(graph, &metrics, done(results)).unwrap().with_axis("pipeline", name).unwrap()
    };
    let both = of(&one, "one").and(of(&two, "two")).unwrap();
    let mut spec = one.tables[0].clone().and(&two.tables[0]).unwrap();
    spec.rows.insert(0, "pipeline".to_owned());
    insta::assert_snapshot!(table::build(&both, &spec, &[]).unwrap().to_terminal(Look::default()));
}

/// Two axes of the encoder, which reach every probe.
fn factorial(rest: &str) -> Graph {
    factorial_of("[0, 1, 2]", rest)
}

fn factorial_of(seeds: &str, rest: &str) -> Graph {
    let text = format!(
        r#"Pipeline(
    name: "f",
    stages: {{
        "images":   (stage: Images(source: FashionMnistMini)),
        "encoder":  (stage: Pretrain(), from: {{"images": "images"}}),
        "features": (stage: Embed(), from: {{"encoder": "encoder", "images": "images"}}),
        "graph":    (stage: KnnGraph(k: 10), from: {{"embeddings": "features"}}),
        "refined":  (stage: GnnRefine(layers: 2), from: {{"embeddings": "features", "graph": "graph"}}),
        "probe":    (stage: LinearEval(), from: {{"embeddings": "refined", "images": "images"}}),
    }},
    axes: {{
        "encoder.epochs": [10, 20, 40],
        "encoder.method": {{"Sim_CLR": SimClr(), "NN & CLR": NnClr(queue: 8)}},
        "graph.k": [5, 10],
    }},
    seeds: {seeds},
    {rest}
)"#
    );
    let mut sources = SourceMap::new();
    let source = sources.add("f.ron", text.as_str());
    let graph = pipeline::parse(source, &text).and_then(|pipeline| expand(&pipeline, &fakes::registry()));
    graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)))
}

/// Epochs add 0, 0.01 and 0.02, NNCLR 0.03 and 0.06 at 40 epochs, k = 10 takes 0.002; each seed is a little better at more
/// epochs.
fn trained(name: &str, seed: u64) -> f64 {
    let epochs = [10, 20, 40].iter().position(|epochs| name.contains(&format!("epochs={epochs}")));
    let epochs = epochs.unwrap_or(0);
    let method = match (name.contains("NN & CLR"), epochs) {
        (true, 2) => 0.06,
        (true, _) => 0.03,
        (false, _) => 0.0,
    };
    let k = if name.contains("k=10") { -0.002 } else { 0.0 };
    0.8 + 0.01 * epochs as f64 + method + k + seed as f64 * (0.004 + 0.001 * epochs as f64)
}

/// Builds the first table, of results that are missing where `is_missing` says so.
fn of(graph: &Graph, is_missing: impl Fn(&str) -> bool) -> Table {
    let results = told(graph, trained, |_| "cpu", |_| Vec::new());
    let outcome = |id: InstanceId| match is_missing(&graph.instance_name(id)) {
        true => Outcome::Failed,
        false => done(results)(id),
    };
    let spec = &graph.tables[0];
    table::build(&Trials::of(graph, spec, &[], outcome).unwrap(), spec, &[]).unwrap()
}

const EFFECTS: &str = r#"tables: {"t": Effects(
        axes: ["encoder.epochs", "encoder.method"], interactions: true, cell: MeanCi("probe.accuracy", Percent, Digits(2)),
    )},"#;

#[test]
fn effects_are_shown_by_every_renderer() {
    let table = of(&factorial(EFFECTS), |_| false);
    insta::assert_snapshot!("effects_on_a_terminal", table.to_terminal(Look::default()));
    insta::assert_snapshot!("effects_in_markdown", table.to_markdown());
    insta::assert_snapshot!("effects_in_csv", String::from_utf8(table.to_csv().unwrap()).unwrap());
    insta::assert_snapshot!("effects_in_latex", table.to_latex());
    insta::assert_snapshot!("effects_in_html", table.to_html());
}

/// What is known of the numbers behind `trained`.
#[test]
fn effects_are_those_the_results_were_made_with() {
    let table = of(&factorial(EFFECTS), |_| false);
    let cells: BTreeMap<(String, String), &table::Cell> = table
        .rows
        .iter()
        .map(|row| {
            let label = |at: usize| row.labels[at].clone().unwrap_or_default();
            ((label(0), label(1)), &row.cells[1])
        })
        .collect();
    let numbers = |axis: &str, value: &str| &cells[&(axis.to_owned(), value.to_owned())].numbers;
    let close =
        |ours: Option<f64>, theirs: f64| assert!((ours.unwrap() - theirs).abs() < 1e-12, "{ours:?} {theirs}");
    // At seed s: 0.81 + 0.04/2 + s · 0.005 in the mean; 40 epochs have 0.82 + 0.03 + s · 0.006.
    close(numbers("encoder.epochs", "40").mean, 0.02 + 0.001);
    close(numbers("encoder.epochs", "40").std, 0.001);
    close(numbers("encoder.method", "Sim_CLR").mean, -0.02);
    close(numbers("encoder.epochs × encoder.method", "40, NN & CLR").mean, 0.01);
    close(numbers("encoder.epochs × encoder.method", "10, NN & CLR").mean, -0.005);
    let shares: f64 = ["encoder.epochs", "encoder.method", "encoder.epochs × encoder.method", "rest"]
        .map(|axis| table.rows.iter().find(|row| row.labels[0].as_deref() == Some(axis)).unwrap())
        .map(|row| row.cells[2].numbers.share.unwrap())
        .iter()
        .sum();
    close(Some(shares), 1.0);
}

#[test]
fn a_seed_that_lacks_a_combination_is_left_out_of_every_effect() {
    let graph = factorial(EFFECTS);
    let table = of(&graph, |name| {
        name == "encoder[epochs=20,method=NN & CLR,seed=1]"
            || name.starts_with("probe[epochs=20,method=NN & CLR,k=5,seed=1]")
            || name.starts_with("probe[epochs=20,method=NN & CLR,k=10,seed=1]")
    });
    insta::assert_snapshot!(table.to_terminal(Look::default()));
    let two = of(&factorial_of("[0, 2]", EFFECTS), |_| false);
    for (ours, theirs) in table.rows.iter().zip(&two.rows) {
        for (ours, theirs) in ours.cells.iter().zip(&theirs.cells) {
            assert_eq!((ours.numbers.n, ours.numbers.mean), (theirs.numbers.n, theirs.numbers.mean));
            assert_eq!((ours.numbers.share, ours.numbers.ci95), (theirs.numbers.share, theirs.numbers.ci95));
        }
    }
}

#[test]
fn there_are_no_effects_of_a_sweep_that_is_not_whole() {
    let table = of(&factorial(EFFECTS), |name| name.contains("epochs=20,method=NN & CLR"));
    insta::assert_snapshot!("a_combination_failed", table.to_terminal(Look::default()));
    let excluded = r#"sweep: Exclude(Grid(["encoder.epochs", "encoder.method"]), [{"encoder.epochs": 40, "encoder.method": "NN & CLR"}]),"#;
    let table = of(&factorial(&format!("{excluded} {EFFECTS}")), |_| false);
    insta::assert_snapshot!("a_combination_is_excluded", table.to_terminal(Look::default()));
    let around = r#"sweep: OneAtATime({"encoder.epochs": 10, "encoder.method": "Sim_CLR", "graph.k": 5}),"#;
    let table = of(&factorial(&format!("{around} {EFFECTS}")), |_| false);
    assert!(table.rows.iter().flat_map(|row| &row.cells).all(|cell| cell.text == "–"), "{table:?}");
    let told = |sweep: &str| {
        let table = of(&factorial(&format!("sweep: {sweep}, {EFFECTS}")), |_| false);
        assert!(table.rows.iter().flat_map(|row| &row.cells).all(|cell| cell.text == "–"), "{table:?}");
        table.remarks[0].clone()
    };
    // A trial that leaves an axis as written is none of any of its values, and no two trials are one.
    insta::assert_snapshot!(
        told(r#"Chain(["encoder.epochs", Exclude(Grid(["encoder.epochs", "encoder.method"]), [{"encoder.epochs": 40, "encoder.method": "Sim_CLR"}])])"#),
        @"no effects of accuracy, which need a value at every combination: no trial at encoder.epochs=40, encoder.method=Sim_CLR, graph.k=5; no trial at encoder.epochs=40, encoder.method=Sim_CLR, graph.k=10"
    );
    insta::assert_snapshot!(told(r#"Chain(["encoder.epochs", "encoder.method"])"#), @"no effects of accuracy, which need a value at every combination: several trials at encoder.epochs=10, encoder.method=Sim_CLR, graph.k=5; several trials at encoder.epochs=10, encoder.method=Sim_CLR, graph.k=10; several trials at encoder.epochs=10, encoder.method=NN & CLR, graph.k=5; 9 more");
}

#[test]
fn trials_beside_a_whole_sweep_do_not_count() {
    let grid = r#"Grid(["encoder.epochs", "encoder.method"])"#;
    let table = |sweep: &str| of(&factorial(&format!("sweep: {sweep}, {EFFECTS}")), |_| false);
    let both = table(&format!(r#"Chain(["encoder.epochs", {grid}])"#));
    assert_eq!(both.to_markdown(), table(grid).to_markdown());
}

/// Raw features do not depend on k, so their one result is that of each k.
#[test]
fn a_result_that_an_axis_does_not_reach_is_that_of_each_of_its_values() {
    let graph = graph(
        r#"seeds: [0, 1], tables: {"t": Effects(axes: ["graph.k", "features"], cell: Mean("probe.accuracy"), interactions: true)},"#,
    );
    let results = leaked(&graph);
    insta::assert_snapshot!(terminal(&graph, done(results)));
}

/// Where the rows are what k does not reach and what it does, it has an effect only there.
#[test]
fn an_axis_has_no_effect_on_rows_it_does_not_reach() {
    for (name, seeds) in [("of_two_seeds", "[0, 1]"), ("of_one_seed", "[0]")] {
        let graph = graph(&format!(
            r#"seeds: {seeds}, tables: {{"t": Effects(rows: ["features"], axes: ["graph.k"], cell: Mean("probe.accuracy"))}},"#
        ));
        let results = leaked(&graph);
        insta::assert_snapshot!(name, terminal(&graph, done(results)));
    }
}

#[test]
fn pipelines_have_effects_of_their_own() {
    let (one, two) = (factorial(EFFECTS), factorial(&EFFECTS.replace("tables", "sweep: Exclude(Grid([\"encoder.epochs\", \"encoder.method\", \"graph.k\"]), [{\"encoder.epochs\": 40}]), tables")));
    let of = |graph: &Graph, name| {
        let results = told(graph, trained, |_| if name == "two" { "cuda:0" } else { "cpu" }, |_| Vec::new());
        Trials::of(graph, &graph.tables[0], &[], done(results)).unwrap().with_axis("pipeline", name).unwrap()
    };
    let both = of(&one, "one").and(of(&two, "two")).unwrap();
    let mut spec = one.tables[0].clone().and(&two.tables[0]).unwrap();
    spec.rows.insert(0, "pipeline".to_owned());
    insta::assert_snapshot!(table::build(&both, &spec, &[]).unwrap().to_terminal(Look::default()));
}

#[test]
fn an_ablation_has_its_points_as_rows() {
    let text = |form: &str, sweep: &str| {
        format!(
            r#"sweep: {sweep},
    tables: {{"t": (rows: {form}, columns: ["graph.k"], cell: MeanStd("probe.accuracy"), test: Bootstrap)}},"#
        )
    };
    let ladder = r#"Ladder(from: {"encoder.epochs": 10, "encoder.method": "Sim_CLR"}, steps: [{"encoder.method": "NN & CLR"}, {"encoder.epochs": 20}, {"encoder.epochs": 40}])"#;
    let table = of(&factorial(&text("Ladder", ladder)), |_| false);
    insta::assert_snapshot!("ladder_on_a_terminal", table.to_terminal(Look::default()));
    insta::assert_snapshot!("ladder_in_latex", table.to_latex());
    insta::assert_snapshot!("ladder_in_csv", String::from_utf8(table.to_csv().unwrap()).unwrap());
    let one = r#"OneAtATime({"encoder.epochs": 20, "encoder.method": "NN & CLR"})"#;
    let table = of(&factorial(&text("OneAtATime", one)), |_| false);
    insta::assert_snapshot!("one_at_a_time_on_a_terminal", table.to_terminal(Look::default()));
    let out = r#"LeaveOneOut(full: {"encoder.epochs": 40, "encoder.method": "NN & CLR"}, without: {"encoder.method": "Sim_CLR", "encoder.epochs": 10})"#;
    let table = of(&factorial(&text("LeaveOneOut", out)), |_| false);
    insta::assert_snapshot!("leave_one_out_in_markdown", table.to_markdown());
}

/// Refinement has its own axis; k reaches refined features only, so a step of k on raw ones changes nothing.
#[test]
fn a_step_that_reaches_nothing_shows_the_same_result_again() {
    let graph = graph(
        r#"seeds: [0, 1, 2],
    sweep: Chain([
        Grid(["graph.k", "features"]),
        Ladder(from: {"graph.k": 5, "features": "raw|x"}, steps: [{"graph.k": 10}, {"features": "refined"}]),
    ]),
    tables: {"t": (rows: Ladder, cell: MeanStd("probe.accuracy"))},"#,
    );
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let spec = &graph.tables[0];
    let table = table::build(&Trials::of(&graph, spec, &[], done(results)).unwrap(), spec, &[]).unwrap();
    insta::assert_snapshot!(table.to_terminal(Look::default()));
}

#[test]
fn a_ladder_is_climbed_within_each_value_of_another_axis() {
    let ladder = r#"sweep: Grid([Ladder(from: {"encoder.epochs": 10, "encoder.method": "Sim_CLR"}, steps: [{"encoder.epochs": 20}, {"encoder.method": "NN & CLR"}]), "graph.k"]),
    tables: {"t": (rows: Ladder, cell: Mean("probe.accuracy"))},"#;
    let table = of(&factorial(ladder), |name| {
        name == "encoder[epochs=20,method=Sim_CLR,seed=0]"
            || name.starts_with("probe[epochs=20,method=Sim_CLR,k=5")
    });
    insta::assert_snapshot!(table.to_terminal(Look::default()));
}

/// `cargo test --release --test table -- --ignored --nocapture` measures it.
#[test]
#[ignore = "it expands a sweep of 100,000 trials, which takes long in a development build"]
fn a_table_of_a_hundred_thousand_trials_takes_a_moment() {
    let effects =
        r#""e": Effects(axes: ["graph.k", "features"], cell: Mean("probe.accuracy"), interactions: true)},"#;
    let mut graph =
        graph(&COMPARED.replace("[0, 1, 2, 3]", "\"0..25000\"").replace(")},", &format!("), {effects}")));
    assert_eq!(graph.trials.len(), 100_000);
    let accuracy = |name: &str, seed: u64| improved(name, seed % 4);
    let results = told(&graph, accuracy, |_| "cpu", |_| Vec::new());
    for _ in 0..2 {
        let clock = std::time::Instant::now();
        let text = terminal(&graph, done(results));
        let took = clock.elapsed();
        println!("{text}\n{took:?}");
        assert!(took.as_secs_f64() < 1.0 || cfg!(debug_assertions), "{took:?}");
        graph.tables.rotate_left(1);
    }
}

/// The encoder's loss does not depend on `graph.k`, and images have no seed.
#[test]
fn a_result_that_rows_share_counts_once() {
    let graph = graph("seeds: [0, 1],");
    let metrics = |name: &str| match name {
        "encoder[seed=0]" => vec![("loss", 1.0)],
        "encoder[seed=1]" => vec![("loss", 3.0)],
        name if name.starts_with("images") => vec![("count", 7.0)],
        _ => Vec::new(),
    };
    let results = told(&graph, improved, |_| "cpu", metrics);
    let all = all_metrics(&graph, done(results));
    let trials = Trials::gather(&graph, &all, done(results)).unwrap();
    let grouped = |trials: &Trials, axis: &str| table::by(trials, &[axis.to_owned()], &all).unwrap();
    let counts = |table: &Table, row: usize| -> Vec<(usize, usize)> {
        table.rows[row].cells.iter().map(|cell| (cell.numbers.n, cell.numbers.of)).collect()
    };
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["encoder.loss", "images.count", "probe.accuracy"]);
    let table = grouped(&trials, "features");
    assert_eq!(table.rows[1].labels, [Some("refined".to_owned())]);
    assert_eq!(counts(&table, 1), [(2, 2), (1, 1), (4, 4)]);
    assert_eq!(table.rows[1].cells[0].numbers.std, Some(2f64.sqrt()));
    assert_eq!(table.rows[1].cells[1].text, "7.000", "one value has no spread");
    // Of two pipelines, instances of one number are not the same.
    let of = |name: &str| trials.clone().with_axis("pipeline", name).unwrap();
    let both = of("one").and(of("two")).unwrap();
    assert_eq!(counts(&grouped(&both, "features"), 1), [(4, 4), (2, 2), (8, 8)]);
}

#[test]
fn cells_of_the_same_results_are_one_comparison() {
    let text = |cells: &str| {
        format!(
            r#"seeds: [0, 1, 2, 3], tables: {{"t": (
                rows: ["features"], columns: ["graph.k"], baseline: {{"features": "raw|x"}}, cells: {{{cells}}},
            )}},"#
        )
    };
    let told_of = |cells: &str| {
        let graph = graph(&text(cells));
        build(&graph, done(told(&graph, improved, |_| "cpu", |_| Vec::new())))
    };
    let both = told_of(
        r#""a": Mean("probe.accuracy"), "b": MeanCi("probe.accuracy"), "c": Median("probe.accuracy")"#,
    );
    assert!(both.remarks[1].ends_with("Holm-corrected for 2 comparisons"), "{}", both.remarks[1]);
    let cells = &both.rows[1].cells[3..];
    assert_eq!((cells[0].asides[0].as_str(), cells[1].asides[0].as_str()), ("+0.050*", "+0.050*"));
    // Medians: 0.85125 of 0.8505, 0.8535, 0.847 and 0.852 against 0.8005 of 0.8, 0.804, 0.797 and 0.801.
    assert_eq!((cells[2].asides[0].as_str(), cells[2].numbers.p), ("+0.051", None));
    let alone = told_of(r#""c": Best("probe.accuracy")"#);
    assert_eq!(alone.remarks[1], "in parentheses: difference to features=raw|x; only means are tested");
}

#[test]
fn pipelines_keep_their_published_values_and_one_baseline() {
    let table_of = |cells: &str| {
        graph(&format!(r#"tables: {{"t": (rows: ["features"], columns: ["graph.k"], cells: {{{cells}}})}},"#))
    };
    let one = table_of(r#""x": Mean("probe.accuracy"), "y": Median("probe.accuracy")"#);
    let two = table_of(r#""y": Median("probe.accuracy"), "x": Mean("probe.accuracy")"#);
    let csv = "features,graph.k,cell,value\nrefined,10,y,0.9\n";
    let published = Published::read(csv, &two.tables[0], &two.axes).unwrap();
    let of = |graph: &Graph, name| {
        let results = told(graph, improved, |_| "cpu", |_| Vec::new());
        let trials = Trials::gather(graph, &graph.tables[0].metrics(), done(results)).unwrap();
        trials.with_axis("pipeline", name).unwrap()
    };
    let both = of(&one, "one").and(of(&two, "two")).unwrap();
    let mut spec = one.tables[0].clone().and(&two.tables[0]).unwrap();
    spec.rows.insert(0, "pipeline".to_owned());
    let table = table::build(&both, &spec, &published).unwrap();
    let beside: Vec<(usize, usize)> = (0..table.rows.len())
        .flat_map(|row| (0..table.columns.len()).map(move |at| (row, at)))
        .filter(|&(row, at)| table.rows[row].cells[at].numbers.published.is_some())
        .collect();
    assert_eq!(table.rows.len(), 4, "no row of its own");
    assert_eq!(table.columns[3].title, "y");
    assert_eq!(beside, [(1, 3), (3, 3)]);

    let with = |label: &str| {
        graph(&COMPARED.replace("\"features\": \"raw|x\"", &format!("\"features\": \"{label}\"")))
    };
    let (raw, refined) = (with("raw|x"), with("refined"));
    let error = raw.tables[0].clone().and(&refined.tables[0]).unwrap_err();
    assert!(error.contains("features=raw|x in one pipeline and with features=refined in another"), "{error}");
}

#[test]
fn a_better_published_value_beside_ours_takes_the_first_place() {
    let graph = graph(ROWS_AND_COLUMNS);
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let spec = &graph.tables[0];
    let trials = Trials::gather(&graph, &spec.metrics(), done(results)).unwrap();
    let ranks = |csv: &str| {
        let published = Published::read(csv, spec, &graph.axes).unwrap();
        let table = table::build(&trials, spec, &published).unwrap();
        table.rows.iter().map(|row| row.cells[0].rank).collect::<Vec<_>>()
    };
    assert_eq!(ranks("features,graph.k,value\nraw|x,5,0.1\n"), [Rank::Best, Rank::Best]);
    assert_eq!(ranks("features,graph.k,value\nraw|x,5,0.9\n"), [Rank::Second, Rank::Second]);
    assert_eq!(ranks("features,graph.k,value\nnew,5,0.9\n"), [Rank::Second, Rank::Second, Rank::Best]);
    // Ours is 0.8025; what is published with more digits is not made equal to it.
    assert_eq!(ranks("features,graph.k,value\nnew,5,0.8034\n")[1..], [Rank::Second, Rank::Best]);
    // What labels have chosen has no part in it.
    let oracle = "features,graph.k,value,oracle\nnew,5,0.9,yes\n";
    assert_eq!(ranks(oracle), [Rank::Other; 3], "ours are equal, and there is nothing else");
}

/// Of the statistic a cell shows.
#[test]
fn differences_to_published_values_are_of_what_is_shown() {
    let graph = graph(
        r#"seeds: [0, 1, 2, 3],
    tables: {"t": (rows: ["features"], columns: ["graph.k"], published: Beside, cells: {
        "median": Median("probe.accuracy"), "best": Best("probe.accuracy"), "count": Count("probe.accuracy"),
    })},"#,
    );
    let results = told(&graph, improved, |_| "cpu", |_| Vec::new());
    let spec = &graph.tables[0];
    let trials = Trials::gather(&graph, &spec.metrics(), done(results)).unwrap();
    let row = |cell: &str| format!("raw|x,5,{cell},0.5\n");
    let csv = format!("features,graph.k,cell,value\n{}{}{}", row("median"), row("best"), row("count"));
    let published = Published::read(&csv, spec, &graph.axes).unwrap();
    let table = table::build(&trials, spec, &published).unwrap();
    for (cell, column) in table.rows[0].cells.iter().zip(&table.columns).take(3) {
        let aside = cell.asides.concat();
        let expected = match column.title.as_str() {
            "count" => "published 0.5".to_owned(),
            _ => format!("published 0.5: +{:.3}", cell.numbers.shown.unwrap() - 0.5),
        };
        assert_eq!(aside, expected, "{}", column.title);
    }
}

#[test]
fn small_and_large_values_are_shown_as_powers_of_ten() {
    let graph = graph(
        r#"tables: {"t": (rows: ["features"], columns: ["graph.k"], cells: {
        "as it is": Mean("probe.accuracy"), "percent": Mean("probe.accuracy", Percent), "two digits": Mean("probe.accuracy", Digits(2)),
    })},"#,
    );
    let shown = |value: f64| {
        let results = told(&graph, move |_, _| value, |_| "cpu", |_| Vec::new());
        let table = build(&graph, done(results));
        [0, 1, 2].map(|at| table.rows[0].cells[at].text.clone())
    };
    assert_eq!(shown(3e-5), ["3.00e-5", "0.0", "0.00"]);
    assert_eq!(shown(-0.0), ["0.000", "0.0", "0.00"]);
    assert_eq!(shown(0.0012), ["0.001", "0.1", "0.00"]);
    assert_eq!(shown(1.5e7), ["1.50e7", "1.50e9", "15000000.00"]);
}
