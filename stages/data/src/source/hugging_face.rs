//! Data sets of the Hugging Face hub, in Parquet files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ablate_stage::{MAX_CLASSES, Split, StageError};
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::{Catalogue, Encoded, Item, bad, name_of};
use crate::Paths;

/// Columns of images, in the order they are looked for.
const IMAGES: [&str; 4] = ["image.bytes", "img.bytes", "image", "img"];

/// Columns of labels, likewise.
const LABELS: [&str; 3] = ["label", "fine_label", "labels"];

/// Words of file names and of folders that are splits. Of several that are the test split, the first whose images have labels is
/// taken, or the first where none have.
const SPLITS: [(&str, Split); 7] = [
    ("train", Split::Train),
    ("test", Split::Test),
    ("validation", Split::Test),
    ("valid", Split::Test),
    ("val", Split::Test),
    ("unlabeled", Split::Unlabelled),
    ("unsupervised", Split::Unlabelled),
];

/// Rows of Parquet files that are encoded images, file after file.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    files: Vec<Shard>,
}

#[derive(Clone, Debug)]
struct Shard {
    path: PathBuf,
    /// Index of the column of images.
    column: usize,
    /// Rows of each row group.
    groups: Vec<usize>,
}

/// A file, read but for its images.
struct Opened {
    shard: Shard,
    labels: Vec<i64>,
    names: Option<Vec<String>>,
}

/// Finds the images.
///
/// # Errors
/// Where there is no Parquet file, or one has no column of images, or not the asked for column of labels.
pub(super) fn open(folder: &Path, project: &Path, label: Option<&str>) -> Result<Catalogue, StageError> {
    let root = project.join(folder);
    let parts = parts(&root)?;
    // Each part with its split, and whether any image of it has a label.
    let mut opened = Vec::new();
    for (name, of) in SPLITS {
        let Some(paths) = parts.get(name) else { continue };
        let files = paths.iter().map(|path| guarded(|| open_file(path, label)).map_err(failed(path)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let labelled = files.iter().any(|file| file.labels.iter().any(|&label| label >= 0));
        opened.push((of, labelled, files));
    }
    let tests = || opened.iter().enumerate().filter(|(_, (of, _, _))| *of == Split::Test);
    let test = tests().find(|(_, (_, labelled, _))| *labelled).or(tests().next()).map(|(at, _)| at);
    let (mut labels, mut split, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let mut names: Option<Vec<String>> = None;
    for (at, (of, labelled, parts)) in opened.into_iter().enumerate() {
        if of == Split::Test && test != Some(at) {
            continue;
        }
        // As in folders: images nobody named a class for teach without labels.
        let of = if of == Split::Train && !labelled { Split::Unlabelled } else { of };
        for Opened { shard, labels: found, names: called } in parts {
            split.resize(split.len() + found.len(), of);
            labels.extend(found);
            files.push(shard);
            names = names.or(called);
        }
    }
    let most = labels.iter().max().copied().unwrap_or(-1);
    let classes = match names {
        Some(names) if most >= names.len() as i64 => {
            return Err(bad(&root, format!("it has the label {most}, and names {} classes", names.len())));
        }
        Some(names) => names,
        None => (0..=most).map(|label| label.to_string()).collect(),
    };
    let name = name_of(folder);
    Ok(Catalogue { name, classes, labels, split, images: Encoded::Shards(Shards { files }) })
}

/// Name of a split → its files, in order of name.
fn parts(root: &Path) -> Result<BTreeMap<&'static str, Vec<PathBuf>>, StageError> {
    let is_parquet = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
    let mut paths = Vec::new();
    if fs::metadata(root).map_err(StageError::io(root))?.is_file() {
        paths.push(root.to_owned());
    } else {
        for entry in walkdir::WalkDir::new(root).follow_links(true).max_depth(3).sort_by_file_name() {
            let entry = entry.map_err(|error| bad(root, error.to_string()))?;
            if is_parquet(entry.path()) {
                paths.push(entry.into_path());
            }
        }
    }
    if paths.is_empty() {
        return Err(bad(
            root,
            "there is no .parquet file in it; a data set of the hub has them in its folder `data`",
        ));
    }
    let mut parts: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    let named = paths.iter().any(|path| split_of(root, path).is_some());
    for path in paths {
        match split_of(root, &path) {
            Some(split) => parts.entry(split).or_default().push(path),
            None if named => {
                let found = "its name says no split, as `train` or `test`, and those of other files do; rename or move it";
                return Err(bad(&path, found));
            }
            None => parts.entry("train").or_default().push(path),
        }
    }
    Ok(parts)
}

/// The split a file is of: by a word of its name, or of a folder it is in below `root`.
fn split_of(root: &Path, path: &Path) -> Option<&'static str> {
    let below = path.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    let below = below.or(path.file_name().map(Path::new))?.with_extension("");
    below.iter().rev().find_map(|name| {
        let name = name.to_string_lossy().to_lowercase();
        let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
        words.find_map(|word| SPLITS.into_iter().find(|&(split, _)| split == word)).map(|(split, _)| split)
    })
}

/// Calls the reader of Parquet, which panics at some damaged files: that is an error like others.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    // What a panic leaves half done is dropped with the error.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(ParquetError::General(
            "it is damaged in a way that the reader of Parquet does not expect".to_owned(),
        ))
    })
}

