//! A pipeline file as written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{SourceId, SourceMap, Span};
use crate::syntax::{self, Field, Name, Node, Value};

/// The largest pipeline file that is read.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most seeds a pipeline may have.
const MAX_SEEDS: u64 = 1_000_000;

/// A pipeline file as written: every name and value with its place, nothing looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: Name,
    /// In the order written.
    pub stages: Vec<StageSpec>,
    /// In the order written.
    pub axes: Vec<AxisSpec>,
    /// Distinct, in the order written; `[0]` where none are.
    pub seeds: Vec<u64>,
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
}

/// An input of a stage as written.
#[derive(Clone, Debug, PartialEq)]
pub struct WireSpec {
    /// The input port.
    pub port: Name,
    /// `stage` or `stage.output`, as a string.
    pub source: Node,
}

/// An axis as written.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisSpec {
    /// Its name, which is its path where it sets one thing.
    pub name: Name,
    /// What it sets: `stage`, `stage.field` or `stage.from.port`.
    pub paths: Vec<Name>,
    /// In the order written.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// What it is called in tables and instances.
    pub label: String,
    /// The value.
    pub value: Node,
}

/// A table as written.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDraft {
    /// Its name.
    pub name: Name,
    /// Axes whose values become rows, outermost first.
    pub rows: Vec<Name>,
    /// Axes whose values become columns, outermost first.
    pub columns: Vec<Name>,
    /// What its cells show, in the order written.
    pub cells: Vec<CellDraft>,
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
    /// Axes whose values become rows, outermost first.
    pub rows: Vec<String>,
    /// Axes whose values become columns, outermost first.
    pub columns: Vec<String>,
    /// Column name → what its cells show, in the order written.
    pub cells: Vec<(String, Cell)>,
    /// Where it was written.
    pub span: Span,
}

/// What a cell shows of the trials that fall into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Mean ± sample standard deviation over seeds.
    MeanStd(MetricRef),
    /// Mean over seeds.
    Mean(MetricRef),
    /// Median over seeds.
    Median(MetricRef),
}

/// A metric of a stage, written `probe.accuracy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRef {
    /// The stage's name in the pipeline.
    pub stage: String,
    /// The metric's name.
    pub metric: String,
}

impl Cell {
    /// The metric it is made of.
    pub fn metric(&self) -> &MetricRef {
        match self {
            Self::MeanStd(metric) | Self::Mean(metric) | Self::Median(metric) => metric,
        }
    }
}

impl fmt::Display for MetricRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stage, self.metric)
    }
}

/// Reads a pipeline file and adds its text to `sources`, under the path as given.
///
/// # Errors
/// Why the file cannot be read, or everything wrong with its shape.
pub fn load(path: &Path, sources: &mut SourceMap) -> Result<Pipeline, Diagnostics> {
    let name = path.display().to_string();
    let unreadable =
        |why: &dyn std::fmt::Display| Diagnostic::without_place(format!("cannot read {name}: {why}"));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(
            unreadable(&format!("the file is larger than {limit} MiB, too large for a pipeline")).into()
        );
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        unreadable(&format!("line {line} is not UTF-8")).help("save the file as UTF-8")
    })?;
    let source = sources.add(name, text);
    parse(source, sources.text(source))
}

/// Parses the text of a pipeline file.
///
/// # Errors
/// The first place where it is not RON, or everything wrong with its shape.
pub fn parse(source: SourceId, text: &str) -> Result<Pipeline, Diagnostics> {
    let node = syntax::parse(source, text)?;
    let mut reader = Reader { wrong: Diagnostics::new() };
    match reader.pipeline(&node) {
        Some(pipeline) => reader.wrong.or(pipeline),
        None => Err(reader.wrong),
    }
}

/// Reads the shape of a file; `None` stands for an error that is recorded.
struct Reader {
    wrong: Diagnostics,
}

