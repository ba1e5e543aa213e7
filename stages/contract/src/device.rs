//! Where tensors live.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A device to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// The processor, all its cores.
    Cpu,
    /// A CUDA device, by the index the driver shows.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// A device name that is neither `cpu` nor `cuda:N`.
#[derive(Debug, Error)]
#[error("`{0}` is not a device: expected `cpu` or `cuda:N`")]
pub struct ParseDeviceError(String);

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cuda = || text.strip_prefix("cuda:")?.parse().ok().map(Self::Cuda);
        if text == "cpu" { Ok(Self::Cpu) } else { cuda().ok_or_else(|| ParseDeviceError(text.to_owned())) }
    }
}
