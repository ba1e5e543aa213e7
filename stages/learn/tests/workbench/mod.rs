//! A workbench: a folder with artifacts in it, where stages are run and their outputs checked as the engine checks them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate_learn::artifacts::Embeddings;
use ablate_stage::cache::Digest;
use ablate_stage::{Device, Job, JobFiles, Progress, Report, Stage, StageError, StopFlag};

/// A folder with artifacts in it: inputs are files named as ports, and the outputs of a run are in a folder of their own.
pub struct Workbench {
    folder: tempfile::TempDir,
}

/// How a stage is run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The folder of its outputs and checkpoints; one named as the stage kind where it is empty.
    pub out: &'a str,
    /// The artifacts of ports that are not files named as these.
    pub inputs: &'a [(&'a str, &'a str)],
    pub seed: u64,
    pub threads: usize,
    /// The report of progress at which it is asked to stop.
    pub stop_at: usize,
}

impl<'a> Run<'a> {
    const PLAIN: Self = Self { out: "", inputs: &[], seed: 7, threads: 2, stop_at: usize::MAX };

    pub fn into(out: &'a str, threads: usize) -> Self {
        Self { out, threads, ..Self::PLAIN }
    }

    pub fn of(inputs: &'a [(&'a str, &'a str)], threads: usize) -> Self {
        Self { inputs, threads, ..Self::PLAIN }
    }
}

/// What a run came to, and what it told.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<(), StageError>,
    pub progress: Vec<Progress>,
    pub resumed: Vec<String>,
}

impl Outcome {
    /// For runs that are to succeed.
    #[track_caller]
    pub fn done(self) -> Self {
        self.result.as_ref().unwrap();
        self
    }

    /// The error's message, for runs that are to fail.
    #[track_caller]
    pub fn message(self) -> String {
        self.result.unwrap_err().to_string()
    }
}

impl Workbench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run<S: Stage>(&self, stage: &S, run: Run<'_>) -> Outcome {
        assert_eq!(stage.validate(), []);
        let out = self.path(if run.out.is_empty() { S::KIND } else { run.out });
        let scratch = out.join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let file = |port: &str| {
            run.inputs.iter().find(|(of, _)| *of == port).map_or(port.to_owned(), |to| to.1.to_owned())
        };
        let inputs = stage.inputs().into_iter().map(|port| (port.name.clone(), self.path(&file(&port.name))));
        let outputs = stage.outputs().into_iter().map(|port| (port.name.clone(), out.join(&port.name)));
        let files = JobFiles {
            kin: None,
            inputs: inputs.filter(|(_, path)| path.exists()).collect(),
            outputs: outputs.collect(),
            scratch,
            project: self.folder.path().to_owned(),
            hold: None,
        };
        let stop = StopFlag::default();
        let (mut progress, mut resumed) = (Vec::new(), Vec::new());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(run.threads).build().unwrap();
        let result = pool.install(|| {
            let mut report = |report| match report {
                Report::Progress(told) => {
                    progress.push(told);
                    if progress.len() == run.stop_at {
                        stop.raise();
                    }
                }
                Report::Resumed(from) => resumed.push(from),
                Report::Line(_) | Report::Memory(_) => {}
            };
            stage.run(&mut Job::new(files, run.seed, Device::Cpu, run.threads, stop.clone(), &mut report))
        });
        if result.is_ok() {
            for port in stage.outputs() {
                port.kind.check(&out.join(&port.name)).unwrap();
            }
        }
        Outcome { result, progress, resumed }
    }

    /// Makes an artifact of a run an input of later ones.
    pub fn keep(&self, out: &str, port: &str) {
        std::fs::copy(self.path(out).join(port), self.path(port)).unwrap();
    }

    /// The digests of a run's outputs, by port.
    pub fn digests(&self, stage: &impl Stage, out: &str) -> BTreeMap<String, Digest> {
        let digest = |port: &str| Digest::of_file(&self.path(out).join(port)).unwrap();
        stage.outputs().into_iter().map(|port| (port.name.clone(), digest(&port.name))).collect()
    }
}

/// Embeddings around a centre a class, of which every fifth is held out and every seventh has no label.
pub fn write_embeddings(path: &Path, samples: usize, dim: usize, classes: usize) {
    let value = |i: usize, j: usize| {
        let centre = ((i % classes) as f32 * 1.7 + j as f32 * 0.9).sin();
        let noise = ((i * 131 + j * 17) as f32 * 0.618).sin();
        centre + 0.8 * noise
    };
    let unlabelled = |i: usize| i % 7 == 6;
    let embeddings = Embeddings {
        values: (0..samples * dim).map(|at| value(at / dim, at % dim)).collect(),
        dim,
        labels: (0..samples).map(|i| if unlabelled(i) { -1 } else { (i % classes) as i64 }).collect(),
        split: (0..samples).map(|i| if unlabelled(i) { 2 } else { u8::from(i % 5 == 4) }).collect(),
    };
    embeddings.write(path).unwrap();
}

/// Kind, revision, and digest of each output of a run: what a golden run records.
pub fn golden<S: Stage>(bench: &Workbench, stage: &S, out: &str) -> String {
    let digests = bench.digests(stage, out).into_iter();
    let digests = digests.map(|(port, digest)| format!(" {port} {}", digest.short()));
    format!("{} {}{}", S::KIND, S::REVISION, digests.collect::<String>())
}
