//! Numbers as comma-separated values.

use std::io::Write;

use polars::prelude::{Column, CsvWriter, DataFrame, DataType, PolarsResult, SerWriter};

use super::Table;
use super::parquet::TEXT;

impl Table {
    /// [`Table::frame`] as comma-separated values (RFC 4180) with a heading and full precision.
    ///
    /// A name that a spreadsheet would take for a formula gets a `'` in front.
    ///
    /// # Errors
    /// As [`Table::frame`].
    pub fn to_csv(&self) -> PolarsResult<Vec<u8>> {
        let mut bytes = Vec::new();
        // What cells show is of our making, and begins with the sign of a number.
        write(&self.frame()?, Some(TEXT), &mut bytes)?;
        Ok(bytes)
    }
}

/// Writes a frame as [`Table::to_csv`] does.
///
/// # Errors
/// Where `out` refuses.
pub fn write_csv(frame: &DataFrame, out: &mut impl Write) -> PolarsResult<()> {
    write(frame, None, out)
}

/// But for one column, whose texts stay as they are.
fn write(frame: &DataFrame, stays: Option<&str>, out: &mut impl Write) -> PolarsResult<()> {
    let mut safe = frame.clone();
    for column in frame.columns().iter().filter(|column| *column.dtype() == DataType::String) {
        if stays != Some(column.name().as_str()) {
            let texts: Vec<Option<String>> = column.str()?.iter().map(|text| text.map(quoted)).collect();
            safe.with_column(Column::new(column.name().clone(), texts))?;
        }
    }
    CsvWriter::new(out).finish(&mut safe)
}

/// A text that is free to begin as it likes; a number with its sign is no formula.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    if is_formula { format!("'{text}") } else { text.to_owned() }
}
