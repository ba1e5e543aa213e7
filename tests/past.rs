//! A pipeline and its results as they were in a run.
#![cfg(feature = "tables")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ablate::journal::{self, Event};
use ablate_stage::cache::Digest;
use common::{Project, finish, wait_until};

/// A pipeline in three files; `F` makes a probe fail.
const BASE: &str = r#"Pipeline(
    name: "methods",
    stages: {
        "probe": (
            stage: Command(
                argv: ["/bin/sh", "-c", "test $METHOD != F && echo \"{{\\\"accuracy\\\": 0.$BASE${{METHOD}}{seed}}}\" > m.json"],
                env: {"METHOD": "1", "BASE": "6"},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
            ),
        ),
    },
    include: ["parts/tables.ron"],
    seeds: [0, 1],
)
"#;

const TABLES: &str =
    r#"Pipeline(tables: {"accuracies": (rows: ["method"], cell: Mean("probe.accuracy", Digits(3)))})"#;

const PIPELINE: &str = r#"Pipeline(
    extends: "parts/base.ron",
    axes: {"method": (paths: ["probe.env.METHOD"], values: ["1", "2", "F"])},
)
"#;

const PUBLISHED: &str = "method,value,source\n1,0.5,Doe\n";

fn project() -> Project {
    let project = Project::new();
    project.write("p.ron", PIPELINE).write("parts/base.ron", BASE.replace("parts/", ""));
    project.write("parts/tables.ron", TABLES).write("accuracies.published.csv", PUBLISHED);
    project
}

/// The runs of a project, earliest first.
fn runs(project: &Project) -> Vec<String> {
    journal::runs(&project.store().join("runs")).unwrap()
}

/// What a run of `project` prints, and then the table of that run.
fn printed(project: &Project, code: i32, arguments: &[&str]) -> String {
    let printed = project.expect(code, &[&["run"], arguments].concat()).stdout.trim().to_owned();
    assert_eq!(project.expect(0, &["table", "@1"]).stdout.trim(), printed, "{arguments:?}");
    printed
}

