//! Seeds as a budget: which trials run, when no more do, and what is said of it.
#![cfg(feature = "tables")]

mod common;
mod fakes;

use std::collections::BTreeMap;
use std::fs;

use ablate::budget::{Wanted, wanted};
use ablate::expand::expand;
use ablate::graph::{Graph, InstanceId};
use ablate::pipeline;
use ablate::rows::Outcome;
use ablate::source::SourceMap;
use ablate_stage::cache::{ActionDigest, ActionResult, Provenance};
use common::{Project, wait_until};
use litemap::LiteMap;
use proptest::prelude::*;

fn read(rest: &str) -> Result<Graph, String> {
    let text = format!(
        r#"Pipeline(
    name: "b",
    stages: {{
        "images":   (stage: Images(source: FashionMnistMini)),
        "encoder":  (stage: Pretrain(epochs: 1), from: {{"images": "images"}}),
        "features": (stage: Embed(), from: {{"encoder": "encoder", "images": "images"}}),
        "graph":    (stage: KnnGraph(k: 10), from: {{"embeddings": "features"}}),
        "refined":  (stage: GnnRefine(layers: 2), from: {{"embeddings": "features", "graph": "graph"}}),
        "probe":    (stage: LinearEval(), from: {{"embeddings": "features", "images": "images"}}),
        "second":   (stage: LinearEval(), from: {{"embeddings": "refined", "images": "images"}}),
    }},
    {rest}
)"#
    );
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text.as_str());
    pipeline::parse(source, &text)
        .and_then(|pipeline| expand(&pipeline, &fakes::registry()))
        .map_err(|errors| errors.render(&sources))
}

const AXES: &str = r#"axes: {"encoder.epochs": [1, 2], "graph.k": [5, 10]},"#;

/// A graph with a table of probes (which `graph.k` does not reach) and one of second probes.
fn graph(tables: &str) -> Graph {
    read(&format!("{AXES} seeds: Until(ci95: 0.1, max: 8), tables: {{{tables}}},"))
        .unwrap_or_else(|it| panic!("{it}"))
}

const PROBES: &str = r#""probes": (rows: ["encoder.epochs"], cell: Mean("probe.accuracy")),"#;
const SECONDS: &str = r#""seconds": (rows: ["encoder.epochs", "graph.k"], cell: Mean("second.accuracy")),"#;

/// What is known of every instance that reports, by its name: `None` of one that failed.
type Known = BTreeMap<InstanceId, Option<ActionResult>>;

fn result(accuracy: f64) -> ActionResult {
    let metrics = LiteMap::from_iter([("accuracy".to_owned(), accuracy)]);
    ActionResult { outputs: LiteMap::new(), metrics, provenance: Provenance::default() }
}

fn wanted_by(graph: &Graph, known: &Known) -> Wanted {
    wanted(graph, |id| match known.get(&id) {
        Some(Some(result)) => Outcome::Done(ActionDigest::of_manifest(&id.0.to_string()), result),
        Some(None) => Outcome::Failed,
        None => Outcome::Missing,
    })
}

/// Where there is a value for an instance, `accuracy` says which; the others are missing.
fn known(graph: &Graph, mut accuracy: impl FnMut(&str, u64) -> Option<Option<f64>>) -> Known {
    let reports = |id: &InstanceId| ["probe", "second"].contains(&&*graph.instance(*id).stage);
    let of = |id: InstanceId| {
        let value = accuracy(&graph.instance_name(id), graph.instance(id).seed.unwrap())?;
        Some((id, value.map(result)))
    };
    graph.ids().filter(reports).filter_map(of).collect()
}

/// The wanted seeds of each point, as `epochs k: seeds`.
fn seeds(graph: &Graph, known: &Known) -> Vec<String> {
    let wanted = wanted_by(graph, known);
    let mut points: BTreeMap<&[Option<usize>], Vec<u64>> = BTreeMap::new();
    for (trial, _) in graph.trials.iter().zip(&wanted.trials).filter(|(_, wanted)| **wanted) {
        points.entry(&trial.point).or_default().push(trial.seed);
    }
    let text = |(point, seeds): (&&[Option<usize>], &Vec<u64>)| {
        assert_eq!(*seeds, (0..seeds.len() as u64).collect::<Vec<_>>(), "seeds come in order");
        let labels = point.iter().zip(&graph.axes).map(|(value, axis)| axis.labels[value.unwrap()].clone());
        format!("{}: {}", labels.collect::<Vec<_>>().join(" "), seeds.len())
    };
    points.iter().map(text).collect()
}