impl Reader {
    fn pipeline(&mut self, node: &Node) -> Option<Pipeline> {
        if let Some(name) = node.name()
            && name != "Pipeline"
        {
            let error = Diagnostic::new(node.name_span(), format!("expected `Pipeline(..)`, found `{name}`"));
            self.wrong.push(error);
            return None;
        }
        let known = ["name", "stages", "axes", "seeds", "tables"];
        let fields = self.fields(node, "`Pipeline`", &known)?;
        let name = self.required(node, "`Pipeline`", &fields, "name").and_then(|node| self.text(node));
        let stages = self.required(node, "`Pipeline`", &fields, "stages");
        let stages = stages.and_then(|node| self.entries(node, "stages", Self::stage));
        let axes = fields.get("axes").map(|node| self.entries(node, "axes", Self::axis));
        let seeds = fields.get("seeds").map(|node| self.seeds(node));
        let tables = fields.get("tables").map(|node| self.entries(node, "tables", Self::table));
        Some(Pipeline {
            name: name?,
            stages: stages?,
            axes: axes.unwrap_or_else(|| Some(Vec::new()))?,
            seeds: seeds.unwrap_or_else(|| Some(vec![0]))?,
            tables: tables.unwrap_or_else(|| Some(Vec::new()))?,
        })
    }

    fn stage(&mut self, name: Name, node: &Node) -> Option<StageSpec> {
        self.check_stage_name(&name);
        let fields = self.fields(node, "a stage", &["stage", "from"])?;
        let from = fields.get("from").map(|node| {
            self.entries(node, "inputs", |_, port, source| Some(WireSpec { port, source: source.clone() }))
        });
        let stage = self.required(node, "a stage", &fields, "stage")?;
        if stage.name().is_none() {
            let error = Diagnostic::new(
                stage.span,
                format!("expected a stage kind, as `KnnGraph(k: 10)`, found {}", stage.describe()),
            );
            self.wrong.push(error.help("`ablate stages` lists the kinds"));
            return None;
        }
        let from = from.unwrap_or_else(|| Some(Vec::new()))?;
        Some(StageSpec { name, stage: stage.clone(), from })
    }

    fn check_stage_name(&mut self, name: &Name) {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if name.text.is_empty() || !name.text.chars().all(is_plain) {
            let error = Diagnostic::new(name.span, format!("{:?} cannot be a stage's name", name.text));
            self.wrong.push(error.help("a stage's name is made of letters, digits, `_` and `-`"));
        }
    }

    fn axis(&mut self, name: Name, node: &Node) -> Option<AxisSpec> {
        if name.text == "seed" {
            self.wrong
                .push(Diagnostic::new(name.span, "`seed` is the seeds' axis").help("write `seeds: [0, 1]`"));
            return None;
        }
        if let Value::Struct(None, _) = &node.value {
            let fields = self.fields(node, "an axis", &["paths", "values"])?;
            let paths = self.required(node, "an axis", &fields, "paths").and_then(|node| self.names(node));
            let values = self.required(node, "an axis", &fields, "values").and_then(|node| self.values(node));
            return Some(AxisSpec { name, paths: paths?, values: values? });
        }
        let values = self.values(node)?;
        Some(AxisSpec { paths: vec![name.clone()], name, values })
    }

    fn values(&mut self, node: &Node) -> Option<Vec<AxisValue>> {
        let values: Vec<AxisValue> = match &node.value {
            Value::List(items) => {
                items.iter().map(|item| AxisValue { label: item.label(), value: item.clone() }).collect()
            }
            Value::Map(entries) => entries
                .iter()
                .map(|(key, value)| AxisValue { label: key.label(), value: value.clone() })
                .collect(),
            _ => {
                let error = Diagnostic::new(
                    node.span,
                    format!("expected an axis' values, found {}", node.describe()),
                );
                self.wrong
                    .push(error.help("write `[5, 10]`, `{\"label\": value}` or `(paths: [..], values: ..)`"));
                return None;
            }
        };
        if values.is_empty() {
            self.wrong.push(Diagnostic::new(node.span, "an axis needs at least one value"));
            return None;
        }
        let labels = values.iter().map(|value| (value.value.span, &value.label));
        self.check_distinct("value", labels);
        Some(values)
    }

