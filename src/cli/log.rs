//! `ablate log`.

use clap::Args;

use super::kept::Kept;
use super::project::store_here;
use super::{Context, Failure, exit, select};
use crate::diagnostic::{escape, escape_lines};
use crate::journal::{self, Entry};
use crate::progress::describe;

/// Show what happened in a run
#[derive(Args)]
pub struct Log {
    /// The run, by its name or the beginning of it, or as `@2`: the one before the last; the last one if none is named
    #[arg(default_value = "@1")]
    run: String,
    /// Only what is of instances with such a name: `encoder[*seed=3]`; `*` is any text, `?` any character
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// In place of what happened, the pipeline as the run found it
    #[arg(long, conflicts_with = "only")]
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
    let globs = select::Globs::of(&args.only);
    let is_meant = |entry: &&Entry| {
        let named = |name: &str| globs.meant(name, name.split('[').next().unwrap_or(name));
        args.only.is_empty() || entry.event.instance().is_some_and(named)
    };
    let meant: Vec<&Entry> = entries.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let names = args.only.join("`, `");
        let error = format!(
            "run {} did nothing that is called `{names}`; it may have found it in the store",
            run.run
        );
        return Err(Failure::new(exit::USAGE, error));
    }
    writeln!(context.out, "run {}", run.run)?;
    for entry in meant {
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
