//! The process that performs actions.
//!
//! A worker is this program under a hidden subcommand. It reads orders and writes replies, one JSON object a line, and
//! does one action after another until its standard input closes, which happens when its runner dies. All it needs of an
//! action is the digest: the manifest in the store says the rest.

mod protocol;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ablate_stage::cache::{
    ActionDigest, ActionResult, Digest, Object, Provenance, Published, Rehash, Store, StoreError, Watched,
};
use ablate_stage::{
    ArtifactKind, Device, DynStage, Job, JobFiles, Metrics, Registry, Report, StageError, StopFlag,
};
use litemap::LiteMap;

use rustix::process::{getpid, set_child_subreaper};

use crate::journal::{now, now_unix_ms};
use crate::machine::{self, Gpu};
use crate::manifest::Manifest;
pub use protocol::{Order, Reply, Request};

/// Why there is no result.
enum Trouble {
    Failed(String),
    Lost(Vec<Digest>, String),
    Broken(StoreError),
    Held,
    Stopped,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotAFile { .. } => Self::Failed(error.to_string()),
            StoreError::Io { .. }
            | StoreError::Format { .. }
            | StoreError::Missing(_)
            | StoreError::Damaged { .. }
            | StoreError::Busy { .. } => Self::Broken(error),
        }
    }
}

/// Serves the runner at the other end of standard input and output until either closes, or a stage leaves the process in
/// doubt.
///
/// # Errors
/// Where standard output cannot be set apart.
pub fn serve(registry: &Registry, store: &Store) -> io::Result<()> {
    // Whatever stages and libraries print goes to standard error, and so to the log; replies have a descriptor of
    // their own.
    let replies = fs::File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    // An interrupt from the terminal reaches the whole group; the runner alone decides what it means.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    // What a program's guardian leaves behind, because it was killed, comes to this process.
    set_child_subreaper(Some(getpid()))?;
    let stop = StopFlag::default();
    let worker = Worker {
        registry,
        store,
        replies: Arc::new(Mutex::new(replies)),
        stop: stop.clone(),
        pools: Mutex::new(BTreeMap::new()),
    };
    for request in listen(stop) {
        let healthy = worker.perform(&request);
        if !healthy {
            break;
        }
    }
    Ok(())
}

/// The model of a device. It is asked for once.
fn hardware(device: Device) -> Option<String> {
    static PROCESSOR: LazyLock<Option<String>> = LazyLock::new(machine::processor);
    static GPUS: LazyLock<Vec<Gpu>> = LazyLock::new(machine::gpus);
    match device {
        Device::Cpu => PROCESSOR.clone(),
        Device::Cuda(index) => GPUS.get(index as usize).and_then(|gpu| gpu.model.clone()),
    }
}

/// How long a stage may take to checkpoint once the runner is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// Reads orders on a thread of its own, so that a stop is heard during an action, and the end of the runner as well.
fn listen(stop: StopFlag) -> Receiver<Request> {
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Order::Perform(request)) => drop(sender.send(request)),
                Ok(Order::Stop) => stop.raise(),
                Err(_) => break,
            }
        }
        stop.raise();
        drop(sender);
        thread::sleep(ORPHAN_GRACE);
        std::process::exit(0);
    });
    requests
}

struct Worker<'a> {
    registry: &'a Registry,
    store: &'a Store,
    replies: Arc<Mutex<fs::File>>,
    stop: StopFlag,
    /// Thread pools by size. They are kept, because a GPU context may be tied to its thread.
    pools: Mutex<BTreeMap<usize, Arc<rayon::ThreadPool>>>,
}

