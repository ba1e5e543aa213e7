//! Tables of main effects and interactions.
//!
//! They hold where every combination of all axes has as many values as every other. A seed that lacks one anywhere is left
//! out as a whole; where no seed is left there are no effects, for what the means of such a sweep differ by may be due to
//! another axis.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use polars::prelude::*;

use super::build::{covers, distinct};
use super::origin::{Origin, notes, usual_devices};
use super::sample::{Sample, show};
use super::trials::{Trials, instance_column, origin_column, state_column};
use super::{Cell, Column, Numbers, Row, Table};
use crate::pipeline::{self, MetricRef, Show, TableSpec};
use crate::rows::State;
use crate::stats::Factorial;

/// The most combinations of all axes.
const MAX_COMBINATIONS: usize = 1_000_000;
/// The most combinations and seeds that are named where they lack a value.
const MAX_NAMED: usize = 3;
/// The columns of each metric: mean, effect and share.
const PARTS: usize = 3;
/// The states of what the sweep does not have, or has twice: no run can change them.
const NO_TRIAL: &str = "no trial";
const SEVERAL: &str = "several trials";

/// The labels of some axes; `None` for one that does not reach.
type Key<'t> = Vec<Option<&'t str>>;

/// Builds the table of the effects of `axes`, for each point of the spec's row axes.
pub(super) fn build(
    trials: &Trials,
    spec: &TableSpec,
    axes: &[String],
    interactions: bool,
) -> PolarsResult<Table> {
    let present = |name: &&String| trials.axes.contains(name);
    let given: Vec<&String> = spec.rows.iter().filter(present).collect();
    let factors: Vec<&String> = axes.iter().filter(present).collect();
    let others = trials.axes.iter().filter(|name| !given.contains(name) && !factors.contains(name));
    let others: Vec<&String> = others.collect();
    let all = [given.as_slice(), &factors, &others].concat();
    let keys = keys(trials, &all)?;
    let mut table = Table {
        name: spec.name.clone(),
        axes: given.iter().map(|axis| (*axis).clone()).chain(["axis".into(), "value".into()]).collect(),
        columns: columns(spec),
        rows: Vec::new(),
        notes: Vec::new(),
        remarks: spec.which_trials().into_iter().collect(),
    };
    let mut told = Told::default();
    let mut designs: Vec<(Points<'_, '_>, Vec<Design>)> = Vec::new();
    for condition in whole(keys.iter().map(|key| key[..given.len()].to_vec())) {
        let here = || keys.iter().filter(|key| covers(&key[..given.len()], &condition));
        let (first, last) = (given.len(), given.len() + factors.len());
        let levels = (first..last).map(|at| levels(here().map(|key| key[at]))).collect();
        let blocks = whole(here().map(|key| key[last..].to_vec()));
        let points = Points { axes: &all, condition, levels, blocks };
        let design = |(title, cell): &(String, pipeline::Cell)| {
            let measured = Measured::of(trials, &keys, &points.condition, &cell.metric)?;
            Ok(Design::of(&measured, &points, title, &mut told))
        };
        let of_cells = spec.cells.iter().map(design).collect::<PolarsResult<_>>()?;
        let unreached = factors.iter().enumerate().filter(|(at, _)| !points.is_reached(*at));
        told.unreached.extend(unreached.map(|(_, axis)| (*axis, points.name(&points.condition))));
        designs.push((points, of_cells));
    }
    let usual = usual_devices(designs.iter().flat_map(|(_, designs)| designs).map(|design| &design.origin));
    for (points, designs) in &designs {
        let first = table.rows.len();
        let reached: Vec<usize> = (0..factors.len()).filter(|at| points.is_reached(*at)).collect();
        let terms = terms(&reached, interactions);
        for term in &terms {
            let names: Vec<&str> = term.iter().map(|&at| factors[at].as_str()).collect();
            let values = combinations(&points.levels, term);
            let cells = spec.cells.iter().zip(designs);
            let cells: Vec<Vec<[Cell; PARTS]>> =
                cells.map(|((_, cell), design)| design.cells(cell, term, values.len())).collect();
            for (at, values) in values.into_iter().enumerate() {
                let labels = match term.as_slice() {
                    [] => [Some("all".to_owned()), None],
                    _ => [
                        Some(names.join(" × ")),
                        Some(values.into_iter().flatten().collect::<Vec<_>>().join(", ")),
                    ],
                };
                let cells = cells.iter().flat_map(|cells| cells[at].clone()).collect();
                table.rows.push(row(&points.condition, labels, cells));
            }
        }
        let rest = designs.iter().flat_map(|design| [Cell::nothing(), Cell::nothing(), design.rest(&terms)]);
        table.rows.push(row(&points.condition, [Some("rest".to_owned()), None], rest.collect()));
        for (at, design) in designs.iter().enumerate() {
            for note in notes(&design.origin, &usual) {
                let note = table.note(note);
                let effects = table.rows[first..].iter_mut().map(|row| &mut row.cells[at * PARTS + 1]);
                effects.filter(|cell| cell.numbers.shown.is_some()).for_each(|cell| cell.notes.push(note));
            }
        }
    }
    let missing = axes.iter().filter(|axis| !factors.contains(axis));
    table
        .remarks
        .extend(missing.map(|axis| format!("`{axis}` reaches nothing that is shown, and has no effect")));
    table.remarks.extend(told.remarks());
    table.remarks.push(explained(interactions));
    Ok(table)
}

