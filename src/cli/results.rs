//! What the trials of a pipeline have given so far, and the tables that show it.

mod subject;

use std::collections::{BTreeMap, BTreeSet};

use ablate_stage::Progress;
use polars::prelude::PolarsError;

use super::project::Project;
use super::{Context, Failure, exit};
use crate::budget;
use crate::graph::{Axis, Graph, InstanceId};
use crate::pipeline::TableSpec;
use crate::plan::{Plan, PlanError, State};
use crate::rows::Outcome;
use crate::runs::Attempt;
use crate::table::{self, Look, Published, Table, Trials};
pub use subject::{Named, Subject};

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
    /// What goes on, by instance: how far it has told to be, the latest last.
    pub activity: BTreeMap<String, Vec<Progress>>,
}

impl Results {
    /// Looks into the store, and into the journals of the pipeline's runs; of a run, into its own alone. What can't be read of
    /// them is not known to have failed or to be running.
    pub fn of(subject: &Subject, context: &Context<'_>) -> Result<Self, Failure> {
        let (project, plan, unreadable) = subject.plan(context)?;
        let missing = |id: &InstanceId| plan.state(*id).result().is_none();
        let (mut failed, mut running) = (BTreeSet::new(), BTreeSet::new());
        let mut activity = BTreeMap::new();
        // Where nothing is missing, nothing can be told.
        if !plan.is_complete() {
            let ids = project.graph.ids().filter(missing);
            let names: Vec<(InstanceId, String)> =
                ids.map(|id| (id, project.graph.instance_name(id))).collect();
            let of = names.iter().map(|(_, name)| name.as_str());
            let attempts = project.attempts(of);
            for (id, name) in names {
                match attempts.last(&name, plan.state(id).action()) {
                    Some(Attempt::Running(told)) => {
                        running.insert(id);
                        activity.insert(name, told.clone());
                    }
                    Some(Attempt::Failed { .. }) => drop(failed.insert(id)),
                    Some(Attempt::Over) | None => {}
                }
            }
            // What needs these is no further than they are.
            for known in [&mut running, &mut failed] {
                let first: Vec<InstanceId> = known.iter().copied().collect();
                known.extend(project.graph.descendants(&first).into_iter().filter(missing));
            }
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

    /// What became of an instance.
    pub fn outcome(&self, id: InstanceId) -> Outcome<'_> {
        match self.plan.state(id) {
            State::Hit(action, result) => Outcome::Done(*action, result),
            _ if self.running.contains(&id) => Outcome::Running,
            _ if self.failed.contains(&id) => Outcome::Failed,
            _ => Outcome::Missing,
        }
    }
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

/// The values others have published for a table: those in `TABLE.published.csv` beside the pipeline, where that is. What is of a
/// value that the command line leaves out of its axis, or the table of its trials, is left out with it.
pub fn published(project: &Project, spec: &TableSpec) -> Result<Vec<Published>, Failure> {
    let Some((text, place)) = project.published(&spec.name)? else { return Ok(Vec::new()) };
    let mut published = Published::read(&text, spec, &project.graph.axes)
        .map_err(|error| Failure::new(exit::PIPELINE, format!("{place}: {error}")))?;
    let left_out: Vec<(&str, &str)> = project.graph.axes.iter().flat_map(Axis::values_left_out).collect();
    published.retain(|entry| !left_out.iter().any(|&(axis, label)| entry.is_of(axis, label)));
    for condition in &spec.trials {
        let axis = &project.graph.axes[condition.axis];
        let values = axis.labels.iter().enumerate();
        let out = values.filter(|(value, _)| !condition.values.contains(&Some(*value)));
        let out: Vec<&String> = out.map(|(_, label)| label).collect();
        published.retain(|entry| !out.iter().any(|label| entry.is_of(&axis.name, label)));
    }
    Ok(published)
}

/// What only a bug can bring about.
pub fn bug(error: PolarsError) -> Failure {
    Failure::new(exit::BUG, error)
}
