//! Confusion matrices: how often what was said to be what.

use std::fmt::Write;

use super::shown;

/// Larger ones are not drawn: their numbers would not be legible.
pub const MAX_CLASSES: usize = 24;

/// Counts of label × prediction, over the held-out samples of all seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// Whose predictions.
    pub title: String,
    /// \[label\]\[prediction\].
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// As a table whose cells are as dark as their share of the label's samples.
    pub fn to_html(&self) -> String {
        let mut html = format!(
            "<figure class=\"confusion\"><figcaption>{}</figcaption>\n<div class=\"scroll\"><table>\n<thead><tr><th \
             scope=\"col\">label</th>",
            shown(&self.title)
        );
        for prediction in 0..self.counts.len() {
            write!(html, "<th scope=\"col\">{prediction}</th>").expect("a string");
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for (label, row) in self.counts.iter().enumerate() {
            let total: u64 = row.iter().sum();
            write!(html, "<tr><th scope=\"row\">{label}</th>").expect("a string");
            for (prediction, &count) in row.iter().enumerate() {
                let percent = if total > 0 { 100.0 * count as f64 / total as f64 } else { 0.0 };
                // In steps of ten, each a class of the page's colours.
                let shade = (percent / 10.0).ceil() as u32;
                write!(
                    html,
                    "<td class=\"c{shade}\" title=\"{count} of {total} of class {label} taken for {prediction}\">{percent:.0}</td>"
                )
                .expect("a string");
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div></figure>\n");
        html
    }
}
