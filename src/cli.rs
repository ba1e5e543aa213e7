//! The command line: arguments in, text and an exit code out.

mod check;
mod completions;
mod diff;
mod expand;
mod gc;
mod get;
mod graph;
mod kept;
mod log;
mod new;
mod plan;
mod preview;
mod project;
#[cfg(feature = "tables")]
mod report;
#[cfg(feature = "tables")]
mod results;
mod run;
mod runs;
mod select;
mod show;
mod stages;
#[cfg(feature = "tables")]
mod table;
mod units;
mod verify;
mod why;
mod worker;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use ablate_stage::Registry;
use ablate_stage::cache::StoreError;
use clap::{CommandFactory, Parser, Subcommand};

use crate::diagnostic::escape_lines;

/// What the exit codes mean.
pub mod exit {
    /// Everything asked for is done.
    pub const DONE: u8 = 0;
    /// An action failed, or what was asked for is not there or not whole.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// The pipeline file is wrong.
    pub const PIPELINE: u8 = 3;
    /// The store cannot be used.
    pub const STORE: u8 = 4;
    /// A bug of this program.
    pub const BUG: u8 = 70;
    /// Interrupted by a signal.
    pub const INTERRUPTED: u8 = 130;
}

/// Declarative ablation pipelines for self-supervised and graph-based image representation learning.
#[derive(Parser)]
#[command(name = "ablate", version, disable_help_subcommand = true)]
struct Arguments {
    /// The store; else `$ABLATE_STORE`, else `.ablate` in the project's root, which is the nearest folder from the pipeline
    /// file upwards that holds `.ablate`, `.git` or `Cargo.toml`
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Plan(plan::Plan),
    Check(check::Check),
    Why(why::Why),
    Graph(graph::Graph),
    Expand(expand::Expand),
    #[cfg(feature = "tables")]
    Table(table::Tables),
    #[cfg(feature = "tables")]
    Report(report::ReportArgs),
    Show(show::Show),
    Preview(preview::Preview),
    Runs(runs::Runs),
    Diff(diff::Diff),
    Log(log::Log),
    Get(get::Get),
    Verify(verify::Verify),
    Gc(gc::Gc),
    Stages(stages::Stages),
    New(new::New),
    Completions(completions::Completions),
    #[command(hide = true)]
    Worker(worker::Worker),
}

/// What a command needs of the world.
pub struct Context<'a> {
    /// The stage kinds and devices there are.
    pub registry: &'a Registry,
    /// The store, where the user named one.
    pub store: Option<PathBuf>,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where progress and complaints go.
    pub err: &'a mut dyn Write,
    /// Whether `err` is a terminal.
    pub terminal: bool,
    /// The width of the terminal that `out` is, where it is one.
    pub width: Option<usize>,
}

impl Context<'_> {
    /// Tells what is wrong and no reason to stop.
    fn warn(&mut self, troubles: &[impl Display]) -> io::Result<()> {
        for trouble in troubles {
            writeln!(self.err, "{}", escape_lines(&format!("warning: {trouble}")))?;
        }
        Ok(())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// One of [`exit`].
    pub code: u8,
    /// What to tell, in whole lines.
    pub message: String,
}

impl Failure {
    /// With a code of [`exit`] and a message of a sentence.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: format!("error: {message}\n") }
    }

    /// With a code of [`exit`] and a text that tells all.
    pub fn told(code: u8, message: String) -> Self {
        Self { code, message }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(exit::STORE, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(exit::FAILED, format!("cannot write: {error}"))
    }
}

/// The whole program: reads the arguments and the environment, writes to standard output and error. For a `main` that knows its stage kinds.
pub fn main(registry: &Registry) -> ExitCode {
    // On the way of every program that a stage runs, so it takes no detour.
    if let Some(code) = worker::exec_directly() {
        return code;
    }
    let terminal = io::stderr().is_terminal();
    #[expect(clippy::disallowed_methods, reason = "this is where settings come in")]
    let store = std::env::var_os("ABLATE_STORE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let width = out.is_terminal().then(|| terminal_width(&out));
    let mut context = Context { registry, store, out: &mut out, err: &mut err, terminal, width };
    let code = catch_unwind(AssertUnwindSafe(|| dispatch(std::env::args_os(), &mut context)));
    ExitCode::from(code.unwrap_or(exit::BUG))
}

/// The columns of a terminal; 80 where it does not say.
fn terminal_width(out: &io::Stdout) -> usize {
    let size = rustix::termios::tcgetwinsize(out).map_or(0, |size| size.ws_col);
    if size == 0 { 80 } else { size.into() }
}

fn dispatch(arguments: impl Iterator<Item = OsString>, context: &mut Context<'_>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let failed = if error.use_stderr() {
                write!(context.err, "{}", error.render())
            } else {
                write!(context.out, "{}", error.render())
            };
            return if failed.is_err() || error.use_stderr() { exit::USAGE } else { exit::DONE };
        }
    };
    context.store = arguments.store.or(context.store.take());
    let done = match arguments.command {
        Command::Run(args) => run::run(&args, context),
        Command::Plan(args) => plan::plan(&args, context),
        Command::Check(args) => check::check(&args, context),
        Command::Why(args) => why::why(&args, context),
        Command::Graph(args) => graph::graph(&args, context),
        Command::Expand(args) => expand::expand(&args, context),
        #[cfg(feature = "tables")]
        Command::Table(args) => table::tables(&args, context),
        Command::Preview(args) => preview::preview(&args, context),
        #[cfg(feature = "tables")]
        Command::Report(args) => report::report(&args, context),
        Command::Show(args) => show::show(args, context),
        Command::Diff(args) => diff::diff(&args, context),
        Command::Runs(args) => runs::runs(&args, context),
        Command::Log(args) => log::log(&args, context),
        Command::Get(args) => get::get(&args, context),
        Command::Verify(args) => verify::verify(&args, context),
        Command::Gc(args) => gc::gc(&args, context),
        Command::Stages(args) => stages::stages(&args, context),
        Command::New(args) => new::new(&args, context),
        Command::Completions(args) => completions::completions(&args, &Arguments::command(), context),
        Command::Worker(args) => worker::worker(&args, context),
    };
    match done {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            // Where even that cannot be told, the code still says it.
            drop(write!(context.err, "{}", escape_lines(&message)));
            code
        }
    }
}
