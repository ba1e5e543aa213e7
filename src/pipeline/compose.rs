//! One pipeline from the files it is written in.
//!
//! `include` brings in stages, axes and tables beside the file's own, so no name may come twice. `extends` takes another
//! pipeline whole: what the file writes itself replaces what has the same name there, and `set` changes single places.
//! Paths are relative to the file they are written in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::overrides::Overrides;
use super::read::{File, Reader};
use super::seeds::Seeds;
use super::{Pipeline, Setting, StageSpec};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{SourceId, SourceMap, Span};
use crate::syntax::{self, Name};

/// The most bytes the files of a pipeline may have together.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most files a pipeline may be made of.
pub const MAX_FILES: usize = 256;

pub(super) fn load(
    path: &Path,
    kept: Option<&BTreeMap<String, String>>,
    overrides: &Overrides,
    sources: &mut SourceMap,
) -> Result<Pipeline, Diagnostics> {
    let wrong = Diagnostics::new();
    let mut loader = Loader { sources, kept, wrong, open: Vec::new(), files: 0, bytes: 0 };
    let file = loader.load(path, None);
    let Loader { sources, mut wrong, .. } = loader;
    let Some(mut file) = file else { return Err(wrong) };
    overrides.apply(&mut file, sources, &mut wrong);
    finish(file, wrong)
}

pub(super) fn parse(source: SourceId, text: &str) -> Result<Pipeline, Diagnostics> {
    let mut wrong = Diagnostics::new();
    let node = syntax::parse(source, text)?;
    let Some(file) = (Reader { wrong: &mut wrong }).file(&node) else { return Err(wrong) };
    for named in file.include.iter().chain(&file.extends) {
        wrong
            .push(Diagnostic::new(named.span, "this text is in no folder where another file could be found"));
    }
    finish(file, wrong)
}

/// What the files come to.
fn finish(file: File, mut wrong: Diagnostics) -> Result<Pipeline, Diagnostics> {
    for field in ["name", "stages"] {
        if !file.has.contains(field) && !file.torn {
            wrong.push(Diagnostic::new(file.place, format!("`Pipeline` needs the field `{field}`")));
        }
    }
    let Seeds { all: seeds, until } = file.seeds.unwrap_or_else(|| Seeds { all: vec![0], until: None });
    match (file.name, file.stages) {
        (Some(name), Some(stages)) => wrong.or(Pipeline {
            name,
            stages,
            settings: file.settings,
            axes: file.axes,
            sweep: file.sweep.map(|(sweep, _)| sweep),
            seeds,
            until,
            tables: file.tables,
        }),
        _ => Err(wrong),
    }
}

/// Reads files and those they name.
struct Loader<'a> {
    sources: &'a mut SourceMap,
    /// What is read in place of files, by the names they are shown by.
    kept: Option<&'a BTreeMap<String, String>>,
    wrong: Diagnostics,
    /// The files being read, each named by the one before: its path without links, and as shown.
    open: Vec<(PathBuf, String)>,
    files: usize,
    bytes: u64,
}

