//! `ablate report`.

mod figures;
mod serve;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use ablate_stage::cache::ActionResult;
use clap::Args;

use super::project;
use super::results::{self, Named, Results, Subject};
use super::units::date;
use super::{Context, Failure, exit};
use crate::draw::{Drawing, MAX_SVG_NODES};
use crate::graph::{Graph, InstanceId};
use crate::progress::counted;
use crate::report::{Cost, Report};
use crate::rows::Outcome;
use crate::table::Table;
use figures::Figures;

/// Write a report of a pipeline's results from what is in the store: one HTML file that needs nothing else
#[derive(Args)]
pub struct ReportArgs {
    #[command(flatten)]
    named: Named,
    /// The file to write; by default the name of the pipeline's file, or of the run, with `.html` in the working folder
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Show the report at an address of this machine instead, and follow what runs, until Ctrl-C; on any free port where none is named
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0", conflicts_with = "to")]
    serve: Option<u16>,
}

/// Writes the report, or shows it.
pub fn report(args: &ReportArgs, context: &mut Context<'_>) -> Result<u8, Failure> {
    let subject = args.named.subject(context)?;
    if let Some(port) = args.serve {
        return serve::serve(&subject, port, context);
    }
    let results = Results::of(&subject, context)?;
    let report = compose(&subject, &results, context)?;
    let to = args.to.clone().unwrap_or_else(|| default_name(&subject));
    std::fs::write(&to, report.to_html())
        .map_err(|error| Failure::new(exit::FAILED, format!("cannot write {}: {error}", to.display())))?;
    writeln!(context.out, "wrote {}", to.display())?;
    Ok(exit::DONE)
}

fn default_name(subject: &Subject) -> PathBuf {
    let name = match subject {
        Subject::File(source) => source.file.file_stem(),
        Subject::Run(past, _) => Some(past.run.run.as_ref()),
    };
    let mut name = name.unwrap_or("report".as_ref()).to_owned();
    name.push(".html");
    PathBuf::from(name)
}

/// The report of what there is.
fn compose(subject: &Subject, results: &Results, context: &Context<'_>) -> Result<Report, Failure> {
    let (pipeline, graph, _) = subject.read(context)?;
    let drawing = Drawing::of_stages(&pipeline, &graph);
    let Figures { curves, confusions, matrices, scatters, pictures, omissions } = Figures::of(results);
    let unreadable = results.unreadable.iter().map(|error| error.to_string());
    Ok(Report {
        title: results.project.graph.name.clone(),
        summary: summary(results),
        tables: tables(results)?,
        drawing: (drawing.size() <= MAX_SVG_NODES).then(|| drawing.to_svg()),
        curves,
        confusions,
        matrices,
        scatters,
        pictures,
        omissions: unreadable.chain(omissions).collect(),
        trouble: String::new(),
        costs: costs(results),
        provenance: provenance(subject, results),
    })
}

fn tables(results: &Results) -> Result<Vec<Table>, Failure> {
    let published = results::all_published(&results.project)?;
    results::tables(&results.project, &published, |id| results.outcome(id))
}

/// `9 stages, 41 instances, 12 trials; all done`, or how many are missing, running or failed.
fn summary(results: &Results) -> String {
    let graph = &results.project.graph;
    let stages: BTreeSet<&str> = graph.instances.iter().map(|instance| &*instance.stage).collect();
    let (mut missing, mut running, mut failed) = (0, 0, 0);
    for id in graph.ids() {
        match results.outcome(id) {
            Outcome::Done(..) => {}
            Outcome::Missing => missing += 1,
            Outcome::Running => running += 1,
            Outcome::Failed => failed += 1,
        }
    }
    let open = [(missing, "missing"), (running, "running"), (failed, "failed")];
    let open: Vec<String> =
        open.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let open = if open.is_empty() { "all done".to_owned() } else { open.join(", ") };
    let (stages, instances) = (counted(stages.len(), "stage"), counted(graph.instances.len(), "instance"));
    format!("{stages}, {instances}, {}; {open}", counted(graph.trials.len(), "trial"))
}

