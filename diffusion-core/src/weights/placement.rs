//! Where the components of a model are loaded.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::component::ComponentId;
use super::precision::Precision;
use super::residency::Residency;

/// Where a component is loaded, and how it computes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentPlace {
    /// The device.
    pub device: Device,
    /// How wide its weights are stored, and how wide they compute.
    pub precision: Precision,
    /// Whether its blocks stay in memory.
    pub residency: Residency,
}

/// The components of a model that are on other devices of the machine than the rest.
///
/// What a component makes goes to the device of the one that takes it: encoded prompts, latents, a few megabytes a picture. The layers
/// of one network are not split over devices; that waits for Burn 0.23. Nor are batches: a program that draws on several devices runs
/// a worker for each of them.
///
/// ```
/// use burn::tensor::Device;
/// use diffusion_core::weights::{ComponentId, ComponentPlace, Placement};
/// use diffusion_core::{Precision, Residency};
///
/// let vae = ComponentId::new("vae", "autoencoder");
/// let place = ComponentPlace { device: Device::default(), precision: Precision::f32(), residency: Residency::Resident };
/// let placement = Placement::new().with(vae, place);
/// assert_eq!(placement.get(vae).map(|place| place.residency), Some(Residency::Resident));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement(BTreeMap<ComponentId, ComponentPlace>);

impl Placement {
    /// All components with the rest.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a component in a place, in place of the one before.
    #[must_use]
    pub fn with(mut self, component: ComponentId, place: ComponentPlace) -> Self {
        self.0.insert(component, place);
        self
    }

    /// The place of a component; `None` if it is with the rest.
    pub fn get(&self, component: ComponentId) -> Option<&ComponentPlace> {
        self.0.get(&component)
    }

    /// Whether all components are with the rest.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The components that are elsewhere.
    pub fn iter(&self) -> impl Iterator<Item = (ComponentId, &ComponentPlace)> {
        self.0.iter().map(|(component, place)| (*component, place))
    }
}

impl FromIterator<(ComponentId, ComponentPlace)> for Placement {
    fn from_iter<T: IntoIterator<Item = (ComponentId, ComponentPlace)>>(places: T) -> Self {
        Self(places.into_iter().collect())
    }
}
