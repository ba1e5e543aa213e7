//! Damaged files of every format give a clear error or a valid data set: no panic, and no memory by a header's word.
//!
//! Each file of a small data set is cut short, has bits flipped, bytes overwritten (sizes and types in headers with 0, 0x7f and
//! 0xff), removed and inserted, from fixed seeds, and the data set is read again.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ablate_data::{
    ArrayFile, ClassList, Granularity, Image, ImageSet, Images, Layout, OnError, Source, Stored, decode,
};
use ablate_stage::StageError;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::ImageFormat;
use parquet::basic::Compression as Codec;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held while memory is measured.
static MEASURING: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// Memory that reading a few kB may take, whatever they say: buffers, and the threads' stacks.
const LITTLE: usize = 8 * MIB;

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Damaged copies of a file, each with what was done to it.
fn damaged(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let len = whole.len();
    let mut dice = Dice(len as u64);
    let mut copies = Vec::new();
    for end in (0..len).filter(|&end| end < 140 || len - end < 12 || end % (len / 32 + 1) == 0) {
        copies.push((format!("cut to {end} bytes"), whole[..end].to_vec()));
    }
    // Half of the damage is done where headers are: at either end.
    let place = |dice: &mut Dice| match dice.below(4) {
        0 => dice.below(len.min(256)),
        1 => len - 1 - dice.below(len.min(256)),
        _ => dice.below(len),
    };
    for number in 0..160 {
        let mut copy = whole.to_vec();
        let mut done = String::new();
        for _ in 0..1 + dice.below(3) {
            let at = place(&mut dice);
            let until = (at + 1 + dice.below(8)).min(copy.len());
            if at >= until {
                continue;
            }
            match number % 8 {
                0..4 => {
                    let bit = dice.below(8);
                    copy[at] ^= 1 << bit;
                    done += &format!("bit {bit} of byte {at} flipped; ");
                }
                4..6 => {
                    let value = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)];
                    copy[at..until].fill(value);
                    done += &format!("bytes {at} to {until} are {value}; ");
                }
                6 => {
                    copy.drain(at..until);
                    done += &format!("bytes {at} to {until} removed; ");
                }
                _ => {
                    copy.splice(at..at, (at..until).map(|_| dice.below(256) as u8));
                    done += &format!("{} bytes inserted at {at}; ", until - at);
                }
            }
        }
        copies.push((done, copy));
    }
    copies.push(("twice".to_owned(), [whole, whole].concat()));
    copies
}

/// What became of damaged files.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    refused: usize,
    read: usize,
}

impl Outcome {
    /// Checks that the damage was neither always seen nor never.
    #[track_caller]
    fn is_mixed(&self) {
        assert!(self.refused > 100 && self.read > 10, "{self:?}");
    }
}

/// Runs `read` and checks that it does not panic, and takes no more than `most` bytes of memory.
fn guarded<T>(most: usize, read: impl FnOnce() -> Result<T, String>) -> Result<Result<T, String>, String> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let found = catch_unwind(AssertUnwindSafe(read)).map_err(|_| "it panics".to_owned())?;
    let taken = MEMORY.peak_usage().saturating_sub(before);
    match taken <= most {
        true => Ok(found),
        false => Err(format!("{} MiB are taken", taken / MIB)),
    }
}

fn valid(set: &ImageSet) -> bool {
    let labels = -1..set.classes.len() as i64;
    let images = match &set.images {
        Stored::Pixels(pixels) => pixels.len(),
        Stored::Files(files) => files.digests.len(),
    };
    (set.split.len(), images) == (set.labels.len(), set.labels.len())
        && set.names.as_ref().is_none_or(|names| names.len() == set.len())
        && !set.is_empty()
        && set.labels.iter().all(|label| labels.contains(label))
}

