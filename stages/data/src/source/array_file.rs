//! Arrays in files of numpy and of safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ablate_stage::StageError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bad;

/// An array in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArrayFile {
    /// A file that `numpy.save` wrote.
    Npy(PathBuf),
    /// A safetensors file, and the name of a tensor in it.
    Safetensors(PathBuf, String),
}

/// Most bytes of a header. Those of a few arrays have some hundred.
const MAX_HEADER: u64 = 1 << 20;

/// Whole numbers, the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub bytes: usize,
    pub signed: bool,
}

impl Element {
    /// Bytes without a sign.
    pub(super) const U8: Self = Self { bytes: 1, signed: false };

    /// From numpy's name, a letter and bytes, as `u1` or `i8`.
    fn of_numpy(name: &str) -> Option<Self> {
        match name {
            "b1" => Some(Self::U8),
            _ => Self::new(name, ["u", "i"], 1),
        }
    }

    /// From safetensors' name, a letter and bits, as `U8` or `I64`.
    fn of_safetensors(name: &str) -> Option<Self> {
        match name {
            "BOOL" => Some(Self::U8),
            _ => Self::new(name, ["U", "I"], 8),
        }
    }

    fn new(name: &str, letters: [&str; 2], units: usize) -> Option<Self> {
        let (letter, size) = name.split_at_checked(1)?;
        let signed = letters.iter().position(|&known| known == letter)? == 1;
        let bytes = [1, 2, 4, 8].into_iter().find(|&bytes| size == (bytes * units).to_string())?;
        Some(Self { bytes, signed })
    }

    /// The number that little-endian bytes stand for, where it is one of `i64`.
    pub(super) fn value(self, bytes: &[u8]) -> Option<i64> {
        let negative = self.signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..self.bytes].copy_from_slice(bytes);
        let value = i64::from_le_bytes(all);
        (negative || value >= 0).then_some(value)
    }
}

/// An array whose header was read: row-major, little-endian, and wholly in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub path: PathBuf,
    pub element: Element,
    pub shape: Vec<usize>,
    /// Bytes of all elements, and where they begin in the file.
    pub len: u64,
    start: u64,
}

impl ArrayFile {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Npy(path) | Self::Safetensors(path, _) => path,
        }
    }

    /// Reads the header.
    ///
    /// # Errors
    /// Where the file is missing, is not of its format, or not of whole numbers.
    pub(super) fn open(&self, project: &Path) -> Result<Array, StageError> {
        let path = project.join(self.path());
        let file = File::open(&path).map_err(StageError::io(&path))?;
        let size = file.metadata().map_err(StageError::io(&path))?.len();
        let mut file = BufReader::new(file);
        let header = match self {
            Self::Npy(_) => read_npy(&mut file),
            Self::Safetensors(_, name) => read_safetensors(&mut file, name),
        };
        header.and_then(|header| header.check(path.clone(), size)).map_err(|reason| bad(&path, reason))
    }
}

impl Array {
    /// The elements' bytes, as a stream.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(super) fn data(&self) -> Result<impl Read, StageError> {
        let mut file = File::open(&self.path).map_err(StageError::io(&self.path))?;
        file.seek(SeekFrom::Start(self.start)).map_err(StageError::io(&self.path))?;
        Ok(BufReader::with_capacity(1 << 16, file.take(self.len)))
    }
}

/// What a header says.
struct Header {
    element: Element,
    shape: Vec<usize>,
    start: u64,
    /// Where the elements end; with the file where the header does not say.
    end: Option<u64>,
}

impl Header {
    /// Whether the elements are where the header says.
    fn check(self, path: PathBuf, size: u64) -> Result<Array, String> {
        let Self { element, shape, start, end } = self;
        let end = end.unwrap_or(size);
        let len = shape.iter().try_fold(element.bytes as u64, |len, &side| len.checked_mul(side as u64));
        match len {
            Some(len) if end <= size && end.checked_sub(start) == Some(len) => {
                Ok(Array { path, element, shape, len, start })
            }
            _ => Err(format!(
                "its header says {shape:?} of {} bytes each, from byte {start} to {end}, and it has {size} bytes",
                element.bytes
            )),
        }
    }
}

fn ends_early(_: std::io::Error) -> String {
    "it ends within its header".to_owned()
}

fn take(file: &mut impl Read, bytes: u64) -> Result<Vec<u8>, String> {
    if bytes > MAX_HEADER {
        return Err(format!("its header should have {bytes} bytes, and at most {MAX_HEADER} are read"));
    }
    let mut header = Vec::new();
    let read = file.take(bytes).read_to_end(&mut header).map_err(|error| error.to_string())?;
    match read as u64 == bytes {
        true => Ok(header),
        false => Err("it ends within its header".to_owned()),
    }
}

