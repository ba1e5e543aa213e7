//! `Command`: any program as a stage.
//!
//! The program runs in a private folder with an environment of its own, and only what it declares goes in and out. There
//! is no shell. Between it and the worker is a guardian, which leaves nothing of the program behind, however program, worker and
//! runner end.

mod env;
mod guardian;
mod told;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use ablate_stage::{ArtifactKind, Device, FieldError, Job, Port, Request, Stage, StageError};
use rustix::process::{Pid, Signal, kill_process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use guardian::GRACE;
pub(crate) use guardian::{exec_tied, guard};

/// The placeholders that stand for a value, not for a file.
const PLAIN: [&str; 4] = ["seed", "threads", "device", "scratch"];

/// Runs a program. It must write every output it declares, and end with exit code 0.
///
/// In `argv` and in the values of `env` these are replaced: `{input:NAME}` and `{output:NAME}` by paths, `{file:PATH}` by the
/// absolute path of a declared file, `{seed}`, `{threads}`, `{device}` (`cpu`, or `cuda:0` for the one GPU it is given, to which
/// `CUDA_VISIBLE_DEVICES` is set), and `{scratch}` by a folder for
/// checkpoints, which outlives a killed attempt. A brace itself is written `{{` or `}}`. The stage is seeded if it uses
/// `{seed}`.
///
/// What it prints is logged. A line such as `ablate: 3/10 epoch loss=0.52 samples/s=410` tells how far it is instead: the unit and any
/// values may follow the two numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments. A program without `/` is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Input port → kind.
    #[serde(default)]
    pub inputs: BTreeMap<String, ArtifactKind>,
    /// Output port → kind and file.
    pub outputs: BTreeMap<String, OutputFile>,
    /// Files and folders the result depends on, the program's source for one; relative to the project's root. Their content
    /// is part of the key.
    #[serde(default)]
    pub files: Vec<String>,
    /// Environment variables. `true` or a number stands for its text, which is the shortest: `0.1` for `0.10`.
    #[serde(default, deserialize_with = "env::texts")]
    pub env: BTreeMap<String, String>,
    /// Environment variables taken over from the user. Their names are part of the key, their values are not.
    #[serde(default = "default_inherit")]
    pub inherit: Vec<String>,
    /// Threads it can use well. Not part of the key.
    #[serde(default = "default_cpus", skip_serializing)]
    pub cpus: usize,
    /// Whether it uses a GPU where there is one. Not part of the key.
    #[serde(default, skip_serializing)]
    pub gpu: bool,
}

/// An output of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// What the program writes there.
    pub kind: ArtifactKind,
    /// Where, relative to the folder it runs in.
    pub path: String,
}

fn default_inherit() -> Vec<String> {
    ["PATH", "HOME"].map(str::to_owned).to_vec()
}

fn default_cpus() -> usize {
    1
}

/// Lines of output that wait to be taken; then the program does.
const MAX_LINES_WAITING: usize = 256;

/// How often it is looked how much memory a program takes up.
const MEASURED_EVERY: Duration = Duration::from_millis(500);

/// The longest line that is taken in one piece: a progress bar may go on for hours without an end of line.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// Lines of output an error shows.
const LAST_LINES: usize = 12;

