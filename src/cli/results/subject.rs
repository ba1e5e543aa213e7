//! What results are asked of: a pipeline as it is, or as it was in a run.

use std::path::{Path, PathBuf};

use ablate_stage::cache::Store;
use clap::Args;

use crate::cli::kept::{Kept, Past};
use crate::cli::project::{Changes, Expanded, Project, Source, store_here};
use crate::cli::{Context, Failure, exit, select};
use crate::plan::{Plan, PlanError, left_by};
use crate::runs;

/// A pipeline, by its file or by a run of it.
#[derive(Args)]
pub struct Named {
    /// The pipeline file; or a run, whose pipeline and results are those of then: its name, the beginning of it, or `@1` for the last run
    #[arg(value_name = "FILE|RUN")]
    named: PathBuf,
    #[command(flatten)]
    changes: Changes,
}

impl Named {
    /// What is meant.
    pub fn subject(&self, context: &Context<'_>) -> Result<Subject, Failure> {
        Subject::of(&self.named, &self.changes, context)
    }
}

/// What results are asked of.
pub enum Subject {
    /// A pipeline file, with what is changed in it for once.
    File(Source),
    /// A run, and the store it is in.
    Run(Box<Past>, Store),
}

impl Subject {
    /// The file of that name, or else the run, where that is what the text means.
    pub fn of(named: &Path, changes: &Changes, context: &Context<'_>) -> Result<Self, Failure> {
        let file = || Self::File(Source { file: named.to_owned(), changes: changes.clone() });
        let may_be_run = |text: &&str| text.starts_with(|c: char| c == '@' || c.is_ascii_digit());
        let Some(text) = named.to_str().filter(may_be_run).filter(|_| !named.is_file()) else {
            return Ok(file());
        };
        let store = store_here(context)?;
        if !text.starts_with('@') && !select::begins_a_run(&store, text)? {
            return Ok(file());
        }
        if *changes != Changes::default() {
            let problem = "a run is shown as it was: `--set`, `--axis` and `--seeds` go with a file";
            return Err(Failure::new(exit::USAGE, problem));
        }
        let run = select::run(&store, text)?;
        let kept = Kept::by(&store, &run)?;
        Ok(Self::Run(Box::new(Past { run, kept }), store))
    }

    /// Reads and expands the pipeline.
    pub fn read(&self, context: &Context<'_>) -> Result<Expanded, Failure> {
        match self {
            Self::File(source) => source.read(context),
            Self::Run(past, _) => past.read(context),
        }
    }

    /// The file, or the run's name.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::File(source) => source.file.clone(),
            Self::Run(past, _) => PathBuf::from(&past.run.run),
        }
    }

    /// The same for two that are the same: the file without links, or the run's name.
    pub fn identity(&self) -> PathBuf {
        let name = self.name();
        name.canonicalize().unwrap_or(name)
    }

    /// What the command line changes, or did when the run began.
    pub fn changes(&self) -> Vec<String> {
        match self {
            Self::File(source) => source.changes.written(),
            Self::Run(past, _) => past.kept.changed(),
        }
    }

    /// The pipeline with what is there of it, and the declared files that cannot be read.
    pub fn plan(&self, context: &Context<'_>) -> Result<(Project, Plan, Vec<PlanError>), Failure> {
        match self {
            Self::File(source) => {
                let project = Project::open(source, context)?;
                let (plan, unreadable) = project.plan_of_readable();
                Ok((project, plan, unreadable))
            }
            Self::Run(past, store) => {
                let name = &past.run.run;
                let unreadable = |error| {
                    Failure::new(exit::STORE, format!("cannot read the journal of run {name}: {error}"))
                };
                // It may go on, and end at any time.
                let run = runs::sum_up(&store.runs(), name).map_err(unreadable)?;
                let run = run.unwrap_or_else(|| past.run.clone());
                let members = runs::members(store, name).map_err(unreadable)?;
                let past = Past { run, kept: past.kept.clone() };
                let project = Project::of_run(past, store, context)?;
                let plan = left_by(&project.graph, store, &members);
                Ok((project, plan, Vec::new()))
            }
        }
    }
}
