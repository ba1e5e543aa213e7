//! Decodes the images a data set is made of, once: to keep them, or to know that they can be read.

use ablate_stage::cache::Digest;
use ablate_stage::{Job, Progress, Split, StageError};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Encoded, Item};
use crate::image_set::{ChannelSums, split_for_stats};
use crate::{Files, Image, ImageError, Paths, Pixels, Resizing, Stored, decode};

/// What becomes of an image that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    /// The stage fails, and names it.
    #[default]
    Fail,
    /// It is left out; how many, and the first names, are in the log.
    Skip,
}

/// Where decoded images are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Storage {
    /// In memory where they have one size and take at most 2 GiB, in their files otherwise.
    #[default]
    Auto,
    /// Decoded, in the artifact and in the memory of the stages that read it.
    Memory,
    /// Encoded, in their files, which must stay where they are: an image is read and decoded each time it is seen. In memory it
    /// takes the bytes of its path and some 60 more.
    Files,
}

/// Most bytes of pixels that [`Storage::Auto`] keeps in memory.
const AUTO_BYTES: usize = 2 << 30;

/// Names of images that cannot be read in a message.
const NAMED: usize = 10;

/// How images are taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    /// The size they are brought to.
    pub resize: Option<Resizing>,
    /// What becomes of those that cannot be read.
    pub on_error: OnError,
    /// Where they are kept.
    pub storage: Storage,
}

/// What is known of an image once it was decoded.
struct Decoded {
    /// The image at the size it is brought to, where it is to be kept and has the size of the others.
    image: Option<Image>,
    /// Height and width at that size.
    shown: (usize, usize),
    /// Height and width as it is stored.
    size: [u32; 2],
    sums: ChannelSums,
    digest: Digest,
    name: String,
}

/// Decodes the images of the given rows, of which `split` is. Returns them, what they are called, and the places in `rows` of those
/// that can be read.
///
/// # Errors
/// Where an image cannot be read and that is not to be skipped, all cannot, or they cannot be kept as asked for.
pub(crate) fn take_in(
    encoded: &Encoded,
    rows: &[u32],
    split: &[Split],
    taking: Taking,
    job: &mut Job<'_>,
) -> Result<(Stored, Paths, Vec<u32>), StageError> {
    let mut kept = Kept::new(taking, encoded, rows.len());
    // By the code of the split.
    let mut sums: [ChannelSums; 3] = Default::default();
    let (mut good, mut broken) = (Vec::new(), Vec::new());
    let mut done = 0;
    encoded.for_each_chunk(rows, |items| {
        let mut items = items.as_slice();
        while !items.is_empty() {
            if job.stop_requested() {
                return Err(StageError::Stopped);
            }
            // The first image decides whether pixels are kept: until then one is decoded at a time.
            let (now, later) = items.split_at(if good.is_empty() { 1 } else { items.len() });
            items = later;
            let wanted = kept.wanted();
            let decode = |item: &Item| decode_item(item, taking.resize, wanted);
            for found in now.par_iter().map(decode).collect::<Vec<_>>() {
                match found {
                    Ok(decoded) => {
                        sums[split[done] as usize].merge(&decoded.sums);
                        kept.add(decoded)?;
                        good.push(done as u32);
                    }
                    Err(error) => broken.push(error),
                }
                done += 1;
            }
            if taking.on_error == OnError::Fail && !broken.is_empty() {
                let advice = "mend or remove them, or leave them out with `on_error: Skip`";
                return Err(StageError::Failed(format!("{}; {advice}", listed(&broken))));
            }
        }
        job.progress(Progress::of(done as u64, rows.len() as u64, "image"));
        Ok(())
    })?;
    if !broken.is_empty() {
        job.log(format!("left out: {}", listed(&broken)));
    }
    if good.is_empty() {
        return Err(StageError::Failed("no image is left".to_owned()));
    }
    let chosen: Vec<u32> = good.iter().map(|&at| rows[at as usize]).collect();
    let split: Vec<Split> = good.iter().map(|&at| split[at as usize]).collect();
    let stored = kept.finish(encoded, taking.resize, &sums[split_for_stats(&split) as usize]);
    Ok((stored, encoded.names(&chosen), good))
}

/// Whether the pixels of an image are wanted.
#[derive(Clone, Copy)]
enum Wanted {
    /// Whatever the size.
    Any,
    /// Of this height and width only.
    Of(usize, usize),
    /// None.
    Nothing,
}

fn decode_item(item: &Item, resize: Option<Resizing>, wanted: Wanted) -> Result<Decoded, ImageError> {
    let bytes = item.bytes()?;
    let decoded = decode::decode_resized(&bytes, resize);
    let (image, size) = decoded.map_err(|reason| ImageError::new(item.name(), reason))?;
    let mut sums = ChannelSums::default();
    sums.add(image.pixels(), image.channels());
    let shown = (image.height(), image.width());
    let keep = match wanted {
        Wanted::Any => true,
        Wanted::Of(height, width) => shown == (height, width),
        Wanted::Nothing => false,
    };
    let (digest, name) = (Digest::of_bytes(&bytes), item.name().into_owned());
    Ok(Decoded { image: keep.then_some(image), shown, size, sums, digest, name })
}

