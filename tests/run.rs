//! What runs, what does not, and what is told.

mod common;

use std::fs;
use std::path::PathBuf;

use ablate::journal::Event;
use ablate_stage::cache::Digest;
use common::{Project, wait_until};

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
                argv: ["/bin/sh", "-c", "echo \"{{\\\"lines\\\": $(wc -l < {input:x})}}\" > m.json"],
                inputs: {"x": File},
                outputs: {"m": (kind: Metrics, path: "m.json")},
            ),
            from: {"x": "b"},
        ),
    },
    axes: {"b.env.K": ["1", "2"]},
    seeds: [0, 1],
)
"#;

/// One stage that runs a script of the shell, with one output of this kind.
fn script(kind: &str, script: &str) -> String {
    format!(
        r#"Pipeline(name: "one", stages: {{
            "s": (stage: Command(argv: ["/bin/sh", "-c", {script:?}], outputs: {{"out": (kind: {kind}, path: "out")}})),
        }})"#
    )
}

#[test]
fn a_second_run_does_nothing() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(
        project.ran(),
        [
            "a[seed=0]",
            "a[seed=1]",
            "b[K=1,seed=0]",
            "b[K=1,seed=1]",
            "b[K=2,seed=0]",
            "b[K=2,seed=1]",
            "c[K=1,seed=0]",
            "c[K=1,seed=1]",
            "c[K=2,seed=0]",
            "c[K=2,seed=1]",
        ]
    );
    let again = project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0]);
    assert!(again.stderr.trim_start().starts_with("Done 10 stages, all cached ("), "{}", again.stderr);
}

#[test]
fn an_added_axis_value_runs_its_own_instances() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    project.expect(0, &["run", "p.ron"]);
    project.write("p.ron", CHAIN.replace(r#"["1", "2"]"#, r#"["1", "3", "2"]"#));
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["b[K=3,seed=0]", "b[K=3,seed=1]", "c[K=3,seed=0]", "c[K=3,seed=1]"]);
}

#[test]
fn what_is_not_in_a_key_runs_nothing() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    project.expect(0, &["run", "p.ron"]);
    let renamed = CHAIN
        .replace(r#"name: "chain""#, r#"name: "other""#)
        .replace(r#""b""#, r#""renamed""#)
        .replace("b.env.K", "renamed.env.K")
        .replace(r#""K": "1""#, "/* a remark */ \"K\" : \"1\"");
    project.write("elsewhere/q.ron", renamed.replace('\n', " \n  "));
    let store = project.store();
    let store = store.to_str().unwrap();
    project.expect(0, &["run", "elsewhere/q.ron", "--store", store, "--jobs", "2"]);
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn a_rerun_that_gives_the_same_bytes_stops_there() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    project.expect(0, &["run", "p.ron"]);
    project.write("p.ron", CHAIN.replace("echo a {seed} > out", "echo a   {seed} > out"));
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["a[seed=0]", "a[seed=1]"]);
}

#[test]
fn equal_keys_are_one_action() {
    let project = Project::new();
    project.write("p.ron", CHAIN.replace(r#"["1", "2"]"#, r#"{"one": "1", "uno": "1"}"#));
    project.expect(0, &["run", "p.ron", "--jobs", "2"]);
    assert_eq!(project.ran().len(), 6);
}

#[test]
fn a_declared_file_counts_by_its_content() {
    let project = Project::new();
    project.write("data/a.txt", "a").write("p.ron", FILES);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["s"]);
    project.write("data/a.txt", "a");
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0]);
    project.write("data/b.txt", "");
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["s"]);

    std::fs::remove_dir_all(project.path().join("data")).unwrap();
    let gone = project.expect(3, &["run", "p.ron"]);
    let told = format!(
        "error: s declares the file {}: No such file or directory (os error 2); put it there or correct `files`, which are relative to the project's root\n",
        project.path().canonicalize().unwrap().join("data").display()
    );
    assert_eq!(gone.stderr, told);
}

