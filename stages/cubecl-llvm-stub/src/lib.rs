//! Stand-in for `cubecl-llvm` 0.11.3: the names that `cubecl-cuda` 0.11.3 compiles against, and nothing behind them.
//!
//! `cubecl-cuda` holds two compilers, CUDA C++ through NVRTC and PTX through LLVM, and always depends on both. The
//! published `cubecl-llvm` downloads an LLVM of several hundred megabytes in a build script, so a build with the
//! `cuda` feature fails wherever that server cannot be reached. Ablate compiles its kernels with NVRTC (the feature
//! `cubecl/cuda-cpp`), where the LLVM compiler is never called; this crate takes its place in the build.
//!
//! Invariant: no compiled kernel comes from here. [`NvptxModule`] has no values, and [`PlironCompiler`] answers every
//! kernel with an error. Absent on purpose: the targets of `cubecl-cpu` and `cubecl-hip`, which do not build with it.
//!
//! It can go, with its entry under `[patch.crates-io]`, once `cubecl-cuda` makes the dependency optional or
//! `cubecl-llvm` builds from what the registry and the system carry.
#![warn(missing_docs)]

#[cfg(feature = "amdgpu")]
compile_error!(
    "this stand-in for cubecl-llvm serves cubecl-cuda only: to build cubecl-hip, remove its [patch.crates-io] entry"
);
#[cfg(not(feature = "nvptx"))]
compile_error!(
    "this stand-in for cubecl-llvm serves cubecl-cuda only: to build cubecl-cpu, remove its [patch.crates-io] entry"
);

use core::convert::Infallible;
use core::ffi::c_char;
use core::fmt;

use cubecl_core::environment::backtrace::BackTrace;
use cubecl_core::ir::attributes::BufferIOAttr;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_core::{CompilationError, Compiler};

use nvptx::ptx_version::PtxVersion;

/// What a kernel sent to the LLVM compiler is answered with.
const NO_LLVM: &str = "this build has no LLVM route to CUDA; build with the feature `cubecl/cuda-cpp`, which compiles \
                       kernels with NVRTC";

/// The LLVM compiler, which refuses every kernel.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// The target that code would be made for.
    pub target: LlvmTarget,
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _: KernelDefinition,
        _: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic { reason: NO_LLVM.to_owned(), backtrace: BackTrace::capture() })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// The target of the LLVM compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA GPUs.
    #[default]
    Nvptx,
}

/// Options of the LLVM compiler, which reads none of them.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// The AMD GPU architecture: always `None`.
    pub arch: Option<Infallible>,
    /// The NVIDIA GPU architecture.
    pub sm_arch: Option<SmArch>,
    /// The PTX version to emit.
    pub ptx_version: Option<PtxVersion>,
    /// Whether scalars and static metadata travel in the kernel's parameter block.
    pub grid_constants: bool,
}

/// What the LLVM compiler yields: nothing, since its only variant holds a type without values.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// A module for NVIDIA GPUs.
    NvptxCode(NvptxModule),
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NvptxCode(module) => match module.never {},
        }
    }
}

/// A module compiled for NVIDIA GPUs, of which there are none.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX, nul-terminated.
    pub ptx: Vec<c_char>,
    /// LLVM's intermediate representation, for logs.
    pub ir: String,
    /// Shared memory of one launch, in bytes.
    pub shared_memory_size: usize,
    /// How the kernel uses each buffer, in binding order.
    pub io: Vec<BufferIOAttr>,
    never: Infallible,
}

/// The NVIDIA target.
pub mod nvptx {
    /// Versions of PTX.
    pub mod ptx_version {
        use core::fmt;

        /// A PTX version for LLVM to emit, of which there are none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// The newest version that a driver of CUDA `driver` (12.8 is `12080`) loads: always `None`, which leaves
            /// the choice to a compiler that is not here.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// What the targets share.
pub mod shared {
    /// Features of a device that the LLVM compiler can use.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// The target that a device's features are narrowed for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA GPUs.
            Nvptx,
        }

        /// Narrows `props` to what the LLVM compiler can use on `target`: leaves them as they are, since every kernel
        /// is refused whatever the device offers.
        pub fn restrict_features(_props: &mut DeviceProperties, _target: GpuTarget) {}
    }
}
