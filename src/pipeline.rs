//! A pipeline as written, in one file or several.

mod compose;
mod overrides;
mod read;
mod seeds;
mod sweep;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::diagnostic::Diagnostics;
use crate::resources::Resources;
use crate::source::{SourceId, SourceMap, Span};
use crate::stats::Test;
use crate::syntax::{Name, Node};

pub use compose::{MAX_FILE_BYTES, MAX_FILES};
pub use overrides::Overrides;

/// A pipeline as written: every name and value with its place, nothing looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: Name,
    /// In the order written.
    pub stages: Vec<StageSpec>,
    /// What is set in the stages before the axes set anything; of two for one place the later holds.
    pub settings: Vec<Setting>,
    /// In the order written.
    pub axes: Vec<AxisSpec>,
    /// How the axes are combined; the grid of all of them where nothing is written.
    pub sweep: Option<Sweep>,
    /// Distinct, in the order written; `[0]` where none are; of a budget, all it may come to.
    pub seeds: Vec<u64>,
    /// How far the seeds go, where they are a budget.
    pub until: Option<Until>,
    /// In the order written.
    pub tables: Vec<TableDraft>,
}

/// A stage as written.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSpec {
    /// Its name.
    pub name: Name,
    /// The stage kind and its fields.
    pub stage: Node,
    /// Its inputs.
    pub from: Vec<WireSpec>,
    /// What it may take up, where that is not as its kind says.
    pub resources: Resources,
}

/// An input of a stage as written.
#[derive(Clone, Debug, PartialEq)]
pub struct WireSpec {
    /// The input port.
    pub port: Name,
    /// `stage` or `stage.output`, as a string.
    pub source: Node,
}

/// A place in a stage, and what it is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `stage`, `stage.field` or `stage.from.port`.
    pub path: Name,
    /// What is put there.
    pub value: Assigned,
}

/// What a place is set to.
#[derive(Clone, Debug, PartialEq)]
pub enum Assigned {
    /// A value: of a field, a stage kind with its fields, or what an input is plugged into.
    Value(Node),
    /// A stage with inputs of its own, written `(stage: .., from: {..})`.
    Stage {
        /// The stage kind and its fields.
        stage: Node,
        /// Its inputs; others are left open.
        from: Vec<WireSpec>,
    },
}

impl Assigned {
    /// Where it was written.
    pub fn span(&self) -> Span {
        match self {
            Self::Value(node) | Self::Stage { stage: node, .. } => node.span,
        }
    }
}

/// An axis as written.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisSpec {
    /// Its name, which is its path where it sets one thing.
    pub name: Name,
    /// The places its plain values go to: its name, or what is written as `paths`.
    pub paths: Vec<Name>,
    /// In the order written.
    pub values: Vec<AxisValue>,
    /// The names of values that the file gives it and the command line has taken away.
    pub left_out: Vec<String>,
}

impl AxisSpec {
    /// Whether a value that is no `Set` would go to places that others of it set.
    pub fn takes_plain_values(&self) -> bool {
        self.places().any(|place| self.paths.iter().any(|path| path.text == place.text))
    }

    /// The places its values set, as often as they do.
    pub fn places(&self) -> impl Iterator<Item = &Name> {
        self.values.iter().flat_map(|value| &value.settings).map(|setting| &setting.path)
    }
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// What it is called in tables and instances.
    pub label: String,
    /// What it sets.
    pub settings: Vec<Setting>,
    /// Where it was written.
    pub span: Span,
}

/// How axes are combined to points.
#[derive(Clone, Debug, PartialEq)]
pub enum Sweep {
    /// Each value of an axis.
    Axis(Name),
    /// Every combination. A [`Sweep::When`] looks at what is to the left of it.
    Grid(Vec<Sweep>),
    /// The first of each together, the second of each, and so on.
    Zip(Vec<Sweep>, Span),
    /// One after the other; what comes again is left out.
    Chain(Vec<Sweep>),
    /// Without the points that agree with one of these.
    Exclude(Box<Sweep>, Vec<Choice>),
    /// Only where the point so far agrees with the choice; elsewhere its axes are not set.
    When(Choice, Box<Sweep>),
    /// The baseline, then for each of its axes every other value, the rest as in the baseline.
    OneAtATime(Choice),
    /// The full system, then for each axis of `without` the full system with that axis as there.
    LeaveOneOut {
        /// Every axis as it is when nothing is left out.
        full: Choice,
        /// Axes as they are when left out.
        without: Choice,
    },
    /// A first point, then one for each step, which keeps what the steps before it have changed.
    Ladder {
        /// Every axis before the first step.
        from: Choice,
        /// What each step changes.
        steps: Vec<Choice>,
    },
}

