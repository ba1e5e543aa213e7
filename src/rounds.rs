//! What of a graph is run, round by round.
//!
//! A graph whose seeds are a budget is run in rounds: what is [wanted](crate::budget) by the results there are, then what
//! is wanted by those this gave, until nothing more is. Each round is planned from the store, so a run that was killed
//! goes on where it was. What failed is left alone until the next run. Any other graph has one round.

use std::collections::BTreeSet;

use ablate_stage::cache::Store;

use crate::budget::{Wanted, wanted};
use crate::execute::{End, Summary};
use crate::graph::{Graph, InstanceId, Part};
use crate::journal::Counts;
use crate::plan::{Files, Plan, State, plan};
use crate::rows::Outcome;

/// The rounds of a run.
pub struct Rounds<'a> {
    graph: &'a Graph,
    store: &'a Store,
    files: Files,
    /// By instance; `None` of what no round had.
    ends: Vec<Option<End>>,
    /// What this run failed to make, and what needs that.
    failed: BTreeSet<InstanceId>,
    wanted: Wanted,
    counts: Counts,
}

/// What is to be run together.
pub struct Round<'a> {
    /// The trials that are wanted so far.
    pub part: Part<'a>,
    /// The plan for these.
    pub plan: Plan,
    /// The instances of the part that no round before had.
    pub new: Vec<InstanceId>,
    /// How many trials no round before had.
    pub trials: usize,
}

impl Round<'_> {
    /// How many of its new instances have their result.
    pub fn hits(&self) -> usize {
        self.new.iter().filter(|id| self.plan.state(**id).result().is_some()).count()
    }
}

impl<'a> Rounds<'a> {
    /// Of a graph, whose declared files hold this.
    pub fn new(graph: &'a Graph, store: &'a Store, files: Files) -> Self {
        Self {
            graph,
            store,
            files,
            ends: vec![None; graph.instances.len()],
            failed: BTreeSet::new(),
            wanted: Wanted { trials: vec![false; graph.trials.len()] },
            counts: Counts::default(),
        }
    }

    /// The first round; its plan may be complete.
    pub fn first(&mut self) -> Round<'a> {
        let plan = plan(self.graph, self.store, self.files.clone());
        let wanted = self.wanted_by(&plan);
        self.round(wanted, plan)
    }

    /// Another round, where what was run so far wants more.
    pub fn further(&mut self) -> Option<Round<'a>> {
        self.graph.budget.as_ref()?;
        let plan = plan(self.graph, self.store, self.files.clone());
        let wanted = self.wanted_by(&plan);
        (wanted.count() > self.wanted.count()).then(|| self.round(wanted, plan))
    }

    fn wanted_by(&self, plan: &Plan) -> Wanted {
        wanted(self.graph, |id| match plan.state(id) {
            State::Hit(action, result) => Outcome::Done(*action, result),
            State::Miss(_) | State::Pending(_) | State::NoFile(_) if self.failed.contains(&id) => {
                Outcome::Failed
            }
            State::Miss(_) | State::Pending(_) | State::NoFile(_) => Outcome::Missing,
        })
    }

    fn round(&mut self, wanted: Wanted, plan: Plan) -> Round<'a> {
        let (part, plan) = match self.graph.budget {
            None => (self.graph.whole(), plan),
            Some(_) => {
                let part = self.graph.part(&wanted.trials, &self.failed);
                let plan = plan.of_part(&part);
                (part, plan)
            }
        };
        let is_new = |id: &InstanceId| self.ends[part.of[id.0].0].is_none();
        let new = part.graph.ids().filter(is_new).collect();
        let trials = wanted.count() - self.wanted.count();
        self.wanted = wanted;
        Round { part, plan, new, trials }
    }

    /// Takes in what became of a round.
    pub fn take(&mut self, part: &Part<'_>, summary: Summary) {
        let Counts { ran, cached, failed, skipped, unfinished } = summary.counts;
        // What a round before had, this one has found in the store.
        let known = part.of.iter().filter(|id| self.ends[id.0].is_some()).count();
        self.counts = Counts {
            ran: self.counts.ran + ran,
            cached: self.counts.cached + cached.saturating_sub(known),
            failed: self.counts.failed + failed,
            skipped: self.counts.skipped + skipped,
            unfinished: self.counts.unfinished + unfinished,
        };
        for (id, end) in part.of.iter().zip(summary.ends) {
            if end == End::Failed {
                self.failed.insert(*id);
            }
            self.ends[id.0] = Some(end);
        }
        let failed: Vec<InstanceId> = self.failed.iter().copied().collect();
        self.failed.extend(self.graph.descendants(&failed));
    }

    /// How many instances came to what end so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The trials that are wanted by what was run, also where it was stopped before it began all of them, and what became of
    /// their instances.
    pub fn finish(mut self) -> (Part<'a>, Vec<End>) {
        let part = match self.graph.budget {
            None => self.graph.whole(),
            Some(_) => {
                let wanted = wanted(self.graph, |id| match &self.ends[id.0] {
                    Some(end) => end.outcome(),
                    None if self.failed.contains(&id) => Outcome::Failed,
                    None => Outcome::Missing,
                });
                self.graph.part(&wanted.trials, &BTreeSet::new())
            }
        };
        let end = |id: &InstanceId| match self.ends[id.0].take() {
            Some(end) => end,
            None if self.failed.contains(id) => End::Failed,
            None => End::Unfinished,
        };
        let ends = part.of.iter().map(end).collect();
        (part, ends)
    }
}
