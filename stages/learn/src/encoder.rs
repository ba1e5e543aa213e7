//! Encoders: a backbone, its heads, and how images are prepared for it; and the artifact they are kept in.

use std::path::Path;
use std::sync::Arc;

use ablate_data::random::derived;
use ablate_data::{BatchView, ChannelStats, ImageSet, Loader, Loading, Position, Views};
use ablate_stage::{ArtifactKind, BadArtifact, FieldError, Job, MAX_CLUSTERS, StageError, Tensors};
use burn::prelude::*;
use burn::tensor::Device as BurnDevice;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::backbone::{Backbone, Network};
use crate::head::{Mlp, MlpNetwork};
use crate::layers::Linear;
use crate::rows;
use crate::weights::{Mode, Weights};

/// What an encoder is made of. Kept as JSON in the artifact's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// From images to features.
    pub backbone: Backbone,
    /// Channels of its images.
    pub channels: usize,
    /// From features to projections.
    pub projector: Option<Mlp>,
    /// From projections to predictions.
    pub predictor: Option<Mlp>,
    /// Outputs of the cluster head, a linear layer on the features.
    pub clusters: Option<usize>,
}

impl Architecture {
    /// What is wrong with its numbers.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.backbone.validate("backbone");
        errors.extend(self.projector.iter().flat_map(|head| head.validate("projector")));
        errors.extend(self.predictor.iter().flat_map(|head| head.validate("predictor")));
        if !(self.channels == 1 || self.channels == 3) {
            errors.push(FieldError::new("channels", format!("must be 1 or 3, is {}", self.channels)));
        }
        if let Some(clusters) = self.clusters.filter(|clusters| !(1..=MAX_CLUSTERS).contains(clusters)) {
            errors.push(FieldError::new("clusters", format!("must be 1 to {MAX_CLUSTERS}, is {clusters}")));
        }
        errors
    }
}

/// Some images of a data set, and how they are shown to an encoder.
#[derive(Clone, Debug)]
pub struct Showing<'a> {
    /// The data set.
    pub images: &'a Arc<ImageSet>,
    /// The rows shown, in order.
    pub rows: Vec<u32>,
    /// How an image is seen.
    pub view: &'a Views,
    /// Images at once.
    pub batch: usize,
}

/// A network with its numbers.
#[derive(Clone, Debug)]
pub struct Encoder {
    architecture: Architecture,
    preprocess: ChannelStats,
    layers: Layers,
    /// Its numbers, by the names of the artifact.
    pub weights: Weights,
}

#[derive(Clone, Debug)]
struct Layers {
    backbone: Network,
    projector: Option<MlpNetwork>,
    predictor: Option<MlpNetwork>,
    cluster_head: Option<Linear>,
}

impl Layers {
    fn new(architecture: &Architecture) -> Self {
        let Architecture { backbone, channels, projector, predictor, clusters } = architecture;
        let features = backbone.features();
        let projected = projector.as_ref().map_or(features, Mlp::output);
        Self {
            backbone: backbone.network("backbone.", *channels),
            projector: projector.as_ref().map(|mlp| mlp.network("projector.", features)),
            predictor: predictor.as_ref().map(|mlp| mlp.network("predictor.", projected)),
            cluster_head: clusters.map(|clusters| cluster_head(features, clusters)),
        }
    }
}

fn cluster_head(features: usize, clusters: usize) -> Linear {
    Linear { name: "cluster_head".to_owned(), input: features, output: clusters, bias: true }
}

impl Encoder {
    /// One with freshly drawn numbers.
    pub fn new(architecture: Architecture, preprocess: ChannelStats, seed: u64, device: &BurnDevice) -> Self {
        let layers = Layers::new(&architecture);
        let mut weights = Weights::new(device);
        layers.backbone.initialise(&mut weights, seed);
        for head in layers.projector.iter().chain(&layers.predictor) {
            head.initialise(&mut weights, seed);
        }
        if let Some(head) = &layers.cluster_head {
            head.initialise(&mut weights, seed);
        }
        Self { architecture, preprocess, layers, weights }
    }

    /// What it is made of.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// How pixels are prepared for it: x ← (x/255 − mean) / std, per channel. Kept as JSON in the artifact's metadata.
    pub fn preprocess(&self) -> &ChannelStats {
        &self.preprocess
    }

    /// Shows images to the backbone as it stands, and calls `take` with the features `[b, features]` of each batch, in order.
    ///
    /// # Errors
    /// About input `images`, where there are none, or the view does not fit them; what `take` returns.
    pub fn show(
        &mut self,
        showing: &Showing<'_>,
        job: &mut Job<'_>,
        mut take: impl FnMut(&mut Self, &mut Job<'_>, Tensor<2>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let loading = Loading {
            set: Arc::clone(showing.images),
            rows: showing.rows.clone(),
            batch: showing.batch,
            drop_last: false,
            shuffle: false,
            views: showing.view.augmentations(1),
            stats: self.preprocess.clone(),
            seed: derived(job.seed(), "images shown"),
        };
        let loader = Loader::new(loading).map_err(|error| StageError::input("images", error))?;
        for batch in loader.batches(Position::default(), 1, job.threads()) {
            let batch = batch.map_err(|error| StageError::input("images", error))?;
            let x = batch.views.into_iter().next().expect("one view is asked for");
            let features = self.features(self.upload(x), Mode::Evaluate);
            take(self, job, features)?;
        }
        Ok(())
    }

