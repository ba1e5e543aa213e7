//! Kinds of artifact, their formats, and the check every output passes before it is cached.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Metrics, Tensors};

/// What an artifact is. A wire may only join an output to an input of the same kind.
///
/// `N` images, `C` channels, `D` dimensions, `E` edges, `K` clusters. Rows are in data-set order throughout, and every
/// artifact about images carries `split` u8 \[N\] (see [`Split`]) and, where labels exist, `labels` i64 \[N\] with −1 for
/// "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ArtifactKind {
    /// safetensors: `images` u8 \[N, H, W, C\], `labels` i64 \[N\], `split` u8 \[N\]; metadata `name`, `classes` (JSON list). Where
    /// images have names: `paths` u8 \[P\], one after the other, and `path_ends` i64 \[N\], where each ends.
    ///
    /// Where the images stay in their files, in place of `images`: `paths` below a folder, `digests` u8 \[N, 32\], BLAKE3 of each
    /// file, `sizes` i64 \[N, 2\], height and width; metadata `folder`, `resize` and `stats` (JSON).
    Images,
    /// safetensors: weights under PyTorch names (`backbone.`, `projector.`, `predictor.`, `cluster_head.` prefixes);
    /// metadata `architecture` and `preprocess` (JSON).
    Encoder,
    /// safetensors: `embeddings` f32 \[N, D\], `split` u8 \[N\], and where they exist `labels` i64 \[N\].
    Embeddings,
    /// safetensors: `edge_index` i64 \[2, E\] (row 0 source, row 1 target, as in PyTorch Geometric), `edge_weight` f32 \[E\],
    /// `split` u8 \[N\]; metadata `num_nodes`.
    Graph,
    /// safetensors: `cluster` i64 \[N\], `split` u8 \[N\], and where they exist `probabilities` f32 \[N, K\] and `labels` i64 \[N\];
    /// metadata `num_clusters`.
    Assignment,
    /// Parquet, one row per sample, with `split`, `label` and `prediction` (i64, −1 for none) where these are classes.
    Predictions,
    /// Parquet, one row per epoch (or step): the learning curve.
    Curve,
    /// Parquet, one row per sample shown: its place in the plane, `x` and `y` (f64), its `row` in the data set, `split` and
    /// `label` (i64, −1 where unknown), and where they exist `cluster` (i64).
    Points,
    /// Parquet, one row per entry of a matrix: what its `row` and its `column` are called (text), in the order of their first
    /// appearances, each pair once, and its `value` (f64). What is not there is 0.
    Matrix,
    /// JSON object of finite numbers.
    Metrics,
    /// Text: a table of comma-separated values, with a line of names.
    Csv,
    /// A picture for people to look at.
    Png,
    /// A page for people to look at, whole in itself.
    Html,
    /// Any non-empty file.
    File,
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A named input or output of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name wires use.
    pub name: String,
    /// What flows through it.
    pub kind: ArtifactKind,
    /// For an input: whether a stage may go without it. Outputs are always required.
    pub optional: bool,
}

impl Port {
    /// A port that must be there.
    pub fn required(name: &str, kind: ArtifactKind) -> Self {
        Self { name: name.to_owned(), kind, optional: false }
    }

    /// An input that may be left unwired.
    pub fn optional(name: &str, kind: ArtifactKind) -> Self {
        Self { name: name.to_owned(), kind, optional: true }
    }
}

/// Most clusters of an assignment: tables of clusters are allocated by this number before anything else is known.
pub const MAX_CLUSTERS: usize = 1 << 16;

/// Longest side of an image, in pixels.
const MAX_SIDE: i64 = 1 << 26;

/// Labels are below this, for the same reason.
pub const MAX_CLASSES: i64 = 1 << 20;

/// Which part of a data set a sample belongs to, as stored in `split` tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[repr(u8)]
pub enum Split {
    /// Labelled training images.
    Train = 0,
    /// Held-out images.
    Test = 1,
    /// Images without labels, for pretraining only.
    Unlabelled = 2,
}

impl TryFrom<u8> for Split {
    type Error = u8;

    fn try_from(code: u8) -> Result<Self, u8> {
        match code {
            0 => Ok(Self::Train),
            1 => Ok(Self::Test),
            2 => Ok(Self::Unlabelled),
            other => Err(other),
        }
    }
}

/// Why a file is not the artifact it should be.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct BadArtifact {
    reason: String,
}