/// "3 images cannot be read: a.jpg: it is empty; …".
fn listed(broken: &[ImageError]) -> String {
    let named: Vec<String> = broken.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if broken.len() > NAMED { "; …" } else { "" };
    let count = if broken.len() == 1 { "1 image".to_owned() } else { format!("{} images", broken.len()) };
    format!("{count} cannot be read: {}{more}", named.join("; "))
}

/// That so many images do not fit into memory.
pub(crate) fn too_large(images: usize, height: usize, width: usize, channels: usize) -> StageError {
    let gib = images as f64 * (height * width * channels) as f64 / (1_u64 << 30) as f64;
    let advice = "give them a smaller size with `resize`, or keep fewer";
    StageError::Failed(format!(
        "{images} images of {height}×{width} pixels take {gib:.1} GiB, and there is not as much memory; {advice}"
    ))
}

/// What is kept of the images so far.
struct Kept {
    storage: Storage,
    /// Whether the images are files that can be read again.
    files: bool,
    /// Most images there may be.
    most: usize,
    /// The first image's name.
    first: Option<String>,
    /// Every image's pixels, while they may stay in memory.
    pixels: Option<Pixels>,
    sizes: Vec<[u32; 2]>,
    digests: Vec<Digest>,
}

impl Kept {
    fn new(taking: Taking, encoded: &Encoded, most: usize) -> Self {
        let files = matches!(encoded, Encoded::Files { .. });
        let (sizes, digests) = (Vec::new(), Vec::new());
        Self { storage: taking.storage, files, most, first: None, pixels: None, sizes, digests }
    }

    fn wanted(&self) -> Wanted {
        match (&self.first, &self.pixels) {
            (None, _) => Wanted::Any,
            (Some(_), Some(pixels)) => Wanted::Of(pixels.height, pixels.width),
            (Some(_), None) => Wanted::Nothing,
        }
    }

    fn add(&mut self, decoded: Decoded) -> Result<(), StageError> {
        let Decoded { image, shown, size, digest, name, .. } = decoded;
        match (&self.first, &mut self.pixels) {
            (None, _) => {
                self.pixels = self.in_memory(image.as_ref(), shown)?;
                self.first = Some(name);
            }
            (Some(first), Some(pixels)) if (pixels.height, pixels.width) != shown => {
                let found = format!(
                    "the images differ in size: {first} has {}×{} pixels, {name} {}×{}",
                    pixels.height, pixels.width, shown.0, shown.1
                );
                self.may_stay_in_files(&found)?;
                self.pixels = None;
            }
            (Some(_), _) => {}
        }
        if let (Some(pixels), Some(image)) = (&mut self.pixels, image) {
            pixels.bytes.extend_from_slice(image.pixels());
        }
        if self.files {
            self.sizes.push(size);
            self.digests.push(digest);
        }
        Ok(())
    }

    /// Place for the pixels of all images, were they as large as the first, if they are to be kept in memory.
    fn in_memory(
        &self,
        first: Option<&Image>,
        (height, width): (usize, usize),
    ) -> Result<Option<Pixels>, StageError> {
        let channels = first.expect("the first image is wanted whatever its size").channels();
        let bytes = self.most.saturating_mul(height * width * channels);
        match self.storage {
            Storage::Auto if bytes > AUTO_BYTES => {
                let gib = bytes as f64 / (1_u64 << 30) as f64;
                let found = format!(
                    "{} images of {height}×{width} pixels take {gib:.1} GiB, more than the 2 GiB kept in memory",
                    self.most
                );
                self.may_stay_in_files(&found)?;
                Ok(None)
            }
            Storage::Files => self.may_stay_in_files("`storage: Files` is asked for").map(|()| None),
            Storage::Auto | Storage::Memory => {
                let mut pixels = Pixels { height, width, channels, bytes: Vec::new() };
                let reserved = pixels.bytes.try_reserve_exact(bytes);
                reserved.map_err(|_| too_large(self.most, height, width, channels))?;
                Ok(Some(pixels))
            }
        }
    }

    /// Whether the images can stay where they are, because of what was found.
    fn may_stay_in_files(&self, found: &str) -> Result<(), StageError> {
        let advice = match (self.files, self.storage) {
            (true, Storage::Auto | Storage::Files) => return Ok(()),
            (true, Storage::Memory) => {
                "give them one size with `resize`, or keep them in their files with `storage: Files`"
            }
            (false, Storage::Auto | Storage::Memory | Storage::Files) => {
                "rows of Parquet are kept in memory, where images have one size; give them a smaller or common size with \
                 `resize`, or save them as image files for `Folder`"
            }
        };
        Err(StageError::Failed(format!("{found}; {advice}")))
    }

    fn finish(self, encoded: &Encoded, resize: Option<Resizing>, sums: &ChannelSums) -> Stored {
        match (self.pixels, encoded) {
            (Some(pixels), _) => Stored::Pixels(pixels),
            (None, Encoded::Files { folder, absolute, .. }) => Stored::Files(Files {
                folder: folder.clone(),
                absolute: absolute.clone(),
                digests: self.digests,
                sizes: self.sizes,
                resize,
                stats: sums.stats(),
            }),
            (None, Encoded::Shards(_)) => {
                unreachable!("images that are not in files of their own stay in memory")
            }
        }
    }
}
