//! The hidden commands that the program starts itself with.

use ablate_stage::cache::{Durability, Store};
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

/// Does not return, unless the program cannot be run.
pub fn exec(args: &Exec) -> Result<u8, Failure> {
    let error = crate::command::exec(args.parent, &args.argv);
    let program = args.argv.first().map_or("", String::as_str);
    Err(Failure::new(127, format!("cannot run `{program}`: {error}")))
}
