//! Source texts and places in them.

use std::fmt;

/// Index of a source text in its [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// A range of bytes of a source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// Where a span starts, as a person counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text's name: a path as the user gave it, or `--set`.
    pub source: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// The texts that spans point into.
#[derive(Debug, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// The byte each line starts at.
    lines: Vec<usize>,
}

impl SourceMap {
    /// Without any text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text under the name it is shown by: a path as the user gave it, or an option of the command line.
    ///
    /// # Panics
    /// When the text has 4 GiB or more.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let text = text.into();
        assert!(u32::try_from(text.len()).is_ok(), "a source text is below 4 GiB");
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.sources.push(Source { name: name.into(), text, lines });
        SourceId(u32::try_from(self.sources.len() - 1).expect("few sources"))
    }

    /// Every text with the name it is shown by, in the order they were added.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|source| (source.name.as_str(), source.text.as_str()))
    }

    /// A whole text.
    pub fn text(&self, source: SourceId) -> &str {
        &self.get(source).text
    }

    /// The text of a span.
    pub fn snippet(&self, span: Span) -> &str {
        &self.text(span.source)[span.start as usize..span.end as usize]
    }

    /// Where a span starts.
    pub fn place(&self, span: Span) -> Place {
        let source = self.get(span.source);
        let line = source.line_of(span.start as usize);
        let before = &source.text[source.lines[line]..span.start as usize];
        Place { source: source.name.clone(), line: line + 1, column: before.chars().count() + 1 }
    }

    /// The line a span starts in, without its line ending, and the byte of the text the line starts at.
    pub(crate) fn line(&self, span: Span) -> (&str, usize) {
        let source = self.get(span.source);
        let line = source.line_of(span.start as usize);
        let start = source.lines[line];
        let end = source.lines.get(line + 1).map_or(source.text.len(), |next| next - 1);
        let text = &source.text[start..end];
        (text.strip_suffix('\r').unwrap_or(text), start)
    }

    fn get(&self, source: SourceId) -> &Source {
        &self.sources[source.0 as usize]
    }
}

impl Source {
    /// The line a byte is in, from 0.
    fn line_of(&self, byte: usize) -> usize {
        self.lines.partition_point(|&start| start <= byte) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let mut sources = SourceMap::new();
        let source = sources.add("a.ron", "é: 1\r\n  β\n");
        let place = |start, end| sources.place(Span { source, start, end }).to_string();
        assert_eq!(place(0, 2), "a.ron:1:1");
        assert_eq!(place(4, 5), "a.ron:1:4");
        assert_eq!(place(9, 11), "a.ron:2:3");
        assert_eq!(place(12, 12), "a.ron:3:1");
        assert_eq!(sources.line(Span { source, start: 4, end: 5 }), ("é: 1", 0));
        assert_eq!(sources.line(Span { source, start: 12, end: 12 }), ("", 12));
        assert_eq!(sources.snippet(Span { source, start: 9, end: 11 }), "β");
    }
}
