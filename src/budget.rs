//! Seeds as a budget: which trials of a graph are wanted, by what is known of their results.
//!
//! The trials of such a graph are all there may come to be. Every point of the sweep begins with `min` seeds. Then, for
//! n = `min`, `min` + 1, …, each cell that has n seeds and whose 95 % confidence interval over these is not small enough
//! gets another: so do all points whose results fall into it. The baseline of a table gets every seed of the cells that are
//! compared with it, and all cells that effects are found from get every seed of one. It ends where no cell gets another, at `max` seeds at the latest. A cell none of whose seeds gave a
//! value gets no more: they would not help.
//!
//! A cell is a row and column of a table, with all its headings. Seeds are taken in order, so cells that are compared have
//! theirs in common. As long as results of a cell's n seeds are missing, nobody knows whether it gets another, and it waits.
//!
//! The same results want the same trials: there is no state here and no clock. A result that comes in only adds to what is
//! wanted, because more cells can then be looked at, and what one cell gets never takes from another. So the order in which
//! results come, a run that was killed, and what else the store holds make no difference in the end.

use std::collections::{BTreeSet, HashMap};

use crate::graph::{AxisId, Graph, InstanceId, Trial};
use crate::pipeline::{Ablation, AblationPoint, Better, Cell, Form, MetricRef, TableSpec};
use crate::rows::Outcome;
use crate::stats::{ci95, grain, mean};

/// How far the seeds go.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The half of a 95 % confidence interval (Student's t) that is small enough, in the metric's own unit; above 0.
    pub ci95: f64,
    /// With how many seeds a cell begins, at least 2.
    pub min: usize,
    /// With how many seeds it ends in any case, at least `min`. The graph has the seeds from 0 to below it.
    pub max: usize,
    /// The metrics it is about; those of all tables where none is named.
    pub metrics: Vec<MetricRef>,
}

impl Budget {
    fn is_about(&self, metric: &MetricRef) -> bool {
        self.metrics.is_empty() || self.metrics.contains(metric)
    }
}

/// What is wanted of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By trial.
    pub trials: Vec<bool>,
}

impl Wanted {
    /// How many trials are wanted.
    pub fn count(&self) -> usize {
        self.trials.iter().filter(|wanted| **wanted).count()
    }
}

/// What is wanted now; everything of a graph without a budget.
pub fn wanted<'a>(graph: &Graph, outcome: impl Fn(InstanceId) -> Outcome<'a>) -> Wanted {
    let Some(budget) = &graph.budget else { return Wanted { trials: vec![true; graph.trials.len()] } };
    let points = points(graph);
    let count = points.last().map_or(0, |last| last + 1);
    let tables: Vec<Vec<Group>> = graph.tables.iter().map(|spec| groups(graph, spec, &points)).collect();
    let mut counts = vec![budget.min; count];
    for now in budget.min..budget.max {
        let cells = || {
            graph
                .tables
                .iter()
                .zip(&tables)
                .flat_map(|(spec, groups)| groups.iter().map(move |it| (spec, it)))
        };
        let wants_more = |(spec, group): &(&TableSpec, &Group)| {
            group.seeds(&counts) == now && group.wants_more(now, budget, spec, &outcome)
        };
        let wanting: Vec<&Group> = cells().filter(wants_more).map(|(_, group)| group).collect();
        if wanting.is_empty() {
            break;
        }
        wanting.into_iter().for_each(|group| group.raise(now + 1, &mut counts));
        // What is brought along may share points with cells that bring along others.
        loop {
            let before = counts.clone();
            for (spec, groups) in graph.tables.iter().zip(&tables) {
                bring_along(spec, groups, now, &mut counts);
            }
            if counts == before {
                break;
            }
        }
    }
    let is_wanted = |(trial, &point): (&Trial, &usize)| trial.seed < counts[point] as u64;
    Wanted { trials: graph.trials.iter().zip(&points).map(is_wanted).collect() }
}

