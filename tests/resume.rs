//! Runs that are interrupted or killed, and go on.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ablate::journal::Event;
use common::{Project, finish, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// `slow` counts to 20, one line each 50 ms into its scratch folder, and goes on from there; at 10 it waits to be [let go](let_go).
/// The files `step`, `program`, `guardian` and `worker` tell the test how far it is and who runs it. What counts is a child of the
/// program, as scripts and launchers have it.
const SLOW: &str = r#"Pipeline(name: "slow", stages: {
    "first": (stage: Command(argv: ["/bin/sh", "-c", "echo first > out"], outputs: {"out": (kind: File, path: "out")})),
    "slow": (
        stage: Command(
            argv: ["/bin/sh", "-c", "/bin/sh SLOW.sh $0 $1 $2; true", "{input:x}", "{scratch}", "{output:out}"],
            inputs: {"x": File},
            outputs: {"out": (kind: File, path: "out")},
        ),
        from: {"x": "first"},
    ),
    "last": (
        stage: Command(argv: ["cp", "{input:x}", "out"], inputs: {"x": File}, outputs: {"out": (kind: File, path: "out")}),
        from: {"x": "slow"},
    ),
})"#;

const SCRIPT: &str = r#"
parent() { cut -d' ' -f4 /proc/$1/stat; }
guardian=$(parent $PPID)
echo $guardian > DIR/guardian
parent $guardian > DIR/worker
echo $$ > DIR/program
touch $2/lines
n=$(wc -l < $2/lines)
echo "from $n"
while [ $n -lt 20 ]; do
    sleep 0.05
    [ $n -ne 10 ] || until [ -e DIR/go ]; do sleep 0.05; done
    n=$((n + 1))
    echo $n >> $2/lines
    echo $n > DIR/step
done
cat $1 $2/lines > $3
"#;

/// How often something is tried that a program is given 1.5 s for: a busy machine may pause as long, but not each time.
const TRIES: usize = 5;

fn slow() -> Project {
    let project = Project::new();
    let dir = project.path().display().to_string();
    project.write("slow.sh", SCRIPT.replace("DIR", &dir));
    project.write("p.ron", SLOW.replace("SLOW.sh", &format!("{dir}/slow.sh")));
    project
}

fn number(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn wait_for_step(project: &Project, step: i32) {
    let path = project.path().join("step");
    wait_until("a step", || number(&path).is_some_and(|found| found >= step));
}

fn let_go(project: &Project) {
    project.write("go", "");
}

fn pid(project: &Project, name: &str) -> Pid {
    Pid::from_raw(number(&project.path().join(name)).unwrap()).unwrap()
}

fn is_alive(pid: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// The digests of every output, by instance.
fn digests(project: &Project) -> Vec<String> {
    let digest = |stage: &str| {
        project.expect(0, &["get", "p.ron", stage, "--to", "got"]);
        project.read("got")
    };
    ["first", "slow", "last"].map(digest).to_vec()
}

fn unbroken() -> Vec<String> {
    let numbers: String = (1..=20).map(|n| format!("{n}\n")).collect();
    vec!["first\n".to_owned(), format!("first\n{numbers}"), format!("first\n{numbers}")]
}

fn resumed_from(project: &Project) -> Vec<i32> {
    let lines = project.journal().into_iter().filter_map(|event| match event {
        Event::Output { line, .. } => line.strip_prefix("from ")?.parse().ok(),
        _ => None,
    });
    lines.collect()
}

#[test]
fn a_killed_process_group_goes_on_where_it_was() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    let program = pid(&project, "program");
    kill_process_group(Pid::from_child(&run), Signal::KILL).unwrap();
    assert_eq!(finish(run).code, -1);
    let_go(&project);
    project.expect(0, &["run", "p.ron"]);
    assert!(!is_alive(program));
    assert_eq!(project.ran(), ["last", "slow"]);
    assert!(resumed_from(&project)[0] >= 5);
    assert_eq!(digests(&project), unbroken());
    assert_eq!(std::fs::read_dir(project.store().join("attempts")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(project.store().join("scratch")).unwrap().count(), 0);
}

#[test]
fn a_killed_worker_is_replaced() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    let program = pid(&project, "program");
    kill_process(pid(&project, "worker"), Signal::KILL).unwrap();
    let_go(&project);
    let output = finish(run);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!is_alive(program), "the program dies with its worker");
    assert!(output.stderr.contains("Retrying slow: its worker was killed (signal 9)"), "{}", output.stderr);
    assert!(*resumed_from(&project).last().unwrap() >= 5);
    assert_eq!(digests(&project), unbroken());
}

#[test]
fn a_killed_guardian_is_a_failed_program() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    let program = pid(&project, "program");
    kill_process(pid(&project, "guardian"), Signal::KILL).unwrap();
    let output = finish(run);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("ended with signal: 9 (SIGKILL)"), "{}", output.stderr);
    wait_until("the program's end", || !is_alive(program));
}

/// Then what the program has started may go on; nobody goes on beside it.
#[test]
fn what_a_killed_worker_and_guardian_leave_holds_the_action() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    let (worker, guardian) = (pid(&project, "worker"), pid(&project, "guardian"));
    // Stopped, it cannot end with its worker before it is killed.
    kill_process(guardian, Signal::STOP).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    kill_process(guardian, Signal::KILL).unwrap();
    let_go(&project);
    let output = finish(run);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(digests(&project), unbroken());
}

