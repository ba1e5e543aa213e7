//! The shape of a pipeline file.

use std::collections::{BTreeMap, BTreeSet};

use super::seeds::Seeds;
use super::{Assigned, AxisSpec, AxisValue, Setting, StageSpec, Sweep, TableDraft, WireSpec};
use crate::decode::decode;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::resources::Resources;
use crate::source::Span;
use crate::syntax::{Field, Name, Node, Value};

/// The columns of tables and trials beside those of axes, in the files that hold their numbers.
const AXIS_NAMES_TAKEN: [&str; 22] = [
    "pipeline",
    "axis",
    "value",
    "source",
    "oracle",
    "cell",
    "n",
    "trials",
    "mean",
    "std",
    "ci95",
    "median",
    "min",
    "max",
    "difference",
    "p",
    "p_holm",
    "published",
    "share",
    "text",
    "notes",
    "is_published",
];

/// A file as written, before those it names are brought in.
pub(super) struct File {
    /// Where the whole of it begins.
    pub place: Span,
    /// The fields that are written.
    pub has: BTreeSet<String>,
    /// Whether a file it names could not be read, so that what is missing may be there.
    pub torn: bool,
    pub name: Option<Name>,
    pub extends: Option<Name>,
    pub include: Vec<Name>,
    pub settings: Vec<Setting>,
    pub stages: Option<Vec<StageSpec>>,
    pub axes: Vec<AxisSpec>,
    pub sweep: Option<(Sweep, Span)>,
    pub seeds: Option<Seeds>,
    pub tables: Vec<TableDraft>,
}

impl File {
    fn at(place: Span) -> Self {
        Self {
            place,
            has: BTreeSet::new(),
            torn: false,
            name: None,
            extends: None,
            include: Vec::new(),
            settings: Vec::new(),
            stages: None,
            axes: Vec::new(),
            sweep: None,
            seeds: None,
            tables: Vec::new(),
        }
    }
}

/// Reads the shape of a file; `None` stands for an error that is recorded.
pub(super) struct Reader<'w> {
    pub wrong: &'w mut Diagnostics,
}