/// Gives the seed after the first `now` to what cells that have it are compared with.
fn bring_along(spec: &TableSpec, groups: &[Group], now: usize, counts: &mut [usize]) {
    let has_more = |group: &Group, counts: &[usize]| group.seeds(counts) > now;
    match spec.form {
        // Effects are of seeds that every combination has.
        Form::Effects { .. } => {
            if groups.iter().any(|group| has_more(group, counts)) {
                groups.iter().for_each(|group| group.raise(now + 1, counts));
            }
        }
        Form::Cells | Form::Ablation(_) => {
            for (group, baseline) in groups.iter().filter_map(|it| Some((it, &groups[it.baseline?]))) {
                if has_more(group, counts) && !has_more(baseline, counts) {
                    baseline.raise(now + 1, counts);
                }
            }
        }
    }
}

/// By trial: the place of its point among all. The trials of a point follow one another.
fn points(graph: &Graph) -> Vec<usize> {
    let mut place = 0;
    let mut points = Vec::with_capacity(graph.trials.len());
    for (index, trial) in graph.trials.iter().enumerate() {
        place += usize::from(index > 0 && graph.trials[index - 1].point != trial.point);
        points.push(place);
    }
    points
}

/// The values of the axes that reach a row and column of a table, by [`AxisId`].
type Key = Vec<Option<usize>>;

/// A row and column of a table: the trials that agree in every axis that reaches the table's metrics.
struct Group {
    key: Key,
    /// The points of these trials, in order.
    points: Vec<usize>,
    /// By heading: the instances that report, by seed; a single one without a seed where the seeds do not reach it.
    samples: Vec<Vec<(Option<u64>, InstanceId)>>,
    /// Its place among the table's groups.
    baseline: Option<usize>,
}

impl Group {
    fn seeds(&self, counts: &[usize]) -> usize {
        self.points.iter().map(|&point| counts[point]).max().unwrap_or(0)
    }

    fn raise(&self, seeds: usize, counts: &mut [usize]) {
        self.points.iter().for_each(|&point| counts[point] = counts[point].max(seeds));
    }

    /// Whether another seed would make its intervals smaller, and should.
    fn wants_more<'a>(
        &self,
        seeds: usize,
        budget: &Budget,
        spec: &TableSpec,
        outcome: &impl Fn(InstanceId) -> Outcome<'a>,
    ) -> bool {
        let mut wants_more = false;
        for ((_, cell), sample) in spec.cells.iter().zip(&self.samples) {
            let of_seeds = sample.iter().filter(|(seed, _)| seed.is_some_and(|seed| seed < seeds as u64));
            let mut values = Vec::new();
            for &(_, id) in of_seeds.filter(|_| budget.is_about(&cell.metric)) {
                match value(&cell.metric, outcome(id)) {
                    Known::Value(value) => values.push(value),
                    Known::NoValue => {}
                    Known::NotYet => return false,
                }
            }
            wants_more |= !values.is_empty() && ci95(&values).is_none_or(|half| half > budget.ci95);
        }
        wants_more
    }
}

/// What is known of a metric.
enum Known {
    Value(f64),
    /// There never will be one.
    NoValue,
    NotYet,
}

fn value(metric: &MetricRef, outcome: Outcome<'_>) -> Known {
    match outcome {
        Outcome::Done(_, result) => {
            result.metrics.get(&metric.metric).map_or(Known::NoValue, |&value| Known::Value(value))
        }
        Outcome::Failed => Known::NoValue,
        Outcome::Missing | Outcome::Running => Known::NotYet,
    }
}

