//! The stage that brings a data set of images into a pipeline.

use std::path::{Path, PathBuf};

use ablate_stage::{ArtifactKind, FieldError, Job, Port, Request, Split, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ImageSet, fashion_mnist, idx};

/// A data set of images: pixels, labels and splits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Where the images come from.
    pub source: Source,
    /// How many train images to keep: the first ones of each class in file order, equally many of each as far as the
    /// number and the classes allow. All of them where it is `None`.
    #[serde(default)]
    pub train: Option<usize>,
    /// How many test images to keep, chosen in the same way. All of them where it is `None`.
    #[serde(default)]
    pub test: Option<usize>,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// The 10,000 train and 2,000 test images of Fashion-MNIST that the program carries (28×28 grey, 10 classes).
    FashionMnistMini,
    /// All of Fashion-MNIST: 60,000 train and 10,000 test images (28×28 grey, 10 classes).
    FashionMnist {
        /// The folder of its four files, gzipped or not.
        #[serde(default = "debian_folder")]
        folder: PathBuf,
    },
    /// Any data set in the four files of MNIST: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    /// `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each gzipped (`.gz`) or not.
    Idx {
        /// The folder of the files; relative to the project's root.
        folder: PathBuf,
    },
}

/// Where Debian's package `dataset-fashion-mnist` puts the files.
fn debian_folder() -> PathBuf {
    "/usr/share/datasets/fashion-mnist".into()
}

impl Source {
    /// Reads every image. Relative folders are below `project`.
    ///
    /// # Errors
    /// Where a file is missing or is not what it should be.
    pub fn read(&self, project: &Path) -> Result<ImageSet, StageError> {
        match self {
            Self::FashionMnistMini => fashion_mnist::read_embedded(),
            Self::FashionMnist { folder } => {
                let hint = "install Debian's package `dataset-fashion-mnist`, or put the four files of \
                            https://github.com/zalandoresearch/fashion-mnist into a folder and name it in `folder`";
                let classes = fashion_mnist::CLASSES.map(str::to_owned).to_vec();
                idx::read_folder(&project.join(folder), fashion_mnist::NAME, Some(classes), hint)
            }
            Self::Idx { folder } => {
                let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
                let hint = "put the four files of the data set there, or correct `folder`";
                idx::read_folder(&project.join(folder), &name, None, hint)
            }
        }
    }
}

impl Stage for Images {
    const KIND: &'static str = "Images";
    const REVISION: u32 = 1;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("images", ArtifactKind::Images)]
    }

    fn files(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::FashionMnistMini => Vec::new(),
            Source::FashionMnist { folder } | Source::Idx { folder } => vec![folder.clone()],
        }
    }

    fn validate(&self) -> Vec<FieldError> {
        let counts = [("train", self.train), ("test", self.test)];
        let none_kept = counts.into_iter().filter(|&(_, count)| count == Some(0));
        none_kept
            .map(|(field, _)| FieldError::new(field, "must be at least 1, or None for all, is 0"))
            .collect()
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let set = self.source.read(job.project())?;
        let mut rows = first_of_each_class(&set, Split::Train, self.train)?;
        rows.extend(first_of_each_class(&set, Split::Test, self.test)?);
        rows.sort_unstable();
        set.select(&rows).write(job.output("images"))
    }
}

