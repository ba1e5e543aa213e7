//! Checking everything in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::listing::{Listing, entries, hex_name};
use crate::record::{self, Found, Identity};
use crate::store::{COLLECT_LOCK, FOLDERS, FORMAT, check_object, failed};
use crate::{ActionDigest, ActionResult, Digest, Fault, Finding, Object, Record, Store, StoreError};

/// What [`Store::verify`] does with what is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Nothing is written.
    Report,
    /// It is moved into `bad/`, so that the next run makes it again.
    SetAside,
}

/// How far [`Store::verify`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records checked.
    pub files: u64,
    /// Records there are.
    pub files_total: u64,
    /// Bytes of records read.
    pub bytes: u64,
    /// Bytes of records there are.
    pub bytes_total: u64,
}

/// An entry that looks like a record of that name.
struct Entry<N> {
    name: N,
    path: PathBuf,
    size: u64,
    seen: Identity,
}

/// Counts what was checked, and tells.
struct Meter<'p> {
    total: Progress,
    files: AtomicU64,
    bytes: AtomicU64,
    tell: &'p (dyn Fn(Progress) + Sync),
}

impl Meter<'_> {
    fn add(&self, files: u64, bytes: u64) {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.tell)(Progress { files, bytes, ..self.total });
    }
}

impl Store {
    /// Reads everything: objects and manifests against the digests that name them, results against their own digest
    /// and the objects they name, the format, and what lies about that is nobody's. Findings come in order of what
    /// they are about. `progress` is called from several threads.
    ///
    /// Others may use the store meanwhile; what they add or remove may or may not be seen, and is not reported as
    /// damage.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a folder cannot be listed, something cannot be looked at for reasons that are not its
    /// own, or what is damaged cannot be set aside.
    pub fn verify(
        &self,
        on_damage: OnDamage,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Finding>, StoreError> {
        let mut findings = self.check_layout()?;
        let objects: Vec<Entry<Digest>> = self.list("objects", &mut findings)?;
        let manifests: Vec<Entry<ActionDigest>> = self.list("manifests", &mut findings)?;
        let results: Vec<Entry<ActionDigest>> = self.list("results", &mut findings)?;
        let sizes = || {
            let names = manifests.iter().chain(&results);
            objects.iter().map(|entry| entry.size).chain(names.map(|entry| entry.size))
        };
        let total = Progress {
            files_total: sizes().count() as u64,
            bytes_total: sizes().sum(),
            ..Progress::default()
        };
        let meter = Meter { total, files: AtomicU64::new(0), bytes: AtomicU64::new(0), tell: progress };

        let check = |entry| check_object_at(entry, &meter).transpose();
        let bad: Vec<(Digest, Fault)> = objects.par_iter().filter_map(check).collect::<Result<_, _>>()?;
        let check = |entry| self.check_manifest(entry, &meter).transpose();
        findings.extend(manifests.par_iter().filter_map(check).collect::<Result<Vec<_>, _>>()?);
        let mut actions: BTreeMap<Digest, BTreeSet<ActionDigest>> =
            bad.iter().map(|(digest, _)| (*digest, BTreeSet::new())).collect();
        let check = |entry| self.check_result(entry, &actions, &meter);
        let checked: Vec<CheckedResult> = results.par_iter().map(check).collect::<Result<_, _>>()?;
        for checked in checked {
            findings.extend(checked.findings);
            for digest in checked.bad_objects {
                actions.entry(digest).or_default().insert(checked.action);
            }
        }
        findings.extend(bad.into_iter().map(|(digest, fault)| {
            let actions = actions.remove(&digest).unwrap_or_default().into_iter().collect();
            let path = self.object_path(&digest);
            Finding { actions, ..Finding::new(Record::Object(digest), &path, fault) }
        }));
        findings.sort_by(|a, b| (a.record, &a.path).cmp(&(b.record, &b.path)));

        if on_damage == OnDamage::SetAside {
            let names = manifests.iter().chain(&results).map(|entry| (entry.path.as_path(), entry.seen));
            let seen: BTreeMap<&Path, Identity> =
                objects.iter().map(|entry| (entry.path.as_path(), entry.seen)).chain(names).collect();
            self.set_aside_damage(&mut findings, &seen)?;
        }
        Ok(findings)
    }

    /// `seen` is what was checked at each path: what has come since is left alone.
    fn set_aside_damage(
        &self,
        findings: &mut [Finding],
        seen: &BTreeMap<&Path, Identity>,
    ) -> Result<(), StoreError> {
        for finding in findings.iter_mut().filter(|finding| finding.is_damage()) {
            let path = &finding.path;
            let now = Identity::at(path).map_err(failed("cannot read", path))?;
            // One entry may have two faults, and is moved for the first.
            if let Some(now) = now {
                finding.set_aside = self.set_aside(path, *seen.get(path.as_path()).unwrap_or(&now))?;
            }
        }
        Ok(())
    }

    /// Checks the format, the folders, and that nothing else lies where only the store writes.
    fn check_layout(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let format = self.root().join("FORMAT");
        let fault = match record::text(&format, 256).map_err(failed("cannot read", &format))? {
            Found::Whole(text) if text == FORMAT => None,
            Found::Whole(_) => Some(Fault::OtherBytes),
            Found::Absent => Some(Fault::Missing),
            Found::Damaged(fault) => Some(fault),
        };
        findings.extend(fault.map(|fault| Finding::new(Record::Format, &format, fault)));
        for folder in FOLDERS.map(|folder| self.root().join(folder)) {
            let fault = match fs::metadata(&folder) {
                Ok(meta) if meta.is_dir() => continue,
                Ok(meta) => Fault::NotAFolder(record::kind(&meta)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Fault::Missing,
                Err(error) => Fault::Unreadable(error),
            };
            findings.push(Finding::new(Record::Folder, &folder, fault));
        }
        let is_named = |path: &Path, names: &[&str]| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(&name))
        };
        let is_digest = |path: &Path| hex_name(path, 64).is_some();
        let top = |path: &Path| is_named(path, &["FORMAT"]) || is_named(path, &FOLDERS);
        let lock = |path: &Path| is_named(path, &[COLLECT_LOCK]) || is_digest(path);
        findings.extend(find_strays(self.root(), top)?);
        findings.extend(find_strays(&self.root().join("locks"), lock)?);
        findings.extend(find_strays(&self.root().join("scratch"), is_digest)?);
        Ok(findings)
    }