/// The rows and columns of a table, in the order of their first trials.
fn groups(graph: &Graph, spec: &TableSpec, points: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut known: BTreeSet<(usize, usize, InstanceId)> = BTreeSet::new();
    for (trial, &point) in graph.trials.iter().zip(points).filter(|(trial, _)| spec.is_of(&trial.point)) {
        let reporter = |(_, cell): &(String, Cell)| trial.instances.get(cell.metric.stage.as_str()).copied();
        let reporters: Vec<Option<InstanceId>> = spec.cells.iter().map(reporter).collect();
        if reporters.iter().all(Option::is_none) {
            continue;
        }
        let carriers = || reporters.iter().flatten().map(|&id| graph.instance(id));
        let value = |axis| carriers().find_map(|instance| instance.point.get(&AxisId(axis)).copied());
        let key: Key = (0..graph.axes.len()).map(value).collect();
        let place = *places.entry(key).or_insert_with_key(|key| {
            let samples = spec.cells.iter().map(|_| Vec::new()).collect();
            groups.push(Group { key: key.clone(), points: Vec::new(), samples, baseline: None });
            groups.len() - 1
        });
        let group = &mut groups[place];
        if group.points.last() != Some(&point) {
            group.points.push(point);
        }
        for (heading, (sample, id)) in group.samples.iter_mut().zip(reporters).enumerate() {
            let new = id.filter(|&id| known.insert((place, heading, id)));
            sample.extend(new.map(|id| (graph.instance(id).seed, id)));
        }
    }
    let fixed: Vec<(usize, usize)> = spec
        .baseline
        .iter()
        .filter_map(|(axis, label)| {
            let axis = graph.axes.iter().position(|known| known.name == *axis)?;
            let is_there = groups.iter().any(|group| group.key[axis].is_some());
            let value = graph.axes[axis].labels.iter().position(|known| known == label);
            Some((axis, value?)).filter(|_| is_there)
        })
        .collect();
    let fixed = |group: &Group| match &spec.form {
        Form::Ablation(ablation) => before(ablation, group),
        Form::Cells | Form::Effects { .. } => Some(fixed.clone()).filter(|fixed| !fixed.is_empty()),
    };
    // The steps of an ablation are compared by their labels, also where an axis does not reach the one before.
    let reached = !matches!(spec.form, Form::Ablation(_));
    let baseline = |place| baseline(&groups, place, &fixed(&groups[place])?, reached, &places);
    let baselines: Vec<Option<usize>> = (0..groups.len()).map(baseline).collect();
    groups.iter_mut().zip(baselines).for_each(|(group, baseline)| group.baseline = baseline);
    groups
}

/// The values of the point of an ablation that a group is compared with.
fn before(ablation: &Ablation, group: &Group) -> Option<Vec<(usize, usize)>> {
    let is_at = |point: &&AblationPoint| {
        point.values.iter().all(|&(axis, value)| group.key[axis].is_none_or(|mine| mine == value))
    };
    let label = ablation.before(&ablation.points.iter().find(is_at)?.label)?;
    let before = ablation.points.iter().find(|point| point.label == *label)?;
    Some(before.values.clone())
}

/// The group that has the baseline's labels, all of them where it is to be `reached`, and is like this one otherwise, as tables have
/// it: axes that do not reach it are passed over, and of several the one that most axes reach counts.
fn baseline(
    groups: &[Group],
    place: usize,
    fixed: &[(usize, usize)],
    reached: bool,
    places: &HashMap<Key, usize>,
) -> Option<usize> {
    let mut wanted = groups[place].key.clone();
    fixed.iter().for_each(|&(axis, value)| wanted[axis] = Some(value));
    let covers = |group: &Group| {
        (!reached || fixed.iter().all(|&(axis, _)| group.key[axis] == wanted[axis]))
            && group.key.iter().zip(&wanted).all(|(mine, theirs)| mine.is_none() || mine == theirs)
    };
    let reach = |group: &Group| group.key.iter().flatten().count();
    let like = || {
        let covering = groups.iter().enumerate().rev().filter(|(_, group)| covers(group));
        covering.max_by_key(|(_, group)| reach(group)).map(|(place, _)| place)
    };
    let found = places.get(&wanted).copied().or_else(like);
    found.filter(|&baseline| baseline != place)
}