fn open_file(path: &Path, label: Option<&str>) -> Result<Opened, ParquetError> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let columns: Vec<(String, PhysicalType)> =
        schema.columns().iter().map(|column| (column.path().string(), column.physical_type())).collect();
    let find =
        |name: &str, of: PhysicalType| columns.iter().position(|(path, found)| path == name && *found == of);
    let listed = || columns.iter().map(|(path, of)| format!("{path} ({of})")).collect::<Vec<_>>().join(", ");
    let column =
        IMAGES.into_iter().find_map(|name| find(name, PhysicalType::BYTE_ARRAY)).ok_or_else(|| {
            ParquetError::General(format!(
                "there is no column of images, `image` or `img`; it has {}",
                listed()
            ))
        })?;
    let label = match label {
        Some(name) => Some(find(name, PhysicalType::INT64).ok_or_else(|| {
            ParquetError::General(format!(
                "there is no column `{name}` of whole numbers; it has {}",
                listed()
            ))
        })?),
        None => LABELS.into_iter().find_map(|name| find(name, PhysicalType::INT64)),
    };
    let groups = reader.metadata().row_groups().iter().map(|group| {
        let images = group.columns().get(column).map(|column| column.num_values());
        let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
        check_rows(images.and_then(|images| usize::try_from(images).ok()).unwrap_or(0), rows)?;
        Ok(rows)
    });
    let groups = groups.collect::<Result<Vec<usize>, ParquetError>>()?;
    let rows = groups.iter().try_fold(0_usize, |sum, &rows| sum.checked_add(rows));
    if rows.is_none_or(|rows| rows as u64 > bytes) {
        return Err(ParquetError::General(format!("it has {bytes} bytes, and says it has more rows")));
    }
    let mut labels = Vec::new();
    for (group, &rows) in groups.iter().enumerate() {
        match label {
            None => labels.resize(labels.len() + rows, -1),
            Some(label) => match reader.get_row_group(group)?.get_column_reader(label)? {
                ColumnReader::Int64ColumnReader(mut column) => {
                    let before = labels.len();
                    let levels = schema.column(label).max_def_level();
                    loop {
                        let read = read_some::<Int64Type>(&mut column, levels, 1 << 16)?;
                        if read.is_empty() {
                            break;
                        }
                        labels.extend(read.into_iter().map(|label| label.unwrap_or(-1)));
                        if labels.len() - before > rows {
                            break;
                        }
                    }
                    check_rows(labels.len() - before, rows)?;
                }
                _ => return Err(ParquetError::General("the labels change their type".to_owned())),
            },
        }
    }
    if let Some(wrong) = labels.iter().find(|&&label| !(-1..MAX_CLASSES).contains(&label)) {
        return Err(ParquetError::General(format!("it has the label {wrong}")));
    }
    let names = label.and_then(|label| {
        let metadata = reader.metadata().file_metadata().key_value_metadata()?;
        let text = metadata.iter().find(|pair| pair.key == "huggingface")?.value.as_ref()?;
        let info: serde_json::Value = serde_json::from_str(text).ok()?;
        serde_json::from_value(info["info"]["features"][&columns[label].0]["names"].clone()).ok()
    });
    Ok(Opened { shard: Shard { path: path.to_owned(), column, groups }, labels, names })
}