    /// A batch of prepared images, as a tensor.
    pub(crate) fn upload(&self, view: BatchView) -> Tensor<4> {
        rows::upload(view.data, view.shape, self.weights.device())
    }

    /// Prepared images `[B, C, H, W]` to features `[B, features]`.
    pub fn features(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.layers.backbone.forward(&mut self.weights, images, mode)
    }

    /// Features to projections; without a projector they are the features.
    pub fn project(&mut self, features: Tensor<2>, mode: Mode) -> Tensor<2> {
        match &self.layers.projector {
            Some(head) => head.forward(&mut self.weights, features, mode),
            None => features,
        }
    }

    /// Projections to predictions; without a predictor they are the projections.
    pub fn predict(&mut self, projections: Tensor<2>, mode: Mode) -> Tensor<2> {
        match &self.layers.predictor {
            Some(head) => head.forward(&mut self.weights, projections, mode),
            None => projections,
        }
    }

    /// Features to the logits of clusters, `[B, K]`.
    ///
    /// # Panics
    /// When it has no cluster head; its [`architecture`](Self::architecture) tells.
    pub fn cluster(&self, features: Tensor<2>, mode: Mode) -> Tensor<2> {
        let head = self.layers.cluster_head.as_ref().expect("callers make sure of a cluster head");
        head.forward(&self.weights, features, mode)
    }

    /// Whether it is made for such images.
    ///
    /// # Errors
    /// About the input `port`, where it is not.
    pub fn check_images(&self, images: &ImageSet, port: &str) -> Result<(), StageError> {
        let channels = self.architecture.channels;
        if channels == images.channels() {
            return Ok(());
        }
        let reason = format!("it takes images of {channels} channels, and these have {}", images.channels());
        Err(StageError::input(port, reason))
    }

    /// The same backbone with a freshly drawn cluster head of `clusters` outputs, and without the other heads.
    #[must_use]
    pub fn with_cluster_head(mut self, clusters: usize, seed: u64) -> Self {
        let head = cluster_head(self.architecture.backbone.features(), clusters);
        self.weights.retain(|name| name.starts_with("backbone."));
        head.initialise(&mut self.weights, seed);
        self.architecture =
            Architecture { projector: None, predictor: None, clusters: Some(clusters), ..self.architecture };
        self.layers = Layers::new(&self.architecture);
        self
    }

    /// The same backbone and cluster head, without projector and predictor.
    #[must_use]
    pub fn without_projector(mut self) -> Self {
        self.weights.retain(|name| !name.starts_with("projector.") && !name.starts_with("predictor."));
        self.architecture = Architecture { projector: None, predictor: None, ..self.architecture };
        self.layers = Layers::new(&self.architecture);
        self
    }

    /// Reads an artifact of kind `Encoder`.
    ///
    /// # Errors
    /// Where it is not one, or its tensors do not fit its architecture.
    pub fn read(path: &Path, device: &BurnDevice) -> Result<Self, BadArtifact> {
        let tensors = ArtifactKind::Encoder.read_tensors(path)?;
        let mut encoder = Self::described(&tensors, device)?;
        encoder.weights.load("", &tensors)?;
        Ok(encoder)
    }

    /// With the architecture and the preparation of images that the metadata of an artifact say, and freshly drawn numbers.
    ///
    /// # Errors
    /// Where they say none, or one that no network can be made of.
    pub(crate) fn described(tensors: &Tensors, device: &BurnDevice) -> Result<Self, BadArtifact> {
        let architecture: Architecture = metadata(tensors, "architecture")?;
        // Before anything is allocated by its numbers.
        if let Some(FieldError { path, message }) = architecture.validate().first() {
            return Err(BadArtifact::new(format!("metadata `architecture`: {path} {message}")));
        }
        let preprocess: ChannelStats = metadata(tensors, "preprocess")?;
        if preprocess.mean.len() != architecture.channels {
            let found = format!("{} channels", preprocess.mean.len());
            let expected = architecture.channels;
            return Err(BadArtifact::new(format!(
                "metadata `preprocess` is for {found}, expected {expected}"
            )));
        }
        Ok(Self::new(architecture, preprocess, 0, device))
    }

