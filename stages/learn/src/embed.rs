//! Embeddings of a data set.

use std::sync::Arc;

use ablate_data::{Extent, ImageSet, Views};
use ablate_stage::{ArtifactKind, FieldError, Job, Port, Progress, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::Embeddings;
use crate::device;
use crate::encoder::{Encoder, Showing};
use crate::rows;
use crate::weights::{Mode, host};

/// Turns every image of a data set, of all splits, into a vector.
///
/// Reads `images`, and the `encoder` unless the layer is `Pixels`; writes `embeddings`. Batch norms use their running
/// statistics. It depends on the seed where the view is random.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Embed {
    /// Where in the network the vector is taken.
    pub layer: Layer,
    /// How an image is shown to the encoder; the default is as it is. GCC's view of CIFAR images is
    /// `Weak(resize: Some(40), crop: Some(32))`. Not used for `Pixels`.
    pub view: Views,
    /// Whether vectors are scaled to length one.
    pub normalise: bool,
    /// Images computed at once. The result does not depend on it but for rounding.
    pub batch: usize,
}

/// Where in the network a vector is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Layer {
    /// The features of the backbone.
    #[default]
    Backbone,
    /// The output of the projector.
    Projector,
    /// The image itself: its pixels divided by 255, in the order row, column, channel, not standardised. A baseline; there
    /// is no port `encoder` then, so that nothing of an encoder reaches its key.
    Pixels,
}

impl Default for Embed {
    fn default() -> Self {
        Self { layer: Layer::default(), view: Views::PLAIN, normalise: false, batch: 256 }
    }
}

impl Stage for Embed {
    const KIND: &'static str = "Embed";
    const REVISION: u32 = 2;
    const SEEDED: bool = false;

    fn seeded(&self) -> bool {
        match self.view {
            Views::Weak { .. } => false,
            Views::SimClr { .. }
            | Views::GraphNnClr { .. }
            | Views::Cc { .. }
            | Views::Cnn2Graph { .. }
            | Views::Strong { .. }
            | Views::Custom(_)
            | Views::Each(_) => self.layer != Layer::Pixels,
        }
    }

    fn inputs(&self) -> Vec<Port> {
        let images = Port::required("images", ArtifactKind::Images);
        match self.layer {
            Layer::Backbone | Layer::Projector => {
                vec![images, Port::required("encoder", ArtifactKind::Encoder)]
            }
            Layer::Pixels => vec![images],
        }
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("embeddings", ArtifactKind::Embeddings)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.view.validate("view");
        if self.batch == 0 {
            errors.push(FieldError::new("batch", "must be at least 1, is 0"));
        }
        errors
    }

    fn request(&self) -> Request {
        match self.layer {
            Layer::Backbone | Layer::Projector => Request::TRAIN,
            Layer::Pixels => Request::ONE_CPU,
        }
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let images = Arc::new(ImageSet::from_job(job, "images")?);
        let (mut values, dim) = match self.layer {
            Layer::Backbone | Layer::Projector => self.encode(job, &images)?,
            Layer::Pixels => pixels(&images)?,
        };
        if self.normalise {
            rows::normalise(&mut values, dim);
        }
        let split = images.split.iter().map(|&split| split as u8).collect();
        let embeddings = Embeddings { values, dim, labels: images.labels.clone(), split };
        embeddings.write(job.output("embeddings"))
    }
}

/// Pixels scaled to \[0, 1\] `[N, D]`, and D.
fn pixels(images: &ImageSet) -> Result<(Vec<f32>, usize), StageError> {
    let Extent { height, width, exact } = images.extent();
    if !exact {
        let reason = "its images differ in size; bring them to one with `resize` of `Images`";
        return Err(StageError::input("images", reason));
    }
    let dim = height * width * images.channels();
    let mut values = Vec::with_capacity(images.len() * dim);
    for row in 0..images.len() {
        let image = images.image(row).map_err(|error| StageError::input("images", error))?;
        values.extend(image.pixels().iter().map(|&value| f32::from(value) / 255.0));
    }
    Ok((values, dim))
}

impl Embed {
    fn encode(&self, job: &mut Job<'_>, images: &Arc<ImageSet>) -> Result<(Vec<f32>, usize), StageError> {
        let device = device::open(job.device())?;
        let mut encoder = Encoder::from_job(job, "encoder", &device)?;
        encoder.check_images(images, "encoder")?;
        let architecture = encoder.architecture();
        if self.layer == Layer::Projector && architecture.projector.is_none() {
            return Err(StageError::input("encoder", "it has no projector; use `layer: Backbone`"));
        }
        let (mut values, mut dim) = (Vec::new(), architecture.backbone.features());
        let rows = (0..).take(images.len()).collect();
        let showing = Showing { images, rows, view: &self.view, batch: self.batch };
        encoder.show(&showing, job, |encoder, job, mut x| {
            if self.layer == Layer::Projector {
                x = encoder.project(x, Mode::Evaluate);
            }
            dim = x.dims()[1];
            values.extend(host(x));
            job.progress(Progress::of((values.len() / dim) as u64, images.len() as u64, "image"));
            Ok(())
        })?;
        Ok((values, dim))
    }
}
