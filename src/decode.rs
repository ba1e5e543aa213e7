//! From a syntax tree to typed values.
//!
//! A serde deserializer over [`Node`]. Errors are kept beside it, each with the place of the innermost piece it is
//! about, so it does not matter that type-erased serde keeps only the text of an error. A field that does not decode
//! is left out and the whole is decoded again, so that one pass over a file finds all of its errors.
//!
//! Every struct refuses fields it does not have. Where RON asks for `Some(x)` or for the parentheses of a newtype, a
//! bare `x` will do, and a whole number will do for a float.

mod access;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use ablate_stage::{DynStage, StageKind};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use crate::diagnostic::{Diagnostic, Diagnostics, closest};
use crate::syntax::{Field, Node, Value};
use access::{AnyFieldAccess, EntryAccess, FieldAccess, ItemAccess, Variant};

/// How often a value is decoded again without the fields found wrong; each round finds at least one error.
const MAX_ROUNDS: usize = 64;

/// Decodes a value.
///
/// # Errors
/// Everything wrong with it.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Diagnostics> {
    decode_in_rounds(node, false, |decoder| T::deserialize(decoder))
}

/// Decodes a stage of a kind whose name is already known to be the node's, and validates its values.
///
/// # Errors
/// Everything wrong with its fields; if they decode, everything [`ablate_stage::Stage::validate`] complains of.
pub fn decode_stage(kind: &StageKind, node: &Node) -> Result<Box<dyn DynStage>, Diagnostics> {
    let stage = decode_fields(kind, node)?;
    let mut wrong = Diagnostics::new();
    for error in stage.validate() {
        let place = node.nearest(&error.path).span;
        wrong.push(Diagnostic::new(place, format!("`{}` {}", error.path, error.message)));
    }
    wrong.or(stage)
}

/// Decodes a stage whose values may be ones it cannot work with.
pub(crate) fn decode_fields(kind: &StageKind, node: &Node) -> Result<Box<dyn DynStage>, Diagnostics> {
    decode_in_rounds(node, true, |decoder| {
        (kind.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(decoder)).map_err(de::Error::custom)
    })
}

