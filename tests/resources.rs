//! What stages may take up, how long and how often; and running only a part.

mod common;

use ablate::journal::Event;
use common::Project;

/// A stage that runs a shell script, with `rest` behind its inputs.
fn shell(name: &str, script: &str, input: Option<&str>, rest: &str) -> String {
    let (inputs, from) = match input {
        Some(input) => (r#"inputs: {"x": File},"#, format!(r#"from: {{"x": "{input}"}},"#)),
        None => ("", String::new()),
    };
    format!(
        r#""{name}": (stage: Command(argv: ["sh", "-c", {script:?}], {inputs} outputs: {{"o": (kind: File, path: "o")}}), {from} {rest}),"#
    )
}

fn project(stages: &[String]) -> Project {
    let project = Project::new();
    project.write("p.ron", format!("Pipeline(name: \"p\", stages: {{ {} }})", stages.concat()));
    project
}

fn retries(project: &Project) -> usize {
    project.journal().iter().filter(|event| matches!(event, Event::Retried { .. })).count()
}

#[test]
fn a_failure_is_tried_again_as_often_as_declared() {
    let script =
        |dir: &str| format!("echo x >> {dir}/tries; test $(wc -l < {dir}/tries) -ge 3 && echo done > o");
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path().to_str().unwrap());
    let declared = project(&[shell("a", &script, None, "resources: (retries: 2)")]);
    declared.expect(0, &["run", "p.ron"]);
    assert_eq!(retries(&declared), 2);
    std::fs::remove_file(folder.path().join("tries")).unwrap();
    let undeclared = project(&[shell("a", &script, None, "")]);
    undeclared.expect(1, &["run", "p.ron"]);
    assert_eq!(retries(&undeclared), 0);
}

#[test]
fn a_stage_that_takes_too_long_is_stopped_and_keeps_its_checkpoints() {
    let script =
        "echo kept >> $0/checkpoint; test $(wc -l < $0/checkpoint) -ge 2 && echo done > o || sleep 60";
    let argv = format!(r#"argv: ["sh", "-c", {script:?}, "{{scratch}}"]"#);
    let stage = format!(
        r#"Pipeline(name: "p", stages: {{
            "a": (stage: Command({argv}, outputs: {{"o": (kind: File, path: "o")}}), LIMIT),
        }})"#
    );
    let project = Project::new();
    project.write("p.ron", stage.replace("LIMIT", "resources: (time_min: 0.1)"));
    let output = project.expect(1, &["run", "p.ron"]);
    let error = "Failed a: it took longer than its time of 0.1 min; its checkpoints are kept: raise `time_min` in its resources and run again";
    assert!(output.stderr.contains(error), "{}", output.stderr);
    assert_eq!(retries(&project), 0);
    project.write("p.ron", stage.replace("LIMIT", "")).expect(0, &["run", "p.ron"]);
}

/// Ends once a failure is on record, seen from where a program works.
const AFTER_A_FAILURE: &str =
    "until grep -q '\"failed\"' ../../../runs/*/journal.jsonl; do sleep 0.05; done; echo x > o";

#[test]
fn after_a_failure_the_rest_goes_on_unless_told() {
    let stages = [
        shell("bad", "exit 1", None, ""),
        shell("after", "echo x > o", Some("bad"), ""),
        shell("good", AFTER_A_FAILURE, None, ""),
        shell("better", "echo x > o", Some("good"), ""),
    ];
    let going_on = project(&stages);
    let output = going_on.expect(1, &["run", "p.ron", "--jobs", "2"]);
    assert_eq!(going_on.ran(), ["better", "good"]);
    assert!(output.stderr.contains("4 stages: 2 ran, 1 failed, 1 skipped ("), "{}", output.stderr);
    let fast = project(&stages);
    let output = fast.expect(1, &["run", "p.ron", "--jobs", "2", "--fail-fast"]);
    assert_eq!(fast.ran(), ["good"]);
    assert!(output.stderr.contains("1 ran, 1 failed, 1 skipped, 1 unfinished ("), "{}", output.stderr);
    let one_by_one = project(&[shell("bad", "exit 1", None, ""), shell("good", "echo x > o", None, "")]);
    one_by_one.expect(1, &["run", "p.ron", "--jobs", "1", "--fail-fast"]);
    assert_eq!(one_by_one.ran(), [""; 0]);
}