/// Values that lie apart by ± `spread` about 0.5.
fn about(seed: u64, spread: f64) -> Option<Option<f64>> {
    Some(Some(if seed.is_multiple_of(2) { 0.5 - spread } else { 0.5 + spread }))
}

#[test]
fn every_point_begins_with_the_fewest_seeds_and_waits_for_their_results() {
    let graph = graph(PROBES);
    let begin = ["1 5: 3", "1 10: 3", "2 5: 3", "2 10: 3"];
    assert_eq!(seeds(&graph, &Known::new()), begin);
    let two_of_three = known(&graph, |_, seed| if seed < 2 { about(seed, 10.0) } else { None });
    assert_eq!(seeds(&graph, &two_of_three), begin);
}

/// With values at m ± s, half an interval over 3, 4, 5, 6 and 7 seeds is 2.868 s, 1.837 s, 1.360 s, 1.150 s and 0.989 s.
#[test]
fn only_cells_whose_interval_is_too_wide_get_more() {
    let graph = graph(PROBES);
    let spread = |name: &str| if name.contains("epochs=1") { 0.02 } else { 0.08 };
    let all = known(&graph, |name, seed| about(seed, spread(name)));
    assert_eq!(seeds(&graph, &all), ["1 5: 3", "1 10: 3", "2 5: 6", "2 10: 6"]);
    // What is known of seeds that are not wanted makes no difference, nor does what is not known of them.
    let first = known(&graph, |name, seed| if seed < 6 { about(seed, spread(name)) } else { None });
    assert_eq!(seeds(&graph, &all), seeds(&graph, &first));
    let some = known(&graph, |name, seed| if seed < 4 { about(seed, spread(name)) } else { None });
    assert_eq!(seeds(&graph, &some), ["1 5: 3", "1 10: 3", "2 5: 5", "2 10: 5"]);
    let wide = known(&graph, |_, seed| about(seed, 10.0));
    assert_eq!(seeds(&graph, &wide), ["1 5: 8", "1 10: 8", "2 5: 8", "2 10: 8"]);
}

#[test]
fn a_cell_of_another_table_brings_seeds_of_its_points_alone() {
    let graph = graph(&format!("{PROBES}{SECONDS}"));
    let spread = |name: &str| if name.starts_with("second[epochs=2,k=10") { 0.08 } else { 0.02 };
    let all = known(&graph, |name, seed| about(seed, spread(name)));
    assert_eq!(seeds(&graph, &all), ["1 5: 3", "1 10: 3", "2 5: 3", "2 10: 6"]);
}

