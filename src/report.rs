//! A report of a pipeline's results: one HTML file that needs nothing else.
//!
//! It opens offline, in light and dark, and on a phone. The policy in its head forbids it every request; its script sorts
//! tables and does nothing else. Nothing in it says when it was written, so equal results make equal reports. A live report, which
//! a server shows while a run goes on, may ask that server how things stand.

pub mod activity;
mod chart;
mod drawn;
mod matrix;
mod picture;
mod scatter;

use std::fmt::Write;

pub use chart::{Chart, MAX_SERIES, Point, Series};
pub use matrix::{MAX_SIDE, Matrix};
pub use picture::Picture;
pub use scatter::{Group, Scatter};

use crate::diagnostic::escape;
use crate::progress::seconds;
use crate::table::{NOTHING, STYLE, Table};

const REPORT_STYLE: &str = include_str!("report/report.css");
/// The most charts of a table.
const MAX_DRAWN: usize = 16;
/// More figures of a kind than this are folded away.
const MAX_OPEN: usize = 8;

const SCRIPT: &str = include_str!("report/report.js");
const LIVE_SCRIPT: &str = include_str!("report/live.js");

/// What a report shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The pipeline's name.
    pub title: String,
    /// How much there is of everything, and how it stands.
    pub summary: String,
    /// The declared tables.
    pub tables: Vec<Table>,
    /// The pipeline as SVG.
    pub drawing: Option<String>,
    /// Learning curves.
    pub curves: Vec<Chart>,
    /// Confusion matrices.
    pub confusions: Vec<Matrix>,
    /// Other matrices.
    pub matrices: Vec<Matrix>,
    /// Embeddings in the plane.
    pub scatters: Vec<Scatter>,
    /// What stages drew.
    pub pictures: Vec<Picture>,
    /// What is not shown, and why.
    pub omissions: Vec<String>,
    /// Why there is no report, where there is none; it stands as it is.
    pub trouble: String,
    /// What stages took.
    pub costs: Vec<Cost>,
    /// What results come from: a word and what belongs to it.
    pub provenance: Vec<(String, Vec<String>)>,
}

/// What the instances of a stage took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The stage's name.
    pub stage: String,
    /// Instances that have their result.
    pub done: usize,
    /// Instances in all.
    pub of: usize,
    /// Wall time of all, milliseconds.
    pub total_ms: u64,
    /// Wall time of the longest, milliseconds.
    pub longest_ms: u64,
    /// Highest resident memory of a worker, MiB.
    pub peak_memory_mib: u64,
    /// Families of devices.
    pub devices: Vec<String>,
}

impl Report {
    /// As an HTML file.
    pub fn to_html(&self) -> String {
        self.page(None)
    }

    /// As a page that a server shows, which asks it for `state`: a line that is to be `version` as long as the page holds, and then
    /// [what goes on](activity::to_html).
    pub fn to_live_html(&self, version: &str) -> String {
        self.page(Some(version))
    }

