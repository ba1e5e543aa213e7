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
use std::fmt::{self, Write};

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
        self.write_head(f)?;
        write_own(f, self.seed, self.inputs.iter().map(|(port, digest)| (port.as_str(), digest)))?;
        self.write_tail(f)
    }
}

/// The text in three pieces.
impl Manifest {
    fn write_head(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "Action(")?;
        writeln!(out, "{INDENT}kind: {:?},", self.kind)?;
        writeln!(out, "{INDENT}revision: {},", self.revision)
    }

    fn write_tail(&self, out: &mut impl Write) -> fmt::Result {
        write_digests(out, "files", self.files.iter().map(|(path, digest)| (path.as_str(), digest)))?;
        write!(out, "{INDENT}stage: ")?;
        for (at, line) in self.stage.split('\n').enumerate() {
            if at > 0 {
                write!(out, "\n{INDENT}")?;
            }
            out.write_str(line)?;
        }
        writeln!(out, ",\n)")
    }
}

/// What instances with the same parameters may differ in.
fn write_own<'p, 'd>(
    out: &mut impl Write,
    seed: Option<u64>,
    inputs: impl Iterator<Item = (&'p str, &'d Digest)>,
) -> fmt::Result {
    writeln!(out, "{INDENT}seed: {seed:?},")?;
    write_digests(out, "inputs", inputs)
}

fn write_digests<'p, 'd>(
    out: &mut impl Write,
    name: &str,
    digests: impl Iterator<Item = (&'p str, &'d Digest)>,
) -> fmt::Result {
    let mut digests = digests.peekable();
    if digests.peek().is_none() {
        return writeln!(out, "{INDENT}{name}: {{}},");
    }
    writeln!(out, "{INDENT}{name}: {{")?;
    for (key, digest) in digests {
        writeln!(out, "{INDENT}{INDENT}{key:?}: \"{digest}\",")?;
    }
    writeln!(out, "{INDENT}}},")
}

/// The manifests of some parameters: what they have in common is written out once.
pub struct Template {
    /// With no seed and no inputs.
    common: Manifest,
    seeded: bool,
    head: String,
    tail: String,
}

impl Template {
    /// For a stage and what its declared files hold.
    pub fn new(stage: &dyn DynStage, files: BTreeMap<String, Digest>) -> Self {
        let common = Manifest::new(stage, None, BTreeMap::new(), files);
        let (mut head, mut tail) = (String::new(), String::new());
        common.write_head(&mut head).and_then(|()| common.write_tail(&mut tail)).expect("a string takes all");
        Self { common, seeded: stage.seeded(), head, tail }
    }

    /// The manifest with these inputs, `seed` being that of the trial.
    pub fn manifest(&self, seed: Option<u64>, inputs: BTreeMap<String, Digest>) -> Manifest {
        Manifest { seed: seed.filter(|_| self.seeded), inputs, ..self.common.clone() }
    }

    /// The key of the manifest with these inputs, which are in order of port.
    pub fn action<'p, 'd>(
        &self,
        seed: Option<u64>,
        inputs: impl Iterator<Item = (&'p str, &'d Digest)>,
    ) -> ActionDigest {
        // Room for a few inputs; plans are full of keys.
        let mut text = String::with_capacity(self.head.len() + self.tail.len() + 512);
        text.push_str(&self.head);
        write_own(&mut text, seed.filter(|_| self.seeded), inputs).expect("a string takes all");
        text.push_str(&self.tail);
        ActionDigest::of_manifest(&text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use proptest::prelude::*;

    fn digests(names: &[&str]) -> BTreeMap<String, Digest> {
        names.iter().map(|name| ((*name).to_owned(), Digest::of_bytes(name.as_bytes()))).collect()
    }

    fn command(ron: &str) -> Command {
        ron::from_str(ron).unwrap()
    }

    fn train() -> Command {
        command(
            r#"Command(
                argv: ["python3", "{file:train.py}", "--seed={seed}", "a \"quoted\"\nline: ["],
                inputs: {"images": Images},
                outputs: {"metrics": (kind: Metrics, path: "m.json")},
                files: ["train.py"],
                cpus: 4,
            )"#,
        )
    }

    /// A changed key makes everybody run everything again: it changes with the revision of a kind, or with this format,
    /// and never by accident.
    #[test]
    fn the_text_and_its_key_are_golden() {
        let manifest = Manifest::new(&train(), Some(3), digests(&["images"]), digests(&["train.py"]));
        let expected = r#"Action(
    kind: "Command",
    revision: 1,
    seed: Some(3),
    inputs: {
        "images": "a4cf1c7ce5df043b27cbb98fb4ff77d3cf672e92b31d43932336e30398111623",
    },
    files: {
        "train.py": "4b7641bc97d937d0065d607180f74c811d0782bcd544aabeea1aebd921f7862b",
    },
    stage: Command(
        argv: [
            "python3",
            "{file:train.py}",
            "--seed={seed}",
            "a \"quoted\"\nline: [",
        ],
        inputs: {
            "images": Images,
        },
        outputs: {
            "metrics": OutputFile(
                kind: Metrics,
                path: "m.json",
            ),
        },
        files: [
            "train.py",
        ],
        env: {},
        inherit: [
            "PATH",
            "HOME",
        ],
    ),
)
"#;
        assert_eq!(manifest.to_string(), expected);
        assert_eq!(
            manifest.action().to_hex(),
            "fc0b8661db992d43d3e45a8540b2a4a635db76c16dbea9f5dec506d449545223"
        );
    }

