//! RON text to a tree whose every piece knows its place.

use crate::source::Span;

/// A piece of RON, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub span: Span,
}