/// Axes and values of them, by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Axis → labels, any of which will do.
    pub axes: Vec<(Name, Vec<Name>)>,
    /// Where it was written.
    pub span: Span,
}

/// Seeds as a budget, as written: `Until(ci95: 0.3, max: 20)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Until {
    /// The half of a 95 % confidence interval that is small enough, in the metric's own unit; finite and above 0.
    pub ci95: f64,
    /// With how many seeds a cell begins; at least 2, which an interval needs.
    pub min: usize,
    /// With how many seeds it ends in any case; at least `min`.
    pub max: usize,
    /// The metrics it is about, as `probe.accuracy`; those of all tables where none is named.
    pub metrics: Vec<Name>,
    /// Where it was written.
    pub span: Span,
}

/// A table as written.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDraft {
    /// Its name.
    pub name: Name,
    /// What it makes of its trials.
    pub form: FormDraft,
    /// Axes whose values become rows, outermost first.
    pub rows: Vec<Name>,
    /// Axes whose values become columns, outermost first.
    pub columns: Vec<Name>,
    /// What its cells show, in the order written.
    pub cells: Vec<CellDraft>,
    /// Axes and the labels that cells are compared with.
    pub baseline: Vec<(Name, Name)>,
    /// How they are compared.
    pub test: Test,
    /// Where published values go.
    pub published: Placing,
    /// Axes among whose values best and second best are marked apart.
    pub within: Vec<Name>,
    /// Axes and the labels that its trials have of them.
    pub trials: Vec<(Name, Vec<Name>)>,
}

/// What a table makes of its trials, as written.
#[derive(Clone, Debug, PartialEq)]
pub enum FormDraft {
    /// As [`Form::Cells`].
    Cells,
    /// As [`Form::Ablation`]: the form of sweep, and where it was written.
    Ablation(Around, Span),
    /// As [`Form::Effects`].
    Effects {
        /// Axes whose effects are shown.
        axes: Vec<Name>,
        /// Whether those of each two of them are shown as well.
        interactions: bool,
    },
}

/// A cell as written.
#[derive(Clone, Debug, PartialEq)]
pub struct CellDraft {
    /// The column's title; the metric's name where only one cell is written.
    pub title: String,
    /// What it shows.
    pub cell: Cell,
    /// Where the metric was written.
    pub span: Span,
}

/// A table to print, its axes and metrics checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// What it makes of its trials.
    pub form: Form,
    /// Axes whose values become rows, outermost first.
    pub rows: Vec<String>,
    /// Axes whose values become columns, outermost first.
    pub columns: Vec<String>,
    /// Column name → what its cells show, in the order written.
    pub cells: Vec<(String, Cell)>,
    /// Axis → label: each cell is compared with the one that has these labels and is like it otherwise. Empty where
    /// nothing is compared.
    pub baseline: Vec<(String, String)>,
    /// How they are compared.
    pub test: Test,
    /// Where published values go.
    pub published: Placing,
    /// Axes among whose values best and second best are marked apart: data sets, say.
    pub within: Vec<String>,
    /// Of which trials it is; all where nothing is said.
    pub trials: Vec<Condition>,
}

/// What the trials of a table have of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The axis, by its place.
    pub axis: usize,
    /// Its name, and the labels as written.
    pub written: (String, BTreeSet<String>),
    /// Values, by their places; `None` is a trial whose point does not set the axis.
    pub values: Vec<Option<usize>>,
    /// "with `method=SimCLR,NNCLR`", or "without `width`".
    pub told: String,
}

/// What a table makes of its trials.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Statistics of the trials of each cell.
    Cells,
    /// The same, and the rows are the points of an ablation.
    Ablation(Ablation),
    /// What the values of some axes do to the mean, over all others.
    Effects {
        /// The axes.
        axes: Vec<String>,
        /// Whether what each two of them do together is shown as well.
        interactions: bool,
    },
}

/// A form of sweep whose points are a first one and changes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// [`Sweep::OneAtATime`].
    OneAtATime,
    /// [`Sweep::LeaveOneOut`].
    LeaveOneOut,
    /// [`Sweep::Ladder`].
    Ladder,
}

impl Around {
    /// Each of them by the word in pipeline files.
    pub const ALL: [(&'static str, Self); 3] =
        [("Ladder", Self::Ladder), ("OneAtATime", Self::OneAtATime), ("LeaveOneOut", Self::LeaveOneOut)];

    /// Its word in pipeline files.
    pub fn word(self) -> &'static str {
        match self {
            Self::OneAtATime => "OneAtATime",
            Self::LeaveOneOut => "LeaveOneOut",
            Self::Ladder => "Ladder",
        }
    }

    /// What its points are called above the rows of a table.
    pub fn heading(self) -> &'static str {
        match self {
            Self::OneAtATime | Self::LeaveOneOut => "change",
            Self::Ladder => "step",
        }
    }