/// Stages in the order of their first instances, each with those.
fn by_stage(graph: &Graph) -> Vec<(&str, Vec<InstanceId>)> {
    let mut stages: Vec<(&str, Vec<InstanceId>)> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for id in graph.ids() {
        let stage = &*graph.instance(id).stage;
        let at = *known.entry(stage).or_insert_with(|| {
            stages.push((stage, Vec::new()));
            stages.len() - 1
        });
        stages[at].1.push(id);
    }
    stages
}

/// The results of some instances that have one.
fn done<'a>(
    results: &'a Results,
    ids: &'a [InstanceId],
) -> impl Iterator<Item = (InstanceId, &'a ActionResult)> {
    ids.iter().filter_map(|&id| Some((id, results.plan.state(id).result()?)))
}

fn costs(results: &Results) -> Vec<Cost> {
    let cost = |(stage, ids): (&str, Vec<InstanceId>)| {
        // Instances of one key were made once.
        let mut actions = HashSet::new();
        let once = done(results, &ids).filter(|(id, _)| actions.insert(results.plan.state(*id).action()));
        let made: Vec<_> = once.map(|(_, result)| &result.provenance).collect();
        let devices: BTreeSet<&str> =
            made.iter().map(|made| made.device.split(':').next().unwrap_or_default()).collect();
        Cost {
            stage: stage.to_owned(),
            done: done(results, &ids).count(),
            of: ids.len(),
            total_ms: made.iter().map(|made| made.duration_ms).sum(),
            longest_ms: made.iter().map(|made| made.duration_ms).max().unwrap_or(0),
            peak_memory_mib: made.iter().map(|made| made.peak_memory_mib).max().unwrap_or(0),
            devices: devices.into_iter().map(str::to_owned).collect(),
        }
    };
    by_stage(&results.project.graph).into_iter().map(cost).collect()
}

fn provenance(subject: &Subject, results: &Results) -> Vec<(String, Vec<String>)> {
    let project = &results.project;
    let all: Vec<InstanceId> = project.graph.ids().collect();
    let made: Vec<_> = done(results, &all).map(|(_, result)| &result.provenance).collect();
    let distinct =
        |texts: &mut dyn Iterator<Item = String>| texts.collect::<BTreeSet<String>>().into_iter().collect();
    let file = project.file.strip_prefix(&project.root).unwrap_or(&project.file).display().to_string();
    let mut lines: Vec<(&str, Vec<String>)> = vec![
        ("pipeline", vec![file]),
        ("run", results.project.past.iter().map(|past| past.run.run.clone()).collect()),
        ("changed by", subject.changes()),
        ("commit when made", distinct(&mut made.iter().filter_map(|made| made.commit.clone()))),
        ("commit when reported", project::commit(&project.root).into_iter().collect()),
    ];
    let seeds: BTreeSet<u64> = project.graph.trials.iter().map(|trial| trial.seed).collect();
    lines.push(("seeds", vec![list(&seeds)]));
    lines.push(("machines", distinct(&mut made.iter().map(|made| made.host.clone()))));
    lines.push(("devices", distinct(&mut made.iter().map(|made| made.device.clone()))));
    lines.push(("hardware", distinct(&mut made.iter().filter_map(|made| made.hardware.clone()))));
    lines.push(("program", distinct(&mut made.iter().map(|made| format!("ablate {}", made.version)))));
    let began = made.iter().map(|made| made.started_unix_ms).min();
    let ended = made.iter().map(|made| made.started_unix_ms + made.duration_ms).max();
    if let (Some(began), Some(ended)) = (began, ended) {
        lines.push(("made", vec![format!("{} to {} UTC", date(began), date(ended))]));
    }
    lines
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(word, lines)| (word.to_owned(), lines))
        .collect()
}

/// Numbers in order, the first and the last of them where they are many.
fn list(numbers: &BTreeSet<u64>) -> String {
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if numbers.len() > 12 => {
            format!("{} from {first} to {last}", numbers.len())
        }
        _ => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}
