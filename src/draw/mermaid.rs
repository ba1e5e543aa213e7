//! Drawings in Mermaid's language, which Markdown viewers show.

use std::fmt::Write;

use super::Drawing;

impl Drawing {
    /// As a Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let count = node.count.map(|count| format!(" ×{count}")).unwrap_or_default();
            let mut label =
                format!("{}<br>{}", escaped(&format!("{}{count}", node.name)), escaped(&node.kind));
            if node.count.is_some() && !node.axes.is_empty() {
                write!(label, "<br>{}", escaped(&format!("by {}", node.axes.join(", ")))).expect("a string");
            }
            writeln!(text, "    n{index}[\"{label}\"]").expect("a string");
        }
        for edge in &self.edges {
            let arrow = if edge.is_conditional() { "-.->" } else { "-->" };
            let label = edge.label().map(|label| format!("|\"{}\"|", escaped(&label))).unwrap_or_default();
            writeln!(text, "    n{} {arrow}{label} n{}", edge.from, edge.to).expect("a string");
        }
        text
    }
}

/// Everything that Mermaid, or the HTML and Markdown it passes through, could read as its own, as a numbered entity.
fn escaped(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " -_.,×=→…".contains(c);
    text.chars().fold(String::new(), |mut text, c| {
        if is_plain(c) {
            text.push(c);
        } else {
            write!(text, "#{};", u32::from(c)).expect("a string");
        }
        text
    })
}
