//! Matrices, as tables whose cells are the darker the greater their values.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::shown;

/// Larger ones are drawn without numbers and names, which would not be legible.
const MAX_LEGIBLE: usize = 24;

/// Larger ones are not drawn.
pub const MAX_SIDE: usize = 128;

/// A number for each row and column.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Whose.
    pub title: String,
    /// What rows and columns are, as "label" and "prediction".
    pub sides: [String; 2],
    /// What the rows are called.
    pub rows: Vec<String>,
    /// What the columns are called.
    pub columns: Vec<String>,
    /// \[row\]\[column\], finite.
    pub values: Vec<Vec<f64>>,
    /// What the values are between: one at the first is as light as the page.
    pub range: (f64, f64),
}

impl Matrix {
    /// Of counts of label × prediction, in percent of each label's samples. `classes` are the classes' names, as far as they have
    /// any. A last column beyond the labels is of samples that were given no class.
    pub fn of_counts(title: String, counts: &[Vec<u64>], classes: &[String]) -> Self {
        let name = |label: usize| {
            classes.get(label).map_or_else(|| label.to_string(), |name| format!("{label} {name}"))
        };
        let column = |at: usize| if at < counts.len() { at.to_string() } else { "none".to_owned() };
        let percent = |row: &Vec<u64>| {
            let total = row.iter().sum::<u64>().max(1) as f64;
            row.iter().map(|&count| 100.0 * count as f64 / total).collect()
        };
        Self {
            title,
            sides: ["label", "prediction"].map(str::to_owned),
            rows: (0..counts.len()).map(name).collect(),
            columns: (0..counts.first().map_or(0, Vec::len)).map(column).collect(),
            values: counts.iter().map(percent).collect(),
            range: (0.0, 100.0),
        }
    }

