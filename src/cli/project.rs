//! A pipeline file, what it expands to, and where its store is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use ablate_stage::cache::{Rehash, Store};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::kept::Past;
use super::{Context, Failure, exit};
use crate::budget::wanted;
use crate::diagnostic::Diagnostics;
use crate::expand::expand;
use crate::graph::{self, Graph, InstanceId};
use crate::journal;
use crate::pipeline::{self, Overrides, Pipeline};
use crate::plan::{Files, Plan, PlanError, State, plan, producers};
use crate::rows::Outcome;
use crate::runs::{Attempts, runs_of};
use crate::source::SourceMap;

/// What is changed in a pipeline for once.
#[derive(Args, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Set a field, an input or a whole stage: `encoder.epochs=2`, `probe.from.embeddings=raw`
    #[arg(long, value_name = "PATH=VALUE", help_heading = "Pipeline")]
    set: Vec<String>,
    /// Keep only these values of an axis, by their labels, or give it new ones, or add it: `graph.k=5,10`
    #[arg(long, value_name = "AXIS=VALUES", help_heading = "Pipeline")]
    axis: Vec<String>,
    /// The seeds: `0..5`, or `0,3,7`
    #[arg(long, help_heading = "Pipeline")]
    seeds: Option<String>,
}

impl Changes {
    /// As written on the command line.
    pub fn written(&self) -> Vec<String> {
        let set = self.set.iter().map(|text| format!("--set {text}"));
        let axis = self.axis.iter().map(|text| format!("--axis {text}"));
        set.chain(axis).chain(self.seeds.iter().map(|text| format!("--seeds {text}"))).collect()
    }

    /// As a pipeline is read with.
    pub fn overrides(&self) -> Overrides {
        let Self { set, axis, seeds } = self.clone();
        Overrides { set, axis, seeds }
    }
}

/// How declared files are read.
#[derive(Args, Default)]
pub struct Reading {
    /// Hash every declared file, also those that look as they did when they were last hashed
    #[arg(long, help_heading = "Pipeline")]
    pub rehash: bool,
}

/// A pipeline file, and what is changed in it for once.
#[derive(Args)]
pub struct Source {
    /// The pipeline file
    pub file: PathBuf,
    #[command(flatten)]
    pub changes: Changes,
}

impl Source {
    /// Reads and expands the pipeline, without a store.
    pub fn read(&self, context: &Context<'_>) -> Result<Expanded, Failure> {
        let mut sources = SourceMap::new();
        let read = pipeline::load(&self.file, &self.changes.overrides(), &mut sources);
        expanded(read, sources, context)
    }

    /// The folder that declared files are relative to, absolute.
    pub fn root(&self) -> Result<PathBuf, Failure> {
        Ok(root(self.absolute()?.parent().expect("a file is in a folder")))
    }

    fn absolute(&self) -> Result<PathBuf, Failure> {
        self.file.canonicalize().map_err(|error| {
            Failure::new(exit::PIPELINE, format!("cannot find {}: {error}", self.file.display()))
        })
    }
}

/// A pipeline as written, what it expands to, and its texts.
pub type Expanded = (Pipeline, Graph, SourceMap);

/// Expands what was read.
pub fn expanded(
    read: Result<Pipeline, Diagnostics>,
    sources: SourceMap,
    context: &Context<'_>,
) -> Result<Expanded, Failure> {
    match read.and_then(|pipeline| Ok((expand(&pipeline, context.registry)?, pipeline))) {
        Ok((graph, pipeline)) => Ok((pipeline, graph, sources)),
        Err(wrong) => Err(Failure::told(exit::PIPELINE, wrong.render(&sources))),
    }
}

/// A pipeline, checked and expanded, with its store.
pub struct Project {
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The folder that declared files are relative to, absolute.
    pub root: PathBuf,
    /// The texts of the pipeline.
    pub sources: SourceMap,
    /// The pipeline's instances.
    pub graph: Graph,
    /// Where their results are.
    pub store: Store,
    /// The run that has kept the pipeline, where it is not as its files are now.
    pub past: Option<Past>,
}

impl Project {
    /// Reads a pipeline file, and opens its store to look at; none is made where there is none.
    pub fn open(source: &Source, context: &Context<'_>) -> Result<Self, Failure> {
        let (_, graph, sources) = source.read(context)?;
        let file = source.absolute()?;
        let root = source.root()?;
        if root.to_str().is_none() {
            let problem = format!(
                "the project's folder {} has a name that is not UTF-8, which neither records nor programs can be told; rename it",
                root.display()
            );
            return Err(Failure::new(exit::USAGE, problem));
        }
        let store = Store::look(&store_path(&root, context))?;
        Ok(Self { file, root, sources, graph, store, past: None })
    }

    /// The part of a pipeline that a run was of, as it was then.
    #[cfg(feature = "tables")]
    pub fn of_run(past: Past, store: &Store, context: &Context<'_>) -> Result<Self, Failure> {
        let (_, graph, sources) = past.read(context)?;
        let file = PathBuf::from(&past.run.file);
        let root = root(file.parent().unwrap_or(&file));
        let store = store.clone();
        let part = past.kept.part.clone();
        part.of(Self { file, root, sources, graph, store, past: Some(past) })
    }