impl BadArtifact {
    /// With the reason, as a clause: "it has no tensor `images`".
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl ArtifactKind {
    /// The extension an exported file of this kind gets.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Images | Self::Encoder | Self::Embeddings | Self::Graph | Self::Assignment => "safetensors",
            Self::Predictions | Self::Curve | Self::Points | Self::Matrix => "parquet",
            Self::Metrics => "json",
            Self::Csv => "csv",
            Self::Png => "png",
            Self::Html => "html",
            Self::File => "bin",
        }
    }

    /// Checks that a file is a whole artifact of this kind: present, non-empty, well-formed, with the tensors the kind
    /// promises, of their types and matching lengths, ids in range, and without NaN or infinity.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(self, path: &Path) -> Result<(), BadArtifact> {
        let meta = fs::symlink_metadata(path).map_err(|_| BadArtifact::new("it was not written"))?;
        if !meta.is_file() {
            return Err(BadArtifact::new("it is not a regular file"));
        }
        if meta.len() == 0 {
            return Err(BadArtifact::new("it is empty"));
        }
        match self {
            Self::Images | Self::Encoder | Self::Embeddings | Self::Graph | Self::Assignment => {
                self.read_tensors(path).map(drop)
            }
            Self::Predictions | Self::Curve | Self::Points | Self::Matrix => check_parquet_magic(path),
            Self::Metrics => Metrics::read(path).map(drop),
            Self::Csv | Self::Html => check_text(path),
            Self::Png => check_png_magic(path),
            Self::File => Ok(()),
        }
    }

    /// Reads an artifact of a kind that is stored as tensors, checked as [`check`](Self::check) does.
    ///
    /// # Errors
    /// The first thing found wrong.
    ///
    /// # Panics
    /// When the kind is stored otherwise.
    pub fn read_tensors(self, path: &Path) -> Result<Tensors, BadArtifact> {
        let tensors = Tensors::read(path)?;
        tensors.check_finite()?;
        match self {
            Self::Images => check_images(&tensors)?,
            Self::Encoder => check_encoder(&tensors)?,
            Self::Embeddings => check_embeddings(&tensors)?,
            Self::Graph => check_graph(&tensors)?,
            Self::Assignment => check_assignment(&tensors)?,
            Self::Predictions
            | Self::Curve
            | Self::Points
            | Self::Matrix
            | Self::Metrics
            | Self::Csv
            | Self::Png
            | Self::Html
            | Self::File => {
                unreachable!("callers ask for kinds stored as tensors")
            }
        }
        Ok(tensors)
    }
}

fn check_images(tensors: &Tensors) -> Result<(), BadArtifact> {
    let n = if tensors.contains("images") {
        tensors.u8("images")?;
        let [n, ..] = shape::<4>(tensors, "images")?;
        if tensors.contains("paths") {
            check_paths(tensors, n)?;
        }
        n
    } else {
        check_image_files(tensors)?
    };
    check_split(tensors, n)?;
    metadata(tensors, "name")?;
    let classes: Vec<String> = serde_json::from_str(metadata(tensors, "classes")?).map_err(|error| {
        BadArtifact::new(format!("metadata `classes` is not a JSON list of names: {error}"))
    })?;
    check_ids(tensors, "labels", n, -1..classes.len() as i64)
}

/// Returns how many there are.
fn check_image_files(tensors: &Tensors) -> Result<usize, BadArtifact> {
    let [n, digest] = shape::<2>(tensors, "digests")?;
    tensors.u8("digests")?;
    if digest != 32 {
        return Err(BadArtifact::new(format!("tensor `digests` is [{n}, {digest}], expected [{n}, 32]")));
    }
    check_paths(tensors, n)?;
    if shape::<2>(tensors, "sizes")? != [n, 2] {
        return Err(BadArtifact::new(format!("tensor `sizes` is not [{n}, 2]")));
    }
    if let Some(side) = tensors.i64("sizes")?.iter().find(|&&side| !(1..=MAX_SIDE).contains(&side)) {
        return Err(BadArtifact::new(format!(
            "an image has a side of {side} pixels, expected 1 to {MAX_SIDE}"
        )));
    }
    for key in ["folder", "resize", "stats"] {
        metadata(tensors, key)?;
    }
    Ok(n)
}

fn check_paths(tensors: &Tensors, n: usize) -> Result<(), BadArtifact> {
    let [bytes] = shape::<1>(tensors, "paths")?;
    tensors.u8("paths")?;
    check_ids(tensors, "path_ends", n, 0..bytes as i64 + 1)
}

/// How an encoder's images are prepared, as its metadata says.
#[derive(Deserialize)]
struct Preprocess {
    mean: Vec<f32>,
    std: Vec<f32>,
}