/// Magic, version, length, then a dictionary as Python writes it.
/// <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>
fn read_npy(file: &mut impl Read) -> Result<Header, String> {
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(ends_early)?;
    let [magic @ .., major, _] = start;
    if magic != *b"\x93NUMPY" {
        return Err("it is no .npy file".to_owned());
    }
    let (len, before) = match major {
        1 => {
            let mut len = [0; 2];
            file.read_exact(&mut len).map_err(ends_early)?;
            (u64::from(u16::from_le_bytes(len)), 10)
        }
        2 | 3 => {
            let mut len = [0; 4];
            file.read_exact(&mut len).map_err(ends_early)?;
            (u64::from(u32::from_le_bytes(len)), 12)
        }
        other => return Err(format!("it is of version {other}, and 1 to 3 are read")),
    };
    let text = take(file, len)?;
    let text = String::from_utf8_lossy(&text);
    let Some(Described { kind, fortran, shape }) = Described::parse(&text) else {
        let found: String = text.chars().take(120).collect();
        return Err(format!("its header is not understood: `{}`", found.escape_debug()));
    };
    if fortran {
        return Err("it is column-major; save `numpy.ascontiguousarray` of it".to_owned());
    }
    let little = match kind.split_at_checked(1) {
        Some(("|" | "<", name)) => Element::of_numpy(name),
        Some(_) | None => None,
    };
    let element = little.ok_or_else(|| not_whole(&kind))?;
    Ok(Header { element, shape, start: before + len, end: None })
}

fn not_whole(kind: &str) -> String {
    format!(
        "its elements are `{}`, expected little-endian whole numbers: `u1` for images",
        kind.escape_debug()
    )
}

/// What the dictionary of an .npy file says.
#[derive(Debug, PartialEq)]
struct Described {
    kind: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Described {
    /// Reads `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order, and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let (mut kind, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, value) = quoted(rest)?;
            let value = value.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" => {
                    let (name, after) = quoted(value)?;
                    kind = Some(name.to_owned());
                    after
                }
                "fortran_order" => {
                    let word = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
                    fortran = match &value[..word] {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => return None,
                    };
                    &value[word..]
                }
                "shape" => {
                    let (sides, after) = value.strip_prefix('(')?.split_once(')')?;
                    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
                    shape = Some(sides.map(|side| side.parse().ok()).collect::<Option<Vec<usize>>>()?);
                    after
                }
                _ => return None,
            };
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) => rest.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Self { kind: kind?, fortran: fortran?, shape: shape? })
    }
}

/// A string in quotes at the start of a text, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split_once(quote)
}

