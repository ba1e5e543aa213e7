//! The documentation of stage kinds as a page of the book.

use std::fmt::Write;

use ablate_stage::Port;

use super::{FieldDoc, KindDoc, paragraphs};

/// The page of all kinds.
pub fn book_page(kinds: &[KindDoc]) -> String {
    let mut page =
        "# Stage kinds\n\nWritten by `ablate stages --markdown` from the doc comments of the code.\n"
            .to_owned();
    for kind in kinds {
        page.push('\n');
        page.push_str(&kind_page(kind));
    }
    page
}

/// The section of one kind.
pub fn kind_page(kind: &KindDoc) -> String {
    let mut page = format!("## {}\n", kind.name);
    write_doc(&mut page, &kind.doc);
    if let Some(ports) = &kind.ports {
        if ports.outputs.is_empty() {
            page.push_str("\nInputs and outputs: as its fields say.\n");
        } else {
            write_ports(&mut page, "Inputs", &ports.inputs);
            write_ports(&mut page, "Outputs", &ports.outputs);
        }
    }
    let seed = if kind.seeded {
        "The seed is in its key."
    } else {
        "Unless said above, it does not depend on the seed."
    };
    write!(page, "\n{seed}\n").expect("a string");
    write_fields(&mut page, &kind.fields, 0);
    for kind in &kind.types {
        write!(page, "\n### {}\n", kind.name).expect("a string");
        write_doc(&mut page, &kind.doc);
        if let Some(takes) = &kind.takes {
            write!(page, "\nWritten as {takes}.\n").expect("a string");
        }
        write_fields(&mut page, &kind.fields, 0);
        if !kind.variants.is_empty() {
            page.push('\n');
        }
        for variant in &kind.variants {
            let line = format!("- `{}{}`{}", variant.name, variant.takes, after_full_stop(&variant.doc));
            writeln!(page, "{line}").expect("a string");
            write_field_list(&mut page, &variant.fields, 2);
        }
    }
    page
}

fn write_doc(page: &mut String, doc: &str) {
    for paragraph in paragraphs(doc) {
        write!(page, "\n{paragraph}\n").expect("a string");
    }
}

fn write_ports(page: &mut String, title: &str, ports: &[Port]) {
    let each = ports.iter().map(|port| {
        let optional = if port.optional { ", optional" } else { "" };
        format!("`{}` ({}{optional})", port.name, port.kind)
    });
    let all = if ports.is_empty() { "none".to_owned() } else { each.collect::<Vec<_>>().join(", ") };
    write!(page, "\n{title}: {all}.\n").expect("a string");
}

fn write_fields(page: &mut String, fields: &[FieldDoc], indent: usize) {
    if !fields.is_empty() {
        page.push('\n');
    }
    write_field_list(page, fields, indent);
}

fn write_field_list(page: &mut String, fields: &[FieldDoc], indent: usize) {
    for field in fields {
        let default = match &field.default {
            Some(default) => format!(", default `{default}`"),
            None if field.required => ", required".to_owned(),
            None => ", optional".to_owned(),
        };
        let line = format!("- `{}`: {}{default}{}", field.name, field.takes, after_full_stop(&field.doc));
        writeln!(page, "{:indent$}{line}", "").expect("a string");
    }
}

/// A doc comment on the rest of a line.
fn after_full_stop(doc: &str) -> String {
    let doc = paragraphs(doc).join(" ");
    if doc.is_empty() { doc } else { format!(". {doc}") }
}
