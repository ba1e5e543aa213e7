//! Images in folders, as torchvision's `ImageFolder` finds them, and without classes too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ablate_stage::{Split, StageError};
use walkdir::WalkDir;

use super::{Catalogue, Encoded, bad, name_of};
use crate::{EXTENSIONS, Paths};

/// Names of folders that are splits, those of the test split by precedence.
const TRAIN: [&str; 1] = ["train"];
const TEST: [&str; 4] = ["test", "val", "valid", "validation"];
const UNLABELLED: [&str; 2] = ["unlabelled", "unlabeled"];

/// Deepest folder looked into.
const MAX_DEPTH: usize = 64;

/// An image file below the folder.
struct Found {
    /// Below the folder.
    path: PathBuf,
    split: Split,
    class: Option<String>,
}

/// Finds the images below a folder.
///
/// # Errors
/// Where a folder cannot be read, or there is no image.
pub(super) fn open(folder: &Path, project: &Path, labelled: Option<bool>) -> Result<Catalogue, StageError> {
    let root = project.join(folder);
    let top = list(&root)?;
    let mut found = Vec::new();
    let splits = splits(&root, &top)?;
    if splits.is_empty() {
        part(&root, Path::new(""), None, labelled, &mut found)?;
    } else {
        for (name, split) in splits {
            part(&root, Path::new(name), Some(split), labelled, &mut found)?;
        }
    }
    if found.is_empty() {
        let expected = "there is no image below it: files that end in .jpg, .jpeg, .png, .webp or .bmp";
        return Err(bad(&root, expected));
    }
    let classes: BTreeSet<&String> = found.iter().filter_map(|image| image.class.as_ref()).collect();
    let classes: Vec<String> = classes.into_iter().cloned().collect();
    let rank: BTreeMap<&str, i64> = classes.iter().map(String::as_str).zip(0..).collect();
    Ok(Catalogue {
        name: name_of(folder),
        labels: found.iter().map(|image| image.class.as_deref().map_or(-1, |class| rank[class])).collect(),
        split: found.iter().map(|image| image.split).collect(),
        images: Encoded::Files {
            folder: folder.to_owned(),
            absolute: root,
            paths: found.iter().map(|image| &image.path).collect::<Paths>(),
        },
        classes,
    })
}

/// What is directly in a folder: names of folders, and whether there are images.
struct Listing {
    folders: BTreeSet<String>,
    images: bool,
}

fn list(folder: &Path) -> Result<Listing, StageError> {
    let entries = std::fs::read_dir(folder).map_err(StageError::io(folder))?;
    let mut listing = Listing { folders: BTreeSet::new(), images: false };
    for entry in entries {
        let path = entry.map_err(StageError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            listing.folders.insert(name);
        } else {
            listing.images |= is_image(&path);
        }
    }
    Ok(listing)
}

/// The splits that folders are named for: none unless all folders are, and one is for training or without labels.
fn splits(root: &Path, top: &Listing) -> Result<Vec<(&'static str, Split)>, StageError> {
    let first = |names: &[&'static str], split| {
        let there = names.iter().find(|name| top.folders.contains(**name));
        there.map(|&name| (name, split))
    };
    let train = first(&TRAIN, Split::Train);
    let unlabelled = first(&UNLABELLED, Split::Unlabelled);
    if train.is_none() && unlabelled.is_none() {
        return Ok(Vec::new());
    }
    let splits: Vec<_> = [train, first(&TEST, Split::Test), unlabelled].into_iter().flatten().collect();
    let beside: Vec<&str> = top
        .folders
        .iter()
        .map(String::as_str)
        .filter(|name| splits.iter().all(|(split, _)| split != name))
        .collect();
    // A set of vehicles has a class `train`; half a set of splits would be read without a word.
    if !beside.is_empty() {
        let (splits, beside) =
            (splits.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("`, `"), beside.join("`, `"));
        let found = format!(
            "`{splits}` would be splits, and `{beside}` classes beside them; put the classes into `train`, \
                             or move away what is not to be read"
        );
        return Err(bad(root, found));
    }
    Ok(splits)
}

/// Adds the images below `part`, a folder below `root`, in order of class and path.
fn part(
    root: &Path,
    part: &Path,
    split: Option<Split>,
    labelled: Option<bool>,
    found: &mut Vec<Found>,
) -> Result<(), StageError> {
    let folder = root.join(part);
    let listing = list(&folder)?;
    let classes = match split {
        Some(Split::Unlabelled) => false,
        Some(Split::Train | Split::Test) | None => {
            labelled.unwrap_or(!listing.images && !listing.folders.is_empty())
        }
    };
    if !classes {
        // Images nobody named a class for teach without labels, unless they are held out.
        let split = match split {
            Some(Split::Test) => Split::Test,
            Some(Split::Train | Split::Unlabelled) | None => Split::Unlabelled,
        };
        return walk(root, part, |path| found.push(Found { path, split, class: None }));
    }
    for class in listing.folders {
        let of_class = |path| {
            found.push(Found { path, split: split.unwrap_or(Split::Train), class: Some(class.clone()) });
        };
        walk(root, &part.join(&class), of_class)?;
    }
    Ok(())
}