    fn seeds(&mut self, node: &Node) -> Option<Vec<u64>> {
        let expected = |node: &Node| {
            Diagnostic::new(node.span, format!("expected seeds, found {}", node.describe()))
                .help("write whole numbers of at least 0, as `[0, 1, 2]`, or a range without its end, as `\"0..3\"`")
        };
        let seeds: Vec<u64> = match &node.value {
            Value::List(items) => {
                let mut seeds = Vec::new();
                for item in items {
                    match item.value {
                        Value::Integer(seed) if u64::try_from(seed).is_ok() => {
                            seeds.push(u64::try_from(seed).expect("just tried"));
                        }
                        _ => self.wrong.push(expected(item)),
                    }
                }
                self.check_distinct("seed", items.iter().map(|item| (item.span, item.label())));
                seeds
            }
            Value::Text(text) => {
                let bound = |text: &str| text.trim().parse::<u64>().ok();
                let range = text.split_once("..").and_then(|(from, to)| Some(bound(from)?..bound(to)?));
                match range {
                    Some(range) if range.end.saturating_sub(range.start) > MAX_SEEDS => {
                        let error = Diagnostic::new(node.span, format!("more than {MAX_SEEDS} seeds"));
                        self.wrong.push(error);
                        return None;
                    }
                    Some(range) => range.collect(),
                    None => {
                        self.wrong.push(expected(node));
                        return None;
                    }
                }
            }
            _ => {
                self.wrong.push(expected(node));
                return None;
            }
        };
        if seeds.is_empty() && self.wrong.is_empty() {
            self.wrong.push(Diagnostic::new(node.span, "a pipeline needs at least one seed"));
        }
        Some(seeds)
    }

    fn table(&mut self, name: Name, node: &Node) -> Option<TableDraft> {
        let fields = self.fields(node, "a table", &["rows", "columns", "cell", "cells"])?;
        let rows = fields.get("rows").map(|node| self.names(node));
        let columns = fields.get("columns").map(|node| self.names(node));
        let cells = match (fields.get("cell"), fields.get("cells")) {
            (Some(node), None) => self
                .cell(node)
                .map(|(cell, span)| vec![CellDraft { title: cell.metric().metric.clone(), cell, span }]),
            (None, Some(node)) => self.entries(node, "cells", |reader, title, node| {
                let (cell, span) = reader.cell(node)?;
                Some(CellDraft { title: title.text, cell, span })
            }),
            (Some(one), Some(many)) => {
                let error = Diagnostic::new(many.span, "a table has either `cell` or `cells`");
                self.wrong.push(error.and(one.span, "`cell` is here"));
                None
            }
            (None, None) => {
                let error = Diagnostic::new(node.span, "a table needs `cell` or `cells`");
                self.wrong.push(error.help("write `cell: MeanStd(\"probe.accuracy\")`"));
                None
            }
        };
        let rows = rows.unwrap_or_else(|| Some(Vec::new()))?;
        let columns = columns.unwrap_or_else(|| Some(Vec::new()))?;
        Some(TableDraft { name, rows, columns, cells: cells? })
    }

    fn cell(&mut self, node: &Node) -> Option<(Cell, Span)> {
        let expected = || {
            Diagnostic::new(node.span, format!("expected what a cell shows, found {}", node.describe()))
                .help("write `MeanStd(\"probe.accuracy\")`; also `Mean` and `Median`")
        };
        let Value::Tuple(Some(form), items) = &node.value else {
            self.wrong.push(expected());
            return None;
        };
        let [metric] = items.as_slice() else {
            self.wrong.push(expected());
            return None;
        };
        let text = self.text(metric)?;
        let Some((stage, name)) = text.text.split_once('.') else {
            let error = Diagnostic::new(metric.span, format!("{:?} is not a stage's metric", text.text));
            self.wrong.push(error.help("write `\"stage.metric\"`, as `\"probe.accuracy\"`"));
            return None;
        };
        let metric = MetricRef { stage: stage.to_owned(), metric: name.to_owned() };
        let cell = match form.text.as_str() {
            "MeanStd" => Cell::MeanStd(metric),
            "Mean" => Cell::Mean(metric),
            "Median" => Cell::Median(metric),
            other => {
                let error = Diagnostic::new(form.span, format!("a cell cannot show `{other}`"));
                self.wrong.push(error.suggest(other, "one of", ["MeanStd", "Mean", "Median"]));
                return None;
            }
        };
        Some((cell, text.span))
    }

