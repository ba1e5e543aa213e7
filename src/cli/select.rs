//! Naming instances and runs on the command line.

use std::collections::BTreeSet;

use ablate_stage::cache::Store;
use clap::Args;
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::project::Project;
use super::{Failure, exit};
use crate::graph::{Graph, InstanceId, Trial};
use crate::journal;
use crate::pipeline::TableSpec;
use crate::rows::reporters;
use crate::runs::{self, Run};

/// The part of a pipeline that is meant.
#[derive(Args, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Only the instances with such a name, and what they need: `encoder`, `probe[*k=5*]`; `*` is any text, `?` any character
    #[arg(long, value_name = "GLOB", help_heading = "Pipeline")]
    only: Vec<String>,
    /// Only what this table needs
    #[arg(long, value_name = "NAME", help_heading = "Pipeline")]
    table: Vec<String>,
}

impl Part {
    /// As written on the command line.
    pub fn written(&self) -> impl Iterator<Item = String> {
        let only = self.only.iter().map(|glob| format!("--only {glob}"));
        only.chain(self.table.iter().map(|name| format!("--table {name}")))
    }

    /// The project with nothing but this part.
    pub fn of(&self, mut project: Project) -> Result<Project, Failure> {
        for name in &self.table {
            if !project.graph.tables.iter().any(|table| table.name == *name) {
                let known: Vec<&str> = project.graph.tables.iter().map(|table| table.name.as_str()).collect();
                let known = if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {}", known.join(", "))
                };
                return Err(Failure::new(
                    exit::USAGE,
                    format!("the pipeline has no table `{name}`; {known}"),
                ));
            }
        }
        if !self.table.is_empty() {
            project.graph.tables.retain(|table| self.table.contains(&table.name));
            let graph = &project.graph;
            let has_none = |table: &&TableSpec| !graph.trials.iter().any(|trial| table.is_of(&trial.point));
            if let Some(TableSpec { name, .. }) = graph.tables.iter().find(has_none) {
                return Err(Failure::new(exit::USAGE, format!("no trial of the table `{name}` is left")));
            }
            let is_of_any = |trial: &Trial| graph.tables.iter().any(|table| table.is_of(&trial.point));
            let of_any: Vec<bool> = graph.trials.iter().map(is_of_any).collect();
            if of_any.contains(&false) {
                project.graph = graph.part(&of_any, &BTreeSet::new()).graph.into_owned();
            }
            let graph = &project.graph;
            let wanted: BTreeSet<InstanceId> =
                graph.tables.iter().flat_map(|table| reporters(graph, table)).collect();
            project.graph = project.graph.only(|_, id| wanted.contains(&id));
        }
        if !self.only.is_empty() {
            let globs = Globs::of(&self.only);
            let meant = |graph: &Graph, id| globs.meant(&graph.instance_name(id), &graph.instance(id).stage);
            if !project.graph.ids().any(|id| meant(&project.graph, id)) {
                let globs = self.only.join("`, `");
                return Err(Failure::new(exit::USAGE, unknown(&project.graph, &globs, "")));
            }
            project.graph = project.graph.only(meant);
        }
        Ok(project)
    }
}

/// Names with `*` for any text and `?` for any character.
pub struct Globs(Vec<WildMatch>);

impl Globs {
    /// As written.
    pub fn of(texts: &[String]) -> Self {
        Self(texts.iter().map(|text| WildMatch::new(text)).collect())
    }

    /// Whether one of them is of an instance, by its name or its stage's.
    pub fn meant(&self, instance: &str, stage: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(instance) || glob.matches(stage))
    }
}

/// The instances a text names: all of a stage as `graph`, or those of some axis values and seed as `graph[k=5]`; the order of
/// the values does not matter, and axes that are left out may have any value.
pub fn instances(graph: &Graph, text: &str) -> Result<Vec<InstanceId>, Failure> {
    let (stage, wanted) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((stage, values)) => (stage, values.split(',').map(str::trim).collect()),
        None => (text, Vec::new()),
    };
    let matches = |id: &InstanceId| {
        let values = values(graph, *id);
        &*graph.instance(*id).stage == stage
            && wanted.iter().all(|value| values.iter().any(|known| known == value))
            || graph.instance_name(*id) == text
    };
    let found: Vec<InstanceId> = graph.ids().filter(matches).collect();
    if found.is_empty() { Err(Failure::new(exit::USAGE, unknown(graph, text, stage))) } else { Ok(found) }
}

/// An instance's axis values and seed as `axis=value`, axes by both their names.
fn values(graph: &Graph, id: InstanceId) -> Vec<String> {
    let instance = graph.instance(id);
    let axes = instance.point.iter().flat_map(|(axis, &value)| {
        let axis = &graph.axes[axis.0];
        [&axis.short, &axis.name].map(|name| format!("{name}={}", axis.labels[value]))
    });
    axes.chain(instance.seed.map(|seed| format!("seed={seed}"))).collect()
}

fn unknown(graph: &Graph, text: &str, stage: &str) -> String {
    let of_stage: Vec<String> = graph
        .ids()
        .filter(|id| &*graph.instance(*id).stage == stage)
        .map(|id| graph.instance_name(id))
        .collect();
    let (what, mut names) = if of_stage.is_empty() {
        let mut stages: Vec<String> =
            graph.instances.iter().map(|instance| instance.stage.to_string()).collect();
        stages.sort();
        stages.dedup();
        ("stages", stages)
    } else {
        ("instances of it", of_stage)
    };
    let more = names.len().saturating_sub(12);
    names.truncate(12);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let wanted = if graph.budget.is_some() { " that its budget of seeds wants now" } else { "" };
    format!("the pipeline has no `{text}`{wanted}; the {what}: {}{more}", names.join(", "))
}

/// The run a text names: its name, the beginning of one name only, or `@1` for the last run, `@2` for the one before.
pub fn run(store: &Store, text: &str) -> Result<Run, Failure> {
    let runs = all_runs(store)?;
    if runs.is_empty() {
        return Err(Failure::new(exit::FAILED, "there is no run in the store yet"));
    }
    runs::resolve(&runs, text).cloned().map_err(|error| Failure::new(exit::USAGE, error))
}

/// Whether the name of some run begins so.
#[cfg(feature = "tables")]
pub fn begins_a_run(store: &Store, text: &str) -> Result<bool, Failure> {
    Ok(all_runs(store)?.iter().any(|run| run.run.starts_with(text)))
}

/// The runs of a store, earliest first. What has no journal that tells of a beginning is none.
fn all_runs(store: &Store) -> Result<Vec<Run>, Failure> {
    let folder = store.runs();
    let names = journal::runs(&folder)
        .map_err(|error| Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display())))?;
    Ok(names.iter().filter_map(|name| runs::sum_up(&folder, name).ok().flatten()).collect())
}
