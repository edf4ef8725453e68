//! Devices by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::{Device, DeviceType, FloatDType};
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
    /// A device through Vulkan by its index: discrete GPUs first, then integrated ones, then software.
    Vulkan(usize),
    /// A GPU through Metal by its index.
    Metal(usize),
    /// A device by its index, through whichever of Vulkan, Direct3D, Metal and OpenGL the machine offers.
    WebGpu(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "cpu" {
            return Ok(Self::Cpu);
        }
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        let index: usize =
            index.parse().map_err(|_| format!("{index:?} is no index of a device; give a number, as in cuda:0"))?;
        match kind {
            "cuda" => Ok(Self::Cuda(index)),
            "rocm" => Ok(Self::Rocm(index)),
            "vulkan" => Ok(Self::Vulkan(index)),
            "metal" => Ok(Self::Metal(index)),
            "webgpu" => Ok(Self::WebGpu(index)),
            _ => Err(format!("{name:?} is no device; choose cpu, cuda[:N], rocm[:N], vulkan[:N], metal[:N] or webgpu[:N]")),
        }
    }
}

impl Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Rocm(index) => write!(f, "rocm:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Metal(index) => write!(f, "metal:{index}"),
            Self::WebGpu(index) => write!(f, "webgpu:{index}"),
        }
    }
}

impl DeviceName {
    /// The device, if this program was built with its backend and the machine has it.
    ///
    /// # Errors
    /// A sentence that names the cargo feature to build with, or the driver to install.
    pub fn open(self) -> Result<Device, String> {
        let (device_type, index) = match self {
            #[cfg(feature = "flex")]
            Self::Cpu => (DeviceType::Flex, 0),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => (DeviceType::Cuda, index),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => (DeviceType::Rocm, index),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => (DeviceType::Vulkan, index),
            #[cfg(feature = "metal")]
            Self::Metal(index) => (DeviceType::Metal, index),
            // `DeviceType::WebGpu` is the browser's; a program gets the same shaders through what wgpu finds.
            #[cfg(feature = "webgpu")]
            Self::WebGpu(index) => (DeviceType::Wgpu, index),
            #[allow(unreachable_patterns)] // Unless all features are on.
            _ => return Err(self.not_built_in()),
        };
        // A device that is not there would be a panic at the first tensor.
        let devices = Device::enumerate(device_type).into_vec();
        let found = devices.len();
        let device = devices.into_iter().nth(index).ok_or_else(|| self.not_found(found))?;
        #[cfg(feature = "vulkan")]
        if let (Self::Vulkan(_), Some(identity)) = (self, device.identity()) {
            crate::vulkan::check_driver(&identity.name)?;
        }
        Ok(device)
    }

    /// Features of this package, and what the machine needs besides.
    fn feature_and_driver(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("flex", "a CPU"),
            Self::Cuda(_) => ("cuda", "NVIDIA's driver and the CUDA toolkit"),
            Self::Rocm(_) => ("rocm", "AMD's ROCm"),
            Self::Vulkan(_) => ("vulkan", "the GPU's Vulkan driver, or mesa-vulkan-drivers to draw in software"),
            Self::Metal(_) => ("metal", "macOS on a computer with a GPU"),
            Self::WebGpu(_) => ("webgpu", "the GPU's driver for Vulkan, Direct3D 12, Metal or OpenGL"),
        }
    }

    fn not_built_in(self) -> String {
        let (feature, _) = self.feature_and_driver();
        format!(
            "this program was built without {self}; build it with `cargo build --release -p diffusion-app --features {feature}`"
        )
    }

    fn not_found(self, found: usize) -> String {
        match found {
            0 => format!("no device for {self} was found; it needs {}", self.feature_and_driver().1),
            1 => format!("{self} was not found; there is one such device, with index 0"),
            _ => format!("{self} was not found; there are {found} such devices, with indices 0 to {}", found - 1),
        }
    }

    /// The name with that of the hardware, where it is known.
    pub fn describe(self, device: &Device) -> String {
        #[cfg(any(feature = "cuda", feature = "rocm", feature = "vulkan", feature = "metal", feature = "webgpu"))]
        if let Some(identity) = device.identity() {
            return format!("{self}, {}", identity.name);
        }
        let _ = device;
        self.to_string()
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
        assert_eq!("vulkan:2".parse(), Ok(DeviceName::Vulkan(2)));
        for wrong in ["cuda:x", "tpu", "cpu:1"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_cpu_opens_and_is_the_only_one() {
        assert_eq!(DeviceName::Cpu.open().map(|device| device == Device::flex()), Ok(true));
    }

    #[test]
    fn a_missing_device_is_told_in_a_sentence() {
        assert!(DeviceName::Vulkan(0).not_found(0).contains("no device for vulkan:0 was found; it needs"));
        assert!(DeviceName::Cuda(3).not_found(2).contains("indices 0 to 1"));
        assert!(DeviceName::Rocm(0).not_built_in().contains("--features rocm"));
    }
}
