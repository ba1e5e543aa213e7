//! ablate with every stage kind it comes with.

use std::process::ExitCode;

use ablate::command::Command;
use ablate_stage::Registry;

fn main() -> ExitCode {
    let registry = Registry::new().with::<Command>();
    #[cfg(feature = "learn")]
    let registry = ablate_learn::register(ablate_data::register(registry));
    ablate::cli::main(&registry)
}
