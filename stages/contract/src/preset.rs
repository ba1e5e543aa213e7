//! Values with names of their own, and what they stand for.

use serde::Serialize;

/// A value of a field that has a short form: what a person writes, and the whole of what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Where it comes from, as "SSL-GraphNNCLR".
    pub name: String,
    /// What is written, as RON.
    pub written: String,
    /// What it stands for, as RON a line an item, that may be written in its place.
    pub expanded: String,
}

impl Preset {
    /// A preset that stands for `value`.
    ///
    /// # Panics
    /// When `value` is not plain data.
    pub fn new(name: &str, written: &str, value: &impl Serialize) -> Self {
        let config = ron::ser::PrettyConfig::new()
            .new_line("\n")
            .indentor("    ")
            .number_suffixes(false)
            .depth_limit(3)
            .separate_tuple_members(false);
        let expanded = ron::ser::to_string_pretty(value, config).expect("a preset is plain data");
        Self { name: name.to_owned(), written: written.to_owned(), expanded }
    }
}
