//! The documents: their pipelines parse and expand, and their generated pages are what the program says.
#![cfg(feature = "learn")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use ablate::expand::expand;
use ablate::pipeline::{self, Overrides};
use ablate::source::SourceMap;
use ablate::syntax;
use ablate_stage::Registry;

use common::Project;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn registry() -> Registry {
    let registry = Registry::new().with::<ablate::command::Command>();
    ablate_learn::register(ablate_data::register(registry))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|ext| ext == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The fenced blocks of a Markdown text whose info string starts with `ron`.
fn ron_blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks.into_iter().filter(|(info, _)| info.starts_with("ron")).collect()
}

#[track_caller]
fn expands(name: &str, text: &str) {
    let mut sources = SourceMap::new();
    let source = sources.add(name, text);
    let graph = pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &registry()));
    if let Err(errors) = graph {
        panic!("{}", errors.render(&sources));
    }
}

/// Stages of a document as a pipeline, with those that documents take as given.
fn with_usual_stages(block: &str) -> String {
    let usual = [
        r#""images": (stage: Images(source: FashionMnistMini)),"#,
        r#""encoder": (stage: Pretrain(method: SimClr(), backbone: SmallCnn()), from: {"images": "images"}),"#,
        r#""features": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),"#,
        r#""graph": (stage: KnnGraph(k: 5), from: {"embeddings": "features"}),"#,
        r#""clusters": (stage: Cluster(), from: {"embeddings": "features"}),"#,
    ];
    let name = |stage: &str| stage.split_once(':').unwrap().0.to_owned();
    let taken = |stage: &str| block.lines().any(|line| line.starts_with(&format!("{}:", name(stage))));
    let given: String = usual.into_iter().filter(|stage| !taken(stage)).collect();
    format!("Pipeline(name: \"document\", stages: {{{given}\n{block}}})")
}

#[test]
fn every_pipeline_in_the_documents_expands() {
    let mut documents = files(&root().join("book/src"), "md");
    documents.push(root().join("README.md"));
    let mut pipelines = 0;
    for path in documents {
        for (info, block) in ron_blocks(&fs::read_to_string(&path).unwrap()) {
            let name = path.display().to_string();
            if info == "ron,stages" {
                expands(&name, &with_usual_stages(&block));
                pipelines += 1;
            } else if info == "ron,fragment" || !block.starts_with("Pipeline(") {
                // A fragment is a value, some entries of a map, or some fields of a struct.
                let (open, close) = match block.chars().next() {
                    Some('"') => ("{\n", "}"),
                    Some('A'..='Z') => ("", ""),
                    _ => ("(\n", ")"),
                };
                let text = format!("{open}{block}{close}");
                let mut sources = SourceMap::new();
                let source = sources.add(name, text.as_str());
                if let Err(error) = syntax::parse(source, &text) {
                    panic!("{}", error.render(&sources));
                }
            } else {
                expands(&name, &block);
                pipelines += 1;
            }
        }
    }
    assert!(pipelines >= 2, "only {pipelines} whole pipelines were found");
}

#[test]
fn every_shipped_pipeline_expands() {
    let pipelines = files(&root().join("pipelines"), "ron");
    assert!(pipelines.len() >= 2);
    let mut of_one_data_set = 0;
    for path in pipelines {
        let expanded = |axis: Vec<String>| {
            let (mut sources, overrides) = (SourceMap::new(), Overrides { axis, ..Overrides::default() });
            let graph = pipeline::load(&path, &overrides, &mut sources)
                .and_then(|pipeline| expand(&pipeline, &registry()));
            graph.map_err(|errors| errors.render(&sources))
        };
        let whole = expanded(Vec::new()).unwrap_or_else(|errors| panic!("{errors}"));
        // Each can be had for one data set alone.
        let data_sets = whole.axes.iter().find(|axis| axis.name == "data set");
        for label in data_sets.into_iter().flat_map(|axis| &axis.labels) {
            let part = match expanded(vec![format!("data set={label}")]) {
                Ok(part) => part,
                // The sweep has none of it to begin with.
                Err(errors) if errors.starts_with("error: the sweep leaves no point") => continue,
                Err(errors) => panic!("{}: {label}: {errors}", path.display()),
            };
            let left =
                part.axes.iter().find(|axis| axis.name == "data set").map(|axis| axis.labels.as_slice());
            assert_eq!(left, Some(&[label.clone()][..]), "{}", path.display());
            of_one_data_set += 1;
        }
    }
    assert!(of_one_data_set > 12, "only {of_one_data_set}");
}

/// Compares a generated page with the book's; `ABLATE_UPDATE_BOOK=1 cargo test` writes it instead.
#[track_caller]
fn pinned(page: &str, generated: &str) {
    let path = root().join("book/src/reference").join(page);
    #[expect(clippy::disallowed_methods, reason = "a switch for people, as in other snapshot tests")]
    if std::env::var_os("ABLATE_UPDATE_BOOK").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == generated, "{page} is out of date: run ABLATE_UPDATE_BOOK=1 cargo test --test docs");
}

#[test]
fn the_page_of_stage_kinds_is_what_the_program_says() {
    let said = Project::new().expect(0, &["stages", "--markdown"]).stdout;
    pinned("stages.md", &said);
}

#[test]
fn the_guide_shows_the_graph_of_the_quickstart() {
    let quickstart = root().join("pipelines/quickstart.ron").display().to_string();
    let drawn = Project::new().expect(0, &["graph", &quickstart]).stdout;
    let page = common::page("guides/views.md");
    let (_, place) = common::blocks(&page).into_iter().find(|(info, _)| info == "text").unwrap();
    common::shows("guides/views.md", vec![(place, drawn)]);
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let project = Project::new();
    let overview = project.expect(0, &["--help"]).stdout;
    let mut page = format!("# Commands\n\n```text\n{overview}```\n");
    let listed = overview.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        // Lines indented further go on with the description above.
        let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else { continue };
        let name = name.split_whitespace().next().unwrap();
        let help = project.expect(0, &[name, "--help"]).stdout;
        page.push_str(&format!("\n## ablate {name}\n\n```text\n{help}```\n"));
    }
    pinned("commands.md", &page);
}
