//! ablate with every stage kind it comes with.

use std::process::ExitCode;

use ablate::command::Command;
use ablate_stage::Registry;
use mimalloc::MiMalloc;

/// The one of glibc grows the heaps of threads a page at a time, for which each waits for the others: in turns with this one, on a
/// busy machine, a table of 100,000 results took half as long again with it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let registry = Registry::new().with::<Command>();
    #[cfg(feature = "learn")]
    let registry = ablate_learn::register(ablate_data::register(registry));
    ablate::cli::main(&registry)
}
