//! A project in a folder of its own, and the program run in it with nothing of the user's environment.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ablate::journal::{self, Entry, Event};
use tempfile::TempDir;

/// A project folder.
pub struct Project {
    dir: TempDir,
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
}

impl Project {
    /// An empty one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its store.
    pub fn store(&self) -> PathBuf {
        self.path().join(".ablate")
    }

    /// Writes a file; folders on the way are made.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// The program with these arguments, ready to be started in the project's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ablate"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Starts the program in a process group of its own.
    pub fn start_group(&self, arguments: &[&str]) -> Child {
        self.command(arguments).process_group(0).spawn().unwrap()
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        finish(self.start(arguments))
    }

    /// Runs the program, which must end with this exit code.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.code, code, "{arguments:?}\n{}\n{}", output.stdout, output.stderr);
        output
    }

    /// What happened in the last run.
    pub fn journal(&self) -> Vec<Event> {
        let runs = self.store().join("runs");
        let run = journal::last_run(&runs, None).unwrap().expect("there is a run");
        journal::read(&runs, &run).unwrap().into_iter().map(|Entry { event, .. }| event).collect()
    }

    /// The instances the last run performed, in order of name.
    pub fn ran(&self) -> Vec<String> {
        ran(self.journal())
    }
}

/// Waits until something holds, for two minutes at most: what holds, holds on a busy machine too.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the program.
pub fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// The instances that were performed, in order of name.
pub fn ran(journal: Vec<Event>) -> Vec<String> {
    let finished = journal.into_iter().filter_map(|event| match event {
        Event::Finished { instance, .. } => Some(instance),
        _ => None,
    });
    let mut names: Vec<String> = finished.collect();
    names.sort();
    names
}

/// A page of the book.
pub fn page(path: &str) -> String {
    std::fs::read_to_string(book().join(path)).unwrap()
}

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("book/src")
}

/// The fenced blocks of a page in order: info string, text, and where the text is.
pub fn blocks(page: &str) -> Vec<(String, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize)> = None;
    let mut at = 0;
    for line in page.split_inclusive('\n') {
        match (&open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.trim().to_owned(), at + line.len())),
            (Some((info, from)), Some(_)) => {
                found.push((info.clone(), *from..at));
                open = None;
            }
            (_, None) => {}
        }
        at += line.len();
    }
    found
}

/// Compares places of a page, in order, with what they should hold; `ABLATE_UPDATE_BOOK=1 cargo test` writes it instead.
#[track_caller]
pub fn shows(path: &str, printed: Vec<(std::ops::Range<usize>, String)>) {
    let shown = page(path);
    let mut right = shown.clone();
    for (place, text) in printed.into_iter().rev() {
        right.replace_range(place, &text);
    }
    #[expect(clippy::disallowed_methods, reason = "a switch for people, as in other snapshot tests")]
    if std::env::var_os("ABLATE_UPDATE_BOOK").is_some() {
        std::fs::write(book().join(path), &right).unwrap();
        return;
    }
    assert!(right == shown, "{path} is out of date: run ABLATE_UPDATE_BOOK=1 cargo test");
}
