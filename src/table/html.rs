//! Tables as HTML.

use super::{Cell, Rank, Table, label, mark};
use crate::diagnostic::escape;

/// The look of tables, light and dark.
pub(crate) const STYLE: &str = include_str!("html/table.css");

impl Table {
    /// As a `table` element with its name as caption, its footnotes below.
    pub fn to_html(&self) -> String {
        let mut text = String::from("<div class=\"scroll\"><table>\n");
        text.push_str(&format!("<caption>{}</caption>\n<thead>\n", shown(&self.name)));
        let levels = self.levels();
        for level in 0..levels {
            text.push_str("<tr>");
            if level == 0 {
                for axis in &self.axes {
                    text.push_str(&format!("<th scope=\"col\" rowspan=\"{levels}\">{}</th>", shown(axis)));
                }
            }
            for (heading, count) in self.spans(level) {
                let (scope, span) = match count {
                    1 => ("col", String::new()),
                    _ => ("colgroup", format!(" colspan=\"{count}\"")),
                };
                let heading = shown(heading);
                text.push_str(&format!("<th scope=\"{scope}\"{span} class=\"value\">{heading}</th>"));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</thead>\n<tbody>\n");
        for (index, row) in self.rows.iter().enumerate() {
            let class = if self.has_line_above(index) { " class=\"lined\"" } else { "" };
            text.push_str(&format!("<tr{class}>"));
            for text_of in &row.labels {
                text.push_str(&format!("<th scope=\"row\">{}</th>", escaped(&label(text_of.as_ref()))));
            }
            for at in &row.cells {
                text.push_str(&cell(at));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</tbody>\n</table></div>\n");
        let notes = self.notes.iter().enumerate();
        let notes = notes.map(|(index, note)| format!("<sup>{}</sup> {}", mark(index), shown(note)));
        for note in notes.chain(self.remarks.iter().map(|remark| shown(remark))) {
            text.push_str(&format!("<p class=\"note\">{note}</p>\n"));
        }
        text
    }
}

fn cell(cell: &Cell) -> String {
    let text = shown(&cell.text);
    let mut text = match cell.rank {
        Rank::Best => format!("<strong>{text}</strong>"),
        Rank::Second => format!("<u>{text}</u>"),
        Rank::Other => text,
    };
    if !cell.asides.is_empty() {
        text.push_str(&format!(" <span class=\"aside\">({})</span>", shown(&cell.asides.join("; "))));
    }
    if !cell.notes.is_empty() {
        text.push_str(&format!("<sup>{}</sup>", cell.marks()));
    }
    let value = cell.numbers.shown.or(cell.numbers.published);
    let value = value.map(|value| format!(" data-value=\"{value}\"")).unwrap_or_default();
    format!("<td{value}{}>{text}</td>", p_values(cell))
}

/// The p-values of a cell's difference, told where one points at it.
fn p_values(cell: &Cell) -> String {
    let of = |p: f64| if p < 0.001 { "&lt; 0.001".to_owned() } else { format!("= {p:.3}") };
    match (cell.numbers.p, cell.numbers.p_holm) {
        (Some(p), Some(corrected)) => format!(" title=\"p {}, corrected {}\"", of(p), of(corrected)),
        _ => String::new(),
    }
}

/// A whole page of what is given, that needs nothing else.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        shown(title)
    )
}

fn shown(text: &str) -> String {
    escaped(&escape(text))
}

/// What HTML would take for markup, taken literally.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
