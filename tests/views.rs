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

/// A project in which the chain was run.
fn project_that_ran() -> Project {
    let project = Project::new();
    project.write("p.ron", CHAIN).expect(0, &["run", "p.ron"]);
    project
}

/// With what differs from run to run replaced by what it is.
fn scrubbed(text: &str) -> String {
    let mut scrubbed = String::new();
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        let words: Vec<String> = line.split([' ', '\n', ',', '.', '`']).map(str::to_owned).collect();
        for word in &words {
            let is_hex = word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
            if is_hex {
                line =
                    line.replace(word.as_str(), if word.len() == 64 { "[64 digits]" } else { "[12 digits]" });
            }
        }
        let runs: Vec<String> =
            line.split([' ', ',', '\n']).filter(|word| word.contains("Z-")).map(str::to_owned).collect();
        for run in runs {
            line = line.replace(&run, "[run]");
        }
        if let Some((before, _)) = line.split_once(" UTC on ") {
            line = format!("{}[date] UTC on [host]\n", &before[..before.len() - 19]);
        } else if line.trim_start().starts_with("in ") && line.contains(" MiB at most") {
            line = "           in [time], [memory] at most\n".to_owned();
        }
        scrubbed.push_str(&line);
    }
    scrubbed
}

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
fn a_starter_runs_as_it_is() {
    let project = Project::new();
    let told = project.expect(0, &["new", "mine/first try", "--kind", "programs"]).stdout;
    let expected = "wrote mine/first try.ron; look at it with `ablate graph mine/first try.ron`, do it with `ablate run mine/first try.ron`\n";
    assert_eq!(told, expected);
    assert!(project.read("mine/first try.ron").contains("name: \"first try\""));
    project.expect(0, &["run", "mine/first try.ron", "--store", "store"]);
    let runs = project.expect(0, &["runs", "--json", "--store", "store"]).stdout;
    assert!(
        runs.contains(r#""counts":{"ran":12,"cached":0,"failed":0,"skipped":0,"unfinished":0}"#),
        "{runs}"
    );
}

#[test]
fn a_starter_overwrites_nothing() {
    let project = Project::new();
    project.write("p.ron", "mine").write("file", "");
    let refused = project.expect(2, &["new", "p"]).stderr;
    assert_eq!(refused, "error: p.ron is there already; nothing was written\n");
    assert_eq!(project.read("p.ron"), "mine");
    project.expect(1, &["new", "file/p"]);
}

#[cfg(not(feature = "learn"))]
#[test]
fn a_starter_needs_its_stage_kinds() {
    let project = Project::new();
    let refused = project.expect(2, &["new", "p", "--kind", "images"]).stderr;
    let expected =
        "error: this program lacks stage kinds of that pipeline; `ablate stages` lists those it has\n";
    assert_eq!(refused, expected);
    project.expect(0, &["new", "p"]);
    assert!(project.read("p.ron").contains("Command("));
}

#[cfg(feature = "learn")]
#[test]
fn the_starter_about_images_is_sound() {
    let project = Project::new();
    project.expect(0, &["new", "p"]);
    assert!(project.read("p.ron").contains("Pretrain("));
    project.expect(0, &["check", "p.ron"]);
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

#[test]
fn runs_are_listed_last_first() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    for looks in
        [&["runs", "--json"][..], &["plan", "p.ron"], &["why", "p.ron", "a"], &["show", "p.ron", "a"]]
    {
        project.expect(0, looks);
    }
    assert_eq!(project.expect(0, &["runs", "--json"]).stdout, "");
    project.expect(1, &["log"]);
    assert!(!project.store().exists(), "looking makes no store");
    project.expect(0, &["run", "p.ron"]);
    project.write("p.ron", CHAIN.replace("\"chain\"", "\"\\u{1b}[31m\"").replace("echo $K >> out", "exit 3"));
    project.expect(1, &["run", "p.ron"]);
    project.expect(1, &["run", "p.ron"]);
    // The last one is killed before it can tell its end.
    let runs = project.store().join("runs");
    let last = ablate::journal::last_run(&runs, None).unwrap().unwrap();
    let journal = project.read(&format!(".ablate/runs/{last}/journal.jsonl"));
    let (kept, _) = journal.trim_end().rsplit_once('\n').unwrap();
    project.write(&format!(".ablate/runs/{last}/journal.jsonl"), format!("{kept}\n{{\"unix_ms\":"));
    project.write(".ablate/runs/stray/file", "");

    let listed = project.expect(0, &["runs"]).stdout;
    let columns: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(columns[0], ["run", "pipeline", "began (UTC)", "took", "outcome", "ran", "cached", "failed"]);
    assert_eq!((columns[1][0], columns[1][1]), (last.as_str(), "\\u{1b}[31m"));
    let ends: Vec<&[&str]> = columns[1..].iter().map(|row| &row[4..]).collect();
    assert_eq!(ends, [["killed", "–", "–", "–"], ["failed", "0", "2", "4"], ["done", "10", "0", "0"]]);
    let limited = project.expect(0, &["runs", "--limit", "1"]).stdout;
    assert_eq!(limited.lines().count(), 3, "{limited}");
}

#[test]
fn runs_are_compared_by_instance_field_and_metric() {
    let project = project_that_ran();
    let later = CHAIN
        .replace(r#"["1", "2"]"#, r#"["1", "3"]"#)
        .replace("echo a {seed} > out", "echo aa {seed} > out");
    project.write("p.ron", later);
    project.expect(0, &["run", "p.ron"]);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["diff", "@2", "@1"]).stdout), @r#"
    A  [run], 10 instances
    B  [run], 10 instances

    only in A: 4
      b[K=2,seed=0]
      b[K=2,seed=1]
      c[K=2,seed=0]
      c[K=2,seed=1]

    only in B: 4
      b[K=3,seed=0]
      b[K=3,seed=1]
      c[K=3,seed=0]
      c[K=3,seed=1]

    changed: 2 instances
      a[seed=0] and 1 more
        `argv.2`: "echo a {seed} > out" → "echo aa {seed} > out"

    changed by their inputs alone: b ×2, c ×2

    metrics that differ: 2
      c[K=1,seed=0]  bytes  6.0000 → 7.0000  Δ +1.0000
      c[K=1,seed=1]  bytes  6.0000 → 7.0000  Δ +1.0000

    the same: 0 instances
    "#);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["diff", "@1", "@1"]).stdout), @r"
    A  [run], 10 instances
    B  [run], 10 instances

    the same: 10 instances
    ");
    assert_eq!(
        project.expect(2, &["diff", "@1", "@3"]).stderr,
        "error: there is no run `@3`; the store has 2\n"
    );
}

