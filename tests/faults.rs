//! Damage to the store, and several runners on it.

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ablate::journal::{self, Event};
use common::{Project, finish, ran};

/// A chain of four and its side branch; each stage appends a line.
fn chain() -> Project {
    let project = Project::new();
    let stage = |name: &str, from: &str| {
        let input = if from.is_empty() { "/dev/null" } else { "{input:x}" };
        let (inputs, wires) = match from {
            "" => (String::new(), String::new()),
            from => (r#"inputs: {"x": File},"#.to_owned(), format!(r#", from: {{"x": "{from}"}}"#)),
        };
        format!(
            r#""{name}": (stage: Command(
                argv: ["/bin/sh", "-c", "echo {name} | cat {input} - > out; sleep 0.02"],
                {inputs} outputs: {{"out": (kind: File, path: "out")}},
            ){wires}),"#
        )
    };
    let stages: String = [("a", ""), ("b", "a"), ("c", "b"), ("d", "c"), ("e", "b")]
        .iter()
        .map(|(name, from)| stage(name, from))
        .collect();
    project.write("p.ron", format!(r#"Pipeline(name: "chain", stages: {{{stages}}})"#));
    project
}

const OUTPUTS: [(&str, &str); 5] =
    [("a", "a\n"), ("b", "a\nb\n"), ("c", "a\nb\nc\n"), ("d", "a\nb\nc\nd\n"), ("e", "a\nb\ne\n")];

/// Every output is right; what `get` refuses, a run makes again.
#[track_caller]
fn check_outputs(project: &Project) {
    for (stage, expected) in OUTPUTS {
        let mut got = project.run(&["get", "p.ron", stage, "--to", "got"]);
        if got.code != 0 {
            assert_eq!(project.run(&["run", "p.ron"]).code, 0);
            got = project.run(&["get", "p.ron", stage, "--to", "got"]);
        }
        assert_eq!(got.code, 0, "{}", got.stderr);
        assert_eq!(project.read("got"), expected, "{stage}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn damage(path: &Path, how: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_object_is_never_served() {
    let project = chain();
    project.expect(0, &["run", "p.ron"]);
    let objects = files(&project.store().join("objects"));
    assert_eq!(objects.len(), 6, "those of the stages, and the pipeline");
    for object in objects {
        damage(&object, |bytes| bytes[0] ^= 1);
        check_outputs(&project);
    }
    // What a run keeps, it finds damaged and writes again.
    assert!(project.expect(0, &["log", "--pipeline"]).stdout.ends_with(&project.read("p.ron")));
    let set_aside = files(&project.store().join("bad"));
    assert_eq!(set_aside.len(), 5, "damaged objects are kept for a look");
}

#[test]
fn a_damaged_input_is_made_again_for_who_needs_it() {
    let project = chain();
    project.expect(0, &["run", "p.ron"]);
    let pipeline = project.read("p.ron");
    let b =
        files(&project.store().join("objects")).into_iter().find(|path| fs::read(path).unwrap() == b"a\nb\n");
    damage(&b.unwrap(), |bytes| bytes[0] ^= 1);
    project.write("p.ron", pipeline.replace("echo d |", "echo D |").replace("echo c |", "echo C |"));
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["b", "c", "d"], "{:#?}", project.journal());
    let retried = project.journal().into_iter().find_map(|event| match event {
        Event::Retried { instance, reason } => Some((instance, reason)),
        _ => None,
    });
    let (instance, reason) = retried.unwrap();
    assert_eq!(instance, "c");
    assert!(reason.starts_with("input `x`: object "), "{reason}");
    project.expect(0, &["get", "p.ron", "d", "--to", "got"]);
    assert_eq!(project.read("got"), "a\nb\nC\nD\n");
}

#[test]
fn whatever_becomes_of_an_object_the_outputs_stay_right() {
    let project = chain();
    project.expect(0, &["run", "p.ron"]);
    let objects = files(&project.store().join("objects"));
    let swap = |path: &Path| {
        let other = objects.iter().find(|other| *other != path).unwrap();
        let swapped = path.with_extension("swap");
        fs::rename(path, &swapped).unwrap();
        fs::rename(other, path).unwrap();
        fs::rename(&swapped, other).unwrap();
    };
    let replace = |path: &Path, with: fn(&Path)| {
        fs::remove_file(path).unwrap();
        with(path);
    };
    let harms: [&dyn Fn(&Path); 8] = [
        &|path| damage(path, Vec::clear),
        &|path| damage(path, |bytes| bytes.truncate(bytes.len() / 2)),
        &|path| damage(path, |bytes| bytes.push(b'x')),
        &swap,
        &|path| replace(path, |path| fs::create_dir(path).unwrap()),
        &|path| replace(path, |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()),
        &|path| replace(path, |path| drop(std::process::Command::new("mkfifo").arg(path).status())),
        &|path| fs::remove_file(path).unwrap(),
    ];
    for harm in harms {
        for object in &objects {
            harm(object);
        }
        check_outputs(&project);
    }
}

#[test]
fn a_damaged_record_is_a_miss() {
    let project = chain();
    project.expect(0, &["run", "p.ron"]);
    let results = files(&project.store().join("results"));
    assert_eq!(results.len(), 5);
    for result in &results {
        damage(result, |bytes| bytes[80] ^= 1);
        project.expect(0, &["run", "p.ron"]);
        assert_eq!(project.ran().len(), 1);
    }
    for manifest in files(&project.store().join("manifests")) {
        damage(&manifest, |bytes| bytes[20] ^= 1);
    }
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), [""; 0], "a manifest is needed to run, not to know");
    for result in &results {
        damage(result, |bytes| bytes.truncate(bytes.len() / 2));
    }
    project.expect(0, &["run", "p.ron"]);
    assert_eq!(project.ran(), ["a", "b", "c", "d", "e"]);
}

