//! Opening a LoRA file: which modules it patches, and with which tensors.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::{ComponentId, PatchTarget};

use crate::adapter::{Adapter, LoraFile};
use crate::adapter_number::next_adapter_number;
use crate::dialects::{Dialect, ModuleName};
use crate::error::LoraError;
use crate::file_contents::FileContents;
use crate::lora_folder;
use crate::other_file::what_it_is;
use crate::peft_settings::{ModuleSettings, PeftSettings};
use crate::report::Report;
use crate::settings_source::{self, FoundSettings};
use crate::tensors::{AdapterTensors, Method, ModuleTensors, Role};
use crate::vocabulary::Vocabulary;

/// A LoRA file, opened and understood, no weight read. Cheap to clone; clones share what was read.
#[derive(Clone, Debug)]
pub struct Lora {
    file: Arc<LoraFile>,
}

/// Factors whose product is scaled by alpha over their rank.
const RANKED: [Role; 4] = [Role::Down, Role::HadamardDown1, Role::KroneckerDown1, Role::KroneckerDown2];

impl Lora {
    /// Open a safetensors or GGUF file, or a folder as diffusers or PEFT write it.
    ///
    /// # Errors
    /// [`LoraError`] if the file cannot be read, is no LoRA, or has adapters that are incomplete, of impossible shapes, or of
    /// a kind that is not read.
    pub fn open(path: &Path) -> Result<Self, LoraError> {
        let path = lora_folder::file_in(path);
        let checkpoint = Checkpoint::open(&path).map_err(|error| match error {
            CheckpointError::NoWeights { path, .. } => LoraError::FolderWithoutLora { found: lora_folder::names_in(&path), path },
            error => error.into(),
        })?;
        let contents = FileContents::read(&checkpoint)?;
        if !contents.has_adapters {
            return Err(LoraError::NotALora { found: what_it_is(&checkpoint), path });
        }
        let names: Vec<ModuleName> = contents.modules.keys().map(|key| ModuleName::parse(key)).collect();
        refuse_twice(&checkpoint, contents.modules.keys().copied().zip(&names))?;
        let lack_alpha = contents
            .modules
            .values()
            .any(|tensors| !tensors.contains_key(&Role::Alpha) && RANKED.iter().any(|role| tensors.contains_key(role)));
        let FoundSettings { settings, mut notes } = settings_source::find(&checkpoint, &names, lack_alpha)?;
        let settings = match settings {
            Some(settings) => {
                let failed = |reason| LoraError::Metadata { path: path.clone(), reason };
                settings_of(&settings, &names).map_err(failed)?.into_iter().map(Some).collect()
            }
            None => vec![None; names.len()],
        };
        notes.extend(settings_source::training_notes(&checkpoint));
        let mut adapters = Vec::new();
        for (((key, tensors), module), settings) in contents.modules.into_iter().zip(names).zip(&settings) {
            let tensors = AdapterTensors::new(ModuleTensors::new(&path, key, tensors), settings.as_ref())?;
            adapters.push(Arc::new(Adapter { key: key.to_owned(), module, tensors }));
        }
        notes.extend(rank_note(&adapters, &settings));
        mark_control(&mut adapters);
        let adapter_names = contents.adapter_names.into_iter().map(str::to_owned).collect();
        let (unexpected, embeddings) = (contents.unexpected, contents.embeddings);
        let id = next_adapter_number();
        Ok(Self { file: Arc::new(LoraFile { path, id, adapters, unexpected, embeddings, adapter_names, notes }) })
    }

    /// The file; in the folder, if a folder was opened.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn file(&self) -> &Arc<LoraFile> {
        &self.file
    }

    /// How many modules the file patches.
    pub fn num_adapters(&self) -> usize {
        self.file.adapters.len()
    }

    /// The dialects that its names are in, each once.
    pub fn dialects(&self) -> Vec<Dialect> {
        self.file.dialects()
    }

    /// What the file holds, compared with no model.
    pub fn contents(&self) -> Report {
        self.file.contents()
    }

    /// What the file holds, and what of it fits a model with these networks.
    pub fn report(&self, targets: &[PatchTarget]) -> Report {
        Vocabulary::new(targets).resolve(&self.file).1
    }

    /// The parameters that the file patches in a model with these networks, by component and path, in order, each once.
    pub fn patched_parameters(&self, targets: &[PatchTarget]) -> Vec<(ComponentId, String)> {
        let (resolved, _) = Vocabulary::new(targets).resolve(&self.file);
        let mut parameters: Vec<_> =
            resolved.into_iter().map(|resolved| (resolved.component, resolved.place.parameter)).collect();
        parameters.sort_unstable();
        parameters.dedup();
        parameters
    }
}

/// What PEFT's settings say about each of these modules.
fn settings_of(settings: &PeftSettings, names: &[ModuleName]) -> Result<Vec<ModuleSettings>, String> {
    let mut found = vec![ModuleSettings::default(); names.len()];
    let mut networks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        networks.entry(name.aliases[0]).or_default().push(index);
    }
    for (network, indices) in networks {
        let modules: Vec<&str> = indices.iter().map(|index| names[*index].in_peft.as_str()).collect();
        for (index, of_module) in indices.into_iter().zip(settings.of(network, &modules)?) {
            found[index] = of_module;
        }
    }
    Ok(found)
}

/// What there is to say about settings that tell other ranks than the tensors have.
fn rank_note(adapters: &[Arc<Adapter>], settings: &[Option<ModuleSettings>]) -> Option<String> {
    let is_other = |(adapter, settings): &(&Arc<Adapter>, &Option<ModuleSettings>)| {
        let told = settings.and_then(|settings| settings.rank);
        told.zip(adapter.tensors.rank).is_some_and(|(told, rank)| told != rank as f64)
    };
    let count = adapters.iter().zip(settings).filter(is_other).count();
    (count > 0).then(|| format!("the tensors of {count} modules have another rank than its settings say; theirs counts"))
}

/// Refuse a file that spells one module in two ways.
fn refuse_twice<'a>(checkpoint: &Checkpoint, names: impl Iterator<Item = (&'a str, &'a ModuleName)>) -> Result<(), LoraError> {
    let mut seen = BTreeMap::new();
    for (key, name) in names {
        if let Some(first) = seen.insert(name.identity(), key) {
            let [first, second] = [first, key].map(str::to_owned);
            return Err(LoraError::Twice { path: checkpoint.path().to_owned(), first, second });
        }
    }
    Ok(())
}

/// Bare original names with norms or biases beside the factors are Black Forest Labs' control LoRAs.
fn mark_control(adapters: &mut [Arc<Adapter>]) {
    let is_bare = adapters.iter().all(|adapter| adapter.module.dialect == Dialect::Bare);
    let is_control = adapters.iter().any(|adapter| adapter.tensors.method == Method::Replacement);
    if is_bare && is_control {
        for adapter in adapters {
            if let Some(adapter) = Arc::get_mut(adapter) {
                adapter.module.dialect = Dialect::BflControl;
            }
        }
    }
}
