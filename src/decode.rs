//! From a syntax tree to typed values.
