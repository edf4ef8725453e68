//! The model, its components and the LoRAs, as files of this machine: found, or downloaded.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

#[cfg(feature = "hub")]
use super::downloads::Downloads;
use super::progress::Verbosity;
#[cfg(feature = "hub")]
use crate::hub::Hub;
#[cfg(not(feature = "hub"))]
use crate::hub::HubReference;
use crate::hub::{Replaced, Use};
use crate::known_models;
#[cfg(feature = "hub")]
use crate::known_models::KnownVariant;
use crate::memory::available_memory;
use diffusion_core::weights::ComponentId;
use diffusion_models::ComponentPaths;
use diffusion_models::components::TRANSFORMER;

use super::given::{Given, NONE, known};
use super::model_in_use::ModelInUse;
use crate::device::DeviceName;

/// What a program works with, as files of this machine.
#[derive(Debug)]
pub struct Sources {
    /// The model.
    pub model: ModelInUse,
    /// Components of it from elsewhere.
    pub components: ComponentPaths,
    /// In the order in which they were given.
    pub loras: Vec<PathBuf>,
}

/// What was given on a command line: paths, repositories and names.
#[derive(Clone, Debug, Default)]
pub struct GivenSources<'a> {
    /// The model; the one that the program carries if there is none.
    pub model: Option<&'a Path>,
    /// Components in place of the model's.
    pub components: Vec<(ComponentId, &'a Path)>,
    /// A folder with configurations.
    pub config: Option<&'a Path>,
    /// LoRAs.
    pub loras: Vec<&'a Path>,
}

impl Sources {
    /// Find what was given, and download what is not here.
    ///
    /// # Errors
    /// If a name is unknown, or a download fails.
    pub fn find(given: &GivenSources<'_>, device: DeviceName, verbosity: Verbosity) -> Result<Self, Box<dyn Error>> {
        let found = given.components.iter().map(|(id, path)| (*id, Given::component(path)));
        let mut components: BTreeMap<ComponentId, Given> = found.collect();
        let model = match given.model {
            None => None,
            Some(path) => Some(match known(path)? {
                None => Given::file(path),
                Some((known, variant)) => {
                    // Who names a number format has chosen.
                    let available = available_memory(device).filter(|_| !path.to_string_lossy().contains(':'));
                    if let Some(advice) = available.and_then(|available| known.memory_advice(variant, available as u64)) {
                        verbosity.note(advice);
                    }
                    for part in variant.parts.iter().filter(|part| part.component != TRANSFORMER) {
                        components.entry(part.component).or_insert_with(|| Given::Repository(part.reference()));
                    }
                    let part = variant.parts.iter().find(|part| part.component == TRANSFORMER);
                    part.map_or_else(|| Given::file(path), |part| Given::Repository(part.reference()))
                }
            }),
        };
        let mut fetcher = Fetcher::new(verbosity);
        let model = match model {
            None => ModelInUse::embedded()?,
            Some(given) => ModelInUse::Given(fetcher.path(given, &Use::Model(replaced(&components)))?),
        };
        let mut paths = ComponentPaths::new();
        paths.config = given.config.map(Path::to_owned);
        for (id, given) in components {
            paths = match given {
                Given::Nothing => paths.without(id),
                given => paths.with(id, fetcher.path(given, &Use::Component(id))?),
            };
        }
        let loras = given.loras.iter().map(|path| fetcher.path(Given::file(path), &Use::Lora));
        Ok(Self { model, components: paths, loras: loras.collect::<Result<_, _>>()? })
    }
}

/// What a model need not have, because it comes from elsewhere.
fn replaced(components: &BTreeMap<ComponentId, Given>) -> BTreeMap<ComponentId, Replaced> {
    let how = |given: &Given| if *given == Given::Nothing { Replaced::ByNothing } else { Replaced::ByAnother };
    components.iter().map(|(id, given)| (*id, how(given))).collect()
}

/// The known models as a table, with those that need no download.
pub fn list_models() -> String {
    #[cfg(feature = "hub")]
    {
        let hub = Hub::from_environment();
        known_models::list(&|variant| Some(is_cached(&hub, variant)))
    }
    #[cfg(not(feature = "hub"))]
    known_models::list(&|_| None)
}

/// Whether all parts of a variant are in the cache.
#[cfg(feature = "hub")]
fn is_cached(hub: &Hub, variant: &KnownVariant) -> bool {
    variant.parts.iter().all(|part| {
        let purpose = if part.component == TRANSFORMER {
            let others = variant.parts.iter().filter(|part| part.component != TRANSFORMER);
            Use::Model(others.map(|part| (part.component, Replaced::ByAnother)).collect())
        } else {
            Use::Component(part.component)
        };
        hub.cached(&part.reference(), &purpose).is_some()
    })
}

/// Downloads what is not here.
struct Fetcher {
    #[cfg(feature = "hub")]
    hub: Hub,
    #[cfg(feature = "hub")]
    downloads: Downloads,
}

#[cfg(feature = "hub")]
impl Fetcher {
    fn new(verbosity: Verbosity) -> Self {
        Self { hub: Hub::from_environment(), downloads: Downloads::new(verbosity) }
    }

    fn path(&mut self, given: Given, purpose: &Use) -> Result<PathBuf, Box<dyn Error>> {
        match given {
            Given::Path(path) => Ok(path),
            Given::Repository(reference) => Ok(self.hub.fetch(&reference, purpose, &mut |event| self.downloads.show(&event))?),
            Given::Nothing => Err(format!("{NONE} leaves a component out, and nothing else").into()),
        }
    }
}

#[cfg(not(feature = "hub"))]
impl Fetcher {
    fn new(_verbosity: Verbosity) -> Self {
        Self {}
    }

    fn path(&mut self, given: Given, _purpose: &Use) -> Result<PathBuf, Box<dyn Error>> {
        match given {
            Given::Path(path) => Ok(path),
            Given::Repository(HubReference { repository, file, .. }) => Err(format!(
                "this program was built without its feature hub, so it downloads nothing; `hf download {repository}{}` does, and prints where the files are",
                file.map(|file| format!(" {file}")).unwrap_or_default()
            )
            .into()),
            Given::Nothing => Err(format!("{NONE} leaves a component out, and nothing else").into()),
        }
    }
}
