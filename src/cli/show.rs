//! `ablate show`.

mod ancestry;
mod object;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use ablate_stage::cache::{ActionDigest, ActionResult, Object, Provenance, Store};
use ablate_stage::{ArtifactKind, Port};
use clap::Args;

use super::project::{self, Changes, Project};
use super::units::{bytes, date};
use super::{Context, Failure, exit, select};
use crate::diagnostic::escape_lines;
use crate::graph::InstanceId;
use crate::plan::{Keys, Plan, State};
use crate::progress::{counted, seconds};
use ancestry::{Source, ancestry};

/// So many instances are shown unless fewer are named.
const SHOWN: usize = 8;

/// Show what a stage's result is and where it comes from, up to the sources
#[derive(Args)]
pub struct Show {
    /// The pipeline file; or, with nothing after it, the first digits of an action's or an artifact's digest, or an instance
    /// of the last run that had it, as `graph[k=5]`
    #[arg(value_name = "FILE|DIGEST|INSTANCE")]
    file: PathBuf,
    /// A stage, as `graph`, or some of its instances, as `graph[k=5]`
    stage: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

/// Shows instances of a pipeline, or what has a digest.
pub fn show(args: Show, context: &mut Context<'_>) -> Result<u8, Failure> {
    let Show { file, stage, changes } = args;
    let text = match stage {
        Some(stage) => instances(&project::Source { file, changes }, &stage, context)?,
        None => object::show(&file.to_string_lossy(), context)?,
    };
    context.out.write_all(escape_lines(&text).as_bytes())?;
    Ok(exit::DONE)
}

fn instances(source: &project::Source, stage: &str, context: &mut Context<'_>) -> Result<String, Failure> {
    let (project, plan) = Project::open(source, context)?.wanted_of_readable(context)?;
    let chosen = select::instances(&project.graph, stage)?;
    let mut texts = Vec::new();
    for &id in chosen.iter().take(SHOWN) {
        texts.push(instance(&project, &plan, id)?);
    }
    if let Some(next) = chosen.get(SHOWN) {
        let name = project.graph.instance_name(*next);
        texts.push(format!("… and {} more; name one, as {name}\n", chosen.len() - SHOWN));
    }
    Ok(texts.join("\n"))
}

fn instance(project: &Project, plan: &Plan, id: InstanceId) -> Result<String, Failure> {
    let this = project.graph.instance(id);
    let state = plan.state(id);
    // That of an instance without a key is not known: it would name its inputs' content.
    let files: Vec<String> = match state {
        State::Pending(_) | State::NoFile(_) => Vec::new(),
        State::Hit(..) | State::Miss(_) => {
            let keys = Keys::new(&project.graph, &plan.files);
            let manifest = keys.manifest(id, |from| plan.state(from).result());
            manifest.files.iter().map(|(path, digest)| format!("{path}  {}", digest.short())).collect()
        }
    };
    let told = Told {
        title: project.graph.instance_name(id),
        kind: format!("{}, revision {}", this.params.kind(), this.params.revision()),
        seed: this.seed.filter(|_| this.params.seeded()),
        fields: this.params.canonical(),
        files,
        action: match state {
            State::Hit(action, _) | State::Miss(action) => action.to_string(),
            State::Pending(on) => format!("not known before {}", names(project, on)),
            State::NoFile(path) => format!("not known: {} cannot be read", path.display()),
        },
        result: state.result(),
        ports: this.params.outputs(),
    };
    let inputs = |id: InstanceId| {
        let inputs = project.graph.instance(id).inputs.iter().map(|(port, wire)| {
            let kind = project.graph.instance(wire.from).params.kind();
            let object = plan.state(wire.from).result().and_then(|result| result.outputs.get(&*wire.output));
            let content = object.map_or("not made yet".to_owned(), |object| content(&project.store, object));
            let name = project.graph.instance_name(wire.from);
            Source {
                text: format!("{port} ← {name}.{}  {kind}  {content}", wire.output),
                id: Some(wire.from),
            }
        });
        inputs.collect()
    };
    Ok(told.text(&project.store) + &ancestry(id, &inputs))
}

fn names(project: &Project, ids: &[InstanceId]) -> String {
    ids.iter().map(|id| project.graph.instance_name(*id)).collect::<Vec<_>>().join(", ")
}

/// An action in words.
struct Told<'a> {
    title: String,
    kind: String,
    seed: Option<u64>,
    /// Canonical RON.
    fields: String,
    /// Declared files with their content.
    files: Vec<String>,
    action: String,
    result: Option<&'a ActionResult>,
    ports: Vec<Port>,
}

impl Told<'_> {
    fn text(&self, store: &Store) -> String {
        let mut text = format!("{}\n", self.title);
        entry(&mut text, "kind", std::slice::from_ref(&self.kind));
        entry(&mut text, "key", std::slice::from_ref(&self.action));
        entry(&mut text, "seed", &self.seed.map(|seed| seed.to_string()).into_iter().collect::<Vec<_>>());
        entry(&mut text, "fields", &self.fields.lines().map(str::to_owned).collect::<Vec<_>>());
        entry(&mut text, "files", &self.files);
        let Some(ActionResult { outputs, metrics, provenance }) = self.result else {
            entry(&mut text, "result", &["not in the store; `ablate run` makes it".to_owned()]);
            return text;
        };
        let kinds: BTreeMap<&str, ArtifactKind> =
            self.ports.iter().map(|port| (port.name.as_str(), port.kind)).collect();
        let outputs = outputs.iter().map(|(port, object)| {
            let kind = kinds.get(port.as_str()).map(|kind| format!("  {kind}")).unwrap_or_default();
            format!("{port}{kind}  {}", content(store, object))
        });
        entry(&mut text, "outputs", &outputs.collect::<Vec<_>>());
        let metrics = metrics.iter().map(|(name, value)| format!("{name} {value}"));
        entry(&mut text, "metrics", &metrics.collect::<Vec<_>>());
        entry(&mut text, "made", &made(provenance));
        text
    }
}

/// A word with the lines that belong to it.
fn entry(text: &mut String, word: &str, lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        let word = if index == 0 { word } else { "" };
        writeln!(text, "  {word:<9}{line}").expect("a string");
    }
}

fn made(provenance: &Provenance) -> Vec<String> {
    let Provenance { host, device, threads, started_unix_ms, duration_ms, peak_memory_mib, version, .. } =
        provenance;
    let (commit, hardware) = (&provenance.commit, &provenance.hardware);
    let at = commit.as_ref().map(|commit| format!(", the project at {commit}")).unwrap_or_default();
    let model = hardware.as_ref().map(|model| format!(" ({model})")).unwrap_or_default();
    vec![
        format!("{} UTC on {host}, {device}{model}, {}", date(*started_unix_ms), counted(*threads, "thread")),
        format!("in {}, {peak_memory_mib} MiB at most, by ablate {version}{at}", seconds(*duration_ms)),
    ]
}

/// An artifact's digest and size, and whether it is gone.
fn content(store: &Store, object: &Object) -> String {
    let gone = if store.contains(object) { "" } else { "  (no longer in the store)" };
    format!("{}  {}{gone}", object.digest.short(), bytes(object.size))
}

/// An action's name for people: its kind and the first digits of its digest.
fn action_name(kind: &str, action: &ActionDigest) -> String {
    format!("{kind} {}", action.short())
}