fn check_encoder(tensors: &Tensors) -> Result<(), BadArtifact> {
    metadata(tensors, "architecture")?;
    let Preprocess { mean, std } = serde_json::from_str(metadata(tensors, "preprocess")?)
        .map_err(|error| BadArtifact::new(format!("metadata `preprocess`: {error}")))?;
    if mean.is_empty() || mean.len() != std.len() {
        let found = format!("{} means and {} standard deviations", mean.len(), std.len());
        return Err(BadArtifact::new(format!(
            "metadata `preprocess` has {found}, expected one of each a channel"
        )));
    }
    match mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|&std| std > 0.0 && std.is_finite()) {
        true => Ok(()),
        false => Err(BadArtifact::new("metadata `preprocess` divides by 0 or is not finite")),
    }
}

fn check_embeddings(tensors: &Tensors) -> Result<(), BadArtifact> {
    let [n, dim] = shape::<2>(tensors, "embeddings")?;
    tensors.f32("embeddings")?;
    if dim == 0 {
        return Err(BadArtifact::new(
            "tensor `embeddings` has no dimensions, expected [N, D] with D above 0",
        ));
    }
    check_split(tensors, n)?;
    check_labels_if_any(tensors, n)
}

fn check_graph(tensors: &Tensors) -> Result<(), BadArtifact> {
    let [n] = shape::<1>(tensors, "split")?;
    check_split(tensors, n)?;
    let [ends, edges] = shape::<2>(tensors, "edge_index")?;
    let [weights] = shape::<1>(tensors, "edge_weight")?;
    tensors.f32("edge_weight")?;
    if ends != 2 || edges != weights {
        return Err(BadArtifact::new("`edge_index` is not [2, E] for the E of `edge_weight`"));
    }
    if let Some(node) = tensors.i64("edge_index")?.iter().find(|&&node| node < 0 || node as usize >= n) {
        return Err(BadArtifact::new(format!("edge to node {node} in a graph of {n} nodes")));
    }
    match number(tensors, "num_nodes")? {
        nodes if nodes == n => Ok(()),
        nodes => Err(BadArtifact::new(format!("metadata `num_nodes` is {nodes} for {n} rows of `split`"))),
    }
}

fn check_assignment(tensors: &Tensors) -> Result<(), BadArtifact> {
    let [n] = shape::<1>(tensors, "cluster")?;
    check_split(tensors, n)?;
    let clusters = number(tensors, "num_clusters")?;
    if !(1..=MAX_CLUSTERS).contains(&clusters) {
        return Err(BadArtifact::new(format!(
            "metadata `num_clusters` is {clusters}, expected 1 to {MAX_CLUSTERS}"
        )));
    }
    check_ids(tensors, "cluster", n, 0..clusters as i64)?;
    if tensors.contains("probabilities") {
        let found = shape::<2>(tensors, "probabilities")?;
        tensors.f32("probabilities")?;
        if found != [n, clusters] {
            return Err(BadArtifact::new(format!(
                "tensor `probabilities` is {found:?}, expected [{n}, {clusters}]"
            )));
        }
    }
    check_labels_if_any(tensors, n)
}

/// The shape of a tensor of `D` dimensions.
fn shape<const D: usize>(tensors: &Tensors, name: &str) -> Result<[usize; D], BadArtifact> {
    let shape = tensors.get(name)?.shape();
    shape.try_into().map_err(|_| {
        BadArtifact::new(format!("tensor `{name}` has {} dimensions, expected {D}", shape.len()))
    })
}

fn metadata<'a>(tensors: &'a Tensors, key: &str) -> Result<&'a str, BadArtifact> {
    tensors.metadata(key).ok_or_else(|| BadArtifact::new(format!("it has no metadata `{key}`")))
}

fn number(tensors: &Tensors, key: &str) -> Result<usize, BadArtifact> {
    let text = metadata(tensors, key)?;
    text.parse().map_err(|_| BadArtifact::new(format!("metadata `{key}` is `{text}`, expected a number")))
}

fn check_rows(tensors: &Tensors, name: &str, n: usize) -> Result<(), BadArtifact> {
    match shape::<1>(tensors, name)? {
        [found] if found == n => Ok(()),
        [found] => Err(BadArtifact::new(format!("tensor `{name}` has {found} rows, expected {n}"))),
    }
}

fn check_split(tensors: &Tensors, n: usize) -> Result<(), BadArtifact> {
    check_rows(tensors, "split", n)?;
    match tensors.u8("split")?.iter().find(|&&code| Split::try_from(code).is_err()) {
        Some(code) => Err(BadArtifact::new(format!("there is no split {code}"))),
        None => Ok(()),
    }
}

