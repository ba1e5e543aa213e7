//! What serde reads structs, maps, lists and variants through.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::Failure;
use super::decoder::Decoder;
use crate::diagnostic::Diagnostic;
use crate::syntax::{Field, Node, Value};

/// The fields of a struct: those it does not have are recorded and passed over.
pub(super) struct FieldAccess<'a, 'n> {
    pub decoder: Decoder<'a>,
    pub name: &'n str,
    pub known: &'static [&'static str],
    pub fields: std::slice::Iter<'a, Field>,
    pub value: Option<&'a Node>,
}

impl<'a> FieldAccess<'a, '_> {
    fn decode_value<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        decode_entry(self.decoder, self.value.take(), seed)
    }

    fn next(&mut self) -> Option<&'a Field> {
        let field = self.fields.by_ref().find(|field| !self.decoder.sink.is_left_out(&field.value))?;
        self.value = Some(&field.value);
        Some(field)
    }
}

/// Decodes the value after a key; one that fails is left out of the next round.
fn decode_entry<'a, S: DeserializeSeed<'a>>(
    decoder: Decoder<'a>,
    value: Option<&'a Node>,
    seed: S,
) -> Result<S::Value, Failure> {
    let value = value.expect("serde asks for a value after its key");
    let child = decoder.of(value);
    child.settle(seed.deserialize(child)).inspect_err(|_| decoder.sink.leave_out(value))
}

impl<'de> de::MapAccess<'de> for FieldAccess<'de, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        while let Some(field) = self.next() {
            let name = field.name.text.as_str();
            if self.known.contains(&name) {
                return seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some);
            }
            let error = Diagnostic::new(field.name.span, format!("`{}` has no field `{name}`", self.name));
            self.decoder.sink.record(error.suggest(name, "its fields", self.known.iter().copied()));
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        self.decode_value(seed)
    }
}

/// The fields of a struct whose type is not known.
pub(super) struct AnyFieldAccess<'a, 'n>(pub FieldAccess<'a, 'n>);

impl<'de> de::MapAccess<'de> for AnyFieldAccess<'de, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let field = self.0.next();
        field.map(|field| seed.deserialize(BorrowedStrDeserializer::new(&field.name.text))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        self.0.decode_value(seed)
    }
}

pub(super) struct EntryAccess<'a> {
    pub decoder: Decoder<'a>,
    pub entries: std::slice::Iter<'a, (Node, Node)>,
    pub value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for EntryAccess<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let sink = self.decoder.sink;
        let Some((key, value)) = self.entries.by_ref().find(|(_, value)| !sink.is_left_out(value)) else {
            return Ok(None);
        };
        self.value = Some(value);
        let child = self.decoder.of(key);
        child.settle(seed.deserialize(child)).inspect_err(|_| sink.leave_out(value)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        decode_entry(self.decoder, self.value.take(), seed)
    }
}

pub(super) struct ItemAccess<'a> {
    pub decoder: Decoder<'a>,
    pub items: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for ItemAccess<'de> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let child = self.decoder.of(item);
        child.settle(seed.deserialize(child)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// An enum's value, by the name of its variant.
pub(super) struct Variant<'a> {
    pub decoder: Decoder<'a>,
    pub name: &'a str,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failure> {
        let variant = seed.deserialize(BorrowedStrDeserializer::<Failure>::new(self.name))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match &self.decoder.node.value {
            Value::Name(_) => Ok(()),
            Value::Tuple(_, items) if items.is_empty() => Ok(()),
            _ => {
                let error = self.decoder.error(format!("`{}` takes no values", self.name));
                Err(self.decoder.sink.record(error.help(format!("write `{}` alone", self.name))))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failure> {
        let inner = match &self.decoder.node.value {
            Value::Tuple(_, items) if items.len() == 1 => self.decoder.of(&items[0]),
            _ => self.decoder.without_name(),
        };
        inner.settle(seed.deserialize(inner))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Failure> {
        match &self.decoder.node.value {
            Value::Tuple(_, items) => self.decoder.visit_items(items, Some(length), visitor),
            _ => Err(self.decoder.expected(&format!("`{}` with {length} values in parentheses", self.name))),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.decoder.visit_fields(self.name, fields, visitor)
    }
}