fn columns(spec: &TableSpec) -> Vec<Column> {
    let of_cell = |(title, cell): &(String, pipeline::Cell)| {
        let unit = if cell.percent { " (%)" } else { "" };
        [("mean", unit), ("effect", unit), ("η²", "")].map(|(part, unit)| Column {
            axes: Vec::new(),
            title: format!("{title} {part}"),
            heading: vec![title.clone(), format!("{part}{unit}")],
        })
    };
    spec.cells.iter().flat_map(of_cell).collect()
}

fn row(condition: &Key<'_>, labels: [Option<String>; 2], cells: Vec<Cell>) -> Row {
    let condition = condition.iter().map(|label| label.map(str::to_owned));
    Row { labels: condition.chain(labels).collect(), cells, published: false }
}

/// What the columns show.
fn explained(interactions: bool) -> String {
    let both = if interactions { ", of two values what theirs has beyond the effect of each" } else { "" };
    format!(
        "effect: the mean at a value minus the mean of all{both}; η²: the share of the sum of squares, of which the rest \
         is due to seeds and to what is not shown"
    )
}

/// The axes of each effect: none for the mean of all, each alone, each two.
fn terms(factors: &[usize], interactions: bool) -> Vec<Vec<usize>> {
    let alone = factors.iter().map(|&at| vec![at]);
    let after = |one: usize| factors[one + 1..].iter().map(move |&two| vec![factors[one], two]);
    let pairs = (0..factors.len()).flat_map(after);
    std::iter::once(Vec::new()).chain(alone).chain(pairs.filter(|_| interactions)).collect()
}

/// The values an axis takes among some labels; a single `None` where it does not reach.
fn levels<'t>(labels: impl Iterator<Item = Option<&'t str>>) -> Key<'t> {
    let reached = distinct(labels.flatten().map(Some));
    if reached.is_empty() { vec![None] } else { reached }
}

/// Every combination of the values of the axes `term`, the last fastest.
fn combinations<'t>(levels: &[Key<'t>], term: &[usize]) -> Vec<Key<'t>> {
    term.iter().fold(vec![Vec::new()], |all, &axis| {
        let longer = |before: &Key<'t>| {
            let before = before.clone();
            levels[axis].iter().map(move |value| [before.as_slice(), &[*value]].concat())
        };
        all.iter().flat_map(longer).collect()
    })
}

/// Of each row of trials the labels of some axes.
fn keys<'t>(trials: &'t Trials, axes: &[&String]) -> PolarsResult<Vec<Key<'t>>> {
    let columns: Vec<&StringChunked> =
        axes.iter().map(|axis| trials.frame.column(axis)?.str()).collect::<PolarsResult<_>>()?;
    Ok((0..trials.frame.height()).map(|row| columns.iter().map(|column| column.get(row)).collect()).collect())
}

/// Which axes reach.
fn reach(key: &Key<'_>) -> Vec<bool> {
    key.iter().map(Option::is_some).collect()
}

/// The labels of those axes only that reach `reach`.
fn within<'t>(key: &Key<'t>, reach: &[bool]) -> Key<'t> {
    key.iter().zip(reach).map(|(label, is_reached)| label.filter(|_| *is_reached)).collect()
}