/// Damages the files of a data set, one after the other, and reads it each time. An error must name a file or the folder.
#[track_caller]
fn attack(images: &Images, folder: &Path, files: &[&str], most: usize) -> Outcome {
    let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let read = || images.read(folder).map_err(|error: StageError| error.to_string());
    let whole = read();
    assert!(whole.as_ref().is_ok_and(valid), "undamaged: {whole:?}");
    let (mut outcome, mut faults) = (Outcome::default(), Vec::new());
    for file in files {
        let path = folder.join(file);
        let whole = fs::read(&path).unwrap();
        for (done, copy) in damaged(&whole) {
            fs::write(&path, copy).unwrap();
            match guarded(most, read) {
                Ok(Ok(set)) if valid(&set) => outcome.read += 1,
                Ok(Ok(_)) => faults.push(format!("{file}, {done}: the data set is not valid")),
                Ok(Err(error)) if error.contains(folder.to_str().unwrap()) => outcome.refused += 1,
                Ok(Err(error)) => faults.push(format!("{file}, {done}: `{error}` names no file")),
                Err(fault) => faults.push(format!("{file}, {done}: {fault}")),
            }
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    outcome
}

/// A folder with files.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// A copy of a folder of `fixtures/published`, and the names of its files.
fn published(name: &str) -> (tempfile::TempDir, Vec<String>) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published").join(name);
    let files = walkdir::WalkDir::new(&from).sort_by_file_name().into_iter().map(Result::unwrap);
    let files: Vec<PathBuf> =
        files.filter(|entry| entry.file_type().is_file()).map(|e| e.into_path()).collect();
    let names = files.iter().map(|path| path.strip_prefix(&from).unwrap().to_str().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    let contents = files.iter().map(|path| fs::read(path).unwrap());
    let all: Vec<(&str, Vec<u8>)> = names.iter().map(String::as_str).zip(contents).collect();
    (folder(&all), names)
}

/// A gradient with some noise, so that every coder has something to do.
fn picture(height: usize, width: usize, seed: u64) -> Image {
    let mut dice = Dice(seed);
    let mut value = |at: usize| (at * 255 / (height * width * 3) + dice.below(32)).min(255) as u8;
    Image::new(height, width, 3, (0..height * width * 3).map(&mut value).collect())
}

fn encoded(image: &Image, format: ImageFormat) -> Vec<u8> {
    let (height, width) = (image.height() as u32, image.width() as u32);
    let buffer = image::RgbImage::from_raw(width, height, image.pixels().to_vec()).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    buffer.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn idx(shape: &[u32], data: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|dimension| dimension.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_gzipped_or_not() {
    let files = [
        ("train-images-idx3-ubyte.gz", gzip(&idx(&[6, 5, 4], 0..120))),
        ("train-labels-idx1-ubyte", idx(&[6], [0, 1, 2, 0, 1, 2])),
        ("t10k-images-idx3-ubyte", idx(&[2, 5, 4], 0..40)),
        ("t10k-labels-idx1-ubyte.gz", gzip(&idx(&[2], [2, 1]))),
    ];
    let dir = folder(&files);
    let images = Images::new(Source::Idx { folder: "".into() });
    let outcome = attack(&images, dir.path(), &files.each_ref().map(|(name, _)| *name), LITTLE);
    outcome.is_mixed();
}

#[test]
fn cifar_pickles() {
    for (name, source) in [
        ("cifar10", Source::Cifar10 { folder: "".into() }),
        ("cifar100", Source::Cifar100 { folder: "".into(), labels: Granularity::Coarse }),
    ] {
        let (dir, names) = published(name);
        let files: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !name.contains("data_batch_") || name.ends_with('3'))
            .collect();
        let outcome = attack(&Images::new(source), dir.path(), &files, LITTLE);
        outcome.is_mixed();
    }
}

#[test]
fn cifar_binary() {
    let record = |labels: &[u8]| [labels, picture(32, 32, 0).pixels()].concat();
    let dir = folder(&[
        ("train.bin", [record(&[1, 2]), record(&[3, 4])].concat()),
        ("test.bin", record(&[19, 99])),
        (
            "coarse_label_names.txt",
            (0..20).map(|label| format!("class {label}\n")).collect::<String>().into(),
        ),
    ]);
    let images = Images::new(Source::Cifar100 { folder: "".into(), labels: Granularity::Coarse });
    let files = ["train.bin", "test.bin", "coarse_label_names.txt"];
    let outcome = attack(&images, dir.path(), &files, LITTLE);
    outcome.is_mixed();
}

#[test]
fn stl_10() {
    let image = picture(96, 96, 1);
    let dir = folder(&[
        ("train_X.bin", image.pixels().repeat(2)),
        ("train_y.bin", vec![1, 10]),
        ("test_X.bin", image.pixels().to_vec()),
        ("test_y.bin", vec![5]),
        ("unlabeled_X.bin", image.pixels().to_vec()),
    ]);
    let images = Images::new(Source::Stl10 { folder: "".into(), unlabelled: true });
    let files = ["train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"];
    let outcome = attack(&images, dir.path(), &files, LITTLE);
    outcome.is_mixed();
}

#[test]
fn svhn() {
    let (dir, names) = published("svhn");
    let images = Images::new(Source::Svhn { folder: "".into(), extra: true });
    let files: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcome = attack(&images, dir.path(), &files, LITTLE);
    outcome.is_mixed();
}

#[test]
fn numpy() {
    let (dir, _) = published("arrays");
    let npy = |name: &str| ArrayFile::Npy(name.into());
    let images = Images::new(Source::Arrays {
        images: npy("train.npy"),
        labels: Some(npy("train_labels.npy")),
        test_images: Some(npy("test.npy")),
        test_labels: Some(npy("test_labels.npy")),
        layout: Layout::Auto,
    });
    let files = ["train.npy", "train_labels.npy", "test.npy", "test_labels.npy"];
    // A label of 1,000,000 is one, and then there are as many names of classes.
    let outcome = attack(&images, dir.path(), &files, 64 * MIB);
    outcome.is_mixed();
}

#[test]
fn safetensors() {
    let header = r#"{"__metadata__":{"a":"b"},"labels":{"dtype":"I64","shape":[2],"data_offsets":[40,56]},"x":{"dtype":"U8","shape":[2,1,5,4],"data_offsets":[0,40]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes().chain(0..40).chain(1_i64.to_le_bytes()).chain(0_i64.to_le_bytes()));
    let dir = folder(&[("a.safetensors", bytes)]);
    let tensor = |name: &str| ArrayFile::Safetensors("a.safetensors".into(), name.to_owned());
    let images = Images::new(Source::Arrays {
        images: tensor("x"),
        labels: Some(tensor("labels")),
        test_images: None,
        test_labels: None,
        layout: Layout::Auto,
    });
    let outcome = attack(&images, dir.path(), &["a.safetensors"], 64 * MIB);
    outcome.is_mixed();
}

/// Memory that decoding an image may take: its header may promise 67 million pixels.
const IMAGE: usize = 1024 * MIB;

#[test]
fn encoded_images() {
    let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut faults = Vec::new();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        for (done, copy) in damaged(&encoded(&picture(24, 20, 2), format)) {
            match guarded(IMAGE, || decode(&copy)) {
                Ok(Ok(image)) if image.pixels().len() == image.height() * image.width() * 3 => {}
                Ok(Err(reason)) if !reason.is_empty() => {}
                other => faults.push(format!("{format:?}, {done}: {other:?}")),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn folders_with_broken_images() {
    let jpeg = encoded(&picture(8, 8, 3), ImageFormat::Jpeg);
    let png = encoded(&picture(8, 8, 4), ImageFormat::Png);
    let dir = folder(&[("set/cat/a.jpg", jpeg), ("set/dog/b.png", png)]);
    let strict = Images::new(Source::Folder { folder: "set".into(), labelled: None });
    let files = ["set/cat/a.jpg", "set/dog/b.png"];
    let outcome = attack(&strict, dir.path(), &files, IMAGE);
    outcome.is_mixed();
    let lenient = Images { on_error: OnError::Skip, ..strict };
    let outcome = attack(&lenient, dir.path(), &files, IMAGE);
    assert_eq!(outcome.refused, 0, "the other image is left");
}

/// A file of a data set of the Hugging Face hub: images as structs of bytes and path, and labels.
fn shard(images: &[(Vec<u8>, i64)], codec: Codec, dictionary: bool) -> Vec<u8> {
    let schema = "message schema {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let names = r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let pair = parquet::file::metadata::KeyValue::new("huggingface".to_owned(), names.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_dictionary_enabled(dictionary)
        .set_key_value_metadata(Some(vec![pair]));
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    for images in images.chunks(2) {
        let mut group = file.next_row_group().unwrap();
        let pixels: Vec<ByteArray> = images.iter().map(|(bytes, _)| bytes.clone().into()).collect();
        let paths: Vec<ByteArray> = images.iter().map(|_| "a.png".into()).collect();
        for (values, levels) in [(pixels, vec![2; images.len()]), (paths, vec![2; images.len()])] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = images.iter().map(|&(_, label)| label).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; images.len()]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

#[test]
fn parquet() {
    let image = |seed| encoded(&picture(6, 6, seed), ImageFormat::Png);
    let train = [(image(1), 0), (image(2), 1), (image(3), 1)];
    let test = [(image(4), 1)];
    let zstd = Codec::ZSTD(Default::default());
    let dir = folder(&[
        ("set/data/train-00000-of-00002.parquet", shard(&train, Codec::SNAPPY, true)),
        ("set/data/train-00001-of-00002.parquet", shard(&train, Codec::UNCOMPRESSED, false)),
        ("set/data/test-00000-of-00001.parquet", shard(&test, zstd, false)),
    ]);
    let images = Images::new(Source::HuggingFace { folder: "set".into(), label: None });
    let files = [
        "set/data/train-00000-of-00002.parquet",
        "set/data/train-00001-of-00002.parquet",
        "set/data/test-00000-of-00001.parquet",
    ];
    // A compressed page is given the memory that its header asks for, at most 2 GiB, before it is unpacked.
    let outcome = attack(&images, dir.path(), &files, 2048 * MIB + LITTLE);
    outcome.is_mixed();
}

#[test]
fn lists_of_imagenet_and_tiny_imagenet() {
    let image = encoded(&picture(4, 4, 5), ImageFormat::Png);
    let dir = folder(&[
        ("tiny/wnids.txt", b"n02124075\nn01443537\n".to_vec()),
        ("tiny/train/n02124075/images/n02124075_0.JPEG", image.clone()),
        ("tiny/train/n01443537/images/n01443537_0.JPEG", image.clone()),
        ("tiny/val/images/val_0.JPEG", image.clone()),
        ("tiny/val/val_annotations.txt", b"val_0.JPEG\tn02124075\t0\t32\t44\t62\n".to_vec()),
        ("large/train/n02124075/a.JPEG", image.clone()),
        ("large/train/n01443537/b.JPEG", image.clone()),
        ("large/val/v_1.JPEG", image),
        ("large/LOC_val_solution.csv", b"ImageId,PredictionString\nv_1,n02124075 1 2 3 4 \n".to_vec()),
        ("classes.txt", b"n02124075 tiger cat\nn01443537 goldfish\n".to_vec()),
    ]);
    let tiny = Images::new(Source::TinyImageNet { folder: "tiny".into() });
    let outcome = attack(&tiny, dir.path(), &["tiny/wnids.txt", "tiny/val/val_annotations.txt"], LITTLE);
    outcome.is_mixed();
    let classes = ClassList::File("classes.txt".into());
    let large = Images::new(Source::ImageNet { folder: "large".into(), classes });
    let outcome = attack(&large, dir.path(), &["large/LOC_val_solution.csv", "classes.txt"], LITTLE);
    outcome.is_mixed();
}
