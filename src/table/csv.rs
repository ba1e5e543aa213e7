//! Tables as comma-separated values.

use super::{NOTHING, Table, mark};

impl Table {
    /// As comma-separated values (RFC 4180), texts as shown, without emphasis; footnotes are lines of their own below.
    ///
    /// A text that a spreadsheet would take for a formula gets a `'` in front.
    pub fn to_csv(&self) -> String {
        let mut text = line(self.headings());
        for row in &self.rows {
            let labels = row.labels.iter().map(|label| label.clone().unwrap_or_else(|| NOTHING.to_owned()));
            let cells = row.cells.iter().map(super::Cell::marked_text);
            text.push_str(&line(labels.chain(cells)));
        }
        let notes = self.notes.iter().enumerate().map(|(index, note)| format!("[{}] {note}", mark(index)));
        for note in notes.chain(self.remarks.iter().cloned()) {
            text.push_str(&line([note].into_iter()));
        }
        text
    }
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let fields: Vec<String> = fields.map(|field| quoted(&field)).collect();
    format!("{}\n", fields.join(","))
}

fn quoted(text: &str) -> String {
    // A number with its sign is one, alone or before what belongs to it.
    let is_number = text.split(' ').next().is_some_and(|word| word.parse::<f64>().is_ok());
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
