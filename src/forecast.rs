//! What stages took before, and so what they may take again.

use std::collections::BTreeMap;
use std::time::Duration;

use ablate_stage::cache::{ActionResult, Provenance};

use crate::graph::{Graph, Instance, InstanceId};
use crate::plan::{History, Plan};

/// What finished actions took, by stage of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    stages: BTreeMap<String, Recorded>,
}

/// What finished actions took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Recorded {
    count: u64,
    total_ms: u64,
    /// What their stages guessed; 0 where that is not known.
    passes: f64,
    peak_mib: u64,
}

impl Recorded {
    fn add(&mut self, provenance: &Provenance, passes: f64) {
        self.count += 1;
        self.passes += passes;
        self.total_ms += provenance.duration_ms;
        self.peak_mib = self.peak_mib.max(provenance.peak_memory_mib);
    }
}

impl Forecast {
    /// From the hits of a plan.
    pub fn of_hits(graph: &Graph, plan: &Plan) -> Self {
        let mut stages: BTreeMap<String, Recorded> = BTreeMap::new();
        for id in graph.ids() {
            let Some(ActionResult { provenance, .. }) = plan.state(id).result() else { continue };
            let Instance { stage, params, .. } = graph.instance(id);
            match stages.get_mut(stage) {
                Some(recorded) => recorded.add(provenance, params.passes()),
                None => stages.entry(stage.clone()).or_default().add(provenance, params.passes()),
            }
        }
        Self { stages }
    }

    /// With what actions of the same kind took, for stages that have no hit.
    #[must_use]
    pub fn or_like(mut self, graph: &Graph, history: &History<'_>) -> Self {
        for instance in &graph.instances {
            if !self.stages.contains_key(&instance.stage) {
                let mut recorded = Recorded::default();
                history.of_kind(instance.params.kind()).for_each(|provenance| recorded.add(provenance, 0.0));
                self.stages.insert(instance.stage.clone(), recorded);
            }
        }
        self
    }

    /// The mean wall time of a stage, where it is known.
    pub fn duration(&self, stage: &str) -> Option<Duration> {
        let recorded = self.stages.get(stage).filter(|recorded| recorded.count > 0)?;
        Some(Duration::from_millis(recorded.total_ms / recorded.count))
    }

    /// What an instance may take, where something is known of its stage: of more or fewer [passes](ablate_stage::Stage::passes) than
    /// the others, so much more or less than their mean.
    pub fn of(&self, instance: &Instance) -> Option<Duration> {
        let mean = self.duration(&instance.stage)?;
        let Recorded { count, passes, .. } = self.stages[&instance.stage];
        let share = instance.params.passes() * count as f64 / passes;
        Some(if share.is_finite() {
            Duration::try_from_secs_f64(mean.as_secs_f64() * share).unwrap_or(mean)
        } else {
            mean
        })
    }

    /// The most memory a stage took up, MiB; 0 where it is not known.
    pub fn peak_mib(&self, stage: &str) -> u64 {
        self.stages.get(stage).map_or(0, |recorded| recorded.peak_mib)
    }

    /// The wall time of some instances one after the other, and how many of them nothing is known of.
    pub fn sum(&self, graph: &Graph, ids: impl Iterator<Item = InstanceId>) -> (Duration, usize) {
        let each = ids.map(|id| self.of(graph.instance(id)));
        each.fold((Duration::ZERO, 0), |(sum, unknown), duration| match duration {
            Some(duration) => (sum + duration, unknown),
            None => (sum, unknown + 1),
        })
    }
}
