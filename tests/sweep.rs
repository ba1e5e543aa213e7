//! How axes are combined, and pipelines made of several files.

mod common;
mod fakes;

use ablate::expand::expand;
use ablate::graph::{Graph, Trial};
use ablate::pipeline;
use ablate::source::SourceMap;
use common::Project;

/// Three axes of a pipeline of real shape, combined by `sweep`.
fn pipeline(sweep: &str) -> String {
    format!(
        r#"Pipeline(
    name: "s",
    stages: {{
        "images": (stage: Images(source: FashionMnistMini)),
        "encoder": (stage: Pretrain(epochs: 20), from: {{"images": "images"}}),
        "features": (stage: Embed(), from: {{"encoder": "encoder", "images": "images"}}),
        "graph": (stage: KnnGraph(k: 10), from: {{"embeddings": "features"}}),
    }},
    axes: {{
        "graph.k": [5, 10, 20],
        "encoder.epochs": [1, 2, 3],
        "encoder.method": {{"A": SimClr(), "B": NnClr(queue: 8)}},
    }},
    {sweep}
)"#
    )
}

fn read(text: &str) -> Result<Graph, String> {
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text);
    pipeline::parse(source, text)
        .and_then(|pipeline| expand(&pipeline, &fakes::registry()))
        .map_err(|errors| errors.render(&sources))
}

/// The points of a sweep as `k epochs method`, `-` where one is not set.
fn points(sweep: &str) -> Vec<String> {
    let graph = read(&pipeline(sweep)).unwrap_or_else(|errors| panic!("{errors}"));
    let label =
        |axis: usize, value: Option<usize>| value.map_or("-", |it| graph.axes[axis].labels[it].as_str());
    let point = |trial: &Trial| {
        let labels = trial.point.iter().enumerate().map(|(axis, &value)| label(axis, value));
        labels.collect::<Vec<_>>().join(" ")
    };
    graph.trials.iter().map(point).collect()
}

#[track_caller]
fn check(sweep: &str, expected: &str) {
    let expected: Vec<&str> = expected.split(", ").collect();
    assert_eq!(points(&format!("sweep: {sweep},")), expected, "{sweep}");
}

