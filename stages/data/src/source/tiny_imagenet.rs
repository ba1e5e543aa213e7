//! Tiny ImageNet, in the folders it is published in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};

use super::{Catalogue, Encoded, bad, class_list::is_wnid, folder};
use crate::Paths;

/// Finds the train images, class by class, then the validation images as the test split, by name of file.
///
/// # Errors
/// Where a file or folder is missing, or an annotation is of no image or no class.
pub(super) fn open(folder: &Path, project: &Path) -> Result<Catalogue, StageError> {
    let root = project.join(folder);
    let list = root.join("wnids.txt");
    if !list.is_file() {
        let hint = "there is no `wnids.txt`; unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and name its folder \
                    `tiny-imagenet-200` in `folder`";
        return Err(bad(&root, hint));
    }
    let mut classes: Vec<String> = fs::read_to_string(&list)
        .map_err(StageError::io(&list))?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    classes.sort_unstable();
    classes.dedup();
    if let Some(wrong) = classes.iter().find(|wnid| !is_wnid(wnid)) {
        return Err(bad(&list, format!("it lists `{wrong}`, expected wnids, as `n02085936`")));
    }
    let (mut paths, mut labels, mut split) = (Paths::default(), Vec::new(), Vec::new());
    for (label, wnid) in (0..).zip(&classes) {
        let part: PathBuf = ["train", wnid, "images"].iter().collect();
        folder::walk(&root, &part, |path| {
            paths.push(&path);
            labels.push(label);
            split.push(Split::Train);
        })?;
    }
    for (image, label) in annotations(&root.join("val/val_annotations.txt"), &classes)? {
        paths.push(&Path::new("val/images").join(image));
        labels.push(label);
        split.push(Split::Test);
    }
    let images = Encoded::Files { folder: folder.to_owned(), absolute: root, paths };
    Ok(Catalogue { name: "Tiny-ImageNet".to_owned(), classes, labels, split, images })
}

/// Image file → label, from lines of tab-separated file, wnid and box.
fn annotations(path: &Path, classes: &[String]) -> Result<BTreeMap<String, i64>, StageError> {
    let text = fs::read_to_string(path).map_err(StageError::io(path))?;
    let mut labels = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split('\t');
        let (Some(image), Some(wnid)) = (words.next(), words.next()) else {
            return Err(bad(
                path,
                format!("line {}: expected a file and a wnid, found `{line}`", number + 1),
            ));
        };
        if image.contains('/') || image.starts_with('.') {
            return Err(bad(path, format!("line {}: `{image}` is no file of `images`", number + 1)));
        }
        let label = classes
            .binary_search_by(|class| class.as_str().cmp(wnid))
            .map_err(|_| bad(path, format!("line {}: `{wnid}` is not in `wnids.txt`", number + 1)))?;
        labels.insert(image.to_owned(), label as i64);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join("tiny").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("wnids.txt", "n02124075\nn01443537\n");
        write("train/n02124075/images/n02124075_0.JPEG", "");
        write("train/n01443537/images/n01443537_10.JPEG", "");
        write("train/n01443537/images/n01443537_1.JPEG", "");
        write("train/n01443537/n01443537_boxes.txt", "");
        write(
            "val/val_annotations.txt",
            "val_1.JPEG\tn02124075\t0\t32\t44\t62\nval_0.JPEG\tn01443537\t1\t1\t2\t2\n",
        );
        dir
    }

    #[test]
    fn train_images_come_class_by_class_and_validation_images_after() {
        let dir = folder();
        let set = open(Path::new("tiny"), dir.path()).unwrap();
        assert_eq!(set.classes, ["n01443537", "n02124075"]);
        assert_eq!(set.labels, [0, 0, 1, 0, 1]);
        assert_eq!(set.split, [Split::Train, Split::Train, Split::Train, Split::Test, Split::Test]);
        let Encoded::Files { paths, .. } = set.images else { unreachable!() };
        assert_eq!(paths.get(0), Path::new("train/n01443537/images/n01443537_1.JPEG"));
        assert_eq!(paths.get(4), Path::new("val/images/val_1.JPEG"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |name: &str, text: Option<&str>, expected: &str| {
            let dir = folder();
            let path = dir.path().join("tiny").join(name);
            match text {
                Some(text) => fs::write(path, text).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let error = open(Path::new("tiny"), dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("wnids.txt", None, "there is no `wnids.txt`; unpack http");
        check("wnids.txt", Some("cat"), "it lists `cat`, expected wnids");
        check("val/val_annotations.txt", None, "val_annotations.txt: No such file");
        check(
            "val/val_annotations.txt",
            Some("a.JPEG"),
            "line 1: expected a file and a wnid, found `a.JPEG`",
        );
        check("val/val_annotations.txt", Some("\n../a\tn01443537"), "line 2: `../a` is no file of `images`");
        check(
            "val/val_annotations.txt",
            Some("a.JPEG\tn00000000"),
            "line 1: `n00000000` is not in `wnids.txt`",
        );
    }
}
