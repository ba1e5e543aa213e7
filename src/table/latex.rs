//! Tables as LaTeX, for `booktabs`.

use super::{Cell, Rank, Table, label, mark};
use crate::diagnostic::escape;

impl Table {
    /// As a `tabular` with rules by `booktabs`, its footnotes below. It needs nothing but that package and UTF-8 input; names
    /// with letters of other scripts than Latin and Greek, or with rare symbols, need XeLaTeX or LuaLaTeX and a font that has them.
    pub fn to_latex(&self) -> String {
        let mut text = format!(
            "% {}: needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{}{}}}\n\\toprule\n",
            escape(&self.name),
            "l".repeat(self.axes.len()),
            "r".repeat(self.columns.len())
        );
        for level in 0..self.levels() {
            let last = level + 1 == self.levels();
            let mut cells: Vec<String> = self
                .axes
                .iter()
                .map(|axis| if last { escaped(&escape(axis)) } else { String::new() })
                .collect();
            let mut rules = String::new();
            let mut at = self.axes.len() + 1;
            for (heading, count) in self.spans(level) {
                let heading = escaped(&escape(heading));
                cells.push(match count {
                    1 => heading,
                    _ => format!("\\multicolumn{{{count}}}{{c}}{{{heading}}}"),
                });
                if !last && count > 1 {
                    rules.push_str(&format!("\\cmidrule(lr){{{at}-{}}} ", at + count - 1));
                }
                at += count;
            }
            text.push_str(&line(&cells));
            if !rules.is_empty() {
                text.push_str(&format!("{}\n", rules.trim_end()));
            }
        }
        text.push_str("\\midrule\n");
        for (index, row) in self.rows.iter().enumerate() {
            if self.has_line_above(index) {
                text.push_str("\\midrule\n");
            }
            let labels = row.labels.iter().map(|text| escaped(&label(text.as_ref())));
            text.push_str(&line(&labels.chain(row.cells.iter().map(cell)).collect::<Vec<_>>()));
        }
        text.push_str("\\bottomrule\n\\end{tabular}\n");
        let notes = self.notes.iter().enumerate();
        let notes = notes
            .map(|(index, note)| format!("\\textsuperscript{{{}}}~{}", mark(index), escaped(&escape(note))));
        let notes = notes.chain(self.remarks.iter().map(|remark| escaped(&escape(remark))));
        let notes: Vec<String> = notes.map(guarded).collect();
        if !notes.is_empty() {
            text.push_str(&format!("\\par\\smallskip\n{{\\footnotesize {}\\par}}\n", notes.join(" \\\\\n")));
        }
        text
    }
}

fn line(cells: &[String]) -> String {
    format!("{} \\\\\n", guarded(cells.join(" & ")))
}

/// A line after the `\\` of another, which would read a bracket or a star as its argument.
fn guarded(line: String) -> String {
    if line.trim_start().starts_with(['[', '*']) { format!("{{}}{line}") } else { line }
}

fn cell(cell: &Cell) -> String {
    let text = escaped(&escape(&cell.text));
    let mut text = match cell.rank {
        Rank::Best => format!("\\textbf{{{text}}}"),
        Rank::Second => format!("\\underline{{{text}}}"),
        Rank::Other => text,
    };
    if !cell.asides.is_empty() {
        text.push_str(&format!(" ({})", escaped(&escape(&cell.asides.join("; ")))));
    }
    if !cell.notes.is_empty() {
        text.push_str(&format!("\\textsuperscript{{{}}}", cell.marks()));
    }
    text
}

/// The symbols that pdfLaTeX has in formulas alone: Greek letters, and what labels of experiments have between words and numbers.
const MATH: [(char, &str); 64] = [
    ('α', "\\alpha"),
    ('β', "\\beta"),
    ('γ', "\\gamma"),
    ('δ', "\\delta"),
    ('ε', "\\varepsilon"),
    ('ϵ', "\\epsilon"),
    ('ζ', "\\zeta"),
    ('η', "\\eta"),
    ('θ', "\\theta"),
    ('ϑ', "\\vartheta"),
    ('ι', "\\iota"),
    ('κ', "\\kappa"),
    ('λ', "\\lambda"),
    ('μ', "\\mu"),
    ('µ', "\\mu"),
    ('ν', "\\nu"),
    ('ξ', "\\xi"),
    ('ο', "o"),
    ('π', "\\pi"),
    ('ρ', "\\rho"),
    ('σ', "\\sigma"),
    ('ς', "\\varsigma"),
    ('τ', "\\tau"),
    ('υ', "\\upsilon"),
    ('φ', "\\varphi"),
    ('ϕ', "\\phi"),
    ('χ', "\\chi"),
    ('ψ', "\\psi"),
    ('ω', "\\omega"),
    ('Γ', "\\Gamma"),
    ('Δ', "\\Delta"),
    ('Θ', "\\Theta"),
    ('Λ', "\\Lambda"),
    ('Ξ', "\\Xi"),
    ('Π', "\\Pi"),
    ('Σ', "\\Sigma"),
    ('Φ', "\\Phi"),
    ('Ψ', "\\Psi"),
    ('Ω', "\\Omega"),
    ('±', "\\pm"),
    ('×', "\\times"),
    ('÷', "\\div"),
    ('·', "\\cdot"),
    ('−', "-"),
    ('≤', "\\le"),
    ('≥', "\\ge"),
    ('≠', "\\ne"),
    ('≈', "\\approx"),
    ('∞', "\\infty"),
    ('∈', "\\in"),
    ('√', "\\surd"),
    ('∂', "\\partial"),
    ('∑', "\\sum"),
    ('→', "\\to"),
    ('←', "\\leftarrow"),
    ('↑', "\\uparrow"),
    ('↓', "\\downarrow"),
    ('↔', "\\leftrightarrow"),
    ('¹', "^1"),
    ('²', "^2"),
    ('³', "^3"),
    ('′', "'"),
    ('°', "^\\circ"),
    ('½', "\\frac12"),
];

fn math(c: char) -> Option<&'static str> {
    MATH.iter().find(|(known, _)| *known == c).map(|(_, math)| *math)
}

/// What LaTeX would take for markup, taken literally.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\textquotedblright{}"),
            '`' => escaped.push_str("\\textasciigrave{}"),
            _ if let Some(math) = math(c) => escaped.extend(["$", math, "$"]),
            '–' => escaped.push_str(if escaped.ends_with('-') { "{}--" } else { "--" }),
            // A minus, not a hyphen, before a number.
            '-' if chars.peek().is_some_and(char::is_ascii_digit)
                && !escaped.ends_with(char::is_alphanumeric) =>
            {
                escaped.push_str("$-$");
            }
            // Two of them would become one character.
            '-' | '\'' | ',' if escaped.ends_with(c) => escaped.extend(['{', '}', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
