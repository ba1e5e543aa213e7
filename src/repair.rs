//! Making actions again whose results were damaged.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ablate_stage::cache::{ActionDigest, Store};

use crate::worker::{Order, Reply, Request};

/// What became of an attempt to make an action again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remade {
    /// It has its result again.
    Done,
    /// It has not.
    Failed(String),
}

/// Performs actions from their manifests alone, on the processor. Those that need others' artifacts come after them: what
/// fails is tried again as long as something else succeeds.
///
/// # Errors
/// Where a worker cannot be started.
pub fn repair(
    store: &Store,
    project: &Path,
    actions: &BTreeSet<ActionDigest>,
) -> io::Result<Vec<(ActionDigest, Remade)>> {
    let mut open: Vec<ActionDigest> = actions.iter().copied().collect();
    let mut told = Vec::new();
    loop {
        let mut failed = Vec::new();
        let count = open.len();
        for action in open {
            match perform(store, project, action)? {
                Remade::Done => told.push((action, Remade::Done)),
                Remade::Failed(why) => failed.push((action, why)),
            }
        }
        if failed.is_empty() || failed.len() == count {
            told.extend(failed.into_iter().map(|(action, why)| (action, Remade::Failed(why))));
            return Ok(told);
        }
        open = failed.into_iter().map(|(action, _)| action).collect();
    }
}

/// How long an action is left to another process before it is asked for again.
const HELD: Duration = Duration::from_millis(50);

/// Has a worker of its own perform an action.
fn perform(store: &Store, project: &Path, action: ActionDigest) -> io::Result<Remade> {
    let mut worker = Command::new(PathBuf::from("/proc/self/exe"))
        .arg("worker")
        .arg("--store")
        .arg(store.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let request = Request {
        action,
        project: project.to_owned(),
        commit: None,
        device: "cpu".to_owned(),
        threads,
        kin: None,
        rehash: false,
    };
    let mut orders = worker.stdin.take().expect("standard input is piped");
    let order = serde_json::to_string(&Order::Perform(request)).expect("an order is plain data");
    if writeln!(orders, "{order}").is_err() {
        worker.wait()?;
        return Ok(Remade::Failed("its worker died".to_owned()));
    }
    let replies = BufReader::new(worker.stdout.take().expect("standard output is piped"));
    let mut ended = Remade::Failed("its worker died".to_owned());
    for line in replies.lines() {
        ended = match serde_json::from_str(&line?) {
            Ok(Reply::Done { .. }) => Remade::Done,
            Ok(
                Reply::Failed(error) | Reply::Panicked(error) | Reply::Lost(_, error) | Reply::Broken(error),
            ) => Remade::Failed(error),
            Ok(Reply::Stopped) => Remade::Failed("it was stopped".to_owned()),
            Ok(Reply::Held) => {
                std::thread::sleep(HELD);
                writeln!(orders, "{order}")?;
                continue;
            }
            Ok(Reply::Started | Reply::Resumed(_) | Reply::Progress(_) | Reply::Line(_)) | Err(_) => {
                continue;
            }
        };
        break;
    }
    drop(orders);
    worker.wait()?;
    Ok(ended)
}
