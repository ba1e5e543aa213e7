//! The store of ablate: objects by content, action results by key.
//!
//! Three kinds of record live under one root, each written once and never rewritten:
//!
//! | folder | holds | named by |
//! |---|---|---|
//! | `objects/` | artifact bytes | [`Digest`] of the bytes |
//! | `manifests/` | the text whose digest is the key of an action | [`ActionDigest`] of the text |
//! | `results/` | what a successful action produced | the same [`ActionDigest`] |
//!
//! `attempts/` holds the private folders of running actions, `scratch/` their checkpoints, `locks/` their
//! kernel locks, `bad/` what failed verification, `runs/` the journals, `hints/` how files outside the store looked
//! when they were hashed.
//!
//! Invariants: an object is in place before any result names it; a result is published once, by whoever comes
//! first, and a later one adopts it; a result names its action; every read that hands out bytes has verified their
//! digest; gc removes results before objects, and nothing while a [`Pin`] is held. What lies in a record's place is
//! opened without following links or waiting for pipes, and only its own faults count as damage. This crate knows
//! nothing of stages and parses nothing but its own records.

mod attempt;
mod collect;
mod content;
mod digest;
mod durable;
mod fail_point;
mod finding;
mod hint;
mod listing;
mod lock;
mod object;
mod record;
mod result;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod watch;

pub use attempt::Attempt;
pub use collect::{Class, Collect, Collected, Roots, Tally};
pub use content::Rehash;
pub use digest::{ActionDigest, Digest, ParseDigestError};
pub use durable::Durability;
pub use finding::{Fault, Finding, Record};
pub use lock::{ActionLock, Pin};
pub use object::Object;
pub use result::{ActionResult, Provenance, Published};
pub use store::{Store, StoreError};
pub use verify::{OnDamage, Progress};
pub use watch::Watched;
