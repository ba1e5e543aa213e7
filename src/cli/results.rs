//! What the trials of a pipeline have given so far, and the tables that show it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use ablate_stage::cache::ActionDigest;
use polars::prelude::PolarsError;

use super::project::{Project, Source};
use super::{Context, Failure, exit};
use crate::budget;
use crate::graph::{Graph, InstanceId};
use crate::journal::{self, Event};
use crate::pipeline::TableSpec;
use crate::plan::Plan;
use crate::rows::Outcome;
use crate::runs::{self, Standing};
use crate::table::{self, Look, Published, Table, Trials};

/// The latest runs that are asked whether they go on.
const LATEST: usize = 100;

/// A pipeline with what its store and its journals say of it.
pub struct Results {
    /// The pipeline.
    pub project: Project,
    /// What is in the store.
    pub plan: Plan,
    failed: BTreeSet<InstanceId>,
    running: BTreeSet<InstanceId>,
    activity: BTreeMap<String, String>,
}

impl Results {
    /// Of a pipeline file.
    pub fn of_source(source: &Source, context: &Context<'_>) -> Result<Self, Failure> {
        Self::of(Project::open(source, context)?)
    }

    /// Looks into the store, and into the journals of the pipeline's runs. What can't be read of them is not known to have
    /// failed or to be running.
    pub fn of(project: Project) -> Result<Self, Failure> {
        let plan = project.plan()?;
        let missing = |id: &InstanceId| plan.state(*id).result().is_none();
        let (mut failed, mut running) = (BTreeSet::new(), BTreeSet::new());
        let mut activity = BTreeMap::new();
        // Where nothing is missing, nothing can be told.
        if !plan.is_complete() {
            let Told { failed: failed_with, skipped, running: running_names } = tell(&project);
            let failed_names: BTreeSet<String> = project
                .graph
                .ids()
                .filter(missing)
                .map(|id| (project.graph.instance_name(id), plan.state(id).action()))
                .filter(|(name, action)| {
                    // What failed under another key is not what is missing now.
                    failed_with
                        .get(name)
                        .is_some_and(|then| then.is_none() || action.is_none() || then == action)
                })
                .map(|(name, _)| name)
                .collect();
            for id in project.graph.ids().filter(missing) {
                let name = project.graph.instance_name(id);
                if running_names.contains_key(&name) {
                    running.insert(id);
                } else if failed_names.contains(skipped.get(&name).unwrap_or(&name)) {
                    failed.insert(id);
                }
            }
            let underway: Vec<InstanceId> = running.iter().copied().collect();
            running.extend(project.graph.descendants(&underway).into_iter().filter(missing));
            activity = running_names;
        }
        Ok(Self { project, plan, failed, running, activity }.wanted())
    }

    /// With nothing but the trials that are wanted.
    fn wanted(self) -> Self {
        if self.project.graph.budget.is_none() {
            return self;
        }
        let wanted = budget::wanted(&self.project.graph, |id| self.outcome(id));
        let part = self.project.graph.part(&wanted.trials, &BTreeSet::new());
        let among =
            |ids: &BTreeSet<InstanceId>| part.graph.ids().filter(|id| ids.contains(&part.of[id.0])).collect();
        let (failed, running, plan) = (among(&self.failed), among(&self.running), self.plan.of_part(&part));
        let project = Project { graph: part.graph.into_owned(), ..self.project };
        Self { project, plan, failed, running, activity: self.activity }
    }

    /// What runs are at: a line for each instance with how far it is.
    pub fn activity(&self) -> impl Iterator<Item = String> {
        self.activity
            .iter()
            .map(|(instance, progress)| format!("{instance} {progress}").trim_end().to_owned())
    }

    /// What became of an instance.
    pub fn outcome(&self, id: InstanceId) -> Outcome<'_> {
        match self.plan.state(id).result() {
            Some(result) => Outcome::Done(result),
            None if self.running.contains(&id) => Outcome::Running,
            None if self.failed.contains(&id) => Outcome::Failed,
            None => Outcome::Missing,
        }
    }
}

