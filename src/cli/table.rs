//! `ablate table`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use polars::prelude::PolarsError;

use super::project::Changes;
use super::results::{self, Results, Subject, bug};
use super::{Context, Failure, exit};
use crate::pipeline::{MetricRef, TableSpec};
use crate::rows::all_metrics;
use crate::table::{self, Filter, Look, PIPELINE, Published, Table, Trials};

/// Print a pipeline's tables from what is in the store; nothing is run
#[derive(Args)]
pub struct Tables {
    /// The pipeline file; or a run, whose pipeline and results are those of then: its name, the beginning of it, or `@1` for the last run.
    /// Of several, tables of one name become one, with the pipelines as rows
    #[arg(required = true, value_name = "FILE|RUN")]
    named: Vec<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// Only this table
    #[arg(long, value_name = "NAME", help_heading = "Pipeline")]
    table: Vec<String>,
    /// How tables are written; by default as the ending of `--to` says, else for a terminal
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// In place of tables, every metric of every trial with its key, duration and device, as CSV or Parquet
    #[arg(long, conflicts_with = "table")]
    trials: bool,
    /// Only these trials: `method=SimCLR,NNCLR`, `features!=raw`, `graph.k>=10`, `seed=0` or `probe.accuracy>=0.8`
    #[arg(long = "where", value_name = "CONDITION", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// In place of the declared tables, one of these axes over the trials of all others
    #[arg(long, value_name = "AXES", value_delimiter = ',', conflicts_with_all = ["table", "trials"])]
    group_by: Vec<String>,
    /// With `--group-by` or `--trials`: only this metric
    #[arg(long, value_name = "STAGE.METRIC")]
    metric: Vec<String>,
    /// The file to write; standard output if none is named
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
}

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Drawn with lines
    Terminal,
    /// A Markdown table
    Markdown,
    /// The numbers behind each cell, comma-separated
    Csv,
    /// The numbers behind each cell
    Parquet,
    /// LaTeX, with booktabs
    Latex,
    /// A page
    Html,
}

/// Prints the tables.
pub fn tables(args: &Tables, context: &mut Context<'_>) -> Result<u8, Failure> {
    let format = match args.format {
        Some(format) => format,
        None => format_of(args.to.as_deref())?,
    };
    if !args.metric.is_empty() && args.group_by.is_empty() && !args.trials {
        return Err(usage("`--metric` goes with `--group-by` or `--trials`".to_owned()));
    }
    let mut all = Vec::new();
    let mut known = BTreeMap::new();
    for named in &args.named {
        let subject = Subject::of(named, &args.changes, context)?;
        if let Some(first) = known.insert(subject.identity(), named) {
            let (first, again) = (first.display(), named.display());
            return Err(usage(format!("{again} is the same as {first}; name it once")));
        }
        let results = Results::of(&subject, context)?;
        context.warn(&results.unreadable)?;
        all.push(results);
    }
    let bytes = if args.trials {
        trials(args, &all, format)?
    } else {
        let tables =
            if args.group_by.is_empty() { declared(args, &all)? } else { vec![grouped(args, &all)?] };
        let look = if args.to.is_none() { results::look(context) } else { Look::default() };
        written(&tables, format, look)?
    };
    match &args.to {
        Some(path) => std::fs::write(path, bytes).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write {}: {error}", path.display()))
        })?,
        None => context.out.write_all(&bytes)?,
    }
    // The process ends: to free 100,000 results one by one took a twentieth of the time their table takes.
    std::mem::forget(all);
    Ok(exit::DONE)
}

fn format_of(to: Option<&Path>) -> Result<Format, Failure> {
    let Some(to) = to else { return Ok(Format::Terminal) };
    Ok(match to.extension().and_then(|ending| ending.to_str()) {
        Some("md") => Format::Markdown,
        Some("csv") => Format::Csv,
        Some("parquet") => Format::Parquet,
        Some("tex") => Format::Latex,
        Some("html") => Format::Html,
        Some("txt") => Format::Terminal,
        Some(_) | None => {
            let to = to.display();
            return Err(usage(format!(
                "the ending of {to} names no format; it may be .txt, .md, .csv, .parquet, .tex or .html; or set `--format`"
            )));
        }
    })
}

