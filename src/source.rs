//! Source texts and places in them.
