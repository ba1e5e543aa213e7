//! Tables as charts: a metric against an axis whose values are numbers.

use std::collections::BTreeSet;

use super::{Chart, MAX_SERIES, Point, Series};
use crate::table::{Cell, Table};

/// With fewer values there is no line to see.
const MIN_VALUES: usize = 3;

/// A cell, and the axis values it is at, in the order of the axes of its table.
struct Placed<'t> {
    labels: Vec<Option<&'t str>>,
    title: &'t str,
    cell: &'t Cell,
    is_published: bool,
}

/// A chart for each metric of a table and each of its axes that has several values, all of them numbers: a line for whatever else the
/// cells differ in, within one standard deviation of means. What the axis does not reach is the same everywhere. Effects are not
/// drawn: their rows are values of several axes.
pub fn charts(table: &Table) -> Vec<Chart> {
    let of_columns = table.columns.first().map_or(&[][..], |column| &column.axes);
    let axes: Vec<&str> =
        table.axes.iter().chain(of_columns.iter().map(|(axis, _)| axis)).map(String::as_str).collect();
    let cells: Vec<Placed<'_>> = table
        .rows
        .iter()
        .flat_map(|row| {
            row.cells.iter().zip(&table.columns).map(move |(cell, column)| {
                let of_column = column.axes.iter().map(|(_, label)| label);
                let labels = row.labels.iter().chain(of_column).map(|label| label.as_deref());
                Placed { labels: labels.collect(), title: &column.title, cell, is_published: row.published }
            })
        })
        .collect();
    if cells.iter().any(|placed| placed.cell.numbers.share.is_some()) {
        return Vec::new();
    }
    let mut titles: Vec<&str> = Vec::new();
    for placed in &cells {
        if !titles.contains(&placed.title) {
            titles.push(placed.title);
        }
    }
    let mut charts = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        let Some(values) = numbers(&cells, at) else { continue };
        for title in &titles {
            let series = series(cells.iter().filter(|placed| placed.title == *title), at, &values);
            let parts = series.len().div_ceil(MAX_SERIES);
            for (part, series) in series.chunks(MAX_SERIES).enumerate() {
                let of = if parts > 1 { format!(", {} of {parts}", part + 1) } else { String::new() };
                let title = format!("{}: {title} by {axis}{of}", table.name);
                charts.push(Chart { title, x: (*axis).to_owned(), series: series.to_vec() });
            }
        }
    }
    charts
}

/// The values of an axis, ascending, where there are several and all are numbers.
fn numbers(cells: &[Placed<'_>], at: usize) -> Option<Vec<f64>> {
    let labels: BTreeSet<&str> = cells.iter().filter_map(|placed| placed.labels[at]).collect();
    let number = |label: &&str| label.parse().ok().filter(|value: &f64| value.is_finite());
    let mut values = labels.iter().map(number).collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    values.dedup();
    (values.len() >= MIN_VALUES).then_some(values)
}

/// What a line is of: the labels of the other axes, and whether others have published it and the axis reaches it.
type Key<'t> = (Vec<Option<&'t str>>, bool, bool);

/// A line for whatever the cells differ in beside the axis; a single point is none.
fn series<'t>(cells: impl Iterator<Item = &'t Placed<'t>>, at: usize, values: &[f64]) -> Vec<Series> {
    let mut all: Vec<(Key<'t>, Series)> = Vec::new();
    for placed in cells {
        let numbers = &placed.cell.numbers;
        let shown = if placed.is_published { numbers.published } else { numbers.shown };
        let Some(y) = shown else { continue };
        let half = numbers.std.filter(|_| numbers.mean == Some(y)).unwrap_or(0.0);
        let reached = placed.labels[at].and_then(|label| label.parse().ok());
        let mut others = placed.labels.clone();
        others[at] = None;
        let key = (others, placed.is_published, reached.is_some());
        let reached = reached.map_or(values.to_vec(), |x| vec![x]);
        let points = reached.into_iter().map(|x| Point { x, y, low: y - half, high: y + half });
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, series)) => series.points.extend(points),
            None => {
                let name = name(&key, placed.title);
                all.push((key, Series { name, points: points.collect() }));
            }
        }
    }
    let mut all: Vec<Series> = all.into_iter().map(|(_, series)| series).collect();
    all.iter_mut().for_each(|series| series.points.sort_by(|a, b| a.x.total_cmp(&b.x)));
    all.retain(|series| series.points.len() > 1);
    all
}

fn name((labels, is_published, _): &Key<'_>, title: &str) -> String {
    let labels = labels.iter().flatten().copied().collect::<Vec<_>>().join(", ");
    let name = if labels.is_empty() { title } else { &labels };
    if *is_published { format!("{name} (published)") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Numbers, Row};

    fn row(method: &str, cells: &[Option<f64>], published: bool) -> Row {
        let cell = |value: &Option<f64>| Cell {
            numbers: Numbers {
                shown: value.filter(|_| !published),
                mean: value.filter(|_| !published),
                std: value.map(|_| 0.1).filter(|_| !published),
                published: value.filter(|_| published),
                ..Numbers::default()
            },
            ..Cell::default()
        };
        Row { labels: vec![Some(method.to_owned())], cells: cells.iter().map(cell).collect(), published }
    }

    fn table(ks: &[&str], rows: Vec<Row>) -> Table {
        let column = |k: &&str| Column {
            axes: vec![("k".to_owned(), Some((*k).to_owned()))],
            title: "acc".to_owned(),
            heading: vec![format!("k={k}")],
        };
        Table {
            name: "t".to_owned(),
            axes: vec!["method".to_owned()],
            columns: ks.iter().map(column).collect(),
            rows,
            notes: Vec::new(),
            remarks: Vec::new(),
        }
    }

    #[test]
    fn a_table_over_numbers_is_a_chart() {
        let rows = vec![
            row("A", &[Some(0.5), None, Some(0.7)], false),
            row("B", &[Some(0.2), None, None], false),
            row("C", &[Some(0.6), Some(0.8), None], true),
        ];
        let drawn = charts(&table(&["10", "5", "20"], rows));
        let [chart] = drawn.as_slice() else { panic!("{drawn:?}") };
        assert_eq!((chart.title.as_str(), chart.x.as_str()), ("t: acc by k", "k"));
        let points = |series: &Series| {
            let of = |point: &Point| (point.x, point.y, point.high - point.low);
            series.points.iter().map(of).collect::<Vec<_>>()
        };
        let lines: Vec<_> = chart.series.iter().map(|series| (&*series.name, points(series))).collect();
        let spread = 0.5 + 0.1 - (0.5 - 0.1);
        assert_eq!(lines[0].0, "A");
        assert_eq!(lines[0].1[0], (10.0, 0.5, spread));
        assert_eq!(lines[1], ("C (published)", vec![(5.0, 0.8, 0.0), (10.0, 0.6, 0.0)]));
        assert_eq!(lines.len(), 2, "B has a single point");
    }

    #[test]
    fn names_and_few_numbers_are_not_drawn() {
        let rows = || vec![row("A", &[Some(0.5), Some(0.6), Some(0.7)], false)];
        assert_eq!(charts(&table(&["small", "5", "20"], rows())), []);
        assert_eq!(charts(&table(&["5", "5.0", "20"], rows())), []);
        assert_eq!(charts(&table(&["1", "2", "4"], rows()))[0].series[0].points.len(), 3);
        let mut effects = rows();
        effects[0].cells[0].numbers.share = Some(0.5);
        assert_eq!(charts(&table(&["1", "2", "4"], effects)), []);
    }
}
