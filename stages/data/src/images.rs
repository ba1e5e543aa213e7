//! The stage that brings a data set of images into a pipeline.

use std::path::{Path, PathBuf};

use ablate_stage::{
    ArtifactKind, Device, FieldError, Job, JobFiles, Port, Request, Stage, StageError, StopFlag,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choose::{Choice, Choose, choose};
use crate::source::{Catalogue, OnError, Opened, Storage, Taking, take_in};
use crate::{ImageSet, Resizing, Source, Stored};

/// A data set of images: pixels, labels and splits.
///
/// Writes `images`. Every file the source reads is in the key by its content. Encoded images are decoded once here, in
/// parallel, so that broken ones are found before anything trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Where the images come from.
    pub source: Source,
    /// Whether test images join the train ones, as papers on clustering train and evaluate on all labelled images.
    #[serde(default)]
    pub merge: bool,
    /// The names of the classes to keep, which become the labels 0, 1, … in this order. All of them where it is `None`. Images
    /// without a label stay.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// How many train images to keep, after merging; 0 leaves the split out. All of them where it is `None`.
    #[serde(default)]
    pub train: Option<usize>,
    /// How many test images to keep; 0 leaves them out. All of them where it is `None`.
    #[serde(default)]
    pub test: Option<usize>,
    /// How many unlabelled images to keep; 0 leaves them out. All of them where it is `None`.
    #[serde(default)]
    pub unlabelled: Option<usize>,
    /// Which images are kept where not all are.
    #[serde(default)]
    pub choose: Choose,
    /// The size images are brought to once, before any view of them. As they are where it is `None`.
    #[serde(default)]
    pub resize: Option<Resizing>,
    /// Where decoded images are kept. Sources of pixels (all but `Folder`, `ImageNet`, `TinyImageNet` and `HuggingFace`) are
    /// kept in memory in any case.
    #[serde(default)]
    pub storage: Storage,
    /// What becomes of an encoded image that cannot be read.
    #[serde(default)]
    pub on_error: OnError,
}

