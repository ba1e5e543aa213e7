//! The shape of a sweep.

use super::read::Reader;
use super::{Around, Choice, Sweep};
use crate::diagnostic::Diagnostic;
use crate::syntax::{Name, Node, Value};

const FORMS: [&str; 8] = ["Grid", "Zip", "Chain", "Exclude", "When", "OneAtATime", "LeaveOneOut", "Ladder"];

impl Sweep {
    /// The axes it sets, as often as they are written.
    pub fn sets(&self) -> Vec<&Name> {
        match self {
            Self::Axis(name) => vec![name],
            Self::Grid(parts) | Self::Zip(parts, _) | Self::Chain(parts) => {
                parts.iter().flat_map(Self::sets).collect()
            }
            Self::Exclude(from, _) => from.sets(),
            Self::When(_, then) => then.sets(),
            Self::OneAtATime(choice)
            | Self::LeaveOneOut { full: choice, .. }
            | Self::Ladder { from: choice, .. } => choice.axes.iter().map(|(name, _)| name).collect(),
        }
    }

    /// This and every sweep in it, as written.
    pub fn all(&self) -> Vec<&Self> {
        let within = match self {
            Self::Grid(parts) | Self::Zip(parts, _) | Self::Chain(parts) => {
                parts.iter().flat_map(Self::all).collect()
            }
            Self::Exclude(from, _) => from.all(),
            Self::When(_, then) => then.all(),
            Self::Axis(_) | Self::OneAtATime(_) | Self::LeaveOneOut { .. } | Self::Ladder { .. } => {
                Vec::new()
            }
        };
        std::iter::once(self).chain(within).collect()
    }

    /// Takes values of an axis out of the conditions of `Exclude` and `When`, which then hold for the others alone.
    pub(super) fn leave_out(&mut self, axis: &str, labels: &[String]) {
        let take_out = |choice: &mut Choice| {
            for (_, listed) in choice.axes.iter_mut().filter(|(name, _)| name.text == axis) {
                listed.retain(|label| !labels.contains(&label.text));
            }
        };
        match self {
            Self::Grid(parts) | Self::Zip(parts, _) | Self::Chain(parts) => {
                parts.iter_mut().for_each(|part| part.leave_out(axis, labels));
            }
            Self::Exclude(from, out) => {
                from.leave_out(axis, labels);
                out.iter_mut().for_each(take_out);
            }
            Self::When(choice, then) => {
                take_out(choice);
                then.leave_out(axis, labels);
            }
            Self::Axis(_) | Self::OneAtATime(_) | Self::LeaveOneOut { .. } | Self::Ladder { .. } => {}
        }
    }

    /// Which form it is, where it goes around one point.
    pub fn around(&self) -> Option<Around> {
        match self {
            Self::OneAtATime(_) => Some(Around::OneAtATime),
            Self::LeaveOneOut { .. } => Some(Around::LeaveOneOut),
            Self::Ladder { .. } => Some(Around::Ladder),
            Self::Axis(_)
            | Self::Grid(_)
            | Self::Zip(..)
            | Self::Chain(_)
            | Self::Exclude(..)
            | Self::When(..) => None,
        }
    }
}

impl Reader<'_> {
    pub(super) fn sweep(&mut self, node: &Node) -> Option<Sweep> {
        if let Value::Text(axis) = &node.value {
            return Some(Sweep::Axis(Name { span: node.span, text: axis.clone() }));
        }
        let form = node.name().unwrap_or_default();
        if form == "LeaveOneOut" {
            let fields = self.fields(node, "`LeaveOneOut`", &["full", "without"])?;
            let full = self.required(node, "`LeaveOneOut`", &fields, "full");
            let without = self.required(node, "`LeaveOneOut`", &fields, "without");
            return Some(Sweep::LeaveOneOut { full: self.choice(full?)?, without: self.choice(without?)? });
        }
        if form == "Ladder" {
            let fields = self.fields(node, "`Ladder`", &["from", "steps"])?;
            let from = self.required(node, "`Ladder`", &fields, "from").and_then(|node| self.choice(node));
            let steps = self
                .required(node, "`Ladder`", &fields, "steps")
                .and_then(|node| self.list(node, "steps, as `[{\"axis\": \"label\"}]`", Self::choice));
            return Some(Sweep::Ladder { from: from?, steps: steps? });
        }
        let items = match &node.value {
            Value::Tuple(Some(_), items) => items.as_slice(),
            _ => &[],
        };
        match (form, items) {
            ("Grid", [parts]) => Some(Sweep::Grid(self.sweeps(parts)?)),
            ("Zip", [parts]) => Some(Sweep::Zip(self.sweeps(parts)?, node.span)),
            ("Chain", [parts]) => Some(Sweep::Chain(self.sweeps(parts)?)),
            ("Exclude", [from, points]) => {
                let from = self.sweep(from);
                let points = self.list(points, "points, as `[{\"axis\": \"label\"}]`", Self::choice);
                Some(Sweep::Exclude(Box::new(from?), points?))
            }
            ("When", [choice, then]) => {
                let choice = self.choice(choice);
                let then = self.sweep(then);
                Some(Sweep::When(choice?, Box::new(then?)))
            }
            ("OneAtATime", [baseline]) => Some(Sweep::OneAtATime(self.choice(baseline)?)),
            _ => {
                self.wrong.push(unreadable(node, form));
                None
            }
        }
    }

    fn sweeps(&mut self, node: &Node) -> Option<Vec<Sweep>> {
        let parts = self.list(node, "axes, as `[\"graph.k\", \"encoder.method\"]`", Self::sweep)?;
        if parts.is_empty() {
            self.wrong.push(Diagnostic::new(node.span, "a sweep needs at least one axis"));
            return None;
        }
        Some(parts)
    }

    pub(super) fn choice(&mut self, node: &Node) -> Option<Choice> {
        let axes = self.entries(node, "a choice of axis values", |reader, axis, value| {
            let labels = match &value.value {
                Value::List(items) => items.iter().map(label).collect(),
                _ => vec![label(value)],
            };
            if labels.is_empty() {
                reader.wrong.push(Diagnostic::new(value.span, "a choice needs at least one value"));
                return None;
            }
            Some((axis, labels))
        });
        Some(Choice { axes: axes?, span: node.span })
    }

    fn list<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            let error =
                Diagnostic::new(node.span, format!("expected a list of {what}, found {}", node.describe()));
            self.wrong.push(error);
            return None;
        };
        // Every item is read before any is missed, so that all that is wrong is told.
        let items: Vec<Option<T>> = items.iter().map(|item| read(self, item)).collect();
        items.into_iter().collect()
    }
}

fn label(node: &Node) -> Name {
    Name { span: node.span, text: node.label() }
}

fn unreadable(node: &Node, form: &str) -> Diagnostic {
    let expected = match form {
        "Grid" | "Zip" | "Chain" => format!("write `{form}([\"axis\", \"another\"])`"),
        "Exclude" => "write `Exclude(Grid([..]), [{\"axis\": \"label\"}])`".to_owned(),
        "When" => "write `When({\"axis\": \"label\"}, \"another\")`".to_owned(),
        "OneAtATime" => "write `OneAtATime({\"axis\": \"label\"})`".to_owned(),
        _ => {
            let error =
                Diagnostic::new(node.name_span(), format!("expected a sweep, found {}", node.describe()));
            return error.suggest(form, "an axis in double quotes, or one of", FORMS);
        }
    };
    Diagnostic::new(node.span, format!("this is not what `{form}` is made of")).help(expected)
}
