//! `ablate log`.

use clap::Args;

use super::project::store_here;
use super::{Context, Failure, exit};
use crate::journal;
use crate::progress::describe;

/// Show what happened in a run
#[derive(Args)]
pub struct Log {
    /// The run; the last one if none is named
    run: Option<String>,
    /// List the runs there are
    #[arg(long, conflicts_with = "run")]
    list: bool,
}

/// Shows the journal of a run.
pub fn log(args: &Log, context: &mut Context<'_>) -> Result<u8, Failure> {
    let folder = store_here(context)?.runs();
    let unreadable = |error: std::io::Error| {
        Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display()))
    };
    let runs = journal::runs(&folder).map_err(unreadable)?;
    if args.list {
        runs.iter().try_for_each(|run| writeln!(context.out, "{run}"))?;
        return Ok(exit::DONE);
    }
    let last = || journal::last_run(&folder, None).ok().flatten();
    let run = args.run.clone().or_else(last);
    let run = run.ok_or_else(|| Failure::new(exit::FAILED, "there is no run in the store yet"))?;
    if !runs.contains(&run) {
        return Err(Failure::new(
            exit::USAGE,
            format!("there is no run `{run}`; `ablate log --list` lists those there are"),
        ));
    }
    let entries = journal::read(&folder, &run).map_err(unreadable)?;
    let began = entries.first().map_or(0, |entry| entry.unix_ms);
    writeln!(context.out, "run {run}")?;
    for entry in &entries {
        if let Some((verb, text)) = describe(&entry.event) {
            let at = entry.unix_ms.saturating_sub(began) as f64 / 1000.0;
            writeln!(context.out, "{at:>10.3} {verb:>12} {text}")?;
        }
    }
    Ok(exit::DONE)
}
