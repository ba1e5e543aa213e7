//! ImageNet (ILSVRC 2012) and its subsets, in the folders people keep it in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};

use super::class_list::{ClassList, is_wnid};
use super::{Catalogue, Encoded, bad, folder};
use crate::Paths;

/// Where Kaggle's archive has `train` and `val`.
const KAGGLE: &str = "ILSVRC/Data/CLS-LOC";

/// Files that say what a flat `val` folder holds: Kaggle's, and TensorFlow's.
const SOLUTION: &str = "LOC_val_solution.csv";
const SYNSETS: &str = "imagenet_2012_validation_synset_labels.txt";

/// Finds the train images, class by class, then the validation images as the test split.
///
/// # Errors
/// Where folders are missing, or the labels of a flat `val` folder are, or do not fit it.
pub(super) fn open(folder: &Path, project: &Path, list: &ClassList) -> Result<Catalogue, StageError> {
    let top = project.join(folder);
    let Some(below) =
        [Path::new(""), Path::new(KAGGLE)].into_iter().find(|below| top.join(below).join("train").is_dir())
    else {
        return Err(bad(
            &top,
            format!("there is neither `train` nor `{KAGGLE}/train`; name the folder that has it in `folder`"),
        ));
    };
    let root = top.join(below);
    let there = folders(&root.join("train"))?;
    let classes = match list.wnids(project)? {
        None => there,
        Some(wnids) => {
            let missing: Vec<&str> =
                wnids.iter().filter(|wnid| !there.contains(wnid)).map(String::as_str).collect();
            if !missing.is_empty() {
                let found = format!(
                    "{} of {} classes are missing: {}",
                    missing.len(),
                    wnids.len(),
                    missing.join(" ")
                );
                return Err(bad(&root.join("train"), found));
            }
            wnids
        }
    };
    if classes.is_empty() {
        return Err(bad(&root.join("train"), "there is no folder of a class, as `n02085936`"));
    }
    let (mut paths, mut labels, mut split) = (Paths::default(), Vec::new(), Vec::new());
    let mut add = |path: PathBuf, label: i64, of: Split| {
        paths.push(&path);
        labels.push(label);
        split.push(of);
    };
    for (label, wnid) in (0..).zip(&classes) {
        folder::walk(&root, &Path::new("train").join(wnid), |path| add(path, label, Split::Train))?;
    }
    if root.join("val").is_dir() {
        if folders(&root.join("val"))?.is_empty() {
            for (path, label) in flat(&root, &top, &classes)? {
                add(path, label, Split::Test);
            }
        } else {
            for (label, wnid) in (0..).zip(&classes) {
                folder::walk(&root, &Path::new("val").join(wnid), |path| add(path, label, Split::Test))?;
            }
        }
    }
    let images = Encoded::Files { folder: folder.join(below), absolute: root, paths };
    Ok(Catalogue { name: list.name().to_owned(), classes, labels, split, images })
}

