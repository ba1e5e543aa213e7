//! A data set of images, as artifacts of kind `Images` hold it.

use std::path::{Path, PathBuf};

use ablate_stage::cache::Digest;
use ablate_stage::{ArtifactKind, BadArtifact, Job, Split, StageError, TensorData, Tensors};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::augment::Extent;
use crate::files::{Files, Paths};
use crate::{Image, ImageError, Pixels};

/// A data set: images in data-set order, with labels and splits. `N` images.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSet {
    /// Name of the data set, as "Fashion-MNIST".
    pub name: String,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// `[N]`, from 0; −1 for images without a label.
    pub labels: Vec<i64>,
    /// `[N]`.
    pub split: Vec<Split>,
    /// What each image is called, where the source has names: its path below the folder it was found in, `[N]`.
    pub names: Option<Paths>,
    /// `[N]`.
    pub images: Stored,
}

/// Where the images of a data set are.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// Decoded and of one size, in memory.
    Pixels(Pixels),
    /// Encoded, in their files.
    Files(Files),
}

/// Mean and standard deviation of each channel, of pixels scaled to \[0, 1\].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelStats {
    /// `[C]`.
    pub mean: Vec<f32>,
    /// `[C]`, above 0.
    pub std: Vec<f32>,
}

/// Sums over pixels, for [`ChannelStats`]. Bytes add up to whole numbers, so the sums are exact in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChannelSums {
    pixels: u64,
    /// By channel: the sum of values, and of their squares.
    sums: Vec<(u64, u64)>,
}

impl ChannelSums {
    /// Adds the pixels of an image `[H, W, C]`.
    pub(crate) fn add(&mut self, pixels: &[u8], channels: usize) {
        self.sums.resize(channels, (0, 0));
        self.pixels += (pixels.len() / channels) as u64;
        for pixel in pixels.chunks_exact(channels) {
            for ((sum, squares), &value) in self.sums.iter_mut().zip(pixel) {
                *sum += u64::from(value);
                *squares += u64::from(value) * u64::from(value);
            }
        }
    }

    /// Adds the sums over other images.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.sums.resize(self.sums.len().max(other.sums.len()), (0, 0));
        for ((sum, squares), &(more, more_squares)) in self.sums.iter_mut().zip(&other.sums) {
            *sum += more;
            *squares += more_squares;
        }
    }

    /// The statistics. A constant channel has the standard deviation 1, so that it can be divided by.
    pub(crate) fn stats(&self) -> ChannelStats {
        let count = self.pixels.max(1) as f64;
        let stats = self.sums.iter().map(|&(sum, squares)| {
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
            ((mean / 255.0) as f32, std as f32)
        });
        let (mean, std) = stats.unzip();
        ChannelStats { mean, std }
    }
}