    /// What its first point is called.
    pub fn first(self) -> &'static str {
        match self {
            Self::OneAtATime | Self::Ladder => "baseline",
            Self::LeaveOneOut => "full",
        }
    }
}

/// The points of a [`Sweep`] around one of them, as the rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Ablation {
    /// The form of sweep.
    pub form: Around,
    /// The first point, then the others, in their order.
    pub points: Vec<AblationPoint>,
    /// What the first point is, and what is left out of it: `baseline: k=10, method=SimCLR`.
    pub told: String,
}

/// A point of an [`Ablation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AblationPoint {
    /// What it changes: `+ k=20`, `k=20`, `without k`.
    pub label: String,
    /// Axis and value of it, as [`crate::graph::Trial::point`] has them; the same axes in every point.
    pub values: Vec<(usize, usize)>,
}

impl Ablation {
    /// The label of the point that another is compared with: the one before on a ladder, else the first.
    pub fn before(&self, label: &str) -> Option<&String> {
        let at = self.points.iter().position(|point| point.label == label)?;
        let before = match self.form {
            Around::OneAtATime | Around::LeaveOneOut => 0,
            Around::Ladder => at.saturating_sub(1),
        };
        (at > 0).then(|| &self.points[before].label)
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(|point| point.label.as_str())
    }
}

impl TableSpec {
    /// The metrics of its cells, each once.
    pub fn metrics(&self) -> Vec<MetricRef> {
        let mut metrics = Vec::new();
        self.cells.iter().for_each(|(_, cell)| add(&mut metrics, &cell.metric));
        metrics
    }

    /// Whether the trials of a point, the index of each axis' value, are of the table; of an ablation, at one of its points.
    pub fn is_of(&self, point: &[Option<usize>]) -> bool {
        let is_at = |at: &AblationPoint| at.values.iter().all(|&(axis, value)| point[axis] == Some(value));
        let is_meant = match &self.form {
            Form::Ablation(ablation) => ablation.points.iter().any(is_at),
            Form::Cells | Form::Effects { .. } => true,
        };
        is_meant && self.trials.iter().all(|condition| condition.values.contains(&point[condition.axis]))
    }

    /// Whether an axis is named as a row, a column or one with effects.
    pub fn shows(&self, axis: &String) -> bool {
        let effects = match &self.form {
            Form::Effects { axes, .. } => axes.as_slice(),
            Form::Cells | Form::Ablation(_) => &[],
        };
        [&self.rows, &self.columns, effects].iter().any(|axes| axes.contains(axis))
    }

    /// Of which trials it is, in words, where not of all.
    pub fn which_trials(&self) -> Option<String> {
        let conditions: Vec<&str> = self.trials.iter().map(|it| it.told.as_str()).collect();
        (!conditions.is_empty()).then(|| format!("only trials {}", conditions.join(" and ")))
    }

    /// This table with what another of its name has beside it: further axes and cells.
    ///
    /// # Errors
    /// Where both compare with a baseline, and not with the same, have different forms, or are of some trials, and not of the same.
    pub fn and(mut self, other: &Self) -> Result<Self, String> {
        let fit = match (&mut self.form, &other.form) {
            (Form::Cells, Form::Cells) => true,
            (Form::Ablation(one), Form::Ablation(two)) => {
                one.form == two.form && one.labels().eq(two.labels()) && one.told == two.told
            }
            (Form::Effects { axes, interactions }, Form::Effects { axes: more, interactions: too }) => {
                more.iter().for_each(|axis| add(axes, axis));
                *interactions |= too;
                true
            }
            (Form::Cells | Form::Ablation(_) | Form::Effects { .. }, _) => false,
        };
        if !fit {
            return Err(format!(
                "table `{}` shows one thing in one pipeline and another in another; print them one by one",
                self.name
            ));
        }
        let written =
            |spec: &Self| spec.trials.iter().map(|it| it.written.clone()).collect::<BTreeMap<_, _>>();
        if written(&self) != written(other) {
            return Err(format!(
                "table `{}` is of other trials in one pipeline than in another; print them one by one",
                self.name
            ));
        }
        for (axis, label) in &other.baseline {
            let rival = self.baseline.iter().find(|(known, other)| known == axis && other != label);
            if let Some((_, rival)) = rival {
                return Err(format!(
                    "table `{}` compares with {axis}={rival} in one pipeline and with {axis}={label} in another; give \
                     both one baseline, or print them one by one",
                    self.name
                ));
            }
        }
        other.rows.iter().for_each(|axis| add(&mut self.rows, axis));
        other.columns.iter().for_each(|axis| add(&mut self.columns, axis));
        self.rows.retain(|axis| !self.columns.contains(axis));
        other.cells.iter().for_each(|cell| add(&mut self.cells, cell));
        other.baseline.iter().for_each(|choice| add(&mut self.baseline, choice));
        other.within.iter().for_each(|axis| add(&mut self.within, axis));
        Ok(self)
    }
}

