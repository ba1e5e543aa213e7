//! Drawings in Graphviz' language.

use std::fmt::Write;

use super::Drawing;

impl Drawing {
    /// As a DOT file.
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n", quoted(&self.title));
        text.push_str("    node [shape=box, style=rounded, fontname=\"monospace\"];\n");
        text.push_str("    edge [fontname=\"monospace\", fontsize=11];\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let count = node.count.map(|count| format!(" ×{count}")).unwrap_or_default();
            let mut label = format!("{}{count}\n{}", node.name, node.kind);
            if node.count.is_some() && !node.axes.is_empty() {
                write!(label, "\nby {}", node.axes.join(", ")).expect("a string");
            }
            writeln!(text, "    n{index} [label={}];", quoted(&label)).expect("a string");
        }
        for edge in &self.edges {
            let style = edge.is_conditional().then(|| "style=dashed".to_owned());
            let label = edge.label().map(|label| format!("label={}", quoted(&label)));
            let attributes: Vec<String> = style.into_iter().chain(label).collect();
            let attributes = match attributes.as_slice() {
                [] => String::new(),
                some => format!(" [{}]", some.join(", ")),
            };
            writeln!(text, "    n{} -> n{}{attributes};", edge.from, edge.to).expect("a string");
        }
        text.push_str("}\n");
        text
    }
}

/// A quoted string; a backslash would start one of Graphviz' own escapes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