#[test]
fn runs_that_ended_differently_are_compared() {
    let project = Project::new();
    let failing = CHAIN
        .replace("echo $K >> out", "echo $K >> out; test $K != 2 -o -e {file:allow}/it")
        .replace(r#"env: {"K": "1"}"#, r#"files: ["allow"], env: {"K": "1"}"#);
    project.write("p.ron", failing).write("allow/other", "");
    project.expect(1, &["run", "p.ron"]);
    project.write("allow/it", "");
    project.expect(0, &["run", "p.ron"]);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["diff", "@2", "@1"]).stdout), @r"
    A  [run], 10 instances
    B  [run], 10 instances

    changed: 4 instances
      b[K=1,seed=0] and 3 more
        content of file `allow`: [12 digits] → [12 digits]

    ended differently: 4
      b[K=2,seed=0]: failed → done
      b[K=2,seed=1]: failed → done
      c[K=2,seed=0]: skipped → done
      c[K=2,seed=1]: skipped → done

    the same: 4 instances
    not comparable: 2 instances, whose inputs were not made in one of the runs
    ");
}

#[test]
fn a_stage_is_shown_with_its_ancestry() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["show", "p.ron", "c[K=2,seed=1]"]).stdout), @r#"
    c[K=2,seed=1]
      kind     Command, revision 1
      key      not known before a[seed=1], b[K=2,seed=1]
      fields   Command(
                   argv: [
                       "/bin/sh",
                       "-c",
                       "echo \"{{\\\"bytes\\\": $(wc -c < {input:x})}}\" > m.json; cat {input:y} > all",
                   ],
                   inputs: {
                       "x": File,
                       "y": File,
                   },
                   outputs: {
                       "all": OutputFile(
                           kind: File,
                           path: "all",
                       ),
                       "m": OutputFile(
                           kind: Metrics,
                           path: "m.json",
                       ),
                   },
                   files: [],
                   env: {},
                   inherit: [
                       "PATH",
                       "HOME",
                   ],
               )
      result   not in the store; `ablate run` makes it
      inputs
      ├─ x ← b[K=2,seed=1].out  Command  not made yet
      │  └─ x ← a[seed=1].out  Command  not made yet
      └─ y ← a[seed=1].out  Command  not made yet  (above)
    "#);
    project.expect(0, &["run", "p.ron"]);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["show", "p.ron", "c[K=2,seed=1]"]).stdout), @r#"
    c[K=2,seed=1]
      kind     Command, revision 1
      key      [64 digits]
      fields   Command(
                   argv: [
                       "/bin/sh",
                       "-c",
                       "echo \"{{\\\"bytes\\\": $(wc -c < {input:x})}}\" > m.json; cat {input:y} > all",
                   ],
                   inputs: {
                       "x": File,
                       "y": File,
                   },
                   outputs: {
                       "all": OutputFile(
                           kind: File,
                           path: "all",
                       ),
                       "m": OutputFile(
                           kind: Metrics,
                           path: "m.json",
                       ),
                   },
                   files: [],
                   env: {},
                   inherit: [
                       "PATH",
                       "HOME",
                   ],
               )
      outputs  all  File  [12 digits]  4 bytes
               m  Metrics  [12 digits]  13 bytes
      metrics  bytes 6
      made     [date] UTC on [host]
               in [time], [memory] at most
      inputs
      ├─ x ← b[K=2,seed=1].out  Command  [12 digits]  6 bytes
      │  └─ x ← a[seed=1].out  Command  [12 digits]  4 bytes
      └─ y ← a[seed=1].out  Command  [12 digits]  4 bytes  (above)
    "#);
    let all = project.expect(0, &["show", "p.ron", "c"]).stdout;
    assert_eq!(all.matches("  kind     Command").count(), 4, "{all}");
    project.expect(2, &["show", "p.ron", "d"]);
}

