//! Reads matrices of numbers from MATLAB files of version 5, which `save -v6`, `save -v7` and scipy's `savemat` write.
//!
//! A header of 128 bytes, then elements: a tag of type and length, then data, padded to 8 bytes. An element is a matrix, or a
//! zlib stream of one; a matrix is elements again: flags, shape, name, numbers. Numbers are column-major, and may be stored in a
//! smaller type than they are of. Little-endian files are read, as every machine of the last decades writes them. Nothing is
//! held but what the caller keeps.
//! <https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf>

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ablate_stage::StageError;
use flate2::read::ZlibDecoder;

use super::bad;

/// Types of elements.
const MI_INT8: u32 = 1;
const MI_INT32: u32 = 5;
const MI_UINT32: u32 = 6;
const MI_MATRIX: u32 = 14;
const MI_COMPRESSED: u32 = 15;

/// Classes of matrices that are numbers: double, single, and whole numbers of 8 to 64 bits.
const NUMERIC: std::ops::RangeInclusive<u32> = 6..=15;

/// Flag of matrices with an imaginary part.
const COMPLEX: u32 = 0x0800;

/// Most bytes of a shape and of a name.
const MAX_SMALL: u32 = 256;

/// A type that numbers are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl Number {
    fn of_type(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::I8,
            2 => Self::U8,
            3 => Self::I16,
            4 => Self::U16,
            5 => Self::I32,
            6 => Self::U32,
            7 => Self::F32,
            9 => Self::F64,
            12 => Self::I64,
            13 => Self::U64,
            _ => return None,
        })
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The number that bytes stand for, as near as a double comes to it.
    ///
    /// # Panics
    /// When there are not [`size`](Self::size) bytes.
    pub(super) fn value(self, bytes: &[u8]) -> f64 {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("a number has as many bytes as its type")
        }
        match self {
            Self::I8 => i8::from_le_bytes(of(bytes)).into(),
            Self::U8 => u8::from_le_bytes(of(bytes)).into(),
            Self::I16 => i16::from_le_bytes(of(bytes)).into(),
            Self::U16 => u16::from_le_bytes(of(bytes)).into(),
            Self::I32 => i32::from_le_bytes(of(bytes)).into(),
            Self::U32 => u32::from_le_bytes(of(bytes)).into(),
            Self::F32 => f32::from_le_bytes(of(bytes)).into(),
            Self::F64 => f64::from_le_bytes(of(bytes)),
            Self::I64 => i64::from_le_bytes(of(bytes)) as f64,
            Self::U64 => u64::from_le_bytes(of(bytes)) as f64,
        }
    }
}

/// What is known of a matrix before its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub name: String,
    pub shape: Vec<usize>,
    /// What its numbers are stored in.
    pub number: Number,
}

/// Calls `take` with every matrix of the wanted names, in the order of the file, and its numbers, all of which it must read.
///
/// # Errors
/// Where the file cannot be read or is damaged; what `take` returns.
pub(super) fn for_each_matrix(
    path: &Path,
    wanted: &[&str],
    mut take: impl FnMut(&Matrix, &mut dyn Read) -> Result<(), String>,
) -> Result<(), StageError> {
    let file = File::open(path).map_err(StageError::io(path))?;
    let len = file.metadata().map_err(StageError::io(path))?.len();
    let mut file = BufReader::with_capacity(1 << 16, file);
    read_header(&mut file).map_err(|reason| bad(path, reason))?;
    let mut at = 128;
    while at < len {
        at += read_element(&mut file, len - at, wanted, &mut take)
            .map_err(|reason| bad(path, format!("in the element at byte {at}: {reason}")))?;
        file.seek(SeekFrom::Start(at)).map_err(StageError::io(path))?;
    }
    Ok(())
}

fn said(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    }
}

fn read_header(file: &mut impl Read) -> Result<(), String> {
    let mut header = [0; 128];
    file.read_exact(&mut header).map_err(|_| "it has no 128 bytes of header".to_owned())?;
    match &header[124..] {
        [0, 1, b'I', b'M'] => Ok(()),
        [0, 2, b'I', b'M'] => {
            Err("it is of version 7.3 (HDF5), and version 5 is read: save it with `-v7`".to_owned())
        }
        [_, _, b'M', b'I'] => {
            Err("it is big-endian, and little-endian is read: save it on the machine at hand".to_owned())
        }
        _ => Err("it is no MATLAB file of version 5".to_owned()),
    }
}

