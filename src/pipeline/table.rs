//! The shape of a table in a pipeline file.

use std::collections::BTreeMap;

use super::read::Reader;
use super::{Around, Better, Cell, CellDraft, FormDraft, MetricRef, Placing, Show, TableDraft};
use crate::decode::decode;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::stats::Test;
use crate::syntax::{Name, Node, Value};

/// The most digits after the point.
const MAX_DIGITS: usize = 12;

const FIELDS: [&str; 9] =
    ["rows", "columns", "cell", "cells", "where", "baseline", "test", "published", "within"];
const EFFECTS: [&str; 6] = ["axes", "rows", "cell", "cells", "where", "interactions"];

impl Reader<'_> {
    pub(super) fn table(&mut self, name: Name, node: &Node) -> Option<TableDraft> {
        match node.name() {
            None => self.cells_table(name, node),
            Some("Effects") => self.effects_table(name, node),
            Some(form) => {
                let error = Diagnostic::new(node.name_span(), format!("a table cannot be `{form}`"));
                self.wrong.push(error.suggest(form, "write `(rows: .., cell: ..)`, or one of", ["Effects"]));
                None
            }
        }
    }

    fn cells_table(&mut self, name: Name, node: &Node) -> Option<TableDraft> {
        let fields = self.fields(node, "a table", &FIELDS)?;
        let rows = fields.get("rows").map(|node| self.rows(node));
        let columns = fields.get("columns").map(|node| self.names(node));
        let cells = self.cells(node, &fields);
        let baseline = fields.get("baseline").map(|node| {
            self.entries(node, "a baseline", |_, axis, label| {
                Some((axis, Name { text: label.label(), span: label.span }))
            })
        });
        let within = fields.get("within").map(|node| self.names(node));
        let trials = fields.get("where").map(|node| self.choice(node));
        let test = fields.get("test").map(|node| self.word(node, "a test", &Test::ALL));
        let placings = [("Beside", Placing::Beside), ("Rows", Placing::Rows)];
        let published = fields.get("published").map(|node| self.word(node, "a place", &placings));
        let (form, rows) = rows.unwrap_or_else(|| Some((FormDraft::Cells, Vec::new())))?;
        Some(TableDraft {
            name,
            form,
            rows,
            columns: columns.unwrap_or_else(|| Some(Vec::new()))?,
            cells: cells?,
            baseline: baseline.unwrap_or_else(|| Some(Vec::new()))?,
            test: test.unwrap_or_else(|| Some(Test::default()))?,
            published: published.unwrap_or_else(|| Some(Placing::default()))?,
            within: within.unwrap_or_else(|| Some(Vec::new()))?,
            trials: trials.map_or_else(|| Some(Vec::new()), |choice| Some(choice?.axes))?,
        })
    }

    /// Axes, or the form of sweep whose points are the rows.
    fn rows(&mut self, node: &Node) -> Option<(FormDraft, Vec<Name>)> {
        match node.value {
            Value::Name(_) => {
                let form = self.word(node, "a form of sweep that gives rows", &Around::ALL)?;
                Some((FormDraft::Ablation(form, node.span), Vec::new()))
            }
            _ => Some((FormDraft::Cells, self.names(node)?)),
        }
    }

    fn effects_table(&mut self, name: Name, node: &Node) -> Option<TableDraft> {
        let fields = self.fields(node, "`Effects`", &EFFECTS)?;
        let axes = self.required(node, "`Effects`", &fields, "axes").and_then(|node| self.names(node));
        let rows = fields.get("rows").map(|node| self.names(node));
        let trials = fields.get("where").map(|node| self.choice(node));
        let interactions = fields.get("interactions").map(|node| {
            decode(node)
                .map_err(|errors| self.wrong.extend(errors))
                .ok()
                .map(|is_so: bool| (is_so, node.span))
        });
        let cells = self.cells(node, &fields)?;
        let (axes, interactions) = (axes?, interactions.unwrap_or(Some((false, node.span)))?);
        for cell in cells.iter().filter(|cell| !cell.cell.show.is_mean()) {
            let error = Diagnostic::new(cell.span, "an effect is a difference of means");
            self.wrong.push(error.help("write `MeanCi`, `MeanStd` or `Mean`"));
        }
        let needed = if interactions.0 { 2 } else { 1 };
        if axes.len() < needed {
            let what = if interactions.0 { "interactions need two axes" } else { "effects need an axis" };
            self.wrong.push(Diagnostic::new(interactions.1, what).help("write `axes: [\"graph.k\", ..]`"));
        }
        Some(TableDraft {
            name,
            form: FormDraft::Effects { axes, interactions: interactions.0 },
            rows: rows.unwrap_or_else(|| Some(Vec::new()))?,
            columns: Vec::new(),
            cells,
            baseline: Vec::new(),
            test: Test::default(),
            published: Placing::default(),
            within: Vec::new(),
            trials: trials.map_or_else(|| Some(Vec::new()), |choice| Some(choice?.axes))?,
        })
    }

    /// What is written as `cell` or `cells`.
    fn cells(&mut self, node: &Node, fields: &BTreeMap<&str, &Node>) -> Option<Vec<CellDraft>> {
        match (fields.get("cell"), fields.get("cells")) {
            (Some(node), None) => self
                .cell(node)
                .map(|(cell, span)| vec![CellDraft { title: cell.metric.metric.clone(), cell, span }]),
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
                let error = Diagnostic::new(node.name_span(), "a table needs `cell` or `cells`");
                self.wrong.push(error.help("write `cell: MeanStd(\"probe.accuracy\")`"));
                None
            }
        }
    }

    /// One of some words.
    fn word<T: Copy>(&mut self, node: &Node, what: &str, known: &[(&str, T)]) -> Option<T> {
        let names = known.iter().map(|(name, _)| *name);
        let Value::Name(word) = &node.value else {
            let error = Diagnostic::new(node.span, format!("expected {what}, found {}", node.describe()));
            self.wrong.push(error.suggest("", "one of", names));
            return None;
        };
        let found = known.iter().find(|(name, _)| name == word).map(|(_, value)| *value);
        if found.is_none() {
            let error = Diagnostic::new(node.span, format!("`{word}` is not {what}"));
            self.wrong.push(error.suggest(word, "one of", names));
        }
        found
    }

    fn cell(&mut self, node: &Node) -> Option<(Cell, Span)> {
        let words = Show::ALL.map(|(word, _)| word);
        let expected = || {
            let found = node.describe();
            let error = Diagnostic::new(node.span, format!("expected what a cell shows, found {found}"));
            let (last, others) = words[1..].split_last().expect("there are several");
            error.help(format!(
                "write `{}(\"probe.accuracy\")`; also `{}` and `{last}`",
                words[0],
                others.join("`, `")
            ))
        };
        let Value::Tuple(Some(form), items) = &node.value else {
            self.wrong.push(expected());
            return None;
        };
        let [metric, options @ ..] = items.as_slice() else {
            self.wrong.push(expected());
            return None;
        };
        let text = self.text(metric)?;
        let Some((stage, name)) = text.text.split_once('.') else {
            let error = Diagnostic::new(metric.span, format!("{:?} is not a stage's metric", text.text));
            self.wrong.push(error.help("write `\"stage.metric\"`, as `\"probe.accuracy\"`"));
            return None;
        };
        let Some((_, show)) = Show::ALL.into_iter().find(|(word, _)| *word == form.text) else {
            let error = Diagnostic::new(form.span, format!("a cell cannot show `{}`", form.text));
            self.wrong.push(error.suggest(&form.text, "one of", words));
            return None;
        };
        let better = Better::of(name);
        let metric = MetricRef { stage: stage.to_owned(), metric: name.to_owned() };
        let mut cell = Cell { metric, show, better, percent: false, digits: None };
        for option in options {
            self.option(&mut cell, option)?;
        }
        if cell.show == Show::Best && cell.better.is_none() {
            let error = Diagnostic::new(text.span, format!("nobody knows which `{name}` is best"));
            self.wrong.push(error.help(format!("write `Best({:?}, Higher)` or `Lower`", text.text)));
            return None;
        }
        Some((cell, text.span))
    }

    /// What is written after a cell's metric.
    fn option(&mut self, cell: &mut Cell, node: &Node) -> Option<()> {
        let digits = |items: &[Node]| match items {
            [Node { value: Value::Integer(digits), .. }] => {
                usize::try_from(*digits).ok().filter(|digits| *digits <= MAX_DIGITS)
            }
            _ => None,
        };
        match &node.value {
            Value::Name(word) if word == "Higher" => cell.better = Some(Better::Higher),
            Value::Name(word) if word == "Lower" => cell.better = Some(Better::Lower),
            Value::Name(word) if word == "Percent" => cell.percent = true,
            Value::Tuple(Some(name), items) if name.text == "Digits" && digits(items).is_some() => {
                cell.digits = digits(items);
            }
            _ => {
                let error =
                    Diagnostic::new(node.span, format!("expected how to show it, found {}", node.describe()));
                let help = format!("`Higher`, `Lower`, `Percent` or `Digits(n)` with n up to {MAX_DIGITS}");
                self.wrong.push(error.help(help));
                return None;
            }
        }
        Some(())
    }
}
