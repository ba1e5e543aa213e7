//! Images and labels in arrays that someone made.

use std::io::Read;
use std::path::Path;

use ablate_stage::{MAX_CLASSES, Split, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::array_file::{Array, ArrayFile, Element};
use super::bad;
use super::planar::{Gathered, Order, Planar};
use crate::ImageSet;

/// Where the channels are in an array of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Layout {
    /// Where there is a side of 1 or 3, last or before height and width. An array of which both could be is refused.
    #[default]
    Auto,
    /// `[N, H, W, C]`, as Pillow, OpenCV and TensorFlow have images.
    Hwc,
    /// `[N, C, H, W]`, as PyTorch has them.
    Chw,
}

/// What is asked for: the arrays of the two splits.
pub(super) struct Asked<'a> {
    pub images: &'a ArrayFile,
    pub labels: Option<&'a ArrayFile>,
    pub test_images: Option<&'a ArrayFile>,
    pub test_labels: Option<&'a ArrayFile>,
    pub layout: Layout,
}

/// An array of images whose header was read.
struct Images {
    array: Array,
    n: usize,
    image: Planar,
    /// Whether the channels of a pixel are together.
    interleaved: bool,
}

/// Reads the images, then the test images.
///
/// # Errors
/// Where a file is missing, is not what it should be, or the arrays do not fit one another.
pub(super) fn read(asked: &Asked<'_>, project: &Path) -> Result<ImageSet, StageError> {
    if let (None, Some(labels)) = (asked.test_images, asked.test_labels) {
        return Err(bad(
            labels.path(),
            "these are test labels, and there are no test images: name them in `test_images`",
        ));
    }
    let mut gathered = Gathered::default();
    let mut parts = Vec::new();
    let splits = [
        (Some(asked.images), asked.labels, Split::Train),
        (asked.test_images, asked.test_labels, Split::Test),
    ];
    for (file, labels, split) in splits {
        let Some(file) = file else { continue };
        let images = Images::of(file.open(project)?, asked.layout)?;
        gathered.labels.extend(match labels {
            Some(labels) => read_labels(&labels.open(project)?, &images)?,
            None => vec![-1; images.n],
        });
        // Images nobody labelled teach without labels, unless they are held out.
        let labelled = labels.is_some() || split == Split::Test;
        gathered.are_of(if labelled { split } else { Split::Unlabelled });
        parts.push(images);
    }
    let first = &parts[0];
    let image = first.image;
    if let Some(other) = parts.iter().find(|images| images.image != image) {
        let sides =
            |image: Planar| format!("{}×{} with {} channels", image.height, image.width, image.channels);
        let found = format!("its images are {}, the train images {}", sides(other.image), sides(image));
        return Err(bad(&other.array.path, found));
    }
    if u32::try_from(gathered.labels.len()).is_err() {
        return Err(bad(&first.array.path, format!("{} images are too many", gathered.labels.len())));
    }
    gathered.reserve(gathered.labels.len(), image, &first.array.path)?;
    parts.iter().try_for_each(|images| images.read(&mut gathered.pixels))?;
    let most = gathered.labels.iter().max().copied().unwrap_or(-1);
    let classes = (0..=most).map(|label| label.to_string()).collect();
    let name = asked.images.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(gathered.finish(name, classes, image))
}

impl Images {
    fn of(array: Array, layout: Layout) -> Result<Self, StageError> {
        let refused = |reason: String| Err(bad(&array.path, reason));
        if array.element != Element::U8 {
            return refused("its elements are not `u1`: images are bytes from 0 to 255".to_owned());
        }
        let colours = |side: usize| side == 1 || side == 3;
        let (n, [height, width, channels], interleaved) = match (array.shape.as_slice(), layout) {
            (&[n, height, width], _) => (n, [height, width, 1], true),
            (&[n, height, width, channels], Layout::Hwc) => (n, [height, width, channels], true),
            (&[n, channels, height, width], Layout::Chw) => (n, [height, width, channels], false),
            (&[n, a, b, c], Layout::Auto) => match (colours(a), colours(c)) {
                (false, true) => (n, [a, b, c], true),
                (true, false) => (n, [b, c, a], false),
                (true, true) => {
                    return refused(format!(
                        "{:?} may be [N, H, W, C] or [N, C, H, W]: say which with `layout`",
                        array.shape
                    ));
                }
                (false, false) => {
                    return refused(format!("it is {:?}, and no side is of 1 or 3 channels", array.shape));
                }
            },
            _ => {
                return refused(format!(
                    "it is {:?}, expected [N, H, W], [N, H, W, C] or [N, C, H, W]",
                    array.shape
                ));
            }
        };
        if n == 0 || height == 0 || width == 0 || !colours(channels) {
            return refused(format!("it has {n} images of {height}×{width} pixels with {channels} channels"));
        }
        let image = Planar { height, width, channels, order: Order::Rows };
        Ok(Self { array, n, image, interleaved })
    }

