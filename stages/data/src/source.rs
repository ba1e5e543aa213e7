//! Where images come from: the data sets as they are published, and anyone's own.

mod array_file;
mod arrays;
mod cifar;
mod class_list;
mod encoded;
mod fashion_mnist;
mod folder;
mod hugging_face;
mod idx;
mod imagenet;
mod mat;
mod pickle;
mod planar;
mod stl10;
mod svhn;
mod take_in;
mod tiny_imagenet;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ImageSet;

pub use array_file::ArrayFile;
pub use arrays::Layout;
pub use cifar::Granularity;
pub use class_list::ClassList;
pub(crate) use encoded::{Encoded, Item};
pub use take_in::{OnError, Storage};
pub(crate) use take_in::{Taking, take_in, too_large};

/// Where images come from. Relative folders are below the project's root. Nothing is fetched.
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
        /// The folder of the files.
        folder: PathBuf,
    },
    /// Images in folders: JPEG, PNG, WebP and BMP, by their content. Where there are folders `train`, `test` (or `val`, `valid`,
    /// `validation`) and `unlabelled` (or `unlabeled`), these are the splits; otherwise all images are for training. Within a
    /// split, a folder is a class, as in torchvision's `ImageFolder`: classes in order of name. A folder with images directly
    /// in it has no classes: all images below it are unlabelled.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Whether folders are classes: `Some(false)` takes every image below the folder as unlabelled.
        #[serde(default)]
        labelled: Option<bool>,
    },
    /// ImageNet (ILSVRC 2012) and its subsets by lists of classes. Looked for in the folder, and in `ILSVRC/Data/CLS-LOC` below
    /// it: `train/<wnid>/*.JPEG`, and, where it is there, `val`, either with the same folders or flat with
    /// `LOC_val_solution.csv` or `imagenet_2012_validation_synset_labels.txt` beside it. A label is the rank of its wnid.
    ImageNet {
        /// The folder.
        folder: PathBuf,
        /// The classes kept. "ImageNet-100" means two lists that share 12 of 100 classes: say which.
        #[serde(default)]
        classes: ClassList,
    },
    /// Tiny ImageNet as it is published (64×64, 200 classes): `train/<wnid>/images`, `val/images` with
    /// `val/val_annotations.txt` as the test split, and `wnids.txt`. A label is the rank of its wnid.
    TinyImageNet {
        /// The folder, as `tiny-imagenet-200`.
        folder: PathBuf,
    },
    /// A data set of the Hugging Face hub in Parquet files: a column of encoded images (`image` or `img`, with `bytes`) and one of
    /// labels. A word of a file's name, or of a folder it is in, is its split: `train`, `test` (or `validation`, `valid`, `val`),
    /// `unlabeled` (or `unsupervised`); where no file has one, all are for training. Train images without labels are unlabelled.
    HuggingFace {
        /// The folder of the files, or one file; files may be in `data` below it.
        folder: PathBuf,
        /// The column of labels; `None` takes `label`, `fine_label` or `labels`, and no labels where there is none of them.
        #[serde(default)]
        label: Option<String>,
    },
    /// CIFAR-10 (32×32, 10 classes; 50,000 train and 10,000 test images), in the binary or the Python form: `data_batch_1` to
    /// `data_batch_5` and `test_batch`, with or without `.bin`. Looked for in the folder, and in `cifar-10-batches-bin` and
    /// `cifar-10-batches-py` below it. Files of fewer images are read, too.
    Cifar10 {
        /// The folder.
        folder: PathBuf,
    },
    /// CIFAR-100 (32×32, 100 classes in 20 superclasses; 50,000 train and 10,000 test images), in the binary or the Python form:
    /// `train` and `test`, with or without `.bin`. Looked for in the folder, and in `cifar-100-binary` and `cifar-100-python`
    /// below it. Files of fewer images are read, too.
    Cifar100 {
        /// The folder.
        folder: PathBuf,
        /// Which labels. Tables on clustering that say "CIFAR-100" mean the 20 superclasses, `Coarse`.
        #[serde(default)]
        labels: Granularity,
    },
    /// STL-10 in the binary form (96×96, 10 classes; 5,000 train, 8,000 test and 100,000 unlabelled images): `train_X.bin`,
    /// `train_y.bin`, `test_X.bin`, `test_y.bin`, `unlabeled_X.bin`. Looked for in the folder, and in `stl10_binary` below it.
    /// It takes 3.1 GB of memory, 0.4 GB without the unlabelled images.
    Stl10 {
        /// The folder.
        folder: PathBuf,
        /// Whether the unlabelled images are read.
        #[serde(default = "yes")]
        unlabelled: bool,
    },
    /// Street View House Numbers, cropped digits (32×32, 10 classes; 73,257 train, 26,032 test and 531,131 extra images):
    /// `train_32x32.mat`, `test_32x32.mat` and `extra_32x32.mat`, MATLAB files of version 5.
    Svhn {
        /// The folder of the files.
        folder: PathBuf,
        /// Whether the extra images are read. They come after the train images, and are for training.
        #[serde(default)]
        extra: bool,
    },
    /// Arrays of bytes `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]`, with 1 or 3 channels, and of labels `[N]`, whole numbers from
    /// 0, where −1 is none. Without labels, `images` are unlabelled.
    Arrays {
        /// The train images.
        images: ArrayFile,
        /// Their labels.
        #[serde(default)]
        labels: Option<ArrayFile>,
        /// The test images.
        #[serde(default)]
        test_images: Option<ArrayFile>,
        /// Their labels.
        #[serde(default)]
        test_labels: Option<ArrayFile>,
        /// Where the channels are.
        #[serde(default)]
        layout: Layout,
    },
}