/// That a tensor holds `n` numbers in `range`.
fn check_ids(tensors: &Tensors, name: &str, n: usize, range: Range<i64>) -> Result<(), BadArtifact> {
    check_rows(tensors, name, n)?;
    match tensors.i64(name)?.iter().find(|id| !range.contains(id)) {
        Some(id) => Err(BadArtifact::new(format!(
            "tensor `{name}` holds {id}, expected {} to {}",
            range.start,
            range.end - 1
        ))),
        None => Ok(()),
    }
}

fn check_labels_if_any(tensors: &Tensors, n: usize) -> Result<(), BadArtifact> {
    match tensors.contains("labels") {
        true => check_ids(tensors, "labels", n, -1..MAX_CLASSES),
        false => Ok(()),
    }
}

fn check_parquet_magic(path: &Path) -> Result<(), BadArtifact> {
    let bytes = fs::read(path).map_err(|error| BadArtifact::new(error.to_string()))?;
    if bytes.len() >= 12 && bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") {
        Ok(())
    } else {
        Err(BadArtifact::new("it is not a whole Parquet file"))
    }
}

fn check_text(path: &Path) -> Result<(), BadArtifact> {
    let bytes = fs::read(path).map_err(|error| BadArtifact::new(error.to_string()))?;
    match str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(BadArtifact::new(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))),
    }
}

