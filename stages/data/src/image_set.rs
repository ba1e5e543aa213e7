//! A data set of images, as artifacts of kind `Images` hold it.

use std::path::Path;

use ablate_stage::{ArtifactKind, BadArtifact, Job, Split, StageError, TensorData, Tensors};
use serde::{Deserialize, Serialize};

use crate::Image;

/// A data set: images of one size, in data-set order, with labels and splits. `N` images, `C` of 1 or 3 channels.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSet {
    /// Name of the data set, as "Fashion-MNIST".
    pub name: String,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Height of every image, in pixels.
    pub height: usize,
    /// Width of every image, in pixels.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[N, height, width, channels]`.
    pub pixels: Vec<u8>,
    /// `[N]`, from 0; −1 for images without a label.
    pub labels: Vec<i64>,
    /// `[N]`.
    pub split: Vec<Split>,
}

/// Mean and standard deviation of each channel, of pixels scaled to \[0, 1\].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStats {
    /// `[C]`.
    pub mean: Vec<f32>,
    /// `[C]`, above 0.
    pub std: Vec<f32>,
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: `height` · `width` · `channels`.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of the image in a row, `[height, width, channels]`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn pixels_of(&self, row: usize) -> &[u8] {
        &self.pixels[row * self.image_len()..][..self.image_len()]
    }

    /// A copy of the image in a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn image(&self, row: usize) -> Image {
        Image::new(self.height, self.width, self.channels, self.pixels_of(row).to_vec())
    }

    /// The rows of a split, in order.
    pub fn rows(&self, split: Split) -> Vec<u32> {
        let rows = (0..).zip(&self.split).filter(|&(_, &of)| of == split);
        rows.map(|(row, _)| row).collect()
    }

    /// The set of the given rows, in the given order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        let rows = || rows.iter().map(|&row| row as usize);
        Self {
            name: self.name.clone(),
            classes: self.classes.clone(),
            pixels: rows().flat_map(|row| self.pixels_of(row)).copied().collect(),
            labels: rows().map(|row| self.labels[row]).collect(),
            split: rows().map(|row| self.split[row]).collect(),
            ..*self
        }
    }

    /// Mean and standard deviation of each channel over the train images; over the unlabelled ones where none is for
    /// training, and over all where there are only test images. A constant channel has the standard deviation 1, so that it can be divided by.
    pub fn channel_stats(&self) -> ChannelStats {
        let first = [Split::Train, Split::Unlabelled].into_iter().find(|split| self.split.contains(split));
        let used = (0..self.len()).filter(|&row| first.is_none_or(|split| self.split[row] == split));
        // Sums of bytes are whole numbers, so they are exact and their order does not matter.
        let mut sums = vec![(0_u64, 0_u64); self.channels];
        let mut images = 0_u64;
        for row in used {
            images += 1;
            for pixel in self.pixels_of(row).chunks_exact(self.channels) {
                for ((sum, squares), &value) in sums.iter_mut().zip(pixel) {
                    *sum += u64::from(value);
                    *squares += u64::from(value) * u64::from(value);
                }
            }
        }
        let count = (images * (self.height * self.width) as u64).max(1) as f64;
        let stats = sums.iter().map(|&(sum, squares)| {
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
            ((mean / 255.0) as f32, std as f32)
        });
        let (mean, std) = stats.unzip();
        ChannelStats { mean, std }
    }

    /// Reads an artifact of kind `Images`.
    ///
    /// # Errors
    /// Where the file is not one, has images without pixels or of other than 1 or 3 channels, or labels without a class.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let tensors = ArtifactKind::Images.read_tensors(path)?;
        let &[_, height, width, channels] = tensors.get("images")?.shape() else {
            unreachable!("images are checked to be [N, H, W, C]");
        };
        if height == 0 || width == 0 || !(channels == 1 || channels == 3) {
            let found = format!("images are {height}×{width} with {channels} channels");
            return Err(BadArtifact::new(found + ", expected pixels, with 1 or 3 channels"));
        }
        let metadata = |key: &str| tensors.metadata(key).expect("it is checked to be there");
        let split = tensors.u8("split")?.iter();
        let split = split.map(|&code| Split::try_from(code).expect("codes are checked"));
        Ok(Self {
            name: metadata("name").to_owned(),
            classes: serde_json::from_str(metadata("classes")).expect("it is checked to be a list of names"),
            height,
            width,
            channels,
            pixels: tensors.u8("images")?.to_vec(),
            labels: tensors.i64("labels")?.to_vec(),
            split: split.collect(),
        })
    }

    /// Reads the images wired to a port of a job.
    ///
    /// # Errors
    /// Where the port is not wired, or its artifact is not of kind `Images`.
    pub fn from_job(job: &Job<'_>, port: &str) -> Result<Self, StageError> {
        Self::read(job.input(port)?).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Images`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    ///
    /// # Panics
    /// When the lengths of pixels, labels and splits do not fit one another.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let n = self.len();
        let split = self.split.iter().map(|&split| split as u8).collect();
        let shape = [n, self.height, self.width, self.channels];
        Tensors::new()
            .with("images", &shape, TensorData::U8(self.pixels.clone()))
            .with("labels", &[n], TensorData::I64(self.labels.clone()))
            .with("split", &[n], TensorData::U8(split))
            .with_metadata("name", &self.name)
            .with_metadata("classes", serde_json::json!(self.classes).to_string())
            .write(path)
    }
}
