//! Checking, repairing and cleaning the store from the command line.

mod common;

use std::path::{Path, PathBuf};

use common::Project;

/// `b` copies `a`, `c` copies `b`; an axis on `b`.
const CHAIN: &str = r#"Pipeline(
    name: "chain",
    stages: {
        "a": (stage: Command(argv: ["/bin/sh", "-c", "echo first > out"], outputs: {"out": (kind: File, path: "out")})),
        "b": (
            stage: Command(
                argv: ["/bin/sh", "-c", "cat {input:x} > out; echo $K >> out"],
                env: {"K": "1"}, inputs: {"x": File}, outputs: {"out": (kind: File, path: "out")},
            ),
            from: {"x": "a"},
        ),
        "c": (
            stage: Command(argv: ["cp", "{input:x}", "out"], inputs: {"x": File}, outputs: {"out": (kind: File, path: "out")}),
            from: {"x": "b"},
        ),
    },
    axes: {"b.env.K": ["1", "2"]},
)"#;

fn chain() -> Project {
    let project = Project::new();
    project.write("p.ron", CHAIN).write("Cargo.toml", "").expect(0, &["run", "p.ron"]);
    project
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Changes a byte of every artifact with that text in it.
fn damage(project: &Project, text: &str) {
    for path in files(&project.store().join("objects")) {
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes == text.as_bytes() {
            std::fs::remove_file(&path).unwrap();
            bytes[0] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn damage_is_found_and_repaired_from_what_the_store_knows() {
    let project = chain();
    let whole = project.expect(0, &["verify"]).stdout;
    assert!(whole.ends_with(": all whole\n"), "{whole}");
    // Both of them: `b` cannot be made before `a` is.
    damage(&project, "first\n");
    damage(&project, "first\n2\n");
    let told = project.expect(1, &["verify"]).stdout;
    assert_eq!(told.matches("has other bytes than it was written with").count(), 2, "{told}");
    assert!(told.contains(": 2 findings\n"), "{told}");
    let told = project.expect(0, &["verify", "--repair"]).stdout;
    // `c` made the same bytes as `b`.
    assert_eq!(told.matches("made again").count(), 3, "{told}");
    project.expect(0, &["verify"]);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn what_a_run_cites_is_kept_until_the_run_is_forgotten() {
    let project = chain();
    project.write("p.ron", CHAIN.replace(r#"["1", "2"]"#, r#"["1", "3"]"#));
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["b[K=3]", "c[K=3]"]);
    let objects = || files(&project.store().join("objects")).len();
    let before = objects();
    let kept = project.expect(0, &["gc", "--grace", "0"]).stdout;
    assert!(kept.ends_with("; 2 runs kept\n"), "{kept}");
    assert_eq!(objects(), before);

    let dry = project.expect(0, &["gc", "--grace", "0", "--keep-runs", "1", "--dry-run"]).stdout;
    assert!(dry.contains("  artifacts, ") && dry.ends_with("; 1 run kept, 1 run forgotten\n"), "{dry}");
    assert_eq!(objects(), before);
    let young = project.expect(0, &["gc", "--keep-runs", "1"]).stdout;
    assert!(young.ends_with("freed 0 bytes; 1 run kept, 1 run forgotten\n"), "{young}");
    project.expect(0, &["gc", "--grace", "0"]);
    assert!(objects() < before);
    project.expect(0, &["verify"]);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0], "what the last run cites is there");
    project.write("p.ron", CHAIN).expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["b[K=2]", "c[K=2]"], "what only the forgotten run cited is not");
}

/// They cite less, and would push out what the whole pipeline means.
#[test]
fn runs_of_a_part_are_counted_among_themselves() {
    let project = chain();
    for values in ["b.env.K=1", "b.env.K=1", "b.env.K=2"] {
        project.expect(0, &["run", "p.ron", "--axis", values]);
    }
    let kept = project.expect(0, &["gc", "--grace", "0", "--keep-runs", "1"]).stdout;
    assert!(kept.ends_with("; 3 runs kept, 1 run forgotten\n"), "{kept}");
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn gc_in_a_loop_takes_nothing_from_runs() {
    let project = chain();
    let runs: Vec<_> = (0..3)
        .map(|run| {
            let values: Vec<String> = (0..8).map(|k| format!("\"{run}.{k}\"")).collect();
            let text = CHAIN.replace(r#"["1", "2"]"#, &format!("[{}]", values.join(", ")));
            let file = format!("{run}.ron");
            project.write(&file, text);
            project.start(&["run", &file])
        })
        .collect();
    for _ in 0..12 {
        project.expect(0, &["gc", "--grace", "0"]);
    }
    for run in runs {
        let output = common::finish(run);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(!output.stderr.contains("Retrying"), "{}", output.stderr);
    }
    project.expect(0, &["verify"]);
}