/// The rows of the first `count` images of a split, equally many of each class as far as `count` and the classes allow:
/// the classes take turns in order of label, each taking its next image, until `count` are taken. In data-set order.
///
/// # Errors
/// Where the split has fewer images.
pub fn first_of_each_class(
    set: &ImageSet,
    split: Split,
    count: Option<usize>,
) -> Result<Vec<u32>, StageError> {
    let rows = set.rows(split);
    let Some(count) = count.filter(|&count| count != rows.len()) else {
        return Ok(rows);
    };
    if count > rows.len() {
        let of = format!("{split:?}").to_lowercase();
        let found = format!("{} has {} {of} images, {count} are asked for", set.name, rows.len());
        return Err(StageError::Failed(found));
    }
    // An image's turn is how many of its class come before it; those with the first turns are taken, ties by label.
    let mut seen = vec![0_usize; set.classes.len() + 1];
    let mut turns: Vec<(usize, i64, u32)> = rows
        .into_iter()
        .map(|row| {
            let label = set.labels[row as usize];
            let seen = &mut seen[(label + 1) as usize];
            *seen += 1;
            (*seen, label, row)
        })
        .collect();
    turns.sort_unstable();
    let mut kept: Vec<u32> = turns[..count].iter().map(|&(_, _, row)| row).collect();
    kept.sort_unstable();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ablate_stage::cache::Digest;
    use ablate_stage::{Device, DynStage, JobFiles, Registry, StopFlag};

    use super::*;

    fn parse(text: &str) -> Box<dyn DynStage> {
        let registry = crate::register(Registry::new());
        let mut deserializer = ron::Deserializer::from_str(text).unwrap();
        let mut deserializer = <dyn erased_serde::Deserializer>::erase(&mut deserializer);
        (registry.get("Images").unwrap().parse)(&mut deserializer).unwrap()
    }

    fn run(text: &str) -> Result<ImageSet, StageError> {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("images.safetensors");
        let outputs = BTreeMap::from([("images".to_owned(), output.clone())]);
        let files = JobFiles { outputs, project: dir.path().to_owned(), ..JobFiles::default() };
        let mut report = |_| {};
        let mut job = Job::new(files, 0, Device::Cpu, 1, StopFlag::default(), &mut report);
        parse(text).run(&mut job)?;
        ArtifactKind::Images.check(&output).unwrap();
        Ok(ImageSet::read(&output).unwrap())
    }

    fn of_each_class(set: &ImageSet, split: Split) -> Vec<usize> {
        let mut counts = vec![0; set.classes.len()];
        set.rows(split).iter().for_each(|&row| counts[set.labels[row as usize] as usize] += 1);
        counts
    }

    #[test]
    fn the_embedded_images_are_the_ones_that_were_put_in() {
        let set = run("(source: FashionMnistMini)").unwrap();
        assert_eq!(
            (set.name.as_str(), set.len(), set.height, set.width, set.channels),
            ("Fashion-MNIST", 12_000, 28, 28, 1)
        );
        assert_eq!(of_each_class(&set, Split::Train), [1000; 10]);
        assert_eq!(of_each_class(&set, Split::Test), [200; 10]);
        assert!(set.split.is_sorted(), "train images come first");
        assert_eq!(set.labels[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
        assert_eq!(
            Digest::of_bytes(&set.pixels).to_string(),
            "941f227fc308d5e5e0f91dbd0ee681bb1e522832e8e31ac68cd0f53911b1d89d"
        );
        let labels: Vec<u8> = set.labels.iter().map(|&label| label as u8).collect();
        assert_eq!(
            Digest::of_bytes(&labels).to_string(),
            "80d50c4aac5e526241e1114e42883472a25cc53df960249713ef96ad284d523a"
        );
    }

    #[test]
    fn a_part_of_a_split_takes_the_first_of_each_class() {
        let all = run("(source: FashionMnistMini)").unwrap();
        let some = run("(source: FashionMnistMini, train: Some(23), test: Some(10))").unwrap();
        assert_eq!(of_each_class(&some, Split::Train), [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(of_each_class(&some, Split::Test), [1; 10]);
        let rows = first_of_each_class(&all, Split::Train, Some(23)).unwrap();
        assert_eq!(rows[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14]);
        assert_eq!(some.pixels_of(22), all.pixels_of(rows[22] as usize));
        let error = run("(source: FashionMnistMini, train: Some(10001))").unwrap_err();
        assert_eq!(error.to_string(), "Fashion-MNIST has 10000 train images, 10001 are asked for");
    }

    #[test]
    fn the_canonical_form_has_the_defaults() {
        let expected = "Images(\n    source: FashionMnist(\n        folder: \"/usr/share/datasets/fashion-mnist\",\n    ),\n    train: None,\n    test: None,\n)";
        assert_eq!(parse("(source: FashionMnist())").canonical(), expected);
    }

    #[test]
    fn folders_enter_the_key_and_a_missing_one_is_explained() {
        assert!(parse("(source: FashionMnistMini)").files().is_empty());
        assert_eq!(parse("(source: Idx(folder: \"mnist\"))").files(), [PathBuf::from("mnist")]);
        let error = run("(source: FashionMnist(folder: \"absent\"))").unwrap_err().to_string();
        assert!(error.contains("absent: there is neither `train-images-idx3-ubyte.gz` nor"), "{error}");
        assert!(error.contains("install Debian's package `dataset-fashion-mnist`"), "{error}");
    }

    #[test]
    fn keeping_no_image_is_refused() {
        let errors = parse("(source: FashionMnistMini, train: Some(0))").validate();
        assert_eq!(errors, [FieldError::new("train", "must be at least 1, or None for all, is 0")]);
    }
}
