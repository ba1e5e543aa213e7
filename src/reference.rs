//! The documentation of stage kinds, from their doc comments.
//!
//! What a kind's fields are called, take and mean is read from its JSON schema, so it cannot drift from the code; what
//! it reads and writes is asked of a value with its defaults, required fields being given the simplest value there is.

mod markdown;
mod schema;
mod text;

use ablate_stage::{Port, Registry, StageKind};

use crate::decode::decode_fields;
use crate::source::SourceId;
use crate::syntax;
use schema::Schema;

pub use markdown::{book_page, kind_page};
pub use text::{kind_text, overview};

/// The documentation of a stage kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindDoc {
    /// The kind.
    pub name: String,
    /// Its doc comment.
    pub doc: String,
    /// Whether it depends on the seed.
    pub seeded: bool,
    /// What it reads and writes with its defaults; `None` where such a value cannot be made.
    pub ports: Option<Ports>,
    /// Its fields, required ones first, then by name.
    pub fields: Vec<FieldDoc>,
    /// The types its fields are made of, in the order they are met.
    pub types: Vec<TypeDoc>,
}

/// What a stage reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// What it reads.
    pub inputs: Vec<Port>,
    /// What it writes.
    pub outputs: Vec<Port>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDoc {
    /// Its name.
    pub name: String,
    /// What it takes, in words of RON: `whole number`, `list of Layer`.
    pub takes: String,
    /// Whether it must be written.
    pub required: bool,
    /// The default as RON; `None` where there is none or the schema does not tell it.
    pub default: Option<String>,
    /// Its doc comment.
    pub doc: String,
}

/// A struct or enum below a stage kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDoc {
    /// Its name.
    pub name: String,
    /// Its doc comment.
    pub doc: String,
    /// What it takes where it is neither struct nor enum.
    pub takes: Option<String>,
    /// Fields of a struct.
    pub fields: Vec<FieldDoc>,
    /// Variants of an enum, in the order declared.
    pub variants: Vec<VariantDoc>,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantDoc {
    /// Its name.
    pub name: String,
    /// Its doc comment.
    pub doc: String,
    /// What it holds where that has no names, in parentheses; else empty.
    pub takes: String,
    /// Its fields.
    pub fields: Vec<FieldDoc>,
}

impl KindDoc {
    /// The documentation of a kind.
    pub fn of(kind: &StageKind) -> Self {
        let json = (kind.schema)().to_value();
        let schema = Schema::new(&json);
        Self {
            name: kind.name.to_owned(),
            doc: schema.doc(),
            seeded: kind.seeded,
            ports: ports(kind, &schema),
            fields: schema.fields(),
            types: schema.types(),
        }
    }
}

/// The documentation of every kind, in order of name.
pub fn all(registry: &Registry) -> Vec<KindDoc> {
    registry.kinds().map(KindDoc::of).collect()
}

fn ports(kind: &StageKind, schema: &Schema<'_>) -> Option<Ports> {
    let node = syntax::parse(SourceId(0), &schema.simplest()).ok()?;
    let stage = decode_fields(kind, &node).ok()?;
    Some(Ports { inputs: stage.inputs(), outputs: stage.outputs() })
}

/// A doc comment's paragraphs, each on one line, without the marks that only rustdoc reads.
fn paragraphs(doc: &str) -> Vec<String> {
    let plain = doc.replace("\\[", "[").replace("\\]", "]").replace("[`", "`").replace("`]", "`");
    let paragraphs = plain.split("\n\n").map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}
