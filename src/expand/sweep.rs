//! The points of a sweep.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::{Choice, Pipeline, Sweep};
use crate::source::Span;
use crate::syntax::Name;

/// For each axis the index of its value; `None` where the axis is not set, and what it would set stays as written.
pub(super) type Point = Vec<Option<usize>>;

/// The most trials a pipeline may have.
pub const MAX_TRIALS: usize = 1_000_000;

/// The points of a pipeline, each once. Axes that its sweep does not name are crossed with it, and come first.
///
/// # Errors
/// Names that are not there, axes that do not fit together, or too many points: these are counted before any is made.
pub(super) fn points(pipeline: &Pipeline) -> Result<Vec<Point>, Diagnostics> {
    let named: BTreeSet<&str> =
        pipeline.sweep.iter().flat_map(Sweep::sets).map(|name| name.text.as_str()).collect();
    let unnamed =
        pipeline.axes.iter().enumerate().filter(|(_, axis)| !named.contains(axis.name.text.as_str()));
    let mut parts: Vec<Part> =
        unnamed.clone().map(|(index, axis)| Part::Axis(index, axis.values.len())).collect();
    let mut reader = Reader { pipeline, wrong: Diagnostics::new() };
    let before = unnamed.map(|(index, _)| index).collect();
    parts.extend(pipeline.sweep.as_ref().and_then(|sweep| reader.read(sweep, &before)));
    let whole = Part::Grid(parts);
    reader.wrong.or(())?;
    check_count(pipeline, &whole)?;
    let mut points = whole.points(&vec![None; pipeline.axes.len()])?;
    let mut seen = HashSet::new();
    points.retain(|point| seen.insert(point.clone()));
    if points.is_empty() {
        let error = Diagnostic::new(pipeline.name.span, "the sweep leaves no point");
        return Err(error.help("`Exclude` takes out every one").into());
    }
    Ok(points)
}

/// A sweep whose names are looked up.
enum Part {
    /// An axis and how many values it has.
    Axis(usize, usize),
    Grid(Vec<Part>),
    Zip(Vec<Part>, Span),
    Chain(Vec<Part>),
    Exclude(Box<Part>, Vec<Conditions>),
    When(Conditions, Box<Part>),
    /// A point and changes of it.
    Around(Changes),
}

/// A point of some axes, then others that have some of these at other values.
pub(super) struct Changes {
    /// Axis and value of the first point.
    pub first: Vec<(usize, usize)>,
    /// By point after it: the axes that change, and to what.
    pub others: Vec<Vec<(usize, usize)>>,
    /// Whether what a point has changed stays so in those after it.
    pub stay: bool,
}

impl Changes {
    /// Axis and value of every point.
    pub fn points(&self) -> Vec<Vec<(usize, usize)>> {
        let mut points = vec![self.first.clone()];
        for changes in &self.others {
            let before = if self.stay { points.last().expect("the first is there") } else { &self.first };
            let changed = |&(axis, value): &(usize, usize)| {
                (axis, changes.iter().find(|change| change.0 == axis).map_or(value, |change| change.1))
            };
            points.push(before.iter().map(changed).collect());
        }
        points
    }
}

/// The points of a sweep that goes around one, in a pipeline whose sweep was read before.
pub(super) fn changes(pipeline: &Pipeline, sweep: &Sweep) -> Option<Changes> {
    let mut reader = Reader { pipeline, wrong: Diagnostics::new() };
    match reader.read(sweep, &BTreeSet::new())? {
        Part::Around(changes) => Some(changes),
        Part::Axis(..)
        | Part::Grid(_)
        | Part::Zip(..)
        | Part::Chain(_)
        | Part::Exclude(..)
        | Part::When(..) => None,
    }
}

/// Axis → values, any of which will do.
type Conditions = Vec<(usize, Vec<usize>)>;

fn agrees(point: &Point, conditions: &Conditions) -> bool {
    conditions.iter().all(|(axis, values)| point[*axis].is_some_and(|value| values.contains(&value)))
}