    fn read(&self, pixels: &mut Vec<u8>) -> Result<(), StageError> {
        let (mut data, before) = (self.array.data()?, pixels.len());
        match self.interleaved {
            true => data.read_to_end(pixels).map(|_| ()),
            false => self.image.read(&mut data, self.n, pixels),
        }
        .map_err(StageError::io(&self.array.path))?;
        match pixels.len() - before == self.n * self.image.len() {
            true => Ok(()),
            false => Err(bad(&self.array.path, "it became shorter while it was read")),
        }
    }
}

fn read_labels(array: &Array, images: &Images) -> Result<Vec<i64>, StageError> {
    let (&[n] | &[n, 1]) = array.shape.as_slice() else {
        return Err(bad(
            &array.path,
            format!("it is {:?}, expected a label for each image, [N]", array.shape),
        ));
    };
    if n != images.n {
        let found = format!("it has {n} labels, and {} has {} images", images.array.path.display(), images.n);
        return Err(bad(&array.path, found));
    }
    let mut bytes = Vec::new();
    array.data()?.read_to_end(&mut bytes).map_err(StageError::io(&array.path))?;
    let labels = bytes.chunks_exact(array.element.bytes).enumerate().map(|(row, bytes)| {
        let label = array.element.value(bytes).filter(|label| (-1..MAX_CLASSES).contains(label));
        label.ok_or_else(|| {
            let expected = format!("expected 0 to {}, or −1 for none", MAX_CLASSES - 1);
            bad(&array.path, format!("image {row} has a label out of range, {expected}"))
        })
    });
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    match labels.len() == n {
        true => Ok(labels),
        false => Err(bad(&array.path, "it became shorter while it was read")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Pixels, Stored};

    /// A folder of .npy files: name, element type, shape and bytes.
    fn folder(files: &[(&str, &str, &[usize], Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind, shape, data) in files {
            let shape: String = shape.iter().map(|side| format!("{side}, ")).collect();
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape})}}");
            let len = (header.len() as u16).to_le_bytes();
            let bytes = [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat();
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn asked(dir: &tempfile::TempDir, [a, b, c, d]: [&str; 4], layout: Layout) -> Result<ImageSet, String> {
        let file = |name: &str| (!name.is_empty()).then(|| ArrayFile::Npy(name.into()));
        let files = [a, b, c, d].map(file);
        let asked = Asked {
            images: files[0].as_ref().unwrap(),
            labels: files[1].as_ref(),
            test_images: files[2].as_ref(),
            test_labels: files[3].as_ref(),
            layout,
        };
        let show = |error: StageError| error.to_string().replace(&dir.path().display().to_string(), "DIR");
        read(&asked, dir.path()).map_err(show)
    }

    fn pixels(set: ImageSet) -> (usize, usize, usize, Vec<u8>) {
        match set.images {
            Stored::Pixels(Pixels { height, width, channels, bytes }) => (height, width, channels, bytes),
            Stored::Files(_) => unreachable!("arrays are pixels"),
        }
    }

    #[test]
    fn channels_are_found_or_said() {
        let found = |shape: &[usize], layout| {
            let bytes = (0..shape.iter().product::<usize>()).map(|at| at as u8).collect();
            asked(&folder(&[("x", "|u1", shape, bytes)]), ["x", "", "", ""], layout).map(pixels)
        };
        let row: Vec<u8> = (0..6).collect();
        // Pixel (0, 0) of [1, 3, 1, 2] has the values 0, 2 and 4.
        let of_planes = vec![0, 2, 4, 1, 3, 5];
        assert_eq!(found(&[1, 2, 3], Layout::Auto).unwrap(), (2, 3, 1, row.clone()));
        assert_eq!(found(&[1, 2, 1, 3], Layout::Hwc).unwrap(), (2, 1, 3, row.clone()));
        assert_eq!(found(&[1, 3, 1, 2], Layout::Auto).unwrap(), (1, 2, 3, of_planes.clone()));
        assert_eq!(found(&[1, 3, 1, 2], Layout::Chw).unwrap(), (1, 2, 3, of_planes));
        assert_eq!(found(&[1, 2, 3, 1], Layout::Auto).unwrap(), (2, 3, 1, row));
        let error = found(&[1, 1, 2, 3], Layout::Auto).unwrap_err();
        assert_eq!(error, "DIR/x: [1, 1, 2, 3] may be [N, H, W, C] or [N, C, H, W]: say which with `layout`");
        let error = found(&[1, 2, 3, 4], Layout::Auto).unwrap_err();
        assert_eq!(error, "DIR/x: it is [1, 2, 3, 4], and no side is of 1 or 3 channels");
        let error = found(&[1, 2, 3, 4], Layout::Hwc).unwrap_err();
        assert_eq!(error, "DIR/x: it has 1 images of 2×3 pixels with 4 channels");
        let error = found(&[0, 2, 3], Layout::Auto).unwrap_err();
        assert_eq!(error, "DIR/x: it has 0 images of 2×3 pixels with 1 channels");
        let error = found(&[6], Layout::Auto).unwrap_err();
        assert_eq!(error, "DIR/x: it is [6], expected [N, H, W], [N, H, W, C] or [N, C, H, W]");
    }

    #[test]
    fn labels_may_be_there_for_either_split() {
        let dir = folder(&[
            ("x", "|u1", &[2, 1, 1], vec![1, 2]),
            ("y", "<i2", &[2], vec![2, 0, 0xff, 0xff]),
            ("test_x", "|u1", &[1, 1, 1], vec![3]),
            ("test_y", "|u1", &[1, 1], vec![4]),
            ("three", "|u1", &[3], vec![0; 3]),
            ("large", "<u4", &[2], vec![0, 0, 0, 0, 0, 0, 0x10, 0]),
            ("wide", "|u1", &[1, 1, 2], vec![5, 6]),
        ]);
        let found = |files| {
            asked(&dir, files, Layout::Auto).map(|set| (set.labels.clone(), set.split.clone(), pixels(set).3))
        };
        use Split::{Test, Train, Unlabelled};
        let all = (vec![2, -1, 4], vec![Train, Train, Test], vec![1, 2, 3]);
        assert_eq!(found(["x", "y", "test_x", "test_y"]).unwrap(), all);
        let without = (vec![-1, -1, -1], vec![Unlabelled, Unlabelled, Test], vec![1, 2, 3]);
        assert_eq!(found(["x", "", "test_x", ""]).unwrap(), without);
        let error = |files| found(files).unwrap_err();
        assert_eq!(error(["x", "three", "", ""]), "DIR/three: it has 3 labels, and DIR/x has 2 images");
        assert_eq!(
            error(["x", "large", "", ""]),
            "DIR/large: image 1 has a label out of range, expected 0 to 1048575, or −1 for none"
        );
        assert_eq!(
            error(["x", "", "", "y"]),
            "y: these are test labels, and there are no test images: name them in `test_images`"
        );
        assert_eq!(
            error(["x", "", "wide", ""]),
            "DIR/wide: its images are 1×2 with 1 channels, the train images 1×1 with 1 channels"
        );
        assert_eq!(
            error(["y", "", "", ""]),
            "DIR/y: its elements are not `u1`: images are bytes from 0 to 255"
        );
        assert_eq!(error(["absent", "", "", ""]), "DIR/absent: No such file or directory (os error 2)");
    }
}
