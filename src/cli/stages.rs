//! `ablate stages`.

use ablate_stage::Preset;
use clap::Args;

use super::{Context, Failure, exit};
use crate::diagnostic::closest;
use crate::reference::{self, KindDoc};

/// List the stage kinds, or tell everything about one
#[derive(Args)]
pub struct Stages {
    /// The kind to tell about
    kind: Option<String>,
    /// Write a page of the book
    #[arg(long)]
    markdown: bool,
    /// Tell what the presets of its fields stand for, as RON that may be written in their place
    #[arg(long, requires = "kind", conflicts_with = "markdown")]
    expand: bool,
}

/// Tells about stage kinds.
pub fn stages(args: &Stages, context: &mut Context<'_>) -> Result<u8, Failure> {
    let registry = context.registry;
    let text = match (&args.kind, args.markdown) {
        (None, false) => reference::overview(&reference::all(registry)),
        (None, true) => reference::book_page(&reference::all(registry)),
        (Some(name), markdown) => {
            let Some(kind) = registry.get(name) else {
                let known: Vec<&str> = registry.kinds().map(|kind| kind.name).collect();
                let hint = match closest(name, &known) {
                    Some(close) => format!("; did you mean `{close}`?"),
                    None => "; `ablate stages` lists the kinds".to_owned(),
                };
                return Err(Failure::new(exit::FAILED, format!("there is no stage kind `{name}`{hint}")));
            };
            if args.expand {
                let presets = (kind.presets)();
                if presets.is_empty() {
                    return Err(Failure::new(
                        exit::FAILED,
                        format!("the fields of `{name}` have no presets"),
                    ));
                }
                return expand(&presets, context);
            }
            let kind = KindDoc::of(kind);
            if markdown { reference::kind_page(&kind) } else { reference::kind_text(&kind) }
        }
    };
    write!(context.out, "{text}")?;
    Ok(exit::DONE)
}

/// Each preset: where it comes from, what is written, and what that stands for.
fn expand(presets: &[(&str, Vec<Preset>)], context: &mut Context<'_>) -> Result<u8, Failure> {
    for (field, presets) in presets {
        for Preset { name, written, expanded } in presets {
            writeln!(context.out, "// {name}\n// {field}: {written}\n{field}: {expanded},\n")?;
        }
    }
    Ok(exit::DONE)
}