impl Part {
    /// At least as many as the points it makes of one; `None` where that is no number.
    fn bound(&self) -> Option<usize> {
        match self {
            Self::Axis(_, count) => Some(*count),
            Self::Grid(parts) => {
                parts.iter().try_fold(1_usize, |bound, part| bound.checked_mul(part.bound()?))
            }
            Self::Zip(parts, _) => parts.iter().try_fold(0, |bound, part| Some(part.bound()?.max(bound))),
            Self::Chain(parts) => {
                parts.iter().try_fold(0_usize, |bound, part| bound.checked_add(part.bound()?))
            }
            Self::Exclude(from, _) => from.bound(),
            Self::When(_, then) => Some(then.bound()?.max(1)),
            Self::Around(changes) => changes.others.len().checked_add(1),
        }
    }

    /// A point with each combination of its axes.
    fn points(&self, from: &Point) -> Result<Vec<Point>, Diagnostic> {
        let with = |choices: &[(usize, usize)]| {
            let mut point = from.clone();
            choices.iter().for_each(|&(axis, value)| point[axis] = Some(value));
            point
        };
        Ok(match self {
            Self::Axis(axis, count) => (0..*count).map(|value| with(&[(*axis, value)])).collect(),
            Self::Grid(parts) => {
                let mut points = vec![from.clone()];
                for part in parts {
                    let longer = points.iter().map(|point| part.points(point));
                    points = longer.collect::<Result<Vec<_>, _>>()?.concat();
                }
                points
            }
            Self::Zip(parts, span) => zip(from, parts, *span)?,
            Self::Chain(parts) => {
                parts.iter().map(|part| part.points(from)).collect::<Result<Vec<_>, _>>()?.concat()
            }
            Self::Exclude(inner, out) => {
                let mut points = inner.points(from)?;
                points.retain(|point| !out.iter().any(|conditions| agrees(point, conditions)));
                points
            }
            Self::When(conditions, then) if agrees(from, conditions) => then.points(from)?,
            Self::When(..) => vec![from.clone()],
            Self::Around(changes) => changes.points().iter().map(|choices| with(choices)).collect(),
        })
    }
}

fn zip(from: &Point, parts: &[Part], span: Span) -> Result<Vec<Point>, Diagnostic> {
    let columns = parts.iter().map(|part| part.points(from)).collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = columns.iter().map(Vec::len).collect();
    if lengths.iter().any(|&length| length != lengths[0]) {
        let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
        let message = format!("`Zip` pairs lists of {} values", lengths.join(" and "));
        return Err(Diagnostic::new(span, message).help("give each as many values as the others"));
    }
    let row = |index: usize| {
        let mut point = from.clone();
        for column in &columns {
            for (axis, value) in column[index].iter().enumerate().filter(|(_, value)| value.is_some()) {
                point[axis] = *value;
            }
        }
        point
    };
    Ok((0..lengths[0]).map(row).collect())
}

fn check_count(pipeline: &Pipeline, whole: &Part) -> Result<(), Diagnostic> {
    let count = whole.bound().and_then(|bound| bound.checked_mul(pipeline.seeds.len()));
    if count.is_some_and(|count| count <= MAX_TRIALS) {
        return Ok(());
    }
    let sizes = pipeline.axes.iter().map(|axis| axis.values.len()).chain([pipeline.seeds.len()]);
    let sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
    let count = count.map_or_else(|| "more than 2^64".to_owned(), |count| count.to_string());
    let message = format!("{count} trials, more than the {MAX_TRIALS} a pipeline may have");
    let help = format!("axes × seeds are {}; take values out", sizes.join(" × "));
    let largest = pipeline.axes.iter().rev().max_by_key(|axis| axis.values.len());
    let place = largest.map_or(pipeline.name.span, |axis| axis.name.span);
    Err(Diagnostic::new(place, message).marked("the largest axis").help(help))
}

/// Looks up the names in a sweep; `None` stands for an error that is recorded.
struct Reader<'a> {
    pipeline: &'a Pipeline,
    wrong: Diagnostics,
}