fn check_png_magic(path: &Path) -> Result<(), BadArtifact> {
    let bytes = fs::read(path).map_err(|error| BadArtifact::new(error.to_string()))?;
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes[..bytes.len() - 4].ends_with(b"IEND") {
        Ok(())
    } else {
        Err(BadArtifact::new("it is not a whole PNG file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorData;

    fn f32s(n: usize) -> TensorData {
        TensorData::F32(vec![0.5; n])
    }

    fn i64s(values: &[i64]) -> TensorData {
        TensorData::I64(values.to_vec())
    }

    fn u8s(values: &[u8]) -> TensorData {
        TensorData::U8(values.to_vec())
    }

    /// The changes, each of which makes a whole artifact one that is refused, with the reason.
    fn check(kind: ArtifactKind, whole: &Tensors, changes: Vec<(Tensors, &str)>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("artifact");
        whole.write(&path).unwrap();
        kind.check(&path).unwrap();
        for (changed, reason) in changes {
            changed.write(&path).unwrap();
            assert_eq!(kind.check(&path).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn images_have_a_split_and_a_class_each() {
        let whole = Tensors::new()
            .with("images", &[2, 1, 1, 1], u8s(&[3, 4]))
            .with("labels", &[2], i64s(&[1, -1]))
            .with("split", &[2], u8s(&[0, 1]))
            .with_metadata("name", "two")
            .with_metadata("classes", r#"["a", "b"]"#);
        let with = |name: &str, shape: &[usize], data| whole.clone().with(name, shape, data);
        check(
            ArtifactKind::Images,
            &whole,
            vec![
                (with("images", &[2, 1, 1], u8s(&[3, 4])), "tensor `images` has 3 dimensions, expected 4"),
                (with("images", &[2, 1, 1, 1], f32s(2)), "tensor `images` is F32, expected u8"),
                (with("labels", &[1], i64s(&[0])), "tensor `labels` has 1 rows, expected 2"),
                (with("labels", &[2], i64s(&[0, 2])), "tensor `labels` holds 2, expected -1 to 1"),
                (with("labels", &[2], i64s(&[0, -2])), "tensor `labels` holds -2, expected -1 to 1"),
                (with("split", &[2], u8s(&[0, 3])), "there is no split 3"),
                (with("split", &[2, 1], u8s(&[0, 1])), "tensor `split` has 2 dimensions, expected 1"),
                (
                    whole.clone().with_metadata("classes", "a"),
                    "metadata `classes` is not a JSON list of names: expected value at line 1 column 1",
                ),
                (Tensors::new().with("images", &[0, 1, 1, 1], u8s(&[])), "it has no tensor `split`"),
            ],
        );
    }

    #[test]
    fn encoders_say_how_images_are_prepared() {
        let whole = Tensors::new()
            .with("backbone.w", &[1], f32s(1))
            .with_metadata("architecture", "{}")
            .with_metadata("preprocess", r#"{"mean": [0.5], "std": [0.25]}"#);
        let prepared = |text: &str| whole.clone().with_metadata("preprocess", text);
        let odd = "metadata `preprocess` divides by 0 or is not finite";
        check(
            ArtifactKind::Encoder,
            &whole,
            vec![
                (Tensors::new(), "it has no metadata `architecture`"),
                (Tensors::new().with_metadata("architecture", "{}"), "it has no metadata `preprocess`"),
                (prepared(r#"{"mean": [0.5], "std": [0]}"#), odd),
                (prepared(r#"{"mean": [0.5], "std": [-1]}"#), odd),
                (
                    prepared(r#"{"mean": [0.5], "std": []}"#),
                    "metadata `preprocess` has 1 means and 0 standard deviations, expected one of each a channel",
                ),
                (
                    whole.clone().with("backbone.w", &[1], TensorData::F32(vec![f32::NAN])),
                    "tensor `backbone.w` is NaN at element 0",
                ),
            ],
        );
    }

    #[test]
    fn embeddings_may_go_without_labels_and_not_without_dimensions() {
        let unlabelled =
            Tensors::new().with("embeddings", &[2, 3], f32s(6)).with("split", &[2], u8s(&[0, 2]));
        check(ArtifactKind::Embeddings, &unlabelled, vec![]);
        let whole = unlabelled.with("labels", &[2], i64s(&[7, -1]));
        let with = |name: &str, shape: &[usize], data| whole.clone().with(name, shape, data);
        check(
            ArtifactKind::Embeddings,
            &whole,
            vec![
                (
                    with("embeddings", &[2, 0], f32s(0)),
                    "tensor `embeddings` has no dimensions, expected [N, D] with D above 0",
                ),
                (with("labels", &[2], f32s(2)), "tensor `labels` is F32, expected i64"),
                (with("labels", &[3], i64s(&[0; 3])), "tensor `labels` has 3 rows, expected 2"),
                (with("labels", &[2], i64s(&[0, -5])), "tensor `labels` holds -5, expected -1 to 1048575"),
                (with("split", &[2], u8s(&[0, 9])), "there is no split 9"),
                (with("embeddings", &[2, 3], u8s(&[0; 6])), "tensor `embeddings` is U8, expected f32"),
            ],
        );
    }

    #[test]
    fn graphs_join_nodes_there_are() {
        let whole = Tensors::new()
            .with("edge_index", &[2, 2], i64s(&[0, 1, 1, 0]))
            .with("edge_weight", &[2], f32s(2))
            .with("split", &[2], u8s(&[0, 1]))
            .with_metadata("num_nodes", "2");
        let with = |name: &str, shape: &[usize], data| whole.clone().with(name, shape, data);
        let shapes = "`edge_index` is not [2, E] for the E of `edge_weight`";
        check(
            ArtifactKind::Graph,
            &whole,
            vec![
                (with("edge_index", &[2, 2], i64s(&[0, 1, 2, 0])), "edge to node 2 in a graph of 2 nodes"),
                (with("edge_index", &[4, 1], i64s(&[0, 1, 1, 0])), shapes),
                (with("edge_weight", &[1], f32s(1)), shapes),
                (with("split", &[2], u8s(&[0, 3])), "there is no split 3"),
                (
                    whole.clone().with_metadata("num_nodes", "3"),
                    "metadata `num_nodes` is 3 for 2 rows of `split`",
                ),
                (
                    whole.clone().with_metadata("num_nodes", "two"),
                    "metadata `num_nodes` is `two`, expected a number",
                ),
            ],
        );
    }

    #[test]
    fn assignments_stay_within_their_clusters() {
        let whole = Tensors::new()
            .with("cluster", &[2], i64s(&[0, 1]))
            .with("split", &[2], u8s(&[0, 1]))
            .with("probabilities", &[2, 2], f32s(4))
            .with("labels", &[2], i64s(&[4, -1]))
            .with_metadata("num_clusters", "2");
        let with = |name: &str, shape: &[usize], data| whole.clone().with(name, shape, data);
        check(
            ArtifactKind::Assignment,
            &whole,
            vec![
                (with("cluster", &[2], i64s(&[0, 2])), "tensor `cluster` holds 2, expected 0 to 1"),
                (with("cluster", &[2], i64s(&[0, -1])), "tensor `cluster` holds -1, expected 0 to 1"),
                (
                    with("probabilities", &[2, 3], f32s(6)),
                    "tensor `probabilities` is [2, 3], expected [2, 2]",
                ),
                (with("labels", &[1], i64s(&[0])), "tensor `labels` has 1 rows, expected 2"),
                (with("split", &[1], u8s(&[0])), "tensor `split` has 1 rows, expected 2"),
                (
                    whole.clone().with_metadata("num_clusters", "18446744073709551615"),
                    "metadata `num_clusters` is 18446744073709551615, expected 1 to 65536",
                ),
                (
                    whole.clone().with_metadata("num_clusters", "0"),
                    "metadata `num_clusters` is 0, expected 1 to 65536",
                ),
            ],
        );
    }
}
