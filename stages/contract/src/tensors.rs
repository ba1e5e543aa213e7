//! Named tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;

use crate::{BadArtifact, StageError};

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Bytes.
    U8(Vec<u8>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit floats.
    F32(Vec<f32>),
}

impl TensorData {
    fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Self::U8(_) => Dtype::U8,
            Self::I64(_) => Dtype::I64,
            Self::F32(_) => Dtype::F32,
        }
    }

    fn element_size(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::I64(_) => 8,
            Self::F32(_) => 4,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::U8(values) => out.write_all(values),
            Self::I64(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
            Self::F32(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
        }
    }
}

/// A tensor: shape and elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// The shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &TensorData {
        &self.data
    }
}

/// Named tensors and text metadata, as one safetensors file. Files are byte-for-byte determined by the content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Tensors {
    /// Without any tensor.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor.
    ///
    /// # Panics
    /// When `shape` does not hold as many elements as `data`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, shape: &[usize], data: TensorData) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} does not fit its data");
        self.tensors.insert(name.into(), Tensor { shape: shape.to_vec(), data });
        self
    }

    /// Adds a piece of metadata.
    #[must_use]
    pub fn with_metadata(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// A piece of metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The tensors by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor, BadArtifact> {
        self.tensors.get(name).ok_or_else(|| BadArtifact::new(format!("it has no tensor `{name}`")))
    }

    /// The elements of a u8 tensor.
    ///
    /// # Errors
    /// Where there is none of that name and type.
    pub fn u8(&self, name: &str) -> Result<&[u8], BadArtifact> {
        match &self.get(name)?.data {
            TensorData::U8(values) => Ok(values),
            other => Err(wrong_type(name, other, "u8")),
        }
    }

    /// Takes out the elements of a u8 tensor.
    ///
    /// # Errors
    /// Where there is none of that name and type.
    pub fn take_u8(&mut self, name: &str) -> Result<Vec<u8>, BadArtifact> {
        self.u8(name)?;
        match self.tensors.remove(name).map(|tensor| tensor.data) {
            Some(TensorData::U8(values)) => Ok(values),
            Some(TensorData::I64(_) | TensorData::F32(_)) | None => unreachable!("it is there and of bytes"),
        }
    }

    /// The elements of an i64 tensor.
    ///
    /// # Errors
    /// Where there is none of that name and type.
    pub fn i64(&self, name: &str) -> Result<&[i64], BadArtifact> {
        match &self.get(name)?.data {
            TensorData::I64(values) => Ok(values),
            other => Err(wrong_type(name, other, "i64")),
        }
    }

    /// The elements of an f32 tensor.
    ///
    /// # Errors
    /// Where there is none of that name and type.
    pub fn f32(&self, name: &str) -> Result<&[f32], BadArtifact> {
        match &self.get(name)?.data {
            TensorData::F32(values) => Ok(values),
            other => Err(wrong_type(name, other, "f32")),
        }
    }

    /// Whether every float is finite.
    ///
    /// # Errors
    /// With the first tensor where one is not.
    pub fn check_finite(&self) -> Result<(), BadArtifact> {
        for (name, tensor) in self.iter() {
            if let TensorData::F32(values) = &tensor.data
                && let Some(at) = values.iter().position(|value| !value.is_finite())
            {
                return Err(BadArtifact::new(format!("tensor `{name}` is {} at element {at}", values[at])));
            }
        }
        Ok(())
    }

    /// Reads a safetensors file of u8, i64 and f32 tensors. In memory it takes what the tensors take, and the header.
    ///
    /// # Errors
    /// Where the file cannot be read, is malformed, or has tensors of other types.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let (header, mut file) = open(path)?;
        let mut tensors = BTreeMap::new();
        for name in header.offset_keys() {
            let info = header.info(&name).expect("a name of the header is in it");
            let data = read_data(&mut file, &name, info)?;
            tensors.insert(name, Tensor { shape: info.shape.clone(), data });
        }
        Ok(Self { tensors, metadata: metadata(&header) })
    }

    /// The metadata of a safetensors file, without reading its tensors.
    ///
    /// # Errors
    /// Where the file cannot be read or its header is malformed.
    pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, BadArtifact> {
        open(path).map(|(header, _)| metadata(&header))
    }

    /// Writes a safetensors file. The header is in order of name and its fields in order of theirs, so equal content gives
    /// equal bytes (the `safetensors` crate keeps metadata in a hash map, whose order varies from run to run).
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let mut header = BTreeMap::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__", Entry::Metadata(&self.metadata));
        }
        let mut offset = 0;
        for (name, tensor) in self.iter() {
            let end = offset + tensor.data.len() * tensor.data.element_size();
            let (data_offsets, dtype) = ([offset, end], tensor.data.dtype());
            header.insert(name, Entry::Tensor { data_offsets, dtype, shape: &tensor.shape });
            offset = end;
        }
        let mut header = serde_json::to_string(&header).expect("plain data");
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(header.as_bytes())?;
            self.iter().try_for_each(|(_, tensor)| tensor.data.write(&mut file))?;
            file.flush()
        };
        write().map_err(StageError::io(path))
    }
}

/// What a header says of a tensor, or the metadata in their place. Fields stand in order of name.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor { data_offsets: [usize; 2], dtype: Dtype, shape: &'a [usize] },
}