impl Images {
    /// All images of a source, as they are.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            merge: false,
            classes: None,
            train: None,
            test: None,
            unlabelled: None,
            choose: Choose::default(),
            resize: None,
            storage: Storage::default(),
            on_error: OnError::default(),
        }
    }

    /// Reads the images. Relative folders are below `project`.
    ///
    /// # Errors
    /// Where a file is missing or is not what it should be, or there are fewer images than are asked for.
    pub fn read(&self, project: &Path) -> Result<ImageSet, StageError> {
        let files = JobFiles { project: project.to_owned(), ..JobFiles::default() };
        let mut unheard = |_| {};
        self.read_for(&mut Job::new(files, 0, Device::Cpu, 1, StopFlag::default(), &mut unheard))
    }

    fn read_for(&self, job: &mut Job<'_>) -> Result<ImageSet, StageError> {
        let choice = Choice {
            merge: self.merge,
            classes: self.classes.as_deref(),
            counts: [self.train, self.test, self.unlabelled],
            choose: self.choose,
        };
        Ok(match self.source.open(job.project())? {
            Opened::Decoded(set) => {
                let chosen = choose(&set.name, &set.classes, &set.labels, &set.split, &choice)?;
                let set = set.select(&chosen.rows);
                let images = match (set.images, self.resize) {
                    (Stored::Pixels(pixels), Some(resize)) => Stored::Pixels(resize.apply_to_all(pixels)?),
                    (images, _) => images,
                };
                ImageSet {
                    classes: chosen.classes,
                    labels: chosen.labels,
                    split: chosen.split,
                    images,
                    ..set
                }
            }
            Opened::Encoded(Catalogue { name, classes, labels, split, images }) => {
                let chosen = choose(&name, &classes, &labels, &split, &choice)?;
                let taking = Taking { resize: self.resize, on_error: self.on_error, storage: self.storage };
                let (images, names, kept) = take_in(&images, &chosen.rows, &chosen.split, taking, job)?;
                let kept = || kept.iter().map(|&at| at as usize);
                ImageSet {
                    name,
                    classes: chosen.classes,
                    labels: kept().map(|at| chosen.labels[at]).collect(),
                    split: kept().map(|at| chosen.split[at]).collect(),
                    names: Some(names),
                    images,
                }
            }
        })
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
        self.source.files()
    }

    fn remedy(&self, _missing: &Path) -> Option<String> {
        Some(self.source.remedy().to_owned())
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.merge && self.test.is_some() {
            let message =
                "must be None with `merge`, which leaves no test images; `train` counts the merged ones";
            errors.push(FieldError::new("test", message));
        }
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            errors.push(FieldError::new("classes", "must name at least one, or be None for all"));
        }
        errors.extend(self.resize.iter().flat_map(|resize| resize.validate("resize")));
        errors
    }

    fn request(&self) -> Request {
        Request::ALL_CPUS
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        self.read_for(job)?.write(job.output("images"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ablate_stage::cache::Digest;
    use ablate_stage::{DynStage, Registry, Split};

    use super::*;
    use crate::{Extent, Pixels};

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
        Ok(ImageSet::read(&output, dir.path()).unwrap())
    }

    fn pixels(set: &ImageSet) -> &Pixels {
        match &set.images {
            Stored::Pixels(pixels) => pixels,
            Stored::Files(_) => panic!("the images are in files"),
        }
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
            (set.name.as_str(), set.len(), set.extent(), set.channels()),
            ("Fashion-MNIST", 12_000, Extent::exactly(28, 28), 1)
        );
        assert_eq!(of_each_class(&set, Split::Train), [1000; 10]);
        assert_eq!(of_each_class(&set, Split::Test), [200; 10]);
        assert!(set.split.is_sorted(), "train images come first");
        assert_eq!(set.labels[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
        assert_eq!(
            Digest::of_bytes(&pixels(&set).bytes).to_string(),
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
        // Row 10 is the fourth of its class, 12 and 13 the third and fourth of theirs: these are passed over.
        assert_eq!(all.labels[..15], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7]);
        for (kept, row) in [(0, 0), (9, 9), (10, 11), (11, 14)] {
            assert_eq!(pixels(&some).of(kept), pixels(&all).of(row));
        }
        let error = run("(source: FashionMnistMini, train: Some(10001))").unwrap_err();
        assert_eq!(error.to_string(), "Fashion-MNIST has 10000 train images, 10001 are asked for");
    }

    #[test]
    fn the_canonical_form_has_the_defaults() {
        let expected = "Images(\n    source: FashionMnist(\n        folder: \"/usr/share/datasets/fashion-mnist\",\n    ),\n    merge: false,\n    classes: None,\n    train: None,\n    test: None,\n    unlabelled: None,\n    choose: EachClass,\n    resize: None,\n    storage: Auto,\n    on_error: Fail,\n)";
        assert_eq!(parse("(source: FashionMnist())").canonical(), expected);
    }

    #[test]
    fn folders_enter_the_key_and_a_missing_one_is_explained() {
        assert!(parse("(source: FashionMnistMini)").files().is_empty());
        assert_eq!(parse("(source: Idx(folder: \"mnist\"))").files(), [PathBuf::from("mnist")]);
        let stage = parse("(source: FashionMnist(folder: \"absent\"))");
        let remedy = stage.remedy(&stage.files()[0]).unwrap();
        assert!(remedy.starts_with("install Debian's package `dataset-fashion-mnist`"), "{remedy}");
        let error = run("(source: FashionMnist(folder: \"absent\"))").unwrap_err().to_string();
        assert!(error.contains("absent: there is neither `train-images-idx3-ubyte.gz` nor"), "{error}");
        assert!(error.contains("install Debian's package `dataset-fashion-mnist`"), "{error}");
    }

    #[test]
    fn a_split_may_be_left_out_but_not_all() {
        run("(source: FashionMnistMini, train: Some(2), test: Some(0))").unwrap();
        let error = run("(source: FashionMnistMini, train: Some(0), test: Some(0))").unwrap_err().to_string();
        assert!(error.contains("has no image of those asked for"), "{error}");
    }
}