/// Each key once, without those that say less of what others say: a trial that does not set an axis is none of those that
/// sweep it.
fn whole<'t>(keys: impl Iterator<Item = Key<'t>>) -> Vec<Key<'t>> {
    let all = distinct(keys);
    let reaches = distinct(all.iter().map(reach));
    let less = |key: &Key<'t>| -> Vec<Key<'t>> {
        reaches.iter().map(|reach| within(key, reach)).filter(|less| less != key).collect()
    };
    let less: HashSet<Key<'t>> = all.iter().flat_map(less).collect();
    all.into_iter().filter(|key| !less.contains(key)).collect()
}

/// A metric at one point and seed.
struct Unit<'t> {
    value: Option<f64>,
    state: &'t str,
    origin: Option<u32>,
}

/// A metric at every point of a condition and every seed.
struct Measured<'t> {
    units: HashMap<(Key<'t>, Option<u64>), Unit<'t>>,
    /// Each set of axes that reach some point.
    reaches: Vec<Vec<bool>>,
    /// In order; one `None` where nothing has a seed.
    seeds: Vec<Option<u64>>,
    origins: &'t [Origin],
}

impl<'t> Measured<'t> {
    fn of(
        trials: &'t Trials,
        keys: &[Key<'t>],
        condition: &Key<'t>,
        metric: &MetricRef,
    ) -> PolarsResult<Self> {
        let frame = &trials.frame;
        let values = frame.column(&metric.to_string())?.f64()?;
        let states = frame.column(&state_column(&metric.stage))?.str()?;
        let origins = frame.column(&origin_column(&metric.stage))?.u32()?;
        let instances = frame.column(&instance_column(&metric.stage))?.u32()?;
        let done = State::Done.word();
        let (mut units, mut seeds) = (HashMap::new(), BTreeSet::new());
        let here = keys.iter().filter(|key| covers(&key[..condition.len()], condition)).cloned();
        let here: HashSet<Key<'t>> = whole(here).into_iter().collect();
        for (row, key) in keys.iter().enumerate().filter(|(_, key)| here.contains(*key)) {
            let seed = instances.get(row).and_then(|instance| trials.seeds[instance as usize]);
            let value = values.get(row);
            let state = match states.get(row) {
                Some(state) if state == done && value.is_none() => State::Unreported.word(),
                // A pipeline of several may lack the stage.
                state => state.unwrap_or(State::Missing.word()),
            };
            seeds.insert(seed);
            units.entry((key.clone(), seed)).or_insert(Unit { value, state, origin: origins.get(row) });
        }
        // What has no seed holds for all there are.
        if seeds.len() > 1 {
            seeds.remove(&None);
        }
        let reaches = distinct(here.iter().map(reach));
        Ok(Self { units, reaches, seeds: seeds.into_iter().collect(), origins: &trials.origins })
    }

    /// What there is at a point, each with the axes that reach it. A result that an axis does not reach is that of each of its
    /// values.
    fn at(&self, point: &Key<'t>, seed: Option<u64>) -> Vec<(&Unit<'t>, &[bool])> {
        let found = self.reaches.iter().filter_map(|reach| {
            let key = within(point, reach);
            let seeded = self.units.get(&(key.clone(), seed));
            seeded.or_else(|| self.units.get(&(key, None))).map(|unit| (unit, reach.as_slice()))
        });
        found.collect()
    }
}

/// Every point of a condition.
struct Points<'a, 't> {
    axes: &'a [&'a String],
    condition: Key<'t>,
    /// The values of the axes whose effects are shown; a single `None` of one that does not reach.
    levels: Vec<Key<'t>>,
    /// The points of the axes that are averaged over.
    blocks: Vec<Key<'t>>,
}