#[test]
fn a_large_file_is_hashed_once_and_again_where_asked_to() {
    let project = Project::new();
    let file = project.path().join("data/a.bin");
    let plan = |more: &[&str]| project.expect(0, &[&["plan", "p.ron"], more].concat()).stdout;
    let is_hit = |told: String| told.contains("1 stage: 1 cached");
    let pipeline =
        FILES.replace("[\"data\"]", "[\"data/a.bin\"]").replace("{file:data}", "{file:data/a.bin}");
    project.write("data/a.bin", vec![7; 3 << 20]).write("p.ron", pipeline);
    project.expect(0, &["run", "p.ron"]);
    // Once the last change is some seconds ago, how it looks is remembered.
    wait_until("a hint", || is_hit(plan(&[])) && hint(&project).is_file());
    // A hint that lies shows which run believes it.
    let text = fs::read_to_string(hint(&project)).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let body = body.replace(&Digest::of_file(&file).unwrap().to_hex(), &Digest::of_bytes(b"a lie").to_hex());
    fs::write(hint(&project), format!("{}\n{body}", Digest::of_bytes(body.as_bytes()))).unwrap();
    assert!(!is_hit(plan(&[])));
    assert!(is_hit(plan(&["--rehash"])));
    assert!(is_hit(plan(&[])), "what it found is what is remembered");
    fs::write(hint(&project), "damaged").unwrap();
    project.expect(0, &["run", "p.ron", "--rehash"]);
    assert_eq!(project.ran(), [""; 0]);

    // The time is set back, the size is the same.
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let mut bytes = vec![7; 3 << 20];
    bytes[2 << 20] = 8;
    project.write("data/a.bin", bytes);
    fs::File::open(&file).unwrap().set_modified(modified).unwrap();
    assert!(!is_hit(plan(&[])));
}

/// The first hint of a project's store; no file where there is none.
fn hint(project: &Project) -> PathBuf {
    let mut path = project.store().join("hints");
    while let Some(entry) = fs::read_dir(&path).ok().and_then(|mut entries| entries.next()) {
        path = entry.unwrap().path();
    }
    path
}

const FILES: &str = r#"Pipeline(name: "files", stages: {"s": (stage: Command(
    argv: ["/bin/sh", "-c", "ls {file:data} > out"], files: ["data"], outputs: {"out": (kind: File, path: "out")},
))})"#;

#[test]
fn a_file_that_changes_while_its_stage_runs_taints_the_result() {
    let project = Project::new();
    let edits = FILES.replace("ls {file:data} > out", "ls {file:data} > out; echo b > {file:data}/a.txt");
    project.write("data/a.txt", "a").write("p.ron", edits);
    let output = project.expect(1, &["run", "p.ron"]);
    assert!(
        output.stderr.contains("data was changed while the stage ran; nothing was cached"),
        "{}",
        output.stderr
    );
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["s"]);
}

#[test]
fn one_failure_does_not_keep_the_rest_from_running() {
    let project = Project::new();
    project.write(
        "p.ron",
        CHAIN.replace("echo $K >> out", "echo $K >> out; test $K = 2 || {{ echo oh no; exit 3; }}"),
    );
    let output = project.expect(1, &["run", "p.ron"]);
    assert_eq!(project.ran().len(), 6);
    let failed = "      Failed b[K=1,seed=0]: `/bin/sh -c ";
    assert!(output.stderr.contains(failed), "{}", output.stderr);
    assert!(
        output.stderr.contains("` ended with exit status: 3; its last lines:\n  oh no\n"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("Skipped c[K=1,seed=0], because b[K=1,seed=0] failed\n"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("10 stages: 6 ran, 2 failed, 2 skipped ("), "{}", output.stderr);
    project.expect(1, &["run", "p.ron"]);
    let failed = project.journal().into_iter().filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failed.count(), 2, "a failure is not cached");
}

#[test]
fn an_output_that_is_not_what_was_declared_is_a_failure() {
    let project = Project::new();
    for (kind, text, reason) in [
        ("File", "true", "output `out`: it was not written"),
        ("File", ": > out", "output `out`: it is empty"),
        ("File", "mkdir out", "output `out`: it is not a regular file"),
        ("File", "ln -s /etc/passwd out", "output `out`: it is not a regular file"),
        ("Metrics", "echo '{{\"a\": NaN}}' > out", "output `out`: it is not a JSON object of finite numbers"),
        ("Graph", "echo nonsense > out", "output `out`: it is not safetensors"),
        ("Curve", "printf PAR1 > out", "output `out`: it is not a whole Parquet file"),
    ] {
        project.write("p.ron", script(kind, text));
        for _ in 0..2 {
            let output = project.expect(1, &["run", "p.ron"]);
            assert!(output.stderr.contains(reason), "{text}: {}", output.stderr);
        }
    }
}

#[test]
fn a_program_gets_what_it_declares_and_nothing_else() {
    let project = Project::new();
    let tell = "env | grep -v -e ^PWD -e ^SHLVL -e ^_= | sort > out; ls -A >> out; echo {threads} {device} {{}} >> out";
    let command = script("File", tell)
        .replace("argv:", r#"env: {"SEED": "<{seed}>"}, inherit: ["HOME", "NONE"], argv:"#);
    project.write("p.ron", command);
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["get", "p.ron", "s.out", "--to", "told"]);
    let home = project.path().display().to_string();
    assert_eq!(project.read("told"), format!("HOME={home}\nSEED=<0>\nout\n1 cpu {{}}\n"));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let project = Project::new();
    project.write("p.ron", script("File", "").replace("/bin/sh", "no-such-program"));
    let output = project.expect(1, &["run", "p.ron"]);
    assert!(
        output.stderr.contains("error: cannot run `no-such-program`: No such file or directory"),
        "{}",
        output.stderr
    );
}

/// Short digests replaced by `[action]`.
fn without_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let words = words.map(|word| match word.split_at_checked(12) {
        Some((digest, end)) if is_digest(digest) => format!("[action]{end}"),
        _ => word.to_owned(),
    });
    words.collect()
}

