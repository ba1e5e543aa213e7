//! Reading a JSON schema as `schemars` writes it for serde's types.

use serde_json::Value;

use super::{FieldDoc, TypeDoc, VariantDoc};

/// A schema, and the whole document its references point into.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    root: &'a Value,
    here: &'a Value,
}

/// A variant of an enum.
struct Variant<'a> {
    name: &'a str,
    doc: String,
    /// What it holds; `None` for a unit variant.
    payload: Option<Schema<'a>>,
}

impl<'a> Schema<'a> {
    pub fn new(root: &'a Value) -> Self {
        Self { root, here: root }
    }

    /// The doc comment.
    pub fn doc(self) -> String {
        self.text("description").unwrap_or_default().to_owned()
    }

    /// The fields of a struct: required ones first, then by name.
    pub fn fields(self) -> Vec<FieldDoc> {
        let required: Vec<&str> = self.list("required").iter().filter_map(Value::as_str).collect();
        let mut fields: Vec<FieldDoc> = self
            .properties()
            .map(|(name, schema)| FieldDoc {
                name: name.to_owned(),
                takes: schema.takes(),
                required: required.contains(&name),
                default: schema.default().filter(|_| !required.contains(&name)),
                doc: schema.doc(),
            })
            .collect();
        fields.sort_by_key(|field| !field.required);
        fields
    }

    /// Every type that fields refer to by name, in the order met. A type that is only what a variant holds is left
    /// out: its fields are shown with the variant.
    pub fn types(self) -> Vec<TypeDoc> {
        let mut names = Vec::new();
        self.collect_names(&mut names);
        let types = names.into_iter().map(|name| {
            let schema = self.definition(name);
            TypeDoc {
                name: name.to_owned(),
                doc: schema.doc(),
                takes: (!schema.has_fields() && schema.variants().is_empty()).then(|| schema.takes()),
                fields: schema.fields(),
                variants: schema.variants().into_iter().map(Variant::describe).collect(),
            }
        });
        types.collect()
    }

    /// The simplest value: fields with a default are left out. As RON.
    pub fn simplest(self) -> String {
        let schema = self.resolve();
        if let Some(variant) = schema.variants().first() {
            return match variant.payload {
                Some(payload) if payload.resolve().has_fields() => {
                    format!("{}{}", variant.name, payload.simplest())
                }
                Some(payload) => format!("{}({})", variant.name, payload.simplest()),
                None => variant.name.to_owned(),
            };
        }
        match schema.type_name() {
            Some("integer" | "number") => {
                schema.here.get("minimum").and_then(Value::as_u64).unwrap_or(0).to_string()
            }
            Some("boolean") => "false".to_owned(),
            Some("string") => "\"\"".to_owned(),
            Some("array") => {
                let items = schema.list("prefixItems").iter().map(|item| schema.at(item).simplest());
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Some("object") if schema.here.get("additionalProperties").is_some_and(Value::is_object) => {
                "{}".to_owned()
            }
            Some("object") => {
                let required = schema.list("required").iter().filter_map(Value::as_str);
                let fields = required.filter_map(|name| {
                    let field = schema.at(schema.here.get("properties")?.get(name)?);
                    Some(format!("{name}: {}", field.simplest()))
                });
                format!("({})", fields.collect::<Vec<_>>().join(", "))
            }
            _ => "None".to_owned(),
        }
    }

    fn collect_names(self, names: &mut Vec<&'a str>) {
        if let Some(name) = self.reference() {
            if !names.contains(&name) {
                names.push(name);
                self.definition(name).collect_names(names);
            }
            return;
        }
        let variants = self.variants();
        if variants.is_empty() {
            self.properties().for_each(|(_, schema)| schema.collect_names(names));
        }
        for variant in variants {
            variant.payload.into_iter().for_each(|payload| match payload.resolve() {
                inner if inner.has_fields() => inner.collect_names(names),
                _ => payload.collect_names(names),
            });
        }
        let one = ["items", "additionalProperties"].into_iter().filter_map(|key| self.here.get(key));
        let many = ["prefixItems", "anyOf"].into_iter().flat_map(|key| self.list(key));
        one.chain(many).for_each(|here| self.at(here).collect_names(names));
    }

    /// What a field takes, in words of RON.
    fn takes(self) -> String {
        if let Some(name) = self.reference() {
            return name.to_owned();
        }
        if let Some(inner) = self.optional() {
            return format!("{} or `None`", inner.takes());
        }
        let variants = self.variants();
        if !variants.is_empty() {
            let names: Vec<String> = variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
            return names.join(" or ");
        }
        let words = match self.type_name() {
            Some("integer") => match self.here.get("minimum").and_then(Value::as_i64) {
                Some(minimum) => format!("whole number from {minimum}"),
                None => "whole number".to_owned(),
            },
            Some("number") => "number".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("string") => "string".to_owned(),
            Some("array") if !self.list("prefixItems").is_empty() => {
                let items = self.list("prefixItems").iter().map(|item| self.at(item).takes());
                format!("({})", items.collect::<Vec<_>>().join(", "))
            }
            Some("array") => {
                let items =
                    self.here.get("items").map_or("any value".to_owned(), |item| self.at(item).takes());
                match self.fixed_length() {
                    Some(length) => format!("{length} values in parentheses, each {items}"),
                    None => format!("list of {items}"),
                }
            }
            Some("object") => match self.here.get("additionalProperties").filter(|it| it.is_object()) {
                Some(value) => format!("map from string to {}", self.at(value).takes()),
                None => "struct".to_owned(),
            },
            _ => "any value".to_owned(),
        };
        match self.type_list().contains(&"null") {
            true => format!("{words} or `None`"),
            false => words,
        }
    }

    /// The default as RON. An option that has none written is `None`.
    fn default(self) -> Option<String> {
        let is_option = self.optional().is_some() || self.type_list().contains(&"null");
        match self.here.get("default") {
            Some(default) => Some(self.ron(default)),
            None => is_option.then(|| "None".to_owned()),
        }
    }

    /// A JSON value of this schema as RON.
    fn ron(self, value: &Value) -> String {
        let schema = self.optional().unwrap_or(self).resolve();
        let variant_of = |name: &str| schema.variants().into_iter().find(|variant| variant.name == name);
        match value {
            Value::Null => "None".to_owned(),
            Value::Bool(value) => value.to_string(),
            // An f32 is written with the digits that tell it apart from other f32s.
            Value::Number(number) if schema.text("format") == Some("float") => {
                format!("{:?}", number.as_f64().unwrap_or_default() as f32)
            }
            Value::Number(number) => number.to_string(),
            Value::String(text) if variant_of(text).is_some() => text.clone(),
            Value::String(text) => format!("{text:?}"),
            Value::Array(items) => {
                let tuple = schema.list("prefixItems");
                let item = schema.here.get("items").unwrap_or(&Value::Null);
                let items: Vec<String> = items
                    .iter()
                    .enumerate()
                    .map(|(index, value)| schema.at(tuple.get(index).unwrap_or(item)).ron(value))
                    .collect();
                let items = items.join(", ");
                if schema.fixed_length().is_some() { format!("({items})") } else { format!("[{items}]") }
            }
            Value::Object(entries) => {
                let variant =
                    entries.iter().next().and_then(|(name, value)| Some((variant_of(name)?, value)));
                if let Some((Variant { name, payload: Some(payload), .. }, value)) = variant {
                    let inner = payload.ron(value);
                    return if payload.resolve().has_fields() {
                        format!("{name}{inner}")
                    } else {
                        format!("{name}({inner})")
                    };
                }
                let additional = schema.here.get("additionalProperties").unwrap_or(&Value::Null);
                let is_map = additional.is_object();
                let entries = entries.iter().map(|(name, value)| {
                    let property = schema.here.get("properties").and_then(|properties| properties.get(name));
                    let value = schema.at(property.unwrap_or(additional)).ron(value);
                    if is_map { format!("{name:?}: {value}") } else { format!("{name}: {value}") }
                });
                let entries = entries.collect::<Vec<_>>().join(", ");
                if is_map { format!("{{{entries}}}") } else { format!("({entries})") }
            }
        }
    }

    /// Variants of an enum, in the order declared.
    fn variants(self) -> Vec<Variant<'a>> {
        let unit = |name: &'a str, doc: String| Variant { name, doc, payload: None };
        let plain = self.list("enum").iter().filter_map(Value::as_str);
        let mut variants: Vec<Variant<'a>> = plain.map(|name| unit(name, String::new())).collect();
        for here in self.list("oneOf") {
            let schema = self.at(here);
            variants.extend(schema.text("const").map(|name| unit(name, schema.doc())));
            let plain = schema.list("enum").iter().filter_map(Value::as_str);
            variants.extend(plain.map(|name| unit(name, schema.doc())));
            let holding = schema.properties();
            variants.extend(holding.map(|(name, payload)| Variant {
                name,
                doc: schema.doc(),
                payload: Some(payload),
            }));
        }
        variants
    }

