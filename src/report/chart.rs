//! Line charts as SVG: a line a series, a band where it has a spread.
//!
//! Series differ in colour and in dashes, so that neither is needed to tell them apart; a chart's colours are variables of
//! the page, which has them light and dark.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::shown;

/// The most series in a chart; more than that nobody tells apart.
pub const MAX_SERIES: usize = 8;

/// More points than this are averaged in bins: a chart has no more columns.
const MAX_POINTS: usize = 240;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// The dashes of series, by place; as many as colours.
const DASHES: [&str; MAX_SERIES] = ["none", "7 3", "2 3", "9 3 2 3", "none", "7 3", "2 3", "9 3 2 3"];

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What runs from left to right.
    pub x: String,
    /// At most [`MAX_SERIES`].
    pub series: Vec<Series>,
}

/// A line with its band.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// In order of `x`.
    pub points: Vec<Point>,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// From left to right.
    pub x: f64,
    /// The line.
    pub y: f64,
    /// Where the band begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Series {
    /// The mean of some curves, each pairs of x and y (of several with one x, the last counts), with a band from their
    /// lowest to their highest value; where only some of them have a point there is none.
    pub fn of(name: String, curves: &[Vec<(f64, f64)>]) -> Self {
        let curves: Vec<BTreeMap<u64, (f64, f64)>> =
            curves.iter().map(|curve| curve.iter().map(|&(x, y)| (in_order(x), (x, y))).collect()).collect();
        let first = curves.first().map(|curve| curve.keys().copied().collect()).unwrap_or_default();
        let mut common: Vec<u64> = first;
        common.retain(|x| curves.iter().all(|curve| curve.contains_key(x)));
        let pick = |at: fn(&(f64, f64)) -> f64| {
            let of = |curve: &BTreeMap<u64, (f64, f64)>| common.iter().map(|x| at(&curve[x])).collect();
            curves.iter().map(of).collect::<Vec<Vec<f64>>>()
        };
        let (places, curves) = (pick(|point| point.0), pick(|point| point.1));
        let length = common.len();
        let width = length.div_ceil(MAX_POINTS).max(1);
        let bins = (0..length).step_by(width).map(|from| from..(from + width).min(length));
        let point = |bin: std::ops::Range<usize>| {
            let means = curves.iter().map(|curve| mean(&curve[bin.clone()]));
            let (low, high) = means.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            let y = mean(&means.collect::<Vec<f64>>());
            Point { x: mean(&places[0][bin]), y, low, high }
        };
        Self { name, points: bins.map(point).collect() }
    }
}

/// A number whose order among such is that of the finite numbers they are made from.
fn in_order(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What a chart's edges stand for.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn of(chart: &Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let extremes = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            // A range that numbers of this size can be told apart in.
            let least = 1e-9 * low.abs().max(high.abs()).max(1e-290);
            let half = 0.5 * low.abs().max(1.0);
            if high - low > least { (low, high) } else { (low - half, high + half) }
        };
        let x = extremes(&mut points().map(|point| point.x));
        let y = extremes(&mut points().flat_map(|point| [point.low, point.high]));
        let margin = (y.1 - y.0) * 0.04;
        Self { x, y: (y.0 - margin, y.1 + margin) }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let up = (y - self.y.0) / (self.y.1 - self.y.0);
        (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))
    }
}

