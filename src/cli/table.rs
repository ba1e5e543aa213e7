//! `ablate table`.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use polars::prelude::PolarsError;

use super::project::{Project, Source};
use super::{Context, Failure, exit};
use crate::graph::InstanceId;
use crate::journal::{self, Event};
use crate::plan::Plan;
use crate::rows::{Outcome, all_metrics, gather};
use crate::table::{self, Table};

/// Print a pipeline's tables from what is in the store; nothing is run
#[derive(Args)]
pub struct Tables {
    #[command(flatten)]
    source: Source,
    /// The table; all of them if none is named
    name: Option<String>,
    /// How tables are written
    #[arg(long, value_enum, default_value = "terminal")]
    format: Format,
    /// In place of tables, every metric of every trial, as Parquet where `--to` ends in `.parquet`, else as CSV
    #[arg(long, conflicts_with_all = ["name", "format"])]
    trials: bool,
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
    /// Comma-separated values, as shown in the table
    Csv,
}

/// Prints the tables.
pub fn tables(args: &Tables, context: &mut Context<'_>) -> Result<u8, Failure> {
    let project = Project::open(&args.source, context)?;
    let plan = project.plan()?;
    let failed = failed(&project);
    let outcome = |id: InstanceId| outcome(&project, &plan, &failed, id);
    let bytes = if args.trials {
        let rows = gather(&project.graph, &all_metrics(&project.graph, outcome), outcome);
        let mut frame = table::frame(&project.graph, &rows).map_err(bug)?;
        let mut bytes = Cursor::new(Vec::new());
        if args.to.as_ref().is_some_and(|path| path.extension().is_some_and(|ext| ext == "parquet")) {
            table::write_parquet(&mut frame, &mut bytes).map_err(bug)?;
        } else {
            table::write_csv(&mut frame, &mut bytes).map_err(bug)?;
        }
        bytes.into_inner()
    } else {
        let chosen = chosen(&project, args.name.as_deref())?;
        let built = chosen.into_iter().map(|spec| table::build(&project.graph, spec, outcome));
        let texts = built.map(|built| built.and_then(|table| text(&table, args.format)));
        texts.collect::<Result<Vec<String>, _>>().map_err(bug)?.join("\n").into_bytes()
    };
    match &args.to {
        Some(path) => std::fs::write(path, bytes).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write {}: {error}", path.display()))
        })?,
        None => context.out.write_all(&bytes)?,
    }
    Ok(exit::DONE)
}

fn text(table: &Table, format: Format) -> Result<String, PolarsError> {
    match format {
        Format::Terminal => Ok(table.to_terminal()),
        Format::Markdown => Ok(table.to_markdown()),
        Format::Csv => table.to_csv(),
    }
}

fn chosen<'a>(
    project: &'a Project,
    name: Option<&str>,
) -> Result<Vec<&'a crate::pipeline::TableSpec>, Failure> {
    let tables = &project.graph.tables;
    let chosen: Vec<_> = tables.iter().filter(|table| name.is_none_or(|name| table.name == name)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let known = if known.is_empty() {
            "it declares none".to_owned()
        } else {
            format!("it has {}", known.join(", "))
        };
        let wanted = name.map_or("a table".to_owned(), |name| format!("a table `{name}`"));
        return Err(Failure::new(
            exit::USAGE,
            format!("the pipeline has no such thing as {wanted}; {known}"),
        ));
    }
    Ok(chosen)
}

fn outcome<'a>(project: &Project, plan: &'a Plan, failed: &BTreeSet<String>, id: InstanceId) -> Outcome<'a> {
    match plan.state(id).result() {
        Some(result) => Outcome::Done(result),
        None if failed.contains(&project.graph.instance_name(id)) => Outcome::Failed,
        None => Outcome::Missing,
    }
}

/// The instances that failed, or were skipped for one that did, in the last run of this pipeline. What can't be read of its
/// journal is not known to have failed.
fn failed(project: &Project) -> BTreeSet<String> {
    let runs = project.store.runs();
    let last = journal::last_run(&runs, Some(&project.graph.name)).ok().flatten();
    let entries = last.and_then(|run| journal::read(&runs, &run).ok()).unwrap_or_default();
    let failed = entries.into_iter().filter_map(|entry| match entry.event {
        Event::Failed { instance, .. } | Event::Skipped { instance, .. } => Some(instance),
        _ => None,
    });
    failed.collect()
}

fn bug(error: PolarsError) -> Failure {
    Failure::new(exit::BUG, error)
}