impl Reader<'_> {
    pub(super) fn file(&mut self, node: &Node) -> Option<File> {
        if let Some(name) = node.name()
            && name != "Pipeline"
        {
            let error = Diagnostic::new(node.name_span(), format!("expected `Pipeline(..)`, found `{name}`"));
            self.wrong.push(error);
            return None;
        }
        let known = ["name", "stages", "axes", "sweep", "seeds", "tables", "include", "extends", "set"];
        let fields = self.fields(node, "`Pipeline`", &known)?;
        let mut file = File::at(node.name_span());
        for (&field, &node) in &fields {
            match field {
                "name" => file.name = self.text(node),
                "stages" => file.stages = self.entries(node, "stages", Self::stage),
                "axes" => file.axes = self.entries(node, "axes", Self::axis).unwrap_or_default(),
                "sweep" => file.sweep = self.sweep(node).map(|sweep| (sweep, node.span)),
                "seeds" => file.seeds = self.seeds(node),
                "tables" => file.tables = self.entries(node, "tables", Self::table).unwrap_or_default(),
                "include" => file.include = self.names(node).unwrap_or_default(),
                "extends" => file.extends = self.text(node),
                "set" => file.settings = self.settings(node).unwrap_or_default(),
                _ => unreachable!("unknown fields are left out"),
            }
        }
        file.has = fields.keys().map(|&field| field.to_owned()).collect();
        Some(file)
    }

    fn stage(&mut self, name: Name, node: &Node) -> Option<StageSpec> {
        self.check_stage_name(&name);
        let fields = self.fields(node, "a stage", &["stage", "from", "resources"])?;
        let resources = fields.get("resources").map_or(Some(Resources::default()), |node| {
            decode(node).map_err(|errors| self.wrong.extend(errors)).ok()
        });
        let (stage, from) = self.stage_and_inputs(node, &fields)?;
        Some(StageSpec { name, stage, from, resources: resources? })
    }

    fn stage_and_inputs(
        &mut self,
        node: &Node,
        fields: &BTreeMap<&str, &Node>,
    ) -> Option<(Node, Vec<WireSpec>)> {
        let from = fields.get("from").map(|node| {
            self.entries(node, "inputs", |_, port, source| Some(WireSpec { port, source: source.clone() }))
        });
        let stage = self.required(node, "a stage", fields, "stage")?;
        if stage.name().is_none() {
            let error = Diagnostic::new(
                stage.span,
                format!("expected a stage kind, as `KnnGraph(k: 10)`, found {}", stage.describe()),
            );
            self.wrong.push(error.help("`ablate stages` lists the kinds"));
            return None;
        }
        Some((stage.clone(), from.unwrap_or_else(|| Some(Vec::new()))?))
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
        if AXIS_NAMES_TAKEN.contains(&name.text.as_str()) || name.text.contains(':') {
            let text = &name.text;
            let error = Diagnostic::new(
                name.span,
                format!("`{text}` is no name for an axis: tables have such a column"),
            );
            self.wrong.push(error.help(
                "call it something else; where it is a path, write `\"name\": (paths: [..], values: ..)`",
            ));
            return None;
        }
        if let Value::Struct(None, _) = &node.value {
            let fields = self.fields(node, "an axis", &["paths", "values"])?;
            let paths = self.required(node, "an axis", &fields, "paths").and_then(|node| self.names(node));
            let values = self.required(node, "an axis", &fields, "values");
            let (paths, values) = (paths?, values?);
            return Some(AxisSpec {
                values: self.values(values, &paths)?,
                name,
                paths,
                left_out: Vec::new(),
            });
        }
        let paths = vec![name.clone()];
        Some(AxisSpec { values: self.values(node, &paths)?, name, paths, left_out: Vec::new() })
    }

    /// The values of an axis; those that do not say what they set go to `paths`.
    pub(super) fn values(&mut self, node: &Node, paths: &[Name]) -> Option<Vec<AxisValue>> {
        let written: Vec<(String, &Node)> = match &node.value {
            Value::List(items) => items.iter().map(|item| (item.label(), item)).collect(),
            Value::Map(entries) => entries.iter().map(|(key, value)| (key.label(), value)).collect(),
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
        if written.is_empty() {
            self.wrong.push(Diagnostic::new(node.span, "an axis needs at least one value"));
            return None;
        }
        self.check_distinct("value", written.iter().map(|(label, value)| (value.span, label)));
        let values = written.into_iter().filter_map(|(label, value)| {
            let settings = match &value.value {
                Value::Tuple(Some(form), items) if form.text == "Set" && items.len() == 1 => {
                    self.settings(&items[0])?
                }
                _ => {
                    let set = |path: &Name| self.setting(path.clone(), value);
                    paths.iter().map(set).collect::<Option<Vec<Setting>>>()?
                }
            };
            Some(AxisValue { label, settings, span: value.span })
        });
        Some(values.collect())
    }

    /// Paths and what they are set to, as a map.
    fn settings(&mut self, node: &Node) -> Option<Vec<Setting>> {
        self.entries(node, "settings", |reader, path, value| reader.setting(path, value))
    }

    pub(super) fn setting(&mut self, path: Name, value: &Node) -> Option<Setting> {
        let is_stage = !path.text.contains('.')
            && matches!(&value.value, Value::Struct(None, fields) if fields.iter().any(|it| it.name.text == "stage"));
        let value = if is_stage {
            let fields = self.fields(value, "a stage", &["stage", "from"])?;
            let (stage, from) = self.stage_and_inputs(value, &fields)?;
            Assigned::Stage { stage, from }
        } else {
            Assigned::Value(value.clone())
        };
        Some(Setting { path, value })
    }

    /// The fields of a struct by name; unknown ones are recorded.
    pub(super) fn fields<'n>(
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

    pub(super) fn required<'n>(
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
    pub(super) fn entries<T>(
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

    pub(super) fn names(&mut self, node: &Node) -> Option<Vec<Name>> {
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

    pub(super) fn text(&mut self, node: &Node) -> Option<Name> {
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

    pub(super) fn check_distinct<T: AsRef<str>>(
        &mut self,
        what: &str,
        names: impl Iterator<Item = (Span, T)>,
    ) {
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
