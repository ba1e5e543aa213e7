//! Runs that are killed at any moment, again and again, and runs beside each other. A small count of each runs with the
//! tests; `cargo test --no-default-features --test chaos -- --ignored --nocapture` runs the full counts and reports.

mod common;

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Project, finish, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// `stages` commands, `chained` or side by side, each of which says that it ran.
fn project(stages: usize, chained: bool) -> Project {
    let project = Project::new();
    let log = project.path().join("ran");
    let mut text = String::from("Pipeline(name: \"chaos\", stages: {");
    for stage in 0..stages {
        let read = if chained && stage > 0 { "cat {input:x} > o;" } else { "" };
        let script = format!("echo {stage} >> {}; {read} echo {stage} >> o; sleep 0.01", log.display());
        let (inputs, from) = match chained && stage > 0 {
            true => (r#"inputs: {"x": File},"#, format!(r#"from: {{"x": "s{}"}}"#, stage - 1)),
            false => ("", String::new()),
        };
        text.push_str(&format!(
            r#""s{stage}": (stage: Command(argv: ["sh", "-c", {script:?}], {inputs} outputs: {{"o": (kind: File, path: "o")}}), {from}),"#
        ));
    }
    project.write("p.ron", text + "})");
    project
}

/// How often each stage ran.
fn executions(project: &Project) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    let ran = std::fs::read_to_string(project.path().join("ran")).unwrap_or_default();
    for line in ran.lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    counts
}

fn last_output(project: &Project, stages: usize) -> String {
    project.expect(0, &["get", "p.ron", &format!("s{}", stages - 1), "--to", "last"]);
    project.read("last")
}

/// Numbers that look drawn.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The runner, its workers and their programs.
    Group,
    /// The runner alone.
    Runner,
    /// A worker alone.
    Worker,
}

#[derive(Debug, Default)]
struct Report {
    kills: usize,
    twice: usize,
    by_hand: usize,
    wrong: usize,
}

fn kill(run: &Child, victim: Victim) -> bool {
    let runner = Pid::from_child(run);
    match victim {
        Victim::Group => kill_process_group(runner, Signal::KILL).is_ok(),
        Victim::Runner => kill_process(runner, Signal::KILL).is_ok(),
        Victim::Worker => {
            let children = format!("/proc/{0}/task/{0}/children", run.id());
            let children = std::fs::read_to_string(children).unwrap_or_default();
            let worker = children.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            worker.is_some_and(|worker| kill_process(worker, Signal::KILL).is_ok())
        }
    }
}

/// Kills a chain of stages at a random moment, and again while it recovers, `rounds` times.
fn killed(victim: Victim, rounds: u64) -> Report {
    const STAGES: usize = 24;
    const SLOTS: usize = 2;
    let whole = || {
        let project = project(STAGES, true);
        let clock = Instant::now();
        project.expect(0, &["run", "p.ron"]);
        u64::try_from(clock.elapsed().as_millis()).unwrap()
    };
    let span = whole().min(whole());
    let mut draws = Draws(rounds + victim as u64);
    let mut report = Report::default();
    for round in 0..rounds {
        let project = project(STAGES, true);
        let arguments = ["run", "p.ron", "--jobs", &SLOTS.to_string()];
        let mut kills = 0;
        for _ in 0..1 + round % 3 {
            let run = project.start_group(&arguments);
            std::thread::sleep(Duration::from_millis(draws.below(span)));
            kills += usize::from(kill(&run, victim));
            let output = finish(run);
            if matches!(victim, Victim::Worker) {
                report.by_hand += usize::from(output.code != 0);
            }
        }
        let last = finish(project.start_group(&arguments));
        report.by_hand += usize::from(last.code != 0);
        let expected: String = (0..STAGES).map(|stage| format!("{stage}\n")).collect();
        report.wrong += usize::from(last_output(&project, STAGES) != expected);
        let executions = executions(&project);
        assert_eq!(executions.len(), STAGES);
        let twice: usize = executions.values().map(|count| count - 1).sum();
        assert!(twice <= SLOTS * kills, "{twice} actions were done again after {kills} kills");
        report.kills += kills;
        report.twice += twice;
    }
    report
}

