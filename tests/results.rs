//! Commands that show what programs gave: tables, trials, reports.
#![cfg(feature = "tables")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use ablate::expand::expand;
use ablate::graph::{Graph, InstanceId};
use ablate::pipeline::{self, MetricRef, Overrides};
use ablate::plan::{Files, Keys, State, plan};
use ablate::rows::{Outcome, gather};
use ablate::source::SourceMap;
use ablate_stage::Registry;
use ablate_stage::cache::{ActionResult, Durability, Provenance, Rehash, Store};
use common::{Project, wait_until};
use litemap::LiteMap;

/// `probe` reports an accuracy that depends on its method and its seed; `K` makes the third fail.
const METHODS: &str = r#"Pipeline(
    name: "methods",
    stages: {
        "probe": (
            stage: Command(
                argv: ["/bin/sh", "-c", "[ $METHOD != c ] && echo \"{{\\\"accuracy\\\": 0.${{METHOD#a}}{seed}5}}\" > m.json"],
                env: {"METHOD": "a6"},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
        ),
    },
    axes: {"method": (paths: ["probe.env.METHOD"], values: {"A & B": "a6", "<C>": "a7", "D": "c"})},
    seeds: [0, 1, 2],
    tables: {
        "accuracies": (
            rows: ["method"], cell: MeanStd("probe.accuracy", Percent), baseline: {"method": "A & B"},
        ),
    },
)
"#;

fn ran() -> Project {
    let project = Project::new();
    project.write("p.ron", METHODS);
    project.expect(1, &["run", "p.ron"]);
    project
}

/// The graph of `p.ron`.
fn graph_of(project: &Project) -> Graph {
    let mut sources = SourceMap::new();
    let registry = Registry::new().with::<ablate::command::Command>();
    let graph = pipeline::load(&project.path().join("p.ron"), &Overrides::default(), &mut sources)
        .and_then(|pipeline| expand(&pipeline, &registry));
    graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)))
}

/// The methods of a table in CSV, each with what its cell shows.
fn cells(csv: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    let at = |name: &str| heading.iter().position(|known| *known == name).unwrap();
    lines.map(|line| format!("{}: {}", line[at("method")], line[at("text")])).collect()
}

#[test]
fn a_run_and_a_table_show_the_same() {
    let project = Project::new();
    project.write("p.ron", METHODS);
    let run = project.expect(1, &["run", "p.ron"]).stdout;
    let table = project.expect(0, &["table", "p.ron"]).stdout;
    assert_eq!(run.trim(), table.trim());
    insta::assert_snapshot!(table);
}

#[test]
fn the_ending_of_a_file_says_how_a_table_is_written() {
    let project = ran();
    let begins = [
        ("t.md", "| method | accuracy"),
        ("t.csv", "method,cell,n,"),
        ("t.tex", "% accuracies"),
        ("t.html", "<!doctype html>"),
        ("t.txt", "accuracies\n━"),
    ];
    for (file, begin) in begins {
        project.expect(0, &["table", "p.ron", "--to", file]);
        assert!(project.read(file).starts_with(begin), "{file}: {}", project.read(file));
    }
    project.expect(0, &["table", "p.ron", "--to", "t.parquet"]);
    assert!(std::fs::read(project.path().join("t.parquet")).unwrap().starts_with(b"PAR1"));
    let markdown = project.expect(0, &["table", "p.ron", "--format", "markdown", "--to", "t.csv"]);
    assert_eq!((markdown.stdout.as_str(), &project.read("t.csv")), ("", &project.read("t.md")));
}

#[test]
fn published_values_lie_beside_the_pipeline() {
    let project = ran();
    project.write("accuracies.published.csv", "method,value,source\nA & B,61.0,\"X, 2020\"\nE,99,\n");
    insta::assert_snapshot!(project.expect(0, &["table", "p.ron", "--format", "markdown"]).stdout);
    // What is left out takes with it what others say of it, and leaves what they say of what was never ours.
    for option in [["--axis", "method=<C>"], ["--where", "method=<C>"]] {
        let arguments = [&["table", "p.ron", "--format", "markdown"], &option[..]].concat();
        let narrowed = project.expect(0, &arguments).stdout;
        assert!(narrowed.contains("| E |") && !narrowed.contains("61.0"), "{option:?}: {narrowed}");
    }
    project.write("accuracies.published.csv", "methods,value\nE,99\n");
    let wrong = project.expect(3, &["table", "p.ron"]).stderr;
    let place = project.path().canonicalize().unwrap().join("accuracies.published.csv");
    let expected = "column `methods` is no axis of the table (`method`) and none of `cell`, `value`, `std`, `source`, `oracle`";
    assert_eq!(wrong, format!("error: {}: {expected}\n", place.display()));
    // What is wrong is told before anything runs.
    let runs = || std::fs::read_dir(project.store().join("runs")).unwrap().count();
    let before = runs();
    assert_eq!(project.expect(3, &["run", "p.ron"]).stderr, wrong);
    assert_eq!(runs(), before);
}

#[test]
fn pipelines_share_a_table_and_trials_are_chosen_and_grouped() {
    let project = ran();
    project.write("q.ron", METHODS.replace("\"methods\"", "\"others\"").replace("[0, 1, 2]", "[1, 2]"));
    insta::assert_snapshot!(project.expect(0, &["table", "p.ron", "q.ron"]).stdout);
    let chosen =
        ["table", "p.ron", "--where", "method!=D", "--where", "probe.accuracy>0.61", "--group-by", "method"];
    insta::assert_snapshot!(project.expect(0, &chosen).stdout);
    let trials = project.expect(0, &["table", "p.ron", "--trials", "--where", "seed=1"]).stdout;
    let columns = "method,seed,probe.accuracy,probe:state,probe:action,probe:seconds,probe:memory_mib,probe:device,\
                   probe:devices,probe:caveats,probe:host,probe:hardware,probe:started,probe:version";
    let lines: Vec<&str> = trials.lines().collect();
    assert_eq!((lines[0], lines.len()), (columns, 4));
    assert!(lines[1].starts_with("A & B,1,0.615,done,") && lines[1].contains(",cpu,probe=cpu,"), "{trials}");
    assert!(lines[3].starts_with("D,1,,failed,"), "{trials}");
}