impl Chart {
    /// As a `figure` element; nothing where there is no point to draw.
    pub fn to_html(&self) -> String {
        if self.series.iter().all(|series| series.points.is_empty()) {
            return String::new();
        }
        let frame = Frame::of(self);
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        let label = shown(&format!("{}: {}", self.title, names.join(", ")));
        let mut svg = format!(
            "<figure class=\"chart\"><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{label}\">\n",
            shown(&self.title)
        );
        self.draw_scales(&frame, &mut svg);
        for (index, series) in self.series.iter().enumerate() {
            let line =
                |value: fn(&Point) -> f64| series.points.iter().map(move |point| (point.x, value(point)));
            let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
                let places = points.map(|(x, y)| frame.place(x, y));
                places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
            };
            if series.points.iter().any(|point| point.low < point.high) {
                let back: Vec<(f64, f64)> = line(|point| point.low).collect();
                let area = path(&mut line(|point| point.high).chain(back.into_iter().rev()));
                writeln!(svg, "<polygon class=\"band s{index}\" points=\"{area}\"/>").expect("a string");
            }
            let (points, dashes) = (path(&mut line(|point| point.y)), DASHES[index]);
            writeln!(
                svg,
                "<polyline class=\"line s{index}\" stroke-dasharray=\"{dashes}\" points=\"{points}\"><title>{}</title></polyline>",
                shown(&series.name)
            )
            .expect("a string");
        }
        svg.push_str("</svg>\n<ul class=\"legend\">\n");
        for (index, series) in self.series.iter().enumerate() {
            writeln!(
                svg,
                "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line class=\"line s{index}\" stroke-dasharray=\"{}\" \
                 x1=\"0\" x2=\"28\" y1=\"5\" y2=\"5\"/></svg>{}</li>",
                DASHES[index],
                shown(&series.name)
            )
            .expect("a string");
        }
        svg.push_str("</ul></figure>\n");
        svg
    }

    fn draw_scales(&self, frame: &Frame, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in ticks(frame.y, 5) {
            let (_, y) = frame.place(frame.x.0, tick.0);
            writeln!(
                svg,
                "<line class=\"tick\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.5,
                tick.1
            )
            .expect("a string");
        }
        for tick in ticks(frame.x, 6) {
            let (x, _) = frame.place(tick.0, frame.y.0);
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                tick.1
            )
            .expect("a string");
        }
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 7.0,
            shown(&self.x)
        )
        .expect("a string");
    }
}

/// Round numbers within a range, about `count` of them, with their texts.
fn ticks((low, high): (f64, f64), count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    // 5.3 is a tick of a range to 5.3, although 5.3 / 0.1 is a little below 53.
    let slack = 1e-9;
    let (first, last) = ((low / step - slack).ceil() as i64, (high / step + slack).floor() as i64);
    let tick = |index: i64| {
        let value = index as f64 * step;
        (value, format!("{value:.digits$}"))
    };
    (first..=last).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let texts = |range, count| ticks(range, count).into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(texts((0.0, 1.0), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts((1.0, 300.0), 6), ["50", "100", "150", "200", "250", "300"]);
        assert_eq!(texts((-0.013, 0.021), 4), ["-0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(texts((5.0, 5.3), 3), ["5.0", "5.1", "5.2", "5.3"]);
    }

    #[test]
    fn numbers_that_cannot_be_told_apart_are_drawn_as_one() {
        for (low, high) in [(0.0, 5e-324), (1e17, 1e17), (-3.0, -3.0), (1e-300, 2e-300)] {
            let series = Series::of("a".to_owned(), &[vec![(1.0, low), (2.0, high)]]);
            let chart = Chart { title: String::new(), x: String::new(), series: vec![series] };
            let html = chart.to_html();
            assert!(html.contains("polyline") && !html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }

    #[test]
    fn a_series_is_the_mean_of_its_curves_within_their_band() {
        let series = Series::of(
            "a".to_owned(),
            &[vec![(-1.0, 1.0), (5.0, 7.0), (8.0, 2.0)], vec![(-1.0, 3.0), (8.0, 6.0), (9.0, 9.0)]],
        );
        let expected =
            [Point { x: -1.0, y: 2.0, low: 1.0, high: 3.0 }, Point { x: 8.0, y: 4.0, low: 2.0, high: 6.0 }];
        assert_eq!(series.points, expected);
        assert_eq!(Series::of("a".to_owned(), &[]).points, []);
    }

    #[test]
    fn long_curves_are_averaged_in_bins() {
        let curve: Vec<(f64, f64)> = (0..1000).map(|at| (f64::from(at) + 1.0, f64::from(at))).collect();
        let series = Series::of("a".to_owned(), &[curve]);
        assert_eq!(series.points.len(), 200);
        assert_eq!(series.points[0], Point { x: 3.0, y: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(series.points[199].y, 997.0);
    }
}
