//! `ablate stages`.

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
            let kind = KindDoc::of(kind);
            if markdown { reference::kind_page(&kind) } else { reference::kind_text(&kind) }
        }
    };
    write!(context.out, "{text}")?;
    Ok(exit::DONE)
}
