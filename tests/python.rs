//! What Python makes of exported artifacts. Runs where `ABLATE_PYTHON` names a Python that has numpy, pyarrow and
//! safetensors; with torch and torchvision it compares networks as well.
#![cfg(all(feature = "learn", feature = "tables"))]

mod common;

use std::process::Command;

use common::Project;

const PIPELINE: &str = r#"Pipeline(
    name: "interop",
    stages: {
        "images": (stage: Images(source: FashionMnistMini, train: 200, test: 100)),
        "encoder": (
            stage: Pretrain(method: SimClr(), backbone: ResNet18(stem: ImageNet), epochs: 1, batch: 50),
            from: {"images": "images"},
        ),
        "features": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),
        "graph": (stage: KnnGraph(k: 5), from: {"embeddings": "features"}),
        "probe": (stage: LinearEval(repeats: 1), from: {"embeddings": "features"}),
    },
)"#;

#[test]
fn exported_artifacts_open_in_python_and_networks_agree() {
    #[expect(clippy::disallowed_methods, reason = "where Python is depends on the machine")]
    let Some(python) = std::env::var_os("ABLATE_PYTHON") else {
        eprintln!("skipped: ABLATE_PYTHON is not set");
        return;
    };
    let project = Project::new();
    project.write("p.ron", PIPELINE);
    project.expect(0, &["run", "p.ron"]);
    for (artifact, file) in [
        ("images", "images.safetensors"),
        ("encoder.encoder", "encoder.safetensors"),
        ("encoder.curve", "curve.parquet"),
        ("features", "features.safetensors"),
        ("graph.graph", "graph.safetensors"),
        ("probe.metrics", "metrics.json"),
        ("probe.predictions", "predictions.parquet"),
    ] {
        project.expect(0, &["get", "p.ron", artifact, "--to", file]);
    }
    project.expect(0, &["table", "p.ron", "--trials", "--to", "trials.parquet"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop.py");
    let output = Command::new(python).arg(script).arg(project.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("open formats: ok"), "{said}");
    eprintln!("{said}");
}
