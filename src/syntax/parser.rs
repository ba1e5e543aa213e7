//! The recursive descent, character by character.

mod literal;

use literal::not_finite;

use super::{Field, MAX_DEPTH, Name, Node, Value, find_duplicate};
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

type Parse<T> = Result<T, Diagnostic>;

/// The extensions that change nothing here, because they are always on.
const EXTENSIONS: [&str; 3] = ["implicit_some", "unwrap_newtypes", "unwrap_variant_newtypes"];

pub(super) fn parse(source: SourceId, text: &str) -> Parse<Node> {
    let mut parser = Parser { source, text, at: 0, depth: 0, last_string: None };
    parser.eat("\u{feff}");
    parser.skip_blank()?;
    while parser.peek() == Some('#') {
        parser.attribute()?;
        parser.skip_blank()?;
    }
    let node = parser.value()?;
    parser.skip_blank()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(Diagnostic::new(
            parser.token(),
            format!("expected the end of the text, found {}", parser.found()),
        )
        .and(node.span, "the value ends here")),
    }
}

struct Parser<'a> {
    source: SourceId,
    text: &'a str,
    at: usize,
    depth: usize,
    /// First and one past the last byte of the last quoted string.
    last_string: Option<(usize, usize)>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn eat_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn span_from(&self, start: usize) -> Span {
        self.span(start, self.at)
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let byte = |at: usize| u32::try_from(at).expect("a source text is below 4 GiB");
        Span { source: self.source, start: byte(start), end: byte(end) }
    }

    /// The word or character that comes next.
    fn token(&self) -> Span {
        let rest = self.rest();
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let len = if word > 0 { word } else { self.peek().map_or(0, char::len_utf8) };
        self.span(self.at, self.at + len)
    }

    /// The word or character that comes next, for a message.
    fn found(&self) -> String {
        let span = self.token();
        match &self.text[span.start as usize..span.end as usize] {
            "" => "the end of the text".to_owned(),
            token if token.len() > 40 => "this".to_owned(),
            token => format!("`{token}`"),
        }
    }

    /// Blanks and comments.
    fn skip_blank(&mut self) -> Parse<()> {
        loop {
            self.eat_while(is_blank);
            if self.eat("//") {
                self.eat_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                self.skip_block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn skip_block_comment(&mut self) -> Parse<()> {
        let start = self.at;
        self.at += 2;
        let mut level = 1_usize;
        while level > 0 {
            self.eat_while(|c| !matches!(c, '/' | '*'));
            if self.eat("/*") {
                level += 1;
            } else if self.eat("*/") {
                level -= 1;
            } else if self.next().is_none() {
                return Err(Diagnostic::new(self.span(start, start + 2), "this comment is never closed")
                    .help("close it with `*/`; comments nest"));
            }
        }
        Ok(())
    }

    /// `#![enable(..)]`, `#![type = ".."]`, `#![schema = ".."]`.
    fn attribute(&mut self) -> Parse<()> {
        let start = self.at;
        let bad = |parser: &Self| {
            Diagnostic::new(parser.span_from(start), "this is not an attribute of RON")
                .help("expected `#![enable(implicit_some)]`, or no attribute")
        };
        for piece in ["#", "!", "["] {
            self.skip_blank()?;
            if !self.eat(piece) {
                return Err(bad(self));
            }
        }
        self.skip_blank()?;
        match self.eat_while(is_word) {
            "enable" => {
                self.skip_blank()?;
                if !self.eat("(") {
                    return Err(bad(self));
                }
                loop {
                    self.skip_blank()?;
                    let word = self.token();
                    match self.eat_while(is_word) {
                        "" => break,
                        name if EXTENSIONS.contains(&name) => {}
                        name => {
                            return Err(Diagnostic::new(
                                word,
                                format!("extension `{name}` is not supported"),
                            )
                            .suggest(name, "always on", EXTENSIONS));
                        }
                    }
                    self.skip_blank()?;
                    if !self.eat(",") {
                        break;
                    }
                }
                if !self.eat(")") {
                    return Err(bad(self));
                }
            }
            "type" | "schema" => {
                self.skip_blank()?;
                if !self.eat("=") {
                    return Err(bad(self));
                }
                self.skip_blank()?;
                self.value()?;
            }
            _ => return Err(bad(self)),
        }
        self.skip_blank()?;
        if self.eat("]") { Ok(()) } else { Err(bad(self)) }
    }

    fn value(&mut self) -> Parse<Node> {
        if self.depth == MAX_DEPTH {
            return Err(Diagnostic::new(
                self.token(),
                format!("values are nested more than {MAX_DEPTH} deep"),
            ));
        }
        self.depth += 1;
        let start = self.at;
        let value = self.value_here()?;
        self.depth -= 1;
        Ok(Node { span: self.span_from(start), value })
    }

    fn value_here(&mut self) -> Parse<Value> {
        let rest = self.rest();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| rest.starts_with(prefix));
        let raw = rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#'));
        let raw_bytes = rest.strip_prefix("br").map(|rest| rest.trim_start_matches('#'));
        if starts(&["b\""]) || raw_bytes.is_some_and(|rest| rest.starts_with('"')) {
            return self.byte_string().map(Value::Bytes);
        }
        if starts(&["b'"]) {
            return self.byte_literal();
        }
        if starts(&["\""]) || raw.is_some_and(|rest| rest.starts_with('"')) {
            return self.string().map(Value::Text);
        }
        match self.peek() {
            None => Err(Diagnostic::new(self.token(), "expected a value, found the end of the text")),
            Some('\'') => self.char().map(Value::Char),
            Some('[') => self.list(),
            Some('{') => self.map(),
            Some('(') => self.parentheses(None),
            Some('.') if starts(&[".."]) => Err(self.range_error()),
            Some('0'..='9' | '+' | '-' | '.') => self.number(),
            Some(c) if is_word_start(c) => self.named(),
            Some(_) => {
                Err(Diagnostic::new(self.token(), format!("expected a value, found {}", self.found())))
            }
        }
    }

    /// `true`, `Name`, `Name(..)`, `r#name`.
    fn named(&mut self) -> Parse<Value> {
        let name = self.identifier("a value")?;
        match name.text.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "inf" | "inff32" | "inff64" | "NaN" | "NaNf32" | "NaNf64" => {
                return Err(not_finite(name.span, &name.text));
            }
            _ => {}
        }
        let after = self.at;
        self.skip_blank()?;
        if self.peek() == Some('(') {
            return self.parentheses(Some(name));
        }
        self.at = after;
        Ok(Value::Name(name.text))
    }

    fn identifier(&mut self, expected: &str) -> Parse<Name> {
        let start = self.at;
        if !self.peek().is_some_and(is_word_start) {
            return Err(Diagnostic::new(
                self.token(),
                format!("expected {expected}, found {}", self.found()),
            ));
        }
        let text = self.eat_identifier().to_owned();
        Ok(Name { span: self.span_from(start), text })
    }

    /// `name` or `r#name`, which may have more characters in it.
    fn eat_identifier(&mut self) -> &'a str {
        let is_raw = self.eat("r#");
        self.eat_while(|c| is_word(c) || is_raw && matches!(c, '.' | '+' | '-'))
    }

    fn list(&mut self) -> Parse<Value> {
        let mut items = Vec::new();
        self.sequence('[', ']', |parser| {
            items.push(parser.value()?);
            Ok(())
        })?;
        Ok(Value::List(items))
    }

    fn map(&mut self) -> Parse<Value> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        self.sequence('{', '}', |parser| {
            let key = parser.value()?;
            parser.colon("the key")?;
            entries.push((key, parser.value()?));
            Ok(())
        })?;
        find_duplicate("key", entries.iter().map(|(key, _)| (key.span, key.to_string())))?;
        Ok(Value::Map(entries))
    }

    fn parentheses(&mut self, name: Option<Name>) -> Parse<Value> {
        let mut items = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        let opening = self.token();
        self.sequence('(', ')', |parser| {
            let is_field = parser.at_field()?;
            if is_field && !items.is_empty() || !is_field && !fields.is_empty() {
                let expected = if is_field { "a value" } else { "a field, as `name: value`" };
                return Err(Diagnostic::new(
                    parser.token(),
                    format!("expected {expected}, found {}", parser.found()),
                )
                .and(opening, "this `(` is still open")
                .help("either all or none of the values between parentheses have names"));
            }
            if is_field {
                let name = parser.identifier("a field's name")?;
                parser.colon("the field's name")?;
                fields.push(Field { name, value: parser.value()? });
            } else {
                items.push(parser.value()?);
            }
            Ok(())
        })?;
        if fields.is_empty() {
            return Ok(Value::Tuple(name, items));
        }
        let names = fields.iter().map(|field| (field.name.span, format!("`{}`", field.name.text)));
        find_duplicate("field", names)?;
        Ok(Value::Struct(name, fields))
    }

    /// Whether a name and a colon come next.
    fn at_field(&mut self) -> Parse<bool> {
        let start = self.at;
        if !self.peek().is_some_and(is_word_start) {
            return Ok(false);
        }
        self.eat_identifier();
        self.skip_blank()?;
        let found = self.peek() == Some(':');
        self.at = start;
        Ok(found)
    }

    fn colon(&mut self, after: &str) -> Parse<()> {
        self.skip_blank()?;
        if !self.eat(":") {
            return Err(Diagnostic::new(
                self.token(),
                format!("expected `:` after {after}, found {}", self.found()),
            ));
        }
        self.skip_blank()
    }

    /// Items between brackets, separated by commas.
    fn sequence(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Parse<()>,
    ) -> Parse<()> {
        let opening = self.token();
        self.next();
        loop {
            self.skip_blank()?;
            if self.end_of_sequence(open, close, opening)? {
                return Ok(());
            }
            item(self)?;
            let after = self.at;
            self.skip_blank()?;
            if self.eat(",") {
                continue;
            }
            if self.end_of_sequence(open, close, opening)? {
                return Ok(());
            }
            return Err(self.separator_error(open, close, opening, after));
        }
    }

    /// What follows a value that ended at `after` is neither a comma nor the closing bracket.
    fn separator_error(&self, open: char, close: char, opening: Span, after: usize) -> Diagnostic {
        if self.rest().starts_with("..") {
            return self.range_error();
        }
        let error =
            Diagnostic::new(self.token(), format!("expected `,` or `{close}`, found {}", self.found()));
        match self.last_string {
            Some((start, end)) if end == after && self.text[start..end].contains('\n') => {
                error.and(self.span(start, start + 1), "is this string closed where it should be?")
            }
            _ if self.peek() == Some('=') => error.help("a name and its value are separated by `:`"),
            _ if self.text[after..self.at].contains('\n') => {
                error.and(self.span(after, after), "is a comma missing here?")
            }
            _ => error.and(opening, format!("this `{open}` is still open")),
        }
    }

    /// Whether the closing bracket was next; it is taken.
    fn end_of_sequence(&mut self, open: char, close: char, opening: Span) -> Parse<bool> {
        match self.peek() {
            Some(c) if c == close => {
                self.next();
                Ok(true)
            }
            Some(c @ (')' | ']' | '}')) => {
                Err(Diagnostic::new(self.token(), format!("expected `{close}`, found `{c}`"))
                    .and(opening, format!("this `{open}` is still open")))
            }
            None => Err(Diagnostic::new(opening, format!("this `{open}` is never closed"))
                .help(format!("close it with `{close}`"))),
            Some(_) => Ok(false),
        }
    }

    fn range_error(&self) -> Diagnostic {
        Diagnostic::new(self.span(self.at, self.at + 2), "a range is not a value here")
            .help("list the values; seeds can be written as the string \"0..5\"")
    }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
        || matches!(c, '\u{b}' | '\u{85}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