/// Reads an element at the top, of which `left` bytes may be there. Returns how many it has.
fn read_element(
    file: &mut BufReader<File>,
    left: u64,
    wanted: &[&str],
    take: &mut dyn FnMut(&Matrix, &mut dyn Read) -> Result<(), String>,
) -> Result<u64, String> {
    let (kind, bytes) = (read_u32(file)?, read_u32(file)?);
    let whole = u64::from(bytes) + 8;
    if whole > left {
        return Err(format!("it should have {whole} bytes, and the file ends after {left}"));
    }
    let mut data = file.take(bytes.into());
    match kind {
        MI_MATRIX => read_matrix(&mut data, wanted, take)?,
        MI_COMPRESSED => {
            let mut data = ZlibDecoder::new(data);
            let (kind, _) = (read_u32(&mut data)?, read_u32(&mut data)?);
            if kind != MI_MATRIX {
                return Err(format!("type {kind} is compressed, expected {MI_MATRIX}, a matrix"));
            }
            read_matrix(&mut data, wanted, take)?;
        }
        other => return Err(format!("it is of type {other}, expected {MI_MATRIX} or {MI_COMPRESSED}")),
    }
    Ok(whole)
}

fn read_matrix(
    data: &mut dyn Read,
    wanted: &[&str],
    take: &mut dyn FnMut(&Matrix, &mut dyn Read) -> Result<(), String>,
) -> Result<(), String> {
    let flags = read_small(data, MI_UINT32)?;
    let Some(flags) = flags.first_chunk().map(|&flags| u32::from_le_bytes(flags)) else {
        return Err("a matrix has no flags".to_owned());
    };
    if !NUMERIC.contains(&(flags & 0xff)) {
        return Ok(());
    }
    let shape = read_small(data, MI_INT32)?;
    let name = String::from_utf8_lossy(&read_small(data, MI_INT8)?).into_owned();
    if !wanted.contains(&name.as_str()) {
        return Ok(());
    }
    let (sides, _) = shape.as_chunks();
    let sides = sides.iter().map(|&side| usize::try_from(i32::from_le_bytes(side)).ok());
    let shape: Vec<usize> =
        sides.collect::<Option<_>>().ok_or_else(|| format!("`{name}` has a negative side"))?;
    let (kind, bytes, short) = read_tag(data)?;
    let Some(number) = Number::of_type(kind).filter(|_| flags & COMPLEX == 0) else {
        return Err(format!("`{name}` is not of real numbers"));
    };
    let len = shape.iter().try_fold(number.size(), |len, &side| len.checked_mul(side));
    if len != Some(bytes as usize) {
        return Err(format!("`{name}` of the shape {shape:?} has {bytes} bytes of {number:?}"));
    }
    let matrix = Matrix { name, shape, number };
    match short {
        Some(short) => take(&matrix, &mut &short[..bytes as usize])?,
        None => {
            let mut numbers = (&mut *data).take(bytes.into());
            take(&matrix, &mut numbers)?;
            assert_eq!(numbers.limit(), 0, "all numbers of `{}` are read", matrix.name);
        }
    }
    // To the end, so that the checksum of a compressed matrix is compared: seven bytes of padding at most.
    let rest = io::copy(&mut data.take(8), &mut io::sink()).map_err(said)?;
    match rest < 8 {
        true => Ok(()),
        false => Err(format!("there is more after the numbers of `{}`", matrix.name)),
    }
}

