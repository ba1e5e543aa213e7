//! What the `cuda` feature promises of the build; it needs no GPU.
#![cfg(feature = "cuda")]

use cubecl::cuda::compiler::CudaBackend;

/// The other route goes through `cubecl-llvm`, which this workspace replaces with a stand-in that compiles nothing.
#[test]
fn kernels_are_compiled_by_nvrtc() {
    assert_eq!(CudaBackend::default(), CudaBackend::Cpp);
}
