//! `ablate runs`.

use clap::Args;
use unicode_width::UnicodeWidthStr;

use super::project::store_here;
use super::units::date;
use super::{Context, Failure, exit};
use crate::diagnostic::escape;
use crate::journal;
use crate::progress::seconds;
use crate::runs::{Run, Standing, sum_up};

/// List the runs of the store, the last one first
#[derive(Args)]
pub struct Runs {
    /// How many to list; 0 for all
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Lists runs.
pub fn runs(args: &Runs, context: &mut Context<'_>) -> Result<u8, Failure> {
    let folder = store_here(context)?.runs();
    let unreadable = |error: std::io::Error| {
        Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display()))
    };
    let names = journal::runs(&folder).map_err(unreadable)?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    // What is no journal is no run.
    let read = names.iter().rev().filter_map(|name| sum_up(&folder, name).ok().flatten());
    let runs: Vec<Run> = read.take(limit).collect();
    if args.json {
        for run in &runs {
            let line = serde_json::to_string(run).expect("a run is plain data");
            writeln!(context.out, "{line}")?;
        }
        return Ok(exit::DONE);
    }
    let heading =
        ["run", "pipeline", "began (UTC)", "took", "outcome", "ran", "cached", "failed"].map(str::to_owned);
    let rows: Vec<[String; 8]> = [heading].into_iter().chain(runs.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..8).map(|at| rows.iter().map(|row| row[at].width()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let gap = " ".repeat(width - cell.width());
            if matches!(at, 3 | 5..) { format!("{gap}{cell}") } else { format!("{cell}{gap}") }
        });
        writeln!(context.out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    if runs.len() == limit && names.len() > limit {
        writeln!(context.out, "… and {} earlier (--limit 0)", names.len() - limit)?;
    }
    Ok(exit::DONE)
}

fn row(run: &Run) -> [String; 8] {
    let outcome = match run.standing {
        Standing::Done => "done",
        Standing::Failed => "failed",
        Standing::Interrupted => "interrupted",
        Standing::Running => "running",
        Standing::Killed => "killed",
    };
    let count = |of: fn(&journal::Counts) -> usize| {
        run.counts.as_ref().map_or("–".to_owned(), |counts| of(counts).to_string())
    };
    [
        escape(&run.run),
        escape(&run.pipeline),
        date(run.began_unix_ms),
        run.duration_ms.map_or("–".to_owned(), seconds),
        outcome.to_owned(),
        count(|counts| counts.ran),
        count(|counts| counts.cached),
        count(|counts| counts.failed),
    ]
}
