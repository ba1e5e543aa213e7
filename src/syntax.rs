//! RON text to a tree whose every piece knows its place.
//!
//! The parser accepts what the `ron` crate accepts as a value, and differs where plain RON would let a mistake pass:
//! map keys and fields written twice, NaN and infinities are errors, and nesting has a limit. Ranges (`0..5`) are not
//! values here. Options and newtypes may be written bare, which RON calls the extensions `implicit_some`,
//! `unwrap_newtypes` and `unwrap_variant_newtypes`.

mod parser;

use std::collections::HashMap;
use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

/// How deep values may be nested.
pub const MAX_DEPTH: usize = 128;

/// A piece of RON, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What a piece of RON says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// `10`, `0xff`, `1_000u32`, `b'a'`.
    Integer(i128),
    /// `0.5`, `1e-3`: the number, and its digits as written, without underscores and suffix.
    Float(f64, Box<str>),
    /// `'a'`.
    Char(char),
    /// `"a"` or `r"a"`.
    Text(String),
    /// `b"a"`.
    Bytes(Vec<u8>),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`, with distinct keys.
    Map(Vec<(Node, Node)>),
    /// `(a, b)`, `Name(a)`, `()`, `Name()`.
    Tuple(Option<Name>, Vec<Node>),
    /// `(field: a)`, `Name(field: a)`, with distinct fields.
    Struct(Option<Name>, Vec<Field>),
    /// `Name`.
    Name(String),
}

/// A word and where it was written: the name of a struct or field, or a string used as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Where.
    pub span: Span,
    /// The word.
    pub text: String,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Node,
}

/// Parses a whole text.
///
/// # Errors
/// The first place where it is not RON.
pub fn parse(source: SourceId, text: &str) -> Result<Node, Diagnostic> {
    parser::parse(source, text)
}

impl Node {
    /// The name in front of the parentheses, or the bare name.
    pub fn name(&self) -> Option<&str> {
        match &self.value {
            Value::Tuple(name, _) | Value::Struct(name, _) => name.as_ref().map(|name| name.text.as_str()),
            Value::Name(name) => Some(name),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(..)
            | Value::Char(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Map(_) => None,
        }
    }

    /// Where the name in front of the parentheses is, else where all of it is.
    pub fn name_span(&self) -> Span {
        match &self.value {
            Value::Tuple(Some(name), _) | Value::Struct(Some(name), _) => name.span,
            _ => self.span,
        }
    }

    /// What was found, for a message: `the string "a"`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Bool(_) | Value::Integer(_) | Value::Float(..) | Value::Char(_) => self.to_string(),
            Value::Text(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
            Value::Text(_) => "a string".to_owned(),
            Value::Bytes(_) => "a byte string".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Tuple(None, items) if items.is_empty() => "`()`".to_owned(),
            Value::Tuple(None, _) => "a tuple".to_owned(),
            Value::Struct(None, _) => "a struct".to_owned(),
            Value::Tuple(Some(name), items) if items.is_empty() => format!("`{}()`", name.text),
            Value::Tuple(Some(name), _) | Value::Struct(Some(name), _) => format!("`{}(..)`", name.text),
            Value::Name(name) => format!("`{name}`"),
        }
    }

    /// The piece at a path of field names, map keys and list indices, as `method.temperature`, or the smallest piece
    /// around where it would be: a value that is a default is not written out.
    pub fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// The field, map entry or list item of that name. Newtypes and `Some` are looked through.
    pub fn child(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Struct(_, fields) => {
                fields.iter().find(|field| field.name.text == name).map(|field| &field.value)
            }
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| matches!(&key.value, Value::Text(text) if text == name))
                .map(|(_, value)| value),
            Value::List(items) => items.get(name.parse::<usize>().ok()?),
            Value::Tuple(Some(_), items) if items.len() == 1 && name.parse::<usize>().is_err() => {
                items[0].child(name)
            }
            Value::Tuple(_, items) => items.get(name.parse::<usize>().ok()?),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(..)
            | Value::Char(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Name(_) => None,
        }
    }

    /// The label it gets in a table: compact RON, a string without its quotes.
    pub fn label(&self) -> String {
        match &self.value {
            Value::Text(text) => text.clone(),
            _ => self.to_string(),
        }
    }
}

/// Compact RON on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(_, text) => f.write_str(text),
            Value::Char(value) => write!(f, "{value:?}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Value::List(items) => {
                f.write_str("[")?;
                write_separated(f, items, |f, item| write!(f, "{item}"))?;
                f.write_str("]")
            }
            Value::Map(entries) => {
                f.write_str("{")?;
                write_separated(f, entries, |f, (key, value)| write!(f, "{key}: {value}"))?;
                f.write_str("}")
            }
            Value::Tuple(name, items) => {
                write!(f, "{}(", Identifier(name.as_ref().map_or("", |name| &name.text)))?;
                write_separated(f, items, |f, item| write!(f, "{item}"))?;
                f.write_str(")")
            }
            Value::Struct(name, fields) => {
                write!(f, "{}(", Identifier(name.as_ref().map_or("", |name| &name.text)))?;
                write_separated(f, fields, |f, field| {
                    write!(f, "{}: {}", Identifier(&field.name.text), field.value)
                })?;
                f.write_str(")")
            }
            Value::Name(name) => write!(f, "{}", Identifier(name)),
        }
    }
}

/// A name, marked as raw where it has characters that only raw ones have.
struct Identifier<'a>(&'a str);

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.0.contains(['.', '+', '-']) { "r#" } else { "" };
        write!(f, "{prefix}{}", self.0)
    }
}

fn write_separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

/// The first name that is written twice: both places and the name, `what` being a word for it.
fn find_duplicate(what: &str, names: impl Iterator<Item = (Span, String)>) -> Result<(), Diagnostic> {
    let mut seen = HashMap::new();
    for (span, name) in names {
        if let Some(first) = seen.get(&name) {
            return Err(Diagnostic::new(span, format!("{what} {name} is written twice"))
                .marked("again here")
                .and(*first, "first here")
                .help("keep one of them"));
        }
        seen.insert(name, span);
    }
    Ok(())
}
