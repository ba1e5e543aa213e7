//! What serde reads a piece of the tree through.

use serde::de::{Deserializer, Visitor};

use super::access::{AnyFieldAccess, EntryAccess, FieldAccess, ItemAccess, Variant};
use super::{Failure, Sink};
use crate::diagnostic::{Diagnostic, closest};
use crate::syntax::{Field, Node, Value};

/// A piece of the tree about to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    pub node: &'a Node,
    pub sink: &'a Sink,
    /// Whether the name in front of the parentheses has been dealt with, as a variant's or a stage kind's.
    pub unnamed: bool,
}

impl<'a> Decoder<'a> {
    pub fn of(self, node: &'a Node) -> Self {
        Self { node, unnamed: false, ..self }
    }

    pub fn without_name(self) -> Self {
        Self { unnamed: true, ..self }
    }

    fn name(self) -> Option<&'a str> {
        if self.unnamed { None } else { self.node.name() }
    }

    pub fn error(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.node.span, message)
    }

    pub fn expected(self, what: &str) -> Failure {
        let error = self.error(format!("expected {what}, found {}", self.node.describe()));
        self.sink.record(match &self.node.value {
            Value::Name(_) if what == "a string" => error.help("write a string in double quotes"),
            _ => error,
        })
    }

    /// Records what a visitor complains of at this piece, unless a place inside it is recorded already.
    pub fn settle<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
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
    pub fn visit_fields<V: Visitor<'a>>(
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

    pub fn visit_items<V: Visitor<'a>>(
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
