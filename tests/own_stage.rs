//! A stage kind of one's own, as the book shows it, from file to artifact.

use std::collections::BTreeMap;

use ablate::expand::expand;
use ablate::pipeline;
use ablate::source::SourceMap;
use ablate_stage::{Device, Job, JobFiles, Registry, StopFlag, TensorData, Tensors};

// ANCHOR: stage
use ablate_stage::{ArtifactKind, FieldError, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps the first dimensions of embeddings.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Truncate {
    /// How many dimensions to keep.
    dims: usize,
}

impl Stage for Truncate {
    const KIND: &'static str = "Truncate";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let wrong = (self.dims == 0).then(|| FieldError::new("dims", "must be at least 1, is 0"));
        wrong.into_iter().collect()
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let tensors = Tensors::read(job.input("embeddings")?)?;
        let split = tensors.u8("split")?.to_vec();
        let dims = tensors.get("embeddings")?.shape()[1];
        if self.dims > dims {
            return Err(StageError::input(
                "embeddings",
                format!("it has {dims} dimensions, fewer than {}", self.dims),
            ));
        }
        let rows = tensors.f32("embeddings")?.chunks(dims);
        let kept = rows.flat_map(|row| row[..self.dims].to_vec()).collect();
        Tensors::new()
            .with("embeddings", &[split.len(), self.dims], TensorData::F32(kept))
            .with("split", &[split.len()], TensorData::U8(split))
            .write(job.output("embeddings"))
    }
}
// ANCHOR_END: stage

#[test]
fn a_kind_of_ones_own_is_read_checked_and_run() {
    let text = r#"Pipeline(name: "own", stages: {"short": (stage: Truncate(dims: 0))})"#;
    let mut sources = SourceMap::new();
    let source = sources.add("own.ron", text);
    let registry = Registry::new().with::<Truncate>();
    let errors =
        pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &registry)).err().unwrap();
    let told = errors.render(&sources);
    assert!(told.contains("must be at least 1, is 0") && told.contains("own.ron:1:64"), "{told}");

    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    Tensors::new()
        .with("embeddings", &[2, 3], TensorData::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .with("split", &[2], TensorData::U8(vec![0, 1]))
        .write(&from)
        .unwrap();
    let files = JobFiles {
        inputs: BTreeMap::from([("embeddings".to_owned(), from)]),
        outputs: BTreeMap::from([("embeddings".to_owned(), to.clone())]),
        ..JobFiles::default()
    };
    let mut report = |_| ();
    let mut job = Job::new(files, 0, Device::Cpu, 1, StopFlag::default(), &mut report);
    Truncate { dims: 2 }.run(&mut job).unwrap();
    ArtifactKind::Embeddings.check(&to).unwrap();
    assert_eq!(Tensors::read(&to).unwrap().f32("embeddings").unwrap(), [1.0, 2.0, 4.0, 5.0]);
}
