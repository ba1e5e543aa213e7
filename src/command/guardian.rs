//! The process between a worker and a program. It ends with the program, and takes with it all that the program has started,
//! whatever the worker comes to: nobody is left who writes to checkpoints that another attempt goes on from.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitCode};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process,
    kill_process_group, set_child_subreaper, set_parent_process_death_signal, setrlimit, wait,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Has the guardian kill everything and end. The kernel sends it when the worker is gone.
pub const END: Signal = Signal::USR2;

/// How long a program and what it has started may take to checkpoint after SIGTERM.
pub const GRACE: Duration = Duration::from_millis(1500);

/// How long what was killed is given to be gone before it is looked for again.
const PAUSE: Duration = Duration::from_millis(2);

/// Runs a program for `parent`, which must be this process' parent, until it ends or [`END`] comes, and ends as it does. It leads a
/// group of its own, to which SIGTERM, SIGINT and SIGHUP are passed on; after SIGTERM, all that it has started may take
/// [`GRACE`]. Standard input, which is the lock of the action, is handed on: whoever is left holds the action.
///
/// # Errors
/// Where the program cannot be run, or the parent is gone.
pub fn guard(parent: u32, argv: &[OsString]) -> io::Result<ExitCode> {
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
    set_child_subreaper(Some(getpid()))?;
    tie(parent, END)?;
    let mut child = Command::new("/proc/self/exe");
    let child = child.arg0("ablate").args(["exec", "tied", &process::id().to_string(), "--"]).args(argv);
    let program = Pid::from_child(&child.process_group(0).spawn()?);
    let mut status = None;
    let mut is_to_stop = false;
    for signal in signals.forever() {
        match signal {
            SIGUSR2 => break,
            SIGCHLD => {
                let (ended, is_alone) = reap(program);
                status = status.or(ended);
                if status.is_some() && (is_alone || !is_to_stop) {
                    break;
                }
            }
            passed_on => {
                let signal = match passed_on {
                    SIGTERM => Signal::TERM,
                    SIGINT => Signal::INT,
                    _ => Signal::HUP,
                };
                // A group that is gone needs no signal; one that was stopped hears it when it goes on.
                kill_process_group(program, signal).ok();
                kill_process_group(program, Signal::CONT).ok();
                if signal == Signal::TERM && !is_to_stop {
                    is_to_stop = true;
                    thread::spawn(|| {
                        thread::sleep(GRACE);
                        kill_process(getpid(), END).ok();
                    });
                }
            }
        }
    }
    kill_descendants();
    Ok(end_like(status))
}

/// Becomes a program, which dies with `parent`, this process' parent. Only returns if it cannot.
pub fn exec_tied(parent: u32, argv: &[OsString]) -> io::Error {
    if let Err(error) = tie(parent, Signal::KILL) {
        return error;
    }
    match argv {
        [] => io::Error::other("there is no program to run"),
        [program, arguments @ ..] => Command::new(program).args(arguments).exec(),
    }
}

/// Has the kernel send a signal when the parent is gone.
fn tie(parent: u32, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))?;
    // Had the parent died before that, nobody would tell.
    if getppid().is_none_or(|pid| pid.as_raw_nonzero().get().cast_unsigned() != parent) {
        return Err(io::Error::other("its parent is gone"));
    }
    Ok(())
}

/// Takes in what has ended: how `program` did if it is among it, and whether nobody is left.
fn reap(program: Pid) -> (Option<WaitStatus>, bool) {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => found = found.or((pid == program).then_some(status)),
            Err(Errno::INTR) => {}
            Ok(None) => return (found, false),
            Err(_) => return (found, true),
        }
    }
}

/// Kills until this process, a subreaper, has no child left; those whose parents were killed become its children.
pub fn kill_descendants() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                // Who is gone by now needs no signal.
                for child in children(getpid()) {
                    kill_process(child, Signal::KILL).ok();
                }
                thread::sleep(PAUSE);
            }
            Err(_) => return,
        }
    }
}

/// The processes whose parent `of` is.
fn children(of: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|&pid| parent(pid) == Some(of)).collect()
}

/// The parent of a process (`proc_pid_stat(5)`: the second field after the name, which may hold anything).
fn parent(of: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
    Pid::from_raw(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?)
}

/// Ends as a program did; as one that was killed, where there is none.
fn end_like(status: Option<WaitStatus>) -> ExitCode {
    if let Some(code) = status.and_then(WaitStatus::exit_status) {
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    // The program has left its core; this process has nothing to show.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).ok();
    emulate_default_handler(status.and_then(WaitStatus::terminating_signal).unwrap_or(SIGKILL)).ok();
    ExitCode::FAILURE
}

/// The memory that the descendants of a process take up, in MiB: the sum of their proportional shares (`Pss` in
/// `proc_pid_smaps(5)`), in which what several share counts once.
pub fn memory_mib(of: Pid) -> u64 {
    let (mut open, mut kib) = (vec![of], 0);
    while let Some(pid) = open.pop() {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)));
        }
        if pid != of {
            let shares = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let share = shares.lines().find_map(|line| line.strip_prefix("Pss:"));
            let share = share.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            kib += share.unwrap_or(0);
        }
    }
    kib.div_ceil(1024)
}