#[test]
fn a_digest_is_enough_to_show_what_it_names() {
    let project = project_that_ran();
    let stage = project.expect(0, &["show", "p.ron", "b[K=2,seed=1]"]).stdout;
    let digits = |word: &str| {
        let line = stage.lines().find(|line| line.starts_with(&format!("  {word} "))).unwrap();
        line.split_whitespace()
            .find(|word| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit()))
            .unwrap()
    };
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["show", &digits("key")[..10]]).stdout), @r#"
    Command [12 digits]
      kind     Command, revision 1
      key      [64 digits]
      fields   Command(
                   argv: [
                       "/bin/sh",
                       "-c",
                       "cat {input:x} > out; echo $K >> out",
                   ],
                   inputs: {
                       "x": File,
                   },
                   outputs: {
                       "out": OutputFile(
                           kind: File,
                           path: "out",
                       ),
                   },
                   files: [],
                   env: {
                       "K": "2",
                   },
                   inherit: [
                       "PATH",
                       "HOME",
                   ],
               )
      outputs  out  File  [12 digits]  6 bytes
      made     [date] UTC on [host]
               in [time], [memory] at most
      used by  Command [12 digits].x
      inputs
      └─ x ← Command [12 digits].out  [12 digits]  4 bytes
    "#);
    insta::assert_snapshot!(scrubbed(&project.expect(0, &["show", digits("outputs")]).stdout), @r"
    artifact [12 digits]
      digest   [64 digits]
      content  [12 digits]  6 bytes
      made by  Command [12 digits].out
      used by  Command [12 digits].x
      inputs
      └─ x ← Command [12 digits].out  [12 digits]  4 bytes
    ");
    let told = |digest: &str, code| project.expect(code, &["show", digest]).stderr;
    assert_eq!(told("abc", 2), "error: `abc` is too short: a digest is named by at least 6 digits\n");
    assert_eq!(
        told("p.ron", 2),
        "error: `p.ron` is no digest, nor an instance of a run; to show a stage, name the pipeline file and the stage\n"
    );
    // A run's name of it leads to the same.
    let by_name = project.expect(0, &["show", "b[K=2,seed=1]"]).stdout;
    assert_eq!(by_name, project.expect(0, &["show", digits("key")]).stdout);
    assert_eq!(
        told("000000000000", 1),
        "error: nothing in the store has a digest that begins with `000000000000`\n"
    );
}
