//! A pipeline file, what it expands to, and where its store is.

use std::path::{Path, PathBuf};

use ablate_stage::Registry;
use ablate_stage::cache::Store;
use clap::Args;

use super::{Context, Failure, exit};
use crate::expand::expand;
use crate::graph::Graph;
use crate::pipeline::{self, Overrides};
use crate::plan::{Plan, plan};
use crate::source::SourceMap;

/// A pipeline file, and what is changed in it for once.
#[derive(Args)]
pub struct Source {
    /// The pipeline file
    pub file: PathBuf,
    /// Set a field, an input or a whole stage: `encoder.epochs=2`, `probe.from.embeddings=raw`
    #[arg(long, value_name = "PATH=VALUE", help_heading = "Pipeline")]
    pub set: Vec<String>,
    /// Keep only these values of an axis, by their labels, or give it new ones, or add it: `graph.k=5,10`
    #[arg(long, value_name = "AXIS=VALUES", help_heading = "Pipeline")]
    pub axis: Vec<String>,
    /// The seeds: `0..5`, or `0,3,7`
    #[arg(long, help_heading = "Pipeline")]
    pub seeds: Option<String>,
}

impl Source {
    fn overrides(&self) -> Overrides {
        Overrides { set: self.set.clone(), axis: self.axis.clone(), seeds: self.seeds.clone() }
    }

    /// What is changed, as written on the command line.
    pub fn written(&self) -> Vec<String> {
        let set = self.set.iter().map(|text| format!("--set {text}"));
        let axis = self.axis.iter().map(|text| format!("--axis {text}"));
        set.chain(axis).chain(self.seeds.iter().map(|text| format!("--seeds {text}"))).collect()
    }

    /// Reads and expands the pipeline.
    pub fn expand(&self, registry: &Registry, sources: &mut SourceMap) -> Result<Graph, Failure> {
        let graph = pipeline::load(&self.file, &self.overrides(), sources)
            .and_then(|pipeline| expand(&pipeline, registry));
        graph.map_err(|wrong| Failure::told(exit::PIPELINE, wrong.render(sources)))
    }
}

/// A pipeline, checked and expanded, with its store.
pub struct Project {
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The folder that declared files are relative to, absolute.
    pub root: PathBuf,
    /// The texts of the pipeline.
    pub sources: SourceMap,
    /// The pipeline's instances.
    pub graph: Graph,
    /// Where their results are.
    pub store: Store,
}

impl Project {
    /// Reads a pipeline file, and opens its store.
    pub fn open(source: &Source, context: &Context<'_>) -> Result<Self, Failure> {
        let mut sources = SourceMap::new();
        let graph = source.expand(context.registry, &mut sources)?;
        let file = source.file.canonicalize().map_err(|error| {
            Failure::new(exit::PIPELINE, format!("cannot find {}: {error}", source.file.display()))
        })?;
        let root = root(file.parent().expect("a file is in a folder"));
        let store = open_store(&root, context)?;
        Ok(Self { file, root, sources, graph, store })
    }

    /// What is there and what is missing.
    pub fn plan(&self) -> Result<Plan, Failure> {
        plan(&self.graph, &self.store, &self.root).map_err(|error| Failure::new(exit::PIPELINE, error))
    }
}

/// The project a folder belongs to: the nearest folder from there upwards that holds `.ablate`, `.git` or `Cargo.toml`, or
/// that folder itself where none does.
pub fn root(folder: &Path) -> PathBuf {
    let holds =
        |folder: &&Path| [".ablate", ".git", "Cargo.toml"].iter().any(|name| folder.join(name).exists());
    folder.ancestors().find(holds).unwrap_or(folder).to_owned()
}

/// The store: as `--store` says, else as `ABLATE_STORE` says, else `.ablate` in the project's root.
pub fn open_store(root: &Path, context: &Context<'_>) -> Result<Store, Failure> {
    let path = context.store.clone().unwrap_or_else(|| root.join(".ablate"));
    Ok(Store::open(&path)?)
}
