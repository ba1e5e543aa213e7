//! What a record says of an object it names.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// An artifact in the store: its digest, and its size as a cheap first check of presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}