    fn page(&self, version: Option<&str>) -> String {
        let curves = self.curves.iter().map(Chart::to_html).filter(|html| !html.is_empty());
        let curves: Vec<String> = curves.collect();
        let (drawn, undrawn): (Vec<_>, Vec<_>) = self
            .tables
            .iter()
            .flat_map(|table| drawn::charts(table).into_iter().enumerate())
            .partition(|(place, _)| *place < MAX_DRAWN);
        let drawn: Vec<String> = drawn.iter().map(|(_, chart)| chart.to_html()).collect();
        let undrawn = undrawn.into_iter().map(|(_, chart)| {
            format!("the chart {}: of a table a report shows the first {MAX_DRAWN}", chart.title)
        });
        let confusions: Vec<String> = self.confusions.iter().map(Matrix::to_html).collect();
        let matrices: Vec<String> = self.matrices.iter().map(Matrix::to_html).collect();
        let scatters = self.scatters.iter().map(Scatter::to_html).filter(|html| !html.is_empty());
        let scatters: Vec<String> = scatters.collect();
        let pictures: Vec<String> = self.pictures.iter().map(Picture::to_html).collect();
        let omissions = self.omissions.iter().cloned().chain(undrawn);
        let omissions = omissions.map(|text| format!("<p class=\"note\">{}</p>\n", shown(&text)));
        let tables: String = self.tables.iter().map(Table::to_html).collect();
        let lines: String = self.trouble.lines().map(|line| shown(line) + "\n").collect();
        let trouble = if lines.is_empty() { lines } else { format!("<pre class=\"scroll\">{lines}</pre>\n") };
        let sections = [
            ("trouble", "There is no report", trouble),
            ("tables", "Tables", tables),
            (
                "drawn",
                "Tables as charts",
                figures(
                    "grid",
                    &drawn,
                    "Against the axes whose values are numbers; the band is a standard deviation on either side of a mean.",
                ),
            ),
            (
                "pipeline",
                "Pipeline",
                self.drawing.iter().map(|svg| format!("<div class=\"scroll\">{svg}</div>\n")).collect(),
            ),
            (
                "curves",
                "Learning curves",
                figures(
                    "grid",
                    &curves,
                    "Mean over seeds; the band reaches from the lowest to the highest seed.",
                ),
            ),
            (
                "confusion",
                "Confusion",
                figures(
                    "grid",
                    &confusions,
                    "Percent of each class, of the held-out samples of all seeds; of all samples where none is held out.",
                ),
            ),
            ("matrices", "Matrices", figures("grid", &matrices, "Mean over seeds.")),
            (
                "embeddings",
                "Embeddings",
                figures(
                    "grid",
                    &scatters,
                    "Of the first seed that is done; a name stands in the midst of its samples.",
                ),
            ),
            ("pictures", "Pictures", figures("wide", &pictures, "Of the first seed that is done.")),
            ("omissions", "Not shown", omissions.collect()),
            ("costs", "Time and memory", self.costs()),
            ("provenance", "Provenance", self.provenance()),
        ];
        let present = || sections.iter().filter(|(.., body)| !body.is_empty());
        let (begin, asks, script) = match version {
            None => (String::new(), "", String::new()),
            Some(version) => {
                (format!(" data-version=\"{version}\""), "; connect-src 'self'", LIVE_SCRIPT.to_owned())
            }
        };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"{begin}>\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; img-src data:{asks}\">\n<title>{title}</title>\n<style>\n{STYLE}{REPORT_STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n<p>{}</p>\n<nav aria-label=\"Sections\">",
            shown(&self.summary),
            title = shown(&self.title),
        );
        for (id, title, _) in present() {
            write!(html, "<a href=\"#{id}\">{title}</a> ").expect("a string");
        }
        html.push_str("</nav>\n</header>\n<main>\n");
        if version.is_some() {
            html.push_str("<div id=\"activity\"></div>\n");
        }
        for (id, title, body) in present() {
            write!(html, "<section id=\"{id}\">\n<h2>{title}</h2>\n{body}</section>\n").expect("a string");
        }
        write!(html, "</main>\n<script>\n{SCRIPT}{script}</script>\n</body>\n</html>\n").expect("a string");
        html
    }

    fn costs(&self) -> String {
        if self.costs.iter().all(|cost| cost.done == 0) {
            return String::new();
        }
        let most = self.costs.iter().map(|cost| cost.total_ms).max().unwrap_or(0).max(1);
        let mut html = String::from(
            "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">stage</th><th scope=\"col\" class=\"value\">done</th>\
             <th scope=\"col\" class=\"value\">time in all</th><th scope=\"col\"><span class=\"unseen\">share</span></th>\
             <th scope=\"col\" class=\"value\">longest</th><th scope=\"col\" class=\"value\">memory</th>\
             <th scope=\"col\">device</th></tr></thead>\n<tbody>\n",
        );
        for cost in &self.costs {
            let Cost { stage, done, of, total_ms, longest_ms, peak_memory_mib, devices } = cost;
            let width = 100.0 * *total_ms as f64 / most as f64;
            let (total, longest, memory) = match done {
                0 => (NOTHING.to_owned(), NOTHING.to_owned(), NOTHING.to_owned()),
                _ => (seconds(*total_ms), seconds(*longest_ms), format!("{peak_memory_mib} MiB")),
            };
            let devices = if devices.is_empty() { NOTHING.to_owned() } else { devices.join(", ") };
            writeln!(
                html,
                "<tr><th scope=\"row\">{}</th><td data-value=\"{done}\">{done} of {of}</td><td data-value=\"{total_ms}\">{total}</td>\
                 <td data-value=\"{total_ms}\"><svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" \
                 aria-hidden=\"true\"><rect width=\"{width:.1}\" height=\"10\"/></svg></td><td data-value=\"{longest_ms}\">{longest}</td>\
                 <td data-value=\"{peak_memory_mib}\">{memory}</td><td class=\"text\">{}</td></tr>",
                shown(stage),
                shown(&devices)
            )
            .expect("a string");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }

    fn provenance(&self) -> String {
        if self.provenance.is_empty() {
            return String::new();
        }
        let mut html = String::from("<dl>\n");
        for (word, lines) in &self.provenance {
            write!(html, "<dt>{}</dt>", shown(word)).expect("a string");
            for line in lines {
                write!(html, "<dd>{}</dd>", shown(line)).expect("a string");
            }
            html.push('\n');
        }
        html.push_str("</dl>\n");
        html
    }
}

/// Figures under a remark, in a `grid` or each `wide`; many are folded away, and of none there is nothing.
fn figures(shape: &str, figures: &[String], remark: &str) -> String {
    let html = format!("<div class=\"{shape}\">\n{}</div>\n", figures.concat());
    let html = match figures.len() {
        0 => return String::new(),
        1..=MAX_OPEN => html,
        count => format!("<details><summary>{count} of them</summary>\n{html}</details>\n"),
    };
    format!("<p class=\"note\">{remark}</p>\n{html}")
}

/// A text as it is safe to show, with what HTML would take for markup taken literally.
fn shown(text: &str) -> String {
    crate::table::escaped_html(&escape(text))
}
