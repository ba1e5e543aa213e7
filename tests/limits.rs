//! A store on a full or read-only disk, and few descriptors: a clear end, and the next run with room finishes.

mod common;

use std::process::{Command, Stdio};

use common::{Output, Project, finish};

/// A chain whose artifacts have 20 kB each.
const CHAIN: &str = r#"Pipeline(name: "p", stages: {
    "a": (stage: Command(argv: ["sh", "-c", "head -c 20000 /dev/zero | tr '\\0' a > o"], outputs: {"o": (kind: File, path: "o")})),
    "b": (stage: Command(argv: ["sh", "-c", "cat $0 > o; echo b >> o", "{input:x}"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}), from: {"x": "a"}),
    "c": (stage: Command(argv: ["sh", "-c", "cat $0 > o; echo c >> o", "{input:x}"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}), from: {"x": "b"}),
})"#;

/// Runs a shell script in the project's folder, as the root of mounts of its own.
fn with_mounts(project: &Project, script: &str) -> Option<Output> {
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).current_dir(project.path());
        command.env("ABLATE", env!("CARGO_BIN_EXE_ablate"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let can_mount = shell("mkdir -p m && mount -t tmpfs none m").is_ok_and(|child| finish(child).code == 0);
    if !can_mount {
        eprintln!("SKIPPED: mounting is not allowed here");
        return None;
    }
    Some(finish(shell(script).unwrap()))
}

#[test]
fn a_full_disk_ends_a_run_and_room_lets_it_finish() {
    let project = Project::new();
    project.write("p.ron", CHAIN).write("Cargo.toml", "");
    let script = r#"
        for size in 4 32 64 96 128 160 192 224 256 320 400 1000; do
            mkdir -p m && mount -t tmpfs -o size=${size}k none m || exit 99
            "$ABLATE" run p.ron --store m/store --jobs 1 2> told; code=$?
            case $code in
                0) ;;
                1|4) grep -q "No space left" told || { echo "size $size:"; cat told; exit 98; } ;;
                *) echo "size $size: code $code"; cat told; exit 97 ;;
            esac
            echo "$size $code"
            mount -o remount,size=4m m || exit 96
            "$ABLATE" run p.ron --store m/store 2> told || { echo "size $size, with room:"; cat told; exit 95; }
            "$ABLATE" verify --store m/store > told || { echo "size $size, verify:"; cat told; exit 94; }
            umount m
        done"#;
    let Some(output) = with_mounts(&project, script) else { return };
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains(" 4\n") && output.stdout.ends_with("1000 0\n"), "{}", output.stdout);
}

#[test]
fn a_read_only_store_can_be_looked_at() {
    let project = Project::new();
    project.write("p.ron", CHAIN).write("Cargo.toml", "").expect(0, &["run", "p.ron"]);
    let script = r#"
        mount --bind .ablate .ablate && mount -o remount,bind,ro .ablate || exit 99
        "$ABLATE" plan p.ron && "$ABLATE" show p.ron b > shown && "$ABLATE" get p.ron c --to got && "$ABLATE" verify || exit 98
        "$ABLATE" run p.ron; echo "code $?""#;
    let Some(output) = with_mounts(&project, script) else { return };
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("3 stages: 3 cached"), "{}", output.stdout);
    assert!(output.stdout.ends_with("code 4\n"), "{}", output.stdout);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
}

#[test]
fn few_descriptors_are_enough_or_named() {
    let project = Project::new();
    project.write("p.ron", CHAIN).write("Cargo.toml", "");
    for limit in [16, 32, 64] {
        let script = format!("ulimit -n {limit}; exec {} run p.ron --jobs 4", env!("CARGO_BIN_EXE_ablate"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(project.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = finish(shell.spawn().unwrap());
        let named = output.stderr.contains("Too many open files");
        assert!(output.code == 0 || named, "{limit}: {}\n{}", output.code, output.stderr);
        assert!(output.code != 70 || named, "{limit}: {}", output.stderr);
    }
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["verify"]);
}

/// A chain of stages of which the first fails, run with a stack of so many KiB.
fn check_long_chain(stages: usize, stack_kib: usize) {
    let first =
        r#""s0": (stage: Command(argv: ["false"], outputs: {"o": (kind: File, path: "o")}))"#.to_owned();
    let next = |n: usize| {
        let stage = r#"Command(argv: ["cp", "{input:x}", "o"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")})"#;
        format!("\"s{n}\": (stage: {stage}, from: {{\"x\": \"s{}\"}})", n - 1)
    };
    let chain: Vec<String> = std::iter::once(first).chain((1..stages).map(next)).collect();
    let project = Project::new();
    project.write("p.ron", format!("Pipeline(name: \"p\", stages: {{{}}})", chain.join(",\n")));
    let run = |command: &str| {
        let program = env!("CARGO_BIN_EXE_ablate");
        let script = format!("ulimit -s {stack_kib}; exec {program} {command} p.ron");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(project.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(shell.spawn().unwrap())
    };
    let planned = run("plan");
    let told = format!("{stages} stages: 0 cached, 1 to run, {} pending on these", stages - 1);
    assert!(planned.code == 0 && planned.stdout.contains(&told), "{}\n{}", planned.code, planned.stderr);
    let ran = run("run");
    let told = format!("{stages} stages: 1 failed, {} skipped", stages - 1);
    assert!(ran.code == 1 && ran.stderr.contains(&told), "{}\n{}", ran.code, ran.stderr);
}

#[test]
fn a_long_chain_takes_up_no_stack() {
    check_long_chain(3000, 384);
}

/// Takes half a minute unless the program is optimised.
#[test]
#[ignore = "the same at full length"]
fn a_chain_of_50_000_stages_takes_up_no_stack() {
    check_long_chain(50_000, 1024);
}