#[test]
fn what_no_table_is_of_gets_no_more_seeds() {
    let of_some = |of: &str| SECONDS.replace("cell:", &format!("where: {{{of}}}, cell:"));
    let wide = |graph: &Graph| known(graph, |_, seed| about(seed, 10.0));
    let one = graph(&of_some(r#""encoder.epochs": "2", "graph.k": "5""#));
    assert_eq!(seeds(&one, &wide(&one)), ["1 5: 3", "1 10: 3", "2 5: 8", "2 10: 3"]);
    // Also by an axis that does not reach what is shown.
    let probes = graph(&PROBES.replace("cell:", r#"where: {"graph.k": "10"}, cell:"#));
    assert_eq!(seeds(&probes, &wide(&probes)), ["1 5: 3", "1 10: 8", "2 5: 3", "2 10: 8"]);
}

#[test]
fn a_baseline_has_every_seed_of_what_is_compared_with_it() {
    let graph = graph(
        r#""seconds": (rows: ["encoder.epochs"], columns: ["graph.k"], cell: Mean("second.accuracy"), baseline: {"graph.k": 5}),"#,
    );
    let spread = |name: &str| if name.starts_with("second[epochs=2,k=10") { 0.08 } else { 0.02 };
    let all = known(&graph, |name, seed| about(seed, spread(name)));
    assert_eq!(seeds(&graph, &all), ["1 5: 3", "1 10: 3", "2 5: 6", "2 10: 6"]);
}

/// Each step has the seeds of the one after it, as that is compared with it.
#[test]
fn the_steps_of_a_ladder_have_the_seeds_of_those_above() {
    let ladder = r#"Ladder(from: {"encoder.epochs": 1, "graph.k": 5}, steps: [{"graph.k": 10}, {"encoder.epochs": 2}])"#;
    let table = r#""steps": (rows: Ladder, cell: Mean("second.accuracy"))"#;
    let graph =
        read(&format!("{AXES} seeds: Until(ci95: 0.1, max: 8), sweep: {ladder}, tables: {{{table}}},"));
    let graph = graph.unwrap_or_else(|it| panic!("{it}"));
    let last = known(&graph, |name, seed| about(seed, if name.contains("epochs=2") { 0.08 } else { 0.02 }));
    assert_eq!(seeds(&graph, &last), ["1 5: 6", "1 10: 6", "2 10: 6"]);
    let first = known(&graph, |name, seed| about(seed, if name.contains("k=5") { 0.08 } else { 0.02 }));
    assert_eq!(seeds(&graph, &first), ["1 5: 6", "1 10: 3", "2 10: 3"]);
}

#[test]
fn a_step_has_the_seeds_of_those_above_where_an_axis_does_not_reach_it() {
    let ladder = r#"Ladder(from: {"encoder.epochs": 1, "graph.k": 5}, steps: [{"encoder.epochs": 2}, {"graph.k": 10}])"#;
    let table = r#""steps": (rows: Ladder, cell: Mean("probe.accuracy"))"#;
    let graph =
        read(&format!("{AXES} seeds: Until(ci95: 0.1, max: 8), sweep: {ladder}, tables: {{{table}}},"));
    let graph = graph.unwrap_or_else(|it| panic!("{it}"));
    let second = known(&graph, |name, seed| about(seed, if name.contains("epochs=2") { 0.08 } else { 0.02 }));
    assert_eq!(seeds(&graph, &second), ["1 5: 6", "2 5: 6", "2 10: 6"]);
}

#[test]
fn effects_have_the_same_seeds_everywhere() {
    let graph =
        graph(r#""effects": Effects(axes: ["encoder.epochs", "graph.k"], cell: Mean("second.accuracy")),"#);
    let spread = |name: &str| if name.starts_with("second[epochs=2,k=10") { 0.08 } else { 0.02 };
    let all = known(&graph, |name, seed| about(seed, spread(name)));
    assert_eq!(seeds(&graph, &all), ["1 5: 6", "1 10: 6", "2 5: 6", "2 10: 6"]);
}

#[test]
fn failed_trials_give_no_value_and_never_ask_for_ever() {
    let graph = graph(PROBES);
    // Where every seed fails, no more are tried; where one does, others take its place.
    let none =
        known(
            &graph,
            |name, seed| {
                if name.contains("epochs=1") || seed == 1 { Some(None) } else { about(seed, 0.0) }
            },
        );
    assert_eq!(seeds(&graph, &none), ["1 5: 3", "1 10: 3", "2 5: 3", "2 10: 3"]);
    let most = known(&graph, |_, seed| if seed == 0 { about(seed, 0.0) } else { Some(None) });
    assert_eq!(seeds(&graph, &most), ["1 5: 8", "1 10: 8", "2 5: 8", "2 10: 8"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Results come one by one, in any order, some failed: what is wanted only grows, never beyond what all results together
    /// want, and ends there.
    #[test]
    fn the_order_of_results_makes_no_difference(
        values in prop::collection::vec(prop::option::weighted(0.9, 0.0..0.3_f64), 64),
        order in any::<u64>(),
    ) {
        let graph = graph(&format!(
            "{PROBES}{}",
            r#""seconds": (rows: ["encoder.epochs"], columns: ["graph.k"], cell: Mean("second.accuracy"), baseline: {"graph.k": 10}),"#
        ));
        let mut drawn = values.iter().copied().cycle();
        let all = known(&graph, |_, _| drawn.next());
        let last = wanted_by(&graph, &all);
        let (mut told, mut state) = (Known::new(), order);
        loop {
            let now = wanted_by(&graph, &told);
            prop_assert!(now.trials.iter().zip(&last.trials).all(|(now, last)| last | !now));
            let open: Vec<InstanceId> = graph
                .trials
                .iter()
                .zip(&now.trials)
                .filter(|(_, wanted)| **wanted)
                .flat_map(|(trial, _)| ["probe", "second"].map(|stage| *trial.instances.get(stage).unwrap()))
                .filter(|id| !told.contains_key(id))
                .collect();
            if open.is_empty() {
                prop_assert_eq!(now, last);
                break;
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let next = open[(state >> 33) as usize % open.len()];
            told.insert(next, all[&next].clone());
        }
    }
}

#[test]
fn a_budget_that_makes_no_sense_is_shown_where_it_is_written() {
    let wrong = [
        (r#"Until(ci95: 0, max: 8)"#, true),
        (r#"Until(ci95: "small", max: 8)"#, true),
        (r#"Until(max: 8, least: 2)"#, true),
        (r#"Until(ci95: 0.1, max: 8, min: 9)"#, true),
        (r#"Until(ci95: 0.1, max: 1)"#, true),
        (r#"Until(ci95: 0.1, max: 2000000)"#, true),
        (r#"Until(ci95: 0.1, max: 8, metrics: ["probe.acuracy"])"#, true),
        (r#"Until(ci95: 0.1, max: 8)"#, false),
        (r#"Untl(ci95: 0.1, max: 8)"#, true),
        (r#"Until"#, true),
    ];
    let told = wrong.map(|(seeds, table)| {
        let tables = if table { format!(r#"tables: {{{PROBES}}},"#) } else { String::new() };
        read(&format!("{AXES} {tables}\n    seeds: {seeds},")).err().expect(seeds)
    });
    insta::assert_snapshot!(told.join("\n"));
}

/// Three methods that report the values they are given, one for each seed. `calm` needs no more than three seeds, `wild` and
/// `mild` need six and four; `wild` waits for the file `go` from its fifth seed on.
const METHODS: &str = r#"Pipeline(
    name: "methods",
    stages: {
        "shared": (stage: Command(argv: ["/bin/sh", "-c", "echo x > o"], outputs: {"o": (kind: File, path: "o")})),
        "probe": (
            stage: Command(
                argv: [
                    "/bin/sh",
                    "-c",
                    "set -- $VALUES; shift {seed}; cat {input:x}; [ $1 = wait ] && shift && while [ ! -e $GO ]; do sleep 0.02; done; [ $1 != fail ] && echo \"{{\\\"accuracy\\\": 0.$1}}\" > m.json",
                ],
                env: {"VALUES": "", "GO": "GATE"},
                inputs: {"x": File},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
            from: {"x": "shared"},
        ),
    },
    axes: {
        "method": (paths: ["probe.env.VALUES"], values: {
            "calm": "800 801 802 801 800 799 801 802",
            "wild": "820 770 840 815 wait 812 818 822 821",
            "mild": "812 790 822 809 811 810 809 812",
        }),
    },
    seeds: Until(ci95: 0.025, max: 7),
    tables: {"accuracies": (rows: ["method"], cell: MeanStd("probe.accuracy"))},
)
"#;

fn methods(pipeline: &str) -> Project {
    let project = Project::new();
    let gate = project.path().join("go").display().to_string();
    project.write("p.ron", pipeline.replace("GATE", &gate));
    project
}

/// `method seed` of what the last run performed.
fn ran(project: &Project) -> Vec<String> {
    let short = |name: String| {
        let name = name.strip_prefix("probe[method=").map_or(name.clone(), str::to_owned);
        name.replace(",seed=", " ").replace(']', "")
    };
    let mut names: Vec<String> = project.ran().into_iter().map(short).collect();
    names.sort();
    names
}

#[test]
fn a_run_adds_seeds_until_the_cells_have_enough() {
    let project = methods(METHODS);
    project.write("go", "");
    let plan = project.expect(0, &["plan", "p.ron"]).stdout;
    assert!(
        plan.contains(
            "\n3 seeds a point so far; `run` adds more, up to 7, until 95 % intervals are within ± 0.025\n"
        ),
        "{plan}"
    );
    let run = project.expect(0, &["run", "p.ron", "--jobs", "1"]);
    let all = [
        "calm 0", "calm 1", "calm 2", "mild 0", "mild 1", "mild 2", "mild 3", "shared", "wild 0", "wild 1",
        "wild 2", "wild 3", "wild 4", "wild 5",
    ];
    assert_eq!(ran(&project), all);
    let told: Vec<&str> =
        run.stderr.lines().filter(|line| line.contains("Adding") || line.contains("Done")).collect();
    insta::assert_snapshot!(run.stdout);
    insta::assert_snapshot!(told.join("\n").split(" (").next().unwrap());
    let again = project.expect(0, &["run", "p.ron"]);
    assert_eq!((ran(&project), &again.stdout), (Vec::new(), &run.stdout));
    assert!(again.stderr.trim_start().starts_with("Done "), "{}", again.stderr);
}

#[test]
fn every_command_shows_the_seeds_that_are_wanted_and_no_others() {
    let project = methods(METHODS);
    project.write("go", "");
    let run = project.expect(0, &["run", "p.ron"]).stdout;
    assert_eq!(project.expect(0, &["table", "p.ron"]).stdout.trim(), run.trim());
    let plan = project.expect(0, &["plan", "p.ron"]).stdout;
    let got = project.expect(0, &["get", "p.ron", "probe", "--to", "got/"]).stdout;
    let trials = project.expect(0, &["table", "p.ron", "--trials", "--metric", "probe.accuracy"]).stdout;
    insta::assert_snapshot!(plan);
    assert_eq!((got.lines().count(), trials.lines().count()), (13, 14), "{got}{trials}");
    // What is made beyond what is wanted changes nothing, and seeds on the command line are no budget.
    project.expect(0, &["run", "p.ron", "--seeds", "0..7"]);
    assert_eq!(ran(&project).len(), 8);
    assert_eq!(project.expect(0, &["table", "p.ron"]).stdout.trim(), run.trim());
    assert_eq!(project.expect(0, &["plan", "p.ron"]).stdout, plan);
    let checked = project.expect(0, &["check", "p.ron"]).stdout;
    insta::assert_snapshot!(checked, @"p.ron is sound: 2 stages, 1 axis, 3 points, 3 to 7 seeds, 22 instances, 1 table");
    let unwanted = project.expect(2, &["show", "p.ron", "probe[method=calm,seed=3]"]).stderr;
    assert!(
        unwanted.contains("no `probe[method=calm,seed=3]` that its budget of seeds wants now;"),
        "{unwanted}"
    );
    for (command, method) in [("run", "calm"), ("plan", "calm"), ("run", "wild")] {
        let only = format!("probe[*{method}*seed=5]");
        let unwanted = project.expect(2, &[command, "p.ron", "--only", &only]).stderr;
        assert!(unwanted.contains("the budget tells by the seeds before; leave out `--only`"), "{unwanted}");
    }
    project.expect(0, &["report", "p.ron"]);
    assert!(project.read("p.html").contains("2 stages, 14 instances, 13 trials; all done"));
    let expanded = project.expect(0, &["expand", "p.ron"]).stdout;
    let head = "methods: 3 points, 21 trials, 22 instances\nof each point 3 to 7 seeds are run, as results need them\n\n";
    assert!(expanded.starts_with(head), "{expanded}");
    // What gc removes is what no run made.
    project.expect(0, &["gc", "--grace", "0"]);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(ran(&project), [""; 0]);
}

#[test]
fn a_run_that_is_killed_in_a_round_goes_on_in_it() {
    let project = methods(METHODS);
    let mut child = project.start_group(&["run", "p.ron", "--jobs", "1"]);
    let waits =
        || project.store().join("runs").exists() && ran_so_far(&project).iter().any(|it| it == "wild 4");
    wait_until("the fifth seed", waits);
    rustix::process::kill_process_group(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    child.wait().unwrap();
    let before = ran(&project);
    let half = project.expect(0, &["table", "p.ron", "--format", "csv"]).stdout;
    insta::assert_snapshot!(half);
    project.write("go", "");
    let run = project.expect(0, &["run", "p.ron"]).stdout;
    let mut both = [before, ran(&project)].concat();
    both.sort();
    let unbroken = methods(METHODS);
    unbroken.write("go", "");
    assert_eq!(unbroken.expect(0, &["run", "p.ron"]).stdout, run);
    assert_eq!(both, ran(&unbroken));
}

/// `method seed` of what the run that goes on has begun.
fn ran_so_far(project: &Project) -> Vec<String> {
    let runs = project.store().join("runs");
    let Some(Ok(run)) = fs::read_dir(&runs).unwrap().next() else { return Vec::new() };
    let journal = fs::read_to_string(run.path().join("journal.jsonl")).unwrap_or_default();
    let started = journal.lines().filter(|line| line.contains("\"started\""));
    let name = |line: &str| {
        let (_, rest) = line.split_once("method=")?;
        let (name, _) = rest.split_once(']')?;
        Some(name.replace(",seed=", " "))
    };
    started.filter_map(name).collect()
}

#[test]
fn a_failed_seed_is_tried_once_in_a_run_and_another_takes_its_place() {
    let project = methods(
        &METHODS
            .replace("\"820 770", "\"fail 770")
            .replace("wait ", "")
            .replace("\"800 801 802", "\"fail fail fail"),
    );
    let run = project.expect(1, &["run", "p.ron", "--jobs", "2"]);
    let failed = run.stderr.lines().filter(|line| line.trim_start().starts_with("Failed probe")).count();
    assert_eq!(failed, 4, "{}", run.stderr);
    insta::assert_snapshot!(run.stdout);
    assert_eq!(project.expect(0, &["table", "p.ron"]).stdout.trim(), run.stdout.trim());
}

#[test]
fn an_interrupt_stops_between_rounds_as_well() {
    let project = methods(METHODS);
    let child = project.start(&["run", "p.ron", "--jobs", "1"]);
    let waits =
        || project.store().join("runs").exists() && ran_so_far(&project).iter().any(|it| it == "wild 4");
    wait_until("the fifth seed", waits);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    project.write("go", "");
    assert_eq!(common::finish(child).code, 130);
}

#[test]
fn a_baseline_is_compared_with_each_and_ties_are_told() {
    let project = methods(&METHODS.replace(
        r#"MeanStd("probe.accuracy")"#,
        r#"MeanStd("probe.accuracy", Percent), baseline: {"method": "mild"}"#,
    ));
    project.write("go", "");
    project.expect(0, &["run", "p.ron", "--no-sync"]);
    insta::assert_snapshot!(project.expect(0, &["table", "p.ron"]).stdout);
    insta::assert_snapshot!(project.expect(0, &["table", "p.ron", "--format", "markdown"]).stdout);
}

#[test]
fn pipelines_side_by_side_have_budgets_of_their_own() {
    let project = methods(METHODS);
    project.write("go", "");
    let gate = project.path().join("go").display().to_string();
    let other =
        METHODS.replace("GATE", &gate).replace("\"methods\"", "\"others\"").replace("max: 7", "max: 5");
    project.write("q.ron", other);
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["run", "q.ron", "--table", "accuracies"]);
    insta::assert_snapshot!(project.expect(0, &["table", "p.ron", "q.ron"]).stdout);
    // Of some trials nothing is said that was found with others.
    let some = project.expect(0, &["table", "p.ron", "--where", "method!=mild", "--format", "csv"]).stdout;
    insta::assert_snapshot!(some);
    // A pipeline that extends this one may have another budget, or none.
    project.write("r.ron", r#"(name: "r", extends: "p.ron", seeds: Until(ci95: 0.002, max: 4, min: 2, metrics: ["probe.accuracy"]))"#);
    let plan = project.expect(0, &["plan", "r.ron"]).stdout;
    assert!(plan.contains("\n4 seeds a point, which is all there may be\n"), "{plan}");
}

/// Every command of the guide is run, and what it prints is what stands below it; `ABLATE_UPDATE_BOOK=1 cargo test` writes it.
#[test]
fn the_guide_shows_what_its_commands_print() {
    let project = Project::new();
    let page = common::page("guides/seeds.md");
    let found = common::blocks(&page);
    let pipeline = found.iter().find(|(info, _)| info == "ron").unwrap();
    project.write("methods.ron", &page[pipeline.1.clone()]);
    let mut printed = Vec::new();
    for pair in found.windows(2).filter(|pair| pair[0].0 == "sh") {
        let command = page[pair[0].1.clone()].trim().strip_prefix("ablate ").unwrap();
        let stdout = project.expect(0, &command.split(' ').collect::<Vec<_>>()).stdout;
        printed.push((pair[1].1.clone(), format!("{}\n", stdout.trim())));
    }
    assert_eq!(printed.len(), 3);
    common::shows("guides/seeds.md", printed);
}