#[test]
fn what_is_asked_for_in_vain_is_told() {
    let project = ran();
    let check = |arguments: &[&str], expected: &str| {
        assert_eq!(project.expect(2, arguments).stderr, format!("error: {expected}\n"));
    };
    check(
        &["table", "p.ron", "--table", "t"],
        "the pipeline has no such thing as a table `t`; it has accuracies",
    );
    check(
        &["table", "p.ron", "--where", "k=3"],
        "table `accuracies`: the trials have no `k`; they have `method`, `seed`, `probe.accuracy`",
    );
    check(
        &["table", "p.ron", "--where", "method=E"],
        "table `accuracies`: no trial has `E` for `method`; there are `<C>`, `A & B`, `D`",
    );
    check(&["table", "p.ron", "--group-by", "seed"], "`seed` is no axis");
    check(&["table", "p.ron", "./p.ron"], "./p.ron is the same as p.ron; name it once");
    check(&["table", "p.ron", "--where", "probe.loss>1"], "no trial has reported a metric `probe.loss` yet");
    check(
        &["table", "p.ron", "--metric", "probe.accuracy"],
        "`--metric` goes with `--group-by` or `--trials`",
    );
    check(
        &["table", "p.ron", "--to", "t.json"],
        "the ending of t.json names no format; it may be .txt, .md, .csv, .parquet, .tex or .html; or set `--format`",
    );
    check(
        &["table", "p.ron", "--trials", "--metric", "probe.loss"],
        "no trial has reported a metric `probe.loss` yet",
    );
}

