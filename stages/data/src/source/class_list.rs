//! Published lists of ImageNet classes.

use std::fs;
use std::path::{Path, PathBuf};

use ablate_stage::StageError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bad;

/// A list of ImageNet classes, by wnid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum ClassList {
    /// Every class there is a folder of.
    #[default]
    All,
    /// The 10 classes of clustering papers (DAC, CC, GCC, IcicleGCN).
    ImageNet10,
    /// The 15 dogs of clustering papers (DAC, CC, GCC, IcicleGCN).
    Dogs15,
    /// The 50 classes of SCAN.
    Scan50,
    /// The 100 classes of SCAN, which include its 50.
    Scan100,
    /// The 200 classes of SCAN, which include its 100.
    Scan200,
    /// The 100 classes of CMC, which self-supervised papers use.
    Cmc100,
    /// The wnids in a file: the first word of each line.
    File(PathBuf),
}

impl ClassList {
    /// The file it is read from.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::All
            | Self::ImageNet10
            | Self::Dogs15
            | Self::Scan50
            | Self::Scan100
            | Self::Scan200
            | Self::Cmc100 => None,
        }
    }

    /// What a data set of these classes is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::All => "ImageNet",
            Self::ImageNet10 => "ImageNet-10",
            Self::Dogs15 => "ImageNet-Dogs",
            Self::Scan50 => "ImageNet-50 (SCAN)",
            Self::Scan100 => "ImageNet-100 (SCAN)",
            Self::Scan200 => "ImageNet-200 (SCAN)",
            Self::Cmc100 => "ImageNet-100 (CMC)",
            Self::File(_) => "ImageNet subset",
        }
    }

    /// The wnids in order, which is that of labels; `None` for all. A relative file is below `project`.
    ///
    /// # Errors
    /// Where the file cannot be read, or a line of it does not begin with a wnid of its own.
    pub(crate) fn wnids(&self, project: &Path) -> Result<Option<Vec<String>>, StageError> {
        let text = match self {
            Self::All => return Ok(None),
            Self::ImageNet10 => include_str!("../../assets/class-lists/imagenet-10.txt"),
            Self::Dogs15 => include_str!("../../assets/class-lists/imagenet-dogs-15.txt"),
            Self::Scan50 => include_str!("../../assets/class-lists/imagenet-50-scan.txt"),
            Self::Scan100 => include_str!("../../assets/class-lists/imagenet-100-scan.txt"),
            Self::Scan200 => include_str!("../../assets/class-lists/imagenet-200-scan.txt"),
            Self::Cmc100 => include_str!("../../assets/class-lists/imagenet-100-cmc.txt"),
            Self::File(path) => {
                let path = project.join(path);
                let text = fs::read_to_string(&path).map_err(StageError::io(&path))?;
                return parse(&text).map(Some).map_err(|reason| bad(&path, reason));
            }
        };
        Ok(Some(parse(text).expect("the lists the program carries are checked by a test")))
    }
}

/// Whether a name is that of an ImageNet class, as `n02085936`.
pub(super) fn is_wnid(name: &str) -> bool {
    name.len() == 9 && name.starts_with('n') && name[1..].bytes().all(|byte| byte.is_ascii_digit())
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut wnids = Vec::new();
    for (line, text) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let word = text.split_whitespace().next().unwrap_or_default();
        if !is_wnid(word) {
            return Err(format!("line {} begins with `{word}`, expected a wnid, as `n02085936`", line + 1));
        }
        wnids.push(word.to_owned());
    }
    wnids.sort_unstable();
    match wnids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("`{}` is listed twice", pair[0])),
        None if wnids.is_empty() => Err("it lists no class".to_owned()),
        None => Ok(wnids),
    }
}

#[cfg(test)]
mod tests {
    use ablate_stage::cache::Digest;

    use super::*;

    #[test]
    fn the_published_lists_are_the_ones_that_were_put_in() {
        let check = |list: ClassList, count: usize, ends: [&str; 2], digest: &str| {
            let wnids = list.wnids(Path::new("/")).unwrap().unwrap();
            assert_eq!(
                (wnids.len(), [wnids[0].as_str(), wnids[count - 1].as_str()]),
                (count, ends),
                "{list:?}"
            );
            assert!(wnids.is_sorted());
            assert_eq!(Digest::of_bytes(wnids.join(" ").as_bytes()).short(), digest, "{list:?}");
        };
        check(ClassList::ImageNet10, 10, ["n02056570", "n07747607"], "8a12d8239b55");
        check(ClassList::Dogs15, 15, ["n02085936", "n02112137"], "1622b59b817e");
        check(ClassList::Scan50, 50, ["n01601694", "n07753592"], "6a0c0a32bcc8");
        check(ClassList::Scan100, 100, ["n01558993", "n11879895"], "7d25ab409467");
        check(ClassList::Scan200, 200, ["n01443537", "n11879895"], "b49c09fddf37");
        check(ClassList::Cmc100, 100, ["n01558993", "n13040303"], "b04a30438e07");
    }

    #[test]
    fn the_two_lists_called_imagenet_100_share_12_classes() {
        let of = |list: ClassList| list.wnids(Path::new("/")).unwrap().unwrap();
        let (scan, cmc) = (of(ClassList::Scan100), of(ClassList::Cmc100));
        assert_eq!(scan.iter().filter(|wnid| cmc.contains(wnid)).count(), 12);
        let within = |small: ClassList, large: ClassList| {
            of(small).iter().all(|wnid| of(large.clone()).contains(wnid))
        };
        assert!(
            within(ClassList::Scan50, ClassList::Scan100) && within(ClassList::Scan100, ClassList::Scan200)
        );
    }

    #[test]
    fn a_list_of_ones_own_is_the_first_word_of_each_line() {
        let check = |text: &str, expected: Result<&[&str], &str>| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("list"), text).unwrap();
            let found = ClassList::File("list".into()).wnids(dir.path()).map(Option::unwrap);
            let found = found.map_err(|error| error.to_string().split_once("list: ").unwrap().1.to_owned());
            let expected = expected.map(|wnids| wnids.iter().map(|&wnid| wnid.to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check("n02056570 king penguin\n\nn01558993\n", Ok(&["n01558993", "n02056570"]));
        check("n02056570\nn02056570\n", Err("`n02056570` is listed twice"));
        check("n0205657\n", Err("line 1 begins with `n0205657`, expected a wnid, as `n02085936`"));
        check("\n", Err("it lists no class"));
    }
}
