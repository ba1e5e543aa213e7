//! What a result comes from, as far as a reader of a table must know: the devices of every stage on its way, and
//! whether labels or held-out data had a part in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::graph::{Graph, InstanceId};
use crate::rows::Outcome;

/// Something without which a number misleads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caveat {
    /// Labels chose among results: a stage on the way reports a metric `oracle` above 0.
    Oracle,
    /// Held-out samples took part in training: a stage on the way reports a metric `transductive` above 0.
    Transductive,
}

impl Caveat {
    /// Each of them.
    const ALL: [Self; 2] = [Self::Oracle, Self::Transductive];

    /// The metric that says so: above 0, it holds for its stage and for all that follows from it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::Transductive => "transductive",
        }
    }

    /// As a footnote.
    pub fn note(self) -> &'static str {
        match self {
            Self::Oracle => "selected by labels (oracle); not ranked",
            Self::Transductive => {
                "transductive: held-out samples took part in training, without their labels"
            }
        }
    }
}

/// What results of one kind come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Stage → families of devices, as `cpu` or `cuda`.
    pub devices: BTreeMap<String, BTreeSet<String>>,
    /// What holds for them.
    pub caveats: BTreeSet<Caveat>,
}

impl Origin {
    /// Takes in what another result comes from.
    pub fn add(&mut self, other: &Self) {
        for (stage, families) in &other.devices {
            self.devices.entry(stage.clone()).or_default().extend(families.iter().cloned());
        }
        self.caveats.extend(&other.caveats);
    }
}

/// The origins of an instance's inputs, and what it adds: its stage, the family of its device, caveats.
type Step<'a> = (Vec<usize>, &'a str, &'a str, Vec<Caveat>);

/// The origins of a graph's results: few, however many results there are.
pub struct Origins {
    /// Each once.
    pub distinct: Vec<Origin>,
    /// By instance: which of them is its own.
    pub of: Vec<usize>,
}

impl Origins {
    /// Follows every result to its sources.
    pub fn of<'a>(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'a>) -> Self {
        let mut distinct: Vec<Origin> = Vec::new();
        let mut known: HashMap<Step<'_>, usize> = HashMap::new();
        let mut of: Vec<usize> = Vec::with_capacity(graph.instances.len());
        // Neighbours are alike, as a rule.
        let mut last: Option<(Step<'_>, usize)> = None;
        for (id, instance) in graph.ids().zip(&graph.instances) {
            let mut sources: Vec<usize> = instance.inputs.values().map(|wire| of[wire.from.0]).collect();
            sources.sort_unstable();
            sources.dedup();
            let (family, caveats) = match outcome(id) {
                Outcome::Done(_, result) => {
                    let holds =
                        |caveat: &Caveat| result.metrics.get(caveat.word()).is_some_and(|&value| value > 0.0);
                    let caveats = Caveat::ALL.into_iter().filter(holds);
                    let device = result.provenance.device.as_str();
                    (device.split(':').next().unwrap_or(device), caveats.collect())
                }
                Outcome::Missing | Outcome::Running | Outcome::Failed => ("", Vec::new()),
            };
            let key = (sources, &*instance.stage, family, caveats);
            if let Some((_, index)) = last.as_ref().filter(|(last, _)| *last == key) {
                of.push(*index);
                continue;
            }
            let index = match known.get(&key) {
                Some(&index) => index,
                None => {
                    let (sources, stage, family, caveats) = &key;
                    let mut origin = Origin::default();
                    sources.iter().for_each(|&source| origin.add(&distinct[source]));
                    if !family.is_empty() {
                        let families = origin.devices.entry((*stage).to_owned()).or_default();
                        families.insert((*family).to_owned());
                    }
                    origin.caveats.extend(caveats);
                    let index = distinct.iter().position(|known| *known == origin).unwrap_or_else(|| {
                        distinct.push(origin);
                        distinct.len() - 1
                    });
                    known.insert(key.clone(), index);
                    index
                }
            };
            of.push(index);
            last = Some((key, index));
        }
        Self { distinct, of }
    }
}

/// Stage → the families of devices that most have it from, where some differ.
pub(super) fn usual_devices<'a>(
    origins: impl Iterator<Item = &'a Origin>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut counts: BTreeMap<&String, BTreeMap<&BTreeSet<String>, usize>> = BTreeMap::new();
    for origin in origins {
        for (stage, families) in &origin.devices {
            *counts.entry(stage).or_default().entry(families).or_default() += 1;
        }
    }
    let differing = counts
        .into_iter()
        .filter(|(_, counts)| counts.len() > 1 || counts.keys().any(|families| families.len() > 1));
    let usual = differing.map(|(stage, counts)| {
        let most = counts.values().copied().max().unwrap_or(0);
        let usual =
            counts.into_iter().find(|(_, count)| *count == most).map(|(families, _)| families.clone());
        (stage.clone(), usual.unwrap_or_default())
    });
    usual.collect()
}

/// What a reader must know of where a cell's results come from.
pub(super) fn notes(origin: &Origin, usual: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let listed = |families: &BTreeSet<String>| families.iter().cloned().collect::<Vec<_>>().join(" and ");
    let mut odd: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (stage, families) in &origin.devices {
        if let Some(usual) = usual.get(stage).filter(|usual| *usual != families || families.len() > 1) {
            odd.entry((listed(families), listed(usual))).or_default().push(stage);
        }
    }
    let devices = odd.into_iter().map(|((here, usual), stages)| {
        let elsewhere = if here == usual { String::new() } else { format!(", elsewhere on {usual}") };
        format!("{} on {here}{elsewhere}", stages.join(", "))
    });
    let caveats = origin.caveats.iter().map(|caveat| caveat.note().to_owned());
    devices.chain(caveats).collect()
}