fn read_u32(data: &mut (impl Read + ?Sized)) -> Result<u32, String> {
    let mut bytes = [0; 4];
    data.read_exact(&mut bytes).map_err(said)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Type and length of an element, and its data where it is short enough to be in the tag.
fn read_tag(data: &mut dyn Read) -> Result<(u32, u32, Option<[u8; 4]>), String> {
    let (first, second) = (read_u32(data)?, read_u32(data)?);
    match first >> 16 {
        0 => Ok((first, second, None)),
        bytes @ 1..=4 => Ok((first & 0xffff, bytes, Some(second.to_le_bytes()))),
        bytes => Err(format!("a short element should have {bytes} bytes")),
    }
}

/// The data of an element of one type, without the padding, which is read too.
fn read_small(data: &mut dyn Read, expected: u32) -> Result<Vec<u8>, String> {
    let (kind, bytes, short) = read_tag(data)?;
    if kind != expected || bytes > MAX_SMALL {
        let found = format!("{bytes} bytes of type {kind}");
        return Err(format!("there are {found}, expected at most {MAX_SMALL} of type {expected}"));
    }
    Ok(match short {
        Some(short) => short[..bytes as usize].to_vec(),
        None => {
            let mut read = vec![0; bytes.next_multiple_of(8) as usize];
            data.read_exact(&mut read).map_err(said)?;
            read.truncate(bytes as usize);
            read
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// A tag with its data, padded; in the short form where there are 1 to 4 bytes.
    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let len = data.len() as u32;
        let mut bytes = match len {
            1..=4 => (kind | len << 16).to_le_bytes().to_vec(),
            _ => [kind.to_le_bytes(), len.to_le_bytes()].concat(),
        };
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn matrix(flags: u32, shape: &[i32], name: &str, kind: u32, data: &[u8]) -> Vec<u8> {
        let flags = [flags.to_le_bytes(), [0; 4]].concat();
        let shape: Vec<u8> = shape.iter().flat_map(|side| side.to_le_bytes()).collect();
        let parts =
            [element(6, &flags), element(5, &shape), element(1, name.as_bytes()), element(kind, data)];
        element(14, &parts.concat())
    }

    fn compressed(element: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(element).unwrap();
        let data = encoder.finish().unwrap();
        [15_u32.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat().into_iter().chain(data).collect()
    }

    fn file(version: [u8; 4], elements: &[Vec<u8>]) -> Vec<u8> {
        [vec![b' '; 124], version.to_vec(), elements.concat()].concat()
    }

    const VERSION_5: [u8; 4] = [0, 1, b'I', b'M'];

    /// Name, shape and numbers of the matrices `X` and `y`.
    type Found = Vec<(String, Vec<usize>, Vec<f64>)>;

    fn read(bytes: &[u8]) -> Result<Found, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mat");
        fs::write(&path, bytes).unwrap();
        let mut found = Vec::new();
        for_each_matrix(&path, &["X", "y"], |matrix, data| {
            let mut bytes = Vec::new();
            data.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            let numbers = bytes.chunks_exact(matrix.number.size()).map(|bytes| matrix.number.value(bytes));
            found.push((matrix.name.clone(), matrix.shape.clone(), numbers.collect()));
            Ok(())
        })
        .map_err(|error| error.to_string().split_once("a.mat: ").unwrap().1.to_owned())?;
        Ok(found)
    }

    #[test]
    fn matrices_are_found_by_name_compressed_or_not() {
        let bytes = file(
            VERSION_5,
            &[
                matrix(9, &[1, 2], "other", 2, &[7, 8]),
                // A cell array has other elements inside.
                element(14, &element(6, &[1, 0, 0, 0, 0, 0, 0, 0])),
                compressed(&matrix(9, &[2, 3], "X", 2, &[1, 2, 3, 4, 5, 6])),
                // Doubles may be stored as bytes, and those in the tag.
                matrix(6, &[3, 1], "y", 2, &[1, 10, 5]),
                compressed(&matrix(
                    6,
                    &[2, 1],
                    "y",
                    9,
                    &[10_f64.to_le_bytes(), 0.5_f64.to_le_bytes()].concat(),
                )),
            ],
        );
        let expected = [
            ("X".to_owned(), vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ("y".to_owned(), vec![3, 1], vec![1.0, 10.0, 5.0]),
            ("y".to_owned(), vec![2, 1], vec![10.0, 0.5]),
        ];
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_not_read_is_said() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(read(bytes).unwrap_err(), expected);
        check(&[0; 127], "it has no 128 bytes of header");
        check(&file([0, 0, 0, 0], &[]), "it is no MATLAB file of version 5");
        check(
            &file([0, 2, b'I', b'M'], &[]),
            "it is of version 7.3 (HDF5), and version 5 is read: save it with `-v7`",
        );
        check(
            &file([1, 0, b'M', b'I'], &[]),
            "it is big-endian, and little-endian is read: save it on the machine at hand",
        );
        let within = |elements: &[Vec<u8>], expected: &str| {
            check(&file(VERSION_5, elements), &format!("in the element at byte 128: {expected}"));
        };
        within(&[vec![0; 5]], "it ends too early");
        within(
            &[vec![14, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]],
            "it should have 4294967303 bytes, and the file ends after 8",
        );
        within(&[element(2, &[0; 8])], "it is of type 2, expected 14 or 15");
        within(&[compressed(&element(2, &[0; 8]))], "type 2 is compressed, expected 14, a matrix");
        within(&[matrix(9, &[2, 3], "X", 2, &[0; 5])], "`X` of the shape [2, 3] has 5 bytes of U8");
        within(&[matrix(9, &[-2, -3], "X", 2, &[0; 6])], "`X` has a negative side");
        let lie = [i32::MAX; 8];
        within(&[matrix(9, &lie, "X", 2, &[0; 5])], &format!("`X` of the shape {lie:?} has 5 bytes of U8"));
        within(&[matrix(0x0809, &[1, 5], "X", 2, &[0; 5])], "`X` is not of real numbers");
        let name = "n".repeat(300);
        within(
            &[matrix(9, &[1, 5], &name, 2, &[0; 5])],
            "there are 300 bytes of type 1, expected at most 256 of type 1",
        );
        let mut more = compressed(&[matrix(9, &[1, 5], "X", 2, &[0; 5]), vec![0; 8]].concat());
        within(&[more.clone()], "there is more after the numbers of `X`");
        more = compressed(&matrix(9, &[1, 5], "X", 2, &[0; 5]));
        let last = more.len() - 1;
        more[last] ^= 1;
        within(&[more], "corrupt deflate stream");
    }
}
