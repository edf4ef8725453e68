//! Devices by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use diffusion_core::Precision;

/// A device as it is given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its index.
    Cuda(usize),
    /// An AMD GPU by its index.
    Rocm(usize),
    /// A GPU through Vulkan.
    Vulkan,
    /// A GPU through Metal.
    Metal,
    /// A GPU through WebGPU.
    WebGpu,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        let index: usize =
            index.parse().map_err(|_| format!("{index:?} is no index of a device; give a number, as in cuda:0"))?;
        match kind {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(index)),
            "rocm" => Ok(Self::Rocm(index)),
            "vulkan" => Ok(Self::Vulkan),
            "metal" => Ok(Self::Metal),
            "webgpu" => Ok(Self::WebGpu),
            other => Err(format!("{other:?} is no device; choose cpu, cuda[:N], rocm[:N], vulkan, metal or webgpu")),
        }
    }
}

impl Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Rocm(index) => write!(f, "rocm:{index}"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Metal => f.write_str("metal"),
            Self::WebGpu => f.write_str("webgpu"),
        }
    }
}

impl DeviceName {
    /// The device, if this program was built with its backend.
    ///
    /// # Errors
    /// A sentence that names the cargo feature to build with.
    pub fn open(self) -> Result<Device, String> {
        let absent = |feature: &str| {
            Err(format!(
                "this program was built without {self}; build it with `cargo build --release -p diffusion-examples --features {feature}`"
            ))
        };
        match self {
            #[cfg(feature = "flex")]
            Self::Cpu => Ok(Device::flex()),
            #[cfg(not(feature = "flex"))]
            Self::Cpu => absent("flex"),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(Device::cuda(index)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => absent("cuda"),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => Ok(Device::rocm(index)),
            #[cfg(not(feature = "rocm"))]
            Self::Rocm(_) => absent("rocm"),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan => absent("vulkan"),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "metal"))]
            Self::Metal => absent("metal"),
            #[cfg(feature = "webgpu")]
            Self::WebGpu => Ok(Device::webgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "webgpu"))]
            Self::WebGpu => absent("webgpu"),
        }
    }

    /// The precision that `choice` means on this device.
    pub fn precision(self, choice: PrecisionName, device: &Device) -> Precision {
        match choice {
            PrecisionName::F32 => Precision::f32(),
            PrecisionName::F16 => Precision::computing_in(FloatDType::F16),
            PrecisionName::Bf16 => Precision::computing_in(FloatDType::BF16),
            PrecisionName::Auto if self == Self::Cpu => Precision::f32(),
            PrecisionName::Auto => Precision::narrowest_on(device),
        }
    }
}

/// Bytes of memory that are free on a device; `None` where nobody tells.
pub fn available_memory(device: DeviceName) -> Option<usize> {
    if device != DeviceName::Cpu {
        return None;
    }
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let available = system.cgroup_limits().map_or_else(|| system.available_memory(), |limits| limits.free_memory);
    usize::try_from(available).ok().filter(|&bytes| bytes > 0)
}

/// What to compute in, as it is given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrecisionName {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// f32 on a CPU; on a GPU the narrowest of bf16, f16 and f32 that it computes in.
    Auto,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name_and_index() {
        assert_eq!("cuda:1".parse(), Ok(DeviceName::Cuda(1)));
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert!("cuda:x".parse::<DeviceName>().is_err() && "tpu".parse::<DeviceName>().is_err());
    }
}
