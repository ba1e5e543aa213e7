//! Kinds of artifact, their formats, and the check every output passes before it is cached.

use std::fmt;
use std::fs;
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
    /// safetensors: `images` u8 \[N, H, W, C\], `labels` i64 \[N\], `split` u8 \[N\]; metadata `name`, `classes` (JSON list).
    Images,
    /// safetensors: weights under PyTorch names (`backbone.`, `projector.`, `predictor.`, `cluster_head.` prefixes);
    /// metadata `architecture` and `preprocess` (JSON).
    Encoder,
    /// safetensors: `embeddings` f32 \[N, D\], `labels` i64 \[N\], `split` u8 \[N\].
    Embeddings,
    /// safetensors: `edge_index` i64 \[2, E\] (row 0 source, row 1 target, as in PyTorch Geometric), `edge_weight` f32 \[E\],
    /// `split` u8 \[N\]; metadata `num_nodes`.
    Graph,
    /// safetensors: `cluster` i64 \[N\], `split` u8 \[N\], and where they exist `probabilities` f32 \[N, K\] and `labels` i64 \[N\];
    /// metadata `num_clusters`.
    Assignment,
    /// Parquet, one row per sample.
    Predictions,
    /// Parquet, one row per epoch (or step): the learning curve.
    Curve,
    /// JSON object of finite numbers.
    Metrics,
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
            Self::Predictions | Self::Curve => "parquet",
            Self::Metrics => "json",
            Self::File => "bin",
        }
    }

    /// Checks that a file is a whole artifact of this kind: present, non-empty, well-formed, with the tensors the kind
    /// promises, of their types and matching lengths, and without NaN or infinity.
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
                self.check_tensors(&Tensors::read(path)?)
            }
            Self::Predictions | Self::Curve => check_parquet_magic(path),
            Self::Metrics => Metrics::read(path).map(drop),
            Self::File => Ok(()),
        }
    }

    fn check_tensors(self, tensors: &Tensors) -> Result<(), BadArtifact> {
        tensors.check_finite()?;
        let rows = |name: &str, dims: usize| -> Result<usize, BadArtifact> {
            let shape = tensors.get(name)?.shape();
            if shape.len() == dims {
                Ok(shape[0])
            } else {
                Err(BadArtifact::new(format!(
                    "tensor `{name}` has {} dimensions, expected {dims}",
                    shape.len()
                )))
            }
        };
        let same = |name: &str, expected: usize| match rows(name, 1)? {
            found if found == expected => Ok(()),
            found => Err(BadArtifact::new(format!("tensor `{name}` has {found} rows, expected {expected}"))),
        };
        match self {
            Self::Images => {
                let n = rows("images", 4)?;
                tensors.u8("images")?;
                tensors.i64("labels")?;
                tensors.u8("split")?;
                same("labels", n)?;
                same("split", n)
            }
            Self::Embeddings => {
                let n = rows("embeddings", 2)?;
                tensors.f32("embeddings")?;
                tensors.u8("split")?;
                same("split", n)
            }
            Self::Graph => {
                let edges = tensors.i64("edge_index")?;
                let weights = tensors.f32("edge_weight")?;
                let n = rows("split", 1)?;
                if rows("edge_index", 2)? != 2 || edges.len() != 2 * weights.len() {
                    return Err(BadArtifact::new("`edge_index` is not [2, E] for the E of `edge_weight`"));
                }
                match edges.iter().find(|&&node| node < 0 || node as usize >= n) {
                    Some(node) => {
                        Err(BadArtifact::new(format!("edge to node {node} in a graph of {n} nodes")))
                    }
                    None => Ok(()),
                }
            }
            Self::Assignment => {
                let n = rows("cluster", 1)?;
                tensors.i64("cluster")?;
                tensors.u8("split")?;
                same("split", n)
            }
            Self::Encoder => match tensors.metadata("architecture") {
                Some(_) => Ok(()),
                None => Err(BadArtifact::new("it has no metadata `architecture`")),
            },
            Self::Predictions | Self::Curve | Self::Metrics | Self::File => {
                unreachable!("only kinds stored as tensors get here")
            }
        }
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