/// Every duration, date and host as one word.
fn without_times(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut told: Vec<String> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let is_number = word.parse::<f64>().is_ok();
            let unit = words.get(at + 1).is_some_and(|next| ["s", "min", "s,"].contains(next));
            match *word {
                _ if is_number && unit => told.push("[time]".to_owned()),
                "s" | "s," if at > 0 && told.last().is_some_and(|last| last == "[time]") => {}
                _ if word.starts_with("20") && word.contains('-') => told.push("[date]".to_owned()),
                _ if word.contains(':') && told.last().is_some_and(|last| last == "[date]") => {}
                _ if words[0].is_empty() && at > 0 && words[at - 1] == "on" => {
                    told.push("[host],".to_owned())
                }
                _ => told.push((*word).to_owned()),
            }
        }
        told.join(" ") + "\n"
    });
    lines.collect()
}

#[test]
fn plan_and_why_name_what_moved() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    // One after the other: of equally similar actions the last to begin is named.
    project.expect(0, &["run", "p.ron", "--jobs", "1"]);
    project.write("p.ron", CHAIN.replace(r#"["1", "2"]"#, r#"["1", "3"]"#));
    let told = |arguments: &[&str]| without_times(&without_digests(&project.expect(0, arguments).stdout));
    insta::assert_snapshot!("plan", told(&["plan", "p.ron"]));
    insta::assert_snapshot!("why", told(&["why", "p.ron", "c[seed=1]"]));
    assert_eq!(project.ran().len(), 10, "neither of them ran anything");
}

/// Part of a stage was made again since: the rest is compared with what it was itself, not with that part.
#[test]
fn what_somebody_wrote_is_named_before_what_comes_in() {
    let project = Project::new();
    let with_file = CHAIN.replace(
        "{input:x})}}\\\" > m.json\"],",
        "{input:x})}}\\\" > m.json; cat {file:notes} >&2\"], files: [\"notes\"],",
    );
    assert_ne!(with_file, CHAIN);
    project.write("p.ron", with_file).write("notes", "first").expect(0, &["run", "p.ron"]);
    project.write("notes", "second").expect(0, &["run", "p.ron", "--only", "c[K=1,seed=0]"]);
    let why = project.expect(0, &["why", "p.ron", "c[K=2,seed=1]"]).stdout;
    assert!(why.contains("content of file `notes`") && !why.contains("input"), "{why}");
}

#[test]
fn what_failed_is_not_said_to_have_been_broken_off() {
    let project = Project::new();
    project.write("p.ron", script("File", "exit 7")).expect(1, &["run", "p.ron"]);
    let run = project.expect(0, &["runs"]).stdout;
    let run = run.lines().find_map(|line| line.split_whitespace().find(|word| word.starts_with("20")));
    let told = format!("s failed in run {}: `/bin/sh -c exit 7` ended with exit status: 7\n", run.unwrap());
    for command in [&["plan", "p.ron"][..], &["why", "p.ron", "s"]] {
        let shown = project.expect(0, command).stdout;
        assert!(shown.contains(&told), "{shown} has not {told}");
    }
}

#[test]
fn what_failed_is_named_once_more_at_the_end_and_its_log_is_found() {
    let project = Project::new();
    let text = r#"Pipeline(
        name: "p",
        stages: {"s": (stage: Command(
            argv: ["/bin/sh", "-c", "echo said $K; [ $K -lt 3 ] && echo 1 > o"],
            env: {"K": 0},
            outputs: {"o": (kind: File, path: "o")},
        ))},
        axes: {"s.env.K": [1, 2, 3, 4]},
    )"#;
    let failed = project.write("p.ron", text).expect(1, &["run", "p.ron", "--jobs", "1"]).stderr;
    let last = failed.lines().last().unwrap();
    assert_eq!(last.trim(), "failed: s[K=3], s[K=4]; `ablate log --only 's[K=3]'` shows what it printed");
    let log = project.expect(0, &["log", "--only", "s[K=3]"]).stdout;
    assert!(log.contains("said 3") && !log.contains("said 4") && !log.contains("Running"), "{log}");
    assert!(project.expect(0, &["log", "--only", "s[K=?]"]).stdout.contains("said 4"));
    assert!(project.expect(0, &["log", "--only", "s"]).stdout.contains("said 4"));
    let told = project.expect(2, &["log", "--only", "t*"]).stderr;
    assert!(told.contains(" did nothing that is called `t*`; it may have found it in the store"), "{told}");
}

