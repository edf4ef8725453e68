//! The devices of a run.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use burn::tensor::Device;
use diffusion_core::Residency;
use diffusion_core::weights::ComponentId;
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{ComponentPlace, Pipeline, PipelineOptions, Plan};

use crate::device::{DeviceError, DeviceName};
use crate::placement::PlacementNames;
use crate::precision::PrecisionName;

/// An opened device with its name, by which it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDevice {
    /// Its name.
    pub name: DeviceName,
    /// The device.
    pub device: Device,
}

/// The opened devices of a run: one, and those of the components that are placed elsewhere.
///
/// ```
/// use diffusion_app::device::DeviceName;
/// use diffusion_app::devices::Devices;
/// use diffusion_app::precision::PrecisionName;
/// use diffusion_models::components::{T5XXL, VAE};
///
/// # #[cfg(feature = "flex")]
/// # {
/// let devices = Devices::open(DeviceName::Cpu, &"t5xxl=cpu".parse()?)?;
/// let options = devices.options(PrecisionName::Auto); // for Pipeline::open
/// assert!(options.placement.get(T5XXL).is_some() && options.placement.get(VAE).is_none());
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Devices {
    rest: NamedDevice,
    placed: BTreeMap<ComponentId, NamedDevice>,
}

/// A component was placed that the model does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is placed on {device}, and the model has none; it has {}", component.name(), names(has))]
pub struct NoSuchComponent {
    /// The component.
    pub component: ComponentId,
    /// Where it was to go.
    pub device: DeviceName,
    /// What the model has.
    pub has: Vec<ComponentId>,
}

fn names(components: &[ComponentId]) -> String {
    components.iter().map(|component| component.name()).collect::<Vec<_>>().join(", ")
}

impl Devices {
    /// Open a device, and those of the components that are placed elsewhere.
    ///
    /// # Errors
    /// As [`DeviceName::open`].
    pub fn open(rest: DeviceName, placement: &PlacementNames) -> Result<Self, DeviceError> {
        let mut opened = vec![NamedDevice { name: rest, device: rest.open()? }];
        let mut placed = BTreeMap::new();
        for component in placement.components() {
            let Some(name) = placement.device_of(component) else { continue };
            let device = match opened.iter().find(|device| device.name == name) {
                Some(known) => known.clone(),
                None => NamedDevice { name, device: name.open()? },
            };
            opened.push(device.clone());
            placed.insert(component, device);
        }
        Ok(Self { rest: opened.swap_remove(0), placed })
    }

    /// The device of all components that are placed nowhere else.
    pub fn rest(&self) -> &NamedDevice {
        &self.rest
    }

    /// The device of a component.
    pub fn of(&self, component: ComponentId) -> &NamedDevice {
        self.placed.get(&component).unwrap_or(&self.rest)
    }

    /// Whether components are on more than one device.
    pub fn are_several(&self) -> bool {
        self.placed.values().any(|device| device.name != self.rest.name)
    }

    /// The devices that the components of a model are on, each with its components, in the order in which they work.
    pub fn of_model(&self, pipeline: &Pipeline) -> Vec<(&NamedDevice, Vec<ComponentId>)> {
        let mut devices: Vec<(&NamedDevice, Vec<ComponentId>)> = Vec::new();
        for file in pipeline.model().components() {
            let component = file.component().id;
            let device = self.of(component);
            match devices.iter_mut().find(|(other, _)| *other == device) {
                Some((_, components)) => components.push(component),
                None => devices.push((device, vec![component])),
            }
        }
        devices
    }

    /// How to open a model on them, each device with the precision that the name means on it.
    pub fn options(&self, precision: PrecisionName) -> PipelineOptions {
        let precision = |NamedDevice { name, device }: &NamedDevice| precision.on(*name, device);
        let place = |(component, named): (&ComponentId, &NamedDevice)| {
            let device = named.device.clone();
            (*component, ComponentPlace { device, precision: precision(named), residency: Residency::Resident })
        };
        PipelineOptions {
            precision: precision(&self.rest),
            placement: self.placed.iter().map(place).collect(),
            ..PipelineOptions::new(&self.rest.device)
        }
    }

    /// Check that a model has what is placed by its own name in `placement`.
    ///
    /// # Errors
    /// [`NoSuchComponent`].
    pub fn check(placement: &PlacementNames, pipeline: &Pipeline) -> Result<(), NoSuchComponent> {
        let has: Vec<ComponentId> = pipeline.model().components().iter().map(|file| file.component().id).collect();
        match placement.named().find(|(component, _)| !has.contains(component)) {
            Some((component, device)) => Err(NoSuchComponent { component, device, has }),
            None => Ok(()),
        }
    }

    /// Compute in the precision that the name means for a model on the device that draws: see [`PrecisionName::for_model`].
    pub fn set_precision(&self, precision: PrecisionName, pipeline: &mut Pipeline) {
        let precision = precision.for_model(self.of(TRANSFORMER).name, pipeline);
        let placement = pipeline.options().placement.clone();
        match placement.get(TRANSFORMER).cloned() {
            Some(place) => pipeline.set_placement(placement.with(TRANSFORMER, ComponentPlace { precision, ..place })),
            None => pipeline.set_precision(precision),
        }
    }

