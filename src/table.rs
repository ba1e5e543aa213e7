//! Rows to comparison tables.