#[test]
fn runners_at_once_do_each_action_once() {
    let project = chain();
    let runners: Vec<_> = (0..4).map(|_| project.start(&["run", "p.ron", "--jobs", "2"])).collect();
    for output in runners.into_iter().map(finish) {
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let runs = project.store().join("runs");
    let mut all: Vec<String> = Vec::new();
    for run in journal::runs(&runs).unwrap() {
        all.extend(ran(journal::read(&runs, &run).unwrap().into_iter().map(|entry| entry.event).collect()));
    }
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
    check_outputs(&project);
}

/// Programs may write to what they are only to read; then nothing that may hold it is cached.
#[test]
fn an_input_that_a_program_alters_is_in_no_result() {
    let project = Project::new();
    let once = project.path().join("once").display().to_string();
    let edits = format!(
        "[ -e {once} ] || {{{{ touch {once}; chmod u+w {{input:x}}; echo wrong > {{input:x}}; }}}}; cat {{input:x}} > o"
    );
    let pipeline = format!(
        r#"Pipeline(name: "p", stages: {{
            "data": (stage: Command(argv: ["sh", "-c", "echo 1 > o"], outputs: {{"o": (kind: File, path: "o")}})),
            "edits": (stage: Command(argv: ["sh", "-c", {edits:?}], inputs: {{"x": File}}, outputs: {{"o": (kind: File, path: "o")}}), from: {{"x": "data"}}),
        }})"#
    );
    let told = project.write("p.ron", pipeline).expect(0, &["run", "p.ron"]).stderr;
    assert!(told.contains("Retrying edits: ") && told.contains(" was altered while the stage ran"), "{told}");
    project.expect(0, &["get", "p.ron", "edits", "--to", "got"]);
    assert_eq!(project.read("got"), "1\n");
    project.expect(0, &["verify"]);
}

#[test]
fn an_output_that_has_another_name_is_copied() {
    let project = Project::new();
    let pipeline = r#"Pipeline(name: "p", stages: {
        "linked": (stage: Command(argv: ["ln", "{file:mine}", "o"], files: ["mine"], outputs: {"o": (kind: File, path: "o")})),
    })"#;
    project.write("mine", "1\n").write("p.ron", pipeline).expect(0, &["run", "p.ron"]);
    fs::write(project.path().join("mine"), "2\n").unwrap();
    let mode = fs::metadata(project.path().join("mine")).unwrap().permissions().mode();
    assert_ne!(mode & 0o200, 0, "it is still the user's to write to");
    project.expect(0, &["verify"]);
}

/// gc removes nothing where it cannot tell what a run cites.
#[test]
fn gc_needs_to_know_what_runs_cite() {
    let project = chain();
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["run", "p.ron"]);
    let listing = project.journal().into_iter().find_map(|event| match event {
        Event::Hits { listing } => Some(listing.to_hex()),
        _ => None,
    });
    let listing = listing.unwrap();
    let object = project.store().join("objects").join(&listing[..2]).join(&listing[2..]);
    damage(&object, |bytes| bytes[0] ^= 1);
    let before = files(&project.store().join("objects")).len() - 1;
    for _ in 0..2 {
        let told = project.expect(4, &["gc", "--keep-runs", "1", "--grace", "0"]).stderr;
        assert!(
            told.contains("found in the store is lost or damaged; nobody knows what this run cites"),
            "{told}"
        );
        assert_eq!(files(&project.store().join("objects")).len(), before, "the listing alone was set aside");
    }
    let run = journal::last_run(&project.store().join("runs"), None).unwrap().unwrap();
    let journal = project.store().join("runs").join(run).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"event\"", "\"evil\"", 1)).unwrap();
    let told = project.expect(4, &["gc", "--keep-runs", "1", "--grace", "0"]).stderr;
    assert!(told.contains("line 1 of the journal of "), "{told}");
}

#[test]
fn odd_names_and_numbers_are_no_panic() {
    let project = chain();
    project.expect(0, &["run", "p.ron", "--jobs", "18446744073709551615"]);
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ablate")).arg(odd).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let elsewhere = Project::new();
    let folder = elsewhere.path().join(odd);
    fs::create_dir(&folder).unwrap();
    fs::copy(project.path().join("p.ron"), folder.join("p.ron")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ablate"));
    let output = command.args(["run", "p.ron"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("a name that is not UTF-8"));
}