/// The wnids there are folders of, in order.
fn folders(folder: &Path) -> Result<Vec<String>, StageError> {
    let mut wnids = Vec::new();
    for entry in fs::read_dir(folder).map_err(StageError::io(folder))? {
        let path = entry.map_err(StageError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_wnid(&name) && path.is_dir() {
            wnids.push(name.into_owned());
        }
    }
    wnids.sort_unstable();
    Ok(wnids)
}

/// The images of a flat `val` folder that are of the classes, with their labels, in order of name.
fn flat(root: &Path, top: &Path, classes: &[String]) -> Result<Vec<(PathBuf, i64)>, StageError> {
    let mut images = Vec::new();
    folder::walk(root, Path::new("val"), |path| images.push(path))?;
    let places = [root.join("val"), root.to_owned(), top.to_owned()];
    let look = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    let wnids: Vec<Option<String>> = if let Some(path) = look(SOLUTION) {
        let solution = solution(&path)?;
        images.iter().map(|image| solution.get(&*image.file_stem()?.to_string_lossy()).cloned()).collect()
    } else if let Some(path) = look(SYNSETS) {
        let text = fs::read_to_string(&path).map_err(StageError::io(&path))?;
        if let Some((line, wrong)) = text.split_whitespace().enumerate().find(|(_, wnid)| !is_wnid(wnid)) {
            return Err(bad(
                &path,
                format!("label {} is `{wrong}`, expected a wnid, as `n02085936`", line + 1),
            ));
        }
        let wnids: Vec<Option<String>> = text.split_whitespace().map(|wnid| Some(wnid.to_owned())).collect();
        if wnids.len() != images.len() {
            let found = format!("it has {} labels, and `val` {} images", wnids.len(), images.len());
            return Err(bad(&path, found));
        }
        wnids
    } else {
        let found = format!(
            "its images are not in folders of classes, and neither `{SOLUTION}` nor `{SYNSETS}` is there to say what they are; \
             put one of the two there, or sort the images into folders"
        );
        return Err(bad(&root.join("val"), found));
    };
    let mut labelled = Vec::new();
    for (image, wnid) in images.into_iter().zip(wnids) {
        let Some(wnid) = wnid else {
            return Err(bad(&root.join(&image), format!("`{SOLUTION}` does not say what it is")));
        };
        if let Ok(label) = classes.binary_search(&wnid) {
            labelled.push((image, label as i64));
        }
    }
    Ok(labelled)
}

/// Stem of a file → wnid, from lines as `ILSVRC2012_val_00048981,n03995372 85 1 499 272`.
fn solution(path: &Path) -> Result<BTreeMap<String, String>, StageError> {
    let text = fs::read_to_string(path).map_err(StageError::io(path))?;
    let mut wnids = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let parts =
            line.split_once(',').and_then(|(image, boxes)| Some((image, boxes.split_whitespace().next()?)));
        match parts {
            Some((image, wnid)) if is_wnid(wnid) => {
                wnids.insert(image.to_owned(), wnid.to_owned());
            }
            Some(_) | None => {
                let found = format!(
                    "line {}: expected an image and the wnid of its first box, found `{line}`",
                    number + 1
                );
                return Err(bad(path, found));
            }
        }
    }
    Ok(wnids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAT: &str = "n02124075";
    const FISH: &str = "n01443537";

    /// A folder of empty files below `top`, and text files.
    fn folder(top: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let train = [(format!("{top}train/{CAT}/b.JPEG"), ""), (format!("{top}train/{FISH}/a.JPEG"), "")];
        let files = files.iter().map(|&(name, text)| (name.to_owned(), text)).chain(train);
        for (name, text) in files {
            let path = dir.path().join("in").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// Each image as "split label path".
    fn found(dir: &tempfile::TempDir, list: &ClassList) -> Result<Vec<String>, String> {
        let show = |error: StageError| error.to_string().replace(&dir.path().display().to_string(), "DIR");
        let set = open(Path::new("in"), dir.path(), list).map_err(show)?;
        let Encoded::Files { paths, .. } = &set.images else { unreachable!() };
        let line =
            |row: usize| format!("{:?} {} {}", set.split[row], set.labels[row], paths.get(row).display());
        Ok((0..paths.len()).map(line).collect())
    }

    #[test]
    fn labels_are_ranks_of_wnids_and_val_may_be_in_folders() {
        let (cat, fish) = (format!("val/{CAT}/v.JPEG"), format!("val/{FISH}/w.JPEG"));
        let dir = folder("", &[(&cat, ""), (&fish, "")]);
        let expected = [
            format!("Train 0 train/{FISH}/a.JPEG"),
            format!("Train 1 train/{CAT}/b.JPEG"),
            format!("Test 0 val/{FISH}/w.JPEG"),
            format!("Test 1 val/{CAT}/v.JPEG"),
        ];
        assert_eq!(found(&dir, &ClassList::All).unwrap(), expected);
    }

    #[test]
    fn a_flat_val_folder_needs_a_file_of_labels() {
        let kaggle = "ILSVRC/Data/CLS-LOC/";
        let images = [("ILSVRC/Data/CLS-LOC/val/x_2.JPEG", ""), ("ILSVRC/Data/CLS-LOC/val/x_1.JPEG", "")];
        let solution =
            format!("ImageId,PredictionString\nx_1,{CAT} 1 2 3 4 {CAT} 1 2 3 4 \nx_2,n00000001 1 2 3 4 \n");
        let with = |extra: &[(&str, &str)]| folder(kaggle, &[&images, extra].concat());
        let of_cats = "Test 1 val/x_1.JPEG";
        assert_eq!(
            found(&with(&[("LOC_val_solution.csv", &solution)]), &ClassList::All).unwrap()[2..],
            [of_cats]
        );
        let synsets = format!("{CAT}\n{FISH}\n");
        assert_eq!(
            found(
                &with(&[("ILSVRC/Data/CLS-LOC/imagenet_2012_validation_synset_labels.txt", &synsets)]),
                &ClassList::All
            )
            .unwrap()[2..],
            [of_cats, "Test 0 val/x_2.JPEG"]
        );
        let error = found(&with(&[]), &ClassList::All).unwrap_err();
        assert!(
            error.starts_with("DIR/in/ILSVRC/Data/CLS-LOC/val: its images are not in folders of classes"),
            "{error}"
        );
        let error = found(&with(&[("LOC_val_solution.csv", "head\nx_1,n1\n")]), &ClassList::All).unwrap_err();
        assert!(
            error.ends_with("line 2: expected an image and the wnid of its first box, found `x_1,n1`"),
            "{error}"
        );
        let error = found(&with(&[("LOC_val_solution.csv", "head\n")]), &ClassList::All).unwrap_err();
        assert!(error.ends_with("val/x_1.JPEG: `LOC_val_solution.csv` does not say what it is"), "{error}");
    }

    #[test]
    fn a_list_keeps_its_classes_and_names_the_missing_ones() {
        let dir = folder("", &[("list.txt", "n02124075 tiger cat\n")]);
        let list = ClassList::File("in/list.txt".into());
        assert_eq!(found(&dir, &list).unwrap(), [format!("Train 0 train/{CAT}/b.JPEG")]);
        let error = found(&dir, &ClassList::ImageNet10).unwrap_err();
        let expected = "DIR/in/train: 10 of 10 classes are missing: n02056570 n02085936";
        assert!(error.starts_with(expected), "{error}");
        let error = open(Path::new("absent"), dir.path(), &ClassList::All).unwrap_err().to_string();
        assert!(
            error.contains("absent: there is neither `train` nor `ILSVRC/Data/CLS-LOC/train`"),
            "{error}"
        );
    }
}