/// What journals tell, by the names of instances.
struct Told {
    /// What failed in the last run, with its action where the key was known.
    failed: BTreeMap<String, Option<ActionDigest>>,
    /// What was skipped in it, with what had failed.
    skipped: BTreeMap<String, String>,
    /// What a run is at, and how far.
    running: BTreeMap<String, String>,
}

fn tell(project: &Project) -> Told {
    let folder = project.store.runs();
    let entries = |run: &str| journal::read(&folder, run).unwrap_or_default();
    let last = journal::last_run(&folder, Some(&project.graph.name)).ok().flatten();
    let (mut failed, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for entry in last.map(|run| entries(&run)).unwrap_or_default() {
        match entry.event {
            Event::Failed { instance, action, .. } => drop(failed.insert(instance, action)),
            Event::Skipped { instance, because } => drop(skipped.insert(instance, because)),
            _ => {}
        }
    }
    let goes_on = |run: &String| {
        let run = runs::sum_up(&folder, run).ok().flatten();
        run.is_some_and(|run| run.standing == Standing::Running && run.pipeline == project.graph.name)
    };
    let mut running = BTreeMap::new();
    let names = journal::runs(&folder).unwrap_or_default();
    for run in names.iter().rev().take(LATEST).filter(|run| goes_on(run)) {
        for entry in entries(run) {
            match entry.event {
                Event::Started { instance, .. } | Event::Waiting { instance } => {
                    running.insert(instance, String::new());
                }
                Event::Progress { instance, done, total, unit, note } => {
                    running.insert(instance, format!("{done}/{total} {unit} {note}"));
                }
                Event::Finished { instance, .. }
                | Event::Cached { instance, .. }
                | Event::Failed { instance, .. }
                | Event::Stopped { instance } => {
                    running.remove(&instance);
                }
                _ => {}
            }
        }
    }
    Told { failed, skipped, running }
}

/// How tables are drawn on standard output.
pub fn look(context: &Context<'_>) -> Look {
    Look { width: context.width, styled: context.width.is_some() }
}

/// Every table a pipeline declares, with the [published values](all_published) of each.
pub fn tables<'a>(
    project: &Project,
    published: &[Vec<Published>],
    outcome: impl Fn(InstanceId) -> Outcome<'a>,
) -> Result<Vec<Table>, Failure> {
    tables_of(&project.graph, published, outcome)
}

/// The same, of a graph or of a part of it.
pub fn tables_of<'a>(
    graph: &Graph,
    published: &[Vec<Published>],
    outcome: impl Fn(InstanceId) -> Outcome<'a>,
) -> Result<Vec<Table>, Failure> {
    let table = |(spec, published): (&TableSpec, &Vec<Published>)| {
        let trials = Trials::of(graph, spec, &outcome).map_err(bug)?;
        let mut table = table::build(&trials, spec, published).map_err(bug)?;
        if graph.budget.is_some() {
            table.mark_seeds(spec);
            table.tell_seeds(graph, spec, None, &outcome);
        }
        Ok(table)
    };
    graph.tables.iter().zip(published).map(table).collect()
}

/// The published values of every table a pipeline declares.
pub fn all_published(project: &Project) -> Result<Vec<Vec<Published>>, Failure> {
    project.graph.tables.iter().map(|spec| published(project, spec)).collect()
}

/// The values others have published for a table: those in `TABLE.published.csv` beside the pipeline, where that is.
pub fn published(project: &Project, spec: &TableSpec) -> Result<Vec<Published>, Failure> {
    let name = format!("{}.published.csv", spec.name);
    let is_name = Path::new(&name).components().eq([Component::Normal(name.as_ref())]);
    let path = project.file.with_file_name(&name);
    if !is_name || !path.exists() {
        return Ok(Vec::new());
    }
    let wrong = |error: String| Failure::new(exit::PIPELINE, format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    Published::read(&text, spec, &project.graph.axes).map_err(wrong)
}

/// What only a bug can bring about.
pub fn bug(error: PolarsError) -> Failure {
    Failure::new(exit::BUG, error)
}
