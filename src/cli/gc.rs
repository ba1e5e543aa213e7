//! `ablate gc`.

use std::collections::BTreeMap;
use std::time::Duration;

use ablate_stage::cache::{Class, Collect, Collected, Roots, Store};
use clap::Args;

use super::kept::Kept;
use super::project::store_path_here;
use super::units::bytes;
use super::{Context, Failure, exit};
use crate::journal;
use crate::progress::counted;
use crate::runs::{Standing, cited, sum_up};

/// Remove from the store what no run cites; nothing that a run which is kept has made or used is removed
#[derive(Args)]
pub struct Gc {
    /// Keep only so many runs of each pipeline, of those with other `--set`, `--axis`, `--seeds`, `--only` or `--table` as many again,
    /// and remove the journals of those before; all are kept, if not said
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,
    /// Keep what was made less than so many hours ago, whoever cites it
    #[arg(long, value_name = "HOURS", default_value = "24")]
    grace: f64,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// How long gc waits for a moment at which nobody records a result.
const WAIT: Duration = Duration::from_secs(60);

/// Removes what nobody cites.
pub fn gc(args: &Gc, context: &mut Context<'_>) -> Result<u8, Failure> {
    let store = Store::open(&store_path_here(context)?)?;
    let grace = Duration::try_from_secs_f64(args.grace * 3600.0)
        .map_err(|_| Failure::new(exit::USAGE, format!("a grace period of {} hours is none", args.grace)))?;
    let (kept, dropped) = runs(&store, args.keep_runs)?;
    // Runs that begin meanwhile are asked as well.
    let roots = || -> Result<Roots, Failure> {
        let mut roots = Roots::default();
        let now = journal::runs(&store.runs()).map_err(unreadable)?;
        for run in now.iter().filter(|run| !dropped.contains(run)) {
            cited(&store, run, &mut roots).map_err(|error| {
                let folder = store.runs().join(run);
                let text = format!(
                    "{error}; nobody knows what this run cites, so nothing was removed: remove {} to give that up",
                    folder.display()
                );
                Failure::new(exit::STORE, text)
            })?;
        }
        Ok(roots)
    };
    // Before anything goes.
    roots()?;
    let request = Collect { now: journal::now(), grace, wait: WAIT, dry_run: args.dry_run };
    if !args.dry_run {
        for run in &dropped {
            let folder = store.runs().join(run);
            std::fs::remove_dir_all(&folder).map_err(|error| {
                Failure::new(exit::STORE, format!("cannot remove {}: {error}", folder.display()))
            })?;
        }
    }
    let collected = store.collect(&request, roots)?;
    write!(context.out, "{}", in_words(&collected, kept, dropped.len(), args.dry_run))?;
    Ok(exit::DONE)
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(exit::STORE, format!("cannot read the runs of the store: {error}"))
}

/// How many runs are kept, and which are not.
fn runs(store: &Store, keep: Option<usize>) -> Result<(usize, Vec<String>), Failure> {
    let names = journal::runs(&store.runs()).map_err(unreadable)?;
    let Some(keep) = keep else { return Ok((names.len(), Vec::new())) };
    let mut kept: BTreeMap<(String, Vec<String>), usize> = BTreeMap::new();
    let mut dropped = Vec::new();
    for name in names.iter().rev() {
        let Some(run) = sum_up(&store.runs(), name).map_err(unreadable)? else { continue };
        // A run of a part cites that part alone, and does not stand for the whole.
        let changed = Kept::by(store, &run).map(|kept| kept.changed()).unwrap_or_default();
        let alike = kept.entry((run.pipeline, changed)).or_default();
        if *alike < keep || run.standing == Standing::Running {
            *alike += 1;
        } else {
            dropped.push(name.clone());
        }
    }
    Ok((names.len() - dropped.len(), dropped))
}

fn in_words(collected: &Collected, kept: usize, dropped: usize, dry_run: bool) -> String {
    let mut text = String::new();
    for (class, tally) in &collected.removed {
        let what = match class {
            Class::Locks => "lock files nobody holds",
            Class::Results => "results",
            Class::Manifests => "manifests",
            Class::Objects => "artifacts",
            Class::Attempts => "folders of attempts that ended",
            Class::Scratch => "folders of checkpoints",
            Class::Bad => "damaged records that were set aside",
            Class::Staging => "half-written records",
            Class::Hints => "hints about declared files that are gone",
        };
        text.push_str(&format!("{:>8}  {what}, {}\n", tally.entries, bytes(tally.bytes)));
    }
    let verb = if dry_run { "would free" } else { "freed" };
    let runs = if dropped == 0 { String::new() } else { format!(", {} forgotten", counted(dropped, "run")) };
    text.push_str(&format!(
        "{verb} {}; {} kept{runs}\n",
        bytes(collected.total().bytes),
        counted(kept, "run")
    ));
    text
}