/// As Python does when it imports what lies there.
#[test]
fn a_program_may_leave_a_python_cache_beside_its_sources() {
    let project = Project::new();
    let pipeline = script(
        "File",
        "mkdir -p {file:src}/__pycache__; date +%N > {file:src}/__pycache__/m.pyc; echo 1 > out",
    );
    project.write("src/m.py", "").write("p.ron", pipeline.replace("outputs:", "files: [\"src\"], outputs:"));
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["s"]);
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn artifacts_are_exported_by_name() {
    let project = Project::new();
    project.write("p.ron", CHAIN);
    let early = project.expect(1, &["get", "p.ron", "a"]);
    assert_eq!(early.stderr, "error: a[seed=0] is not in the store; `ablate run` makes it\n");
    project.expect(0, &["run", "p.ron"]);
    let all = project.expect(0, &["get", "p.ron", "b[seed=1]", "--to", "got/"]);
    assert_eq!(all.stdout, "got/b[K=1,seed=1].out.bin\ngot/b[K=2,seed=1].out.bin\n");
    assert_eq!(project.read("got/b[K=2,seed=1].out.bin"), "a 1\n2\n");
    project.expect(0, &["get", "p.ron", "c[K=1,seed=0].m", "--to", "m.json"]);
    assert_eq!(project.read("m.json"), "{\"lines\": 2}\n");
    let unknown = project.expect(2, &["get", "p.ron", "c.x"]);
    assert_eq!(unknown.stderr, "error: c[K=1,seed=0] has no output `x`; it has m\n");
    let unknown = project.expect(2, &["get", "p.ron", "c[K=7]"]);
    let told = "error: the pipeline has no `c[K=7]`; the instances of it: c[K=1,seed=0], c[K=1,seed=1], c[K=2,seed=0], c[K=2,seed=1]\n";
    assert_eq!(unknown.stderr, told);
}

#[test]
fn events_are_told_as_json_and_as_a_log() {
    let project = Project::new();
    project.write("p.ron", script("Metrics", "echo hello; echo '{{\"a\": 0.5}}' > out"));
    let told = project.expect(0, &["run", "p.ron", "--json"]);
    let entries: Vec<Event> = told
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<ablate::journal::Entry>(line).unwrap().event)
        .collect();
    assert_eq!(entries, project.journal());
    assert_eq!(told.stderr, "");
    let log = project.expect(0, &["log"]).stdout;
    assert!(log.contains("Output s: hello\n"), "{log}");
    assert!(log.contains(" s)  a 0.5000\n"), "{log}");
}

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let project = Project::new();
    project.write("p.ron", CHAIN).write("bad.ron", "Pipeline(").write("full/file", "");
    project.expect(2, &["run"]);
    project.expect(2, &["run", "p.ron", "--device", "cuda:7"]);
    project.expect(2, &["run", "p.ron", "--jobs", "0"]);
    project.expect(3, &["run", "bad.ron"]);
    project.expect(3, &["plan", "missing.ron"]);
    let other = project.expect(4, &["run", "p.ron", "--store", "full"]);
    assert!(other.stderr.contains("is not a store this version can use"), "{}", other.stderr);
    project.expect(1, &["log", "20200101"]);
}