#[test]
fn equal_actions_with_other_resources_are_one() {
    let same = "echo same > o";
    let stages = [
        shell("q", same, None, ""),
        shell("p", &format!("{same}; true"), None, ""),
        shell("b", "cat $0 > o", Some("p"), "").replace("\"cat $0 > o\"", "\"cat $0 > o\", \"{input:x}\""),
        shell("c", "cat $0 > o", Some("q"), "resources: (cpus: 2)")
            .replace("\"cat $0 > o\"", "\"cat $0 > o\", \"{input:x}\""),
    ];
    for jobs in ["1", "2"] {
        let project = project(&stages);
        project.expect(0, &["run", "p.ron", "--jobs", jobs, "--cpus", "2"]);
        assert_eq!(project.ran().len(), 3, "{:?}", project.ran());
    }
}

#[test]
fn memory_keeps_stages_apart() {
    let stage =
        |name: &str, script: &str| shell(name, script, None, "resources: (memory_gib: 3, time_min: 2)");
    let folder = tempfile::tempdir().unwrap();
    let wait = |name: &str, other: &str| {
        let dir = folder.path().display();
        format!("echo > {dir}/{name}; until [ -e {dir}/{other} ]; do sleep 0.05; done; echo x > o")
    };
    let waiting = project(&[stage("a", &wait("a", "b")), stage("b", &wait("b", "a"))]);
    waiting.expect(0, &["run", "p.ron", "--memory", "6", "--jobs", "2"]);

    let script = |name: &str| format!(": {name}; date +%s%N > o; sleep 0.3; date +%s%N >> o");
    let apart = project(&[stage("a", &script("a")), stage("b", &script("b"))]);
    let times = |name: &str| -> Vec<u64> {
        apart.expect(0, &["get", "p.ron", name, "--to", "times"]);
        apart.read("times").lines().map(|line| line.parse().unwrap()).collect()
    };
    for (memory, jobs) in [("5", "2"), ("6", "1")] {
        std::fs::remove_dir_all(apart.store()).ok();
        apart.expect(0, &["run", "p.ron", "--memory", memory, "--jobs", jobs]);
        let (a, b) = (times("a"), times("b"));
        assert!(a[1] <= b[0] || b[1] <= a[0], "{memory} {jobs}: {a:?} {b:?}");
    }
}

#[test]
fn the_memory_of_a_program_and_its_children_counts() {
    let script = "(head -c 150m /dev/zero; sleep 5) | tail -c 150m | wc -c > o";
    let project = project(&[shell("a", script, None, "resources: (memory_gib: 0.1)")]);
    let told = project.expect(0, &["run", "p.ron"]).stderr;
    // 150 MiB of the program, and what the worker takes itself.
    let told_of = |gib: &str| told.contains(&format!("it took up {gib} GiB of memory and declares 0.1"));
    assert!(told_of("0.2") || told_of("0.3"), "{told}");
}

#[test]
fn resources_are_not_in_the_key_and_their_mistakes_are_shown() {
    let plain = project(&[shell("a", "echo x > o", None, "")]);
    plain.expect(0, &["run", "p.ron"]);
    let declared =
        shell("a", "echo x > o", None, "resources: (cpus: 3, memory_gib: 0.5, time_min: 5, retries: 1)");
    plain.write("p.ron", format!("Pipeline(name: \"p\", stages: {{ {declared} }})"));
    plain.expect(0, &["run", "p.ron"]);
    assert_eq!(plain.ran(), [""; 0]);
    let wrong =
        project(&[shell("a", "", None, "resources: (cpu: 3, memory_gib: -1, cpus: 0, time_min: \"5\")")]);
    let told = wrong.expect(3, &["check", "p.ron"]).stderr;
    let messages: Vec<&str> = told.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(
        messages,
        [
            "error: `Resources` has no field `cpu`",
            "error: must be above 0 and at most 1000000000, is -1",
            "error: must be at least 1, is 0",
            "error: expected a number, found the string \"5\"",
        ]
    );
}

#[test]
fn only_a_part_is_run_with_all_it_needs() {
    let stages = [
        shell("a", "echo a > o", None, ""),
        shell("b", "cp {{input:x} o", None, "").replace("{{input:x}", "/dev/null"),
        shell("c", "echo c > o", Some("a"), ""),
        shell("cc", "echo cc > o", Some("c"), ""),
    ];
    let project = project(&stages);
    project.expect(0, &["run", "p.ron", "--only", "c"]);
    assert_eq!(project.ran(), ["a", "c"]);
    project.expect(0, &["run", "p.ron", "--only", "c?"]);
    assert_eq!(project.ran(), ["cc"]);
    let output = project.expect(2, &["run", "p.ron", "--only", "d*"]);
    assert_eq!(output.stderr, "error: the pipeline has no `d*`; the stages: a, b, c, cc\n");
    let output = project.expect(2, &["run", "p.ron", "--table", "t"]);
    assert_eq!(output.stderr, "error: the pipeline has no table `t`; it has none\n");
}