/// What a budget has come to in a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The fewest and the most seeds that cells have values of; 0 where no seeds reach them.
    pub seeds: (usize, usize),
    /// Whether every result is there, or failed; else the rest is not known yet.
    pub complete: bool,
    /// Cells whose interval is not small enough, though they have all the seeds they may have.
    pub wide: usize,
    /// Cells that have no interval, since seeds of theirs failed or report nothing.
    pub lacking: usize,
    /// Cells that are compared and can't be told apart.
    pub ties: Vec<Tie>,
}

/// Two cells whose mean difference over the seeds both have, may be 0: that lies in its 95 % confidence interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Tie {
    /// The heading, by its place in the table's cells.
    pub cell: usize,
    /// The labels of the one, by axis; `None` where an axis does not reach it.
    pub one: Vec<Option<String>>,
    /// The labels of the other: the baseline, or the second best.
    pub other: Vec<Option<String>>,
    /// The seeds both have.
    pub seeds: usize,
    /// The mean of the differences between the one and the other.
    pub difference: f64,
    /// The half of its interval.
    pub half: f64,
}

/// What the seeds of a table have come to: its cells against their baseline, else the best against the second best in each
/// column. Only means are compared. `None` where the seeds of the graph are no budget.
pub fn verdict<'a>(
    graph: &Graph,
    spec: &TableSpec,
    outcome: impl Fn(InstanceId) -> Outcome<'a>,
) -> Option<Verdict> {
    let budget = graph.budget.as_ref()?;
    let groups = groups(graph, spec, &points(graph));
    let mut ids = groups.iter().flat_map(|group| group.samples.iter().flatten());
    let mut verdict = Verdict {
        complete: !ids.any(|&(_, id)| matches!(outcome(id), Outcome::Missing | Outcome::Running)),
        ..Verdict::default()
    };
    let mut counts = BTreeSet::new();
    for (at, (_, cell)) in spec.cells.iter().enumerate() {
        let sample = |group: &Group| sample(&group.samples[at], &cell.metric, &outcome);
        let samples: Vec<Sample> = groups.iter().map(sample).collect();
        counts.extend(samples.iter().map(Vec::len).filter(|len| *len > 1));
        if !verdict.complete {
            continue;
        }
        // Of headings that show one metric in several ways, the first counts.
        let comes_again = |is_one: fn(&Cell) -> bool| {
            spec.cells[..at].iter().any(|(_, other)| other.metric == cell.metric && is_one(other))
        };
        if budget.is_about(&cell.metric) && !comes_again(|_| true) {
            let samples_of = groups.iter().map(|group| &group.samples[at]).zip(&samples);
            let is_lacking = |(instances, sample): &(&Vec<(Option<u64>, InstanceId)>, &Sample)| {
                sample.len() < 2 && instances.iter().filter(|(seed, _)| seed.is_some()).count() > 1
            };
            verdict.lacking += samples_of.filter(is_lacking).count();
            let is_wide = |sample: &&Sample| ci95(&values(sample)).is_some_and(|half| half > budget.ci95);
            verdict.wide += samples.iter().filter(is_wide).count();
        }
        let has_cells = !matches!(spec.form, Form::Effects { .. });
        if !has_cells || !cell.show.is_mean() || comes_again(|cell| cell.show.is_mean()) {
            continue;
        }
        let pairs = if groups.iter().any(|group| group.baseline.is_some()) {
            groups.iter().enumerate().filter_map(|(place, group)| Some((place, group.baseline?))).collect()
        } else {
            best_two(graph, spec, cell, &groups, &samples)
        };
        let labels = |place: usize| {
            let key = groups[place].key.iter().zip(&graph.axes);
            key.map(|(value, axis)| value.map(|value| axis.labels[value].clone())).collect()
        };
        for (one, other) in pairs {
            if let Some((seeds, difference, half)) = tie(&samples[one], &samples[other]) {
                let (one, other) = (labels(one), labels(other));
                verdict.ties.push(Tie { cell: at, one, other, seeds, difference, half });
            }
        }
    }
    verdict.seeds = (counts.first().copied().unwrap_or(0), counts.last().copied().unwrap_or(0));
    Some(verdict)
}

