//! `ablate verify`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use ablate_stage::cache::{ActionDigest, Finding, OnDamage, Progress, Record, Store};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::project::{root, store_path_here};
use super::units::bytes;
use super::{Context, Failure, exit};
use crate::diagnostic::escape_lines;
use crate::progress::counted;
use crate::repair::{Remade, repair};

/// Check everything in the store: every artifact and record against its digest
#[derive(Args)]
pub struct Verify {
    /// Set aside what is damaged, and make again what it was made by
    #[arg(long)]
    repair: bool,
}

/// Checks the store.
pub fn verify(args: &Verify, context: &mut Context<'_>) -> Result<u8, Failure> {
    let store = Store::open(&store_path_here(context)?)?;
    let on_damage = if args.repair { OnDamage::SetAside } else { OnDamage::Report };
    let (findings, read) = check(&store, on_damage, context.terminal)?;
    for finding in &findings {
        writeln!(context.out, "{}", escape_lines(&finding.to_string()))?;
    }
    let what = format!(
        "{}, {}",
        counted(usize::try_from(read.files).unwrap_or(usize::MAX), "record"),
        bytes(read.bytes)
    );
    if findings.is_empty() {
        writeln!(context.out, "{what}: all whole")?;
        return Ok(exit::DONE);
    }
    writeln!(context.out, "{what}: {}", counted(findings.len(), "finding"))?;
    if !args.repair {
        writeln!(context.out, "`ablate verify --repair` sets aside what is damaged, and makes it again")?;
        return Ok(exit::FAILED);
    }
    let here = PathBuf::from(".").canonicalize().map_err(|error| Failure::new(exit::USAGE, error))?;
    let mut whole = true;
    for (action, remade) in repair(&store, &root(&here), &makers(&store, &findings))? {
        let text = match remade {
            Remade::Done => format!("made again {action}"),
            Remade::Failed(why) => {
                whole = false;
                format!("cannot make again {action}: {why}; `ablate run` does, where its pipeline is at hand")
            }
        };
        writeln!(context.out, "{}", escape_lines(&text))?;
    }
    Ok(if whole { exit::DONE } else { exit::FAILED })
}

/// The actions whose results are no longer whole.
fn makers(store: &Store, findings: &[Finding]) -> BTreeSet<ActionDigest> {
    let named = findings.iter().flat_map(|finding| {
        let own = match finding.record {
            Record::Result(action) => Some(action),
            Record::Format | Record::Folder | Record::Object(_) | Record::Manifest(_) | Record::Stray => None,
        };
        finding.actions.iter().copied().chain(own)
    });
    named.filter(|action| store.result(action).is_none()).collect()
}

fn check(store: &Store, on_damage: OnDamage, terminal: bool) -> Result<(Vec<Finding>, Progress), Failure> {
    let style =
        ProgressStyle::with_template("{prefix:>12.cyan.bold} [{bar:24}] {bytes}/{total_bytes} {elapsed}");
    let bar = if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
    bar.set_prefix("Verifying");
    let last = Mutex::new(Progress::default());
    let findings = store.verify(on_damage, &|progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        let mut last = last.lock().expect("nothing panics while it holds this");
        if progress.files > last.files {
            *last = progress;
        }
    })?;
    bar.finish_and_clear();
    Ok((findings, last.into_inner().expect("nothing panics while it holds this")))
}