    #[test]
    fn what_is_not_read_back_as_it_was_is_refused() {
        let manifest = Manifest::new(&train(), Some(3), digests(&["images"]), digests(&["train.py"]));
        assert_eq!(Manifest::parse(&manifest.to_string()).unwrap(), manifest);
        let registry = Registry::new().with::<Command>();
        let stage = manifest.stage(&registry).unwrap();
        assert_eq!(stage.canonical(), manifest.stage);

        let message = |manifest: &Manifest| manifest.stage(&registry).err().unwrap().to_string();
        let later = Manifest { revision: 9, ..manifest.clone() };
        assert_eq!(
            message(&later),
            "the manifest is for revision 9 of `Command`, this program has revision 1"
        );
        let other = Manifest { kind: "Other".to_owned(), ..manifest.clone() };
        assert_eq!(message(&other), "the stage kind `Other` is not known to this program");
        assert!(Manifest::parse("Action(kind: 1)").is_err());
    }

    #[test]
    fn the_seed_of_a_stage_that_has_none_is_not_in_the_key() {
        let stage = command(r#"Command(argv: ["true"], outputs: {"o": (kind: File, path: "o")})"#);
        let key = |seed| Manifest::new(&stage, seed, BTreeMap::new(), BTreeMap::new()).action();
        assert_eq!(key(Some(1)), key(Some(2)));
        let seeded = |seed| Manifest::new(&train(), seed, BTreeMap::new(), BTreeMap::new()).action();
        assert_ne!(seeded(Some(1)), seeded(Some(2)));
    }

    #[test]
    fn a_difference_names_the_path_and_both_values() {
        let earlier = Manifest {
            kind: "Pretrain".to_owned(),
            revision: 1,
            seed: Some(0),
            inputs: digests(&["images", "old"]),
            files: digests(&["a.py"]),
            stage:
                "Pretrain(\n    method: SimClr(\n        temperature: 0.2,\n        views: 2,\n    ),\n    \
                    layers: [\n        64,\n        32,\n    ],\n    note: \"x: (\",\n)"
                    .to_owned(),
        };
        let later = Manifest {
            revision: 2,
            seed: None,
            inputs: digests(&["images"]),
            files: BTreeMap::from([("a.py".to_owned(), Digest::of_bytes(b"new"))]),
            stage:
                "Pretrain(\n    method: NnClr(\n        temperature: 0.2,\n        queue: 8,\n    ),\n    \
                    layers: [\n        64,\n        16,\n    ],\n    note: \"x: (\",\n)"
                    .to_owned(),
            ..earlier.clone()
        };
        let told: Vec<String> = earlier.diff(&later).iter().map(Change::to_string).collect();
        let (old, a, new) = (Digest::of_bytes(b"old"), Digest::of_bytes(b"a.py"), Digest::of_bytes(b"new"));
        let expected = [
            "revision of the stage kind: 1 → 2".to_owned(),
            "seed: 0 → (none)".to_owned(),
            format!("content of input `old`: {} → (none)", old.short()),
            format!("content of file `a.py`: {} → {}", a.short(), new.short()),
            "`method`: SimClr → NnClr".to_owned(),
            "`method.views`: 2 → (none)".to_owned(),
            "`layers.1`: 32 → 16".to_owned(),
            "`method.queue`: (none) → 8".to_owned(),
        ];
        assert_eq!(told, expected);
        assert_eq!(earlier.diff(&earlier), []);
    }

    proptest! {
        #[test]
        fn any_command_reads_back(
            argv in proptest::collection::vec(".*", 0..4),
            env in proptest::collection::btree_map(".*", ".*", 0..4),
            seed in proptest::option::of(any::<u64>()),
        ) {
            let stage = Command { argv, env, ..train() };
            let manifest = Manifest::new(&stage, seed, digests(&["a", "b"]), digests(&["x/y.py"]));
            let read = Manifest::parse(&manifest.to_string()).unwrap();
            prop_assert_eq!(&read, &manifest);
            prop_assert_eq!(read.diff(&manifest), []);
            let registry = Registry::new().with::<Command>();
            prop_assert_eq!(read.stage(&registry).unwrap().canonical(), manifest.stage);
        }

        #[test]
        fn one_changed_text_is_one_change(old in ".*", new in ".*") {
            prop_assume!(old != new);
            let stage = |text: &str| Command { env: BTreeMap::from([("K".to_owned(), text.to_owned())]), ..train() };
            let manifest = |text: &str| Manifest::new(&stage(text), None, BTreeMap::new(), BTreeMap::new());
            let (earlier, later) = (manifest(&old), manifest(&new));
            prop_assert_ne!(earlier.action(), later.action());
            let changes = earlier.diff(&later);
            prop_assert_eq!(changes.len(), 1);
            prop_assert_eq!(&changes[0].part, &Part::Field("env.K".to_owned()));
        }
    }
}