impl<'t> Points<'_, 't> {
    /// In order, those of one combination together; `None` where they are too many.
    fn all(&self) -> Option<Vec<Key<'t>>> {
        let sizes = self.levels.iter().map(Vec::len).chain([self.blocks.len()]);
        let count = sizes.into_iter().try_fold(1_usize, |count, size| count.checked_mul(size));
        count.filter(|count| *count <= MAX_COMBINATIONS)?;
        let axes: Vec<usize> = (0..self.levels.len()).collect();
        let points = combinations(&self.levels, &axes).into_iter().flat_map(|values| {
            let before: Key<'t> = self.condition.iter().copied().chain(values).collect();
            self.blocks.iter().map(move |block| [before.as_slice(), block].concat())
        });
        Some(points.collect())
    }

    /// Whether an axis whose effects are shown reaches the condition.
    fn is_reached(&self, factor: usize) -> bool {
        self.levels[factor] != [None]
    }

    /// A point as `graph.k=5, method=SimCLR`.
    fn name(&self, point: &Key<'t>) -> String {
        let labels = self.axes.iter().zip(point);
        let labels = labels.filter_map(|(axis, label)| label.map(|label| format!("{axis}={label}")));
        labels.collect::<Vec<_>>().join(", ")
    }
}

/// What there is to say below the table.
#[derive(Default)]
struct Told<'a> {
    /// Axes that do not reach every point.
    partial: BTreeSet<&'a String>,
    /// Which values are missing.
    missing: Vec<String>,
    /// Axes without effect, and where they have none.
    unreached: BTreeSet<(&'a String, String)>,
}

impl Told<'_> {
    fn remarks(self) -> impl Iterator<Item = String> {
        let partial = self
            .partial
            .into_iter()
            .map(|axis| format!("a result that `{axis}` does not reach counts at each of its values"));
        let nothing = |(axis, of): (&String, String)| match of.as_str() {
            "" => format!("`{axis}` reaches nothing that is shown, and has no effect"),
            of => format!("`{axis}` does not reach {of}, and has no effect there"),
        };
        self.missing.into_iter().chain(partial).chain(self.unreached.into_iter().map(nothing))
    }
}

/// A metric at every point of a condition, for those seeds that have it at all of them.
struct Design {
    /// `None` where no seed has.
    factorial: Option<Factorial>,
    /// Seeds there should be.
    of: usize,
    /// State → how many seeds are in it.
    states: BTreeMap<String, usize>,
    origin: Origin,
}

