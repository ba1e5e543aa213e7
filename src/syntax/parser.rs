//! The recursive descent, character by character.

use super::{Field, MAX_DEPTH, Name, Node, Value, find_duplicate};
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

type Parse<T> = Result<T, Diagnostic>;

/// The extensions that change nothing here, because they are always on.
const EXTENSIONS: [&str; 3] = ["implicit_some", "unwrap_newtypes", "unwrap_variant_newtypes"];

pub(super) fn parse(source: SourceId, text: &str) -> Parse<Node> {
    let mut parser = Parser { source, text, at: 0, depth: 0 };
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
        self.sequence('(', ')', |parser| {
            let is_field = parser.at_field()?;
            if is_field && !items.is_empty() || !is_field && !fields.is_empty() {
                let expected = if is_field { "a value" } else { "a field, as `name: value`" };
                return Err(Diagnostic::new(
                    parser.token(),
                    format!("expected {expected}, found {}", parser.found()),
                )
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
            if self.rest().starts_with("..") {
                return Err(self.range_error());
            }
            let message = format!("expected `,` or `{close}`, found {}", self.found());
            return Err(Diagnostic::new(self.token(), message)
                .and(self.span(after, after), "the value before it ends here"));
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

    fn number(&mut self) -> Parse<Value> {
        let start = self.at;
        let negative = self.peek() == Some('-');
        self.eat_while(|c| matches!(c, '+' | '-'));
        if self.at - start > 1 {
            return Err(Diagnostic::new(self.span_from(start), "a number has at most one sign"));
        }
        if self.peek().is_some_and(is_word_start) {
            let word = self.eat_while(is_word);
            return Err(match word.trim_end_matches("f32").trim_end_matches("f64") {
                "inf" | "NaN" => not_finite(self.span_from(start), word),
                _ => Diagnostic::new(self.span_from(start), "expected a number after the sign"),
            });
        }
        let base = match () {
            () if self.eat("0x") => 16,
            () if self.eat("0o") => 8,
            () if self.eat("0b") => 2,
            () => 10,
        };
        if base != 10 {
            let digits = self.eat_while(|c| c.is_digit(base) || c == '_');
            return self.integer(start, negative, digits, base);
        }
        let digits_start = self.at;
        let is_digit = |c: char| c.is_ascii_digit() || c == '_';
        let digits = self.eat_while(is_digit);
        let mut is_float = false;
        if self.peek() == Some('.') && !self.rest().starts_with("..") {
            is_float = true;
            self.next();
            self.eat_while(is_digit);
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            is_float = true;
            self.next();
            self.eat_while(|c| matches!(c, '+' | '-'));
            self.eat_while(is_digit);
        }
        if is_float || self.rest().starts_with('f') {
            let digits = &self.text[digits_start..self.at];
            self.float(start, negative, digits)
        } else {
            self.integer(start, negative, digits, base)
        }
    }

    fn integer(&mut self, start: usize, negative: bool, digits: &str, base: u32) -> Parse<Value> {
        let suffix = self.eat_while(is_word);
        let span = self.span_from(start);
        let plain = digits.replace('_', "");
        if plain.is_empty() {
            return Err(Diagnostic::new(span, "expected a digit"));
        }
        let signed = if negative { format!("-{plain}") } else { plain };
        let too_large =
            |kind: &str| Diagnostic::new(span, format!("`{}` does not fit into {kind}", self.slice(span)));
        let number = i128::from_str_radix(&signed, base).map_err(|_| too_large("128 bits"))?;
        let fits = match suffix {
            "" | "i128" => true,
            "i8" => i8::try_from(number).is_ok(),
            "i16" => i16::try_from(number).is_ok(),
            "i32" => i32::try_from(number).is_ok(),
            "i64" => i64::try_from(number).is_ok(),
            "u8" => u8::try_from(number).is_ok(),
            "u16" => u16::try_from(number).is_ok(),
            "u32" => u32::try_from(number).is_ok(),
            "u64" => u64::try_from(number).is_ok(),
            "u128" => u128::try_from(number).is_ok(),
            _ => {
                return Err(Diagnostic::new(span, format!("`{}` is not a number", self.slice(span)))
                    .help("a string is written in double quotes"));
            }
        };
        if fits { Ok(Value::Integer(number)) } else { Err(too_large(suffix)) }
    }

    fn float(&mut self, start: usize, negative: bool, digits: &str) -> Parse<Value> {
        let suffix = self.eat_while(is_word);
        let span = self.span_from(start);
        let mut text = digits.replace('_', "");
        if negative {
            text.insert(0, '-');
        }
        let number = match suffix {
            "" | "f64" => text.parse::<f64>(),
            "f32" => text.parse::<f32>().map(f64::from),
            _ => return Err(Diagnostic::new(span, format!("`{}` is not a number", self.slice(span)))),
        };
        match number {
            Ok(number) if number.is_finite() => Ok(Value::Float(number, text.into())),
            Ok(_) => Err(not_finite(span, self.slice(span))),
            Err(_) => Err(Diagnostic::new(span, format!("`{}` is not a number", self.slice(span)))),
        }
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn string(&mut self) -> Parse<String> {
        let start = self.at;
        let bytes = self.quoted()?;
        String::from_utf8(bytes)
            .map_err(|_| Diagnostic::new(self.span_from(start), "the escapes in this string are not UTF-8"))
    }

    fn byte_string(&mut self) -> Parse<Vec<u8>> {
        self.eat("b");
        self.quoted()
    }

    /// The bytes between quotes, raw or with escapes.
    fn quoted(&mut self) -> Parse<Vec<u8>> {
        let start = self.at;
        let unclosed = |parser: &Self| {
            Diagnostic::new(parser.span(start, start + 1), "this string is never closed")
                .help("close it with `\"`")
        };
        if self.eat("r") {
            let hashes = self.eat_while(|c| c == '#');
            self.eat("\"");
            let ending = format!("\"{hashes}");
            let len = self.rest().find(&ending).ok_or_else(|| unclosed(self))?;
            let text = &self.rest()[..len];
            self.at += len + ending.len();
            return Ok(text.as_bytes().to_vec());
        }
        self.eat("\"");
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(self.eat_while(|c| !matches!(c, '"' | '\\')).as_bytes());
            if self.eat("\"") {
                return Ok(bytes);
            }
            if self.peek().is_none() {
                return Err(unclosed(self));
            }
            if self.rest().starts_with("\\\n") || self.rest().starts_with("\\\r\n") {
                self.next();
                self.eat_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
                continue;
            }
            match self.escape()? {
                Escape::Byte(byte) => bytes.push(byte),
                Escape::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn char(&mut self) -> Parse<char> {
        let start = self.at;
        let bad = |parser: &Self| {
            Diagnostic::new(parser.span_from(start), "expected one character between single quotes")
                .help("a string is written in double quotes")
        };
        self.eat("'");
        let c = match self.peek() {
            None | Some('\'') => return Err(bad(self)),
            Some('\\') => match self.escape()? {
                Escape::Byte(byte) if byte < 0x80 => char::from(byte),
                Escape::Byte(_) => return Err(bad(self)),
                Escape::Char(c) => c,
            },
            Some(c) => {
                self.next();
                c
            }
        };
        if self.eat("'") { Ok(c) } else { Err(bad(self)) }
    }

    fn byte_literal(&mut self) -> Parse<Value> {
        let start = self.at;
        self.eat("b'");
        let byte = match self.peek() {
            Some('\\') => match self.escape()? {
                Escape::Byte(byte) => Some(byte),
                Escape::Char(_) => None,
            },
            Some(c) if c.is_ascii() => {
                self.next();
                u8::try_from(c).ok()
            }
            _ => None,
        };
        match byte {
            Some(byte) if self.eat("'") => Ok(Value::Integer(byte.into())),
            _ => Err(Diagnostic::new(self.span_from(start), "expected one ASCII character, as `b'a'`")),
        }
    }

    fn escape(&mut self) -> Parse<Escape> {
        let start = self.at;
        self.eat("\\");
        let escape = match self.next() {
            Some(c @ ('\'' | '"' | '\\')) => Some(Escape::Char(c)),
            Some('n') => Some(Escape::Byte(b'\n')),
            Some('r') => Some(Escape::Byte(b'\r')),
            Some('t') => Some(Escape::Byte(b'\t')),
            Some('0') => Some(Escape::Byte(0)),
            Some('x') => {
                let digits = self.rest().get(..2).unwrap_or_default();
                self.at += digits.len();
                u8::from_str_radix(digits, 16).ok().map(Escape::Byte)
            }
            Some('u') if self.eat("{") => {
                let digits = self.eat_while(|c| c.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6);
                let closed = self.eat("}");
                code.filter(|_| closed).and_then(char::from_u32).map(Escape::Char)
            }
            _ => None,
        };
        escape.ok_or_else(|| {
            Diagnostic::new(self.span_from(start), "this is not an escape RON knows")
                .help(r#"known are \n \r \t \0 \\ \" \' \x41 \u{e9}; a raw string r"..." has none"#)
        })
    }
}

enum Escape {
    Byte(u8),
    Char(char),
}

fn not_finite(span: Span, found: &str) -> Diagnostic {
    Diagnostic::new(span, format!("`{found}` is not a finite number"))
        .help("NaN and infinities have no place in a pipeline: they would enter the keys of its results")
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