    /// Keep weights in memory or stream them, on each device as `choose` says of it and of the plan of what is there.
    pub fn set_residency(&self, plan: &Plan, pipeline: &mut Pipeline, mut choose: impl FnMut(&NamedDevice, &Plan) -> Residency) {
        let devices = self.of_model(pipeline).into_iter();
        let chosen: Vec<_> = devices.map(|(device, _)| (device, choose(device, &plan.on(&device.device)))).collect();
        let of_device = |device: &NamedDevice| chosen.iter().find(|(other, _)| *other == device).map(|(_, residency)| *residency);
        let placed = pipeline.options().placement.iter();
        let placement = placed.map(|(component, place)| {
            let residency = of_device(self.of(component)).unwrap_or(place.residency);
            (component, ComponentPlace { residency, ..place.clone() })
        });
        let placement = placement.collect();
        if let Some(residency) = of_device(&self.rest) {
            pipeline.set_residency(residency);
        }
        pipeline.set_placement(placement);
    }
}

impl Display for NamedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.describe(&self.device))
    }
}

#[cfg(all(test, feature = "embedded-model", feature = "flex"))]
pub(crate) mod tests {
    use diffusion_core::Precision;
    use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, VAE};

    use super::*;

    /// Names are those of several devices, which are all the one that every machine has.
    fn named(name: DeviceName) -> NamedDevice {
        NamedDevice { name, device: Device::flex() }
    }

    pub(crate) fn devices(rest: DeviceName, placed: &[(ComponentId, DeviceName)]) -> Devices {
        Devices { rest: named(rest), placed: placed.iter().map(|(id, name)| (*id, named(*name))).collect() }
    }

    fn pipeline(devices: &Devices) -> Pipeline {
        let model = crate::embedded_model().unwrap();
        Pipeline::open(&model, &devices.options(PrecisionName::F32)).unwrap()
    }

    const CPU: DeviceName = DeviceName::Cpu;
    const CUDA: DeviceName = DeviceName::Cuda(0);

    #[test]
    fn components_are_told_by_their_devices_in_the_order_of_their_work() {
        let devices = devices(CUDA, &[(CLIP_L, CPU), (CLIP_G, CPU), (T5XXL, CPU), (VAE, DeviceName::Cuda(1))]);
        let pipeline = pipeline(&devices);
        let of_model = devices.of_model(&pipeline).into_iter().map(|(device, components)| (device.name, components));
        let has = |id: ComponentId| pipeline.model().components().iter().any(|file| file.component().id == id);
        let text = [CLIP_L, CLIP_G, T5XXL].into_iter().filter(|id| has(*id)).collect();
        let expected = [(CPU, text), (CUDA, vec![TRANSFORMER]), (DeviceName::Cuda(1), vec![VAE])];
        assert_eq!(of_model.collect::<Vec<_>>(), expected);
        assert!(devices.are_several());
        assert_eq!([T5XXL, TRANSFORMER].map(|id| devices.of(id).name), [CPU, CUDA]);
    }

    #[test]
    fn each_device_keeps_what_fits_into_it() {
        for (rest, placed, streams) in [
            (CUDA, vec![(CLIP_L, CPU), (T5XXL, CPU)], vec![CLIP_L, T5XXL]),
            (CPU, vec![(TRANSFORMER, CUDA)], vec![CLIP_L, T5XXL, VAE]),
            (CPU, vec![], vec![CLIP_L, T5XXL, TRANSFORMER, VAE]),
            (CPU, vec![(CLIP_L, CUDA), (T5XXL, CUDA), (TRANSFORMER, CUDA), (VAE, CUDA)], vec![]),
        ] {
            let devices = devices(rest, &placed);
            let mut pipeline = pipeline(&devices);
            let plan = pipeline.plan(&pipeline.default_settings(), 1);
            let mut asked = Vec::new();
            devices.set_residency(&plan, &mut pipeline, |device, _| {
                asked.push(device.name);
                if device.name == CPU { Residency::Streamed } else { Residency::Resident }
            });
            for id in [CLIP_L, T5XXL, TRANSFORMER, VAE] {
                let expected = if streams.contains(&id) { Residency::Streamed } else { Residency::Resident };
                assert_eq!(pipeline.place_of(id).residency, expected, "{id} with {placed:?} elsewhere");
            }
            let asked_once = asked.iter().all(|name| asked.iter().filter(|other| *other == name).count() == 1);
            assert!(asked_once, "{asked:?}");
        }
    }

    #[test]
    fn each_device_has_the_precision_that_its_name_means() {
        let devices = devices(CUDA, &[(T5XXL, CPU)]);
        let options = devices.options(PrecisionName::Bf16);
        assert_eq!(options.placement.get(T5XXL).map(|place| place.precision), Some(Precision::bf16_products()));
        assert_eq!(options.precision, PrecisionName::Bf16.on(CUDA, &Device::flex()));
        assert_ne!(options.precision, Precision::bf16_products());
    }

    #[test]
    fn the_model_decides_the_precision_of_its_denoising_network_alone() {
        for placed in [vec![(TRANSFORMER, CPU)], vec![(T5XXL, CPU)], vec![]] {
            let devices = devices(CPU, &placed);
            let mut pipeline = pipeline(&devices);
            devices.set_precision(PrecisionName::Bf16, &mut pipeline);
            assert_eq!(pipeline.place_of(TRANSFORMER).precision, Precision::bf16_products(), "{placed:?}");
            let of_t5 = if placed.iter().any(|(id, _)| *id == TRANSFORMER || *id == T5XXL) {
                Precision::f32()
            } else {
                Precision::bf16_products()
            };
            assert_eq!(pipeline.place_of(T5XXL).precision, of_t5, "{placed:?}");
        }
    }
}
