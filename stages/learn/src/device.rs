//! From the contract's [`Device`] to burn's.
//!
//! Nothing here relies on burn's default device, which prefers CUDA where it is compiled in, even on a machine without a
//! GPU; and burn panics in a thread of its own when a missing GPU is used, so the device is looked for first.

use ablate_stage::{Device, StageError};
use burn::tensor::Device as BurnDevice;

/// The burn device for a job's device, without gradients: networks lift their parameters to gradients themselves.
///
/// # Errors
/// Where this build or this machine does not have it.
pub fn open(device: Device) -> Result<BurnDevice, StageError> {
    match device {
        Device::Cpu => Ok(BurnDevice::flex()),
        Device::Cuda(index) => open_cuda(index),
    }
}

/// The accelerators of this machine that this build can use.
pub fn accelerators() -> Vec<Device> {
    (0..cuda_count()).map(Device::Cuda).collect()
}

#[cfg(feature = "cuda")]
fn cuda_count() -> u32 {
    u32::try_from(BurnDevice::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len()).unwrap_or(u32::MAX)
}

#[cfg(not(feature = "cuda"))]
fn cuda_count() -> u32 {
    0
}

#[cfg(feature = "cuda")]
fn open_cuda(index: u32) -> Result<BurnDevice, StageError> {
    let count = cuda_count();
    if index < count {
        Ok(BurnDevice::cuda(index as usize))
    } else {
        Err(StageError::Failed(format!(
            "device cuda:{index} is not there: the driver shows {count} CUDA devices; see `nvidia-smi`, or use `cpu`"
        )))
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: u32) -> Result<BurnDevice, StageError> {
    Err(StageError::Failed(format!(
        "device cuda:{index} is out of reach: this build has no CUDA; build it with `--features cuda`, or use `cpu`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_an_error_and_not_a_panic() {
        assert!(open(Device::Cpu).is_ok());
        let message = open(Device::Cuda(4096)).unwrap_err().to_string();
        assert!(message.starts_with("device cuda:4096 is "), "{message}");
        assert!(!accelerators().contains(&Device::Cuda(4096)));
    }
}
