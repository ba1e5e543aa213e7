//! `ablate completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Context, Failure, exit};

/// Print a script that completes commands and options in a shell
#[derive(Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the script for what `program` takes.
pub fn completions(args: &Completions, program: &Command, context: &mut Context<'_>) -> Result<u8, Failure> {
    // Generators list hidden commands too, so a copy without them is given.
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut told = Command::new("ablate").disable_help_subcommand(true).version(env!("CARGO_PKG_VERSION"));
    told = told.args(program.get_arguments().cloned()).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut told, "ablate", &mut script);
    context.out.write_all(&script)?;
    Ok(exit::DONE)
}
