//! CIFAR-10 and CIFAR-100, in the binary form and in the Python form they are published in.
//!
//! Binary: records of one label (CIFAR-10) or two, coarse and fine (CIFAR-100), and 3,072 bytes of pixels. Python: pickles of a
//! dictionary with the array `data` `[N, 3072]` and lists of labels. In both, an image is its red, its green and its blue plane,
//! each row by row. <https://www.cs.toronto.edu/~kriz/cifar.html>

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bad;
use super::pickle::Pickle;
use super::planar::{Gathered, Order, Planar, class_names, open_records};
use crate::ImageSet;

/// Which labels of CIFAR-100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Granularity {
    /// The 100 classes.
    #[default]
    Fine,
    /// The 20 superclasses, which work on clustering calls CIFAR-20, CIFAR-100-20 or plainly CIFAR-100.
    Coarse,
}

const IMAGE: Planar = Planar { height: 32, width: 32, channels: 3, order: Order::Rows };

/// Most bytes of a pickle. The largest published one has 155 MB.
const MAX_PICKLE_BYTES: u64 = 1 << 30;

const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

#[rustfmt::skip]
const FINE: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy", "bridge",
    "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud",
    "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl",
    "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
    "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel",
    "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
    "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[rustfmt::skip]
const COARSE: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people",
    "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
];

/// What is published: names of the data set, of its files and of what is in them.
struct Published {
    name: &'static str,
    /// Folders in the archives of the binary and the Python form.
    folders: [&'static str; 2],
    /// Files of images, without the ending `.bin` of the binary form.
    files: &'static [(&'static str, Split)],
    /// Bytes of labels in a record, and the place of the one that counts.
    labels: (usize, usize),
    /// The list of these labels in a pickle.
    label_key: &'static str,
    /// The file of class names of the binary form; that of the Python form, and the list in it.
    names: &'static str,
    names_pickle: (&'static str, &'static str),
    classes: &'static [&'static str],
}

const FILES_10: [(&str, Split); 6] = [
    ("data_batch_1", Split::Train),
    ("data_batch_2", Split::Train),
    ("data_batch_3", Split::Train),
    ("data_batch_4", Split::Train),
    ("data_batch_5", Split::Train),
    ("test_batch", Split::Test),
];

const FILES_100: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

/// Reads CIFAR-10, the train images in the order of their files, then the test images.
///
/// # Errors
/// Where a file is missing, or is not what it should be.
pub(super) fn read_10(folder: &Path, remedy: &str) -> Result<ImageSet, StageError> {
    let published = Published {
        name: "CIFAR-10",
        folders: ["cifar-10-batches-bin", "cifar-10-batches-py"],
        files: &FILES_10,
        labels: (1, 0),
        label_key: "labels",
        names: "batches.meta.txt",
        names_pickle: ("batches.meta", "label_names"),
        classes: &CIFAR10,
    };
    read(folder, &published, remedy)
}

/// Reads CIFAR-100, train before test.
///
/// # Errors
/// Where a file is missing, or is not what it should be.
pub(super) fn read_100(folder: &Path, labels: Granularity, remedy: &str) -> Result<ImageSet, StageError> {
    let of = |name, labels, label_key, names, names_key, classes| Published {
        name,
        folders: ["cifar-100-binary", "cifar-100-python"],
        files: &FILES_100,
        labels,
        label_key,
        names,
        names_pickle: ("meta", names_key),
        classes,
    };
    let published = match labels {
        Granularity::Fine => {
            of("CIFAR-100", (2, 1), "fine_labels", "fine_label_names.txt", "fine_label_names", &FINE[..])
        }
        Granularity::Coarse => of(
            "CIFAR-100-20",
            (2, 0),
            "coarse_labels",
            "coarse_label_names.txt",
            "coarse_label_names",
            &COARSE[..],
        ),
    };
    read(folder, &published, remedy)
}