#[test]
fn a_program_in_a_group_of_its_own_may_checkpoint() {
    let project = Project::new();
    let dir = project.path().display().to_string();
    let script =
        format!("trap 'echo > {dir}/saved; exit 1' TERM; echo 1 > {dir}/step; while :; do sleep 0.05; done");
    let pipeline = format!(
        r#"Pipeline(name: "p", stages: {{"a": (stage: Command(argv: ["timeout", "600", "sh", "-c", {script:?}], outputs: {{"o": (kind: File, path: "o")}}))}})"#
    );
    project.write("p.ron", pipeline);
    let saves = || {
        std::fs::remove_file(project.path().join("step")).ok();
        let run = project.start_group(&["run", "p.ron"]);
        wait_for_step(&project, 1);
        kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        assert_eq!(finish(run).code, 130);
        project.path().join("saved").exists()
    };
    assert!((0..TRIES).any(|_| saves()));
}

#[test]
fn a_script_needs_no_first_line() {
    let project = Project::new();
    let pipeline = r#"Pipeline(name: "p", stages: {"a": (
        stage: Command(argv: ["{file:script}"], files: ["script"], outputs: {"o": (kind: File, path: "o")}),
    )})"#;
    project.write("text", "echo 1 > o").write("p.ron", pipeline);
    std::fs::set_permissions(project.path().join("text"), std::fs::Permissions::from_mode(0o755)).unwrap();
    // What this process had open for writing, a child that another test starts may have for a moment, and it could not be run.
    let copied = Command::new("cp").args(["text", "script"]).current_dir(project.path()).status().unwrap();
    assert!(copied.success());
    project.expect(0, &["run", "p.ron"]);
}

#[test]
fn nothing_of_a_program_outlives_it() {
    let project = Project::new();
    let daemon = project.path().join("daemon").display().to_string();
    let script = format!(
        "setsid sh -c 'echo $$ > {daemon}; exec sleep 60' & while ! [ -s {daemon} ]; do sleep 0.01; done; echo 1 > o"
    );
    let pipeline = format!(
        r#"Pipeline(name: "p", stages: {{"a": (stage: Command(argv: ["sh", "-c", {script:?}], outputs: {{"o": (kind: File, path: "o")}}))}})"#
    );
    project.write("p.ron", pipeline).expect(0, &["run", "p.ron"]);
    assert!(!is_alive(pid(&project, "daemon")));
}

#[test]
fn who_prints_without_end_is_stopped_all_the_same() {
    let project = Project::new();
    let on = project.path().join("on");
    let endless = r#"Pipeline(name: "p", stages: {"a": (
        stage: Command(argv: ["sh", "-c", "echo > ON; yes; true"], outputs: {"o": (kind: File, path: "o")}),
        resources: (time_min: LIMIT),
    )})"#;
    let endless = endless.replace("ON", on.to_str().unwrap());
    let clock = Instant::now();
    let overdue =
        project.write("p.ron", endless.replace("LIMIT", "0.01")).expect(1, &["run", "p.ron"]).stderr;
    assert!(overdue.contains("it took longer than its time of 0.01 min"), "{overdue}");
    std::fs::remove_file(&on).ok();
    project.write("p.ron", endless.replace("LIMIT", "10"));
    let run = project.start_group(&["run", "p.ron"]);
    wait_until("the program prints", || on.exists());
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(finish(run).code, 130);
    assert!(clock.elapsed() < Duration::from_secs(300), "{:?}", clock.elapsed());
}

#[test]
fn a_killed_runner_leaves_nobody_who_writes() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    let (worker, program) = (pid(&project, "worker"), pid(&project, "program"));
    kill_process(Pid::from_child(&run), Signal::KILL).unwrap();
    assert_eq!(finish(run).code, -1);
    let_go(&project);
    // At once: the old worker may still be there, and holds the action until it is not.
    project.expect(0, &["run", "p.ron"]);
    assert!(!is_alive(worker) && !is_alive(program));
    assert_eq!(digests(&project), unbroken());
}

#[test]
fn an_interrupt_stops_and_the_next_run_goes_on() {
    let project = slow();
    let run = project.start_group(&["run", "p.ron"]);
    wait_for_step(&project, 5);
    kill_process_group(Pid::from_child(&run), Signal::INT).unwrap();
    let output = finish(run);
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(output.stderr.contains("     Stopped slow\n"), "{}", output.stderr);
    assert!(output.stderr.contains("Interrupted 3 stages: 1 ran, 2 unfinished ("), "{}", output.stderr);
    assert!(!is_alive(pid(&project, "program")));
    let_go(&project);
    project.expect(0, &["run", "p.ron"]);
    assert!(resumed_from(&project)[0] >= 5);
    assert_eq!(digests(&project), unbroken());
}

#[test]
fn a_second_interrupt_kills() {
    let project = slow();
    let dir = project.path().display().to_string();
    let stubborn = SCRIPT.replace("touch", "trap 'echo > DIR/asked' TERM; touch").replace("DIR", &dir);
    project.write("slow.sh", stubborn);
    let asked = project.path().join("asked");
    let time = || {
        for file in [&asked, &project.path().join("step")] {
            std::fs::remove_file(file).ok();
        }
        let run = project.start_group(&["run", "p.ron"]);
        wait_for_step(&project, 2);
        let clock = Instant::now();
        kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        wait_until("the program is asked to stop", || asked.exists());
        kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        assert_eq!(finish(run).code, 130);
        wait_until("the program's end", || !is_alive(pid(&project, "program")));
        clock.elapsed()
    };
    assert!((0..TRIES).any(|_| time() < Duration::from_millis(1400)), "it waits for the program");
}