fn written(tables: &[Table], format: Format, look: Look) -> Result<Vec<u8>, Failure> {
    let texts = |text: &dyn Fn(&Table) -> String| {
        tables.iter().map(text).collect::<Vec<String>>().join("\n").into_bytes()
    };
    Ok(match format {
        Format::Terminal => texts(&|table| table.to_terminal(look)),
        Format::Markdown if tables.len() > 1 => texts(&Table::to_markdown_section),
        Format::Markdown => texts(&Table::to_markdown),
        Format::Csv => numbers(only(tables, "CSV")?, Table::to_csv)?,
        Format::Latex => texts(&Table::to_latex),
        Format::Html => {
            let body: Vec<String> = tables.iter().map(Table::to_html).collect();
            let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            table::document(&names.join(", "), &body.join("\n")).into_bytes()
        }
        Format::Parquet => numbers(only(tables, "Parquet")?, Table::to_parquet)?,
    })
}

/// The numbers of a table, among whose columns are its axes.
fn numbers(
    table: &Table,
    write: impl Fn(&Table) -> Result<Vec<u8>, PolarsError>,
) -> Result<Vec<u8>, Failure> {
    let told = |error| usage(format!("table `{}`: {error}; call the axis something else", table.name));
    write(table).map_err(told)
}

fn only<'a>(tables: &'a [Table], format: &str) -> Result<&'a Table, Failure> {
    let [table] = tables else {
        let names = tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(usage(format!("{format} holds one table; choose with `--table` among {names}")));
    };
    Ok(table)
}

/// The declared tables; those of one name in several pipelines become one.
fn declared(args: &Tables, all: &[Results]) -> Result<Vec<Table>, Failure> {
    let mut names: Vec<&str> = Vec::new();
    for spec in all.iter().flat_map(|results| &results.project.graph.tables) {
        if !names.contains(&spec.name.as_str()) {
            names.push(&spec.name);
        }
    }
    if let Some(unknown) = args.table.iter().find(|name| !names.contains(&name.as_str())) {
        let wanted = format!("the pipeline has no such thing as a table `{unknown}`");
        return Err(usage(format!("{wanted}; {}", known(&names))));
    }
    if names.is_empty() {
        return Err(usage("the pipeline has no such thing as a table; it declares none".to_owned()));
    }
    names.retain(|name| args.table.is_empty() || args.table.iter().any(|wanted| wanted == name));
    let asked = metrics_asked(&args.filters, all)?;
    names.into_iter().map(|name| one(args, all, name, &asked)).collect()
}

fn known(names: &[&str]) -> String {
    if names.is_empty() { "it declares none".to_owned() } else { format!("it has {}", names.join(", ")) }
}

/// A table, of all pipelines that declare it, whose conditions ask for these metrics.
fn one(args: &Tables, all: &[Results], name: &str, asked: &[MetricRef]) -> Result<Table, Failure> {
    let mut whole: Option<(TableSpec, Trials)> = None;
    for (results, label) in all.iter().zip(labels(all)) {
        let Some(spec) = results.project.graph.tables.iter().find(|spec| spec.name == name) else { continue };
        let graph = &results.project.graph;
        let has_stage = |stage: &str| graph.instances.iter().any(|instance| &*instance.stage == stage);
        let asked: Vec<MetricRef> = asked.iter().filter(|metric| has_stage(&metric.stage)).cloned().collect();
        let unreached = args.filters.iter().filter_map(|filter| filter.axis(&graph.axes));
        let trials = Trials::of(graph, spec, &asked, |id| results.outcome(id))
            .and_then(|trials| trials.with_unreached(unreached))
            .and_then(|trials| labelled(trials, label.as_deref()))
            .map_err(bug)?;
        whole = Some(match whole {
            None => (spec.clone(), trials),
            Some((first, before)) => (first.and(spec).map_err(usage)?, before.and(trials).map_err(bug)?),
        });
    }
    let (mut spec, trials) = whole.expect("its name was found in one of them");
    let Claims { mut published, told } = claims(all, name)?;
    if all.len() > 1 {
        spec.rows.insert(0, PIPELINE.to_owned());
    }
    let before = if args.filters.is_empty() { BTreeSet::new() } else { trials.labels() };
    let trials = trials.filter(&args.filters).map_err(|error| usage(format!("table `{name}`: {error}")))?;
    // What is of a value whose trials are all left out goes with them.
    if !before.is_empty() {
        let left = trials.labels();
        published.retain(|entry| !before.difference(&left).any(|(axis, label)| entry.is_of(axis, label)));
    }
    let mut table = table::build(&trials, &spec, &published).map_err(bug)?;
    table.remarks.extend(chosen(&args.filters, &trials));
    table.remarks.extend(told);
    // What was decided by all trials is not said of some.
    if args.filters.is_empty() {
        for (results, label) in all.iter().zip(labels(all)) {
            let graph = &results.project.graph;
            if let Some(spec) = graph.tables.iter().find(|spec| spec.name == name) {
                table.tell_seeds(graph, spec, label.as_deref(), |id| results.outcome(id));
            }
        }
    }
    Ok(table)
}

