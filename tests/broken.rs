//! What the program says of the quickstart, broken in the ten ways that people break pipelines.
#![cfg(feature = "learn")]

mod common;

use common::Project;

const QUICKSTART: &str = include_str!("../pipelines/quickstart.ron");

/// What `ablate check` says of the quickstart with one piece replaced, which stands there once.
#[track_caller]
fn check(from: &str, to: &str) -> String {
    assert_eq!(QUICKSTART.matches(from).count(), 1, "{from}");
    let project = Project::new();
    project.write("p.ron", QUICKSTART.replace(from, to));
    project.expect(3, &["check", "p.ron"]).stderr
}

#[test]
fn a_slip_in_a_field() {
    insta::assert_snapshot!(check("epochs: 3,", "epocs: 3,"));
}

#[test]
fn a_value_of_the_wrong_type() {
    insta::assert_snapshot!(check("KnnGraph(k: 10)", "KnnGraph(k: 4.5)"));
}

#[test]
fn a_missing_wire() {
    insta::assert_snapshot!(check(
        r#"from: {"embeddings": "raw", "graph": "graph"},"#,
        r#"from: {"embeddings": "raw"},"#
    ));
}

#[test]
fn a_cycle() {
    insta::assert_snapshot!(check(
        r#"KnnGraph(k: 10), from: {"embeddings": "raw"}"#,
        r#"KnnGraph(k: 10), from: {"embeddings": "refined"}"#
    ));
}

#[test]
fn a_key_written_twice() {
    insta::assert_snapshot!(check(
        r#""pixels": (stage: Embed(layer: Pixels)"#,
        r#""raw": (stage: Embed(layer: Pixels)"#
    ));
}

#[test]
fn not_a_number() {
    insta::assert_snapshot!(check("lr: 0.002", "lr: NaN"));
}

#[test]
fn an_unknown_stage_kind() {
    insta::assert_snapshot!(check("KnnGraph(k: 10)", "KnnGraf(k: 10)"));
}

#[test]
fn an_axis_that_leads_nowhere() {
    insta::assert_snapshot!(check(r#""encoder.method""#, r#""encoder.metod""#));
}

#[test]
fn an_artifact_of_the_wrong_kind() {
    insta::assert_snapshot!(check(
        r#"(stage: ClusterEval(), from: {"assignment": "clusters"})"#,
        r#"(stage: ClusterEval(), from: {"assignment": "graph"})"#
    ));
}

#[test]
fn a_missing_parenthesis() {
    insta::assert_snapshot!(check(r#"KnnGraph(k: 10), from"#, r#"KnnGraph(k: 10, from"#));
}