    /// What an `Option` may hold, where the schema is one of a named type.
    fn optional(self) -> Option<Self> {
        let alternatives = self.list("anyOf");
        let is_null = |here: &Value| here.get("type").and_then(Value::as_str) == Some("null");
        match alternatives {
            [one, other] if is_null(other) => Some(self.at(one)),
            _ => None,
        }
    }

    fn has_fields(self) -> bool {
        self.variants().is_empty()
            && self.type_name() == Some("object")
            && !self.here.get("additionalProperties").is_some_and(Value::is_object)
    }

    fn properties(self) -> impl Iterator<Item = (&'a str, Self)> {
        let properties = self.here.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(move |(name, here)| (name.as_str(), self.at(here)))
    }

    fn reference(self) -> Option<&'a str> {
        self.text("$ref")?.rsplit('/').next()
    }

    fn resolve(self) -> Self {
        self.reference().map_or(self, |name| self.definition(name))
    }

    fn definition(self, name: &str) -> Self {
        self.at(self.root.get("$defs").and_then(|types| types.get(name)).unwrap_or(&Value::Null))
    }

    fn type_list(self) -> Vec<&'a str> {
        match self.here.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn type_name(self) -> Option<&'a str> {
        self.type_list().into_iter().find(|name| *name != "null")
    }

    /// How many items an array has that RON writes in parentheses.
    fn fixed_length(self) -> Option<u64> {
        let number = |key: &str| self.here.get(key)?.as_u64();
        number("minItems").filter(|&length| number("maxItems") == Some(length))
    }

    fn text(self, key: &str) -> Option<&'a str> {
        self.here.get(key)?.as_str()
    }

    fn list(self, key: &str) -> &'a [Value] {
        self.here.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn at(self, here: &'a Value) -> Self {
        Self { here, ..self }
    }
}

impl Variant<'_> {
    fn describe(self) -> VariantDoc {
        let inner = self.payload.map(Schema::resolve);
        let has_fields = inner.is_some_and(Schema::has_fields);
        VariantDoc {
            name: self.name.to_owned(),
            doc: self.doc,
            takes: match self.payload.filter(|_| !has_fields).map(Schema::takes) {
                Some(tuple) if tuple.starts_with('(') => tuple,
                Some(takes) => format!("({takes})"),
                None => String::new(),
            },
            fields: inner.filter(|_| has_fields).map(Schema::fields).unwrap_or_default(),
        }
    }
}