#[test]
fn without_a_sweep_there_is_the_grid_of_all_axes() {
    let all = points("");
    assert_eq!(all.len(), 18);
    assert_eq!(all[..3], ["5 1 A", "5 1 B", "5 2 A"]);
    assert_eq!(all, points(r#"sweep: Grid(["graph.k", "encoder.epochs", "encoder.method"]),"#));
}

#[test]
fn axes_go_side_by_side_one_after_the_other_and_without_some() {
    check(
        r#"Grid([Zip(["graph.k", "encoder.epochs"]), "encoder.method"])"#,
        "5 1 A, 5 1 B, 10 2 A, 10 2 B, 20 3 A, 20 3 B",
    );
    check(
        r#"Grid([Chain([Zip(["graph.k", "encoder.epochs"]), OneAtATime({"graph.k": 5, "encoder.epochs": 1})]), OneAtATime({"encoder.method": "A"})])"#,
        "5 1 A, 5 1 B, 10 2 A, 10 2 B, 20 3 A, 20 3 B, 10 1 A, 10 1 B, 20 1 A, 20 1 B, 5 2 A, 5 2 B, 5 3 A, 5 3 B",
    );
    check(
        r#"Exclude(Grid(["encoder.method", "graph.k", "encoder.epochs"]), [{"graph.k": [5, 20]}, {"encoder.method": "B", "encoder.epochs": 3}])"#,
        "10 1 A, 10 2 A, 10 3 A, 10 1 B, 10 2 B",
    );
}

#[test]
fn an_axis_may_exist_only_where_another_has_some_value() {
    check(
        r#"Grid(["encoder.method", When({"encoder.method": "B"}, "graph.k"), OneAtATime({"encoder.epochs": 2})])"#,
        "- 2 A, - 1 A, - 3 A, 5 2 B, 5 1 B, 5 3 B, 10 2 B, 10 1 B, 10 3 B, 20 2 B, 20 1 B, 20 3 B",
    );
    // What the sweep does not name comes first, so that it can be looked at.
    check(
        r#"When({"encoder.method": "A", "encoder.epochs": [1, 2]}, "graph.k")"#,
        "5 1 A, 10 1 A, 20 1 A, - 1 B, 5 2 A, 10 2 A, 20 2 A, - 2 B, - 3 A, - 3 B",
    );
}

#[test]
fn an_axis_that_is_not_set_leaves_what_is_written() {
    let graph =
        read(&pipeline(r#"sweep: When({"encoder.method": "B"}, Grid(["graph.k", "encoder.epochs"])),"#))
            .unwrap();
    let canonical = |name: &str| {
        let id = graph.ids().find(|&id| graph.instance_name(id) == name).expect(name);
        graph.instance(id).params.canonical()
    };
    assert!(canonical("graph[method=A,seed=0]").contains("k: 10"));
    assert!(canonical("encoder[method=A,seed=0]").contains("epochs: 20"));
    assert!(canonical("encoder[epochs=3,method=B,seed=0]").contains("epochs: 3"));
}

#[test]
fn the_two_shapes_of_an_ablation_table() {
    check(
        r#"OneAtATime({"graph.k": 10, "encoder.epochs": 1, "encoder.method": "B"})"#,
        "10 1 B, 5 1 B, 20 1 B, 10 2 B, 10 3 B, 10 1 A",
    );
    check(
        r#"LeaveOneOut(full: {"graph.k": 20, "encoder.epochs": 3, "encoder.method": "B"}, without: {"encoder.method": "A", "graph.k": 5})"#,
        "20 3 B, 20 3 A, 5 3 B",
    );
}

#[test]
fn a_ladder_keeps_what_its_steps_have_changed() {
    check(
        r#"Ladder(from: {"graph.k": 5, "encoder.epochs": 1, "encoder.method": "A"}, steps: [{"encoder.method": "B"}, {"graph.k": 10, "encoder.epochs": 3}, {"graph.k": 20}])"#,
        "5 1 A, 5 1 B, 10 3 B, 20 3 B",
    );
    check(
        r#"Grid(["encoder.method", Ladder(from: {"graph.k": 5, "encoder.epochs": 1}, steps: [{"graph.k": 10}, {"encoder.epochs": 2}])])"#,
        "5 1 A, 10 1 A, 10 2 A, 5 1 B, 10 1 B, 10 2 B",
    );
}

#[test]
fn a_sweep_that_makes_no_sense_is_shown_where_it_is_written() {
    let sweeps = [
        r#"Grid(["graph.k", "encoder.epoch"])"#,
        r#"Zip(["graph.k", "encoder.method"])"#,
        r#"Grid(["graph.k", Zip(["graph.k", "encoder.epochs"])])"#,
        r#"Grid([When({"graph.k": 5}, "encoder.epochs"), "graph.k"])"#,
        r#"Exclude("graph.k", [{"graph.k": 7}])"#,
        r#"OneAtATime({"graph.k": [5, 10]})"#,
        r#"LeaveOneOut(full: {"graph.k": 5}, without: {"encoder.method": "A"})"#,
        r#"LeaveOneOut(full: {"graph.k": 5})"#,
        r#"LeaveOneOut(full: {"graph.k": 5, "encoder.method": "A"}, without: {"graph.k": 10, "encoder.method": "A"})"#,
        r#"Grid("graph.k")"#,
        r#"Grid([])"#,
        r#"Gird(["graph.k"])"#,
        r#"["graph.k"]"#,
        r#"When({"graph.k": []}, "encoder.epochs")"#,
        r#"Grid([Exclude("graph.k", [{"graph.k": 5, "encoder.method": "B"}]), "encoder.method"])"#,
        r#"Exclude("graph.k", [{"graph.k": [5, 10, 20]}])"#,
        r#"Ladder(from: {"graph.k": 5}, steps: [{"graph.k": 10, "encoder.method": "A"}])"#,
        r#"Ladder(from: {"graph.k": 5}, steps: [{"graph.k": 10}, {"graph.k": 5}, {"graph.k": 10}])"#,
        r#"Ladder(from: {"graph.k": 5, "encoder.epochs": 1}, steps: [{"graph.k": 10}, {"encoder.epochs": 2, "graph.k": 20}, {"graph.k": 10}])"#,
        r#"Ladder(from: {"graph.k": 5}, steps: [])"#,
        r#"Ladder(steps: {"graph.k": 5})"#,
    ];
    let told = sweeps.map(|sweep| read(&pipeline(&format!("sweep: {sweep},"))).err().expect(sweep));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_sweep_is_counted_before_it_is_made() {
    let axes: Vec<String> = (0..40).map(|axis| format!(r#""refined.f{axis}": [0, 1]"#)).collect();
    let axis = |index: usize| format!(r#""refined.f{index}""#);
    let names: Vec<String> = (0..40).map(axis).collect();
    let sweep = format!("sweep: Grid([{}]),", names.join(", "));
    let text = pipeline(&sweep).replace("axes: {", &format!("axes: {{ {},", axes.join(", ")));
    let told = read(&text).err().unwrap();
    assert!(told.contains("19791209299968 trials, more than the 1000000 a pipeline may have"), "{told}");
}

#[test]
fn a_value_can_set_several_places_and_a_stage_can_come_with_its_wires() {
    let text = r#"Pipeline(
        name: "s",
        stages: {
            "images": (stage: Images(source: FashionMnistMini)),
            "encoder": (stage: Pretrain(epochs: 20), from: {"images": "images"}),
            "features": (stage: Embed(), from: {"encoder": "encoder", "images": "images"}),
            "graph": (stage: KnnGraph(k: 10), from: {"embeddings": "features"}),
            "refined": (stage: GnnRefine(), from: {"embeddings": "features", "graph": "graph"}),
        },
        axes: {
            "recipe": {
                "short": Set({"encoder.epochs": 1, "graph.k": 3}),
                "long": Set({"encoder.method": NnClr(queue: 8)}),
            },
            "refined": {
                "gnn": GnnRefine(layers: 3),
                "none": (stage: Split(), from: {"embeddings": "features"}),
            },
        },
    )"#;
    let graph = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    let told: Vec<String> = graph
        .ids()
        .map(|id| {
            let instance = graph.instance(id);
            let wires: Vec<&str> = instance.inputs.keys().map(|port| &**port).collect();
            let params = instance.params.canonical().replace('\n', "").replace("    ", "");
            format!("{}: {params} <- {}", graph.instance_name(id), wires.join(", "))
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_pipeline_extends_another_and_includes_parts() {
    let project = Project::new();
    project.write("base.ron", BASE);
    project.write(
        "parts/more.ron",
        r#"(stages: {"c": (stage: Command(argv: ["cp", "{input:x}", "o"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}), from: {"x": "a"})})"#,
    );
    project.write(
        "p.ron",
        r#"Pipeline(name: "p", extends: "base.ron", include: ["parts/more.ron"], set: {"b.argv": ["sh", "-c", "echo b > o"], "c.from.x": "b"}, axes: {"a.cpus": [2]})"#,
    );
    project.expect(0, &["run", "p.ron"]);
    insta::assert_snapshot!(project.ran().join(" "), @"a[cpus=2] b[cpus=2] c[cpus=2]");
    let checked = project.expect(0, &["check", "p.ron"]).stdout;
    insta::assert_snapshot!(checked, @"p.ron is sound: 3 stages, 1 axis, 1 point, 2 seeds, 3 instances, 0 tables");
}

#[test]
fn two_axes_on_one_input_are_refused() {
    let axes = r#""graph": {"a": (stage: KnnGraph(k: 3), from: {"embeddings": "features"}), "b": KnnGraph(k: 4)},
        "graph.from.embeddings": ["features", "images", "encoder"],"#;
    let text = pipeline("").replace("\"graph.k\": [5, 10, 20],", axes);
    let told = read(&text).err().unwrap();
    assert!(told.starts_with("error: two axes set the same place"), "{told}");
}

#[test]
fn what_a_file_writes_itself_is_not_changed_by_what_it_extends() {
    let project = Project::new();
    let stage = |script: &str| {
        format!(
            r#"(stage: Command(argv: ["sh", "-c", {script:?}], outputs: {{"o": (kind: File, path: "o")}}))"#
        )
    };
    project.write(
        "base.ron",
        format!(
            r#"(name: "base", stages: {{"a": {}, "b": {}}}, set: {{"a.env.K": "set", "b.env.K": "set"}})"#,
            stage("echo a $K > o"),
            stage("echo b $K > o")
        ),
    );
    project.write(
        "p.ron",
        format!(r#"(name: "p", extends: "base.ron", stages: {{"a": {}}})"#, stage("echo own $K > o")),
    );
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["get", "p.ron", "a", "--to", "a"]);
    project.expect(0, &["get", "p.ron", "b", "--to", "b"]);
    assert_eq!((project.read("a").as_str(), project.read("b").as_str()), ("own\n", "b set\n"));
}

/// `b` copies `a`; `a` has an axis.
const BASE: &str = r#"Pipeline(
    name: "base",
    stages: {
        "a": (stage: Command(argv: ["sh", "-c", "echo $0 > o", "x"], outputs: {"o": (kind: File, path: "o")})),
        "b": (stage: Command(argv: ["cp", "{input:x}", "o"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}), from: {"x": "a"}),
    },
    axes: {"a.cpus": [1, 2]},
    seeds: [0, 1],
)"#;

#[test]
fn files_that_do_not_fit_together_are_shown_where_they_are_named() {
    let project = Project::new();
    project.write("base.ron", BASE);
    project.write("one.ron", r#"(name: "one", extends: "two.ron")"#);
    project.write("two.ron", r#"(include: ["three.ron"])"#);
    project.write("three.ron", r#"(include: ["one.ron"])"#);
    project.write("twice.ron", r#"(name: "twice", include: ["base.ron"], stages: {"a": (stage: Embed())})"#);
    project.write("missing.ron", r#"(name: "missing", extends: "../none.ron")"#);
    project.write("broken.ron", r#"(name: "broken", include: ["torn.ron"], stages: {})"#);
    project.write("torn.ron", "(stages: {");
    project.write(
        "undone.ron",
        r#"(name: "undone", extends: "base.ron", set: {"a.cpus": 3, "d.x": 1, "b.nothing": 2})"#,
    );
    let told = ["one", "twice", "missing", "broken", "undone"].map(|name| {
        let file = format!("{name}.ron");
        project.expect(3, &["check", &file]).stderr
    });
    let told = told.join("\n").replace(&project.path().display().to_string(), "DIR");
    insta::assert_snapshot!(told);
}

#[test]
fn labels_are_named_without_quotes() {
    let project = Project::new();
    project.write(
        "p.ron",
        r#"Pipeline(
    name: "labels",
    stages: {"a": (stage: Command(argv: ["true"], env: {"K": "1"}, outputs: {"o": (kind: File, path: "o")}))},
    axes: {"layout": (paths: ["a.env.K"], values: {"t-SNE": "1", "at 5 %": "2", "PCA": "3"})},
)"#,
    );
    let trials = |axis: &str| project.expect(0, &["expand", "p.ron", "--axis", axis]).stdout;
    let kept = ["t-SNE", "at 5 %", "PCA"].map(|label| trials("layout=t-SNE, at 5 %").contains(label));
    assert_eq!(kept, [true, true, false]);
}

#[test]
fn the_command_line_changes_a_pipeline_for_once() {
    let project = Project::new();
    project.write("p.ron", BASE);
    let ran = |arguments: &[&str]| {
        project.expect(0, &[&["run", "p.ron"], arguments].concat());
        project.ran().join(" ")
    };
    insta::assert_snapshot!(ran(&["--axis", "a.cpus=2", "--seeds", "4"]), @"a[cpus=2] b[cpus=2]");
    insta::assert_snapshot!(ran(&["--axis", r#"b.env={"x": {"K": "1"}, "y": {"K": "2"}}"#]), @"b[cpus=1,env=x] b[cpus=1,env=y]");
    insta::assert_snapshot!(ran(&["--set", r#"a.argv=["sh", "-c", "echo new > o"]"#, "--axis", "a.cpus=1"]), @"a[cpus=1] b[cpus=1]");
    insta::assert_snapshot!(ran(&["--set", "b.from.x=a", "--axis", "a.cpus=1"]), @"");
    let told = [
        &["--set", "a.cpus=3"][..],
        &["--set", "b.argv"],
        &["--set", "b.argv=[1"],
        &["--set", "e.argv=[]", "--axis", "a.cpus=two"],
        &["--axis", "a.cpus="],
        &["--axis", "a.cpus=1,1"],
        &["--axis", "seed=1"],
        &["--seeds", "1,x"],
        &["--seeds", "a..b"],
    ]
    .map(|arguments| project.expect(3, &[&["check", "p.ron"], arguments].concat()).stderr);
    insta::assert_snapshot!(told.join("\n"));
}