/// The values of a cell, each with its seed.
type Sample = Vec<(Option<u64>, f64)>;

fn sample<'a>(
    reporters: &[(Option<u64>, InstanceId)],
    metric: &MetricRef,
    outcome: &impl Fn(InstanceId) -> Outcome<'a>,
) -> Sample {
    let number = |id| match value(metric, outcome(id)) {
        Known::Value(value) => Some(value),
        Known::NoValue | Known::NotYet => None,
    };
    reporters.iter().filter_map(|&(seed, id)| Some((seed, number(id)?))).collect()
}

fn values(sample: &Sample) -> Vec<f64> {
    sample.iter().map(|(_, value)| *value).collect()
}

/// In each column, and within each value of the axes that rank apart, the places of the best and the second best mean; none
/// where nobody knows which is better.
fn best_two(
    graph: &Graph,
    spec: &TableSpec,
    cell: &Cell,
    groups: &[Group],
    samples: &[Sample],
) -> Vec<(usize, usize)> {
    let Some(better) = cell.better else { return Vec::new() };
    let is_apart = |axis: usize| spec.within.contains(&graph.axes[axis].name);
    let axes: Vec<usize> = (0..graph.axes.len())
        .filter(|&axis| spec.columns.contains(&graph.axes[axis].name) || is_apart(axis))
        .collect();
    let column = |group: &Group| -> Key { axes.iter().map(|&axis| group.key[axis]).collect() };
    let mut columns: Vec<Key> = Vec::new();
    for group in groups {
        let key = column(group);
        if !columns.contains(&key) {
            columns.push(key);
        }
    }
    let mut pairs = Vec::new();
    for key in &columns {
        let stands = |group: &Group| {
            let mine = column(group).into_iter().zip(&axes);
            mine.zip(key).all(|((mine, &axis), theirs)| mine == *theirs || mine.is_none() && !is_apart(axis))
        };
        let mut ranked: Vec<(f64, usize)> = (0..groups.len())
            .filter(|&place| stands(&groups[place]))
            .filter_map(|place| Some((mean(&values(&samples[place]))?, place)))
            .collect();
        ranked.sort_by(|(a, _), (b, _)| match better {
            Better::Higher => b.total_cmp(a),
            Better::Lower => a.total_cmp(b),
        });
        if let [(_, best), (_, second), ..] = ranked[..]
            && !pairs.contains(&(best, second))
        {
            pairs.push((best, second));
        }
    }
    pairs
}

/// The seeds two samples share, their mean difference and half its interval, where that holds 0; a sample of one value
/// without a seed is the same for each.
fn tie(one: &Sample, other: &Sample) -> Option<(usize, f64, f64)> {
    let pairs: Vec<(f64, f64)> = match (one.as_slice(), other.as_slice()) {
        ([(None, mine)], theirs) => theirs.iter().map(|(_, value)| (*mine, *value)).collect(),
        (mine, [(None, theirs)]) => mine.iter().map(|(_, value)| (*value, *theirs)).collect(),
        (mine, theirs) => {
            let known: HashMap<Option<u64>, f64> = theirs.iter().copied().collect();
            mine.iter().filter_map(|(seed, value)| Some((*value, *known.get(seed)?))).collect()
        }
    };
    let differences: Vec<f64> = pairs.iter().map(|(mine, theirs)| mine - theirs).collect();
    let (difference, half) = (mean(&differences)?, ci95(&differences)?);
    let holds_zero =
        difference.abs() <= half + grain(pairs.iter().flat_map(|&(mine, theirs)| [mine, theirs]));
    holds_zero.then_some((differences.len(), difference, half))
}
