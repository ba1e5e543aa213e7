//! The hidden commands that the program starts itself with.

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;

use ablate_stage::cache::{Durability, Store};
use clap::Args;

use super::{Context, Failure, exit};
use crate::command::{exec_tied, guard};
use crate::diagnostic::escape_lines;

/// Performs actions.
#[derive(Args)]
pub struct Worker {
    /// Does not wait for the disk.
    #[arg(long)]
    no_sync: bool,
}

/// Serves until the runner is gone.
pub fn worker(args: &Worker, context: &Context<'_>) -> Result<u8, Failure> {
    let root =
        context.store.clone().ok_or_else(|| Failure::new(exit::USAGE, "a worker is told its store"))?;
    let durability = if args.no_sync { Durability::None } else { Durability::Sync };
    let store = Store::open(&root)?.with_durability(durability);
    crate::worker::serve(context.registry, &store).map_err(|error| Failure::new(exit::BUG, error))?;
    Ok(exit::DONE)
}

/// Guards a program, where the arguments are `exec guarded PARENT -- PROGRAM ..`, or becomes it, where they are `exec tied ..`; only then
/// is there an exit code.
pub fn exec_directly() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != "exec" {
        return None;
    }
    let is_tied = arguments.next()? == "tied";
    let parent: u32 = arguments.next()?.to_str()?.parse().ok()?;
    let argv: Vec<OsString> = arguments.skip(1).collect();
    let code = if is_tied { Err(exec_tied(parent, &argv)) } else { guard(parent, &argv) };
    let code = code.unwrap_or_else(|error| {
        let program = argv.first().map_or_else(Cow::default, |program| program.to_string_lossy());
        eprintln!("error: cannot run `{}`: {error}", escape_lines(&program));
        ExitCode::from(127)
    });
    Some(code)
}
