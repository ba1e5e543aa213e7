//! Tables as Markdown, as GitHub reads it.

use super::{Cell, Rank, Table, label, mark};
use crate::diagnostic::escape;

impl Table {
    /// As a section of a Markdown text that has several tables.
    pub fn to_markdown_section(&self) -> String {
        format!("### {}\n\n{}", escaped(&escape(&self.name)), self.to_markdown())
    }

    /// As a Markdown table, with its footnotes below. The best is bold, the second best underlined.
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rules = (0..self.axes.len() + self.columns.len())
            .map(|at| if at < self.axes.len() { "---" } else { "---:" }.to_owned());
        let mut text = line(self.headings().map(|heading| escaped(&escape(&heading))).collect());
        text.push_str(&line(rules.collect()));
        for row in &self.rows {
            let labels = row.labels.iter().map(|text| escaped(&label(text.as_ref())));
            text.push_str(&line(labels.chain(row.cells.iter().map(cell)).collect()));
        }
        let notes = self.notes.iter().enumerate();
        let notes =
            notes.map(|(index, note)| format!("<sup>{}</sup> {}", mark(index), escaped(&escape(note))));
        let notes: Vec<String> =
            notes.chain(self.remarks.iter().map(|remark| escaped(&escape(remark)))).collect();
        if !notes.is_empty() {
            text.push_str(&format!("\n{}\n", notes.join("<br>\n")));
        }
        text
    }
}

fn cell(cell: &Cell) -> String {
    let text = escaped(&escape(&cell.text));
    let mut text = match cell.rank {
        Rank::Best => format!("**{text}**"),
        Rank::Second => format!("<u>{text}</u>"),
        Rank::Other => text,
    };
    if !cell.asides.is_empty() {
        text.push_str(&format!(" ({})", escaped(&escape(&cell.asides.join("; ")))));
    }
    if !cell.notes.is_empty() {
        text.push_str(&format!("<sup>{}</sup>", cell.marks()));
    }
    text
}

/// What Markdown would take for markup, taken literally.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '#' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
