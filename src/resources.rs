//! What a stage may take up and how long, where its pipeline says otherwise than its kind.

use std::time::Duration;

use ablate_stage::Request;
use serde::Deserialize;

/// A stage's `resources`. What is left out is as the stage kind says. Never part of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Most threads.
    pub cpus: Option<Count>,
    /// Whether it runs on a GPU where there is one.
    pub gpu: Option<bool>,
    /// Memory it takes up, GiB.
    pub memory_gib: Option<Amount>,
    /// Memory of a GPU it takes up, GiB; without it a GPU is its own.
    pub gpu_memory_gib: Option<Amount>,
    /// Minutes after which it is stopped.
    pub time_min: Option<Amount>,
    /// How often it is tried again when it fails by itself.
    pub retries: Option<usize>,
}

/// More is a slip, whatever it is of.
const MAX_AMOUNT: f64 = 1e9;

/// A number above 0.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Amount(f64);

impl TryFrom<f64> for Amount {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if number > 0.0 && number <= MAX_AMOUNT {
            Ok(Self(number))
        } else {
            Err(format!("must be above 0 and at most {MAX_AMOUNT}, is {number}"))
        }
    }
}

/// A whole number above 0.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Count(usize);

impl TryFrom<usize> for Count {
    type Error = String;

    fn try_from(number: usize) -> Result<Self, String> {
        if number > 0 { Ok(Self(number)) } else { Err("must be at least 1, is 0".to_owned()) }
    }
}

impl Resources {
    /// What the stage asks for in the end.
    pub fn over(&self, kind: Request) -> Request {
        let mib = |gib: Amount| (gib.0 * 1024.0).ceil() as u64;
        Request {
            cpus: self.cpus.map_or(kind.cpus, |cpus| cpus.0),
            gpu: self.gpu.unwrap_or(kind.gpu),
            memory_mib: self.memory_gib.map_or(kind.memory_mib, mib),
            gpu_memory_mib: self.gpu_memory_gib.map(mib).or(kind.gpu_memory_mib),
            time: self.time_min.map(|minutes| Duration::from_secs_f64(60.0 * minutes.0)).or(kind.time),
            retries: self.retries.unwrap_or(kind.retries),
        }
    }
}
