//! The documentation of stage kinds, from their doc comments.