/// Adds what is not there yet.
fn add<T: Clone + PartialEq>(to: &mut Vec<T>, item: &T) {
    if !to.contains(item) {
        to.push(item.clone());
    }
}

/// Where published values go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// Beside our value of the same labels, with the difference; in a row of their own where there is none.
    #[default]
    Beside,
    /// In rows of their own.
    Rows,
}

/// What a cell shows of the trials that fall into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The metric it is made of.
    pub metric: MetricRef,
    /// What it shows of it.
    pub show: Show,
    /// Which values are better; `None` where nobody knows, and none is marked as best.
    pub better: Option<Better>,
    /// Whether a fraction is shown as a percentage.
    pub percent: bool,
    /// Digits after the point; `None` for as many as suit the value.
    pub digits: Option<usize>,
}

/// What is shown of a metric over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Mean ± sample standard deviation.
    MeanStd,
    /// Mean with its 95 % confidence interval.
    MeanCi,
    /// Mean.
    Mean,
    /// Median.
    Median,
    /// The best value.
    Best,
    /// How many values there are.
    Count,
}

impl Show {
    /// Each of them by the word in pipeline files.
    pub const ALL: [(&'static str, Self); 6] = [
        ("MeanStd", Self::MeanStd),
        ("MeanCi", Self::MeanCi),
        ("Mean", Self::Mean),
        ("Median", Self::Median),
        ("Best", Self::Best),
        ("Count", Self::Count),
    ];

    /// What stands in a cell, in words; nothing for a number of seeds.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::MeanStd => Some("mean ± sample standard deviation"),
            Self::MeanCi => Some("mean [95 % confidence interval]"),
            Self::Mean => Some("mean"),
            Self::Median => Some("median"),
            Self::Best => Some("best"),
            Self::Count => None,
        }
    }

    /// Whether it is a mean, which is what tests and effects are about.
    pub fn is_mean(self) -> bool {
        match self {
            Self::MeanStd | Self::MeanCi | Self::Mean => true,
            Self::Median | Self::Best | Self::Count => false,
        }
    }
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Those that are higher.
    Higher,
    /// Those that are lower.
    Lower,
}

impl Better {
    /// What is better of a metric of this name, by its words: `top1_accuracy`, `validation_loss`, `purity@5`.
    pub fn of(metric: &str) -> Option<Self> {
        metric.split(|c: char| !c.is_alphanumeric()).rev().find_map(|word| match word {
            "accuracy" | "acc" | "nmi" | "ari" | "ami" | "fmi" | "purity" | "f1" | "auc" | "auroc"
            | "precision" | "recall" | "map" | "homophily" | "kept" => Some(Self::Higher),
            "loss" | "error" | "err" | "nll" | "ece" | "mse" | "mae" | "rmse" | "perplexity" | "seconds" => {
                Some(Self::Lower)
            }
            _ => None,
        })
    }
}

/// A metric of a stage, written `probe.accuracy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricRef {
    /// The stage's name in the pipeline.
    pub stage: String,
    /// The metric's name.
    pub metric: String,
}

impl fmt::Display for MetricRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stage, self.metric)
    }
}

/// Reads a pipeline file and the files it names, and adds their texts to `sources`, under paths as given. What the command
/// line overrides comes last.
///
/// # Errors
/// Why a file cannot be read, or everything wrong with their shapes.
pub fn load(path: &Path, overrides: &Overrides, sources: &mut SourceMap) -> Result<Pipeline, Diagnostics> {
    compose::load(path, None, overrides, sources)
}

/// The same from the texts of these files as they once were, by the names they are shown by.
///
/// # Errors
/// As [`load`], and where a text is not among these.
pub fn load_kept(
    path: &Path,
    texts: &BTreeMap<String, String>,
    overrides: &Overrides,
    sources: &mut SourceMap,
) -> Result<Pipeline, Diagnostics> {
    compose::load(path, Some(texts), overrides, sources)
}

/// Parses the text of a pipeline file that names no others.
///
/// # Errors
/// The first place where it is not RON, or everything wrong with its shape.
pub fn parse(source: SourceId, text: &str) -> Result<Pipeline, Diagnostics> {
    compose::parse(source, text)
}
