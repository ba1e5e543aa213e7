//! The documentation of stage kinds for a terminal.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{FieldDoc, KindDoc, paragraphs};
use ablate_stage::Port;

/// How many columns a line has at most.
const WIDTH: usize = 100;

/// One line a kind: its name and the first sentence said of it.
pub fn overview(kinds: &[KindDoc]) -> String {
    let width = kinds.iter().map(|kind| kind.name.width()).max().unwrap_or(0);
    let line = |kind: &KindDoc| {
        let first = paragraphs(&kind.doc).into_iter().next().unwrap_or_default();
        let sentence = first.split_inclusive(". ").next().unwrap_or_default().trim_end();
        format!("{:width$}  {sentence}\n", kind.name)
    };
    kinds.iter().map(line).collect()
}

/// Everything about one kind.
pub fn kind_text(kind: &KindDoc) -> String {
    let mut text = format!("{}\n", kind.name);
    write_doc(&mut text, &kind.doc, 2);
    let ports = |ports: &[Port]| {
        let each = ports.iter().map(|port| {
            let optional = if port.optional { " (optional)" } else { "" };
            format!("{}: {}{optional}", port.name, port.kind)
        });
        if ports.is_empty() { "none".to_owned() } else { each.collect::<Vec<_>>().join(", ") }
    };
    text.push('\n');
    if let Some(found) = &kind.ports {
        write_line(&mut text, 2, &format!("inputs   {}", ports(&found.inputs)));
        write_line(&mut text, 2, &format!("outputs  {}", ports(&found.outputs)));
    }
    write_line(&mut text, 2, &format!("seeded   {}", if kind.seeded { "yes" } else { "no" }));
    write_fields(&mut text, &kind.fields, 2);
    for kind in &kind.types {
        let takes = kind.takes.as_ref().map(|takes| format!(": {takes}")).unwrap_or_default();
        write_line(&mut text, 0, &format!("\n{}{takes}", kind.name));
        write_doc(&mut text, &kind.doc, 2);
        write_fields(&mut text, &kind.fields, 2);
        for variant in &kind.variants {
            text.push('\n');
            write_line(&mut text, 2, &format!("{}{}", variant.name, variant.takes));
            write_doc(&mut text, &variant.doc, 6);
            write_fields(&mut text, &variant.fields, 6);
        }
    }
    text
}

fn write_fields(text: &mut String, fields: &[FieldDoc], indent: usize) {
    for field in fields {
        text.push('\n');
        let default = match &field.default {
            Some(default) => format!(" = {default}"),
            None if field.required => ", required".to_owned(),
            None => ", optional".to_owned(),
        };
        write_line(text, indent, &format!("{}: {}{default}", field.name, field.takes.replace('`', "")));
        write_doc(text, &field.doc, indent + 4);
    }
}

fn write_line(text: &mut String, indent: usize, line: &str) {
    writeln!(text, "{:indent$}{line}", "").expect("a string");
}

/// Paragraphs broken into lines.
fn write_doc(text: &mut String, doc: &str, indent: usize) {
    for (index, paragraph) in paragraphs(doc).iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && indent + line.width() + 1 + word.width() > WIDTH {
                write_line(text, indent, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        write_line(text, indent, &line);
    }
}
