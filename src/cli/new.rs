//! `ablate new`.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use ablate_stage::Registry;
use clap::{Args, ValueEnum};

use super::{Context, Failure, exit};
use crate::expand::expand;
use crate::pipeline;
use crate::source::SourceMap;

/// Write a commented pipeline file to start from; a file that is there is left alone
#[derive(Args)]
pub struct New {
    /// The pipeline's name, or the file to write; `.ron` is added where it has no ending
    path: PathBuf,
    /// What it is about; by default images, where this program has stage kinds for them
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// What a starter is about.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Contrastive pretraining, a kNN graph, a GNN and a linear probe on images the program carries
    Images,
    /// Programs of one's own
    Programs,
}

impl Kind {
    /// The file, whose name field is to be replaced.
    fn starter(self) -> &'static str {
        match self {
            Self::Images => include_str!("new/images.ron"),
            Self::Programs => include_str!("new/programs.ron"),
        }
    }

    fn is_known_to(self, registry: &Registry) -> bool {
        let mut sources = SourceMap::new();
        let source = sources.add("starter", self.starter());
        pipeline::parse(source, self.starter()).and_then(|pipeline| expand(&pipeline, registry)).is_ok()
    }
}

/// Writes the file.
pub fn new(args: &New, context: &mut Context<'_>) -> Result<u8, Failure> {
    let kind = match args.kind {
        Some(kind) if kind.is_known_to(context.registry) => kind,
        Some(_) => {
            let message =
                "this program lacks stage kinds of that pipeline; `ablate stages` lists those it has";
            return Err(Failure::new(exit::USAGE, message));
        }
        None if Kind::Images.is_known_to(context.registry) => Kind::Images,
        None => Kind::Programs,
    };
    let path =
        if args.path.extension().is_some() { args.path.clone() } else { args.path.with_extension("ron") };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let text = kind.starter().replacen("name: \"starter\"", &format!("name: {name:?}"), 1);
    let failed =
        |error: io::Error| Failure::new(exit::FAILED, format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = File::create_new(&path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(exit::USAGE, format!("{} is there already; nothing was written", path.display()))
        }
        _ => failed(error),
    })?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let path = path.display();
    writeln!(
        context.out,
        "wrote {path}; look at it with `ablate graph {path}`, do it with `ablate run {path}`"
    )?;
    Ok(exit::DONE)
}
