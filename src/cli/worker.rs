//! The hidden commands that the program starts itself with.

use ablate_stage::cache::Store;
use clap::Args;

use super::{Context, Failure, exit};

/// Becomes a program that dies with its parent.
#[derive(Args)]
pub struct Exec {
    /// The parent.
    parent: u32,
    /// The program and its arguments.
    #[arg(last = true)]
    argv: Vec<String>,
}

/// Serves until the runner is gone.
pub fn worker(context: &Context<'_>) -> Result<u8, Failure> {
    let root =
        context.store.clone().ok_or_else(|| Failure::new(exit::USAGE, "a worker is told its store"))?;
    let store = Store::open(&root)?;
    crate::worker::serve(context.registry, &store).map_err(|error| Failure::new(exit::BUG, error))?;
    Ok(exit::DONE)
}

/// Does not return, unless the program cannot be run.
pub fn exec(args: &Exec) -> Result<u8, Failure> {
    let error = crate::command::exec(args.parent, &args.argv);
    let program = args.argv.first().map_or("", String::as_str);
    Err(Failure::new(127, format!("cannot run `{program}`: {error}")))
}