impl Stage for Command {
    const KIND: &'static str = "Command";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn seeded(&self) -> bool {
        self.templates().any(|(_, text)| placeholders(text).is_ok_and(|found| found.contains(&"seed")))
    }

    fn inputs(&self) -> Vec<Port> {
        self.inputs.iter().map(|(name, &kind)| Port::required(name, kind)).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        self.outputs.iter().map(|(name, output)| Port::required(name, output.kind)).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.iter().map(PathBuf::from).collect()
    }

    fn remedy(&self, _missing: &Path) -> Option<String> {
        Some("put it there or correct `files`, which are relative to the project's root".to_owned())
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.argv.first().is_none_or(String::is_empty) {
            errors.push(FieldError::new("argv", "must begin with a program"));
        }
        if self.outputs.is_empty() {
            errors.push(FieldError::new(
                "outputs",
                "must have at least one output, or nothing could use the stage",
            ));
        }
        for (field, names) in
            [("inputs", self.inputs.keys().collect::<Vec<_>>()), ("outputs", self.outputs.keys().collect())]
        {
            for name in names.into_iter().filter(|name| !is_port_name(name)) {
                let message = format!("the port name {name:?} may only have letters, digits, `_` and `-`");
                errors.push(FieldError::new(field, message));
            }
        }
        let mut paths: Vec<&str> = Vec::new();
        for (name, output) in &self.outputs {
            if !is_below(&output.path) {
                let message =
                    format!("must be a path below the folder the program runs in, is {:?}", output.path);
                errors.push(FieldError::new(&format!("outputs.{name}.path"), message));
            }
            if paths.contains(&output.path.as_str()) {
                let message = format!("another output is written to {:?} as well", output.path);
                errors.push(FieldError::new(&format!("outputs.{name}.path"), message));
            }
            paths.push(&output.path);
        }
        for (field, text) in self.templates() {
            match placeholders(text) {
                Err(message) => errors.push(FieldError::new(&field, message)),
                Ok(found) => {
                    let unknown = found.into_iter().filter(|name| !self.knows(name));
                    errors.extend(unknown.map(|name| FieldError::new(&field, self.unknown(name))));
                }
            }
        }
        errors
    }

    fn request(&self) -> Request {
        Request { cpus: self.cpus, gpu: self.gpu, ..Request::ONE_CPU }
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let outputs: BTreeMap<&str, PathBuf> =
            self.outputs.keys().map(|name| (name.as_str(), job.output(name).to_owned())).collect();
        let beside =
            outputs.values().next().ok_or_else(|| StageError::Failed("it has no output".to_owned()))?;
        let folder = beside.with_file_name("work");
        for output in self.outputs.values() {
            let path = folder.join(&output.path);
            let parent = path.parent().expect("a joined path has a parent");
            fs::create_dir_all(parent).map_err(StageError::io(parent))?;
        }
        let mut program = self.program(job, &folder)?;
        let mut running = program.spawn().map_err(StageError::io(Path::new(&self.argv[0])))?;
        let guard = Pid::from_child(&running);
        let (sender, news) = mpsc::sync_channel(MAX_LINES_WAITING);
        read_lines(running.stdout.take().expect("standard output is piped"), sender.clone());
        read_lines(running.stderr.take().expect("standard error is piped"), sender.clone());
        thread::spawn(move || drop(sender.send(News::Ended(running.wait()))));

        let mut last_lines = VecDeque::new();
        let mut status = None;
        let mut deadline: Option<Instant> = None;
        let mut asked_to_stop = false;
        let mut measured = Instant::now();
        loop {
            match news.recv_timeout(Duration::from_millis(50)) {
                Ok(News::Line(line)) => match told::progress(&line) {
                    Some(progress) => job.progress(progress),
                    None => {
                        last_lines.push_back(line.clone());
                        if last_lines.len() > LAST_LINES {
                            last_lines.pop_front();
                        }
                        job.log(line);
                    }
                },
                Ok(News::Ended(ended)) => {
                    status = Some(ended.map_err(StageError::io(Path::new(&self.argv[0])))?);
                    // Where the guardian was killed itself, what it guarded has come to this process.
                    guardian::kill_descendants();
                    deadline = Some(Instant::now() + GRACE);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if measured.elapsed() > MEASURED_EVERY {
                measured = Instant::now();
                job.memory(guardian::memory_mib(guard));
            }
            match deadline {
                None if job.stop_requested() => {
                    kill_process(guard, Signal::TERM).ok();
                    asked_to_stop = true;
                    deadline = Some(Instant::now() + 2 * GRACE);
                }
                Some(at) if Instant::now() > at => {
                    if status.is_some() {
                        break;
                    }
                    kill_process(guard, guardian::END).ok();
                    kill_process(guard, Signal::CONT).ok();
                }
                None | Some(_) => {}
            }
        }
        let status = status.expect("the news end with that of its end");
        if asked_to_stop {
            return Err(StageError::Stopped);
        }
        if status.success() {
            return self.collect(&folder, &outputs);
        }
        let mut message = format!("`{}` ended with {status}", self.argv.join(" "));
        if !last_lines.is_empty() {
            message.push_str("; its last lines:");
        }
        last_lines.iter().for_each(|line| message.push_str(&format!("\n  {line}")));
        Err(StageError::Failed(message))
    }
}

impl Command {
    /// The texts with placeholders, by field.
    fn templates(&self) -> impl Iterator<Item = (String, &str)> {
        let argv = self.argv.iter().enumerate().map(|(at, text)| (format!("argv.{at}"), text.as_str()));
        argv.chain(self.env.iter().map(|(name, text)| (format!("env.{name}"), text.as_str())))
    }

    /// What is wrong with a placeholder that stands for nothing.
    fn unknown(&self, placeholder: &str) -> String {
        let ports = |what: &str, names: Vec<&String>| {
            names.into_iter().map(|name| format!("`{{{what}:{name}}}`")).collect()
        };
        let known: [Vec<String>; 4] = [
            PLAIN.map(|name| format!("`{{{name}}}`")).to_vec(),
            ports("input", self.inputs.keys().collect()),
            ports("output", self.outputs.keys().collect()),
            ports("file", self.files.iter().collect()),
        ];
        let known = known.concat().join(", ");
        format!(
            "has `{{{placeholder}}}`, which stands for nothing; there are {known}; a brace itself is written `{{{{`"
        )
    }

    fn knows(&self, placeholder: &str) -> bool {
        match placeholder.split_once(':') {
            Some(("input", name)) => self.inputs.contains_key(name),
            Some(("output", name)) => self.outputs.contains_key(name),
            Some(("file", path)) => self.files.iter().any(|file| file == path),
            Some(_) => false,
            None => PLAIN.contains(&placeholder),
        }
    }

    fn program(&self, job: &Job<'_>, folder: &Path) -> Result<process::Command, StageError> {
        // The GPU it was given is the only one it sees, and so its first.
        let gpu = match job.device() {
            Device::Cpu => None,
            #[expect(clippy::disallowed_methods, reason = "devices are counted by it")]
            Device::Cuda(index) => Some(visible_gpu(index, &std::env::var(GPUS).unwrap_or_default())),
        };
        let device = gpu.as_ref().map_or(Device::Cpu, |_| Device::Cuda(0));
        let value = |placeholder: &str| -> Result<String, StageError> {
            let path = match placeholder.split_once(':') {
                Some(("input", name)) => job.input(name)?.to_owned(),
                Some(("output", name)) if self.outputs.contains_key(name) => {
                    folder.join(&self.outputs[name].path)
                }
                Some(("file", path)) => job.project().join(path),
                None if placeholder == "seed" => return Ok(job.seed().to_string()),
                None if placeholder == "threads" => return Ok(job.threads().to_string()),
                None if placeholder == "device" => return Ok(device.to_string()),
                None if placeholder == "scratch" => job.scratch()?.to_owned(),
                _ => return Err(StageError::Failed(format!("nothing is declared for `{{{placeholder}}}`"))),
            };
            let path = path.into_os_string().into_string();
            path.map_err(|path| StageError::Failed(format!("the path {} is not UTF-8", path.display())))
        };
        // The guardian reads nothing, but holds the action until nothing of the program is left.
        let hold = match job.hold() {
            Some(file) => Stdio::from(file.try_clone().map_err(StageError::io(folder))?),
            None => Stdio::null(),
        };
        let mut program = process::Command::new("/proc/self/exe");
        program.arg0("ablate").args(["exec", "guarded", &process::id().to_string(), "--"]);
        for text in &self.argv {
            program.arg(fill(text, value)?);
        }
        program.env_clear();
        #[expect(clippy::disallowed_methods, reason = "the stage names the variables it takes over")]
        let inherited = self.inherit.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        program.envs(inherited);
        if let Some(gpu) = gpu {
            #[expect(clippy::disallowed_methods, reason = "devices are counted by it")]
            program.env(GPUS, gpu).envs(std::env::var_os(GPU_ORDER).map(|order| (GPU_ORDER, order)));
        }
        for (name, text) in &self.env {
            program.env(name, fill(text, value)?);
        }
        program.current_dir(folder).process_group(0);
        program.stdin(hold).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(program)
    }

    /// Takes the outputs out of the folder the program ran in.
    fn collect(&self, folder: &Path, outputs: &BTreeMap<&str, PathBuf>) -> Result<(), StageError> {
        let folder = folder.canonicalize().map_err(StageError::io(folder))?;
        for (name, target) in outputs {
            let path = folder.join(&self.outputs[*name].path);
            let parent = path.parent().expect("a joined path has a parent");
            if !parent.canonicalize().is_ok_and(|parent| parent.starts_with(&folder)) {
                let message =
                    format!("output `{name}`: {} leads out of the folder it ran in", path.display());
                return Err(StageError::Failed(message));
            }
            match fs::rename(&path, target) {
                // What is missing is reported by the check every output passes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StageError::io(&path)(error)),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

enum News {
    Line(String),
    Ended(io::Result<ExitStatus>),
}

fn read_lines(from: impl Read + Send + 'static, sender: SyncSender<News>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            drop(sender.send(News::Line(String::from_utf8_lossy(told::last_written(&line)).into_owned())));
            line.clear();
        }
    });
}

/// The variable by which CUDA tells a process which GPUs there are ("CUDA Environment Variables", CUDA C++ Programming Guide).
const GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// The one that says in which order they are counted.
const GPU_ORDER: &str = "CUDA_DEVICE_ORDER";

/// What names a GPU of a process to one with another environment, where `visible` is its [`GPUS`].
fn visible_gpu(index: u32, visible: &str) -> String {
    let entry = visible.split(',').nth(index as usize).map(str::trim).filter(|entry| !entry.is_empty());
    entry.map_or_else(|| index.to_string(), str::to_owned)
}

fn is_port_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A piece of a text with placeholders.
enum Piece<'a> {
    Plain(&'a str),
    Placeholder(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        pieces.push(Piece::Plain(&rest[..at]));
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            pieces.push(Piece::Plain(brace));
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let end = end.ok_or_else(|| {
            format!("`{brace}` stands alone in {text:?}; a brace itself is written `{brace}{brace}`")
        })?;
        pieces.push(Piece::Placeholder(&rest[..end]));
        rest = &rest[end + 1..];
    }
    pieces.push(Piece::Plain(rest));
    Ok(pieces)
}

fn placeholders(text: &str) -> Result<Vec<&str>, String> {
    let names = pieces(text)?.into_iter().filter_map(|piece| match piece {
        Piece::Plain(_) => None,
        Piece::Placeholder(name) => Some(name),
    });
    Ok(names.collect())
}

fn fill(text: &str, value: impl Fn(&str) -> Result<String, StageError>) -> Result<String, StageError> {
    let filled = pieces(text).map_err(StageError::Failed)?.into_iter().map(|piece| match piece {
        Piece::Plain(text) => Ok(text.to_owned()),
        Piece::Placeholder(name) => value(name),
    });
    filled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(fields: &str) -> Command {
        let base = r#"outputs: {"out": (kind: File, path: "out")}"#;
        let outputs = if fields.contains("outputs:") { "" } else { base };
        ron::from_str(&format!("Command({fields} {outputs})")).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_doubled_braces_are_braces() {
        let value = |name: &str| Ok(format!("<{name}>"));
        let filled = |text: &str| fill(text, value).unwrap();
        assert_eq!(filled("--x={input:a}/{seed}"), "--x=<input:a>/<seed>");
        assert_eq!(filled("{{print $1}} {{}} é{{"), "{print $1} {} é{");
        assert_eq!(filled("{{{seed}}}"), "{<seed>}");
        for text in ["{", "}", "a } b", "{seed", "{{}"] {
            assert!(fill(text, value).is_err(), "{text}");
        }
    }

    #[test]
    fn a_gpu_is_named_as_the_driver_does() {
        let named = [(1, ""), (1, "3, 5"), (0, "GPU-5ebc"), (2, "3,5")]
            .map(|(index, visible)| visible_gpu(index, visible));
        assert_eq!(named, ["1", "5", "GPU-5ebc", "2"]);
    }

    #[test]
    fn a_command_is_seeded_if_it_uses_the_seed() {
        assert!(!Stage::seeded(&command(r#"argv: ["a", "{{seed}}"],"#)));
        assert!(Stage::seeded(&command(r#"argv: ["a", "--seed={seed}"],"#)));
        assert!(Stage::seeded(&command(r#"argv: ["a"], env: {"S": "{seed}"},"#)));
    }

    #[test]
    fn resources_are_asked_for_and_not_keyed() {
        use ablate_stage::DynStage;
        let plain = command(r#"argv: ["a"],"#);
        let greedy = command(r#"argv: ["a"], cpus: 8, gpu: true,"#);
        assert_eq!(Stage::request(&greedy), Request { cpus: 8, gpu: true, ..Request::ONE_CPU });
        assert_eq!(greedy.canonical(), plain.canonical());
    }

    #[test]
    fn numbers_in_the_environment_are_texts() {
        use ablate_stage::DynStage;
        let plain =
            command(r#"argv: ["a"], env: {"A": "16", "B": "-2", "C": "3.1", "D": "true", "E": "0.001"},"#);
        let typed = command(r#"argv: ["a"], env: {"A": 16, "B": -2, "C": 3.10, "D": true, "E": 1e-3},"#);
        assert_eq!(typed.env, plain.env);
        assert_eq!(typed.canonical(), plain.canonical());
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let wrong = command(
            r#"argv: ["", "{input:b}", "{print}"],
            inputs: {"a/b": File},
            env: {"K": "{file:undeclared}", "L": "}"},
            outputs: {
                "": (kind: File, path: "x"),
                "abs": (kind: File, path: "/etc/passwd"),
                "same": (kind: File, path: "x"),
                "up": (kind: File, path: "a/../../x"),
            },"#,
        );
        let known = "there are `{seed}`, `{threads}`, `{device}`, `{scratch}`, `{input:a/b}`, `{output:}`, `{output:abs}`, \
                     `{output:same}`, `{output:up}`; a brace itself is written `{{`";
        let told = |error: FieldError| format!("{}: {}", error.path, error.message).replace(known, "[known]");
        let told: Vec<String> = wrong.validate().into_iter().map(told).collect();
        let expected = [
            "argv: must begin with a program",
            "inputs: the port name \"a/b\" may only have letters, digits, `_` and `-`",
            "outputs: the port name \"\" may only have letters, digits, `_` and `-`",
            "outputs.abs.path: must be a path below the folder the program runs in, is \"/etc/passwd\"",
            "outputs.same.path: another output is written to \"x\" as well",
            "outputs.up.path: must be a path below the folder the program runs in, is \"a/../../x\"",
            "argv.1: has `{input:b}`, which stands for nothing; [known]",
            "argv.2: has `{print}`, which stands for nothing; [known]",
            "env.K: has `{file:undeclared}`, which stands for nothing; [known]",
            "env.L: `}` stands alone in \"}\"; a brace itself is written `}}`",
        ];
        assert_eq!(told, expected);
        assert_eq!(command(r#"argv: ["a", "{out}"], outputs: {},"#).validate().len(), 2);
        let fine = command(r#"argv: ["a", "{output:out}", "{threads}{device}{scratch}{seed}"],"#);
        assert_eq!(fine.validate(), []);
    }
}