/// Calls `take` with every image file below `part`, as paths below `root`, in order of path.
pub(super) fn walk(root: &Path, part: &Path, mut take: impl FnMut(PathBuf)) -> Result<(), StageError> {
    let start = root.join(part);
    let walk = WalkDir::new(&start).follow_links(true).sort_by_file_name().max_depth(MAX_DEPTH);
    let shown = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || shown(entry.file_name())) {
        let entry = entry.map_err(|error| bad(&start, error.to_string()))?;
        if entry.file_type().is_file() && is_image(entry.path()) {
            let below = entry.path().strip_prefix(root).expect("the walk stays below where it starts");
            take(below.to_owned());
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder of empty files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join("set").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    /// Each image as "split/class: path".
    fn found(files: &[&str], labelled: Option<bool>) -> Vec<String> {
        let dir = folder(files);
        let set = open(Path::new("set"), dir.path(), labelled).unwrap();
        let Encoded::Files { paths, folder, absolute } = &set.images else { unreachable!() };
        assert_eq!(
            (folder.as_path(), absolute.as_path()),
            (Path::new("set"), dir.path().join("set").as_path())
        );
        let class = |label: i64| if label < 0 { "-" } else { &set.classes[label as usize] };
        let line = |row: usize| {
            format!("{:?}/{}: {}", set.split[row], class(set.labels[row]), paths.get(row).display())
        };
        (0..paths.len()).map(line).collect()
    }

    #[test]
    fn folders_are_classes_in_order_of_name() {
        let files =
            ["dog/b.JPG", "dog/a.png", "cat/deep/x.webp", "cat/notes.txt", ".hidden/y.jpg", "cat/.z.jpg"];
        assert_eq!(
            found(&files, None),
            ["Train/cat: cat/deep/x.webp", "Train/dog: dog/a.png", "Train/dog: dog/b.JPG"]
        );
    }

    #[test]
    fn images_directly_in_a_folder_have_no_classes() {
        let files = ["b.jpg", "a.jpeg", "more/c.bmp"];
        let expected = ["Unlabelled/-: a.jpeg", "Unlabelled/-: b.jpg", "Unlabelled/-: more/c.bmp"];
        assert_eq!(found(&files, None), expected);
        assert_eq!(found(&["dog/a.jpg"], Some(false)), ["Unlabelled/-: dog/a.jpg"]);
        assert_eq!(found(&files, Some(true)), ["Train/more: more/c.bmp"]);
    }

    #[test]
    fn folders_named_for_splits_are_splits() {
        let files = ["val/cat/v.jpg", "train/dog/t.jpg", "train/cat/t.jpg", "unlabeled/u.jpg", "readme.md"];
        let expected = [
            "Train/cat: train/cat/t.jpg",
            "Train/dog: train/dog/t.jpg",
            "Test/cat: val/cat/v.jpg",
            "Unlabelled/-: unlabeled/u.jpg",
        ];
        assert_eq!(found(&files, None), expected);
        let vehicles = folder(&["train/a.jpg", "bus/b.jpg", "test/c.jpg"]);
        let error = open(Path::new("set"), vehicles.path(), None).unwrap_err().to_string();
        assert!(error.contains("`train`, `test` would be splits, and `bus` classes beside them"), "{error}");
        // Without training images, a folder of that name is a class like others.
        assert_eq!(
            found(&["test/a.jpg", "toast/b.jpg"], None),
            ["Train/test: test/a.jpg", "Train/toast: toast/b.jpg"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = folder(&["notes.txt"]);
        let error = |name: &str| {
            let error = open(Path::new(name), dir.path(), None).unwrap_err().to_string();
            error.replace(&dir.path().display().to_string(), "DIR")
        };
        assert_eq!(error("absent"), "DIR/absent: No such file or directory (os error 2)");
        let expected =
            "DIR/set: there is no image below it: files that end in .jpg, .jpeg, .png, .webp or .bmp";
        assert_eq!(error("set"), expected);
    }

    #[test]
    fn a_loop_of_links_is_an_error_and_a_link_to_a_folder_is_followed() {
        let dir = folder(&["dog/a.jpg"]);
        let set = dir.path().join("set");
        std::os::unix::fs::symlink(set.join("dog"), set.join("wolf")).unwrap();
        assert_eq!(open(Path::new("set"), dir.path(), None).unwrap().classes, ["dog", "wolf"]);
        std::os::unix::fs::symlink(&set, set.join("dog/again")).unwrap();
        let error = open(Path::new("set"), dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("loop"), "{error}");
    }
}
