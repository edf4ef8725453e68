//! Where the components of a model go, by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};

use crate::device::{DeviceName, ParseDeviceError};

/// Devices of components by name: `text_encoders=cpu,transformer=cuda:0,vae=cuda:1`. A text encoder that is named by itself, as in
/// `text_encoders=cuda:0,t5xxl=cpu`, goes where its own name says.
///
/// ```
/// use diffusion_app::device::DeviceName;
/// use diffusion_app::placement::PlacementNames;
/// use diffusion_models::components::{CLIP_L, T5XXL, VAE};
///
/// let names: PlacementNames = "text_encoders=cuda:0,t5xxl=cpu".parse()?;
/// let devices = [CLIP_L, T5XXL, VAE].map(|component| names.device_of(component));
/// assert_eq!(devices, [Some(DeviceName::Cuda(0)), Some(DeviceName::Cpu), None]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementNames(Vec<(Part, DeviceName)>);

/// Components that are placed by one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    name: &'static str,
    components: &'static [ComponentId],
}

const PARTS: [Part; 6] = [
    Part { name: "text_encoders", components: &[CLIP_L, CLIP_G, T5XXL] },
    Part { name: "clip_l", components: &[CLIP_L] },
    Part { name: "clip_g", components: &[CLIP_G] },
    Part { name: "t5xxl", components: &[T5XXL] },
    Part { name: "transformer", components: &[TRANSFORMER] },
    Part { name: "vae", components: &[VAE] },
];

/// Why a text is no [`PlacementNames`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePlacementError {
    /// There is no `=` in a part of it.
    #[error("{0:?} places nothing; give COMPONENT=DEVICE, as in text_encoders=cpu,transformer=cuda:0,vae=cuda:1")]
    Form(String),
    /// There is no such component.
    #[error("{0:?} is no component; choose text_encoders, clip_l, clip_g, t5xxl, transformer or vae")]
    Component(String),
    /// A component has two places.
    #[error("{0} is placed twice; leave one of its devices out")]
    Twice(&'static str),
    /// There is no such device.
    #[error("{component} cannot be placed: {reason}")]
    Device {
        /// The component, as it was named.
        component: &'static str,
        /// What is wrong with the device.
        reason: ParseDeviceError,
    },
}

impl PlacementNames {
    /// Whether nothing is placed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The device of a component; `None` if it is with the rest.
    pub fn device_of(&self, component: ComponentId) -> Option<DeviceName> {
        let places = self.0.iter().filter(|(part, _)| part.components.contains(&component));
        places.min_by_key(|(part, _)| part.components.len()).map(|(_, device)| *device)
    }

    /// The components that are placed.
    pub fn components(&self) -> impl Iterator<Item = ComponentId> {
        let components = PARTS.iter().filter_map(|part| part.components.first().filter(|_| part.components.len() == 1));
        components.copied().filter(|component| self.device_of(*component).is_some())
    }

    /// The components that are placed by their own names, and not along with others.
    pub(crate) fn named(&self) -> impl Iterator<Item = (ComponentId, DeviceName)> {
        self.0.iter().filter_map(|(part, device)| match part.components {
            [component] => Some((*component, *device)),
            _ => None,
        })
    }
}

impl FromStr for PlacementNames {
    type Err = ParsePlacementError;

    fn from_str(text: &str) -> Result<Self, ParsePlacementError> {
        let mut places: Vec<(Part, DeviceName)> = Vec::new();
        for place in text.split(',') {
            let (component, device) =
                place.trim().split_once('=').ok_or_else(|| ParsePlacementError::Form(place.trim().to_owned()))?;
            let (component, device) = (component.trim(), device.trim());
            // Command lines spell names with hyphens.
            let spelled = component.replace('-', "_");
            let part = PARTS.iter().find(|part| part.name == spelled);
            let part = *part.ok_or_else(|| ParsePlacementError::Component(component.to_owned()))?;
            if places.iter().any(|(other, _)| *other == part) {
                return Err(ParsePlacementError::Twice(part.name));
            }
            let failed = |reason| ParsePlacementError::Device { component: part.name, reason };
            places.push((part, device.parse().map_err(failed)?));
        }
        Ok(Self(places))
    }
}

impl Display for PlacementNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, device)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={device}", part.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<PlacementNames, ParsePlacementError> {
        text.parse()
    }

    #[test]
    fn a_placement_is_read_as_it_is_printed() {
        for text in ["text_encoders=cpu,transformer=cuda:0,vae=cuda:1", "vae=vulkan:2", "t5xxl=cpu,text_encoders=metal:0"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        assert_eq!(parsed(" clip-l = cuda , t5xxl=cpu").unwrap().to_string(), "clip_l=cuda:0,t5xxl=cpu");
        assert_eq!(PlacementNames::default().to_string(), "");
    }

    #[test]
    fn a_component_goes_where_its_own_name_says_whatever_comes_first() {
        for text in ["text_encoders=cuda:1,t5xxl=cpu", "t5xxl=cpu,text_encoders=cuda:1"] {
            let names = parsed(text).unwrap();
            let devices = [CLIP_L, CLIP_G, T5XXL, TRANSFORMER, VAE].map(|component| names.device_of(component));
            let cuda = Some(DeviceName::Cuda(1));
            assert_eq!(devices, [cuda, cuda, Some(DeviceName::Cpu), None, None], "{text}");
            assert_eq!(names.components().collect::<Vec<_>>(), [CLIP_L, CLIP_G, T5XXL], "{text}");
            assert_eq!(names.named().collect::<Vec<_>>(), [(T5XXL, DeviceName::Cpu)], "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |text: &str| parsed(text).unwrap_err().to_string();
        assert_eq!(parsed("unet=cpu"), Err(ParsePlacementError::Component("unet".to_owned())));
        assert!(said("unet=cpu").contains("clip_l, clip_g, t5xxl, transformer or vae"));
        assert_eq!(
            said("vae=tpu"),
            "vae cannot be placed: \"tpu\" is no device; choose cpu, cuda[:N], rocm[:N], vulkan[:N], metal[:N] or webgpu[:N]"
        );
        assert!(said("vae=cuda:x").contains("\"x\" is no index"));
        assert_eq!(parsed("vae=cpu,vae=cuda"), Err(ParsePlacementError::Twice("vae")));
        for nothing in ["", "cpu", "vae=cpu,", "vae"] {
            assert!(said(nothing).contains("places nothing; give COMPONENT=DEVICE"), "{nothing}");
        }
    }
}