fn decode_in_rounds<T>(
    node: &Node,
    unnamed: bool,
    mut attempt: impl FnMut(Decoder<'_>) -> Result<T, Failure>,
) -> Result<T, Diagnostics> {
    let sink = Sink::default();
    for _ in 0..MAX_ROUNDS {
        sink.left_out_one.set(false);
        let decoder = Decoder { node, sink: &sink, unnamed };
        match decoder.settle(attempt(decoder)) {
            Ok(value) => return sink.errors.into_inner().or(value),
            Err(_) if sink.left_out_one.get() => {}
            Err(_) => break,
        }
    }
    Err(sink.errors.into_inner())
}

/// What decoding keeps beside the values.
#[derive(Default)]
struct Sink {
    errors: RefCell<Diagnostics>,
    /// The values of fields that are known to be wrong.
    left_out: RefCell<HashSet<*const Node>>,
    left_out_one: Cell<bool>,
}

impl Sink {
    fn record(&self, error: Diagnostic) -> Failure {
        self.errors.borrow_mut().push(error);
        Failure::Recorded
    }

    fn is_left_out(&self, node: &Node) -> bool {
        self.left_out.borrow().contains(&std::ptr::from_ref(node))
    }

    /// Leaves a wrong value out of the next round: the innermost that can be left out, one a round.
    fn leave_out(&self, node: &Node) {
        if !self.left_out_one.replace(true) {
            self.left_out.borrow_mut().insert(std::ptr::from_ref(node));
        }
    }
}

/// The text [`Failure::Recorded`] has while it passes through type-erased serde.
const RECORDED: &str = "\0recorded";

/// Why decoding stopped.
#[derive(Debug)]
enum Failure {
    /// The sink knows.
    Recorded,
    /// A visitor lacks a field.
    Missing(&'static str),
    /// A visitor complains.
    Complaint(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => f.write_str(RECORDED),
            Self::Missing(field) => write!(f, "missing field `{field}`"),
            Self::Complaint(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if message == RECORDED { Self::Recorded } else { Self::Complaint(message) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// A piece of the tree about to be decoded.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    sink: &'a Sink,
    /// Whether the name in front of the parentheses has been dealt with, as a variant's or a stage kind's.
    unnamed: bool,
}

impl<'a> Decoder<'a> {
    fn of(self, node: &'a Node) -> Self {
        Self { node, unnamed: false, ..self }
    }

    fn without_name(self) -> Self {
        Self { unnamed: true, ..self }
    }

    fn name(self) -> Option<&'a str> {
        if self.unnamed { None } else { self.node.name() }
    }

    fn error(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.node.span, message)
    }

    fn expected(self, what: &str) -> Failure {
        let error = self.error(format!("expected {what}, found {}", self.node.describe()));
        self.sink.record(match &self.node.value {
            Value::Name(_) if what == "a string" => error.help("write a string in double quotes"),
            _ => error,
        })
    }

    /// Records what a visitor complains of at this piece, unless a place inside it is recorded already.
    fn settle<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| match failure {
            Failure::Recorded => Failure::Recorded,
            Failure::Missing(_) | Failure::Complaint(_) => self.sink.record(self.error(failure.to_string())),
        })
    }

    fn check_name(self, expected: &str) -> Result<(), Failure> {
        match self.name() {
            Some(found) if found != expected => {
                let error = Diagnostic::new(
                    self.node.name_span(),
                    format!("expected `{expected}`, found {}", self.node.describe()),
                );
                Err(self.sink.record(error))
            }
            _ => Ok(()),
        }
    }

    /// The fields of a struct or struct variant called `name`.
    fn visit_fields<V: Visitor<'a>>(
        self,
        name: &str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let fields: &[Field] = match &self.node.value {
            Value::Struct(_, fields) => fields,
            Value::Tuple(_, items) if items.is_empty() => &[],
            Value::Name(_) => &[],
            Value::Tuple(_, items) => {
                let error = Diagnostic::new(items[0].span, format!("the fields of `{name}` have names"));
                return Err(self.sink.record(error.help(match known {
                    [] => format!("`{name}` has no fields"),
                    [first, ..] => format!("write `{name}({first}: ..)`; its fields: {}", listed(known)),
                })));
            }
            _ => return Err(self.expected(&format!("`{name}(..)`"))),
        };
        let access = FieldAccess { decoder: self, name, known, fields: fields.iter(), value: None };
        match visitor.visit_map(access) {
            Err(Failure::Missing(missing)) => {
                // A field that is written with a slip, or whose value is wrong, is told of already.
                let stands_for = |field: &Field| {
                    let name = field.name.text.as_str();
                    let slip = || !known.contains(&name) && closest(name, known) == Some(missing);
                    name == missing && self.sink.is_left_out(&field.value) || slip()
                };
                if fields.iter().any(stands_for) {
                    return Err(Failure::Recorded);
                }
                let message = format!("`{name}` needs the field `{missing}`");
                let error = Diagnostic::new(self.node.name_span(), message);
                Err(self.sink.record(error.help(format!("its fields: {}", listed(known)))))
            }
            result => self.settle(result),
        }
    }

    fn visit_items<V: Visitor<'a>>(
        self,
        items: &'a [Node],
        length: Option<usize>,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if let Some(length) = length
            && items.len() != length
        {
            return Err(self
                .sink
                .record(self.error(format!("expected {length} values, found {}", items.len()))));
        }
        self.settle(visitor.visit_seq(ItemAccess { decoder: self, items: items.iter() }))
    }

    fn visit_entries<V: Visitor<'a>>(
        self,
        entries: &'a [(Node, Node)],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.settle(visitor.visit_map(EntryAccess { decoder: self, entries: entries.iter(), value: None }))
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let Value::Integer(number) = self.node.value else {
                return Err(self.expected("a whole number"));
            };
            let out_of_range = |limit: String| {
                self.sink.record(self.error(format!("expected a whole number of {limit}, found {number}")))
            };
            match <$type>::try_from(number) {
                Ok(number) => self.settle(visitor.$visit(number)),
                Err(_) if number < 0 => Err(out_of_range(format!("at least {}", <$type>::MIN))),
                Err(_) => Err(out_of_range(format!("at most {}", <$type>::MAX))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = Failure;

    integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Bool(_) => self.deserialize_bool(visitor),
            Value::Integer(number) if u64::try_from(*number).is_ok() => self.deserialize_u64(visitor),
            Value::Integer(_) => self.deserialize_i64(visitor),
            Value::Float(..) => self.deserialize_f64(visitor),
            Value::Char(_) => self.deserialize_char(visitor),
            Value::Text(_) => self.deserialize_str(visitor),
            Value::Bytes(_) => self.deserialize_bytes(visitor),
            Value::List(items) => self.visit_items(items, None, visitor),
            Value::Map(entries) => self.visit_entries(entries, visitor),
            Value::Tuple(None, items) if items.is_empty() => self.settle(visitor.visit_unit()),
            Value::Tuple(Some(name), items) if name.text == "Some" && items.len() == 1 => {
                self.settle(visitor.visit_some(self.of(&items[0])))
            }
            Value::Tuple(_, items) => self.visit_items(items, None, visitor),
            Value::Struct(_, fields) => {
                let access = FieldAccess {
                    decoder: self,
                    name: self.name().unwrap_or("struct"),
                    known: &[],
                    fields: fields.iter(),
                    value: None,
                };
                self.settle(visitor.visit_map(AnyFieldAccess(access)))
            }
            Value::Name(name) if name == "None" => self.settle(visitor.visit_none()),
            Value::Name(name) => self.settle(visitor.visit_borrowed_str(name)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Bool(value) => self.settle(visitor.visit_bool(value)),
            _ => Err(self.expected("`true` or `false`")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        // Digits go straight to f32: by way of f64 they would be rounded twice.
        let number = match &self.node.value {
            Value::Float(number, text) => text.parse().unwrap_or(*number as f32),
            Value::Integer(number) => *number as f32,
            _ => return Err(self.expected("a number")),
        };
        if number.is_finite() {
            self.settle(visitor.visit_f32(number))
        } else {
            Err(self.sink.record(self.error(format!("expected a number of at most {:e}", f32::MAX))))
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Float(number, _) => self.settle(visitor.visit_f64(number)),
            Value::Integer(number) => self.settle(visitor.visit_f64(number as f64)),
            _ => Err(self.expected("a number")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Char(value) => self.settle(visitor.visit_char(value)),
            _ => Err(self.expected("a character in single quotes")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text(text) => self.settle(visitor.visit_borrowed_str(text)),
            _ => Err(self.expected("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Bytes(bytes) => self.settle(visitor.visit_borrowed_bytes(bytes)),
            _ => Err(self.expected("a byte string, as `b\"..\"`")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.value {
            Value::Name(name) if !self.unnamed && name == "None" => visitor.visit_none(),
            Value::Tuple(Some(name), items) if !self.unnamed && name.text == "Some" && items.len() == 1 => {
                visitor.visit_some(self.of(&items[0]))
            }
            Value::Tuple(Some(name), _) | Value::Struct(Some(name), _)
                if !self.unnamed && name.text == "Some" =>
            {
                visitor.visit_some(self.without_name())
            }
            _ => visitor.visit_some(self),
        };
        self.settle(result)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Tuple(None, items) if items.is_empty() => self.settle(visitor.visit_unit()),
            _ => Err(self.expected("`()`")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.check_name(name)?;
        match &self.node.value {
            Value::Name(_) => self.settle(visitor.visit_unit()),
            Value::Tuple(_, items) if items.is_empty() => self.settle(visitor.visit_unit()),
            _ => Err(self.expected(&format!("`{name}`"))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let is_wrapped = self.unnamed || self.name().is_none_or(|found| found == name);
        let result = match &self.node.value {
            Value::Tuple(_, items) if is_wrapped && items.len() == 1 => {
                visitor.visit_newtype_struct(self.of(&items[0]))
            }
            _ if self.name() == Some(name) => visitor.visit_newtype_struct(self.without_name()),
            _ => visitor.visit_newtype_struct(self),
        };
        self.settle(result)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(items) => self.visit_items(items, None, visitor),
            _ => Err(self.expected("a list, as `[a, b]`")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Tuple(_, items) if self.name().is_none() => self.visit_items(items, Some(length), visitor),
            Value::List(items) => self.visit_items(items, Some(length), visitor),
            _ => Err(self.expected(&format!("{length} values in parentheses"))),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.check_name(name)?;
        match &self.node.value {
            Value::Tuple(_, items) => self.visit_items(items, Some(length), visitor),
            _ => Err(self.expected(&format!("`{name}` with {length} values in parentheses"))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(entries) => self.visit_entries(entries, visitor),
            _ => Err(self.expected("a map, as `{\"key\": value}`")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.check_name(name)?;
        self.visit_fields(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Some(name) = self.name() else {
            let expected = format!("one of {}", listed(variants));
            let error = self.error(format!("expected {expected}, found {}", self.node.describe()));
            return Err(self.sink.record(match &self.node.value {
                Value::Text(text) if variants.contains(&text.as_str()) => {
                    error.help(format!("write `{text}` without quotes"))
                }
                _ => error,
            }));
        };
        if !variants.contains(&name) {
            let error =
                Diagnostic::new(self.node.name_span(), format!("there is no `{name}` to choose here"));
            return Err(self.sink.record(error.suggest(name, "one of", variants.iter().copied())));
        }
        self.settle(visitor.visit_enum(Variant { decoder: self, name }))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Name(text) | Value::Text(text) => self.settle(visitor.visit_borrowed_str(text)),
            _ => Err(self.expected("a name")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::source::SourceMap;
    use crate::syntax;

    fn check<T: DeserializeOwned + fmt::Debug + PartialEq>(text: &str, expected: T) {
        let mut sources = SourceMap::new();
        let node = syntax::parse(sources.add("t", text), text).unwrap();
        match decode::<T>(&node) {
            Ok(value) => assert_eq!(value, expected, "{text}"),
            Err(errors) => panic!("{}", errors.render(&sources)),
        }
    }

    fn complaint<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        let mut sources = SourceMap::new();
        let node = syntax::parse(sources.add("t", text), text).unwrap();
        let errors = decode::<T>(&node).unwrap_err();
        let told =
            errors.iter().map(|error| format!("{}: {}", sources.place(error.labels[0].0), error.message));
        told.collect::<Vec<_>>().join("; ")
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u8,
        #[serde(default)]
        b: Option<f32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(u32);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Nothing;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Shape {
        Unit,
        Newtype(Inner),
        Number(i8),
        Tuple(u8, String),
        Struct { a: u8 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(try_from = "u8")]
    struct Even(u8);

    impl TryFrom<u8> for Even {
        type Error = String;

        fn try_from(number: u8) -> Result<Self, String> {
            if number.is_multiple_of(2) { Ok(Self(number)) } else { Err(format!("{number} is odd")) }
        }
    }

    #[test]
    fn values_are_written_as_in_ron_or_barer() {
        check("Inner(a: 1, b: Some(2.5))", Inner { a: 1, b: Some(2.5) });
        check("(a: 1, b: 2)", Inner { a: 1, b: Some(2.0) });
        check("Inner(a: 1, b: None)", Inner { a: 1, b: None });
        for text in ["Wrapped(7)", "(7)", "7"] {
            check(text, Wrapped(7));
        }
        for text in ["Nothing", "Nothing()", "()"] {
            check(text, Nothing);
        }
        check("Unit", Shape::Unit);
        check("Newtype((a: 1))", Shape::Newtype(Inner { a: 1, b: None }));
        check("Newtype(a: 1)", Shape::Newtype(Inner { a: 1, b: None }));
        check("Newtype(Inner(a: 1))", Shape::Newtype(Inner { a: 1, b: None }));
        check("Number(-3)", Shape::Number(-3));
        check("Tuple(1, \"x\")", Shape::Tuple(1, "x".to_owned()));
        check("Struct(a: 1)", Shape::Struct { a: 1 });
        check("[Some(1), None, 3]", vec![Some(1), None, Some(3)]);
        check("Some(a: 1)", Some(Inner { a: 1, b: None }));
        check("(1, 2.5)", (1_u8, 2.5_f64));
        check("[1, 2]", [1_u8, 2]);
        check("{\"x\": (1, 'c')}", BTreeMap::from([("x".to_owned(), (1_i64, 'c'))]));
        check("16777217", 16_777_216_f32);
        check("0.1", 0.1_f32);
        check("18446744073709551615", u64::MAX);
    }

    #[test]
    fn complaints_have_the_innermost_place() {
        assert_eq!(complaint::<Inner>("(a: 4.5)"), "t:1:5: expected a whole number, found 4.5");
        assert_eq!(
            complaint::<Inner>("(a: 256)"),
            "t:1:5: expected a whole number of at most 255, found 256"
        );
        assert_eq!(complaint::<Inner>("(a: -1)"), "t:1:5: expected a whole number of at least 0, found -1");
        assert_eq!(complaint::<Inner>("Outer(a: 1)"), "t:1:1: expected `Inner`, found `Outer(..)`");
        assert_eq!(complaint::<Inner>("()"), "t:1:1: `Inner` needs the field `a`");
        assert_eq!(complaint::<Inner>("Inner(1)"), "t:1:7: the fields of `Inner` have names");
        assert_eq!(complaint::<Shape>("Cube"), "t:1:1: there is no `Cube` to choose here");
        assert_eq!(complaint::<Shape>("Unit(1)"), "t:1:1: `Unit` takes no values");
        assert_eq!(complaint::<Shape>("Tuple(1)"), "t:1:1: expected 2 values, found 1");
        assert_eq!(complaint::<Shape>("Tuple(1, x)"), "t:1:10: expected a string, found `x`");
        assert_eq!(complaint::<Vec<Even>>("[2, 3]"), "t:1:5: 3 is odd");
        assert_eq!(complaint::<Even>("3"), "t:1:1: 3 is odd");
        assert_eq!(complaint::<f32>("1e39"), "t:1:1: expected a number of at most 3.4028235e38");
    }

    #[test]
    fn one_pass_finds_every_wrong_field() {
        assert_eq!(
            complaint::<BTreeMap<String, Inner>>(
                "{\"x\": (a: 'x', b: true, c: 1), \"y\": (b: 'y'), \"z\": 3}"
            ),
            "t:1:11: expected a whole number, found 'x'; t:1:19: expected a number, found true; \
             t:1:25: `Inner` has no field `c`; t:1:37: `Inner` needs the field `a`; \
             t:1:41: expected a number, found 'y'; t:1:52: expected `Inner(..)`, found 3"
        );
    }
}