impl Design {
    fn of<'a>(measured: &Measured<'_>, points: &Points<'a, '_>, title: &str, told: &mut Told<'a>) -> Self {
        let of = measured.seeds.len();
        let (mut origin, mut states) = (Origin::default(), BTreeMap::new());
        let Some(all) = points.all() else {
            told.missing.push(format!("no effects of {title}: more than {MAX_COMBINATIONS} combinations"));
            return Self { factorial: None, of, states, origin };
        };
        let mut known = HashSet::new();
        let mut values: Vec<Vec<f64>> = Vec::new();
        // Place of a point → the state of each seed that has no value there.
        let mut gaps: BTreeMap<usize, Vec<(Option<u64>, &str)>> = BTreeMap::new();
        let mut left_out: Vec<Option<u64>> = Vec::new();
        for &seed in &measured.seeds {
            let mut of_seed = Vec::with_capacity(all.len());
            let mut worst = State::Done.word();
            for (at, point) in all.iter().enumerate() {
                let found = measured.at(point, seed);
                let state = match found.as_slice() {
                    [] => NO_TRIAL,
                    [(unit, _)] => unit.state,
                    _ => SEVERAL,
                };
                match found.as_slice() {
                    [(Unit { value: Some(value), .. }, _)] => of_seed.push(*value),
                    _ => {
                        worst = std::cmp::max_by_key(worst, state, |state| gravity(state));
                        gaps.entry(at).or_default().push((seed, state));
                    }
                }
                let [(unit, reach)] = found[..] else { continue };
                let partial = points.axes.iter().zip(point.iter().zip(reach));
                let partial = partial.filter(|(_, (label, is_reached))| label.is_some() && !**is_reached);
                told.partial.extend(partial.map(|(axis, _)| *axis));
                if let Some(at) = unit.origin.filter(|at| known.insert(*at)) {
                    origin.add(&measured.origins[at as usize]);
                }
            }
            *states.entry(worst.to_owned()).or_default() += 1;
            if of_seed.len() == all.len() && !all.is_empty() {
                values.push(of_seed);
            } else {
                left_out.push(seed);
            }
        }
        if !gaps.is_empty() {
            let named = gaps
                .iter()
                .map(|(&at, states)| format!("{} at {}", gap(states, left_out.len()), points.name(&all[at])));
            let named = listed(named, "; ");
            told.missing.push(if values.is_empty() {
                format!("no effects of {title}, which need a value at every combination: {named}")
            } else {
                format!("effects of {title} are without {}: {named}", seeds(&left_out))
            });
        }
        let sizes = points.levels.iter().map(Vec::len).collect();
        let factorial = (!values.is_empty()).then(|| Factorial::new(sizes, &values));
        Self { factorial, of, states, origin }
    }

    /// What is shown at each of the combinations of the axes `term`: mean, effect and share.
    fn cells(&self, spec: &pipeline::Cell, term: &[usize], count: usize) -> Vec<[Cell; PARTS]> {
        let plain = pipeline::Cell { show: Show::Mean, ..spec.clone() };
        let Some(factorial) = &self.factorial else {
            return vec![[(); PARTS].map(|()| self.show(&plain, Vec::new())); count];
        };
        let share = self.share(factorial.share(term));
        let both = factorial.means(term).into_iter().zip(factorial.effects(term));
        let cells = both.map(|(means, effects)| {
            let mean = self.show(&plain, means);
            if term.is_empty() {
                return [mean, Cell::nothing(), Cell::nothing()];
            }
            let mut effect = self.show(spec, effects);
            if !effect.text.starts_with('-') {
                effect.text.insert(0, '+');
            }
            [mean, effect, share.clone()]
        });
        cells.collect()
    }

    /// The share that none of the effects accounts for.
    fn rest(&self, terms: &[Vec<usize>]) -> Cell {
        let shares = terms.iter().filter(|term| !term.is_empty());
        // Of no term, which accounts for nothing, there is a share where the values differ.
        let of =
            |factorial: &Factorial| factorial.share(&[]).and(shares.map(|term| factorial.share(term)).sum());
        let shares: Option<f64> = self.factorial.as_ref().and_then(of);
        // Rounding may take the sum of all shares above 1.
        self.share(shares.map(|shares| (1.0 - shares).max(0.0)))
    }

    fn share(&self, share: Option<f64>) -> Cell {
        let Some(share) = share else { return Cell::nothing() };
        let n = self.factorial.as_ref().map_or(0, Factorial::seeds);
        let numbers =
            Numbers { n, of: self.of, shown: Some(share), share: Some(share), ..Numbers::default() };
        Cell { text: format!("{share:.3}"), numbers, ..Cell::default() }
    }

    /// What a cell says of values seed by seed.
    fn show(&self, spec: &pipeline::Cell, values: Vec<f64>) -> Cell {
        if self.states.keys().all(|state| [NO_TRIAL, SEVERAL].contains(&state.as_str())) {
            return Cell::nothing();
        }
        show(spec, &Sample { values, of: self.of, states: self.states.clone(), ..Sample::default() })
    }
}

/// How bad a state is, among those of the points of a seed.
fn gravity(state: &str) -> Option<usize> {
    let states = [State::Unreported, State::Missing, State::Running, State::Failed].map(State::word);
    states.into_iter().chain([NO_TRIAL, SEVERAL]).position(|known| known == state)
}

/// What is missing at a point, of so many seeds that lack something: `failed` or `failed, seed 1`.
fn gap(states: &[(Option<u64>, &str)], of: usize) -> String {
    let mut by_state: BTreeMap<&str, Vec<Option<u64>>> = BTreeMap::new();
    states.iter().for_each(|(seed, state)| by_state.entry(state).or_default().push(*seed));
    let told = by_state.into_iter().map(|(state, at)| {
        if at.len() == of { state.to_owned() } else { format!("{state}, {}", seeds(&at)) }
    });
    told.collect::<Vec<_>>().join(" and ")
}

/// `seed 1`, `seeds 1, 2`.
fn seeds(seeds: &[Option<u64>]) -> String {
    let numbers: Vec<u64> = seeds.iter().copied().flatten().collect();
    let told = listed(numbers.iter().map(u64::to_string), ", ");
    format!("seed{} {told}", if numbers.len() == 1 { "" } else { "s" })
}

/// The first few of some texts, and how many more there are.
fn listed(texts: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    let more = texts.len().saturating_sub(MAX_NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    texts.take(MAX_NAMED).chain(more).collect::<Vec<_>>().join(between)
}
