//! Stage kinds that do nothing, shaped like the real ones.

#![allow(dead_code, reason = "fields are there to be read from files")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate_stage::{ArtifactKind, FieldError, Job, Port, Registry, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every fake kind.
pub fn registry() -> Registry {
    Registry::new()
        .with::<Images>()
        .with::<Pretrain>()
        .with::<Embed>()
        .with::<KnnGraph>()
        .with::<GnnRefine>()
        .with::<LinearEval>()
        .with::<Split>()
        .with::<Zoo>()
}

macro_rules! stage {
    ($kind:ident, seeded: $seeded:literal, [$($input:expr),*] -> [$($output:expr),*] $(, validate: $validate:expr)?) => {
        impl Stage for $kind {
            const KIND: &'static str = stringify!($kind);
            const REVISION: u32 = 1;
            const SEEDED: bool = $seeded;

            fn inputs(&self) -> Vec<Port> {
                vec![$($input),*]
            }

            fn outputs(&self) -> Vec<Port> {
                vec![$($output),*]
            }

            $(fn validate(&self) -> Vec<FieldError> {
                ($validate)(self)
            })?

            fn request(&self) -> Request {
                Request::ONE_CPU
            }

            fn run(&self, _: &mut Job<'_>) -> Result<(), StageError> {
                Ok(())
            }
        }
    };
}

fn needs(name: &str, kind: ArtifactKind) -> Port {
    Port::required(name, kind)
}

/// A data set of labelled images.
///
/// The second paragraph says more.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Where they come from.
    pub source: Source,
}

stage!(Images, seeded: false, [] -> [needs("images", ArtifactKind::Images)]);

/// A source of images.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// The subset in the program.
    FashionMnistMini,
    /// A folder of images, one folder a class.
    Folder {
        /// The folder, below the project's root.
        path: String,
    },
}

/// Trains an encoder without labels.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// Passes over the data.
    #[serde(default = "one")]
    pub epochs: u32,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Learning rate after each milestone.
    #[serde(default)]
    pub decay: Option<Vec<f32>>,
}

fn one() -> u32 {
    1
}

stage!(
    Pretrain, seeded: true,
    [needs("images", ArtifactKind::Images)] -> [needs("encoder", ArtifactKind::Encoder), needs("curve", ArtifactKind::Curve)],
    validate: |stage: &Pretrain| match stage.method {
        Method::SimClr { temperature } if temperature <= 0.0 => {
            vec![FieldError::new("method.temperature", format!("must be above 0, is {temperature}"))]
        }
        _ => Vec::new(),
    }
);

/// How the encoder is trained.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Method {
    /// NT-Xent over two views.
    SimClr {
        /// Softmax temperature.
        #[serde(default = "fifth")]
        temperature: f32,
    },
    /// Nearest neighbours from a queue as positives.
    NnClr(NnClr),
}

fn fifth() -> f32 {
    0.2
}

impl Default for Method {
    fn default() -> Self {
        Self::SimClr { temperature: fifth() }
    }
}

/// NNCLR.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NnClr {
    /// Embeddings kept.
    pub queue: usize,
}

/// Stochastic gradient descent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { lr: 0.5, momentum: 0.9 }
    }
}

/// Embeds images with an encoder.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embed {}

stage!(
    Embed, seeded: false,
    [needs("encoder", ArtifactKind::Encoder), needs("images", ArtifactKind::Images)]
    -> [needs("embeddings", ArtifactKind::Embeddings)]
);

/// The exact graph of nearest neighbours.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnnGraph {
    /// Neighbours of each node.
    pub k: u32,
}

stage!(
    KnnGraph, seeded: false,
    [needs("embeddings", ArtifactKind::Embeddings)] -> [needs("graph", ArtifactKind::Graph)]
);

/// Refines embeddings by message passing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GnnRefine {
    /// Message-passing layers.
    #[serde(default = "one")]
    pub layers: u32,
}

stage!(
    GnnRefine, seeded: true,
    [needs("embeddings", ArtifactKind::Embeddings), Port::optional("graph", ArtifactKind::Graph)]
    -> [needs("embeddings", ArtifactKind::Embeddings)]
);

/// A linear probe.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearEval {}

stage!(
    LinearEval, seeded: true,
    [needs("embeddings", ArtifactKind::Embeddings), needs("images", ArtifactKind::Images)]
    -> [needs("metrics", ArtifactKind::Metrics)]
);

/// Divides embeddings into two halves.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {}

stage!(
    Split, seeded: false,
    [needs("embeddings", ArtifactKind::Embeddings)]
    -> [needs("first", ArtifactKind::Embeddings), needs("second", ArtifactKind::Embeddings)]
);

/// Fields of every shape, \[N\] of them: see [`Images`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zoo {
    /// Required.
    pub layers: Vec<Layer>,
    /// A size.
    pub size: (u32, f32),
    /// A pair.
    #[serde(default)]
    pub pair: [f32; 2],
    /// Files by name.
    #[serde(default)]
    pub files: BTreeMap<String, PathBuf>,
    /// An optional type.
    #[serde(default)]
    pub optimizer: Option<Optimizer>,
    /// Signed.
    #[serde(default)]
    pub shift: i8,
    /// A switch.
    #[serde(default)]
    pub on: bool,
    /// A letter.
    #[serde(default)]
    pub text: String,
    /// How wide.
    #[serde(default)]
    pub width: Width,
    #[serde(default)]
    pub layer: Layer,
}

/// A layer.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Layer {
    #[default]
    Relu,
    Dropout,
    /// Of a width.
    Linear(Width),
    /// Of two.
    Pair(u32, u32),
    /// Of many, said in a sentence that is long enough to be broken, because a terminal is as wide as it is and not
    /// any wider than that.
    Mixed {
        /// Widths.
        #[serde(default = "widths")]
        widths: Vec<Width>,
    },
}

fn widths() -> Vec<Width> {
    vec![Width(3), Width(4)]
}

/// A width in channels.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Width(pub u32);

stage!(Zoo, seeded: false, [] -> [needs("file", ArtifactKind::File)]);