/// What others have published for a table.
struct Claims {
    published: Vec<Published>,
    /// Whose it is, where not all say the same.
    told: Option<String>,
}

/// What all pipelines say that others have published for a table. What a run has kept nobody can change: a file's word holds
/// before a run's, and a later run's before an earlier one's.
fn claims(all: &[Results], name: &str) -> Result<Claims, Failure> {
    let mut ranked: Vec<(&Results, Option<String>)> = all.iter().zip(labels(all)).collect();
    ranked
        .sort_by_key(|(results, _)| results.project.past.as_ref().map(|past| Reverse(past.run.run.clone())));
    let mut known: Vec<(Published, Option<String>)> = Vec::new();
    let mut heard = BTreeSet::new();
    for (results, label) in ranked {
        let Some(spec) = results.project.graph.tables.iter().find(|spec| spec.name == name) else { continue };
        for entry in results::published(&results.project, spec)? {
            match known.iter().find(|(other, _)| other.is_rival_of(&entry)) {
                None => known.push((entry, label.clone())),
                Some((other, _)) if *other == entry => {}
                Some((_, of)) if results.project.past.is_some() => heard.extend(of.clone()),
                Some((other, _)) => return Err(usage(rivals(name, other, &entry))),
            }
        }
    }
    let heard: Vec<String> = heard.into_iter().collect();
    let told = format!("where published values differ, they are those of {}", heard.join(" and "));
    Ok(Claims {
        published: known.into_iter().map(|(entry, _)| entry).collect(),
        told: (!heard.is_empty()).then_some(told),
    })
}

/// Which trials a table is of, where conditions have chosen them.
fn chosen(filters: &[Filter], trials: &Trials) -> Option<String> {
    let conditions: Vec<String> = filters.iter().map(|filter| format!("`{filter}`")).collect();
    let conditions = Some(conditions.join(" and ")).filter(|conditions| !conditions.is_empty())?;
    Some(match trials.frame.height() {
        0 => format!("no trial is left by {conditions}"),
        _ => format!("only trials with {conditions}"),
    })
}

/// The metrics that conditions are about, each of which some pipeline has reported.
fn metrics_asked(filters: &[Filter], all: &[Results]) -> Result<Vec<MetricRef>, Failure> {
    let is_axis = |filter: &&Filter| all.iter().any(|it| filter.axis(&it.project.graph.axes).is_some());
    let wanted: Vec<MetricRef> =
        filters.iter().filter(|filter| !is_axis(filter)).filter_map(Filter::metric).collect();
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let reported = |results: &Results| all_metrics(&results.project.graph, |id| results.outcome(id));
    let known: Vec<MetricRef> = all.iter().flat_map(reported).collect();
    match wanted.iter().find(|metric| !known.contains(metric)) {
        Some(unknown) => Err(not_reported(&unknown.to_string())),
        None => Ok(wanted),
    }
}

fn not_reported(metric: &str) -> Failure {
    usage(format!("no trial has reported a metric `{metric}` yet"))
}

fn rivals(table: &str, one: &Published, other: &Published) -> String {
    let labels =
        one.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect::<Vec<_>>().join(", ");
    let source = |entry: &Published| entry.source.clone().unwrap_or_else(|| "no source given".to_owned());
    format!(
        "table `{table}`: pipelines have different published values of `{}` for {labels}: {} ({}) and {} ({}); keep one",
        one.title,
        one.value,
        source(one),
        other.value,
        source(other)
    )
}