/// Length, then JSON: name → element type, shape, and offsets after the JSON.
/// <https://huggingface.co/docs/safetensors>
fn read_safetensors(file: &mut impl Read, name: &str) -> Result<Header, String> {
    #[derive(Deserialize)]
    struct Tensor {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: (u64, u64),
    }
    let mut len = [0; 8];
    file.read_exact(&mut len).map_err(ends_early)?;
    let len = u64::from_le_bytes(len);
    let json = take(file, len)?;
    let mut tensors: BTreeMap<String, Value> =
        serde_json::from_slice(&json).map_err(|error| format!("it is not safetensors: {error}"))?;
    tensors.remove("__metadata__");
    let Some(tensor) = tensors.remove(name) else {
        let there: Vec<&str> = tensors.keys().take(20).map(String::as_str).collect();
        return Err(format!("it has no tensor `{name}`; it has {}", there.join(", ")));
    };
    let tensor: Tensor =
        serde_json::from_value(tensor).map_err(|error| format!("its tensor `{name}`: {error}"))?;
    let element = Element::of_safetensors(&tensor.dtype).ok_or_else(|| not_whole(&tensor.dtype))?;
    let (begin, end) = tensor.data_offsets;
    let place =
        |offset: u64| offset.checked_add(8 + len).ok_or_else(|| format!("`{name}` is at byte {offset}"));
    Ok(Header { element, shape: tensor.shape, start: place(begin)?, end: Some(place(end)?) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn opened(bytes: &[u8], file: impl Fn(PathBuf) -> ArrayFile) -> Result<Array, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), bytes).unwrap();
        let found = file("a".into()).open(dir.path());
        found.map_err(|error| error.to_string().split_once("/a: ").unwrap().1.to_owned())
    }

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn headers_of_numpy_are_read() {
        let found = |text: &str| {
            let found = Described::parse(text)?;
            Some((found.kind, found.fortran, found.shape))
        };
        let expected = Some(("|u1".to_owned(), false, vec![60000, 28, 28]));
        let usual = "{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }          \n";
        assert_eq!(found(usual), expected);
        assert_eq!(found(r#"{"shape":(60000,28,28),"fortran_order":False,"descr":"|u1"}"#), expected);
        let of_one = "{'descr': '<i8', 'fortran_order': True, 'shape': (3,)}";
        assert_eq!(found(of_one), Some(("<i8".to_owned(), true, vec![3])));
        for bad in [
            "",
            "{}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, -3)}",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}",
            "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'more': 1}",
            "{'descr': '|u1', 'fortran_order': False}",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }

    #[test]
    fn elements_are_whole_numbers_of_one_to_eight_bytes() {
        let value = |element: Option<Element>, bytes: &[u8]| element.unwrap().value(bytes);
        assert_eq!(value(Element::of_numpy("u1"), &[200]), Some(200));
        assert_eq!(value(Element::of_numpy("i1"), &[200]), Some(-56));
        assert_eq!(value(Element::of_safetensors("I16"), &[0xfe, 0xff]), Some(-2));
        assert_eq!(value(Element::of_safetensors("I64"), &[1, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        assert_eq!(value(Element::of_numpy("u8"), &[0xff; 8]), None);
        for name in ["f4", "U8", "u3", "u16", "i", "", "O", "u01"] {
            assert_eq!(Element::of_numpy(name), None, "{name}");
        }
        for name in ["F32", "u1", "U9", "I128", "BF16"] {
            assert_eq!(Element::of_safetensors(name), None, "{name}");
        }
    }

    #[test]
    fn a_header_must_fit_its_file() {
        let header = |shape: &str| format!("{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}");
        let check = |bytes: &[u8], expected: &str| {
            let error = opened(bytes, ArrayFile::Npy).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        assert_eq!(opened(&npy(&header("(2, 3)"), &[0; 12]), ArrayFile::Npy).unwrap().len, 12);
        let expected = "its header says [2, 3] of 2 bytes each, from byte 69 to 80, and it has 80 bytes";
        check(&npy(&header("(2, 3)"), &[0; 11]), expected);
        check(&npy(&header("(2, 3)"), &[0; 13]), "from byte 69 to 82");
        let huge = "(4294967296, 4294967296, 4294967296)";
        check(&npy(&header(huge), &[]), "its header says [4294967296, 4294967296, 4294967296]");
        check(
            &npy("{'descr': '>u2', 'fortran_order': False, 'shape': (1,)}", &[0; 2]),
            "its elements are `>u2`",
        );
        check(&npy("{}", &[]), "its header is not understood: `{}`");
        check(b"\x93NUMPY\x01\x00\xff\xff", "it ends within its header");
        check(
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
            "its header should have 4294967295 bytes, and at most 1048576",
        );
        check(b"\x93NUMPY\x04\x00\0\0", "it is of version 4, and 1 to 3 are read");
        check(b"PK", "it ends within its header");
        check(b"PK345678", "it is no .npy file");
    }

    #[test]
    fn a_tensor_is_found_by_name() {
        let file = |header: &str, data: &[u8]| {
            [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
        };
        let named = |name: &'static str| move |path| ArrayFile::Safetensors(path, name.to_owned());
        let header = r#"{"a":{"dtype":"U8","shape":[2,3],"data_offsets":[2,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let bytes = file(header, &[9, 9, 1, 2, 3, 4, 5, 6]);
        let array = opened(&bytes, named("a")).unwrap();
        assert_eq!((array.shape, array.len, array.start), (vec![2, 3], 6, 8 + header.len() as u64 + 2));
        let check = |bytes: &[u8], name, expected: &str| {
            let error = opened(bytes, named(name)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(&bytes, "c", "it has no tensor `c`; it has a, b");
        check(&bytes, "b", "its elements are `F32`, expected little-endian whole numbers");
        check(&bytes[..bytes.len() - 1], "a", "its header says [2, 3] of 1 bytes each, from byte");
        check(&file(&header.replace("[2,8]", "[8,2]"), &[0; 8]), "a", "its header says [2, 3]");
        check(
            &file(&header.replace("[2,8]", "[2,18446744073709551615]"), &[0; 8]),
            "a",
            "`a` is at byte 18446744073709551615",
        );
        check(&[0xff; 8], "a", "its header should have 18446744073709551615 bytes");
        check(&file("[]", &[]), "a", "it is not safetensors");
        check(&file(r#"{"a":{"dtype":"U8"}}"#, &[]), "a", "its tensor `a`: missing field `shape`");
    }
}
