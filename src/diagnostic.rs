//! What is wrong with a pipeline, and where.
//!
//! Errors are values until the command line renders them: a message, the places it is about, and what to do. What
//! comes from a source text is escaped on the way to the terminal, so a file cannot move the cursor or hide a line.

use std::collections::HashSet;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::source::{SourceMap, Span};

/// How many columns of a source line are shown at most.
const MAX_LINE_WIDTH: usize = 120;
/// How many errors are shown at most.
const MAX_ERRORS_SHOWN: usize = 50;
/// How many known names a help lists at most.
const MAX_NAMES_LISTED: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// What is wrong, with the value.
    pub message: String,
    /// The places it is about, the one to look at first in front, each with a remark that may be empty.
    pub labels: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: vec![(span, String::new())], help: None }
    }

    /// An error without a place in a source text.
    pub fn without_place(message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: Vec::new(), help: None }
    }

    /// With a remark under the mark of its first place.
    #[must_use]
    pub fn marked(mut self, remark: impl Into<String>) -> Self {
        if let Some((_, text)) = self.labels.first_mut() {
            *text = remark.into();
        }
        self
    }

    /// With another place.
    #[must_use]
    pub fn and(mut self, span: Span, remark: impl Into<String>) -> Self {
        self.labels.push((span, remark.into()));
        self
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With "did you mean" where one of `known` is close to `found`, else with all of them. `what` names them in the
    /// plural, as "its fields".
    #[must_use]
    pub fn suggest<'a>(self, found: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let mut list: Vec<String> =
            known.iter().take(MAX_NAMES_LISTED).map(|name| format!("`{name}`")).collect();
        if known.len() > MAX_NAMES_LISTED {
            list.push(format!("and {} more", known.len() - MAX_NAMES_LISTED));
        }
        let help = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let marked = match closest(found, &known) {
            Some(close) => self.marked(format!("did you mean `{close}`?")),
            None => self,
        };
        marked.help(format!("{what}: {help}"))
    }

    /// The error as lines for a terminal, without colours.
    pub fn render(&self, sources: &SourceMap) -> String {
        let mut text = format!("error: {}\n", escape(&self.message));
        let lines = self.labels.iter().map(|(span, _)| sources.place(*span).line);
        let gutter = lines.max().map_or(0, |line| line.to_string().len());
        for (index, (span, remark)) in self.labels.iter().enumerate() {
            let arrow = if index == 0 { "-->" } else { ":::" };
            let place = sources.place(*span);
            let shown = Excerpt::new(sources, *span);
            let mark = if index == 0 { "^" } else { "-" }.repeat(shown.width.max(1));
            let remark = if remark.is_empty() { String::new() } else { format!(" {}", escape(remark)) };
            writeln!(text, "{:gutter$}{arrow} {}", "", escape(&place.to_string())).expect("a string");
            writeln!(text, "{:gutter$} |", "").expect("a string");
            writeln!(text, "{:>gutter$} | {}", place.line, shown.line).expect("a string");
            writeln!(text, "{:gutter$} | {:indent$}{mark}{remark}", "", "", indent = shown.indent)
                .expect("a string");
        }
        if let Some(help) = &self.help {
            writeln!(text, "{:gutter$} = help: {}", "", escape(help)).expect("a string");
        }
        text
    }
}