#[test]
fn a_table_of_a_run_is_the_one_it_printed_whatever_became_of_its_files() {
    let project = project();
    let first = printed(&project, 1, &["p.ron"]);
    assert!(first.contains("failed") && first.contains("(published 0.5"), "{first}");
    // Another value of a field, of which the base file tells; nobody has published anything any more.
    project.write("parts/base.ron", BASE.replace("parts/", "").replace(r#""BASE": "6""#, r#""BASE": "7""#));
    project.write("p.ron", PIPELINE.replace(r#""1", "2", "F""#, r#""1", "3""#));
    fs::remove_file(project.path().join("accuracies.published.csv")).unwrap();
    let second = printed(&project, 0, &["p.ron"]);
    assert!(!second.contains("failed") && second.contains("0.7"), "{second}");
    fs::remove_dir_all(project.path().join("parts")).unwrap();
    fs::remove_file(project.path().join("p.ron")).unwrap();
    // What runs cite is kept by gc, with the text of their pipelines.
    project.expect(0, &["gc", "--grace", "0"]);
    let of = |run: &str| project.expect(0, &["table", run]).stdout.trim().to_owned();
    let names = runs(&project);
    assert_eq!([of("@2"), of(&names[0]), of("@1")], [first.clone(), first, second]);

    let both = project.expect(0, &["table", "@2", "@1"]).stdout;
    let named = |word: &str| format!("{word:-<width$}", width = names[0].len());
    insta::assert_snapshot!(both.replace(&names[0], &named("FIRST")).replace(&names[1], &named("SECOND")));
    let again = project.expect(2, &["table", "@1", &names[1]]).stderr;
    assert_eq!(again, format!("error: {} is the same as @1; name it once\n", names[1]));

    project.expect(0, &["report", "@2"]);
    let page = project.read(&format!("{}.html", names[0]));
    assert!(page.contains("0.62") && page.contains(&names[0]), "the results and the run are told");

    // Once runs are forgotten, so is what they alone have kept.
    project.write("parts/tables.ron", TABLES).write("parts/base.ron", BASE.replace("parts/", ""));
    project.write("p.ron", PIPELINE.replace(", \"F\"", ""));
    project.expect(0, &["run", "p.ron"]);
    project.expect(0, &["run", "p.ron"]);
    let objects: Vec<PathBuf> = ["@4", "@3", "@2", "@1"].map(|run| kept(&project, run)).into();
    assert!(objects[0] != objects[1] && objects[1] != objects[2] && objects[2] == objects[3]);
    project.expect(0, &["gc", "--grace", "0", "--keep-runs", "1"]);
    assert_eq!(runs(&project).len(), 1);
    assert_eq!(objects.iter().map(|object| object.exists()).collect::<Vec<_>>(), [false, false, true, true]);
    project.expect(0, &["table", "@1"]);
}

#[test]
fn what_the_command_line_changed_and_chose_is_part_of_a_run() {
    let project = project();
    printed(
        &project,
        0,
        &["p.ron", "--set", "probe.env.BASE=\"8\"", "--axis", "method=1,2", "--seeds", "3..5"],
    );
    let part = printed(&project, 0, &["p.ron", "--only", "probe[method=1*", "--table", "accuracies"]);
    assert!(!part.contains("missing") && !part.contains("failed"), "{part}");
    let text = project.expect(0, &["log", "@2", "--pipeline"]).stdout;
    let changed = "--set probe.env.BASE=\"8\" --axis method=1,2 --seeds 3..5";
    let base = BASE.replace("parts/", "");
    let expected = format!(
        "// ablate run p.ron {changed}\n{PIPELINE}\n// parts/base.ron\n{base}\n// parts/tables.ron\n{TABLES}"
    );
    assert_eq!(text, expected);
    for change in [["--set", "probe.env.BASE=\"9\""], ["--axis", "method=1"], ["--seeds", "0"]] {
        let refused = project.expect(2, &[&["table", "@1"], &change[..]].concat()).stderr;
        let expected = "error: a run is shown as it was: `--set`, `--axis` and `--seeds` go with a file\n";
        assert_eq!(refused, expected);
    }
    // Which trials are shown is another matter.
    let chosen = project.expect(0, &["table", "@2", "--where", "method=2", "--format", "csv"]).stdout;
    assert_eq!(chosen.lines().count(), 2, "{chosen}");
}

/// Files and runs side by side: a file's word on what others have published holds before a run's, a later run's before an earlier.
#[test]
fn runs_stand_beside_the_file_of_now() {
    let project = project();
    let run = |published: &str| {
        project.write("accuracies.published.csv", PUBLISHED.replace("0.5", published));
        project.expect(0, &["run", "p.ron", "--axis", "method=1,2"]);
    };
    run("0.1");
    run("0.2");
    project.write("accuracies.published.csv", PUBLISHED);
    let names = runs(&project);
    let remark = |of: &str| format!("\nwhere published values differ, they are those of {of}\n");
    let both = project.expect(0, &["table", "@2", "@1"]).stdout;
    assert!(both.contains(&remark(&names[1])) && both.matches("(published 0.2").count() == 2, "{both}");
    let file = project.path().canonicalize().unwrap().join("p.ron").display().to_string();
    let all = project.expect(0, &["table", "@2", "p.ron", "@1"]).stdout;
    assert!(all.contains(&remark(&file)) && all.matches("(published 0.5").count() == 3, "{all}");
    // What is the same needs no remark.
    run("0.5");
    assert!(!project.expect(0, &["table", "p.ron", "@1"]).stdout.contains("differ"));
    // One by one, and grouped.
    let trials = project.expect(0, &["table", "@3", "@1", "--trials"]).stdout;
    let of = |run: &str| trials.lines().filter(|line| line.contains(run)).count();
    assert_eq!((of(&names[0]), of(&runs(&project)[2])), (4, 4), "{trials}");
    let grouped = project.expect(0, &["table", "@1", "--group-by", "method"]).stdout;
    assert!(grouped.contains("by method") && grouped.contains("0.61"), "{grouped}");
}

/// What a run did is known although an artifact is gone.
#[test]
fn numbers_outlive_artifacts() {
    let project = project();
    let first = printed(&project, 0, &["p.ron", "--axis", "method=1,2"]);
    let kept = kept(&project, "@1");
    let folders = fs::read_dir(project.store().join("objects")).unwrap();
    let objects = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    for object in objects.map(|object| object.unwrap().path()).filter(|object| *object != kept) {
        fs::remove_file(object).unwrap();
    }
    assert_eq!(project.expect(0, &["table", "@1"]).stdout.trim(), first);
    let now = project.expect(0, &["table", "p.ron", "--axis", "method=1,2"]).stdout;
    assert!(now.contains("missing"), "{now}");
}

/// Where a run is from another folder, its files have other names.
#[test]
fn the_working_folder_does_not_matter() {
    let project = project();
    fs::create_dir_all(project.path().join("elsewhere/deep")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        finish(command.current_dir(project.path().join("elsewhere/deep")).spawn().unwrap())
    };
    project.write("Cargo.toml", "");
    let ran = run(&["run", "../../elsewhere/../p.ron", "--axis", "method=1,2"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for table in [run(&["table", "@1"]), project.expect(0, &["table", "@1"])] {
        assert_eq!(table.stdout.trim(), ran.stdout.trim(), "{}", table.stderr);
    }
}

#[test]
fn what_was_mended_later_had_failed_in_the_run() {
    let project = Project::new();
    let base = BASE.replace("include: [\"parts/tables.ron\"],", "").replace("seeds: [0, 1]", "seeds: [0]");
    let tables = r#"tables: {"t": (rows: ["method"], cell: Mean("probe.accuracy", Digits(3)))}, axes: {"method": (paths: ["probe.env.METHOD"], values: ["1", "2"])}, seeds"#;
    let base =
        base.replace("seeds", tables).replace("test $METHOD != F", "test $METHOD != 2 -o -e {file:allow}/it");
    let base = base.replace("env: {", "files: [\"allow\"], env: {");
    project.write("p.ron", base).write("allow/other", "");
    let failed = printed(&project, 1, &["p.ron"]);
    project.write("allow/it", "");
    let mended = printed(&project, 0, &["p.ron"]);
    assert!(failed.contains("failed") && !mended.contains("failed"), "{failed}\n{mended}");
    assert_eq!(project.expect(0, &["table", "@2"]).stdout.trim(), failed);
    // The folder it declares is not looked at.
    fs::remove_dir_all(project.path().join("allow")).unwrap();
    assert_eq!(project.expect(0, &["table", "@1"]).stdout.trim(), mended);
    assert_eq!(project.expect(0, &["table", "@2"]).stdout.trim(), failed);
}

#[test]
fn a_budget_is_shown_as_far_as_the_run_went() {
    let project = project();
    project.write(
        "p.ron",
        PIPELINE.replace("axes", "seeds: Until(ci95: 0.01, max: 4), axes").replace(", \"F\"", ""),
    );
    let first = printed(&project, 0, &["p.ron"]);
    project.write(
        "p.ron",
        PIPELINE.replace("axes", "seeds: Until(ci95: 0.0001, max: 6), axes").replace(", \"F\"", ""),
    );
    let second = printed(&project, 0, &["p.ron"]);
    assert_ne!(first, second);
    assert_eq!(project.expect(0, &["table", "@2"]).stdout.trim(), first);
}

/// A run that is stopped shows what is wanted by then, as a table does, be it begun or not.
#[test]
fn a_budget_that_was_cut_short_is_shown_as_it_was_then() {
    let project = project();
    project.write("p.ron", PIPELINE.replace("axes", "seeds: Until(ci95: 0.0001, max: 6), axes"));
    let stopped = printed(&project, 1, &["p.ron", "--fail-fast", "--jobs", "1"]);
    assert!(stopped.contains("(3 of 4)") && stopped.contains("failed"), "{stopped}");
    assert_eq!(project.expect(0, &["table", "p.ron"]).stdout.trim(), stopped);
    printed(&project, 1, &["p.ron"]);
    assert_eq!(project.expect(0, &["table", "@2"]).stdout.trim(), stopped);
}

#[test]
fn a_run_that_was_killed_left_what_it_had() {
    let project = project();
    let gate = project.path().join("go");
    let wait = format!("test $METHOD != 2 -o -e {} || sleep 1000; test", gate.display());
    project.write("parts/base.ron", BASE.replace("parts/", "").replace("\"test", &format!("\"{wait}")));
    let arguments = ["run", "p.ron", "--jobs", "1", "--axis", "method=1,2", "--seeds", "0"];
    let mut run = project.start_group(&arguments);
    let csv = |run: &str| project.run(&["table", run, "--format", "csv"]).stdout;
    wait_until("the second runs", || csv("@1").contains("0.61") && csv("@1").contains("running"));
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("it is known to be dead", || !csv("@1").contains("running"));
    let killed = csv("@1");
    assert!(killed.contains("0.61") && killed.contains("missing"), "{killed}");
    project.write("go", "");
    project.expect(0, &arguments);
    assert!(!csv("@1").contains("missing"));
    assert_eq!(csv("@2"), killed);
}

#[test]
fn a_run_that_goes_on_is_shown_as_far_as_it_is() {
    let project = project();
    let gate = project.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done; test", gate.display());
    project.write("parts/base.ron", BASE.replace("parts/", "").replace("\"test", &format!("\"{wait}")));
    let run = project.start_group(&["run", "p.ron", "--jobs", "1", "--axis", "method=1,2", "--seeds", "0"]);
    let csv = || project.run(&["table", "@1", "--format", "csv"]).stdout;
    wait_until("a stage runs", || csv().contains("running"));
    let shown = csv();
    project.write("go", "");
    finish(run);
    assert!(shown.contains("running") && shown.contains("missing"), "{shown}");
    let shown = csv();
    assert!(!shown.contains("running") && !shown.contains("missing"), "{shown}");
}

/// The artifact that holds the pipeline of a run.
fn kept(project: &Project, run: &str) -> PathBuf {
    let back: usize = run.strip_prefix('@').unwrap().parse().unwrap();
    let runs = runs(project);
    let entries = journal::read(&project.store().join("runs"), &runs[runs.len() - back]).unwrap();
    let Event::RunStarted { kept: Some(kept), .. } = &entries[0].event else {
        panic!("the run has kept its pipeline");
    };
    object(project, kept)
}

fn object(project: &Project, digest: &Digest) -> PathBuf {
    let digest = digest.to_string();
    project.store().join("objects").join(&digest[..2]).join(&digest[2..])
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_no_run_or_has_kept_nothing_is_told() {
    let project = project();
    let told = |code: i32, run: &str| project.expect(code, &["table", run]).stderr;
    assert_eq!(told(1, "@1"), "error: there is no run in the store yet\n");
    project.expect(0, &["run", "p.ron", "--axis", "method=1,2"]);
    let name = runs(&project).pop().unwrap();
    assert_eq!(told(2, "@2"), "error: there is no run `@2`; the store has 1\n");
    for file in ["q.ron", "1999", "2q/p.ron"] {
        assert!(told(3, file).starts_with(&format!("error: cannot read {file}: ")));
    }
    // A file of that name is meant before a run, but no folder.
    fs::create_dir(project.path().join(&name[..4])).unwrap();
    assert_eq!(told(0, &name[..4]), "");
    project.write("@1", PIPELINE);
    project.expect(0, &["table", "@1", "--set", "probe.env.BASE=\"6\""]);
    fs::remove_file(project.path().join("@1")).unwrap();

    // Damaged, and put there again by a run of the same text, whether anybody has seen it by then or not.
    let object = kept(&project, "@1");
    damage(&object);
    let begin = format!("error: run {name}: the pipeline it has kept is lost: ");
    for _ in 0..2 {
        let lost = told(1, "@1");
        assert!(lost.starts_with(&begin), "{lost}");
    }
    project.expect(0, &["run", "p.ron", "--axis", "method=1,2"]);
    assert_eq!(told(0, "@2"), "");
    damage(&object);
    project.expect(0, &["run", "p.ron", "--axis", "method=1,2"]);
    assert_eq!([told(0, "@3"), told(0, "@1")], ["", ""]);

    // Without the list of what it found in the store, nobody knows what the run had.
    let listing = project.journal().into_iter().find_map(|event| match event {
        Event::Hits { listing } => Some(listing),
        _ => None,
    });
    damage(&self::object(&project, &listing.unwrap()));
    let lost = told(4, "@1");
    assert!(lost.contains("the listing of what run") && lost.contains("is lost or damaged"), "{lost}");

    // As versions before this wrote it.
    let path = format!(".ablate/runs/{name}/journal.jsonl");
    let journal = project.read(&path);
    let mut lines = journal.lines().map(str::to_owned);
    let first = lines.next().unwrap();
    let (before, _) = first.split_once(r#","kept":"#).unwrap();
    let rest: Vec<String> = lines.collect();
    project.write(&path, format!("{before}}}}}\n{}\n", rest.join("\n")));
    let expected =
        format!("error: run {name}: it has not kept its pipeline; runs of earlier versions did not\n");
    assert_eq!(told(1, "@3"), expected);
}

/// What a later version of the program does not take is told with the text it was written in.
#[test]
fn a_kept_pipeline_that_is_not_taken_any_more_is_told_with_its_place() {
    let project = project();
    project.expect(0, &["run", "p.ron", "--axis", "method=1,2"]);
    let object = kept(&project, "@1");
    let text = fs::read_to_string(&object).unwrap();
    let other = text.replace("argv:", "arguments:");
    let store = ablate_stage::cache::Store::open(&project.store()).unwrap();
    let digest = store.insert_bytes(other.as_bytes()).unwrap().digest;
    let name = runs(&project).pop().unwrap();
    let path = format!(".ablate/runs/{name}/journal.jsonl");
    let before =
        object.strip_prefix(project.store().join("objects")).unwrap().display().to_string().replace('/', "");
    project.write(&path, project.read(&path).replacen(&before, &digest.to_string(), 1));
    let told = project.expect(3, &["table", "@1"]).stderr;
    assert!(told.contains("parts/base.ron:6:17"), "{told}");
    assert!(told.ends_with(&format!("note: these are the texts that run {name} has kept\n")), "{told}");
}
