//! The model, its components and the LoRAs, as files of this machine: found, or downloaded.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

#[cfg(feature = "hub")]
use diffusion_app::cli::Downloads;
use diffusion_app::cli::Verbosity;
#[cfg(feature = "hub")]
use diffusion_app::hub::Hub;
#[cfg(not(feature = "hub"))]
use diffusion_app::hub::HubReference;
use diffusion_app::hub::{Replaced, Use};
use diffusion_app::known_models;
#[cfg(feature = "hub")]
use diffusion_app::known_models::KnownVariant;
use diffusion_app::memory::available_memory;
use diffusion_core::weights::ComponentId;
use diffusion_models::ComponentPaths;
use diffusion_models::components::TRANSFORMER;

use crate::arguments::Arguments;
use crate::given::{Given, NONE, known};
use crate::model::Model;

/// What is drawn with, as files of this machine.
pub(crate) struct Sources {
    pub(crate) model: Model,
    pub(crate) components: ComponentPaths,
    /// In the order of the command line.
    pub(crate) loras: Vec<PathBuf>,
}

impl Sources {
    /// Find what was given, and download what is not here.
    pub(crate) fn find(arguments: &Arguments, verbosity: Verbosity) -> Result<Self, Box<dyn Error>> {
        let given = arguments.given_components().filter_map(|(id, path)| Some((id, Given::component(path?))));
        let mut components: BTreeMap<ComponentId, Given> = given.collect();
        let model = match arguments.model.as_deref() {
            None => None,
            Some(path) => Some(match known(path)? {
                None => Given::file(path),
                Some((known, variant)) => {
                    // Who names a number format has chosen.
                    let available = available_memory(arguments.device).filter(|_| !path.to_string_lossy().contains(':'));
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
            None => Model::embedded()?,
            Some(given) => Model::Given(fetcher.path(given, &Use::Model(replaced(&components)))?),
        };
        let mut paths = ComponentPaths::new();
        paths.config.clone_from(&arguments.config);
        for (id, given) in components {
            paths = match given {
                Given::Nothing => paths.without(id),
                given => paths.with(id, fetcher.path(given, &Use::Component(id))?),
            };
        }
        let loras = arguments.loras.lora.iter().map(|lora| fetcher.path(Given::file(&lora.path), &Use::Lora));
        Ok(Self { model, components: paths, loras: loras.collect::<Result<_, _>>()? })
    }
}

/// What a model need not have, because it comes from elsewhere.
fn replaced(components: &BTreeMap<ComponentId, Given>) -> BTreeMap<ComponentId, Replaced> {
    let how = |given: &Given| if *given == Given::Nothing { Replaced::ByNothing } else { Replaced::ByAnother };
    components.iter().map(|(id, given)| (*id, how(given))).collect()
}

/// The known models as a table, with those that need no download.
pub(crate) fn list_models() -> String {
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
