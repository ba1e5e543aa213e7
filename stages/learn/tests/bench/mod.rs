//! Runs a stage on a workbench: inputs written to a folder, outputs checked as the engine checks them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate_learn::artifacts::Embeddings;
use ablate_stage::cache::Digest;
use ablate_stage::{Device, Job, JobFiles, Stage, StageError, StopFlag};

/// A folder with artifacts in it.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a stage with `inputs` (port, file) on `threads` threads. Its outputs are `{kind}.{port}`, its checkpoints stay.
    pub fn run<S: Stage + Sync>(
        &self,
        stage: &S,
        inputs: &[(&str, &str)],
        threads: usize,
    ) -> Result<(), StageError> {
        self.run_until(stage, inputs, threads, usize::MAX)
    }

    /// As [`run`](Self::run), asked to stop after `reports` reports.
    pub fn run_until<S: Stage + Sync>(
        &self,
        stage: &S,
        inputs: &[(&str, &str)],
        threads: usize,
        reports: usize,
    ) -> Result<(), StageError> {
        assert_eq!(stage.validate(), []);
        let scratch = self.path(&format!("{}.scratch", S::KIND));
        std::fs::create_dir_all(&scratch).unwrap();
        let files = JobFiles {
            inputs: inputs.iter().map(|(port, file)| ((*port).to_owned(), self.path(file))).collect(),
            outputs: stage
                .outputs()
                .into_iter()
                .map(|port| (port.name.clone(), self.output::<S>(&port.name)))
                .collect(),
            scratch,
            project: self.folder.path().to_owned(),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let stop = StopFlag::default();
            let mut seen = 0;
            let mut report = |_| {
                seen += 1;
                if seen >= reports {
                    stop.raise();
                }
            };
            stage.run(&mut Job::new(files, 7, Device::Cpu, threads, stop.clone(), &mut report))
        })?;
        for port in stage.outputs() {
            port.kind.check(&self.output::<S>(&port.name)).unwrap();
        }
        Ok(())
    }

    pub fn output<S: Stage>(&self, port: &str) -> PathBuf {
        self.path(&format!("{}.{port}", S::KIND))
    }

    /// The digests of a stage's outputs, by port.
    pub fn digests<S: Stage>(&self, stage: &S) -> BTreeMap<String, String> {
        let digest = |port: &str| Digest::of_file(&self.output::<S>(port)).unwrap().short();
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