/// The form a data set is found in.
enum Form {
    Binary(PathBuf),
    Python(PathBuf),
}

fn find(folder: &Path, published: &Published, remedy: &str) -> Result<Form, StageError> {
    let (first, _) = published.files[0];
    let [binary, python] = published.folders;
    for place in [folder.to_owned(), folder.join(binary), folder.join(python)] {
        if place.join(first).with_extension("bin").is_file() {
            return Ok(Form::Binary(place));
        }
        if place.join(first).is_file() {
            return Ok(Form::Python(place));
        }
    }
    Err(bad(
        folder,
        format!(
            "there is neither `{first}.bin` nor `{first}`, here or below `{binary}` or `{python}`; {remedy}"
        ),
    ))
}

fn read(folder: &Path, published: &Published, remedy: &str) -> Result<ImageSet, StageError> {
    let mut gathered = Gathered::default();
    let names = match find(folder, published, remedy)? {
        Form::Binary(place) => {
            read_binary(&place, published, &mut gathered)?;
            class_names(&place.join(published.names), published.classes.len())?
        }
        Form::Python(place) => {
            read_python(&place, published, &mut gathered)?;
            pickled_names(&place, published)?
        }
    };
    let classes = names.unwrap_or_else(|| published.classes.iter().map(|&name| name.to_owned()).collect());
    Ok(gathered.finish(published.name, classes, IMAGE))
}

fn read_binary(place: &Path, published: &Published, gathered: &mut Gathered) -> Result<(), StageError> {
    let (count, which) = published.labels;
    let mut record = vec![0; count + IMAGE.len()];
    let mut files = Vec::new();
    for &(stem, split) in published.files {
        let path = place.join(stem).with_extension("bin");
        let (reader, n) = open_records(&path, record.len())?;
        files.push((path, split, reader, n));
    }
    gathered.reserve(files.iter().map(|&(.., n)| n).sum(), IMAGE, place)?;
    for (path, split, mut reader, n) in files {
        for row in 0..n {
            reader.read_exact(&mut record).map_err(StageError::io(&path))?;
            let label = record[which];
            if usize::from(label) >= published.classes.len() {
                return Err(bad(&path, wrong_label(row, label.into(), published)));
            }
            gathered.labels.push(label.into());
            IMAGE.append(&record[count..], &mut gathered.pixels);
        }
        gathered.are_of(split);
    }
    Ok(())
}

fn read_python(place: &Path, published: &Published, gathered: &mut Gathered) -> Result<(), StageError> {
    for &(name, split) in published.files {
        let path = place.join(name);
        read_pickle(&read_whole(&path)?, published, gathered).map_err(|reason| bad(&path, reason))?;
        gathered.are_of(split);
    }
    Ok(())
}

fn read_pickle(bytes: &[u8], published: &Published, gathered: &mut Gathered) -> Result<(), String> {
    let pickle = Pickle::read(bytes)?;
    let (shape, data) = pickle.array("data")?;
    let labels = pickle.ints(published.label_key)?;
    if labels.is_empty() || *shape != [labels.len(), IMAGE.len()] {
        return Err(format!("its array has the shape {shape:?}, and there are {} labels", labels.len()));
    }
    let known = 0..published.classes.len() as i64;
    if let Some(row) = labels.iter().position(|label| !known.contains(label)) {
        return Err(wrong_label(row, labels[row], published));
    }
    gathered.labels.extend(labels);
    data.chunks_exact(IMAGE.len()).for_each(|planes| IMAGE.append(planes, &mut gathered.pixels));
    Ok(())
}

fn wrong_label(row: usize, label: i64, published: &Published) -> String {
    format!("image {row} has the label {label}, expected 0 to {}", published.classes.len() - 1)
}

