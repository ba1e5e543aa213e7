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
use crate::plan::{Plan, PlanError};
use crate::rows::Outcome;
use crate::runs::{self, Standing};
use crate::table::{self, Look, Published, Table, Trials};

/// The latest runs that are asked whether they go on.
const LATEST: usize = 100;
/// The latest runs of a pipeline that are asked what failed.
const RECALLED: usize = 8;

/// A pipeline with what its store and its journals say of it.
pub struct Results {
    /// The pipeline.
    pub project: Project,
    /// What is in the store.
    pub plan: Plan,
    /// Declared files that cannot be read; what comes of them is missing.
    pub unreadable: Vec<PlanError>,
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
        let (plan, unreadable) = project.plan_of_readable();
        let missing = |id: &InstanceId| plan.state(*id).result().is_none();
        let (mut failed, mut running) = (BTreeSet::new(), BTreeSet::new());
        let mut activity = BTreeMap::new();
        // Where nothing is missing, nothing can be told.
        if !plan.is_complete() {
            let Told { last, running: underway } = tell(&project);
            // What was done under another key is not what is missing now.
            let is_it = |id: InstanceId, then: Option<ActionDigest>| {
                let now = plan.state(id).action();
                then.is_none() || now.is_none() || then == now
            };
            let failed_with = |name: &str| match last.get(name) {
                Some(Last::Failed(action)) => Some(*action),
                Some(Last::Skipped(_) | Last::Other) | None => None,
            };
            let ids = project.graph.ids().filter(missing);
            let names: BTreeMap<String, InstanceId> =
                ids.map(|id| (project.graph.instance_name(id), id)).collect();
            for (name, &id) in &names {
                if let Some((_, how_far)) = underway.get(name).filter(|(action, _)| is_it(id, *action)) {
                    running.insert(id);
                    activity.insert(name.clone(), how_far.clone());
                    continue;
                }
                // What was skipped has failed with what it was skipped for.
                let origin = match last.get(name) {
                    Some(Last::Skipped(because)) => because,
                    Some(Last::Failed(_) | Last::Other) | None => name,
                };
                let has_failed = |&origin_id: &InstanceId| {
                    failed_with(origin).is_some_and(|action| is_it(origin_id, action))
                };
                if names.get(origin).is_some_and(has_failed) {
                    failed.insert(id);
                }
            }
            let underway: Vec<InstanceId> = running.iter().copied().collect();
            running.extend(project.graph.descendants(&underway).into_iter().filter(missing));
        }
        Ok(Self { project, plan, unreadable, failed, running, activity }.wanted())
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
        Self { project, plan, failed, running, ..self }
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
    /// What became of an instance in the last run that came to it.
    last: BTreeMap<String, Last>,
    /// What a run is at, with the action where it is known, and how far.
    running: BTreeMap<String, (Option<ActionDigest>, String)>,
}

/// How a run left an instance.
enum Last {
    /// It failed, with its action where the key was known.
    Failed(Option<ActionDigest>),
    /// It was skipped, as this had failed.
    Skipped(String),
    /// It was done, or stopped.
    Other,
}

fn tell(project: &Project) -> Told {
    let folder = project.store.runs();
    let mut told = Told { last: BTreeMap::new(), running: BTreeMap::new() };
    let names = journal::runs(&folder).unwrap_or_default();
    let latest = names.iter().rev().take(LATEST);
    let ours = latest
        .filter_map(|run| runs::sum_up(&folder, run).ok().flatten())
        .filter(|run| run.pipeline == project.graph.name);
    for (age, run) in ours.enumerate() {
        let goes_on = run.standing == Standing::Running;
        if age >= RECALLED && !goes_on {
            continue;
        }
        let (mut last, mut running) = (BTreeMap::new(), BTreeMap::new());
        for entry in journal::read(&folder, &run.run).unwrap_or_default() {
            match entry.event {
                Event::Started { instance, action } => {
                    last.insert(instance.clone(), Last::Other);
                    running.insert(instance, (Some(action), String::new()));
                }
                Event::Waiting { instance } => drop(running.insert(instance, (None, String::new()))),
                Event::Progress { instance, done, total, unit, note } => {
                    running.entry(instance).or_default().1 = format!("{done}/{total} {unit} {note}");
                }
                Event::Failed { instance, action, .. } => {
                    running.remove(&instance);
                    last.insert(instance, Last::Failed(action));
                }
                Event::Skipped { instance, because } => drop(last.insert(instance, Last::Skipped(because))),
                Event::Finished { instance, .. }
                | Event::Cached { instance, .. }
                | Event::Stopped { instance } => {
                    running.remove(&instance);
                    last.insert(instance, Last::Other);
                }
                _ => {}
            }
        }
        // Later runs have told already.
        for (instance, how) in last {
            told.last.entry(instance).or_insert(how);
        }
        for (instance, how_far) in running.into_iter().filter(|_| goes_on) {
            told.running.entry(instance).or_insert(how_far);
        }
    }
    told
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
        let trials = Trials::of(graph, spec, &[], &outcome).map_err(bug)?;
        let mut table = table::build(&trials, spec, published).map_err(bug)?;
        if graph.budget.is_some() {
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
    let axes = (!project.is_narrowed).then_some(&*project.graph.axes);
    Published::read(&text, spec, axes).map_err(wrong)
}

/// What only a bug can bring about.
pub fn bug(error: PolarsError) -> Failure {
    Failure::new(exit::BUG, error)
}
