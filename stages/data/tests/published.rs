//! Data sets in the forms they are published in are read as Python reads them (`fixtures/make_published.py` made the files).

use std::path::{Path, PathBuf};

use ablate_data::{ArrayFile, Granularity, ImageSet, Images, Layout, Pixels, Source, Stored};
use ablate_stage::Split::{self, Test, Train, Unlabelled};

fn read(source: Source) -> Result<ImageSet, String> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published");
    Images::new(source).read(&fixtures).map_err(|error| error.to_string())
}

/// Checks labels and splits, and that each image is the one that the script wrote as image `i` of file `f`.
#[track_caller]
fn check(set: &ImageSet, expected: &[(i64, Split, usize, usize)]) {
    let Stored::Pixels(Pixels { height, width, channels, bytes }) = &set.images else {
        panic!("the images are in files")
    };
    assert_eq!(set.labels, expected.iter().map(|&(label, ..)| label).collect::<Vec<_>>());
    assert_eq!(set.split, expected.iter().map(|&(_, split, ..)| split).collect::<Vec<_>>());
    let mut all = Vec::new();
    for &(.., f, i) in expected {
        for (r, c) in (0..*height).flat_map(|r| (0..*width).map(move |c| (r, c))) {
            all.extend((0..*channels).map(|k| (7 * i + 5 * f + 3 * r + 2 * c + 50 * k) as u8));
        }
    }
    assert!(*bytes == all, "pixels differ");
}

#[test]
fn cifar_10_is_read_from_its_pickles() {
    let set = read(Source::Cifar10 { folder: "cifar10".into() }).unwrap();
    assert_eq!(set.name, "CIFAR-10");
    let names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    assert_eq!(set.classes, names);
    let train = (1..6).map(|file| (file as i64, Train, file, 0));
    check(&set, &train.chain([(9, Test, 6, 0)]).collect::<Vec<_>>());
    // torchvision's folder, and that of the archive.
    assert_eq!(read(Source::Cifar10 { folder: "cifar10/cifar-10-batches-py".into() }).unwrap(), set);
}

#[test]
fn cifar_100_is_read_from_its_pickles_with_either_labels() {
    let source = |labels| Source::Cifar100 { folder: "cifar100".into(), labels };
    let set = read(source(Granularity::Fine)).unwrap();
    assert_eq!((set.name.as_str(), set.classes.len()), ("CIFAR-100", 100));
    let images = [(Train, 1, 0), (Train, 1, 1), (Train, 1, 2), (Test, 2, 0)];
    let labelled = |labels: [i64; 4]| {
        let with = images.into_iter().zip(labels);
        with.map(|((split, f, i), label)| (label, split, f, i)).collect::<Vec<_>>()
    };
    check(&set, &labelled([19, 29, 0, 49]));
    let names: Vec<&str> = set.labels.iter().map(|&label| set.classes[label as usize].as_str()).collect();
    assert_eq!(names, ["cattle", "dinosaur", "apple", "mountain"]);
    let set = read(source(Granularity::Coarse)).unwrap();
    assert_eq!((set.name.as_str(), set.classes.len()), ("CIFAR-100-20", 20));
    check(&set, &labelled([11, 15, 4, 10]));
}

#[test]
fn svhn_is_read_from_its_matlab_files_and_10_is_the_digit_0() {
    let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let train = [1, 9, 0, 2, 3].into_iter().enumerate().map(|(i, label)| (label, Train, 1, i));
    let test = [(5, Test, 2, 0), (0, Test, 2, 1)];
    let set = read(Source::Svhn { folder: "svhn".into(), extra: false }).unwrap();
    assert_eq!((set.name.as_str(), &set.classes[..]), ("SVHN", &digits.map(str::to_owned)[..]));
    check(&set, &train.clone().chain(test).collect::<Vec<_>>());
    let set = read(Source::Svhn { folder: "svhn".into(), extra: true }).unwrap();
    check(&set, &train.chain([(7, Train, 3, 0)]).chain(test).collect::<Vec<_>>());
}

fn npy(name: &str) -> ArrayFile {
    ArrayFile::Npy(PathBuf::from("arrays").join(name))
}

fn arrays(images: &str) -> Source {
    Source::Arrays {
        images: npy(images),
        labels: None,
        test_images: None,
        test_labels: None,
        layout: Layout::Auto,
    }
}

#[test]
fn numpy_arrays_are_read_in_either_layout() {
    let set = read(Source::Arrays {
        images: npy("train.npy"),
        labels: Some(npy("train_labels.npy")),
        test_images: Some(npy("test.npy")),
        test_labels: Some(npy("test_labels.npy")),
        layout: Layout::Auto,
    });
    let set = set.unwrap();
    assert_eq!((set.name.as_str(), set.classes.join(" ")), ("train", "0 1 2 3".to_owned()));
    check(&set, &[(3, Train, 1, 0), (1, Train, 1, 1), (2, Test, 2, 0)]);
    let set = read(arrays("version2.npy")).unwrap();
    check(&set, &[(-1, Unlabelled, 1, 0), (-1, Unlabelled, 1, 1)]);
    let error = read(arrays("fortran.npy")).unwrap_err();
    assert!(
        error.ends_with("fortran.npy: it is column-major; save `numpy.ascontiguousarray` of it"),
        "{error}"
    );
    let error = read(arrays("train_labels.npy")).unwrap_err();
    assert!(error.ends_with("its elements are not `u1`: images are bytes from 0 to 255"), "{error}");
}

#[test]
fn every_source_in_the_book_is_one() {
    let page = include_str!("../../../book/src/guides/data.md");
    let stages =
        page.lines().filter_map(|line| line.split_once("\": (stage: Images").map(|(_, fields)| fields));
    let stages: Vec<Images> =
        stages.map(|fields| ron::from_str(fields.strip_suffix("),").unwrap()).expect(fields)).collect();
    assert_eq!(stages.len(), 21);
}
