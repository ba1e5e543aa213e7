//! Commands that show things: what a pipeline expands to, runs and their differences, where a result comes from.

mod common;

use common::Project;

/// `a` and `b` are seeded, `c` reports a metric.
const CHAIN: &str = r#"Pipeline(
    name: "chain",
    stages: {
        "a": (stage: Command(argv: ["/bin/sh", "-c", "echo a {seed} > out"], outputs: {"out": (kind: File, path: "out")})),
        "b": (
            stage: Command(
                argv: ["/bin/sh", "-c", "cat {input:x} > out; echo $K >> out"],
                env: {"K": "1"},
                inputs: {"x": File},
                outputs: {"out": (kind: File, path: "out")},
            ),
            from: {"x": "a"},
        ),
        "c": (
            stage: Command(
                argv: ["/bin/sh", "-c", "echo \"{{\\\"bytes\\\": $(wc -c < {input:x})}}\" > m.json; cat {input:y} > all"],
                inputs: {"x": File, "y": File},
                outputs: {"m": (kind: Metrics, path: "m.json"), "all": (kind: File, path: "all")},
            ),
            from: {"x": "b", "y": "a"},
        ),
    },
    axes: {"b.env.K": ["1", "2"]},
    seeds: [0, 1],
)
"#;

#[test]
fn a_pipeline_lists_its_points_and_instances() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    insta::assert_snapshot!(project.expect(0, &["expand", "p.ron"]).stdout, @r"
    chain: 2 points, 4 trials, 10 instances

      K  seeds
      1  0, 1
      2  0, 1

      a[seed=0]  Command
      a[seed=1]  Command
      b[K=1,seed=0]  Command  ← x: a[seed=0].out
      b[K=1,seed=1]  Command  ← x: a[seed=1].out
      b[K=2,seed=0]  Command  ← x: a[seed=0].out
      b[K=2,seed=1]  Command  ← x: a[seed=1].out
      c[K=1,seed=0]  Command  ← x: b[K=1,seed=0].out; y: a[seed=0].out
      c[K=1,seed=1]  Command  ← x: b[K=1,seed=1].out; y: a[seed=1].out
      c[K=2,seed=0]  Command  ← x: b[K=2,seed=0].out; y: a[seed=0].out
      c[K=2,seed=1]  Command  ← x: b[K=2,seed=1].out; y: a[seed=1].out
    ");
    assert!(!project.store().exists(), "a list needs no store");
}

#[test]
fn long_lists_are_cut_unless_all_is_asked_for() {
    let project = Project::new();
    project.write("p.ron", CHAIN.replace("[0, 1]", "\"0..500\""));
    insta::assert_snapshot!(project.expect(0, &["expand", "p.ron", "--points"]).stdout, @r"
    chain: 2 points, 1000 trials, 2500 instances

      K  seeds
      1  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 499
      2  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 499
    ");
    let cut = project.expect(0, &["expand", "p.ron", "--instances"]).stdout;
    assert!(cut.ends_with("  … and 2460 more (--all)\n") && cut.lines().count() == 43, "{cut}");
    assert_eq!(project.expect(0, &["expand", "p.ron", "--instances", "--all"]).stdout.lines().count(), 2502);
}

#[test]
fn points_and_instances_are_told_as_json() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    let told: serde_json::Value =
        serde_json::from_str(&project.expect(0, &["expand", "p.ron", "--json"]).stdout).unwrap();
    assert_eq!(told["points"][1], serde_json::json!({"axes": {"b.env.K": "2"}, "seeds": [0, 1]}));
    let expected = serde_json::json!({
        "name": "c[K=1,seed=0]",
        "stage": "c",
        "kind": "Command",
        "axes": {"b.env.K": "1"},
        "seed": 0,
        "inputs": {
            "x": {"instance": "b[K=1,seed=0]", "output": "out"},
            "y": {"instance": "a[seed=0]", "output": "out"},
        },
    });
    assert_eq!(told["instances"][6], expected);
}

#[test]
fn shells_get_completions_without_the_hidden_commands() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = project.expect(0, &["completions", shell]).stdout;
        assert!(script.contains("completions") && script.contains("expanded"), "{shell}: {script}");
        assert!(!script.contains("worker"), "{shell}");
    }
    project.expect(2, &["completions", "cmd"]);
}