#[track_caller]
fn check(victim: Victim, rounds: u64) {
    let report = killed(victim, rounds);
    println!("{victim:?}: {rounds} points, {report:?}");
    assert!(report.kills > 0);
    assert_eq!((report.by_hand, report.wrong), (0, 0));
}

#[test]
fn a_killed_group_goes_on_by_itself() {
    check(Victim::Group, 6);
}

#[test]
fn a_killed_runner_goes_on_by_itself() {
    check(Victim::Runner, 6);
}

#[test]
fn a_killed_worker_goes_on_by_itself() {
    check(Victim::Worker, 6);
}

#[test]
#[ignore = "takes minutes"]
fn any_kill_at_any_moment_in_full() {
    for victim in [Victim::Group, Victim::Runner, Victim::Worker] {
        check(victim, 200);
    }
}

/// So many runners at once do each of so many actions once.
fn together(runners: usize, stages: usize) {
    let project = project(stages, false);
    let runs: Vec<Child> = (0..runners).map(|_| project.start(&["run", "p.ron"])).collect();
    for run in runs {
        let output = finish(run);
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let executions = executions(&project);
    assert_eq!(executions.len(), stages);
    assert!(executions.values().all(|&count| count == 1), "{executions:?}");
    println!("{runners} runners, {stages} stages: each once");
}

#[test]
fn runners_beside_each_other_do_each_action_once() {
    together(2, 30);
    together(6, 30);
}

/// The same while one of them is killed every half second.
fn together_and_killed(runners: usize, stages: usize) {
    let project = project(stages, false);
    let mut runs: Vec<Child> = (0..runners).map(|_| project.start_group(&["run", "p.ron"])).collect();
    let mut kills = 0;
    while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) && kills < 60 {
        std::thread::sleep(Duration::from_millis(500));
        let victim = kills % runners;
        let killed = kill(&runs[victim], Victim::Group);
        let output = finish(std::mem::replace(&mut runs[victim], project.start_group(&["run", "p.ron"])));
        assert!(output.code == 0 || killed, "{}", output.stderr);
        kills += 1;
        if executions(&project).len() == stages && kills > 3 {
            break;
        }
    }
    for run in runs {
        let output = finish(run);
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let executions = executions(&project);
    assert_eq!(executions.len(), stages);
    let twice: usize = executions.values().map(|count| count - 1).sum();
    // Each runner has as many slots as there are processors.
    let slots = std::thread::available_parallelism().unwrap().get();
    assert!(twice <= slots * kills, "{twice} of {stages} done again after {kills} kills");
    println!("{runners} runners, {stages} stages, {kills} kills: {twice} done again");
}

#[test]
fn runners_beside_each_other_share_the_work() {
    let project = Project::new();
    let stage = |stage: usize| {
        format!(
            r#""s{stage}": (stage: Command(argv: ["sh", "-c", "echo > DIR/begun.{stage}; until [ -e DIR/go ]; do sleep 0.05; done; echo {stage} > o"], outputs: {{"o": (kind: File, path: "o")}})),"#
        )
    };
    let dir = project.path().display().to_string();
    let stages = (0..8).map(stage).collect::<String>().replace("DIR", &dir);
    project.write("p.ron", format!("Pipeline(name: \"shared\", stages: {{{stages}}})"));
    let runs = [(); 2].map(|()| project.start(&["run", "p.ron", "--jobs", "1"]));
    let begun = || (0..8).filter(|stage| project.path().join(format!("begun.{stage}")).exists()).count();
    wait_until("each is at one", || begun() == 2);
    project.write("go", "");
    for output in runs.map(finish) {
        assert_eq!(output.code, 0, "{}", output.stderr);
        let ran = (1..=7).any(|count| output.stderr.contains(&format!(" {count} ran")));
        assert!(ran, "each does some of the eight: {}", output.stderr);
    }
}

#[test]
fn runners_beside_each_other_survive_each_other() {
    together_and_killed(3, 60);
}

#[test]
#[ignore = "takes minutes"]
fn runners_beside_each_other_in_full() {
    for runners in [2, 4, 8] {
        together(runners, 200);
    }
    together_and_killed(4, 400);
}