#[test]
fn a_run_and_a_report_show_effects_and_ladders() {
    let project = Project::new();
    let tables = r#"sweep: Ladder(from: {"method": "A & B"}, steps: [{"method": "<C>"}]),
    tables: {
        "effects": Effects(axes: ["method"], cell: Mean("probe.accuracy")),
        "ladder": (rows: Ladder, cell: Mean("probe.accuracy")),"#;
    project.write("p.ron", METHODS.replace("tables: {", tables));
    let run = project.expect(0, &["run", "p.ron", "--table", "effects", "--table", "ladder"]).stdout;
    let rows: Vec<String> =
        run.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in ["method <C> 0.715 +0.050 0.974", "rest – – – 0.026", "+ method=<C> 0.715 (+0.100)"] {
        assert!(rows.iter().any(|line| line == row), "{row}: {run}");
    }
    project.expect(0, &["report", "p.ron", "--to", "p.html"]);
    let page = project.read("p.html");
    for cell in ["<th scope=\"row\">+ method=&lt;C&gt;</th>", ">+0.050</td>"] {
        assert!(page.contains(cell), "{cell}");
    }
    project.write("effects.published.csv", "axis,value\nmethod,1\n");
    let wrong = project.expect(3, &["table", "p.ron"]).stderr;
    assert!(wrong.ends_with("`effects` shows effects, beside which no values stand\n"), "{wrong}");
}

#[test]
fn a_running_stage_is_told_from_a_missing_one() {
    let project = Project::new();
    let slow = METHODS.replace("[ $METHOD != c ] &&", "while [ ! -e $GO ]; do sleep 0.05; done;");
    let gate = project.path().join("go");
    let slow = slow.replace(r#"env: {"#, &format!(r#"env: {{"GO": "{}", "#, gate.display()));
    project.write("p.ron", slow);
    let run = project.start_group(&["run", "p.ron", "--jobs", "1", "--seeds", "0"]);
    common::wait_until("a stage runs", || {
        project.store().join("runs").exists()
            && project.expect(0, &["table", "p.ron"]).stdout.contains("running")
    });
    let table = project.expect(0, &["table", "p.ron", "--seeds", "0", "--format", "csv"]).stdout;
    project.write("go", "");
    common::finish(run);
    assert_eq!(cells(&table), ["A & B: running", "<C>: missing", "D: missing"]);
}

/// A failure is that of an action: once the pipeline says something else, nobody knows yet.
#[test]
fn what_failed_under_another_key_is_missing() {
    let project = ran();
    let csv = |project: &Project| project.expect(0, &["table", "p.ron", "--format", "csv"]).stdout;
    assert_eq!(cells(&csv(&project))[2], "D: failed");
    project.write("p.ron", METHODS.replace("[ $METHOD != c ] &&", "[ $METHOD != d ] &&"));
    assert_eq!(cells(&csv(&project))[2], "D: missing");
}

/// A failure stands until the action is tried again, whatever other runs do meanwhile.
#[test]
fn a_failure_is_remembered_by_later_runs_of_other_parts() {
    let project = ran();
    let csv = |project: &Project| project.expect(0, &["table", "p.ron", "--format", "csv"]).stdout;
    let failed = csv(&project);
    assert_eq!(cells(&failed)[2], "D: failed");
    project.expect(0, &["run", "p.ron", "--only", "probe[method=A*"]);
    for _ in 0..9 {
        project.expect(0, &["run", "p.ron", "--axis", "method=<C>"]);
    }
    // Nor does it matter how another action of that name fares.
    project.expect(1, &["run", "p.ron", "--axis", "method=D", "--set", "probe.env.OTHER=\"1\""]);
    assert_eq!(csv(&project), failed);
    // What would need other keys was never tried.
    let other =
        project.expect(0, &["table", "p.ron", "--format", "csv", "--set", "probe.env.OTHER=\"2\""]).stdout;
    assert_eq!(cells(&other)[2], "D: missing");
}

/// What runs under the same name with other settings is something else.
#[test]
fn what_runs_under_another_key_is_missing() {
    let project = Project::new();
    let slow = METHODS.replace("[ $METHOD != c ] &&", "while [ ! -e $GO ]; do sleep 0.05; done;");
    let gate = project.path().join("go");
    let slow = slow.replace(r#"env: {"#, &format!(r#"env: {{"GO": "{}", "#, gate.display()));
    project.write("p.ron", slow);
    let other = ["--set", "probe.env.OTHER=\"x\""];
    let start = |more: &[&str]| {
        project.start_group(&[&["run", "p.ron", "--jobs", "1", "--seeds", "0"], more].concat())
    };
    let run = start(&other);
    let table =
        |more: &[&str]| project.expect(0, &[&["table", "p.ron", "--seeds", "0"], more].concat()).stdout;
    common::wait_until("a stage runs", || {
        project.store().join("runs").exists() && table(&other).contains("running")
    });
    let shown = table(&[]);
    assert!(!shown.contains("running") && shown.contains("missing"), "{shown}");
    // A later run of the same name does not hide this one.
    let later = start(&[]);
    common::wait_until("the other runs", || table(&[]).contains("running"));
    let both = [table(&other), table(&[])];
    project.write("go", "");
    common::finish(run);
    common::finish(later);
    assert!(both.iter().all(|table| table.contains("running")), "{both:?}");
}

/// What is not there is said; the rest is shown all the same.
#[test]
fn a_data_set_that_is_not_there_leaves_the_rest_of_a_table() {
    let project = Project::new();
    let files = METHODS
        .replace("env: {\"METHOD\": \"a6\"},", "env: {\"METHOD\": \"a6\"}, files: [\"a.txt\"],")
        .replace(
            r#""method": (paths: ["probe.env.METHOD"], values: {"A & B": "a6", "<C>": "a7", "D": "c"})"#,
            r#""method": {
            "A & B": Set({"probe.env.METHOD": "a6"}),
            "<C>": Set({"probe.env.METHOD": "a7", "probe.files": ["b.txt"]}),
            "D": Set({"probe.env.METHOD": "a7", "probe.files": ["c.txt"]}),
        }"#,
        );
    project.write("p.ron", files).write("a.txt", "a");
    let told = |name: &str| {
        let path = project.path().canonicalize().unwrap().join(name);
        format!("declares the file {}: No such file or directory (os error 2)", path.display())
    };
    // A run says all that is wrong before it does anything.
    let wrong = project.expect(3, &["run", "p.ron"]).stderr;
    assert!(wrong.contains(&told("b.txt")) && wrong.contains(&told("c.txt")), "{wrong}");
    project.expect(0, &["run", "p.ron", "--axis", "method=A & B"]);
    let table = project.expect(0, &["table", "p.ron", "--format", "csv"]);
    assert_eq!(cells(&table.stdout), ["A & B: 61.5 ± 1.0", "<C>: missing", "D: missing"]);
    let warnings: Vec<&str> = table.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with("warning: probe[method=<C>,seed=0] ") && warnings[0].contains(&told("b.txt"))
    );
    project.expect(0, &["report", "p.ron", "--to", "p.html"]);
    assert!(project.read("p.html").contains("b.txt: No such file"));
    let why = project.expect(0, &["why", "p.ron", "probe[method=<C>,seed=0]"]).stdout;
    assert_eq!(why, "probe[method=<C>,seed=0] declares the file b.txt, which cannot be read\n");
    project.expect(0, &["get", "p.ron", "probe[method=A & B,seed=0]", "--to", "got.json"]);
    // An axis of such values has no others.
    let unknown = project.expect(3, &["table", "p.ron", "--axis", "method=E (1)"]).stderr;
    assert!(unknown.starts_with("error: axis `method` has no value `E (1)`\n"), "{unknown}");
}

/// `other` takes what `one` makes.
const TWO: &str = r#"Pipeline(
    name: "two",
    stages: {
        "one": (stage: Command(argv: ["echo", "{seed}"], outputs: {"metrics": (kind: Metrics, path: "m.json")})),
        "other": (
            stage: Command(
                argv: ["cat", "{input:metrics}"],
                inputs: {"metrics": Metrics},
                env: {"K": "1"},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
            from: {"metrics": "one"},
        ),
    },
    axes: {"k": (paths: ["other.env.K"], values: ["1", "2"])},
    seeds: [0, 1, 2],
)
"#;

/// Trials of one point may differ in what there is of them, and with that in the axes that reach them.
#[test]
fn a_row_has_the_axes_of_the_stages_it_has() {
    let project = Project::new();
    project.write("p.ron", TWO);
    let graph = graph_of(&project);
    let graph = graph.only(|graph, id| {
        let instance = graph.instance(id);
        &*instance.stage == "one" || instance.seed == Some(0)
    });
    let metric = |stage: &str| MetricRef { stage: stage.to_owned(), metric: "loss".to_owned() };
    let rows = gather(&graph, &[metric("one"), metric("other")], |_| true, |_| Outcome::Missing);
    let points: Vec<(Option<u64>, Option<usize>)> =
        rows.seeds.iter().zip(&rows.points).map(|(&seed, point)| (seed, point[0])).collect();
    assert_eq!(points, [(Some(0), Some(0)), (Some(1), None), (Some(2), None), (Some(0), Some(1))]);
}

/// Many instances are looked for by several threads, and those of each depth after what they need.
#[test]
fn a_plan_of_many_finds_each_result_and_what_waits() {
    let project = Project::new();
    project.write("p.ron", TWO.replace("[0, 1, 2]", "\"0..100\""));
    let graph = graph_of(&project);
    let store = Store::open(&project.store()).unwrap().with_durability(Durability::None);
    let (files, _) = Files::read(&graph, &store, project.path(), Rehash::Changed, SystemTime::UNIX_EPOCH);
    let object = |id: InstanceId| store.insert_bytes(id.0.to_string().as_bytes()).unwrap();
    let result = |id: InstanceId| ActionResult {
        outputs: LiteMap::from_iter([("metrics".to_owned(), object(id))]),
        metrics: LiteMap::new(),
        provenance: Provenance::default(),
    };
    let results: Vec<ActionResult> = graph.ids().map(result).collect();
    let keys = Keys::new(&graph, &files);
    for id in graph.ids().filter(|id| graph.instance(*id).seed != Some(7)) {
        let manifest = keys.manifest(id, |from| Some(&results[from.0])).to_string();
        store.publish(&store.put_manifest(&manifest).unwrap(), &results[id.0]).unwrap();
    }
    let plan = plan(&graph, &store, files.clone());
    assert_eq!((graph.instances.len(), plan.states.len()), (300, 300));
    for id in graph.ids() {
        let seed = graph.instance(id).seed;
        match plan.state(id) {
            State::Miss(_) => assert_eq!(id, InstanceId(7)),
            State::Pending(on) => assert_eq!((seed, on.as_slice()), (Some(7), &[InstanceId(7)][..])),
            found => assert_eq!((found.result(), seed == Some(7)), (Some(&results[id.0]), false)),
        }
    }
}

/// An axis may be narrowed on the command line, whatever the file says of the values that are left out.
#[test]
fn an_axis_is_narrowed_whatever_is_said_of_its_other_values() {
    let project = Project::new();
    let sweep = r#"sweep: When({"method": ["D", "<C>"]}, "size"), tables: {"#;
    let sized = METHODS
        .replace(r#""METHOD": "a6""#, r#""METHOD": "a6", "SIZE": "0""#)
        .replace("axes: {", r#"axes: {"size": (paths: ["probe.env.SIZE"], values: ["1", "2"]),"#)
        .replace("tables: {", sweep)
        .replace("seeds: [0, 1, 2]", "seeds: [0, 1]")
        .replace(r#"sweep: When("#, r#"sweep: Grid(["method", When("#)
        .replace(r#""size"), tables"#, r#""size")]), tables"#);
    let sized = sized.replace(r#"rows: ["method"]"#, r#"columns: ["method"]"#);
    project.write("p.ron", sized);
    project.write("accuracies.published.csv", "method,value\nD,99\nA & B,61\n");
    let rows = |axis: &str| {
        let text = project.expect(0, &["expand", "p.ron", "--axis", axis]).stdout;
        text.lines().filter(|line| line.contains("probe[")).count()
    };
    let all = project.expect(0, &["expand", "p.ron"]).stdout;
    assert!(rows("method=A & B") < rows("method=D") && rows("method=D") < all.lines().count());
    project.expect(1, &["run", "p.ron", "--axis", "method=<C>, D"]);
    let table = project.expect(0, &["table", "p.ron", "--axis", "method=<C>, D"]).stdout;
    assert!(!table.contains("in parentheses"), "the baseline is not there: {table}");
    assert!(table.contains("99 [a]") && !table.contains("not shown"), "{table}");
}

/// A sweep and an ablation of one of its points, whose default is in the sweep.
#[test]
fn points_whose_values_come_to_the_same_are_one_result() {
    let project = Project::new();
    let pipeline = r#"Pipeline(
        name: "shared",
        stages: {"p": (stage: Command(
            argv: ["/bin/sh", "-c", "echo \"{{\\\"accuracy\\\": 0.$A$B$((({seed} + 1) * ($A + 1) * ($B + 2) % 7))}}\" > m.json"],
            env: {"A": "1", "B": "0"},
            outputs: {"metrics": (kind: Metrics, path: "m.json")},
        ))},
        axes: {"a": (paths: ["p.env.A"], values: ["1", "2"]), "b": (paths: ["p.env.B"], values: ["0", "3"])},
        sweep: Chain(["a", Grid(["a", "b"])]),
        seeds: [0, 1, 2],
        tables: {"t": (rows: ["a", "b"], cell: Mean("p.accuracy", Digits(4)), baseline: {"a": "1", "b": "0"})},
    )"#;
    project.write("p.ron", pipeline);
    project.expect(0, &["run", "p.ron"]);
    let table = project.expect(0, &["table", "p.ron"]).stdout;
    // Of five rows beside the baseline, one is the baseline again and two are one.
    assert!(table.contains("Holm-corrected for 3 comparisons"), "{table}");
    let means = project.expect(0, &["table", "p.ron", "--group-by", "a", "--format", "csv"]).stdout;
    let numbers = |row: usize| -> Vec<String> {
        means.lines().nth(row).unwrap().split(',').map(str::to_owned).collect()
    };
    let column = |name: &str| numbers(0).iter().position(|column| column == name).unwrap();
    // As the program says, of 1 and 0 and of 1 and 3.
    assert_eq!(numbers(1)[column("n")], "6");
    let mean: f64 = numbers(1)[column("mean")].parse().unwrap();
    assert!((mean - (0.104 + 0.101 + 0.105 + 0.133 + 0.136 + 0.132) / 6.0).abs() < 1e-12, "{means}");
}

/// Two methods on two data sets, and one of them in two further widths.
const TWO_TABLES: &str = r#"Pipeline(
    name: "paper",
    stages: {"p": (stage: Command(
        argv: ["/bin/sh", "-c", "echo \"{{\\\"accuracy\\\": 0.$((${{#METHOD}} * 100 + $WIDTH + $DATA * 10 + {seed}))}}\" > m.json"],
        env: {"METHOD": "", "DATA": "", "WIDTH": "8"},
        outputs: {"metrics": (kind: Metrics, path: "m.json")},
    ))},
    axes: {
        "method": (paths: ["p.env.METHOD"], values: {"linear": "abcdef", "MLP": "abc"}),
        "data": (paths: ["p.env.DATA"], values: {"moons": "1", "rings": "3"}),
        "width": (paths: ["p.env.WIDTH"], values: ["4", "16"]),
    },
    sweep: Chain([
        Grid(["method", "data"]), Exclude(Grid(["method", "data", "width"]), [{"method": "linear"}]),
    ]),
    seeds: [0, 1],
    tables: {
        "main": (
            rows: ["method"], columns: ["data"], cell: Mean("p.accuracy"),
            where: {"width": None}, baseline: {"method": "linear"},
        ),
        "width": (
            rows: ["width"], columns: ["data"], cell: Mean("p.accuracy"),
            where: {"method": "MLP", "data": ["moons", "rings"]},
        ),
        "moons": (rows: ["method"], columns: ["data"], cell: Mean("p.accuracy"), where: {"data": "moons", "width": [None, "16"]}),
    },
)"#;

#[test]
fn a_table_is_of_the_trials_it_says() {
    let project = Project::new();
    let published = "method,data,value\nMLP,moons,0.31\nlinear,rings,0.62\n";
    project.write("p.ron", TWO_TABLES).write("moons.published.csv", published);
    project.write("width.published.csv", "width,data,value\n16,rings,0.4\n");
    project.expect(0, &["run", "p.ron", "--table", "main"]);
    assert_eq!(project.ran().len(), 8, "{:?}", project.ran());
    project.expect(0, &["run", "p.ron", "--table", "width"]);
    assert_eq!(project.ran().len(), 8, "{:?}", project.ran());
    assert!(project.ran().iter().all(|name| name.contains("width=")), "{:?}", project.ran());
    let ran = project.expect(0, &["run", "p.ron"]).stdout;
    let table = project.expect(0, &["table", "p.ron"]).stdout;
    assert_eq!(ran.trim().replace("\n\n\n", "\n\n"), table.trim());
    insta::assert_snapshot!(table);
    // What the command line leaves out, no table asks for.
    let narrowed = project.expect(0, &["table", "p.ron", "--table", "moons", "--axis", "width=4"]).stdout;
    assert!(!narrowed.contains("16") && narrowed.contains("linear"), "{narrowed}");
    let other = TWO_TABLES.replace(r#"where: {"width": None}"#, r#"where: {"width": "4"}"#);
    let other = other.replace(r#", baseline: {"method": "linear"}"#, "");
    project.write("q.ron", other.replace("paper", "other"));
    let told = project.expect(2, &["table", "p.ron", "q.ron", "--table", "main"]).stderr;
    assert!(told.contains("print them one by one"), "{told}");
}

/// A method that ignores its seed is sampled by each seed all the same.
#[test]
fn seeds_with_the_same_bytes_are_samples_each() {
    let project = Project::new();
    let pipeline = r#"Pipeline(
        name: "bytes",
        stages: {
            "train": (stage: Command(
                argv: ["/bin/sh", "-c", "echo 0.$(({seed} * $SPREAD / 2 + 5)) > o"],
                env: {"SPREAD": 0}, outputs: {"o": (kind: File, path: "o")},
            )),
            "score": (
                stage: Command(
                    argv: ["/bin/sh", "-c", "echo \"{{\\\"accuracy\\\": $(cat {input:x})}}\" > m.json"],
                    inputs: {"x": File}, outputs: {"metrics": (kind: Metrics, path: "m.json")},
                ),
                from: {"x": "train"},
            ),
        },
        axes: {"spread": (paths: ["train.env.SPREAD"], values: [0, 1, 2])},
        seeds: [0, 1, 2, 3],
        tables: {"t": (rows: ["spread"], cell: MeanStd("score.accuracy"), baseline: {"spread": "0"})},
    )"#;
    project.write("p.ron", pipeline);
    let ran = project.expect(0, &["run", "p.ron"]).stdout;
    // 5 5 5 5; 5 5 6 6; 5 6 7 8.
    let words = ran.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in ["0 0.500 ± 0.000", "1 0.550 ± 0.058 (+0.050)", "2 0.650 ± 0.129 (+0.150)"] {
        assert!(words.contains(row), "{row} is not in {ran}");
    }
    assert!(ran.contains("over 4 seeds") && ran.contains("for 2 comparisons"), "{ran}");
}

/// Two stages report, and the axis reaches one of them.
const STAGES: &str = r#"Pipeline(
    name: "stages",
    stages: {
        "train": (stage: Command(
            argv: ["/bin/sh", "-c", "echo \"{{\\\"loss\\\": 0.${{M}}{seed}}}\" > m.json"],
            env: {"M": 1}, outputs: {"metrics": (kind: Metrics, path: "m.json")},
        )),
        "score": (
            stage: Command(
                argv: ["/bin/sh", "-c", "echo \"{{\\\"accuracy\\\": 0.${{K}}{seed}}}\" > m.json"],
                env: {"K": 3}, inputs: {"x": Metrics}, outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
            from: {"x": "train"},
        ),
    },
    axes: {
        "m": (paths: ["train.env.M"], values: [1, 2]),
        "k": (paths: ["score.env.K"], values: [5, 7]),
    },
    sweep: Chain(["m", Grid(["m", "k"])]),
    seeds: [0, 1],
    tables: {
        "main": (rows: ["m"], cells: {"loss": Mean("train.loss"), "acc": Mean("score.accuracy")}, where: {"k": None}),
        "five": (rows: ["m"], cell: Mean("train.loss"), where: {"k": [5, 7]}),
        "score": (rows: ["m"], columns: ["k"], cell: Mean("score.accuracy"), where: {"k": ["7", "5"]}),
    },
)"#;

#[test]
fn the_trials_of_a_table_are_those_of_the_sweep_whatever_is_chosen_besides() {
    let project = Project::new();
    project.write("p.ron", STAGES);
    let part = project.expect(0, &["run", "p.ron", "--table", "main", "--table", "five"]).stdout;
    // The second asks for no score: none of its points.
    assert_eq!(project.ran().len(), 8, "{:?}", project.ran());
    let of_run = project.expect(0, &["table", "@1", "--table", "main"]).stdout;
    let of_file = project.expect(0, &["table", "p.ron", "--table", "main"]).stdout;
    assert!(of_file.contains("1   0.105   0.305") && !of_file.contains(" of "), "{of_file}");
    assert_eq!(of_run, of_file);
    assert!(part.contains(of_file.trim()), "{part}");
    project.expect(0, &["run", "p.ron"]);
    // A condition on another metric changes nothing of which trials are meant.
    let five = |arguments: &[&str]| {
        let arguments = [&["table", "p.ron", "--table", "five", "--format", "csv"], arguments].concat();
        let text = project.expect(0, &arguments).stdout;
        text.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect::<Vec<_>>()
    };
    assert_eq!(five(&[]), five(&["--where", "score.accuracy>=0"]));
    assert_eq!(five(&[]).len(), 3);
    // What one table leaves out is asked of all.
    let chosen = project.expect(0, &["table", "p.ron", "--where", "k=5"]).stdout;
    assert!(chosen.contains("0.505") && !chosen.contains("0.705"), "{chosen}");
    // A run of some values stands beside the file.
    project.expect(0, &["run", "p.ron", "--axis", "k=5"]);
    project.expect(0, &["table", "p.ron", "@1"]);
    let turned = STAGES.replace(r#"["7", "5"]"#, "[5, 7]").replace("\"stages\"", "\"turned\"");
    project.write("q.ron", turned).expect(0, &["table", "p.ron", "q.ron"]);
}

/// Some points set a column axis and others do not, in either order.
#[test]
fn a_column_of_its_own_has_what_an_axis_does_not_say() {
    let pipeline = r#"Pipeline(
        name: "columns",
        stages: {"t": (stage: Command(
            argv: ["/bin/sh", "-c", "echo \"{{\\\"accuracy\\\": 0.$((500 + A * 50 + B * 7))}}\" > m.json"],
            env: {"A": 0, "B": 0}, outputs: {"metrics": (kind: Metrics, path: "m.json")},
        ))},
        axes: {"a": (paths: ["t.env.A"], values: [1, 2]), "b": (paths: ["t.env.B"], values: [1, 2])},
        sweep: SWEEP,
        tables: {"t": (rows: ["a"], columns: ["b"], cell: Mean("t.accuracy"), baseline: {"a": "1"})},
    )"#;
    for sweep in [r#"Chain([Grid(["a", "b"]), "a"])"#, r#"Chain(["a", Grid(["a", "b"])])"#] {
        let project = Project::new();
        project.write("p.ron", pipeline.replace("SWEEP", sweep)).expect(0, &["run", "p.ron"]);
        let csv = project.expect(0, &["table", "p.ron", "--format", "csv"]).stdout;
        let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        let place = |name: &str| heading.iter().position(|column| *column == name).unwrap();
        let (a, b, mean, difference) = (place("a"), place("b"), place("mean"), place("difference"));
        let mut cells: Vec<String> = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect::<Vec<_>>())
            .map(|cell| {
                let number =
                    |at: usize| cell[at].parse().map_or(f64::NAN, |value: f64| (value * 1e6).round() / 1e6);
                format!("{} {} {} {}", cell[a], cell[b], number(mean), number(difference))
            })
            .collect();
        cells.sort();
        let expected = [
            "1  0.55 NaN",
            "1 1 0.557 NaN",
            "1 2 0.564 NaN",
            "2  0.6 0.05",
            "2 1 0.607 0.05",
            "2 2 0.614 0.05",
        ];
        assert_eq!(cells, expected, "{sweep}: {csv}");
    }
}

#[test]
fn a_table_of_a_ladder_is_of_its_points() {
    let project = Project::new();
    let ladder = STAGES
        .replace(r#"Chain(["m", Grid(["m", "k"])])"#, r#"Chain([Ladder(from: {"m": 1, "k": 5}, steps: [{"m": 2}, {"k": 7}]), "m"])"#)
        .replace(r#""main": (rows: ["m"], cells: {"loss": Mean("train.loss"), "acc": Mean("score.accuracy")}, where: {"k": None}),"#, "")
        .replace(r#""five": (rows: ["m"], cell: Mean("train.loss"), where: {"k": [5, 7]}),"#, "")
        .replace(r#"(rows: ["m"], columns: ["k"], cell: Mean("score.accuracy"), where: {"k": ["7", "5"]})"#, r#"(rows: Ladder, cell: Mean("score.accuracy"))"#);
    project.write("p.ron", &ladder).expect(0, &["run", "p.ron", "--table", "score"]);
    assert_eq!(
        project.ran().iter().filter(|name| name.starts_with("score")).count(),
        6,
        "{:?}",
        project.ran()
    );
    // Points of the sweep that are none of the ladder's may be chosen, in other tables.
    let wider = ladder
        .replace("values: [5, 7]", "values: [5, 7, 9]")
        .replace(r#", "m"])"#, r#", Grid(["m", "k"])])"#);
    project.write("s.ron", wider).expect(0, &["table", "s.ron", "--where", "k=9"]);
    let apart = ladder.replace("rows: Ladder,", r#"rows: Ladder, where: {"k": None},"#);
    let told = project.write("q.ron", apart).expect(3, &["check", "q.ron"]).stderr;
    assert!(told.contains("the rows are compared with one that is not without `k`"), "{told}");
    let none = STAGES.replace(r#"where: {"k": None}"#, r#"where: {"m": 2}"#);
    project.write("r.ron", none);
    let told = project.expect(2, &["run", "r.ron", "--table", "main", "--axis", "m=1"]).stderr;
    assert_eq!(told, "error: no trial of the table `main` is left\n");
}

#[test]
fn a_report_is_one_page_that_asks_for_nothing() {
    let project = ran();
    assert_eq!(project.expect(0, &["report", "p.ron"]).stdout, "wrote p.html\n");
    let page = project.read("p.html");
    for piece in [
        "<title>methods</title>",
        "1 stage, 9 instances, 9 trials; 3 failed",
        "<th scope=\"row\">A &amp; B</th><td data-value=\"0.615\">61.5 ± 1.0</td>",
        "<td>failed</td>",
        "default-src 'none'",
        "<svg xmlns=",
        "6 of 9",
        "<dt>seeds</dt><dd>0, 1, 2</dd>",
    ] {
        assert!(page.contains(piece), "{piece} is not in {page}");
    }
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["http:", "https:", "//", "src=", "@import", "url("] {
        let found = page.lines().find(|line| line.contains(outside) && !line.trim_start().starts_with("//"));
        assert_eq!(found, None, "{outside}");
    }
    project.expect(0, &["report", "p.ron", "--to", "again.html"]);
    assert_eq!(project.read("again.html"), project.read("p.html"));
}

/// What a server answers to a request: the status, and the body.
fn ask(address: &str, method: &str, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_served_report_follows_what_runs() {
    let project = Project::new();
    project.write("p.ron", METHODS);
    let mut server = project.start(&["report", "p.ron", "--serve"]);
    let mut told = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let address = told.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let ask = |method, path, host| ask(&address, method, path, host);
    let page = || ask("GET", "/", "localhost").1;
    let empty = page();
    let version = ask("GET", "/state", "localhost").1.lines().next().unwrap().to_owned();
    assert!(empty.contains(&format!("data-version=\"{version}\"")) && empty.contains("9 missing"), "{empty}");
    assert!(empty.contains("connect-src 'self'"), "{empty}");
    project.expect(1, &["run", "p.ron"]);
    wait_until("the page shows the results", || page().contains("61.5 ± 1.0"));
    assert_ne!(ask("GET", "/state", "localhost").1.lines().next(), Some(version.as_str()));
    project.write("p.ron", METHODS.replace("stages:", "stags:"));
    wait_until("the page shows what is wrong", || page().contains("`Pipeline` has no field `stags`"));
    assert_eq!(ask("GET", "/", "elsewhere.example").0, "HTTP/1.1 403 Forbidden");
    assert_eq!(ask("POST", "/", "localhost").0, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(ask("GET", "/other", "localhost").0, "HTTP/1.1 404 Not Found");
    // One who announces more than there is keeps nobody else waiting.
    let mut endless = TcpStream::connect(&address).unwrap();
    write!(endless, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", u64::MAX / 4)
        .unwrap();
    assert_eq!(ask("GET", "/", "localhost").0, "HTTP/1.1 200 OK");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// It is of one run, whatever runs later, and sees that end, be it by a kill.
#[test]
fn a_served_report_of_a_run_sees_it_die() {
    let project = Project::new();
    project.write("p.ron", METHODS.replace("[ $METHOD != c ] &&", "[ $METHOD = a6 ] || sleep 1000;"));
    let mut run = project.start_group(&["run", "p.ron", "--jobs", "1", "--seeds", "0"]);
    wait_until("the run is there", || project.run(&["table", "@1"]).code == 0);
    let mut server = project.start(&["report", "@1", "--serve"]);
    let mut told = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let address = told.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let page = || ask(&address, "GET", "/", "localhost").1;
    wait_until("the first stage has ended, and the second runs", || {
        page().contains("; 1 missing, 1 running</p>")
    });
    run.kill().unwrap();
    run.wait().unwrap();
    project.expect(0, &["run", "p.ron", "--axis", "method=A & B", "--seeds", "0"]);
    wait_until("the page shows that nothing runs", || page().contains("; 2 missing</p>"));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn what_a_program_says_of_itself_is_followed() {
    let project = Project::new();
    let go = project.path().join("go");
    // What comes within two seconds of what came before is left out of the journal.
    let script = "echo ablate: 1/9 epoch loss=0.1; sleep 2.2; echo trained; \
                  until [ -e GO ]; do echo ablate: 2/9 epoch loss=0.2; sleep 0.5; done; echo {{}} > m.json";
    let pipeline = r#"Pipeline(name: "p", stages: {"train": (stage: Command(
        argv: ["sh", "-c", "SCRIPT"], outputs: {"metrics": (kind: Metrics, path: "m.json")},
    ))})"#;
    let script = script.replace("GO", go.to_str().unwrap());
    project.write("p.ron", pipeline.replace("SCRIPT", &script));
    let run = project.start(&["run", "p.ron", "--json"]);
    let mut server = project.start(&["report", "p.ron", "--serve"]);
    let mut told = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let address = told.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let state = || ask(&address, "GET", "/state", "localhost").1;
    wait_until("both losses are drawn", || {
        let state = state();
        state.contains("<li>train 2/9 epoch loss 0.2000</li>") && state.contains("loss, so far")
    });
    std::fs::write(&go, "").unwrap();
    let events = common::finish(run).stdout;
    assert!(
        events.contains(r#""done":2,"total":9,"unit":"epoch","note":"","values":{"loss":0.2}"#),
        "{events}"
    );
    wait_until("nothing goes on", || !state().contains("<li>"));
    let log = project.expect(0, &["log"]).stdout;
    assert!(log.contains("trained") && !log.contains("ablate:"), "{log}");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Every command of the guide is run, and what it prints is what stands below it; `ABLATE_UPDATE_BOOK=1 cargo test` writes it.
#[test]
fn the_guide_shows_what_its_commands_print() {
    let page = common::page("guides/tables.md");
    let project = Project::new();
    let found = common::blocks(&page);
    let text = |info: &str| &page[found.iter().find(|(known, _)| known == info).unwrap().1.clone()];
    project.write("methods.ron", text("ron"));
    for (_, place) in found.iter().filter(|(info, _)| info == "ron,fragment") {
        let fragment = &page[place.clone()];
        let name = fragment.split('"').nth(1).unwrap();
        project.write(&format!("{name}.ron"), fragment);
    }
    let published = text("csv").to_owned();
    project.expect(0, &["run", "methods.ron", "--no-sync"]);
    let mut printed = Vec::new();
    for (index, (info, place)) in found.iter().enumerate() {
        match info.as_str() {
            "csv" => drop(project.write("comparison.published.csv", &published)),
            "sh" => {
                let command = page[place.clone()].trim().strip_prefix("ablate ").unwrap().replace('\'', "");
                let stdout = project.expect(0, &command.split(' ').collect::<Vec<_>>()).stdout;
                if command.contains("markdown") {
                    std::fs::remove_file(project.path().join("comparison.published.csv")).unwrap();
                }
                if !stdout.is_empty() {
                    printed.push((found[index + 1].1.clone(), stdout));
                }
            }
            _ => {}
        }
    }
    assert!(printed.len() >= 7);
    common::shows("guides/tables.md", printed);
}

/// A condition may be on what the table does not show, and changes nothing but the choice.
#[test]
fn conditions_may_be_on_other_metrics_than_those_shown() {
    let project = Project::new();
    let two = METHODS
        .replace(
            "stages: {",
            r#"stages: {
        "loss": (
            stage: Command(
                argv: ["/bin/sh", "-c", "echo '{{\"loss\": '$K'}}' > m.json"],
                env: {"K": "1"},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
        ),"#,
        )
        .replace("axes: {", r#"axes: {"loss.env.K": ["1", "2"],"#)
        .replace("\"D\": \"c\"", "\"D, E\": \"a8\"");
    project.write("p.ron", two).expect(0, &["run", "p.ron"]);
    let csv = |conditions: &[&str]| {
        let conditions = conditions.iter().flat_map(|text| ["--where", *text]);
        let arguments: Vec<&str> =
            ["table", "p.ron", "--format", "csv"].into_iter().chain(conditions).collect();
        project.expect(0, &arguments).stdout
    };
    let whole = csv(&[]);
    assert_eq!(csv(&["loss.loss<3"]), whole);
    assert_eq!(csv(&["loss.loss<2", "K=1"]), whole);
    let told = |condition: &str| {
        let table = project.expect(0, &["table", "p.ron", "--where", condition]).stdout;
        table.trim_end().lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(told("loss.loss<1"), "no trial is left by `loss.loss<1`");
    assert_eq!(told("loss.loss<2"), "only trials with `loss.loss<2`");
    // A label may have a comma.
    let rows =
        |text: &str| csv(&[text]).lines().filter(|line| line.contains(",") && line.contains(" ± ")).count();
    assert_eq!([rows("method=D, E"), rows("method=A & B, <C>"), rows("seed>=1")], [1, 2, 3]);
    project.write("q.ron", METHODS.replace("\"methods\"", "\"others\"")).expect(1, &["run", "q.ron"]);
    let both =
        project.expect(0, &["table", "p.ron", "q.ron", "--where", "loss.env.K=2", "--format", "csv"]).stdout;
    assert!(!both.contains("others,"), "an axis of one pipeline alone: {both}");
}

/// From the results of as many actions in a store, by a release build:
/// `cargo test --release --no-default-features --features tables --test results -- --ignored --nocapture`.
#[test]
#[ignore = "fills a store for half a minute, and its time means something on a quiet machine alone"]
fn a_table_of_a_hundred_thousand_results_takes_a_moment() {
    let project = Project::new();
    project.write("p.ron", METHODS.replace("[0, 1, 2]", "\"0..33334\""));
    let graph = graph_of(&project);
    let store = Store::open(&project.store()).unwrap().with_durability(Durability::None);
    let (files, _) = Files::read(&graph, &store, project.path(), Rehash::Changed, SystemTime::UNIX_EPOCH);
    let keys = Keys::new(&graph, &files);
    let object = store.insert_bytes(b"{}").unwrap();
    for id in graph.ids() {
        let manifest = keys.manifest(id, |_| None).to_string();
        let accuracy = 0.5 + 0.001 * (id.0 % 97) as f64;
        let result = ActionResult {
            outputs: LiteMap::from_iter([("metrics".to_owned(), object)]),
            metrics: LiteMap::from_iter([("accuracy".to_owned(), accuracy)]),
            provenance: Provenance { device: "cpu".to_owned(), ..Provenance::default() },
        };
        store.publish(&store.put_manifest(&manifest).unwrap(), &result).unwrap();
    }
    // So that the disk is not at work on what was just filled meanwhile.
    rustix::fs::sync();
    for _ in 0..3 {
        let clock = Instant::now();
        let mut table = project.start(&["table", "p.ron"]);
        let status = format!("/proc/{}/status", table.id());
        let mut peak_kib = 0;
        while table.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak_kib = kib.unwrap_or(0).max(peak_kib);
            // Not so often that it takes time from what is measured.
            std::thread::sleep(Duration::from_millis(5));
        }
        let (took, shown) = (clock.elapsed(), common::finish(table).stdout);
        println!("{shown}\n{} trials: {took:?}, {} MiB", graph.trials.len(), peak_kib >> 10);
        assert!(shown.contains("over 33334 seeds"), "{shown}");
        assert!(took.as_secs_f64() < 1.0 || cfg!(debug_assertions), "{took:?}");
        assert!(peak_kib < 500 << 10, "{peak_kib} KiB");
    }
}