    /// The mean over seeds of what each says of rows and columns, in the order the first names them; 0 where it says nothing.
    ///
    /// # Errors
    /// Why it cannot be drawn.
    pub fn mean(title: String, of_seeds: &[Vec<(String, String, f64)>]) -> Result<Self, String> {
        let entries = || of_seeds.iter().flatten();
        let (row_at, rows) = places(entries().map(|(row, ..)| row));
        let (column_at, columns) = places(entries().map(|(_, column, _)| column));
        let side = rows.len().max(columns.len());
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(format!("it has {side} rows or columns; 1 to {MAX_SIDE} are drawn"));
        }
        if let Some((row, column, value)) = entries().find(|(.., value)| !value.is_finite()) {
            return Err(format!("it has {value} at {row}, {column}"));
        }
        let mut values = vec![vec![0.0; columns.len()]; rows.len()];
        for (row, column, value) in entries() {
            values[row_at[row]][column_at[column]] += value / of_seeds.len() as f64;
        }
        let all = || values.iter().flatten().copied();
        let range = (all().fold(0.0, f64::min), all().fold(0.0, f64::max));
        let sides = [String::new(), String::new()];
        Ok(Self { title, sides, rows, columns, values, range })
    }

    /// As a `figure` element.
    pub fn to_html(&self) -> String {
        let is_legible = self.rows.len().max(self.columns.len()) <= MAX_LEGIBLE;
        let dense = if is_legible { "" } else { " dense" };
        let mut html = format!(
            "<figure class=\"matrix{dense}\"><figcaption>{}</figcaption>\n<div class=\"scroll\"><table>\n",
            shown(&self.title)
        );
        if is_legible {
            let [rows, columns] = &self.sides;
            let corner = if rows == columns { String::new() } else { format!("{rows} ╲ {columns}") };
            write!(html, "<thead><tr><th scope=\"col\">{}</th>", shown(&corner)).expect("a string");
            for column in &self.columns {
                write!(html, "<th scope=\"col\">{}</th>", shown(column)).expect("a string");
            }
            html.push_str("</tr></thead>\n");
        }
        html.push_str("<tbody>\n");
        for (row, values) in self.rows.iter().zip(&self.values) {
            html.push_str("<tr>");
            if is_legible {
                write!(html, "<th scope=\"row\">{}</th>", shown(row)).expect("a string");
            }
            for &value in values {
                let (shade, text) =
                    (self.shade(value), if is_legible { self.text(value) } else { String::new() });
                write!(html, "<td class=\"c{shade}\">{text}</td>").expect("a string");
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div></figure>\n");
        html
    }

    /// In steps of ten, each a class of the page's colours.
    fn shade(&self, value: f64) -> u32 {
        let (low, high) = self.range;
        // Rounding may take the highest above ten.
        if high > low { (10.0 * (value - low) / (high - low)).ceil().min(10.0) as u32 } else { 0 }
    }

    fn text(&self, value: f64) -> String {
        let (low, high) = self.range;
        if low.abs().max(high) < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
    }
}

/// Each name's place in the order of their first appearances, and that order.
fn places<'n>(names: impl Iterator<Item = &'n String>) -> (BTreeMap<&'n String, usize>, Vec<String>) {
    let (mut places, mut order) = (BTreeMap::new(), Vec::new());
    for name in names {
        places.entry(name).or_insert_with(|| {
            order.push(name.clone());
            order.len() - 1
        });
    }
    (places, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shown_in_percent_of_their_label() {
        let classes = ["ant", "<bee>"].map(str::to_owned);
        let matrix = Matrix::of_counts("a & b".to_owned(), &[vec![3, 1, 0], vec![0, 1, 1]], &classes);
        let expected = "<figure class=\"matrix\"><figcaption>a &amp; b</figcaption>\n<div class=\"scroll\"><table>\n\
                        <thead><tr><th scope=\"col\">label ╲ prediction</th><th scope=\"col\">0</th><th scope=\"col\">1</th>\
                        <th scope=\"col\">none</th></tr></thead>\n<tbody>\n\
                        <tr><th scope=\"row\">0 ant</th><td class=\"c8\">75</td><td class=\"c3\">25</td><td class=\"c0\">0</td></tr>\n\
                        <tr><th scope=\"row\">1 &lt;bee&gt;</th><td class=\"c0\">0</td><td class=\"c5\">50</td><td class=\"c5\">50</td></tr>\n\
                        </tbody></table></div></figure>\n";
        assert_eq!(matrix.to_html(), expected);
    }

    #[test]
    fn seeds_are_averaged_by_name_and_what_is_not_there_is_nothing() {
        let entry = |row: &str, column: &str, value| (row.to_owned(), column.to_owned(), value);
        let seeds = [
            vec![entry("x", "a", 1.0), entry("x", "b", -1.0)],
            vec![entry("y", "b", 3.0), entry("x", "a", 2.0)],
        ];
        let matrix = Matrix::mean("m".to_owned(), &seeds).unwrap();
        assert_eq!((matrix.rows.join(" "), matrix.columns.join(" ")), ("x y".to_owned(), "a b".to_owned()));
        assert_eq!(matrix.values, [[1.5, -0.5], [0.0, 1.5]]);
        assert_eq!(
            (matrix.range, matrix.shade(0.0), matrix.shade(1.5), matrix.shade(-0.5)),
            ((-0.5, 1.5), 3, 10, 0)
        );
        let wrong = |seed: Vec<(String, String, f64)>| Matrix::mean(String::new(), &[seed]).unwrap_err();
        assert_eq!(wrong(vec![entry("x", "a", f64::NAN)]), "it has NaN at x, a");
        assert_eq!(wrong(Vec::new()), "it has 0 rows or columns; 1 to 128 are drawn");
        assert_eq!(
            wrong((0..200).map(|row| entry(&row.to_string(), "a", 1.0)).collect()),
            "it has 200 rows or columns; 1 to 128 are drawn"
        );
        // 10 · 0.81 / 0.81 is a little above 10 in floating point.
        let rounded = Matrix::mean(String::new(), &[vec![entry("x", "a", 0.81)]]).unwrap();
        assert_eq!(rounded.shade(0.81), 10);
        let zeros = Matrix::mean(String::new(), &[vec![entry("x", "a", 0.0)]]).unwrap();
        assert!(zeros.to_html().contains("<td class=\"c0\">0.00</td>"));
        let many = (0..30).map(|row| entry(&row.to_string(), "a", f64::from(row)));
        let html = Matrix::mean(String::new(), &[many.collect()]).unwrap().to_html();
        assert!(
            html.contains("matrix dense")
                && html.contains("<tr><td class=\"c10\"></td></tr>")
                && !html.contains("thead")
        );
    }
}