/// Class names from the pickle of names, where there is one.
fn pickled_names(place: &Path, published: &Published) -> Result<Option<Vec<String>>, StageError> {
    let (file, key) = published.names_pickle;
    let path = place.join(file);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_whole(&path)?;
    let names = Pickle::read(&bytes).and_then(|pickle| pickle.strings(key));
    let names = names.map_err(|reason| bad(&path, reason))?;
    match names.len() == published.classes.len() {
        true => Ok(Some(names)),
        false => {
            Err(bad(&path, format!("it names {} classes, expected {}", names.len(), published.classes.len())))
        }
    }
}

fn read_whole(path: &Path) -> Result<Vec<u8>, StageError> {
    let bytes = fs::metadata(path).map_err(StageError::io(path))?.len();
    if bytes > MAX_PICKLE_BYTES {
        return Err(bad(path, format!("it has {bytes} bytes, and at most {MAX_PICKLE_BYTES} are read")));
    }
    fs::read(path).map_err(StageError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pixels, Stored};

    /// The classes of each superclass, in its order, as the data set's page lists them.
    #[rustfmt::skip]
    const SUPERCLASSES: [(&str, [&str; 5]); 20] = [
        ("aquatic_mammals", ["beaver", "dolphin", "otter", "seal", "whale"]),
        ("fish", ["aquarium_fish", "flatfish", "ray", "shark", "trout"]),
        ("flowers", ["orchid", "poppy", "rose", "sunflower", "tulip"]),
        ("food_containers", ["bottle", "bowl", "can", "cup", "plate"]),
        ("fruit_and_vegetables", ["apple", "mushroom", "orange", "pear", "sweet_pepper"]),
        ("household_electrical_devices", ["clock", "keyboard", "lamp", "telephone", "television"]),
        ("household_furniture", ["bed", "chair", "couch", "table", "wardrobe"]),
        ("insects", ["bee", "beetle", "butterfly", "caterpillar", "cockroach"]),
        ("large_carnivores", ["bear", "leopard", "lion", "tiger", "wolf"]),
        ("large_man-made_outdoor_things", ["bridge", "castle", "house", "road", "skyscraper"]),
        ("large_natural_outdoor_scenes", ["cloud", "forest", "mountain", "plain", "sea"]),
        ("large_omnivores_and_herbivores", ["camel", "cattle", "chimpanzee", "elephant", "kangaroo"]),
        ("medium_mammals", ["fox", "porcupine", "possum", "raccoon", "skunk"]),
        ("non-insect_invertebrates", ["crab", "lobster", "snail", "spider", "worm"]),
        ("people", ["baby", "boy", "girl", "man", "woman"]),
        ("reptiles", ["crocodile", "dinosaur", "lizard", "snake", "turtle"]),
        ("small_mammals", ["hamster", "mouse", "rabbit", "shrew", "squirrel"]),
        ("trees", ["maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"]),
        ("vehicles_1", ["bicycle", "bus", "motorcycle", "pickup_truck", "train"]),
        ("vehicles_2", ["lawn_mower", "rocket", "streetcar", "tank", "tractor"]),
    ];

    /// The superclass of each class, as the data set's files give it.
    #[rustfmt::skip]
    const COARSE_OF_FINE: [usize; 100] = [
        4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12,
        14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1,
        9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
    ];

    #[test]
    fn the_superclasses_have_the_published_names_order_and_classes() {
        assert_eq!(COARSE, SUPERCLASSES.map(|(name, _)| name));
        assert!(FINE.is_sorted(), "fine labels are ranks of names");
        for (fine, coarse) in FINE.iter().zip(COARSE_OF_FINE) {
            assert!(SUPERCLASSES[coarse].1.contains(fine), "{fine} is not of {}", COARSE[coarse]);
        }
        for coarse in 0..20 {
            assert_eq!(COARSE_OF_FINE.iter().filter(|&&of| of == coarse).count(), 5);
        }
    }

    /// A folder of CIFAR-100 in the binary form: one train image of every class in turn, and a test image of class 99. Image `i`
    /// has red `i`, green its row and blue its column.
    fn binary() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let record = |fine: usize| {
            let mut record = vec![COARSE_OF_FINE[fine] as u8, fine as u8];
            let planes = [|_, _, image| image, |row, _, _| row, |_, column, _| column];
            for plane in planes as [fn(usize, usize, usize) -> usize; 3] {
                record.extend((0..1024).map(|at| plane(at / 32, at % 32, fine) as u8));
            }
            record
        };
        let place = dir.path().join("cifar-100-binary");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("train.bin"), (0..100).flat_map(record).collect::<Vec<u8>>()).unwrap();
        fs::write(place.join("test.bin"), record(99)).unwrap();
        dir
    }

    fn pixels(set: &ImageSet) -> &Pixels {
        match &set.images {
            Stored::Pixels(pixels) => pixels,
            Stored::Files(_) => unreachable!("CIFAR is pixels"),
        }
    }

    #[test]
    fn the_binary_form_has_coarse_then_fine_labels_and_planes() {
        let dir = binary();
        let fine = read_100(dir.path(), Granularity::Fine, "unpack it").unwrap();
        // The archive's own folder may be named, too.
        let coarse =
            read_100(&dir.path().join("cifar-100-binary"), Granularity::Coarse, "unpack it").unwrap();
        assert_eq!((fine.name.as_str(), coarse.name.as_str()), ("CIFAR-100", "CIFAR-100-20"));
        assert_eq!(fine.labels, (0..100).chain([99]).collect::<Vec<i64>>());
        let expected = COARSE_OF_FINE.iter().map(|&label| label as i64).chain([13]);
        assert_eq!(coarse.labels, expected.collect::<Vec<i64>>());
        assert_eq!(
            (fine.classes.as_slice(), coarse.classes.as_slice()),
            (&FINE.map(str::to_owned)[..], &COARSE.map(str::to_owned)[..])
        );
        assert_eq!(fine.split, [vec![Split::Train; 100], vec![Split::Test]].concat());
        assert_eq!(fine.images, coarse.images);
        let (pixels, image) = (pixels(&fine), 42);
        assert_eq!((pixels.height, pixels.width, pixels.channels, pixels.len()), (32, 32, 3, 101));
        assert_eq!(pixels.of(image)[(5 * 32 + 9) * 3..][..3], [42, 5, 9]);
    }

    #[test]
    fn names_are_taken_from_their_file_where_there_is_one() {
        let dir = binary();
        let path = dir.path().join("cifar-100-binary/coarse_label_names.txt");
        let names: Vec<String> = (0..20).map(|label| format!("class {label}")).collect();
        fs::write(&path, names.join("\n") + "\n\n").unwrap();
        assert_eq!(read_100(dir.path(), Granularity::Coarse, "unpack it").unwrap().classes, names);
        fs::write(&path, "one\ntwo\n").unwrap();
        let error = read_100(dir.path(), Granularity::Coarse, "unpack it").unwrap_err().to_string();
        assert!(error.ends_with("coarse_label_names.txt: it names 2 classes, expected 20"), "{error}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |name: &str, bytes: Option<Vec<u8>>, expected: &str| {
            let dir = binary();
            let path = dir.path().join("cifar-100-binary").join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let error = read_100(dir.path(), Granularity::Fine, "unpack it").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            "train.bin",
            None,
            "there is neither `train.bin` nor `train`, here or below `cifar-100-binary` or `cifar-100-python`; unpack it",
        );
        check("test.bin", None, "cifar-100-binary/test.bin: No such file");
        check(
            "test.bin",
            Some(vec![0; 3073]),
            "it has 3073 bytes, expected a multiple of 3074; was it copied whole?",
        );
        check("test.bin", Some(vec![100; 3074]), "test.bin: image 0 has the label 100, expected 0 to 99");
    }
}