    /// Reads the encoder wired to a job's port.
    ///
    /// # Errors
    /// Where the port is not wired, or does not hold an encoder.
    pub fn from_job(job: &Job<'_>, port: &str, device: &BurnDevice) -> Result<Self, StageError> {
        Self::read(job.input(port)?, device).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Encoder`: a `state_dict` of PyTorch names and layouts, the backbone's under `backbone.`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        self.weights
            .store("", Tensors::new())
            .with_metadata("architecture", json(&self.architecture))
            .with_metadata("preprocess", json(&self.preprocess))
            .write(path)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

fn metadata<T: DeserializeOwned>(tensors: &Tensors, key: &str) -> Result<T, BadArtifact> {
    let text =
        tensors.metadata(key).ok_or_else(|| BadArtifact::new(format!("it has no metadata `{key}`")))?;
    serde_json::from_str(text).map_err(|error| BadArtifact::new(format!("metadata `{key}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Norm;
    use crate::weights::host;

    fn encoder() -> Encoder {
        let architecture = Architecture {
            backbone: Backbone::SmallCnn { width: 4, grid: 1 },
            channels: 1,
            projector: Some(Mlp::new([8, 6], Norm::Hidden)),
            predictor: None,
            clusters: None,
        };
        let preprocess = ChannelStats { mean: vec![0.25], std: vec![0.5] };
        Encoder::new(architecture, preprocess, 3, &BurnDevice::flex())
    }

    #[test]
    fn a_written_encoder_reads_back_and_computes_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encoder");
        let mut encoder = encoder();
        let images = Tensor::<4>::ones([3, 1, 28, 28], &BurnDevice::flex());
        encoder.features(images.clone(), Mode::Train);
        encoder.write(&path).unwrap();
        ArtifactKind::Encoder.check(&path).unwrap();
        let mut read = Encoder::read(&path, &BurnDevice::flex()).unwrap();
        assert_eq!(read.architecture(), encoder.architecture());
        assert_eq!(read.preprocess(), encoder.preprocess());
        let project = |encoder: &mut Encoder| {
            let h = encoder.features(images.clone(), Mode::Evaluate);
            host(encoder.project(h, Mode::Evaluate))
        };
        assert_eq!(project(&mut read), project(&mut encoder));
        let tensors = Tensors::read(&path).unwrap();
        assert_eq!(tensors.i64("backbone.bn1.num_batches_tracked").unwrap(), [1]);
        assert_eq!(
            tensors.metadata("architecture").unwrap(),
            r#"{"backbone":{"SmallCnn":{"width":4,"grid":1}},"channels":1,"projector":{"widths":[8,6],"norm":"Hidden"},"predictor":null,"clusters":null}"#
        );
    }

    #[test]
    fn metadata_that_make_no_network_are_refused_before_it_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encoder");
        encoder().write(&path).unwrap();
        let whole = Tensors::read(&path).unwrap();
        let check = |key: &str, from: &str, to: &str, reason: &str| {
            let text = whole.metadata(key).unwrap();
            assert!(text.contains(from), "{text}");
            whole.clone().with_metadata(key, text.replace(from, to)).write(&path).unwrap();
            assert_eq!(Encoder::read(&path, &BurnDevice::flex()).unwrap_err().to_string(), reason);
        };
        let at = "metadata `architecture`: ";
        let width = format!("{at}backbone.width must be 1 to 1024, is 1000000");
        check("architecture", r#""width":4"#, r#""width":1000000"#, &width);
        let widths = format!("{at}projector.widths must be 1 to 8 numbers of 1 to 16384, is ");
        check("architecture", "[8,6]", "[]", &(widths.clone() + "[]"));
        check("architecture", "[8,6]", "[8,0]", &(widths + "[8, 0]"));
        let clusters = format!("{at}clusters must be 1 to 65536, is 0");
        check("architecture", r#""clusters":null"#, r#""clusters":0"#, &clusters);
        let channels = format!("{at}channels must be 1 or 3, is 2");
        check("architecture", r#""channels":1"#, r#""channels":2"#, &channels);
        let preprocess = "metadata `preprocess` is for 1 channels, expected 3";
        check("architecture", r#""channels":1"#, r#""channels":3"#, preprocess);
        check("preprocess", "0.5", "0.0", "metadata `preprocess` divides by 0 or is not finite");
    }

    #[test]
    fn heads_come_and_go_and_the_backbone_stays() {
        let encoder = encoder();
        let backbone = |encoder: &Encoder| {
            let tensors = encoder.weights.store("", Tensors::new());
            tensors.f32("backbone.conv2.weight").unwrap().to_vec()
        };
        let before = backbone(&encoder);
        let mut clustering = encoder.with_cluster_head(5, 1);
        assert_eq!(backbone(&clustering), before);
        let names: Vec<_> = clustering.weights.parameters().map(|(name, _)| name.to_owned()).collect();
        assert!(names.iter().all(|name| name.starts_with("backbone.") || name.starts_with("cluster_head.")));
        let h = clustering.features(Tensor::ones([2, 1, 28, 28], &BurnDevice::flex()), Mode::Evaluate);
        assert_eq!(clustering.cluster(h, Mode::Evaluate).dims(), [2, 5]);
    }
}
