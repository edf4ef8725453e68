//! Opening a LoRA file: which modules it patches, and with which tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diffusion_core::checkpoint::{Checkpoint, StoredTensor};
use diffusion_core::weights::{ComponentId, PatchTarget};

use crate::adapter::{Adapter, LoraFile};
use crate::dialects::{Dialect, ModuleName};
use crate::error::LoraError;
use crate::peft_settings::{self, PeftSettings};
use crate::report::Report;
use crate::tensors::{AdapterTensors, Method, ModuleTensors, Role, parse_name};
use crate::vocabulary::Vocabulary;

/// A LoRA file, opened and understood, no weight read. Cheap to clone; clones share what was read.
#[derive(Clone, Debug)]
pub struct Lora {
    file: Arc<LoraFile>,
}

/// Names under which folders hold a LoRA.
const FILE_NAMES: [&str; 3] = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "lora.safetensors"];

impl Lora {
    /// Open a safetensors file, or a folder as diffusers or PEFT write it.
    ///
    /// # Errors
    /// [`LoraError`] if the file cannot be read, is no LoRA, or has adapters that are incomplete, of impossible shapes, or of
    /// a kind that is not read.
    pub fn open(path: &Path) -> Result<Self, LoraError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let path = file_in(path);
        let checkpoint = Checkpoint::open(&path)?;
        let settings = PeftSettings::find(&path, checkpoint.metadata(peft_settings::HEADER_KEY))?;
        let (modules, unexpected) = modules(&checkpoint)?;
        let patches_something = modules.values().any(|tensors| tensors.keys().any(|role| !matches!(role, Role::Alpha)));
        if !patches_something {
            return Err(LoraError::NotALora { found: what_it_is(&checkpoint), path });
        }
        let adapter = |(key, tensors): (&str, BTreeMap<Role, StoredTensor>)| {
            let module = ModuleName::parse(key);
            let tensors = AdapterTensors::new(ModuleTensors::new(&path, key, tensors), &module.name, settings.as_ref())?;
            Ok(Arc::new(Adapter { key: key.to_owned(), module, tensors }))
        };
        let mut adapters = modules.into_iter().map(adapter).collect::<Result<Vec<_>, LoraError>>()?;
        mark_control(&mut adapters);
        let id = COUNTER.fetch_add(1, Ordering::Relaxed);
        Ok(Self { file: Arc::new(LoraFile { path, id, adapters, unexpected }) })
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

/// The LoRA of a folder, or the file itself.
fn file_in(path: &Path) -> PathBuf {
    let in_folder = FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    in_folder.filter(|_| path.is_dir()).unwrap_or_else(|| path.to_owned())
}

/// Tensors by module and by what they are to its adapter, and the names of those that belong to no adapter.
type Modules<'a> = (BTreeMap<&'a str, BTreeMap<Role, StoredTensor>>, Vec<String>);

fn modules(checkpoint: &Checkpoint) -> Result<Modules<'_>, LoraError> {
    let (mut modules, mut unexpected) = Modules::default();
    for (name, tensor) in checkpoint.tensors() {
        match parse_name(name) {
            Some((module, Role::Unsupported(kind))) => {
                let path = checkpoint.path().to_owned();
                return Err(LoraError::Unsupported { path, kind, module: module.to_owned() });
            }
            Some((module, role)) => {
                modules.entry(module).or_default().insert(role, tensor.clone());
            }
            None => unexpected.push(name.to_owned()),
        }
    }
    Ok((modules, unexpected))
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

/// What a file without adapters seems to hold.
fn what_it_is(checkpoint: &Checkpoint) -> String {
    /// Names of embeddings in the files that textual inversion makes.
    const EMBEDDINGS: [&str; 5] = ["emb_params", "clip_l", "clip_g", "t5xxl", "<concept>"];
    /// A matrix of a model has more bytes than this.
    const LARGE: usize = 1 << 20;
    let names: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
    if names.is_empty() {
        return "no tensors".to_owned();
    }
    let is_embedding = |(name, tensor): (&str, &StoredTensor)| {
        tensor.shape().len() <= 2 && (EMBEDDINGS.contains(&name) || (name.starts_with('<') && name.ends_with('>')))
    };
    if checkpoint.tensors().all(is_embedding) {
        return "the embedding of a textual inversion, which stands for a word of the prompt".to_owned();
    }
    let has_weights = checkpoint.tensors().any(|(name, tensor)| name.ends_with(".weight") && tensor.num_bytes() > LARGE);
    let examples = names.iter().take(2).copied().collect::<Vec<_>>().join(", ");
    if has_weights {
        format!("whole weights, as a model does, {examples} among them")
    } else {
        format!("no adapters that are known, but {examples}")
    }
}
