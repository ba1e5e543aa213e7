//! The text whose digest is an action's key.
//!
//! | in the key | not in the key (recorded as provenance) |
//! |---|---|
//! | stage kind and its revision | the stage's name, the pipeline's name and path, where a value was written |
//! | every field of the stage, defaults written out | table labels, comments, order and format of the file |
//! | the seed, where the stage is seeded | the seed, where it is not |
//! | the content of every input, by port | which instance made the input, and when |
//! | the content of every declared file | its size, owner and time stamps |
//! | | device, host, threads, jobs, clock, version of the program |
//!
//! The text is RON that a person can read, one field a line, and it holds all that is needed to perform the action: a
//! worker is handed nothing else. [`Manifest::diff`] reads the same text, so what is explained cannot drift from what is
//! hashed.

use std::collections::BTreeMap;
use std::fmt;

use ablate_stage::cache::{ActionDigest, Digest};
use ablate_stage::{DynStage, Registry};
use serde::Deserialize;
use thiserror::Error;

/// What an action is: everything its result may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Stage kind.
    pub kind: String,
    /// The kind's revision.
    pub revision: u32,
    /// The seed, where the stage is seeded.
    pub seed: Option<u64>,
    /// Input port → content.
    pub inputs: BTreeMap<String, Digest>,
    /// Declared file, as the stage names it → content.
    pub files: BTreeMap<String, Digest>,
    /// The stage as canonical RON, one field a line.
    pub stage: String,
}

/// A text that is not a manifest this program can use.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is not RON of the right shape.
    #[error("not a manifest: {0}")]
    Malformed(#[from] ron::error::SpannedError),
    /// No such stage kind.
    #[error("the stage kind `{0}` is not known to this program")]
    UnknownKind(String),
    /// The program has another revision of the stage kind.
    #[error("the manifest is for revision {found} of `{kind}`, this program has revision {known}")]
    Revision {
        /// Stage kind.
        kind: String,
        /// In the manifest.
        found: u32,
        /// In the registry.
        known: u32,
    },
    /// The fields are not those of the stage kind.
    #[error("the manifest's stage: {0}")]
    Stage(erased_serde::Error),
}

#[derive(Deserialize)]
#[serde(rename = "Action", deny_unknown_fields)]
struct Text {
    kind: String,
    revision: u32,
    seed: Option<u64>,
    inputs: BTreeMap<String, Digest>,
    files: BTreeMap<String, Digest>,
    stage: Box<ron::value::RawValue>,
}

const INDENT: &str = "    ";

impl Manifest {
    /// The manifest of a stage with these inputs, `seed` being that of its trial.
    pub fn new(
        stage: &dyn DynStage,
        seed: Option<u64>,
        inputs: BTreeMap<String, Digest>,
        files: BTreeMap<String, Digest>,
    ) -> Self {
        Self {
            kind: stage.kind().to_owned(),
            revision: stage.revision(),
            seed: seed.filter(|_| stage.seeded()),
            inputs,
            files,
            stage: stage.canonical(),
        }
    }

    /// The key.
    pub fn action(&self) -> ActionDigest {
        ActionDigest::of_manifest(&self.to_string())
    }

    /// Reads a manifest back.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let Text { kind, revision, seed, inputs, files, stage } = ron::from_str(text)?;
        let stage = stage.get_ron().trim().replace(&format!("\n{INDENT}"), "\n");
        Ok(Self { kind, revision, seed, inputs, files, stage })
    }

    /// The stage, ready to run.
    ///
    /// # Errors
    /// Where the registry does not have this revision of its kind, or its fields do not fit.
    pub fn stage(&self, registry: &Registry) -> Result<Box<dyn DynStage>, ManifestError> {
        let kind = registry.get(&self.kind).ok_or_else(|| ManifestError::UnknownKind(self.kind.clone()))?;
        if kind.revision != self.revision {
            let (kind, known) = (self.kind.clone(), kind.revision);
            return Err(ManifestError::Revision { kind, found: self.revision, known });
        }
        let mut deserializer = ron::Deserializer::from_str(&self.stage)?;
        (kind.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))
            .map_err(ManifestError::Stage)
    }

    /// What is different in `later`, in the order of the text.
    pub fn diff(&self, later: &Self) -> Vec<Change> {
        let digests = |map: &BTreeMap<String, Digest>| -> Vec<(String, String)> {
            map.iter().map(|(name, digest)| (name.clone(), digest.short())).collect()
        };
        let one = |value: Option<String>| value.map(|value| (String::new(), value)).into_iter().collect();
        let mut changes = Vec::new();
        let mut compare =
            |part: fn(String) -> Part, old: Vec<(String, String)>, new: Vec<(String, String)>| {
                changes.extend(differences(old, new).map(|(path, old, new)| Change {
                    part: part(path),
                    old,
                    new,
                }));
            };
        compare(|_| Part::Kind, one(Some(self.kind.clone())), one(Some(later.kind.clone())));
        compare(
            |_| Part::Revision,
            one(Some(self.revision.to_string())),
            one(Some(later.revision.to_string())),
        );
        compare(
            |_| Part::Seed,
            one(self.seed.map(|seed| seed.to_string())),
            one(later.seed.map(|seed| seed.to_string())),
        );
        compare(Part::Input, digests(&self.inputs), digests(&later.inputs));
        compare(Part::File, digests(&self.files), digests(&later.files));
        compare(Part::Field, fields(&self.stage), fields(&later.stage));
        changes
    }
}

