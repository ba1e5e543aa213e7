//! The scalars a stage reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::{BadArtifact, StageError};

/// Metric name → finite value, stored as a JSON object. Fractions are in \[0, 1\], durations in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Adds a metric.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }

    /// The values by name.
    pub fn values(&self) -> &BTreeMap<String, f64> {
        &self.values
    }

    /// Reads an artifact of kind `Metrics`.
    ///
    /// # Errors
    /// Where it is not a JSON object of finite numbers.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let text = fs::read_to_string(path).map_err(|error| BadArtifact::new(error.to_string()))?;
        let values: BTreeMap<String, f64> = serde_json::from_str(&text).map_err(|error| {
            BadArtifact::new(format!("it is not a JSON object of finite numbers: {error}"))
        })?;
        Ok(Self { values })
    }

    /// Writes an artifact of kind `Metrics`.
    ///
    /// # Errors
    /// Where a value is not finite, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        if let Some((name, value)) = self.values.iter().find(|(_, value)| !value.is_finite()) {
            return Err(StageError::Failed(format!("metric `{name}` is {value}")));
        }
        let text = serde_json::to_string_pretty(&self.values).expect("a map of finite numbers");
        fs::write(path, text + "\n").map_err(StageError::io(path))
    }
}
