//! `ablate graph`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::project::Source;
use super::{Context, Failure, exit};
use crate::draw::{Drawing, MAX_SVG_NODES};

/// Draw a pipeline: its stages, how many instances each has, and what feeds what
#[derive(Args)]
pub struct Graph {
    #[command(flatten)]
    source: Source,
    /// How it is written; by default as the ending of `--to` says, else as text
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file to write; standard output if none is named
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Draw every instance, not one node per stage
    #[arg(long)]
    expanded: bool,
}

/// How a drawing is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a terminal
    Text,
    /// Graphviz
    Dot,
    /// A Mermaid flowchart, which Markdown viewers show
    Mermaid,
    /// A picture
    Svg,
}

/// Draws a pipeline without looking into the store.
pub fn graph(args: &Graph, context: &mut Context<'_>) -> Result<u8, Failure> {
    let (pipeline, graph, _) = args.source.read(context)?;
    let drawing =
        if args.expanded { Drawing::of_instances(&graph) } else { Drawing::of_stages(&pipeline, &graph) };
    let text = match args.format.unwrap_or_else(|| format_of(args.to.as_deref())) {
        Format::Text => drawing.to_text(),
        Format::Dot => drawing.to_dot(),
        Format::Mermaid => drawing.to_mermaid(),
        Format::Svg if drawing.size() > MAX_SVG_NODES => {
            let nodes = drawing.size();
            let message = format!(
                "{nodes} nodes, more than the {MAX_SVG_NODES} that are drawn as SVG; leave `--expanded` out"
            );
            return Err(Failure::new(exit::USAGE, message));
        }
        Format::Svg => drawing.to_svg(),
    };
    match &args.to {
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write {}: {error}", path.display()))
        })?,
        None => context.out.write_all(text.as_bytes())?,
    }
    Ok(exit::DONE)
}

fn format_of(to: Option<&Path>) -> Format {
    match to.and_then(Path::extension).and_then(|ending| ending.to_str()) {
        Some("svg") => Format::Svg,
        Some("dot" | "gv") => Format::Dot,
        Some("mmd" | "mermaid") => Format::Mermaid,
        _ => Format::Text,
    }
}