/// Everything found wrong, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    seen: HashSet<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, unless the same is there.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.seen.insert(diagnostic.clone()) {
            self.list.push(diagnostic);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The errors in order of place.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.labels.first().map(|(span, _)| *span));
        sorted.into_iter()
    }

    /// `value`, where nothing is wrong.
    ///
    /// # Errors
    /// With the errors, where there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The first errors as lines for a terminal, in order of place, a blank line between them, and how many more there
    /// are.
    pub fn render(&self, sources: &SourceMap) -> String {
        let shown = self.iter().take(MAX_ERRORS_SHOWN).map(|diagnostic| diagnostic.render(sources));
        let mut parts: Vec<String> = shown.collect();
        if self.len() > MAX_ERRORS_SHOWN {
            parts.push(format!("and {} more errors\n", self.len() - MAX_ERRORS_SHOWN));
        }
        parts.join("\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        let mut all = Self::new();
        all.push(diagnostic);
        all
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, iter: I) {
        iter.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// The name among `known` that `found` is most likely a slip of.
pub fn closest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase();
    let distance = |name: &str| strsim::osa_distance(&found, &name.to_lowercase());
    let best = known.iter().min_by_key(|name| distance(name))?;
    let length = found.chars().count().max(best.chars().count());
    let distance = distance(best);
    (distance <= (length / 3).max(1) && distance < length).then_some(*best)
}

/// A source line fit for a terminal, and where in it the mark goes.
struct Excerpt {
    line: String,
    indent: usize,
    width: usize,
}

impl Excerpt {
    fn new(sources: &SourceMap, span: Span) -> Self {
        let (line, start) = sources.line(span);
        let from = (span.start as usize - start).min(line.len());
        let to = (span.end as usize - start).clamp(from, line.len());
        let marked = head(&line[from..to], MAX_LINE_WIDTH / 2);
        let is_cut = marked.ends_with('…');
        let after = if is_cut { String::new() } else { head(&line[to..], MAX_LINE_WIDTH) };
        let room = MAX_LINE_WIDTH.saturating_sub(marked.width() + after.width());
        let before = tail(&line[..from], room.max(MAX_LINE_WIDTH / 2));
        let room = MAX_LINE_WIDTH.saturating_sub(before.width() + marked.width());
        let after = if is_cut { after } else { head(&line[to..], room.max(1)) };
        Self { indent: before.width(), width: marked.width(), line: format!("{before}{marked}{after}") }
    }
}

/// The first characters of `text`, escaped, in at most `width` columns.
fn head(text: &str, width: usize) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let piece = escape_char(c);
        if shown.width() + piece.width() > width {
            shown.push('…');
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

/// The last characters of `text`, escaped, in at most `width` columns.
fn tail(text: &str, width: usize) -> String {
    let mut pieces = Vec::new();
    let mut taken = 0;
    for c in text.chars().rev() {
        let piece = escape_char(c);
        taken += piece.width();
        if taken > width {
            pieces.push("…".to_owned());
            break;
        }
        pieces.push(piece);
    }
    pieces.into_iter().rev().collect()
}

/// A text as it is safe to show on one line of a terminal.
pub fn escape(text: &str) -> String {
    text.chars().map(escape_char).collect()
}

/// A text as it is safe to show on a terminal; its line breaks stay.
pub fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// A character as it is safe to show: what is invisible, moves the cursor or turns the writing direction is spelt out.
fn escape_char(c: char) -> String {
    let unsafe_to_show = c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    match c {
        '\t' => "    ".to_owned(),
        _ if unsafe_to_show => c.escape_unicode().to_string(),
        _ => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, marked: &str) -> String {
        let mut sources = SourceMap::new();
        let source = sources.add("p.ron", text);
        let start = text.find(marked).unwrap();
        let span = Span {
            source,
            start: u32::try_from(start).unwrap(),
            end: u32::try_from(start + marked.len()).unwrap(),
        };
        Diagnostic::new(span, "no \u{1b}[31m").marked("here").help("look").render(&sources)
    }

    #[test]
    fn a_diagnostic_shows_the_line_with_the_place_marked() {
        insta::assert_snapshot!(render("(\n\tname: \"模型\", k: 10,\n)", "10"), @r#"
        error: no \u{1b}[31m
         --> p.ron:2:17
          |
        2 |     name: "模型", k: 10,
          |                      ^^ here
          = help: look
        "#);
    }

    #[test]
    fn what_could_fool_a_terminal_is_spelt_out() {
        insta::assert_snapshot!(render("a\u{1b}]0;x\u{7}\u{202e}b", "b"), @r"
        error: no \u{1b}[31m
         --> p.ron:1:9
          |
        1 | a\u{1b}]0;x\u{7}\u{202e}b
          |                         ^ here
          = help: look
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(1_000_000), "b".repeat(1_000_000));
        let shown = render(&text, "X");
        assert!(shown.lines().all(|line| line.chars().count() < 140), "{shown}");
        assert!(shown.contains("…aaaa") && shown.contains("aXb") && shown.contains("bbb…"), "{shown}");
    }

    #[test]
    fn the_closest_name_is_the_one_a_slip_away() {
        let known = ["temperature", "queue", "k", "method"];
        assert_eq!(closest("temprature", &known), Some("temperature"));
        assert_eq!(closest("Queue", &known), Some("queue"));
        assert_eq!(closest("kk", &known), Some("k"));
        assert_eq!(closest("epochs", &known), None);
    }
}
