//! Devices by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::{Device, DeviceType};

#[cfg(feature = "vulkan")]
use crate::vulkan::{UnusableDriver, check_driver};

/// A device by its name: `cpu`, or a kind of GPU with an index, as in `cuda:1`; `cuda` is `cuda:0`.
///
/// # Example
/// ```
/// use diffusion_app::device::DeviceName;
///
/// let name: DeviceName = "vulkan:1".parse()?;
/// assert_eq!(name, DeviceName::Vulkan(1));
/// # #[cfg(feature = "flex")]
/// let device = DeviceName::Cpu.open()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

/// Why a text is no [`DeviceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDeviceError {
    /// There is no such kind of device.
    #[error("{0:?} is no device; choose cpu, cuda[:N], rocm[:N], vulkan[:N], metal[:N] or webgpu[:N]")]
    Kind(String),
    /// What follows the colon is no number.
    #[error("{0:?} is no index of a device; give a number, as in cuda:0")]
    Index(String),
}

/// Why a device could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built without the backend.
    #[error("this program was built without {device}, for which diffusion-app needs its feature `{feature}`")]
    NotBuiltIn {
        /// The device.
        device: DeviceName,
        /// The cargo feature of this package that adds the backend.
        feature: &'static str,
    },
    /// The machine has no device of the kind.
    #[error("no device for {device} was found; it needs {needs}")]
    NotFound {
        /// The device.
        device: DeviceName,
        /// The hardware or driver that is missing.
        needs: &'static str,
    },
    /// The machine has devices of the kind, but fewer.
    #[error("{device} was not found; {}", count(*found))]
    Index {
        /// The device.
        device: DeviceName,
        /// How many devices of the kind there are.
        found: usize,
    },
    /// The driver cannot compile Burn's shaders.
    #[error(
        "the driver of {name} ({driver}) lacks {extension}, without which it crashes on Burn's shaders; install a newer driver \
         (Mesa 26.1 has it, 25.0 does not)"
    )]
    Driver {
        /// The hardware.
        name: String,
        /// The driver and its version.
        driver: String,
        /// What the driver lacks.
        extension: String,
    },
}

fn count(found: usize) -> String {
    match found {
        1 => "there is one such device, with index 0".to_owned(),
        _ => format!("there are {found} such devices, with indices 0 to {}", found - 1),
    }
}

impl FromStr for DeviceName {
    type Err = ParseDeviceError;

    fn from_str(name: &str) -> Result<Self, ParseDeviceError> {
        if name == "cpu" {
            return Ok(Self::Cpu);
        }
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        let index: usize = index.parse().map_err(|_| ParseDeviceError::Index(index.to_owned()))?;
        match kind {
            "cuda" => Ok(Self::Cuda(index)),
            "rocm" => Ok(Self::Rocm(index)),
            "vulkan" => Ok(Self::Vulkan(index)),
            "metal" => Ok(Self::Metal(index)),
            "webgpu" => Ok(Self::WebGpu(index)),
            _ => Err(ParseDeviceError::Kind(name.to_owned())),
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
    /// [`DeviceError`], with the cargo feature to build with, or the driver to install.
    pub fn open(self) -> Result<Device, DeviceError> {
        let (device_type, index) = self.backend().ok_or_else(|| self.not_built_in())?;
        #[cfg(feature = "gpu")]
        if self != Self::Cpu {
            crate::tuned_kernels::keep_in_user_cache();
        }
        // A device that is not there would be a panic at the first tensor.
        let devices = Device::enumerate(device_type).into_vec();
        let found = devices.len();
        let device = devices.into_iter().nth(index).ok_or_else(|| self.not_found(found))?;
        #[cfg(feature = "vulkan")]
        if let (Self::Vulkan(_), Some(identity)) = (self, device.identity()) {
            let refuse = |UnusableDriver { driver, extension }| {
                let name = identity.name.clone();
                DeviceError::Driver { name, driver, extension }
            };
            check_driver(&identity.name).map_err(refuse)?;
        }
        Ok(device)
    }

    /// Burn's name of the device, if the program was built with its backend.
    fn backend(self) -> Option<(DeviceType, usize)> {
        match self {
            #[cfg(feature = "flex")]
            Self::Cpu => Some((DeviceType::Flex, 0)),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Some((DeviceType::Cuda, index)),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => Some((DeviceType::Rocm, index)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => Some((DeviceType::Vulkan, index)),
            #[cfg(feature = "metal")]
            Self::Metal(index) => Some((DeviceType::Metal, index)),
            // `DeviceType::WebGpu` is the browser's; a program gets the same shaders through what wgpu finds.
            #[cfg(feature = "webgpu")]
            Self::WebGpu(index) => Some((DeviceType::Wgpu, index)),
            #[allow(unreachable_patterns)] // Unless all features are on.
            _ => None,
        }
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

    fn not_built_in(self) -> DeviceError {
        DeviceError::NotBuiltIn { device: self, feature: self.feature_and_driver().0 }
    }

    fn not_found(self, found: usize) -> DeviceError {
        match found {
            0 => DeviceError::NotFound { device: self, needs: self.feature_and_driver().1 },
            _ => DeviceError::Index { device: self, found },
        }
    }

    /// The name with that of the hardware, where it is known.
    pub fn describe(self, device: &Device) -> String {
        #[cfg(feature = "gpu")]
        if let Some(identity) = device.identity() {
            return format!("{self}, {}", identity.name);
        }
        let _ = device;
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name_and_index() {
        assert_eq!("cuda:1".parse(), Ok(DeviceName::Cuda(1)));
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert_eq!("vulkan:2".parse(), Ok(DeviceName::Vulkan(2)));
        assert_eq!("cuda:x".parse::<DeviceName>(), Err(ParseDeviceError::Index("x".to_owned())));
        for wrong in ["tpu", "cpu:1"] {
            assert_eq!(wrong.parse::<DeviceName>(), Err(ParseDeviceError::Kind(wrong.to_owned())));
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_cpu_opens_and_is_the_only_one() {
        assert_eq!(DeviceName::Cpu.open().map(|device| device == Device::flex()), Ok(true));
    }

    #[test]
    fn a_missing_device_is_told_in_a_sentence() {
        let said = |error: DeviceError| error.to_string();
        assert!(said(DeviceName::Vulkan(0).not_found(0)).contains("no device for vulkan:0 was found; it needs"));
        assert!(said(DeviceName::Cuda(3).not_found(2)).contains("indices 0 to 1"));
        assert!(said(DeviceName::Rocm(0).not_built_in()).contains("built without rocm:0, for which"));
        assert!(said(DeviceName::Rocm(0).not_built_in()).contains("feature `rocm`"));
    }
}
