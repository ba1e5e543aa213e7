//! RON text to a tree whose every piece knows its place.
