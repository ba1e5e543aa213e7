//! Digests: 32 bytes of BLAKE3, one type per thing that is hashed, so that they cannot be mixed up.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Bytes of a file that is read at once, and hashed without waking another thread.
const SMALL: usize = 64 << 10;

/// Bytes of a large file read at a time. With 256 KiB, 1 MiB and 4 MiB a file of 1 GiB was hashed at 0.53, 0.63 and 0.69 of the
/// speed of `b3sum`, which maps it.
const PIECE: usize = 4 << 20;

/// Bytes from which on a private file is mapped.
const MAPPED: u64 = 16 << 20;

/// A digest that is not 64 hexadecimal digits.
#[derive(Debug, Error)]
#[error("`{0}` is not a digest: expected 64 hexadecimal digits")]
pub struct ParseDigestError(String);

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hexadecimal digits.
            pub fn to_hex(&self) -> String {
                self.as_hash().to_hex().as_str().to_owned()
            }

            /// The first 12 hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.as_hash().to_hex()[..12].to_owned()
            }

            const fn as_hash(&self) -> blake3::Hash {
                blake3::Hash::from_bytes(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.as_hash().to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                blake3::Hash::from_hex(text)
                    .map(|hash| Self(*hash.as_bytes()))
                    .map_err(|_| ParseDigestError(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.as_hash().to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Digits(PhantomData))
            }
        }
    };
}

/// Reads a digest from its digits, wherever these are.
struct Digits<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseDigestError>> de::Visitor<'_> for Digits<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

digest_type! {
    /// BLAKE3 of an artifact's bytes.
    Digest
}

digest_type! {
    /// BLAKE3 of an action's manifest: the key of the action cache.
    ActionDigest
}

impl Digest {
    /// The digest of bytes in memory.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's bytes; a large file is hashed on all cores.
    ///
    /// # Errors
    /// Whatever opening or reading the file says.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let (digest, _) = Self::of_open_file(&File::open(path)?, |_| {})?;
        Ok(digest)
    }

    /// The digest and number of the bytes from where a file stands to its end; `progress` hears how many bytes were
    /// read each time some were.
    ///
    /// The file is read, not mapped: of a mapped file, a bad sector or a writer who cuts it short kills the reader.
    pub(crate) fn of_open_file(mut file: &File, mut progress: impl FnMut(u64)) -> io::Result<(Self, u64)> {
        let mut hasher = blake3::Hasher::new();
        // Not on the stack: while a thread waits for the others it may begin with another file, and another.
        let mut small = vec![0; SMALL];
        let mut len = fill(&mut file, &mut small)?;
        hasher.update(&small[..len]);
        let mut size = len as u64;
        progress(size);
        if len == SMALL {
            // The next piece is read while this one is hashed.
            let (mut here, mut next) = (vec![0; PIECE], vec![0; PIECE]);
            len = fill(&mut file, &mut here)?;
            while len > 0 {
                size += len as u64;
                progress(len as u64);
                let (_, read) =
                    rayon::join(|| hasher.update_rayon(&here[..len]), || fill(&mut file, &mut next));
                len = read?;
                std::mem::swap(&mut here, &mut next);
            }
        }
        Ok((Self(*hasher.finalize().as_bytes()), size))
    }

    /// The same of the file at `path`, which nobody else writes to: a large one is mapped, which saves copying it. A writer
    /// who cuts it short meanwhile kills this process.
    pub(crate) fn of_private_file(file: &File, path: &Path) -> io::Result<(Self, u64)> {
        if file.metadata()?.len() < MAPPED {
            return Self::of_open_file(file, |_| {});
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap_rayon(path)?;
        Ok((Self(*hasher.finalize().as_bytes()), hasher.count()))
    }

    /// The digest of what a reader gives.
    ///
    /// # Errors
    /// Whatever reading says.
    pub fn of_reader(reader: impl io::Read) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader)?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(file: &mut &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

impl ActionDigest {
    /// The key of an action: its manifest's digest under a context of its own, so that no artifact with the same
    /// bytes has the same digest.
    pub fn of_manifest(manifest: &str) -> Self {
        Self(blake3::derive_key("ablate 2026-11 action manifest", manifest.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_bad_hex_is_refused() {
        let digest = Digest::of_bytes(b"abc");
        assert_eq!(digest.to_hex(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(digest.to_hex().parse::<Digest>().unwrap(), digest);
        assert!("xyz".parse::<Digest>().is_err());
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, 1024, SMALL - 1, SMALL, SMALL + 1, SMALL + PIECE, SMALL + 3 * PIECE + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let path = dir.path().join(len.to_string());
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Digest::of_file(&path).unwrap(), Digest::of_bytes(&bytes));
        }
    }

    #[test]
    fn a_mapped_file_has_the_same_digest_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for len in [MAPPED - 1, MAPPED, MAPPED + 1] {
            std::fs::write(&path, vec![7; usize::try_from(len).unwrap()]).unwrap();
            let expected = (Digest::of_file(&path).unwrap(), len);
            assert_eq!(Digest::of_private_file(&File::open(&path).unwrap(), &path).unwrap(), expected);
        }
    }
}