impl Worker<'_> {
    /// Performs an action and says whether the process is fit for another.
    fn perform(&self, request: &Request) -> bool {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.result(request)));
        let (reply, healthy) = match outcome {
            Ok(Ok((result, performed))) => (Reply::Done { result, performed }, true),
            Ok(Err(Trouble::Failed(error))) => (Reply::Failed(error), true),
            Ok(Err(Trouble::Lost(digests, error))) => (Reply::Lost(digests, error), true),
            Ok(Err(Trouble::Broken(error))) => (Reply::Broken(error.to_string()), true),
            Ok(Err(Trouble::Held)) => (Reply::Held, true),
            Ok(Err(Trouble::Stopped)) => (Reply::Stopped, false),
            Err(panic) => {
                let what = panic.downcast_ref::<String>().map(String::as_str);
                let what =
                    what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no stated reason");
                (Reply::Panicked(format!("the stage panicked, which is a bug in it: {what}")), false)
            }
        };
        send(&self.replies, &reply);
        healthy
    }

    fn result(&self, request: &Request) -> Result<(ActionResult, bool), Trouble> {
        let action = &request.action;
        let lock = self.store.try_lock(action)?.ok_or(Trouble::Held)?;
        if let Some(result) = self.store.result(action) {
            return Ok((result, false));
        }
        let text = self.store.manifest(action);
        let text =
            text.ok_or_else(|| Trouble::Failed("its manifest is not in the store; run again".to_owned()))?;
        let manifest = Manifest::parse(&text).map_err(|error| Trouble::Failed(error.to_string()))?;
        let stage = manifest.stage(self.registry).map_err(|error| Trouble::Failed(error.to_string()))?;
        let device = request.device.parse::<Device>().map_err(|error| Trouble::Failed(error.to_string()))?;
        let mut inputs = self.inputs(&manifest)?;
        self.check_files(&manifest, request, "before the stage began")?;

        let attempt = self.store.attempt(&lock)?;
        let ports = stage.outputs();
        let outputs = ports.iter().map(|port| {
            (port.name.clone(), attempt.path().join(format!("{}.{}", port.name, port.kind.extension())))
        });
        let mut kin = self.kin(stage.as_ref(), request.kin);
        let path = |(port, object): (&String, &Watched)| (port.clone(), object.path().to_owned());
        let files = JobFiles {
            inputs: inputs.iter().map(path).collect(),
            outputs: outputs.collect(),
            kin: kin.as_ref().map(|kin| kin.path().to_owned()),
            scratch: self.store.scratch(action),
            project: request.project.clone(),
            hold: Some(Arc::new(
                lock.share()
                    .map_err(|error| Trouble::Failed(format!("its lock cannot be handed on: {error}")))?,
            )),
        };
        let outputs = files.outputs.clone();
        send(&self.replies, &Reply::Started);
        let hardware = hardware(device);
        let started_unix_ms = now_unix_ms();
        let clock = Instant::now();
        reset_peak_memory();
        let programs_mib = self.run(stage, files, manifest.seed.unwrap_or(0), device, request.threads)?;
        let provenance = Provenance {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            device: request.device.clone(),
            hardware,
            threads: request.threads,
            started_unix_ms,
            duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            peak_memory_mib: peak_memory_mib() + programs_mib,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: request.commit.clone(),
        };
        let mut metrics = LiteMap::new();
        for port in &ports {
            let path = &outputs[&port.name];
            make_readable(path);
            let bad = |reason: String| Trouble::Failed(format!("output `{}`: {reason}", port.name));
            port.kind.check(path).map_err(|error| bad(error.to_string()))?;
            if port.kind == ArtifactKind::Metrics {
                for (name, &value) in Metrics::read(path).map_err(|error| bad(error.to_string()))?.values() {
                    if metrics.insert(name.clone(), value).is_some() {
                        return Err(bad(format!("another output has a metric `{name}` as well; rename one")));
                    }
                }
            }
        }
        self.check_files(&manifest, request, "while the stage ran")?;
        self.check_inputs(inputs.values_mut().chain(&mut kin))?;
        let _pin = self.store.pin()?;
        let mut objects: LiteMap<String, Object> = LiteMap::new();
        for (port, path) in outputs {
            objects.insert(port, self.store.insert_file(&path)?);
        }
        let result = ActionResult { outputs: objects, metrics, provenance };
        let published = self.store.publish(action, &result)?;
        // The result stands; what stays of its checkpoints is for gc.
        self.store.clear_scratch(action).unwrap_or(());
        Ok(match published {
            Published::First => (result, true),
            // The record of an earlier time, whose objects were lost and are now back.
            Published::Adopted(standing) => (standing, true),
        })
    }

    fn inputs(&self, manifest: &Manifest) -> Result<BTreeMap<String, Watched>, Trouble> {
        let mut inputs = BTreeMap::new();
        let (mut lost, mut why) = (Vec::new(), Vec::new());
        for (port, digest) in &manifest.inputs {
            match self.store.watch(digest) {
                Ok(object) => drop(inputs.insert(port.clone(), object)),
                Err(error @ (StoreError::Missing(_) | StoreError::Damaged { .. })) => {
                    lost.push(*digest);
                    why.push(format!("input `{port}`: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if lost.is_empty() { Ok(inputs) } else { Err(Trouble::Lost(lost, why.join("; "))) }
    }

    /// What others, or the stage itself, did to what it read may be in the result.
    fn check_inputs<'a>(&self, inputs: impl Iterator<Item = &'a mut Watched>) -> Result<(), Trouble> {
        for object in inputs {
            if !object.is_unaltered().unwrap_or(false) {
                let digest = *object.digest();
                // Sets it aside, unless that was done already.
                drop(self.store.verified(&digest));
                let why = format!(
                    "{} was altered while the stage ran; nothing was cached",
                    object.path().display()
                );
                return Err(Trouble::Lost(vec![digest], why));
            }
        }
        Ok(())
    }

    /// Sees to it that the declared files hold what the key says.
    fn check_files(&self, manifest: &Manifest, request: &Request, when: &str) -> Result<(), Trouble> {
        let rehash = if request.rehash { Rehash::All } else { Rehash::Changed };
        for (name, digest) in &manifest.files {
            let path = request.project.join(name);
            let found = self.store.content_of(&path, rehash, now());
            let path = path.display();
            let found = found.map_err(|error| {
                Trouble::Failed(format!("{path} could not be read {when}: {error}; nothing was cached"))
            })?;
            if found != *digest {
                return Err(Trouble::Failed(format!(
                    "{path} was changed {when}; nothing was cached, run again"
                )));
            }
        }
        Ok(())
    }

    /// The artifact of a stage's kin; without it the stage works longer, and no worse.
    fn kin(&self, stage: &dyn DynStage, action: Option<ActionDigest>) -> Option<Watched> {
        let result = self.store.result(&action?)?;
        let object = result.outputs.get(stage.kin()?.output)?;
        self.store.watch(&object.digest).ok()
    }

    /// Has a stage do its work; returns the most memory that programs it started took up, in MiB.
    fn run(
        &self,
        stage: Box<dyn DynStage>,
        files: JobFiles,
        seed: u64,
        device: Device,
        threads: usize,
    ) -> Result<u64, Trouble> {
        let replies = self.replies.clone();
        let stop = self.stop.clone();
        let pool = self.pool(threads)?;
        let outcome = pool.install(move || {
            let mut last_progress: HashMap<String, Instant> = HashMap::new();
            let mut programs_mib = 0;
            let mut report = |report: Report| {
                let reply = match report {
                    Report::Progress(progress) => {
                        let last = last_progress.get(&progress.subject());
                        let soon = last.is_some_and(|at| at.elapsed() < Duration::from_millis(100));
                        if soon && progress.done < progress.total {
                            return;
                        }
                        last_progress.insert(progress.subject(), Instant::now());
                        Reply::Progress(progress)
                    }
                    Report::Resumed(from) => Reply::Resumed(from),
                    Report::Line(line) => Reply::Line(line),
                    Report::Memory(mib) => {
                        programs_mib = programs_mib.max(mib);
                        return;
                    }
                };
                send(&replies, &reply);
            };
            let outcome = stage.run(&mut Job::new(files, seed, device, threads, stop, &mut report));
            outcome.map(|()| programs_mib)
        });
        match outcome {
            Ok(programs_mib) => Ok(programs_mib),
            Err(StageError::Stopped) => Err(Trouble::Stopped),
            Err(error) => Err(Trouble::Failed(error.to_string())),
        }
    }

    fn pool(&self, threads: usize) -> Result<Arc<rayon::ThreadPool>, Trouble> {
        let mut pools = self.pools.lock().expect("no thread panics while it holds the pools");
        if let Some(pool) = pools.get(&threads) {
            return Ok(pool.clone());
        }
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(16 << 20);
        let pool =
            builder.build().map_err(|error| Trouble::Failed(format!("cannot start threads: {error}")))?;
        Ok(pools.entry(threads).or_insert(Arc::new(pool)).clone())
    }
}

/// Tells the runner. A runner that does not listen any more is gone, and there is nobody left to work for.
fn send(replies: &Mutex<fs::File>, reply: &Reply) {
    let line = serde_json::to_string(reply).expect("a reply is plain data") + "\n";
    let mut replies = replies.lock().expect("no thread panics while it writes a reply");
    if replies.write_all(line.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Lets this user read an output of theirs, whatever mode a program gave it.
fn make_readable(output: &Path) {
    if let Ok(meta) = fs::symlink_metadata(output)
        && meta.is_file()
        && meta.mode() & 0o400 == 0
    {
        // Where that cannot be, opening it says why.
        fs::set_permissions(output, fs::Permissions::from_mode(meta.mode() | 0o400)).ok();
    }
}

/// Lowers the high-water mark of resident memory to what is resident now (`proc_pid_clear_refs(5)`). Where the kernel has no
/// such file, the mark is that of the whole process.
fn reset_peak_memory() {
    drop(fs::write("/proc/self/clear_refs", "5"));
}

fn peak_memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_stage::{Port, Progress, Request as Resources, Stage};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    /// Does as its field says.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Fake {
        act: Act,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    enum Act {
        Write,
        Print,
        Panic,
        Stop,
        Repeat,
    }

    impl Stage for Fake {
        const KIND: &'static str = "Fake";
        const REVISION: u32 = 1;
        const SEEDED: bool = true;

        fn inputs(&self) -> Vec<Port> {
            Vec::new()
        }

        fn outputs(&self) -> Vec<Port> {
            vec![Port::required("one", ArtifactKind::Metrics), Port::required("two", ArtifactKind::Metrics)]
        }

        fn request(&self) -> Resources {
            Resources::ALL_CPUS
        }

        fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
            let mut metrics = Metrics::default();
            metrics.insert("seed", job.seed() as f64);
            metrics.insert("threads", rayon::current_num_threads() as f64);
            metrics.write(job.output("one"))?;
            let mut metrics = Metrics::default();
            metrics.insert("other", 0.5);
            match self.act {
                Act::Write => {}
                Act::Print => {
                    job.resumed("epoch 1");
                    (0..=100).for_each(|step| job.progress(Progress::of(step, 100, "step")));
                    job.log("a line");
                }
                Act::Panic => panic!("index {} is wrong", 7),
                Act::Stop => return Err(StageError::Stopped),
                Act::Repeat => metrics.insert("seed", 1.0),
            }
            metrics.write(job.output("two"))
        }
    }

    /// Has a worker do as it says, and tells the replies and whether the worker is fit for more.
    fn perform(store: &Store, act: Act) -> (Vec<Reply>, bool) {
        let registry = Registry::new().with::<Fake>();
        let manifest = Manifest::new(&Fake { act }, Some(3), BTreeMap::new(), BTreeMap::new());
        let replies = tempfile::NamedTempFile::new().unwrap();
        let worker = Worker {
            registry: &registry,
            store,
            replies: Arc::new(Mutex::new(replies.reopen().unwrap())),
            stop: StopFlag::default(),
            pools: Mutex::default(),
        };
        let action = store.put_manifest(&manifest.to_string()).unwrap();
        let project = store.root().to_owned();
        let healthy = worker.perform(&Request {
            action,
            project,
            commit: None,
            device: "cpu".to_owned(),
            threads: 2,
            kin: None,
            rehash: false,
        });
        let told = fs::read_to_string(replies.path()).unwrap();
        (told.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), healthy)
    }

    fn new_store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    #[test]
    fn an_action_is_performed_once_and_then_adopted() {
        let (_dir, store) = new_store();
        let (told, healthy) = perform(&store, Act::Write);
        assert!(healthy);
        let [Reply::Started, Reply::Done { result, performed: true }] = told.as_slice() else {
            panic!("{told:?}")
        };
        let metrics =
            [("other", 0.5), ("seed", 3.0), ("threads", 2.0)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(result.metrics, LiteMap::from_iter(metrics));
        assert_eq!(result.outputs.keys().collect::<Vec<_>>(), ["one", "two"]);
        let (told, _) = perform(&store, Act::Write);
        assert_eq!(told, [Reply::Done { result: result.clone(), performed: false }]);
    }

    #[test]
    fn what_a_stage_tells_is_passed_on_and_thinned_out() {
        let (_dir, store) = new_store();
        let (told, _) = perform(&store, Act::Print);
        let progress = |done| Reply::Progress(Progress::of(done, 100, "step"));
        assert_eq!(told[1..3], [Reply::Resumed("epoch 1".to_owned()), progress(0)]);
        assert_eq!(told[told.len() - 3..told.len() - 1], [progress(100), Reply::Line("a line".to_owned())]);
        assert!(told.len() < 90, "{told:?}");
    }

    #[test]
    fn an_output_may_be_of_any_mode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o020)).unwrap();
        make_readable(file.path());
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o420);
    }

    #[test]
    fn a_panic_is_a_failure_and_ends_the_worker() {
        let (_dir, store) = new_store();
        let (told, healthy) = perform(&store, Act::Panic);
        let error = "the stage panicked, which is a bug in it: index 7 is wrong".to_owned();
        assert_eq!((told, healthy), (vec![Reply::Started, Reply::Panicked(error)], false));
    }

    #[test]
    fn a_stage_that_stops_leaves_no_result() {
        let (_dir, store) = new_store();
        assert_eq!(perform(&store, Act::Stop), (vec![Reply::Started, Reply::Stopped], false));
    }

    #[test]
    fn a_metric_has_one_value() {
        let (_dir, store) = new_store();
        let error = "output `two`: another output has a metric `seed` as well; rename one".to_owned();
        assert_eq!(perform(&store, Act::Repeat).0[1], Reply::Failed(error));
    }
}
