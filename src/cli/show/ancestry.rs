//! What something was made of, as a tree.

use std::collections::BTreeSet;
use std::fmt::Write;

/// An input.
pub(super) struct Source<Id> {
    /// What is told of it.
    pub text: String,
    /// What it was made by, where that is known.
    pub id: Option<Id>,
}

/// The inputs of `root`, their inputs, and so on. What was told above is not told again.
pub(super) fn ancestry<Id: Copy + Ord>(root: Id, inputs: &dyn Fn(Id) -> Vec<Source<Id>>) -> String {
    let mut text = String::new();
    let mut told = BTreeSet::from([root]);
    // The last is told next: its lead, whether it is the last of its siblings, and itself.
    let mut rest: Vec<(String, bool, Source<Id>)> = Vec::new();
    let push = |rest: &mut Vec<_>, lead: &str, sources: Vec<Source<Id>>| {
        let sources = sources.into_iter().rev().enumerate();
        rest.extend(sources.map(|(index, source)| (lead.to_owned(), index == 0, source)));
    };
    push(&mut rest, "  ", inputs(root));
    if !rest.is_empty() {
        text.push_str("  inputs\n");
    }
    while let Some((lead, is_last, source)) = rest.pop() {
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (above, sources) = match source.id {
            Some(id) if told.insert(id) => ("", inputs(id)),
            Some(_) => ("  (above)", Vec::new()),
            None => ("", Vec::new()),
        };
        writeln!(text, "{lead}{branch}{}{above}", source.text).expect("a string");
        push(&mut rest, &format!("{lead}{below}"), sources);
    }
    text
}
