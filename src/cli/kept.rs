//! What a run keeps of its pipeline, and the pipeline as it was then.
//!
//! It is an artifact of the store, so runs of one text share it, and gc removes it with the last of them.

#![cfg_attr(
    not(feature = "tables"),
    expect(dead_code, reason = "tables and reports alone read pipelines of runs")
)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use ablate_stage::cache::Store;
use serde::{Deserialize, Serialize};

use super::project::{Changes, Expanded, Project, Source, expanded};
use super::select::Part;
use super::{Context, Failure, exit};
use crate::pipeline;
use crate::runs::Run;
use crate::source::SourceMap;

/// A pipeline as a run found it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Its file, as it was named.
    pub file: String,
    /// What the command line changed.
    pub changes: Changes,
    /// What of it was meant.
    pub part: Part,
    /// The text of every file it is written in, by the names errors show them by.
    pub texts: BTreeMap<String, String>,
    /// The text of each table's file of published values, where there was one, by the table's name.
    pub published: BTreeMap<String, String>,
}

impl Kept {
    /// What a run of a project, which is this part of a pipeline, is to keep.
    ///
    /// # Errors
    /// Where a file of published values cannot be read.
    pub fn of(project: &Project, source: &Source, part: &Part) -> Result<Self, Failure> {
        let is_file = |name: &str| !matches!(name, "--set" | "--axis" | "--seeds");
        let texts = project.sources.texts().filter(|(name, _)| is_file(name));
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut published = BTreeMap::new();
        for table in &project.graph.tables {
            if let Some((text, _)) = project.published(&table.name)? {
                published.insert(table.name.clone(), text);
            }
        }
        Ok(Self {
            file: source.file.display().to_string(),
            changes: source.changes.clone(),
            part: part.clone(),
            texts: texts.collect(),
            published,
        })
    }

    /// What a run has kept.
    ///
    /// # Errors
    /// Where it kept nothing, as those of early versions, or where that is lost.
    pub fn by(store: &Store, run: &Run) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(exit::FAILED, format!("run {}: {why}", run.run));
        let Some(kept) = &run.kept else {
            return Err(failed("it has not kept its pipeline; runs of earlier versions did not".to_owned()));
        };
        let lost = |error: &dyn Display| failed(format!("the pipeline it has kept is lost: {error}"));
        let text = std::fs::read(store.verified(kept).map_err(|error| lost(&error))?);
        let other = |error| failed(format!("this version does not know what it has kept: {error}"));
        serde_json::from_slice(&text.map_err(|error| lost(&error))?).map_err(other)
    }

    /// What the command line changed or chose, as written there.
    pub fn changed(&self) -> Vec<String> {
        self.changes.written().into_iter().chain(self.part.written()).collect()
    }
}

/// A run, and what it has kept of its pipeline.
#[derive(Clone)]
pub struct Past {
    /// The run.
    pub run: Run,
    /// What it has kept.
    pub kept: Kept,
}

impl Past {
    /// Reads and expands the pipeline as it was.
    pub fn read(&self, context: &Context<'_>) -> Result<Expanded, Failure> {
        let Kept { file, texts, changes, .. } = &self.kept;
        let mut sources = SourceMap::new();
        let read = pipeline::load_kept(Path::new(file), texts, &changes.overrides(), &mut sources);
        expanded(read, sources, context).map_err(|Failure { code, message }| {
            let note = format!("note: these are the texts that run {} has kept\n", self.run.run);
            Failure::told(code, message + &note)
        })
    }
}