fn check_rows(found: usize, expected: usize) -> Result<(), ParquetError> {
    match found == expected {
        true => Ok(()),
        false => Err(ParquetError::General(format!("a row group has {found} values for {expected} rows"))),
    }
}

/// The next values of a column that is not repeated, `most` at most; none at its end.
fn read_some<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    max_def_level: i16,
    most: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (records, _, _) = column.read_records(most, Some(&mut levels), None, &mut values)?;
    if max_def_level == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    let read = levels.iter().map(|&level| if level == max_def_level { values.next() } else { None });
    let read: Vec<Option<T::T>> = read.collect();
    check_rows(read.len(), records)?;
    Ok(read)
}

fn failed(path: &Path) -> impl Fn(ParquetError) -> StageError {
    move |error| bad(path, error.to_string())
}

impl Shards {
    /// `train-00000-of-00002.parquet:17` for each of the given rows, which ascend.
    pub(super) fn names(&self, rows: &[u32]) -> Paths {
        let mut rows = rows.iter().map(|&row| row as usize).peekable();
        let (mut first, mut names) = (0, Paths::default());
        for shard in &self.files {
            let end = first + shard.groups.iter().sum::<usize>();
            let file = shard.path.file_name().unwrap_or_default().to_string_lossy();
            while let Some(row) = rows.next_if(|&row| row < end) {
                names.push(Path::new(&format!("{file}:{}", row - first)));
            }
            first = end;
        }
        names
    }

    /// Calls `take` with the images of the given rows, which ascend, in order and at most `at_once` at a time.
    pub(super) fn for_each_chunk(
        &self,
        rows: &[u32],
        at_once: usize,
        mut take: impl FnMut(Vec<Item>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut rows = rows.iter().map(|&row| row as usize).peekable();
        let mut first = 0;
        for shard in &self.files {
            let failed = failed(&shard.path);
            let reader = guarded(|| SerializedFileReader::new(File::open(&shard.path)?));
            let reader = reader.map_err(&failed)?;
            let start = first;
            for (group, &len) in shard.groups.iter().enumerate() {
                let end = first + len;
                if rows.peek().is_some_and(|&row| row < end) {
                    let mut column = guarded(|| shard.column(&reader, group)).map_err(&failed)?;
                    while rows.peek().is_some_and(|&row| row < end) {
                        let read = guarded(|| column.next(at_once)).map_err(&failed)?;
                        if read.is_empty() {
                            return Err(bad(&shard.path, "a row group has fewer images than rows"));
                        }
                        let mut items = Vec::new();
                        for bytes in read {
                            if rows.next_if_eq(&first).is_some() {
                                let name = format!("{} row {}", shard.path.display(), first - start);
                                items.push(Item::Bytes(
                                    name,
                                    bytes.map_or(Vec::new(), |bytes| bytes.data().to_vec()),
                                ));
                            }
                            first += 1;
                        }
                        if !items.is_empty() {
                            take(items)?;
                        }
                    }
                }
                first = end;
            }
        }
        Ok(())
    }
}

/// The images of a row group.
struct Images {
    column: ColumnReaderImpl<ByteArrayType>,
    max_def_level: i16,
}

impl Shard {
    fn column(&self, reader: &SerializedFileReader<File>, group: usize) -> Result<Images, ParquetError> {
        let changed = || ParquetError::General("it is not what it was when it was opened".to_owned());
        if group >= reader.num_row_groups()
            || self.column >= reader.metadata().file_metadata().schema_descr().num_columns()
        {
            return Err(changed());
        }
        let max_def_level =
            reader.metadata().file_metadata().schema_descr().column(self.column).max_def_level();
        match reader.get_row_group(group)?.get_column_reader(self.column)? {
            ColumnReader::ByteArrayColumnReader(column) => Ok(Images { column, max_def_level }),
            _ => Err(changed()),
        }
    }
}

impl Images {
    fn next(&mut self, most: usize) -> Result<Vec<Option<ByteArray>>, ParquetError> {
        read_some::<ByteArrayType>(&mut self.column, self.max_def_level, most)
    }
}
