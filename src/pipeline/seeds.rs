//! The shape of the seeds in a pipeline file.

use super::Until;
use super::read::Reader;
use crate::diagnostic::Diagnostic;
use crate::syntax::{Node, Value};

/// The most seeds a pipeline may have.
const MAX_SEEDS: u64 = 1_000_000;

/// How many seeds a cell begins with, where a budget does not say.
const USUAL_MIN: usize = 3;

/// The seeds of a file.
pub(super) struct Seeds {
    /// Distinct, in the order written; of a budget, all it may come to.
    pub all: Vec<u64>,
    /// The budget, where they are one.
    pub until: Option<Until>,
}

impl Reader<'_> {
    pub(super) fn seeds(&mut self, node: &Node) -> Option<Seeds> {
        let expected = |node: &Node| {
            Diagnostic::new(node.span, format!("expected seeds, found {}", node.describe()))
                .help("write whole numbers of at least 0, as `[0, 1, 2]`, a range without its end, as `\"0..3\"`, or a budget, as `Until(ci95: 0.01, max: 20)`")
        };
        let all: Vec<u64> = match &node.value {
            Value::List(items) => {
                let mut seeds = Vec::new();
                for item in items {
                    let seed = match item.value {
                        Value::Integer(seed) => u64::try_from(seed).ok(),
                        _ => None,
                    };
                    match seed {
                        Some(seed) => seeds.push(seed),
                        None => self.wrong.push(expected(item)),
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
            Value::Struct(Some(form), _) | Value::Tuple(Some(form), _) if form.text == "Until" => {
                let until = self.until(node)?;
                return Some(Seeds { all: (0..until.max as u64).collect(), until: Some(until) });
            }
            Value::Struct(Some(form), _) | Value::Tuple(Some(form), _) => {
                let error = Diagnostic::new(form.span, format!("expected seeds, found {}", node.describe()));
                let known = "a list, a range as `\"0..3\"`, or a budget with the fields `ci95` and `max`";
                self.wrong.push(error.suggest(&form.text, known, ["Until"]));
                return None;
            }
            _ => {
                self.wrong.push(expected(node));
                return None;
            }
        };
        let nothing_written = !matches!(&node.value, Value::List(items) if !items.is_empty());
        if all.is_empty() && nothing_written {
            self.wrong.push(Diagnostic::new(node.span, "a pipeline needs at least one seed"));
        }
        Some(Seeds { all, until: None })
    }

    fn until(&mut self, node: &Node) -> Option<Until> {
        let fields = self.fields(node, "`Until`", &["ci95", "max", "min", "metrics"])?;
        let ci95 = self.required(node, "`Until`", &fields, "ci95").and_then(|node| self.half_width(node));
        let max = self.required(node, "`Until`", &fields, "max").and_then(|node| self.count(node));
        let min = fields.get("min").map(|node| self.count(node));
        let metrics = fields.get("metrics").map(|node| self.names(node));
        let (ci95, max) = (ci95?, max?);
        let min = min.unwrap_or(Some(USUAL_MIN.min(max)))?;
        if min > max {
            let error = Diagnostic::new(fields["min"].span, format!("`min` is {min}, above `max`"));
            self.wrong.push(error.and(fields["max"].span, "`max` is here"));
            return None;
        }
        Some(Until { ci95, min, max, metrics: metrics.unwrap_or(Some(Vec::new()))?, span: node.span })
    }

    /// A number above 0. That it is finite is seen to where it is parsed.
    fn half_width(&mut self, node: &Node) -> Option<f64> {
        let number = match node.value {
            Value::Float(number, _) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        };
        let found = number.filter(|number| *number > 0.0 && number.is_finite());
        if found.is_none() {
            let error =
                Diagnostic::new(node.span, format!("expected a number above 0, found {}", node.describe()));
            self.wrong.push(error.help(
                "`ci95` is the half of a 95 % confidence interval that is small enough, in the metric's own unit",
            ));
        }
        found
    }

    fn count(&mut self, node: &Node) -> Option<usize> {
        let found = match node.value {
            Value::Integer(count) => usize::try_from(count).ok(),
            _ => None,
        };
        let found = found.filter(|count| (2..=MAX_SEEDS as usize).contains(count));
        if found.is_none() {
            let message = format!("expected a whole number from 2 to {MAX_SEEDS}, found {}", node.describe());
            self.wrong.push(Diagnostic::new(node.span, message).help("an interval needs two seeds"));
        }
        found
    }
}
