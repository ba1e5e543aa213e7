//! `ablate log`.

use clap::Args;

use super::kept::Kept;
use super::project::store_here;
use super::{Context, Failure, exit, select};
use crate::diagnostic::{escape, escape_lines};
use crate::journal;
use crate::progress::describe;

/// Show what happened in a run
#[derive(Args)]
pub struct Log {
    /// The run, by its name or the beginning of it, or as `@2`: the one before the last; the last one if none is named
    #[arg(default_value = "@1")]
    run: String,
    /// In place of what happened, the pipeline as the run found it
    #[arg(long)]
    pipeline: bool,
}

/// Shows the journal of a run, or its pipeline.
pub fn log(args: &Log, context: &mut Context<'_>) -> Result<u8, Failure> {
    let store = store_here(context)?;
    let run = select::run(&store, &args.run)?;
    if args.pipeline {
        return pipeline(&Kept::by(&store, &run)?, context);
    }
    let folder = store.runs();
    let entries = journal::read(&folder, &run.run)
        .map_err(|error| Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display())))?;
    let began = entries.first().map_or(0, |entry| entry.unix_ms);
    writeln!(context.out, "run {}", run.run)?;
    for entry in &entries {
        if let Some((verb, text)) = describe(&entry.event) {
            let at = entry.unix_ms.saturating_sub(began) as f64 / 1000.0;
            writeln!(context.out, "{at:>10.3} {verb:>12} {text}")?;
        }
    }
    Ok(exit::DONE)
}

/// Prints the texts, each after a line that says which it is.
fn pipeline(kept: &Kept, context: &mut Context<'_>) -> Result<u8, Failure> {
    let changed: String = kept.changed().iter().map(|changed| format!(" {changed}")).collect();
    let mut text = format!("// ablate run {}\n", escape(&format!("{}{changed}", kept.file)));
    text.push_str(kept.texts.get(&kept.file).map_or("", String::as_str));
    for (name, of) in kept.texts.iter().filter(|(name, _)| **name != kept.file) {
        text.push_str(&format!("\n// {}\n{of}", escape(name)));
    }
    // A file takes it as it is.
    let text = if context.width.is_some() { escape_lines(&text) } else { text };
    context.out.write_all(text.as_bytes())?;
    Ok(exit::DONE)
}
