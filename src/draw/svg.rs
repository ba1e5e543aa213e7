//! Drawings as SVG: one file that needs nothing else, readable on light and dark, with text for screen readers.

use std::collections::BTreeMap;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::layout::{Layout, lay_out};
use super::{Drawing, Node, clip};

const MARGIN: f64 = 24.0;
/// The advance of a character, in a typical monospaced font, at each of the two sizes.
const CHAR: f64 = 7.9;
const SMALL_CHAR: f64 = 6.7;
const LINE: f64 = 16.0;
const MAX_NAME_WIDTH: usize = 36;
const MAX_LEGEND_WIDTH: usize = 88;

const STYLE: &str = "
    .paper { fill: #ffffff }
    .box { fill: #f6f8fa; stroke: #57606a }
    .pill { fill: #ffffff; stroke: #bf8700 }
    .name { font: bold 13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328 }
    .small { font: 11px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #57606a }
    .axis { fill: #7d4e00 }
    .edge { fill: none; stroke: #57606a; stroke-width: 1.4 }
    .some { stroke: #bf8700; stroke-dasharray: 5 4 }
    .head { fill: #57606a }
    .some-head { fill: #bf8700 }
    @media (prefers-color-scheme: dark) {
        .paper { fill: #0d1117 }
        .box { fill: #161b22; stroke: #8b949e }
        .pill { fill: #0d1117; stroke: #d29922 }
        .name { fill: #e6edf3 }
        .small { fill: #9da7b3 }
        .axis { fill: #e3b341 }
        .edge { stroke: #8b949e }
        .some { stroke: #d29922 }
        .head { fill: #8b949e }
        .some-head { fill: #d29922 }
    }
";

/// A line from one item to another; labels stand in the way of the edges they belong to, as items of their own.
struct Line {
    from: usize,
    to: usize,
    is_conditional: bool,
    has_head: bool,
    told: String,
}

/// A label, shared by the edges that leave one node and say the same.
struct Label {
    text: String,
    is_conditional: bool,
}

impl Drawing {
    /// As an SVG file.
    pub fn to_svg(&self) -> String {
        let (labels, lines) = self.lines();
        let sizes: Vec<(f64, f64)> =
            self.nodes.iter().map(size).chain(labels.iter().map(|label| label_size(&label.text))).collect();
        let pairs: Vec<(usize, usize)> = lines.iter().map(|line| (line.from, line.to)).collect();
        let layout = lay_out(&sizes, &pairs);
        let legend = self.legend(lines.iter().any(|line| line.is_conditional));
        let head = [&self.title, &self.summary].map(|text| clip(text, MAX_LEGEND_WIDTH));
        let texts = legend.iter().chain(&head).map(|text| text.width() as f64 * SMALL_CHAR);
        let width = texts.fold(layout.width.max(head[0].width() as f64 * CHAR), f64::max) + 2.0 * MARGIN;
        let top = MARGIN + 2.0 * LINE + 20.0;
        let height = top + layout.height + 22.0 + legend.len() as f64 * LINE + MARGIN - 6.0;
        let left = (width - layout.width) / 2.0;

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title told\">\n"
        );
        let told: Vec<String> = self.edges.iter().map(|edge| escaped(&self.sentence(edge))).collect();
        write!(
            svg,
            "<title id=\"title\">{}: {}</title>\n<desc id=\"told\">{}</desc>\n<style>{STYLE}</style>\n",
            escaped(&self.title),
            escaped(&self.summary),
            told.join(".\n")
        )
        .expect("a string");
        writeln!(svg, "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>").expect("a string");
        text(&mut svg, "name", "start", (MARGIN, MARGIN + 12.0), &escaped(&head[0]));
        text(&mut svg, "small", "start", (MARGIN, MARGIN + 12.0 + LINE), &escaped(&head[1]));
        writeln!(svg, "<g transform=\"translate({left:.1} {top:.1})\">").expect("a string");
        for (line, way) in lines.iter().zip(&layout.ways) {
            draw_line(&mut svg, line, way);
        }
        self.draw_items(&mut svg, &sizes, &layout, &labels);
        svg.push_str("</g>\n");
        for (index, line) in legend.iter().enumerate() {
            let y = top + layout.height + 22.0 + (index as f64 + 0.8) * LINE;
            text(&mut svg, "small", "start", (MARGIN, y), &escaped(line));
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The lines between nodes and labels.
    fn lines(&self) -> (Vec<Label>, Vec<Line>) {
        let mut labels = Vec::new();
        let mut lines = Vec::new();
        let mut known: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for edge in &self.edges {
            let (is_conditional, told) = (edge.is_conditional(), self.sentence(edge));
            let from = match edge.label() {
                None => edge.from,
                Some(text) => *known.entry((edge.from, text.clone())).or_insert_with(|| {
                    labels.push(Label { text: clip(&text, MAX_NAME_WIDTH), is_conditional });
                    let to = self.nodes.len() + labels.len() - 1;
                    let told = told.clone();
                    lines.push(Line { from: edge.from, to, is_conditional, has_head: false, told });
                    to
                }),
            };
            lines.push(Line { from, to: edge.to, is_conditional, has_head: true, told });
        }
        (labels, lines)
    }

    /// What the names and lines stand for.
    fn legend(&self, has_conditional: bool) -> Vec<String> {
        let axes = self.axes.iter().map(|(axis, values)| {
            let values = clip(&values.join(", "), MAX_LEGEND_WIDTH.saturating_sub(axis.width() + 2));
            format!("{axis}: {values}")
        });
        let dashed = has_conditional.then(|| "dashed: only for the axis values named".to_owned());
        axes.chain(dashed).collect()
    }

    fn draw_items(&self, svg: &mut String, sizes: &[(f64, f64)], layout: &Layout, labels: &[Label]) {
        for (index, (&(x, y), &(width, height))) in layout.places.iter().zip(sizes).enumerate() {
            let (left, top) = (x - width / 2.0, y - height / 2.0);
            if let Some(node) = self.nodes.get(index) {
                writeln!(svg, "<g><title>{}</title>", escaped(&told(node))).expect("a string");
                if node.count.is_some_and(|count| count > 1) {
                    rect(svg, "box", (left + 4.0, top + 4.0), (width, height), 7.0);
                }
                rect(svg, "box", (left, top), (width, height), 7.0);
                for (at, line) in node_lines(node).iter().enumerate() {
                    let class = ["name", "small", "small axis"][at.min(2)];
                    text(svg, class, "middle", (x, top + 20.0 + at as f64 * LINE), &escaped(line));
                }
                svg.push_str("</g>\n");
            } else {
                let label = &labels[index - self.nodes.len()];
                let class = if label.is_conditional { "pill" } else { "paper" };
                rect(svg, class, (left, top), (width, height), height / 2.0);
                let class = if label.is_conditional { "small axis" } else { "small" };
                text(svg, class, "middle", (x, y + 4.0), &escaped(&label.text));
            }
        }
    }
}

/// The lines written in a node: its name, its kind, and what sets it.
fn node_lines(node: &Node) -> Vec<String> {
    let count = node.count.map(|count| format!(" ×{count}")).unwrap_or_default();
    let name = format!("{}{count}", clip(&node.stage, MAX_NAME_WIDTH));
    let axes = match (node.count, node.axes.as_slice()) {
        (_, []) => Vec::new(),
        (Some(_), axes) => vec![format!("by {}", axes.join(", "))],
        (None, values) => values.to_vec(),
    };
    let axes = axes.iter().map(|line| clip(line, MAX_NAME_WIDTH));
    [name, clip(&node.kind, MAX_NAME_WIDTH)].into_iter().chain(axes).collect()
}

fn told(node: &Node) -> String {
    let count = node.count.map(|count| format!(", {count} of it")).unwrap_or_default();
    let axes = match (node.count, node.axes.as_slice()) {
        (None, _) | (_, []) => String::new(),
        (Some(_), axes) => format!(", set by {}", axes.join(", ")),
    };
    format!("{} ({}){count}{axes}", node.name, node.kind)
}

fn size(node: &Node) -> (f64, f64) {
    let lines = node_lines(node);
    let widths = lines
        .iter()
        .enumerate()
        .map(|(at, line)| line.width() as f64 * if at == 0 { CHAR } else { SMALL_CHAR });
    (widths.fold(60.0, f64::max) + 26.0, 14.0 + lines.len() as f64 * LINE)
}

fn label_size(text: &str) -> (f64, f64) {
    (text.width() as f64 * SMALL_CHAR + 18.0, 20.0)
}

/// A way as a smooth line: upright at every point, so that it is straight where it passes a layer.
fn draw_line(svg: &mut String, line: &Line, way: &[(f64, f64)]) {
    let (some, head) = if line.is_conditional { (" some", "some-head") } else { ("", "head") };
    let (x, y) = way[0];
    let mut path = format!("M{x:.1} {y:.1}");
    let last = way.len() - 1;
    let downward = if way[last].1 > y { 1.0 } else { -1.0 };
    let end = if line.has_head { way[last].1 - 7.0 * downward } else { way[last].1 };
    for (at, pair) in way.windows(2).enumerate() {
        let ((fx, fy), (tx, ty)) = (pair[0], (pair[1].0, if at + 1 == last { end } else { pair[1].1 }));
        if at % 2 == 0 && (fx - tx).abs() > 0.5 {
            let middle = f64::midpoint(fy, ty);
            write!(path, "C{fx:.1} {middle:.1} {tx:.1} {middle:.1} {tx:.1} {ty:.1}").expect("a string");
        } else {
            write!(path, "L{tx:.1} {ty:.1}").expect("a string");
        }
    }
    let title = escaped(&line.told);
    writeln!(svg, "<g><title>{title}</title><path class=\"edge{some}\" d=\"{path}\"/>").expect("a string");
    if line.has_head {
        let (x, y) = way[last];
        let back = y - 8.0 * downward;
        writeln!(
            svg,
            "<path class=\"{head}\" d=\"M{x:.1} {y:.1}L{:.1} {back:.1}L{:.1} {back:.1}Z\"/>",
            x - 4.0,
            x + 4.0
        )
        .expect("a string");
    }
    svg.push_str("</g>\n");
}

fn rect(svg: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), round: f64) {
    writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\"/>"
    )
    .expect("a string");
}

/// A line of text that is escaped already.
fn text(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), escaped: &str) {
    writeln!(
        svg,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{escaped}</text>"
    )
    .expect("a string");
}

/// Text as it may stand in XML. Characters that XML cannot hold are spelt out when a drawing is made.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut text, c| {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            // Not characters in XML 1.0, though they are in Unicode.
            '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
            _ => text.push(c),
        }
        text
    })
}