/// The text whose digest is the key.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Action(")?;
        writeln!(f, "{INDENT}kind: {:?},", self.kind)?;
        writeln!(f, "{INDENT}revision: {},", self.revision)?;
        writeln!(f, "{INDENT}seed: {:?},", self.seed)?;
        for (name, digests) in [("inputs", &self.inputs), ("files", &self.files)] {
            if digests.is_empty() {
                writeln!(f, "{INDENT}{name}: {{}},")?;
                continue;
            }
            writeln!(f, "{INDENT}{name}: {{")?;
            for (key, digest) in digests {
                writeln!(f, "{INDENT}{INDENT}{key:?}: \"{digest}\",")?;
            }
            writeln!(f, "{INDENT}}},")?;
        }
        writeln!(f, "{INDENT}stage: {},", self.stage.replace('\n', &format!("\n{INDENT}")))?;
        writeln!(f, ")")
    }
}

/// A part of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The stage kind.
    Kind,
    /// The kind's revision.
    Revision,
    /// The seed.
    Seed,
    /// The content of an input, by port.
    Input(String),
    /// The content of a declared file.
    File(String),
    /// A field of the stage, by path, as `method.temperature`; a struct or variant's own name is at the path of the field
    /// that holds it.
    Field(String),
}

/// A difference between two manifests, with the values as texts; a side that lacks the part is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub part: Part,
    /// In the earlier manifest.
    pub old: Option<String>,
    /// In the later one.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Part::Kind => f.write_str("stage kind")?,
            Part::Revision => f.write_str("revision of the stage kind")?,
            Part::Seed => f.write_str("seed")?,
            Part::Input(port) => write!(f, "content of input `{port}`")?,
            Part::File(path) => write!(f, "content of file `{path}`")?,
            Part::Field(path) => write!(f, "`{path}`")?,
        }
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(f, ": {} → {}", side(&self.old), side(&self.new))
    }
}

type Sided = (String, Option<String>, Option<String>);

/// Pairs up two lists by name, in the order of the first, and keeps the pairs that differ.
fn differences(old: Vec<(String, String)>, new: Vec<(String, String)>) -> impl Iterator<Item = Sided> {
    let mut rest: Vec<(String, Option<String>)> = new.into_iter().map(|(k, v)| (k, Some(v))).collect();
    let mut pairs: Vec<Sided> = Vec::new();
    for (name, value) in old {
        let other = rest.iter_mut().find(|(key, value)| *key == name && value.is_some());
        pairs.push((name, Some(value), other.and_then(|(_, value)| value.take())));
    }
    pairs.extend(
        rest.into_iter().filter(|(_, value)| value.is_some()).map(|(name, value)| (name, None, value)),
    );
    pairs.into_iter().filter(|(_, old, new)| old != new)
}

/// The leaves of canonical RON by path. Its form is known: one field a line, `(`, `[` or `{` last on a line opens a level,
/// a line that begins with the closing one ends it, and no string holds a line break.
fn fields(stage: &str) -> Vec<(String, String)> {
    let mut leaves = Vec::new();
    // The path of each open level, and how many unnamed elements it has had.
    let mut open: Vec<(String, usize)> = Vec::new();
    for line in stage.lines() {
        let line = line.trim().trim_end_matches(',');
        if line.starts_with([')', ']', '}']) {
            open.pop();
            continue;
        }
        let (name, value) = split_name(line);
        let path = match open.last_mut() {
            None => String::new(),
            Some((parent, elements)) => {
                let name = name.map_or_else(
                    || {
                        *elements += 1;
                        (*elements - 1).to_string()
                    },
                    str::to_owned,
                );
                if parent.is_empty() { name } else { format!("{parent}.{name}") }
            }
        };
        match value.strip_suffix(['(', '[', '{']) {
            Some(head) => {
                if !head.is_empty() && !path.is_empty() {
                    leaves.push((path.clone(), head.to_owned()));
                }
                open.push((path, 0));
            }
            None if path.is_empty() => {}
            None => leaves.push((path, value.to_owned())),
        }
    }
    leaves
}

/// Splits `name: value` or `"key": value`; an element of a list has no name.
fn split_name(line: &str) -> (Option<&str>, &str) {
    let quoted = line.starts_with('"');
    let mut escaped = false;
    let end = line.char_indices().skip(1).find(|&(_, c)| {
        let ends = if quoted { c == '"' && !escaped } else { !(c.is_alphanumeric() || c == '_') };
        escaped = c == '\\' && !escaped;
        ends
    });
    let after = end.map_or(line.len(), |(at, _)| if quoted { at + 1 } else { at });
    match line[after..].strip_prefix(": ") {
        Some(value) => (Some(line[..after].trim_matches('"')), value),
        None => (None, line),
    }
}
