//! What stages took before, and so what they may take again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ablate_stage::cache::{ActionResult, Provenance};

use crate::graph::{Graph, Instance, InstanceId};
use crate::plan::{History, Plan};

/// What finished actions took, by stage of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    stages: BTreeMap<Arc<str>, Recorded>,
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
        let mut stages: BTreeMap<Arc<str>, Recorded> = BTreeMap::new();
        for id in graph.ids() {
            let Some(ActionResult { provenance, .. }) = plan.state(id).result() else { continue };
            let Instance { stage, params, .. } = graph.instance(id);
            match stages.get_mut(stage) {
                Some(recorded) => recorded.add(provenance, params.passes()),
                None => stages.entry(Arc::clone(stage)).or_default().add(provenance, params.passes()),
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
                self.stages.insert(Arc::clone(&instance.stage), recorded);
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

#[cfg(test)]
mod tests {
    use ablate_stage::cache::ActionDigest;
    use ablate_stage::{ArtifactKind, Job, Port, Registry, Request, Stage, StageError};
    use litemap::LiteMap;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::expand::expand;
    use crate::pipeline;
    use crate::plan::{Files, State};
    use crate::source::SourceMap;

    /// A training whose passes are what its file says they are.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Train {
        passes: f64,
    }

    impl Stage for Train {
        const KIND: &'static str = "Train";
        const REVISION: u32 = 1;
        const SEEDED: bool = false;

        fn inputs(&self) -> Vec<Port> {
            Vec::new()
        }

        fn outputs(&self) -> Vec<Port> {
            vec![Port::required("metrics", ArtifactKind::Metrics)]
        }

        fn request(&self) -> Request {
            Request::ONE_CPU
        }

        fn passes(&self) -> f64 {
            self.passes
        }

        fn run(&self, _: &mut Job<'_>) -> Result<(), StageError> {
            Ok(())
        }
    }

    /// Trainings of 2, 4, 12 and 0 passes, of which these have been done, in so many seconds.
    fn forecast(done: &[(usize, u64)]) -> (Graph, Forecast) {
        let mut sources = SourceMap::new();
        let text = r#"Pipeline(name: "p", stages: {"t": (stage: Train(passes: 2.0))}, axes: {"t.passes": [2.0, 4.0, 12.0, 0.0]})"#;
        let source = sources.add("p.ron", text);
        let registry = Registry::new().with::<Train>();
        let graph = pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &registry));
        let graph = graph.unwrap_or_else(|errors| panic!("{}", errors.render(&sources)));
        let mut states = vec![State::Pending(Vec::new()); graph.instances.len()];
        for &(index, seconds) in done {
            let provenance = Provenance { duration_ms: 1000 * seconds, ..Provenance::default() };
            let result = ActionResult { outputs: LiteMap::new(), metrics: LiteMap::new(), provenance };
            states[index] = State::Hit(ActionDigest::of_manifest(&index.to_string()), Box::new(result));
        }
        let forecast = Forecast::of_hits(&graph, &Plan { states, files: Files::default() });
        (graph, forecast)
    }

    #[test]
    fn what_has_more_passes_is_taken_to_last_longer() {
        let (graph, known) = forecast(&[(0, 20), (1, 40)]);
        let seconds = |id: &InstanceId| known.of(graph.instance(*id)).map(|time| time.as_secs_f64());
        let all: Vec<Option<f64>> = graph.ids().map(|id| seconds(&id)).collect();
        assert_eq!(all, [Some(20.0), Some(40.0), Some(120.0), Some(0.0)]);
        assert_eq!(known.sum(&graph, graph.ids()), (Duration::from_secs(180), 0));
    }

    #[test]
    fn where_the_done_had_no_passes_their_mean_is_all_there_is() {
        let (graph, known) = forecast(&[(3, 20)]);
        let all: Vec<Option<Duration>> = graph.ids().map(|id| known.of(graph.instance(id))).collect();
        assert_eq!(all, [Some(Duration::from_secs(20)); 4]);
        let (graph, nothing) = forecast(&[]);
        assert_eq!(nothing.sum(&graph, graph.ids()), (Duration::ZERO, 4));
    }
}
