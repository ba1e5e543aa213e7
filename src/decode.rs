//! From a syntax tree to typed values.
//!
//! A serde deserializer over [`Node`]. Errors are kept beside it, each with the place of the innermost piece it is
//! about, so it does not matter that type-erased serde keeps only the text of an error. A field that does not decode
//! is left out and the whole is decoded again, so that one pass over a file finds all of its errors.
//!
//! Every struct refuses fields it does not have. Where RON asks for `Some(x)` or for the parentheses of a newtype, a
//! bare `x` will do, and a whole number will do for a float.

mod access;
mod decoder;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use ablate_stage::{DynStage, StageKind};
use serde::de::{self, DeserializeOwned};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::syntax::Node;
use decoder::Decoder;

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