/// The split channels are normalised by: the train one; the unlabelled one where none is for training; the test one where there
/// is no other.
pub(crate) fn split_for_stats(split: &[Split]) -> Split {
    let first = [Split::Train, Split::Unlabelled].into_iter().find(|of| split.contains(of));
    first.unwrap_or(Split::Test)
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

    /// 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        match &self.images {
            Stored::Pixels(pixels) => pixels.channels,
            Stored::Files(_) => 3,
        }
    }

    /// What is known of the sizes of the images.
    pub fn extent(&self) -> Extent {
        match &self.images {
            Stored::Pixels(pixels) => Extent::exactly(pixels.height, pixels.width),
            Stored::Files(files) => files.extent(),
        }
    }

    /// The image in a row.
    ///
    /// # Errors
    /// Where it is in a file that cannot be read, or that has changed.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn image(&self, row: usize) -> Result<Image, ImageError> {
        match &self.images {
            Stored::Pixels(pixels) => Ok(pixels.image(row)),
            Stored::Files(files) => {
                let names = self.names.as_ref().expect("images in files have names");
                files.image(row, names.get(row))
            }
        }
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
    pub fn select(self, rows: &[u32]) -> Self {
        let each = || rows.iter().map(|&row| row as usize);
        Self {
            labels: each().map(|row| self.labels[row]).collect(),
            split: each().map(|row| self.split[row]).collect(),
            names: self.names.map(|names| names.select(rows)),
            images: match self.images {
                Stored::Pixels(pixels) => Stored::Pixels(pixels.select(rows)),
                Stored::Files(files) => Stored::Files(files.select(rows)),
            },
            name: self.name,
            classes: self.classes,
        }
    }

    /// Mean and standard deviation of each channel over the train images; over the unlabelled ones where none is for
    /// training, and over the test images where there are no others. Those of images in files were taken when the set was read. A
    /// constant channel has the standard deviation 1, so that it can be divided by.
    pub fn channel_stats(&self) -> ChannelStats {
        match &self.images {
            Stored::Pixels(pixels) => {
                let mut sums = ChannelSums::default();
                let used = self.rows(split_for_stats(&self.split));
                used.into_iter().for_each(|row| sums.add(pixels.of(row as usize), pixels.channels));
                sums.stats()
            }
            Stored::Files(files) => files.stats.clone(),
        }
    }

    /// Reads an artifact of kind `Images`. Files that are below a relative folder are looked for below `project`.
    ///
    /// # Errors
    /// Where the file is not one, has images without pixels or of other than 1 or 3 channels, or labels without a class.
    pub fn read(path: &Path, project: &Path) -> Result<Self, BadArtifact> {
        let mut tensors = ArtifactKind::Images.read_tensors(path)?;
        let images = match tensors.contains("images") {
            true => Stored::Pixels(read_pixels(&mut tensors)?),
            false => Stored::Files(read_files(&tensors, project)?),
        };
        let split = tensors.u8("split")?.iter();
        let split = split.map(|&code| Split::try_from(code).expect("codes are checked"));
        Ok(Self {
            name: metadata(&tensors, "name").to_owned(),
            classes: json(&tensors, "classes")?,
            labels: tensors.i64("labels")?.to_vec(),
            split: split.collect(),
            names: read_names(&tensors)?,
            images,
        })
    }

    /// Reads the images wired to a port of a job.
    ///
    /// # Errors
    /// Where the port is not wired, or its artifact is not of kind `Images`.
    pub fn from_job(job: &Job<'_>, port: &str) -> Result<Self, StageError> {
        Self::read(job.input(port)?, job.project()).map_err(|error| StageError::input(port, error))
    }

    /// Writes an artifact of kind `Images`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    ///
    /// # Panics
    /// When the lengths of images, labels and splits do not fit one another.
    pub fn write(self, path: &Path) -> Result<(), StageError> {
        let n = self.len();
        let split = self.split.iter().map(|&split| split as u8).collect();
        let tensors = Tensors::new()
            .with("labels", &[n], TensorData::I64(self.labels))
            .with("split", &[n], TensorData::U8(split))
            .with_metadata("name", &self.name)
            .with_metadata("classes", serde_json::json!(self.classes).to_string());
        let tensors =
            match self.names {
                Some(Paths { bytes, ends }) => tensors
                    .with("paths", &[bytes.len()], TensorData::U8(bytes))
                    .with("path_ends", &[n], TensorData::I64(ends)),
                None => tensors,
            };
        let tensors = match self.images {
            Stored::Pixels(Pixels { height, width, channels, bytes }) => {
                tensors.with("images", &[n, height, width, channels], TensorData::U8(bytes))
            }
            Stored::Files(Files { folder, digests, sizes, resize, stats, .. }) => {
                let sizes = sizes.iter().flatten().map(|&side| i64::from(side)).collect();
                let digests = digests.iter().flat_map(Digest::as_bytes).copied().collect();
                let folder = folder.to_str().ok_or_else(|| {
                    StageError::Failed(format!("the folder {} is not named in UTF-8", folder.display()))
                })?;
                tensors
                    .with("digests", &[n, 32], TensorData::U8(digests))
                    .with("sizes", &[n, 2], TensorData::I64(sizes))
                    .with_metadata("folder", folder)
                    .with_metadata("resize", serde_json::json!(resize).to_string())
                    .with_metadata("stats", serde_json::json!(stats).to_string())
            }
        };
        tensors.write(path)
    }
}

fn read_pixels(tensors: &mut Tensors) -> Result<Pixels, BadArtifact> {
    let &[_, height, width, channels] = tensors.get("images")?.shape() else {
        unreachable!("images are checked to be [N, H, W, C]");
    };
    if height == 0 || width == 0 || !(channels == 1 || channels == 3) {
        let found = format!("images are {height}×{width} with {channels} channels");
        return Err(BadArtifact::new(found + ", expected pixels, with 1 or 3 channels"));
    }
    Ok(Pixels { height, width, channels, bytes: tensors.take_u8("images")? })
}

fn read_names(tensors: &Tensors) -> Result<Option<Paths>, BadArtifact> {
    if !tensors.contains("paths") {
        return Ok(None);
    }
    let names = Paths::new(tensors.u8("paths")?.to_vec(), tensors.i64("path_ends")?.to_vec());
    names.map(Some).map_err(BadArtifact::new)
}

fn read_files(tensors: &Tensors, project: &Path) -> Result<Files, BadArtifact> {
    let folder = PathBuf::from(metadata(tensors, "folder"));
    let digests = tensors.u8("digests")?.chunks_exact(32);
    let digests = digests.map(|digest| Digest::from_bytes(digest.try_into().expect("32 bytes"))).collect();
    let sizes = tensors.i64("sizes")?.chunks_exact(2);
    let stats: ChannelStats = json(tensors, "stats")?;
    if stats.mean.len() != 3 || stats.std.len() != 3 {
        return Err(BadArtifact::new("metadata `stats` is not of three channels"));
    }
    Ok(Files {
        absolute: project.join(&folder),
        folder,
        digests,
        sizes: sizes.map(|size| [size[0] as u32, size[1] as u32]).collect(),
        resize: json(tensors, "resize")?,
        stats,
    })
}

fn metadata<'a>(tensors: &'a Tensors, key: &str) -> &'a str {
    tensors.metadata(key).expect("it is checked to be there")
}

fn json<T: DeserializeOwned>(tensors: &Tensors, key: &str) -> Result<T, BadArtifact> {
    serde_json::from_str(metadata(tensors, key))
        .map_err(|error| BadArtifact::new(format!("metadata `{key}`: {error}")))
}
