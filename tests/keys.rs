//! What moves a key and what does not.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command as Process;

use ablate::command::Command;
use ablate::expand::expand;
use ablate::manifest::Manifest;
use ablate::pipeline;
use ablate::source::SourceMap;
use ablate_stage::Registry;
use ablate_stage::cache::ActionDigest;
use common::{Project, finish};

/// Numbers that look drawn.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn word(&mut self) -> String {
        let letters = ["a", "b", "é", "\\\"", "\\\\", " ", "0", "/", "(", ":", "\\n", "-"];
        (0..=self.below(6)).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The fields of a `Command`, as RON.
#[derive(Clone)]
struct Spec {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    inherit: Vec<String>,
    outputs: Vec<(String, String)>,
}

impl Spec {
    fn draw(draws: &mut Draws) -> Self {
        let argv = (0..=draws.below(4)).map(|at| format!("p{at}{}", draws.word())).collect();
        let env = (0..draws.below(4)).map(|at| (format!("K{at}"), draws.word())).collect();
        let inherit = (0..draws.below(3)).map(|at| format!("V{at}{}", draws.below(9))).collect();
        let outputs =
            (0..=draws.below(2)).map(|at| (format!("o{at}"), format!("f{at}{}", draws.below(9)))).collect();
        Self { argv, env, inherit, outputs }
    }

    /// Changes one leaf.
    fn change(&mut self, draws: &mut Draws) {
        let at = draws.below(self.argv.len());
        match draws.below(6) {
            0 => self.argv[at].push('x'),
            1 => self.argv.push("one more".to_owned()),
            2 => self.env.push(("NEW".to_owned(), String::new())),
            3 => match self.env.first_mut() {
                Some((_, value)) => value.push('x'),
                None => self.inherit.push("NEW".to_owned()),
            },
            4 => self.inherit.push("NEW".to_owned()),
            _ => self.outputs[0].1.push('x'),
        }
    }

    /// As the text of a pipeline, its order, spaces, comments, names and resources drawn anew each time.
    fn text(&self, draws: &mut Draws) -> String {
        let list =
            |items: &[String]| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
        let (mut env, mut outputs) = (self.env.clone(), self.outputs.clone());
        draws.shuffle(&mut env);
        draws.shuffle(&mut outputs);
        let env: Vec<String> = env.iter().map(|(key, value)| format!("\"{key}\": \"{value}\"")).collect();
        let output = |(name, path): &(String, String)| format!("\"{name}\": (path: \"{path}\", kind: File)");
        let outputs: Vec<String> = outputs.iter().map(output).collect();
        let mut fields = vec![
            format!("argv: [{}]", list(&self.argv)),
            format!("env: {{{}}}", env.join(", ")),
            format!("inherit: [{}]", list(&self.inherit)),
            format!("outputs: {{{}}}", outputs.join(", ")),
            format!("cpus: {}", 1 + draws.below(8)),
        ];
        draws.shuffle(&mut fields);
        let mut text =
            format!("Pipeline(name: \"n{}\", stages: {{\"s{}\": (", draws.below(99), draws.below(99));
        write!(text, "resources: (retries: {}), stage: Command(", draws.below(5)).unwrap();
        for field in fields {
            let space = ["", " ", "\n", "/* why */", "// note\n", "\t"][draws.below(6)];
            write!(text, "{space}{field},").unwrap();
        }
        text + "))})"
    }
}

fn key(text: &str) -> ActionDigest {
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text);
    let registry = Registry::new().with::<Command>();
    let graph = pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &registry));
    let graph = graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)));
    let params = graph.instances[0].params.as_ref();
    Manifest::new(params, Some(0), BTreeMap::new(), BTreeMap::new()).action()
}

#[test]
fn a_changed_leaf_moves_the_key_and_nothing_else_does() {
    let mut draws = Draws(7);
    for _ in 0..10_000 {
        let spec = Spec::draw(&mut draws);
        let (one, other) = (spec.text(&mut draws), spec.text(&mut draws));
        assert_eq!(key(&one), key(&other), "{one}\n{other}");
        let mut changed = spec;
        changed.change(&mut draws);
        let changed = changed.text(&mut draws);
        assert_ne!(key(&one), key(&changed), "{one}\n{changed}");
    }
}

/// A seeded stage with a float in it, and one that takes its output.
const PIPELINE: &str = r#"Pipeline(
    name: "p",
    stages: {
        "a": (stage: Command(argv: ["sh", "-c", "echo {seed} 0.1 > o"], outputs: {"o": (kind: File, path: "o")})),
        "b": (stage: Command(argv: ["cp", "{input:x}", "o"], inputs: {"x": File}, outputs: {"o": (kind: File, path: "o")}), from: {"x": "a"}),
    },
)"#;

#[test]
fn neither_locale_nor_clock_nor_folder_nor_threads_move_a_key() {
    let project = Project::new();
    project.write("p.ron", PIPELINE).write("Cargo.toml", "").write("deep/er/file", "");
    project.expect(0, &["run", "p.ron"]);
    let ran = |command: &mut Process| {
        let output = finish(command.spawn().unwrap());
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stderr.contains("2 stages, all cached"), "{}", output.stderr);
    };
    let run = || project.command(&["run", "p.ron"]);
    ran(run().env("LC_ALL", "de_DE.UTF-8").env("LANG", "tr_TR.UTF-8"));
    ran(run().env("TZ", "Pacific/Kiritimati"));
    ran(run().env("HOME", "/nowhere").env("USER", "somebody").env("HOSTNAME", "elsewhere"));
    ran(run().env("RAYON_NUM_THREADS", "1"));
    ran(project.command(&["run", "p.ron", "--cpus", "1", "--jobs", "7"]).env("TMPDIR", "/dev/shm"));
    ran(project.command(&["run", "../../p.ron"]).current_dir(project.path().join("deep/er")));
    let umask = format!("umask 077; exec {} run p.ron", env!("CARGO_BIN_EXE_ablate"));
    let mut command = project.command(&[]);
    let mut shell = Process::new("/bin/sh");
    shell.args(["-c", &umask]).current_dir(command.current_dir(project.path()).get_current_dir().unwrap());
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    ran(&mut shell);
}

#[test]
fn what_could_fool_a_terminal_is_spelt_out_by_every_command() {
    let project = Project::new();
    let text = PIPELINE.replace(
        "    },\n)",
        "    },\n    axes: {\"b.env\": {\"\\u{1b}[31m=cmd\\u{7}\\u{202e}\": {\"K\": \"\\u{1b}]0;x\"}}},\n)",
    );
    project
        .write("p.ron", text.replace("echo {seed}", "printf '\\\\033[2J'; echo {seed}"))
        .write("Cargo.toml", "");
    for arguments in [
        &["check", "p.ron"][..],
        &["plan", "p.ron"],
        &["run", "p.ron"],
        &["run", "p.ron", "--json"],
        &["plan", "p.ron"],
        &["why", "p.ron", "b"],
        &["expand", "p.ron"],
        &["graph", "p.ron"],
        &["graph", "p.ron", "--format", "dot"],
        &["graph", "p.ron", "--format", "svg"],
        &["show", "p.ron", "b"],
        &["log"],
        &["runs"],
        &["diff", "@1", "@2"],
        &["verify"],
    ] {
        let output = project.expect(0, arguments);
        for told in [output.stdout, output.stderr] {
            let unsafe_to_show = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!told.contains(unsafe_to_show), "{arguments:?}: {told:?}");
        }
    }
}