    /// The fields of a struct by name; unknown ones are recorded.
    fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&'static str],
    ) -> Option<BTreeMap<&'n str, &'n Node>> {
        let fields: &[Field] = match &node.value {
            Value::Struct(_, fields) => fields,
            Value::Tuple(_, items) if items.is_empty() => &[],
            _ => {
                let error = Diagnostic::new(
                    node.span,
                    format!("expected {what}, as `({}: ..)`, found {}", known[0], node.describe()),
                );
                self.wrong.push(error);
                return None;
            }
        };
        let (known_fields, unknown): (Vec<_>, Vec<_>) =
            fields.iter().partition(|field| known.contains(&field.name.text.as_str()));
        for Field { name, .. } in unknown {
            let error = Diagnostic::new(name.span, format!("{what} has no field `{}`", name.text));
            self.wrong.push(error.suggest(&name.text, "its fields", known.iter().copied()));
        }
        Some(known_fields.into_iter().map(|field| (field.name.text.as_str(), &field.value)).collect())
    }

    fn required<'n>(
        &mut self,
        node: &Node,
        what: &str,
        fields: &BTreeMap<&str, &'n Node>,
        name: &str,
    ) -> Option<&'n Node> {
        let found = fields.get(name).copied();
        if found.is_none() {
            self.wrong.push(Diagnostic::new(node.name_span(), format!("{what} needs the field `{name}`")));
        }
        found
    }

    /// The entries of a map whose keys are strings; wrong ones are recorded and left out.
    fn entries<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut read: impl FnMut(&mut Self, Name, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Map(entries) = &node.value else {
            let error = Diagnostic::new(
                node.span,
                format!("expected {what} as a map, `{{\"name\": ..}}`, found {}", node.describe()),
            );
            self.wrong.push(error);
            return None;
        };
        let mut all = Vec::new();
        for (key, value) in entries {
            all.extend(self.text(key).and_then(|name| read(self, name, value)));
        }
        Some(all)
    }

    fn names(&mut self, node: &Node) -> Option<Vec<Name>> {
        let Value::List(items) = &node.value else {
            let error =
                Diagnostic::new(node.span, format!("expected a list of strings, found {}", node.describe()));
            self.wrong.push(error);
            return None;
        };
        let names: Vec<Name> = items.iter().filter_map(|item| self.text(item)).collect();
        self.check_distinct("name", names.iter().map(|name| (name.span, &name.text)));
        Some(names)
    }

    fn text(&mut self, node: &Node) -> Option<Name> {
        if let Value::Text(text) = &node.value {
            return Some(Name { span: node.span, text: text.clone() });
        }
        let error = Diagnostic::new(node.span, format!("expected a string, found {}", node.describe()));
        self.wrong.push(match &node.value {
            Value::Name(name) => error.help(format!("write \"{name}\" in double quotes")),
            _ => error,
        });
        None
    }

    fn check_distinct<T: AsRef<str>>(&mut self, what: &str, names: impl Iterator<Item = (Span, T)>) {
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        for (span, name) in names {
            if let Some(first) = seen.get(name.as_ref()) {
                let error = Diagnostic::new(span, format!("{what} `{}` is written twice", name.as_ref()));
                self.wrong.push(error.marked("again here").and(*first, "first here"));
            } else {
                seen.insert(name.as_ref().to_owned(), span);
            }
        }
    }
}
