//! How far a job is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// The unit, as "step" or "image".
    pub unit: String,
    /// A short remark, as "epoch 3 of 10".
    #[serde(default)]
    pub note: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, f64>,
}

impl Progress {
    /// With nothing but how far it is.
    pub fn of(done: u64, total: u64, unit: impl Into<String>) -> Self {
        Self { done, total, unit: unit.into(), ..Self::default() }
    }

    /// With a remark.
    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// With something it measures at the moment; what is not finite is left out. A name that ends in "/s" is that of a rate.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        if value.is_finite() {
            self.values.insert(name.into(), value);
        }
        self
    }

    /// What it measures at the moment, by name; finite.
    pub fn values(&self) -> &BTreeMap<String, f64> {
        &self.values
    }

    /// What it is about: the unit and what is measured. Of many reports those about one thing stand for each other.
    pub fn subject(&self) -> String {
        let names = self.values.keys().map(String::as_str);
        std::iter::once(self.unit.as_str()).chain(names).collect::<Vec<_>>().join(" ")
    }

    /// The remark and the values, as "epoch 3 of 10, loss 4.213, 512 samples/s".
    pub fn remarks(&self) -> String {
        let note = (!self.note.is_empty()).then(|| self.note.clone());
        let values = self.values.iter().map(|(name, &value)| match is_rate(name) {
            true => format!("{} {name}", in_digits(value, 3)),
            false => format!("{name} {}", in_digits(value, 4)),
        });
        note.into_iter().chain(values).collect::<Vec<_>>().join(", ")
    }
}

/// As "30/100 step epoch 3 of 10, loss 4.213".
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, total, unit, .. } = self;
        f.write_str(format!("{done}/{total} {unit} {}", self.remarks()).trim_end())
    }
}

/// Whether a value of this name is by the second.
pub fn is_rate(name: &str) -> bool {
    name.ends_with("/s")
}

/// A number in that many significant digits; a whole one below a million in all of its own.
fn in_digits(value: f64, digits: i32) -> String {
    match value.abs() {
        size if size.fract() == 0.0 && size < 1e6 => format!("{value:.0}"),
        size if (1e-4..1e6).contains(&size) => {
            let places = digits - 1 - size.log10().floor() as i32;
            format!("{value:.0$}", places.max(0) as usize)
        }
        _ => format!("{value:.0$e}", (digits - 1) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let progress = Progress::of(3, 10, "epoch");
        assert_eq!(progress.to_string(), "3/10 epoch");
        let values =
            [("loss", 4.21349), ("samples/s", 512.34), ("lr", 3e-5), ("step", 1200.0), ("acc", -0.05)];
        let progress =
            values.into_iter().fold(progress, |progress, (name, value)| progress.with(name, value));
        let progress = progress.noting("warming up").with("gap", f64::NAN);
        let words = "3/10 epoch warming up, acc -0.05000, loss 4.213, lr 3.000e-5, 512 samples/s, step 1200";
        assert_eq!(progress.to_string(), words);
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        assert_eq!(progress.subject(), "epoch acc loss lr samples/s step");
    }
}