    /// The text of the file `TABLE.published.csv` beside the pipeline, where there is one, with how errors call it; of a run, as that
    /// has kept it.
    pub fn published(&self, table: &str) -> Result<Option<(String, String)>, Failure> {
        let name = format!("{table}.published.csv");
        if let Some(Past { kept, run }) = &self.past {
            let text = kept.published.get(table).cloned();
            return Ok(text.map(|text| (text, format!("{name} as run {} has kept it", run.run))));
        }
        let path = self.file.with_file_name(&name);
        let is_beside = path.parent() == self.file.parent();
        if !is_beside || !path.exists() {
            return Ok(None);
        }
        let place = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((text, place))),
            Err(error) => Err(Failure::new(exit::PIPELINE, format!("{place}: {error}"))),
        }
    }

    /// What was tried of the instances with these names: in its runs, or where it is of one, in that.
    pub fn attempts<'n>(&self, names: impl Iterator<Item = &'n str>) -> Attempts {
        let folder = self.store.runs();
        match &self.past {
            Some(past) => Attempts::of([past.run.clone()].into_iter(), &folder, names),
            None => Attempts::of(runs_of(&self.graph.name, &folder), &folder, names),
        }
    }

    /// What its declared files hold, all of which can be read.
    pub fn files(&self, reading: &Reading) -> Result<Files, Failure> {
        let (files, unreadable) = self.readable_files(reading);
        if unreadable.is_empty() {
            return Ok(files);
        }
        let errors: Vec<String> = unreadable.iter().map(PlanError::to_string).collect();
        Err(Failure::new(exit::PIPELINE, errors.join("\n")))
    }

    fn readable_files(&self, reading: &Reading) -> (Files, Vec<PlanError>) {
        let rehash = if reading.rehash { Rehash::All } else { Rehash::Changed };
        Files::read(&self.graph, &self.store, &self.root, rehash, journal::now())
    }

    /// What is there and what is missing of all there may come to be.
    pub fn plan(&self, reading: &Reading) -> Result<Plan, Failure> {
        Ok(plan(&self.graph, &self.store, self.files(reading)?))
    }

    /// The same, where files that cannot be read are no reason to tell nothing of the rest; with what is wrong with them.
    pub fn plan_of_readable(&self) -> (Plan, Vec<PlanError>) {
        let (files, unreadable) = self.readable_files(&Reading::default());
        (plan(&self.graph, &self.store, files), unreadable)
    }

    /// With nothing but the trials that are wanted now, and what is there and what is missing of these.
    pub fn wanted(self, reading: &Reading) -> Result<(Self, Plan), Failure> {
        let plan = self.plan(reading)?;
        self.wanted_by(plan)
    }

    /// The same, where files that cannot be read are no reason to tell nothing of the rest: they are warned of.
    pub fn wanted_of_readable(self, context: &mut Context<'_>) -> Result<(Self, Plan), Failure> {
        let (plan, unreadable) = self.plan_of_readable();
        context.warn(&unreadable)?;
        self.wanted_by(plan)
    }

    fn wanted_by(mut self, plan: Plan) -> Result<(Self, Plan), Failure> {
        if self.graph.budget.is_none() {
            return Ok((self, plan));
        }
        let wanted = wanted(&self.graph, |id| match plan.state(id) {
            State::Hit(action, result) => Outcome::Done(*action, result),
            State::Miss(_) | State::Pending(_) | State::NoFile(_) => Outcome::Missing,
        });
        let part = self.graph.part(&wanted.trials, &BTreeSet::new());
        self.check_wanted(&part)?;
        let plan = plan.of_part(&part);
        self.graph = part.graph.into_owned();
        Ok((self, plan))
    }

    /// That some of what is meant, which nothing else needs, is of seeds that a budget wants.
    pub fn check_wanted(&self, part: &graph::Part<'_>) -> Result<(), Failure> {
        let needed: BTreeSet<InstanceId> =
            self.graph.ids().flat_map(|id| producers(&self.graph, id).collect::<Vec<_>>()).collect();
        let mut last = self.graph.ids().filter(|id| !needed.contains(id)).peekable();
        let Some(&first) = last.peek() else { return Ok(()) };
        let wanted: BTreeSet<InstanceId> = part.of.iter().copied().collect();
        if last.any(|id| wanted.contains(&id)) {
            return Ok(());
        }
        let problem = format!(
            "whether `{}` and all else that is meant is wanted, the budget tells by the seeds before; leave out `--only` or `--table`, or set `--seeds`",
            self.graph.instance_name(first)
        );
        Err(Failure::new(exit::USAGE, problem))
    }
}

/// The project a folder belongs to: the nearest folder from there upwards that holds `.ablate`, `.git` or `Cargo.toml`, or
/// that folder itself where none does.
pub fn root(folder: &Path) -> PathBuf {
    let holds =
        |folder: &&Path| [".ablate", ".git", "Cargo.toml"].iter().any(|name| folder.join(name).exists());
    folder.ancestors().find(holds).unwrap_or(folder).to_owned()
}

/// The store: as `--store` says, else as `ABLATE_STORE` says, else `.ablate` in the project's root.
fn store_path(root: &Path, context: &Context<'_>) -> PathBuf {
    context.store.clone().unwrap_or_else(|| root.join(".ablate"))
}

/// Where the store of the project is that the working folder is in, or the one that was named.
pub fn store_path_here(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let here = Path::new(".").canonicalize().map_err(|error| Failure::new(exit::USAGE, error))?;
    Ok(store_path(&root(&here), context))
}

/// That store, to look at.
pub fn store_here(context: &Context<'_>) -> Result<Store, Failure> {
    Ok(Store::look(&store_path_here(context)?)?)
}

/// The commit a project's folder is at now, as git describes it; nothing where there is no git, or no repository.
pub fn commit(root: &Path) -> Option<String> {
    let arguments = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
