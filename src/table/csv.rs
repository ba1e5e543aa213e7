//! Tables as comma-separated values.

use super::{NOTHING, Table, mark};

impl Table {
    /// As comma-separated values (RFC 4180), texts as shown, without emphasis; footnotes are lines of their own below.
    ///
    /// A text that a spreadsheet would take for a formula gets a `'` in front.
    pub fn to_csv(&self) -> String {
        let mut text = line(self.headings().map(|heading| quoted(&heading)));
        for row in &self.rows {
            let labels = row.labels.iter().map(|label| label.clone().unwrap_or_else(|| NOTHING.to_owned()));
            let labels = labels.map(|label| quoted(&label));
            let cells = row.cells.iter().map(|cell| {
                let has_number = cell.numbers.shown.or(cell.numbers.published).is_some();
                if has_number { separated(&cell.marked_text()) } else { quoted(&cell.marked_text()) }
            });
            text.push_str(&line(labels.chain(cells)));
        }
        let notes = self.notes.iter().enumerate().map(|(index, note)| format!("[{}] {note}", mark(index)));
        for note in notes.chain(self.remarks.iter().cloned()) {
            text.push_str(&line([quoted(&note)].into_iter()));
        }
        text
    }
}

fn line(fields: impl Iterator<Item = String>) -> String {
    format!("{}\n", fields.collect::<Vec<String>>().join(","))
}

/// A text that is free to begin as it likes; a number with its sign is no formula.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    if is_formula { separated(&format!("'{text}")) } else { separated(text) }
}

/// A text in quotes, where it would be taken for several fields.
fn separated(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