/// The trials of every pipeline, with the chosen metrics or all there are.
fn everything(
    args: &Tables,
    all: &[Results],
    gather: impl Fn(&Results, &[MetricRef]) -> Result<Trials, Failure>,
) -> Result<(Trials, Vec<MetricRef>), Failure> {
    let mut found: Vec<MetricRef> = Vec::new();
    let mut whole: Option<Trials> = None;
    for (results, label) in all.iter().zip(labels(all)) {
        let metrics = all_metrics(&results.project.graph, |id| results.outcome(id));
        let wanted = |metric: &MetricRef| {
            args.metric.is_empty() || args.metric.iter().any(|wanted| *wanted == metric.to_string())
        };
        let metrics: Vec<MetricRef> = metrics.into_iter().filter(wanted).collect();
        let is_axis = |metric: &&MetricRef| {
            results.project.graph.axes.iter().any(|axis| axis.name == metric.to_string())
        };
        if let Some(both) = metrics.iter().find(is_axis) {
            return Err(usage(format!(
                "`{both}` is a metric and an axis; call the axis something else, or choose other metrics"
            )));
        }
        let trials = labelled(gather(results, &metrics)?, label.as_deref()).map_err(bug)?;
        found.extend(metrics.into_iter().filter(|metric| !found.contains(metric)).collect::<Vec<_>>());
        whole = Some(match whole {
            None => trials,
            Some(before) => before.and(trials).map_err(bug)?,
        });
    }
    let missing =
        args.metric.iter().find(|wanted| !found.iter().any(|metric| metric.to_string() == **wanted));
    if let Some(missing) = missing {
        return Err(not_reported(missing));
    }
    let whole = whole.expect("a file is required");
    Ok((whole.filter(&args.filters).map_err(usage)?, found))
}

fn trials(args: &Tables, all: &[Results], format: Format) -> Result<Vec<u8>, Failure> {
    let (mut trials, _) = everything(args, all, |results, metrics| {
        let graph = &results.project.graph;
        // What tables show is told of even where nothing has reported it yet.
        let declared = graph.tables.iter().flat_map(TableSpec::metrics);
        let declared = declared.filter(|metric| args.metric.is_empty() && !metrics.contains(metric));
        let metrics: BTreeSet<MetricRef> = metrics.iter().cloned().chain(declared).collect();
        let metrics: Vec<MetricRef> = metrics.into_iter().collect();
        let action = |id| results.plan.state(id).action();
        Trials::detail(graph, &metrics, |id| results.outcome(id), action).map_err(bug)
    })?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    match format {
        Format::Parquet => table::write_parquet(&mut trials.frame, &mut bytes).map_err(bug)?,
        Format::Csv | Format::Terminal => table::write_csv(&trials.frame, &mut bytes).map_err(bug)?,
        Format::Markdown | Format::Latex | Format::Html => {
            return Err(usage("trials are written as `csv` or `parquet`".to_owned()));
        }
    }
    Ok(bytes.into_inner())
}

fn grouped(args: &Tables, all: &[Results]) -> Result<Table, Failure> {
    let (trials, metrics) = everything(args, all, |results, metrics| {
        Trials::gather(&results.project.graph, metrics, |id| results.outcome(id)).map_err(bug)
    })?;
    if metrics.is_empty() {
        return Err(Failure::new(exit::FAILED, "no trial has reported a metric yet"));
    }
    let axes = args.group_by.iter().map(|axis| table::column(&trials, axis)).collect::<Result<Vec<_>, _>>();
    let axes = axes.map_err(usage)?;
    if let Some(odd) = axes.iter().find(|axis| !trials.axes.contains(axis)) {
        return Err(usage(format!("`{odd}` is no axis")));
    }
    let mut table = table::by(&trials, &axes, &metrics).map_err(bug)?;
    table.remarks.extend(chosen(&args.filters, &trials));
    Ok(table)
}

fn labelled(trials: Trials, label: Option<&str>) -> Result<Trials, PolarsError> {
    match label {
        Some(label) => trials.with_axis(PIPELINE, label),
        None => Ok(trials),
    }
}

/// What tells pipelines apart: their names, or their files and runs where names are the same; nothing where there is only one.
fn labels(all: &[Results]) -> Vec<Option<String>> {
    let label = |results: &Results| {
        let name = &results.project.graph.name;
        let is_shared = all.iter().filter(|other| other.project.graph.name == *name).count() > 1;
        let label = match &results.project.past {
            _ if !is_shared => name.clone(),
            Some(past) => past.run.run.clone(),
            None => results.project.file.display().to_string(),
        };
        (all.len() > 1).then_some(label)
    };
    all.iter().map(label).collect()
}

fn usage(message: String) -> Failure {
    Failure::new(exit::USAGE, message)
}
