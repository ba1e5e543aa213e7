//! What a successful action leaves in the action cache.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use crate::finding::Fault;
use crate::record::Found;
use crate::{ActionDigest, Digest, Object};

/// The outcome of an action that succeeded. Failures are never recorded here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionResult {
    /// Output port → object.
    #[serde(with = "map")]
    pub outputs: LiteMap<String, Object>,
    /// Metric name → value; finite.
    #[serde(with = "map")]
    pub metrics: LiteMap<String, f64>,
    /// How it came about; never part of a key.
    pub provenance: Provenance,
}

impl ActionResult {
    /// The text of a record: a line with the digest of the rest and the action, so that neither changed bytes nor
    /// the record of another action pass for it; then JSON.
    pub(crate) fn to_record(&self, action: &ActionDigest) -> String {
        let body = serde_json::to_string(self).expect("a result is plain data with string keys");
        format!("{} {action}\n{body}", Digest::of_bytes(body.as_bytes()))
    }

    /// Reads a record. Stores of the same format hold records that do not name the action; they are read as well.
    pub(crate) fn from_record(text: &str, action: &ActionDigest) -> Found<Self> {
        let Some((line, body)) = text.split_once('\n') else {
            return Found::Damaged(Fault::OtherBytes);
        };
        let is_whole = match line.strip_prefix(&*Digest::of_bytes(body.as_bytes()).to_hex()) {
            Some("") => true,
            Some(rest) => rest.strip_prefix(' ') == Some(&*action.to_hex()),
            None => false,
        };
        if !is_whole {
            return Found::Damaged(Fault::OtherBytes);
        }
        serde_json::from_str(body)
            .map_or_else(|error| Found::Damaged(Fault::Malformed(error.to_string())), Found::Whole)
    }
}

/// Small maps as maps, which `litemap` writes as lists where they are empty.
mod map {
    use std::fmt;
    use std::marker::PhantomData;

    use litemap::LiteMap;
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    pub fn serialize<V: Serialize, S: Serializer>(
        map: &LiteMap<String, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map)
    }

    pub fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<LiteMap<String, V>, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }

    struct Entries<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
        type Value = LiteMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let Some((name, value)) = entries.next_entry()? else { return Ok(LiteMap::new()) };
            // Many have one entry, and plans hold many: a vector that is pushed to begins with room for four.
            let mut map = LiteMap::with_capacity(1);
            map.insert(name, value);
            while let Some((name, value)) = entries.next_entry()? {
                map.insert(name, value);
            }
            Ok(map)
        }
    }
}

/// The circumstances of an action, recorded and not hashed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Host name.
    pub host: String,
    /// Device, as `cpu` or `cuda:0`.
    pub device: String,
    /// The model of that device, where the machine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Threads the action was given.
    pub threads: usize,
    /// Start, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Wall time, milliseconds.
    pub duration_ms: u64,
    /// Highest resident memory of the worker during the action, MiB.
    pub peak_memory_mib: u64,
    /// Version of the program.
    pub version: String,
    /// The commit the project was at, as git describes it, where it is in a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// What became of an attempt to publish a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// The record is ours.
    First,
    /// Another was there before: it stands, and is to be used in place of ours.
    Adopted(ActionResult),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs before and after this one read the records of a store of this format.
    #[test]
    fn the_text_of_a_record_is_golden() {
        let object = Object { digest: Digest::of_bytes(b"abc"), size: 3 };
        let provenance = Provenance { device: "cpu".to_owned(), ..Provenance::default() };
        let body = |result: &ActionResult| {
            let action = ActionDigest::of_manifest("m");
            let record = result.to_record(&action);
            assert!(
                matches!(ActionResult::from_record(&record, &action), Found::Whole(read) if read == *result)
            );
            record.split_once('\n').unwrap().1.to_owned()
        };
        let circumstances = r#""provenance":{"host":"","device":"cpu","threads":0,"started_unix_ms":0,"duration_ms":0,"peak_memory_mib":0,"version":""}"#;
        let (outputs, metrics) = (LiteMap::new(), LiteMap::new());
        let empty = ActionResult { outputs, metrics, provenance: provenance.clone() };
        assert_eq!(body(&empty), format!(r#"{{"outputs":{{}},"metrics":{{}},{circumstances}}}"#));
        let outputs = LiteMap::from_iter([("out".to_owned(), object)]);
        let metrics = LiteMap::from_iter([("b".to_owned(), 0.5), ("a".to_owned(), 1.0)]);
        let whole = ActionResult { outputs, metrics, provenance };
        let digest = object.digest;
        assert_eq!(
            body(&whole),
            format!(
                r#"{{"outputs":{{"out":{{"digest":"{digest}","size":3}}}},"metrics":{{"a":1.0,"b":0.5}},{circumstances}}}"#
            )
        );
    }
}
