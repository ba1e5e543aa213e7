//! How long a run goes on, as it is told while it does.

mod common;

use std::process::{Command, Stdio};

use common::Project;
use serde_json::Value;

/// `s` takes 1.5 s, and `t` needs it.
const SLOW: &str = r#"Pipeline(
    name: "slow",
    stages: {
        "s": (stage: Command(argv: ["/bin/sh", "-c", "sleep 1.5; echo $K > o"], env: {"K": ""}, outputs: {"o": (kind: File, path: "o")})),
        "t": (
            stage: Command(argv: ["cp", "{input:x}", "o"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}),
            from: {"x": "s"},
        ),
    },
    axes: {"s.env.K": ["1", "2", "3"]},
)
"#;

/// Of each event that moves a run: its name, and what remains.
fn told(project: &Project, arguments: &[&str]) -> Vec<(String, Value)> {
    let lines = project.expect(0, &[&["run", "p.ron", "--json", "--jobs", "1"], arguments].concat()).stdout;
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let moves = entries.filter_map(|entry| {
        let remaining = entry.get("remaining")?.clone();
        Some((entry["event"]["event"].as_str().unwrap().to_owned(), remaining))
    });
    moves.collect()
}

#[test]
fn programs_are_told_what_remains() {
    let project = Project::new();
    project.write("p.ron", SLOW);
    // Nothing is known of a stage that never ran.
    let first = told(&project, &["--axis", "s.env.K=1"]);
    assert_eq!(first[0], ("started".to_owned(), serde_json::json!({"run_ms": 0, "unknown": 2})));
    let events: Vec<&str> = first.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["started", "finished", "started", "finished"]);
    // What it took is what it will take again.
    let second = told(&project, &[]);
    let (event, remaining) = &second[0];
    let ms = |name: &str| remaining[name].as_u64().unwrap();
    assert_eq!((event.as_str(), &remaining["unknown"]), ("started", &Value::from(0)));
    assert!(ms("action_ms") >= 1500 && ms("run_ms") >= 2 * ms("action_ms"), "{remaining}");
}

/// A terminal of its own, as util-linux has it.
#[test]
fn a_terminal_shows_a_total_with_the_time_that_is_left() {
    if !std::path::Path::new("/usr/bin/script").exists() {
        return;
    }
    let project = Project::new();
    project.write("p.ron", SLOW);
    project.expect(0, &["run", "p.ron", "--axis", "s.env.K=1"]);
    let run = format!("stty cols 120; {} run p.ron --jobs 1", env!("CARGO_BIN_EXE_ablate"));
    let shown = Command::new("/usr/bin/script")
        .args(["-qec", &run, "/dev/null"])
        .current_dir(project.path())
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("TERM", "xterm"), ("SHELL", "/bin/sh")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout);
    let total = shown.split(['\r', '\n']).find(|line| line.contains("2/6 stages, 1 running, about "));
    assert!(total.is_some_and(|line| line.contains(" s left")), "{shown}");
    assert!(["s[K=2] about ", "s[K=3] about "].iter().any(|action| shown.contains(action)), "{shown}");
}