    fn list<N>(&self, folder: &str, findings: &mut Vec<Finding>) -> Result<Vec<Entry<N>>, StoreError>
    where
        N: FromStr<Err: Debug>,
    {
        let folder = self.root().join(folder);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let listing = Listing::read(&folder)?;
        findings.extend(listing.strays.iter().map(|path| Finding::new(Record::Stray, path, Fault::NotOurs)));
        for path in &listing.not_folders {
            let meta = fs::symlink_metadata(path).map_err(failed("cannot read", path))?;
            findings.push(Finding::new(Record::Folder, path, Fault::NotAFolder(record::kind(&meta))));
        }
        let mut found = Vec::with_capacity(listing.records.len());
        for (hex, path) in listing.records {
            match fs::symlink_metadata(&path) {
                Ok(meta) => found.push(Entry {
                    name: hex.parse().expect("a listing gives 64 hexadecimal digits"),
                    size: if meta.is_file() { meta.len() } else { 0 },
                    seen: Identity::of(&meta),
                    path,
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("cannot read", &path)(error)),
            }
        }
        Ok(found)
    }

    fn check_manifest(
        &self,
        entry: &Entry<ActionDigest>,
        meter: &Meter<'_>,
    ) -> Result<Option<Finding>, StoreError> {
        let found = self.read_manifest(&entry.name).map_err(failed("cannot read", &entry.path))?;
        meter.add(1, entry.size);
        let fault = found.fault();
        Ok(fault.map(|fault| Finding::new(Record::Manifest(entry.name), &entry.path, fault)))
    }

    /// Checks a result and that the objects it names are there; those in `bad` are known not to be whole.
    fn check_result<T: Sync>(
        &self,
        entry: &Entry<ActionDigest>,
        bad: &BTreeMap<Digest, T>,
        meter: &Meter<'_>,
    ) -> Result<CheckedResult, StoreError> {
        let found = self.read_result(&entry.name).map_err(failed("cannot read", &entry.path))?;
        meter.add(1, entry.size);
        let mut checked =
            CheckedResult { action: entry.name, findings: Vec::new(), bad_objects: BTreeSet::new() };
        let mut faults = Vec::new();
        match found {
            Found::Whole(result) => {
                for object in result.outputs.values() {
                    if bad.contains_key(&object.digest) {
                        checked.bad_objects.insert(object.digest);
                    } else {
                        faults.extend(self.check_named(&entry.name, &result, object)?);
                    }
                }
            }
            // What is gone since it was listed was removed by somebody, as gc does.
            Found::Absent => {}
            Found::Damaged(fault) => faults.push(fault),
        }
        let finding = |fault| Finding::new(Record::Result(entry.name), &entry.path, fault);
        checked.findings = faults.into_iter().map(finding).collect();
        Ok(checked)
    }

    /// Checks that an object which a result names is there under that size.
    fn check_named(
        &self,
        action: &ActionDigest,
        result: &ActionResult,
        named: &Object,
    ) -> Result<Option<Fault>, StoreError> {
        let path = self.object_path(&named.digest);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() != named.size => {
                Ok(Some(Fault::WrongSize { named: *named, found: meta.len() }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // gc takes results first: while this one stands, it was not gc who took its object.
                let stands = self.recorded_result(action).as_ref() == Some(result);
                Ok(stands.then_some(Fault::MissingObject(*named)))
            }
            Err(error) => Err(failed("cannot read", &path)(error)),
        }
    }
}

struct CheckedResult {
    action: ActionDigest,
    findings: Vec<Finding>,
    bad_objects: BTreeSet<Digest>,
}

fn check_object_at(entry: &Entry<Digest>, meter: &Meter<'_>) -> Result<Option<(Digest, Fault)>, StoreError> {
    let found = check_object(&entry.path, &entry.name, |bytes| meter.add(0, bytes));
    let fault = found.map_err(failed("cannot read", &entry.path))?.fault();
    meter.add(1, 0);
    Ok(fault.map(|fault| (entry.name, fault)))
}

fn find_strays(folder: &Path, is_ours: impl Fn(&Path) -> bool) -> Result<Vec<Finding>, StoreError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let strays = entries(folder)?.into_iter().filter(|path| !is_ours(path));
    Ok(strays.map(|path| Finding::new(Record::Stray, &path, Fault::NotOurs)).collect())
}
