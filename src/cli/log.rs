//! `ablate log`.

use clap::Args;

use super::project::store_here;
use super::{Context, Failure, exit};
use crate::journal;
use crate::progress::describe;
use crate::runs::{resolve, sum_up};

/// Show what happened in a run
#[derive(Args)]
pub struct Log {
    /// The run, by its name or the beginning of it, or as `@2`: the one before the last; the last one if none is named
    #[arg(default_value = "@1")]
    run: String,
}

/// Shows the journal of a run.
pub fn log(args: &Log, context: &mut Context<'_>) -> Result<u8, Failure> {
    let folder = store_here(context)?.runs();
    let unreadable = |error: std::io::Error| {
        Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display()))
    };
    let mut runs = journal::runs(&folder).map_err(unreadable)?;
    runs.retain(|run| matches!(sum_up(&folder, run), Ok(Some(_))));
    if runs.is_empty() {
        return Err(Failure::new(exit::FAILED, "there is no run in the store yet"));
    }
    let run = resolve(&runs, &args.run).map_err(|error| Failure::new(exit::USAGE, error))?;
    let entries = journal::read(&folder, run).map_err(unreadable)?;
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
