//! The stage that takes in a network trained elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate_data::ChannelStats;
use ablate_stage::{ArtifactKind, BadArtifact, FieldError, Job, Port, Request, Stage, StageError, Tensors};
use burn::tensor::Device as BurnDevice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::encoder::{Architecture, Encoder};
use crate::head::Mlp;

/// A network trained elsewhere: by another program, or by this one on another machine.
///
/// Reads a safetensors file and writes the `encoder`. A file that `ablate get` has exported says itself what it holds. Of others, as
/// of PyTorch's `safetensors.torch.save_file(model.state_dict(), path)`, `network` says it, and `names` how they call its parts:
/// torchvision's ResNets are `names: {"backbone.": ""}`, GCC's checkpoints
/// `names: {"backbone.": "backbone.", "projector.": "contrastive_head.", "cluster_head.": "cluster_head.0."}` with
/// `modules: {"downsample": "shortcut"}`. Tensors that the network has no use for are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrained {
    /// The safetensors file.
    pub file: PathBuf,
    /// What it holds, where it does not say so itself.
    #[serde(default)]
    pub network: Option<Parts>,
    /// How names of tensors begin in the file, for each beginning they have in an encoder: `backbone.`, `projector.`, `predictor.`,
    /// `cluster_head.`. What is not listed is called as in an encoder.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// How modules are called in the file, for each that is called otherwise than in an encoder, as `{"downsample": "shortcut"}`;
    /// a module is a part of a name between dots.
    #[serde(default)]
    pub modules: BTreeMap<String, String>,
}

/// What a network is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// From images to features.
    pub backbone: Backbone,
    /// From features to projections.
    #[serde(default)]
    pub projector: Option<Mlp>,
    /// From projections to predictions.
    #[serde(default)]
    pub predictor: Option<Mlp>,
    /// Outputs of the cluster head, a linear layer on the features.
    #[serde(default)]
    pub clusters: Option<usize>,
    /// How its images are prepared: x ← (x/255 − mean) / std, for each of 1 or 3 channels.
    pub preprocess: ChannelStats,
}

const BEGINNINGS: [&str; 4] = ["backbone.", "projector.", "predictor.", "cluster_head."];

impl Stage for Pretrained {
    const KIND: &'static str = "Pretrained";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("encoder", ArtifactKind::Encoder)]
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn remedy(&self, _missing: &Path) -> Option<String> {
        let how = "export it with `ablate get`, or from PyTorch with `safetensors.torch.save_file(model.state_dict(), path)`";
        Some(how.to_owned())
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(parts) = &self.network {
            let architecture = parts.architecture();
            let wrong = architecture.validate().into_iter();
            errors.extend(wrong.map(|FieldError { path, message }| {
                let (path, message) = match path.as_str() {
                    "channels" => (
                        "preprocess.mean".to_owned(),
                        format!("must have 1 or 3 channels, has {}", architecture.channels),
                    ),
                    _ => (path, message),
                };
                FieldError::new(&format!("network.{path}"), message)
            }));
            let ChannelStats { mean, std } = &parts.preprocess;
            if std.len() != mean.len() || std.iter().any(|&std| !(std > 0.0 && std.is_finite())) {
                let message = format!("must be {} numbers above 0, is {std:?}", mean.len());
                errors.push(FieldError::new("network.preprocess.std", message));
            }
        }
        for beginning in self.names.keys().filter(|name| !BEGINNINGS.contains(&name.as_str())) {
            let message =
                format!("has `{beginning}`; names in an encoder begin with {}", BEGINNINGS.join(", "));
            errors.push(FieldError::new("names", message));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let path = job.project().join(&self.file);
        let encoder = self.read(&path);
        let encoder =
            encoder.map_err(|error| StageError::Failed(format!("{}: {error}", self.file.display())))?;
        encoder.write(job.output("encoder"))
    }
}

impl Parts {
    fn architecture(&self) -> Architecture {
        let Self { backbone, projector, predictor, clusters, preprocess } = self.clone();
        Architecture { backbone, channels: preprocess.mean.len(), projector, predictor, clusters }
    }
}

impl Pretrained {
    fn read(&self, path: &Path) -> Result<Encoder, BadArtifact> {
        let device = BurnDevice::flex();
        let tensors = Tensors::read(path)?;
        tensors.check_finite()?;
        let mut encoder = match &self.network {
            Some(parts) => Encoder::new(parts.architecture(), parts.preprocess.clone(), 0, &device),
            None if tensors.metadata("architecture").is_none() => {
                let how = "it does not say what it holds; say it with `network`";
                return Err(BadArtifact::new(how));
            }
            None => Encoder::described(&tensors, &device)?,
        };
        let modules = |rest: &str| {
            let module = |ours| self.modules.get(ours).map_or(ours, String::as_str);
            rest.split('.').map(module).collect::<Vec<_>>().join(".")
        };
        let called = |name: &str| {
            let listed =
                self.names.iter().find_map(|(ours, theirs)| Some((theirs, name.strip_prefix(ours)?)));
            listed.map_or_else(|| modules(name), |(theirs, rest)| format!("{theirs}{}", modules(rest)))
        };
        encoder.weights.load_as(called, &tensors)?;
        Ok(encoder)
    }
}