fn yes() -> bool {
    true
}

/// Where Debian's package `dataset-fashion-mnist` puts the files.
fn debian_folder() -> PathBuf {
    "/usr/share/datasets/fashion-mnist".into()
}

/// What a source holds before any image is chosen.
#[derive(Clone, Debug)]
pub(crate) enum Opened {
    /// Images that are pixels already.
    Decoded(ImageSet),
    /// Images to be decoded.
    Encoded(Catalogue),
}

/// Encoded images in data-set order, with labels and splits. `N` images.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    /// Name of the data set.
    pub name: String,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// `[N]`, from 0; −1 for images without a label.
    pub labels: Vec<i64>,
    /// `[N]`.
    pub split: Vec<Split>,
    /// `[N]`.
    pub images: Encoded,
}

impl Source {
    /// The files and folders it reads.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::FashionMnistMini => Vec::new(),
            Self::FashionMnist { folder }
            | Self::Idx { folder }
            | Self::Folder { folder, .. }
            | Self::TinyImageNet { folder }
            | Self::HuggingFace { folder, .. }
            | Self::Cifar10 { folder }
            | Self::Cifar100 { folder, .. }
            | Self::Stl10 { folder, .. }
            | Self::Svhn { folder, .. } => vec![folder.clone()],
            Self::ImageNet { folder, classes } => {
                [folder].into_iter().chain(classes.file()).cloned().collect()
            }
            Self::Arrays { images, labels, test_images, test_labels, layout: _ } => {
                let files = [Some(images), labels.as_ref(), test_images.as_ref(), test_labels.as_ref()];
                let files: BTreeSet<&Path> = files.into_iter().flatten().map(ArrayFile::path).collect();
                files.into_iter().map(Path::to_owned).collect()
            }
        }
    }

    /// What to do where one of them is not there.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::FashionMnistMini => "it is part of the program",
            Self::FashionMnist { .. } => {
                "install Debian's package `dataset-fashion-mnist`, or put the four files of \
                 https://github.com/zalandoresearch/fashion-mnist into a folder and name it in `folder`"
            }
            Self::Idx { .. } => "put the four files of the data set there, or correct `folder`",
            Self::Folder { .. } => "put the images there, or correct `folder`",
            Self::ImageNet { .. } => {
                "get ILSVRC 2012 from https://image-net.org or Kaggle's `imagenet-object-localization-challenge`, unpack it \
                 and name its folder in `folder`; a list of classes is a file of yours"
            }
            Self::TinyImageNet { .. } => {
                "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and name its folder in `folder`"
            }
            Self::HuggingFace { .. } => {
                "get the data set's Parquet files, as with `hf download --repo-type dataset`, and name their folder in `folder`"
            }
            Self::Cifar10 { .. } | Self::Cifar100 { .. } => {
                "unpack the binary or the Python archive of https://www.cs.toronto.edu/~kriz/cifar.html there, or correct `folder`"
            }
            Self::Stl10 { .. } => {
                "unpack `stl10_binary.tar.gz` of https://cs.stanford.edu/~acoates/stl10/ there, or correct `folder`"
            }
            Self::Svhn { .. } => {
                "put it there from http://ufldl.stanford.edu/housenumbers/ (format 2), or correct `folder`"
            }
            Self::Arrays { .. } => "save the arrays there, or correct the files' names",
        }
    }

    /// Finds the images. Relative folders are below `project`.
    ///
    /// # Errors
    /// Where a file is missing or is not what it should be.
    pub(crate) fn open(&self, project: &Path) -> Result<Opened, StageError> {
        match self {
            Self::FashionMnistMini => fashion_mnist::read_embedded().map(Opened::Decoded),
            Self::FashionMnist { folder } => {
                let classes = fashion_mnist::CLASSES.map(str::to_owned).to_vec();
                let folder = project.join(folder);
                idx::read_folder(&folder, fashion_mnist::NAME, Some(classes), self.remedy())
                    .map(Opened::Decoded)
            }
            Self::Idx { folder } => {
                idx::read_folder(&project.join(folder), &name_of(folder), None, self.remedy())
                    .map(Opened::Decoded)
            }
            Self::Folder { folder, labelled } => {
                folder::open(folder, project, *labelled).map(Opened::Encoded)
            }
            Self::ImageNet { folder, classes } => {
                imagenet::open(folder, project, classes).map(Opened::Encoded)
            }
            Self::TinyImageNet { folder } => tiny_imagenet::open(folder, project).map(Opened::Encoded),
            Self::HuggingFace { folder, label } => {
                hugging_face::open(folder, project, label.as_deref()).map(Opened::Encoded)
            }
            Self::Cifar10 { folder } => {
                cifar::read_10(&project.join(folder), self.remedy()).map(Opened::Decoded)
            }
            Self::Cifar100 { folder, labels } => {
                cifar::read_100(&project.join(folder), *labels, self.remedy()).map(Opened::Decoded)
            }
            Self::Stl10 { folder, unlabelled } => {
                stl10::read(&project.join(folder), *unlabelled, self.remedy()).map(Opened::Decoded)
            }
            Self::Svhn { folder, extra } => {
                svhn::read(&project.join(folder), *extra, self.remedy()).map(Opened::Decoded)
            }
            Self::Arrays { images, labels, test_images, test_labels, layout } => {
                let asked = arrays::Asked {
                    images,
                    labels: labels.as_ref(),
                    test_images: test_images.as_ref(),
                    test_labels: test_labels.as_ref(),
                    layout: *layout,
                };
                arrays::read(&asked, project).map(Opened::Decoded)
            }
        }
    }
}

/// What a data set in a folder is called: as the folder.
fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

/// What is wrong with a file or folder.
fn bad(path: &Path, reason: impl AsRef<str>) -> StageError {
    StageError::Failed(format!("{}: {}", path.display(), reason.as_ref()))
}