fn wrong_type(name: &str, found: &TensorData, expected: &str) -> BadArtifact {
    BadArtifact::new(format!("tensor `{name}` is {:?}, expected {expected}", found.dtype()))
}

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Longest header, as the format's own reader has it.
const MAX_HEADER: u64 = 100_000_000;

/// The header of a file, and what follows it.
fn open(path: &Path) -> Result<(Metadata, BufReader<File>), BadArtifact> {
    let unread = |error: io::Error| BadArtifact::new(error.to_string());
    let file = File::open(path).map_err(unread)?;
    let size = file.metadata().map_err(unread)?.len();
    let mut file = BufReader::with_capacity(PIECE, file);
    Ok((read_header(&mut file, size)?, file))
}

fn metadata(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().clone().unwrap_or_default().into_iter().collect()
}

/// The header of a file of `size` bytes: tensors one after the other, up to its end.
fn read_header(file: &mut impl Read, size: u64) -> Result<Metadata, BadArtifact> {
    let malformed = |error: &dyn fmt::Display| BadArtifact::new(format!("it is not safetensors: {error}"));
    let mut len = [0; 8];
    file.read_exact(&mut len).map_err(|error| malformed(&error))?;
    let len = u64::from_le_bytes(len);
    if len > MAX_HEADER.min(size - 8) {
        return Err(malformed(&format!("a header of {len} bytes in a file of {size}")));
    }
    let mut header = Vec::new();
    file.take(len).read_to_end(&mut header).map_err(|error| malformed(&error))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| malformed(&error))?;
    let expected = 8 + len + header.data_len() as u64;
    match expected == size {
        true => Ok(header),
        false => Err(malformed(&format!("its header says {expected} bytes, it has {size}"))),
    }
}

/// The elements of the tensor that comes next.
fn read_data(file: &mut impl Read, name: &str, info: &TensorInfo) -> Result<TensorData, BadArtifact> {
    let (start, end) = info.data_offsets;
    let mut file = file.take((end - start) as u64);
    // The header was checked against the size of the file, so its lengths may be believed.
    let data = match info.dtype {
        Dtype::U8 => {
            let mut bytes = Vec::with_capacity(end - start);
            file.read_to_end(&mut bytes).map(|_| TensorData::U8(bytes))
        }
        Dtype::I64 => read_elements(&mut file, end - start, i64::from_le_bytes).map(TensorData::I64),
        Dtype::F32 => read_elements(&mut file, end - start, f32::from_le_bytes).map(TensorData::F32),
        other => {
            let found = format!("tensor `{name}` has type {other:?}, expected u8, i64 or f32");
            return Err(BadArtifact::new(found));
        }
    };
    let data = data.map_err(|error| BadArtifact::new(error.to_string()))?;
    match data.len() * data.element_size() == end - start {
        true => Ok(data),
        false => Err(BadArtifact::new(format!("tensor `{name}` is cut short"))),
    }
}

/// Elements of `W` bytes each, up to the end.
fn read_elements<T, const W: usize>(
    file: &mut impl Read,
    bytes: usize,
    element: impl Fn([u8; W]) -> T,
) -> io::Result<Vec<T>> {
    let mut elements = Vec::with_capacity(bytes / W);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        if file.take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(elements);
        }
        elements.extend(piece.chunks_exact(W).map(|bytes| element(bytes.try_into().expect("W bytes"))));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_written_file_reads_back_and_is_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let tensors = Tensors::new()
            .with("b", &[2, 2], TensorData::F32(vec![1.0, -2.5, 3.0, 0.0]))
            .with("a", &[3], TensorData::U8(vec![1, 2, 3]))
            .with("c", &[0], TensorData::I64(vec![]))
            .with_metadata("name", "x")
            .with_metadata("classes", "[\"cat\"]")
            .with_metadata("architecture", "Y()");
        let header = r#"{"__metadata__":{"architecture":"Y()","classes":"[\"cat\"]","name":"x"},"a":{"data_offsets":[0,3],"dtype":"U8","shape":[3]},"b":{"data_offsets":[3,19],"dtype":"F32","shape":[2,2]},"c":{"data_offsets":[19,19],"dtype":"I64","shape":[0]}}"#;
        let paths = [dir.path().join("1"), dir.path().join("2")];
        for path in &paths {
            tensors.write(path).unwrap();
            assert_eq!(Tensors::read(path).unwrap(), tensors);
        }
        let bytes = fs::read(&paths[0]).unwrap();
        assert_eq!(bytes, fs::read(&paths[1]).unwrap());
        assert_eq!(String::from_utf8_lossy(&bytes[8..8 + header.len()]), header);
    }

    #[test]
    fn long_tensors_are_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let (n, m) = (PIECE / 8 + 3, PIECE / 4 * 2 + 1);
        let tensors = Tensors::new()
            .with("a", &[n], TensorData::I64((0..n as i64).collect()))
            .with("b", &[m], TensorData::F32((0..m).map(|at| at as f32).collect()))
            .with("c", &[3], TensorData::U8(vec![7; 3]));
        tensors.write(&path).unwrap();
        let mut found = Tensors::read(&path).unwrap();
        assert_eq!(found, tensors);
        assert_eq!(found.take_u8("c").unwrap(), [7; 3]);
        assert!(found.take_u8("c").is_err() && found.take_u8("a").is_err());
    }

    #[test]
    fn a_lying_header_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let header = br#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 4]);
        for len in 0..bytes.len() + 1 {
            fs::write(&path, &bytes[..len]).unwrap();
            assert!(Tensors::read(&path).is_err(), "{len} bytes");
        }
    }
}
