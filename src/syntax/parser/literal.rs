//! Numbers, strings and characters.

use super::{Parse, Parser, is_word, is_word_start};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::Value;

impl<'a> Parser<'a> {
    pub(super) fn number(&mut self) -> Parse<Value> {
        let start = self.at;
        let negative = self.peek() == Some('-');
        self.eat_while(|c| matches!(c, '+' | '-'));
        if self.at - start > 1 {
            return Err(Diagnostic::new(self.span_from(start), "a number has at most one sign"));
        }
        if self.peek().is_some_and(is_word_start) {
            let word = self.eat_while(is_word);
            return Err(match word.trim_end_matches("f32").trim_end_matches("f64") {
                "inf" | "NaN" => not_finite(self.span_from(start), &self.text[start..self.at]),
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

    pub(super) fn string(&mut self) -> Parse<String> {
        let start = self.at;
        let bytes = self.quoted()?;
        self.last_string = Some((start, self.at));
        String::from_utf8(bytes)
            .map_err(|_| Diagnostic::new(self.span_from(start), "the escapes in this string are not UTF-8"))
    }

    pub(super) fn byte_string(&mut self) -> Parse<Vec<u8>> {
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

    pub(super) fn char(&mut self) -> Parse<char> {
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

    pub(super) fn byte_literal(&mut self) -> Parse<Value> {
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

pub(super) fn not_finite(span: Span, found: &str) -> Diagnostic {
    Diagnostic::new(span, format!("`{found}` is not a finite number"))
        .help("NaN and infinities have no place in a pipeline: they would enter the keys of its results")
}