impl Reader<'_> {
    /// `before` are the axes that are set where this part begins.
    fn read(&mut self, sweep: &Sweep, before: &BTreeSet<usize>) -> Option<Part> {
        match sweep {
            Sweep::Axis(name) => {
                let axis = self.axis(name)?;
                Some(Part::Axis(axis, self.pipeline.axes[axis].values.len()))
            }
            Sweep::Grid(parts) => {
                self.check_disjoint(parts);
                let mut before = before.clone();
                let mut read = Vec::new();
                for part in parts {
                    read.push(self.read(part, &before));
                    before.extend(self.positions(part.sets()));
                }
                Some(Part::Grid(read.into_iter().collect::<Option<_>>()?))
            }
            Sweep::Zip(parts, span) => {
                self.check_disjoint(parts);
                Some(Part::Zip(self.read_all(parts, before)?, *span))
            }
            Sweep::Chain(parts) => Some(Part::Chain(self.read_all(parts, before)?)),
            Sweep::Exclude(from, out) => {
                let sets = from.sets();
                let from = self.read(from, before);
                let set: BTreeSet<usize> = before.union(&self.positions(sets)).copied().collect();
                let out: Vec<Option<Conditions>> =
                    out.iter().map(|choice| self.conditions_on(choice, &set, "Exclude")).collect();
                Some(Part::Exclude(Box::new(from?), out.into_iter().collect::<Option<_>>()?))
            }
            Sweep::When(choice, then) => {
                let conditions = self.conditions_on(choice, before, "When");
                let then = self.read(then, before);
                Some(Part::When(conditions?, Box::new(then?)))
            }
            Sweep::OneAtATime(baseline) => {
                let baseline = self.values(baseline)?;
                let others = |&(axis, usual): &(usize, usize)| {
                    let values = 0..self.pipeline.axes[axis].values.len();
                    values.filter(move |&other| other != usual).map(move |other| vec![(axis, other)])
                };
                let others = baseline.iter().flat_map(others).collect();
                Some(Part::Around(Changes { first: baseline, others, stay: false }))
            }
            Sweep::LeaveOneOut { full, without } => {
                let (all, out) = (self.values(full), self.change(full, "full", without));
                let (all, out) = (all?, out?);
                for (change, (name, _)) in
                    out.iter().zip(&without.axes).filter(|(change, _)| all.contains(change))
                {
                    let label = &self.pipeline.axes[change.0].values[change.1].label;
                    let message =
                        format!("`{}` is `{label}` in `full` too, so nothing is left out", name.text);
                    self.wrong.push(Diagnostic::new(name.span, message).and(full.span, "`full` is here"));
                }
                let others = out.into_iter().map(|change| vec![change]).collect();
                Some(Part::Around(Changes { first: all, others, stay: false }))
            }
            Sweep::Ladder { from, steps } => {
                let first = self.values(from);
                let others: Vec<Option<Vec<(usize, usize)>>> =
                    steps.iter().map(|step| self.change(from, "from", step)).collect();
                let others = others.into_iter().collect::<Option<Vec<_>>>()?;
                let ladder = Changes { first: first?, others, stay: true };
                self.check_steps(&ladder, from, steps);
                Some(Part::Around(ladder))
            }
        }
    }

    /// Every part is read before any is missed, so that all that is wrong is told.
    fn read_all(&mut self, parts: &[Sweep], before: &BTreeSet<usize>) -> Option<Vec<Part>> {
        let read: Vec<Option<Part>> = parts.iter().map(|part| self.read(part, before)).collect();
        read.into_iter().collect()
    }

    /// An axis is set by one part of a point.
    fn check_disjoint(&mut self, parts: &[Sweep]) {
        let mut seen: BTreeMap<&str, (usize, Span)> = BTreeMap::new();
        for (index, name) in parts
            .iter()
            .enumerate()
            .flat_map(|(index, part)| part.sets().into_iter().map(move |it| (index, it)))
        {
            let &mut (first, span) = seen.entry(&name.text).or_insert((index, name.span));
            if first != index {
                let error =
                    Diagnostic::new(name.span, format!("axis `{}` is set twice in a point", name.text));
                self.wrong
                    .push(error.and(span, "it is set here").help("`Chain` puts points one after the other"));
            }
        }
    }

    /// Conditions on axes that are `set` where `form` looks at them.
    fn conditions_on(&mut self, choice: &Choice, set: &BTreeSet<usize>, form: &str) -> Option<Conditions> {
        let conditions = self.conditions(choice)?;
        for ((axis, _), (name, _)) in conditions.iter().zip(&choice.axes) {
            if !set.contains(axis) {
                let message = format!("nothing to the left of this `{form}` sets `{}`", name.text);
                let help = format!("write `Grid([\"{}\", {form}(..)])`", name.text);
                self.wrong.push(Diagnostic::new(name.span, message).help(help));
            }
        }
        Some(conditions)
    }

    fn conditions(&mut self, choice: &Choice) -> Option<Conditions> {
        let read: Vec<Option<(usize, Vec<usize>)>> = choice
            .axes
            .iter()
            .map(|(axis, labels)| {
                let axis = self.axis(axis)?;
                let values: Vec<Option<usize>> = labels.iter().map(|label| self.value(axis, label)).collect();
                Some((axis, values.into_iter().collect::<Option<_>>()?))
            })
            .collect();
        read.into_iter().collect()
    }

    /// A choice of one value for each of its axes.
    fn values(&mut self, choice: &Choice) -> Option<Vec<(usize, usize)>> {
        for (name, labels) in choice.axes.iter().filter(|(_, labels)| labels.len() > 1) {
            let error = format!("`{}` has one value here, not {}", name.text, labels.len());
            self.wrong.push(Diagnostic::new(labels[1].span, error));
        }
        let conditions = self.conditions(choice)?;
        Some(conditions.into_iter().map(|(axis, values)| (axis, values[0])).collect())
    }

    /// What a choice changes of a first point, which the field `field` gives.
    fn change(&mut self, first: &Choice, field: &str, choice: &Choice) -> Option<Vec<(usize, usize)>> {
        for (name, _) in &choice.axes {
            if !first.axes.iter().any(|(known, _)| known.text == name.text) {
                let message = format!("`{field}` gives `{}` no value to change from", name.text);
                let error = Diagnostic::new(name.span, message);
                self.wrong.push(error.and(first.span, format!("`{field}` is here")));
            }
        }
        self.values(choice)
    }

    /// Each step leads to a point of its own, and is called as no other.
    fn check_steps(&mut self, ladder: &Changes, from: &Choice, steps: &[Choice]) {
        if steps.is_empty() {
            self.wrong.push(Diagnostic::new(from.span, "a ladder needs at least one step"));
        }
        let (mut reached, mut changes) = (HashMap::new(), HashMap::new());
        let places = std::iter::once(from.span).chain(steps.iter().map(|step| step.span));
        let changed = std::iter::once(&[][..]).chain(ladder.others.iter().map(Vec::as_slice));
        for ((point, change), span) in ladder.points().into_iter().zip(changed).zip(places) {
            let again =
                reached.insert(point, span).map(|first| ("leads to where the ladder was before", first));
            let same = changes.insert(change, span).map(|first| ("changes what another step changes", first));
            if let Some((what, first)) = again.or(same) {
                let error = Diagnostic::new(span, format!("this step {what}"));
                self.wrong.push(error.and(first, "here"));
            }
        }
    }

    fn positions(&self, names: Vec<&Name>) -> BTreeSet<usize> {
        names.into_iter().filter_map(|name| self.position(name)).collect()
    }

    fn position(&self, name: &Name) -> Option<usize> {
        self.pipeline.axes.iter().position(|axis| axis.name.text == name.text)
    }

    fn axis(&mut self, name: &Name) -> Option<usize> {
        let found = self.position(name);
        if found.is_none() {
            let names = self.pipeline.axes.iter().map(|axis| axis.name.text.as_str());
            let error = Diagnostic::new(name.span, format!("there is no axis `{}`", name.text));
            self.wrong.push(error.suggest(&name.text, "the axes", names));
        }
        found
    }

    fn value(&mut self, axis: usize, label: &Name) -> Option<usize> {
        let values = &self.pipeline.axes[axis].values;
        let found = values.iter().position(|value| value.label == label.text);
        if found.is_none() {
            let axis = &self.pipeline.axes[axis].name.text;
            let labels = values.iter().map(|value| value.label.as_str());
            let error = Diagnostic::new(label.span, format!("axis `{axis}` has no value `{}`", label.text));
            self.wrong.push(error.suggest(&label.text, "its values", labels));
        }
        found
    }
}