impl Loader<'_> {
    /// A file with all it names; `None` where it cannot be read. `named` is where it is named.
    fn load(&mut self, path: &Path, named: Option<Span>) -> Option<File> {
        let shown = path.display().to_string();
        let canonical = match self.kept {
            Some(_) => Ok(path.to_owned()),
            None => path.canonicalize(),
        };
        let canonical = match canonical {
            Ok(canonical) => canonical,
            Err(error) => return self.refuse(&shown, named, &error.to_string()),
        };
        if let Some(at) = self.open.iter().position(|(open, _)| *open == canonical) {
            let mut turn: Vec<&str> = self.open[at..].iter().map(|(_, shown)| shown.as_str()).collect();
            turn.push(&shown);
            let message = format!("files bring in each other: {}", turn.join(" → "));
            let place = named.expect("the first file is named by none");
            self.wrong.push(Diagnostic::new(place, message).help("take one of these out"));
            return None;
        }
        let source = self.read(path, &shown, named)?;
        let node = match syntax::parse(source, self.sources.text(source)) {
            Ok(node) => node,
            Err(error) => {
                self.wrong.push(error);
                return None;
            }
        };
        let file = (Reader { wrong: &mut self.wrong }).file(&node)?;
        self.open.push((canonical, shown));
        let whole = self.bring_in(file, path.parent().unwrap_or(Path::new("")));
        self.open.pop();
        Some(whole)
    }

    fn read(&mut self, path: &Path, shown: &str, named: Option<Span>) -> Option<SourceId> {
        self.files += 1;
        if self.files > MAX_FILES {
            return self.refuse(shown, named, &format!("a pipeline is made of at most {MAX_FILES} files"));
        }
        if let Some(kept) = self.kept {
            return match kept.get(shown) {
                Some(text) => Some(self.sources.add(shown, text.as_str())),
                None => self.refuse(shown, named, "its text was not kept"),
            };
        }
        let mut bytes = Vec::new();
        let room = MAX_FILE_BYTES - self.bytes;
        let read = fs::File::open(path).and_then(|file| file.take(room + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return self.refuse(shown, named, &error.to_string());
        }
        if bytes.len() as u64 > room {
            let limit = MAX_FILE_BYTES >> 20;
            let what = if self.files == 1 { "the file is" } else { "the files are together" };
            return self.refuse(
                shown,
                named,
                &format!("{what} larger than {limit} MiB, too large for a pipeline"),
            );
        }
        self.bytes += bytes.len() as u64;
        match String::from_utf8(bytes) {
            Ok(text) => Some(self.sources.add(shown, text)),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
                self.refuse(shown, named, &format!("line {line} is not UTF-8; save the file as UTF-8"))
            }
        }
    }

    fn refuse<T>(&mut self, shown: &str, named: Option<Span>, why: &str) -> Option<T> {
        let message = format!("cannot read {shown}: {why}");
        self.wrong.push(match named {
            Some(span) => Diagnostic::new(span, message),
            None => Diagnostic::without_place(message),
        });
        None
    }

    /// The file with the stages, axes and tables of those it includes, over the one it extends.
    fn bring_in(&mut self, mut file: File, folder: &Path) -> File {
        let mut brought = Vec::new();
        for named in std::mem::take(&mut file.include) {
            let Some(part) = self.load(&folder.join(&named.text), Some(named.span)) else {
                file.torn = true;
                continue;
            };
            file.torn |= part.torn;
            for (field, kept) in [("sweep", part.sweep.is_some()), ("seeds", part.seeds.is_some())] {
                if kept {
                    let message = format!(
                        "{} has a field `{field}`, which an included file cannot bring in",
                        named.text
                    );
                    let error = Diagnostic::new(named.span, message);
                    self.wrong.push(error.help("use `extends` to take over a whole pipeline"));
                }
            }
            if let Some(stages) = part.stages {
                file.has.insert("stages".to_owned());
                file.stages.get_or_insert_default().extend(stages);
            }
            file.axes.extend(part.axes);
            file.tables.extend(part.tables);
            brought.extend(part.settings);
        }
        file.settings.splice(0..0, brought);
        self.check_distinct("stage", file.stages.iter().flatten().map(|stage| &stage.name));
        self.check_distinct("axis", file.axes.iter().map(|axis| &axis.name));
        self.check_distinct("table", file.tables.iter().map(|table| &table.name));
        let Some(named) = file.extends.take() else { return file };
        match self.load(&folder.join(&named.text), Some(named.span)) {
            Some(base) => over(file, base),
            None => File { torn: true, ..file },
        }
    }

    fn check_distinct<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n Name>) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for name in names {
            if let Some(first) = seen.insert(&name.text, name.span) {
                let error = Diagnostic::new(name.span, format!("the {what} `{}` is there twice", name.text));
                self.wrong.push(error.marked("again here").and(first, "first here"));
            }
        }
    }
}

/// A file over the one it extends.
fn over(file: File, base: File) -> File {
    // What was set in a stage that this file writes anew went with it.
    let own: BTreeSet<&str> = file.stages.iter().flatten().map(|stage| stage.name.text.as_str()).collect();
    let is_kept = |setting: &&Setting| !own.contains(setting.path.text.split('.').next().unwrap_or_default());
    let settings: Vec<Setting> =
        base.settings.iter().filter(is_kept).chain(&file.settings).cloned().collect();
    let stages = match (base.stages, file.stages) {
        (Some(base), Some(own)) => Some(replace(base, own, |stage: &StageSpec| stage.name.text.as_str())),
        (base, own) => own.or(base),
    };
    File {
        place: file.place,
        has: file.has.into_iter().chain(base.has).collect(),
        torn: file.torn || base.torn,
        name: file.name.or(base.name),
        extends: None,
        include: Vec::new(),
        settings,
        stages,
        axes: replace(base.axes, file.axes, |axis| axis.name.text.as_str()),
        sweep: file.sweep.or(base.sweep),
        seeds: file.seeds.or(base.seeds),
        tables: replace(base.tables, file.tables, |table| table.name.text.as_str()),
    }
}

/// `base`, each item in its place replaced by the one of `own` that has its name, and the rest of `own` behind.
fn replace<T>(mut base: Vec<T>, own: Vec<T>, name: fn(&T) -> &str) -> Vec<T> {
    for item in own {
        match base.iter().position(|earlier| name(earlier) == name(&item)) {
            Some(at) => base[at] = item,
            None => base.push(item),
        }
    }
    base
}
