//! The numbers of a table as a frame, and as Parquet.

use polars::prelude::{Column as Series, DataFrame, PolarsResult};

use super::{Cell, Numbers, Row, Table, write_parquet};

/// The column that holds what a cell shows.
pub(super) const TEXT: &str = "text";

/// One of a cell's numbers.
type Statistic = fn(&Numbers) -> Option<f64>;

impl Table {
    /// A row for each cell: a text column per axis (null where the axis does not reach), `cell` (its title), `n` of `trials`,
    /// the statistics in the metric's own unit (null where there is none), and `text`, `notes` and `is_published`.
    ///
    /// # Errors
    /// Where an axis has the name of another column.
    pub fn frame(&self) -> PolarsResult<DataFrame> {
        let cells: Vec<(&Row, usize, &Cell)> = self
            .rows
            .iter()
            .flat_map(|row| row.cells.iter().enumerate().map(move |(at, cell)| (row, at, cell)))
            .collect();
        let mut columns = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            let labels: Vec<Option<&str>> =
                cells.iter().map(|(row, ..)| row.labels[index].as_deref()).collect();
            columns.push(Series::new(axis.as_str().into(), labels));
        }
        let column_axes = self.columns.first().map_or(&[][..], |column| &column.axes);
        for (index, (axis, _)) in column_axes.iter().enumerate() {
            let labels: Vec<Option<&str>> =
                cells.iter().map(|(_, at, _)| self.columns[*at].axes[index].1.as_deref()).collect();
            columns.push(Series::new(axis.as_str().into(), labels));
        }
        let titles: Vec<&str> = cells.iter().map(|(_, at, _)| self.columns[*at].title.as_str()).collect();
        columns.push(Series::new("cell".into(), titles));
        let counts: Vec<u64> = cells.iter().map(|(.., cell)| cell.numbers.n as u64).collect();
        columns.push(Series::new("n".into(), counts));
        let trials: Vec<u64> = cells.iter().map(|(.., cell)| cell.numbers.of as u64).collect();
        columns.push(Series::new("trials".into(), trials));
        let statistics: [(&str, Statistic); 11] = [
            ("mean", |numbers| numbers.mean),
            ("std", |numbers| numbers.std),
            ("ci95", |numbers| numbers.ci95),
            ("median", |numbers| numbers.median),
            ("min", |numbers| numbers.min),
            ("max", |numbers| numbers.max),
            ("difference", |numbers| numbers.difference),
            ("p", |numbers| numbers.p),
            ("p_holm", |numbers| numbers.p_holm),
            ("published", |numbers| numbers.published),
            ("share", |numbers| numbers.share),
        ];
        for (name, statistic) in statistics {
            let values: Vec<Option<f64>> = cells.iter().map(|(.., cell)| statistic(&cell.numbers)).collect();
            columns.push(Series::new(name.into(), values));
        }
        let texts: Vec<String> = cells.iter().map(|(.., cell)| cell.whole_text()).collect();
        columns.push(Series::new(TEXT.into(), texts));
        let notes: Vec<String> = cells
            .iter()
            .map(|(.., cell)| {
                let notes: Vec<&str> = cell.notes.iter().map(|&note| self.notes[note].as_str()).collect();
                notes.join("; ")
            })
            .collect();
        columns.push(Series::new("notes".into(), notes));
        let published: Vec<bool> = cells.iter().map(|(row, ..)| row.published).collect();
        columns.push(Series::new("is_published".into(), published));
        DataFrame::new(cells.len(), columns)
    }

    /// [`Table::frame`] as a Parquet file.
    ///
    /// # Errors
    /// As [`Table::frame`].
    pub fn to_parquet(&self) -> PolarsResult<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        write_parquet(&mut self.frame()?, &mut bytes)?;
        Ok(bytes.into_inner())
    }
}
