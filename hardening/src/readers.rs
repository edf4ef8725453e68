//! The table of readers.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use burn::tensor::Device;
use diffusion_app::image_file::{read_image, read_mask};
use diffusion_app::latents_file::read_noise;
use diffusion_app::prompts_file::read_prompts;
use diffusion_app::training::{Buckets, PictureFolder};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::weights::PatchTarget;
use diffusion_lora::Lora;
use diffusion_models::clip::ClipTokenizer;
use diffusion_models::t5::T5Tokenizer;
use diffusion_models::{ComponentPaths, ImageGeometry, open_model, read_encoded_prompt, released_models};
use tempfile::TempDir;

use crate::samples;

/// A reader of one kind of file.
#[derive(Debug)]
pub struct Reader {
    /// What it reads.
    pub name: &'static str,
    /// Where its file goes, in a folder.
    pub file: &'static str,
    /// The folder of the repository with the files around its own; none if it is empty.
    pub around: &'static str,
    /// Files that it reads.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Reads the file in its folder; the error is what a user sees.
    open: fn(&Path) -> Result<(), String>,
}

/// All readers of files that users bring.
pub const READERS: &[Reader] = &[
    Reader {
        name: "safetensors",
        file: "model.safetensors",
        around: "",
        samples: || {
            samples::files([
                "diffusion-core/tests/data/tiny_values.safetensors",
                "fixtures/flux-dev/text_encoder/model.safetensors",
                "fixtures/flux-dev/lora/xlabs.safetensors",
            ])
        },
        open: |folder| checkpoint(&folder.join("model.safetensors")),
    },
    Reader {
        name: "gguf",
        file: "model.gguf",
        around: "",
        samples: || samples::files(["diffusion-core/tests/data/tiny.gguf"]),
        open: |folder| checkpoint(&folder.join("model.gguf")),
    },
    Reader {
        name: "shard index",
        file: "diffusion_pytorch_model.safetensors.index.json",
        around: "fixtures/sd3-large/transformer",
        samples: || samples::files(["fixtures/sd3-large/transformer/diffusion_pytorch_model.safetensors.index.json"]),
        open: checkpoint,
    },
    Reader {
        name: "lora",
        file: "lora.safetensors",
        around: "",
        samples: || {
            samples::files([
                "fixtures/flux-dev/lora/comfyui.safetensors",
                "fixtures/flux-dev/lora/diffusers.safetensors",
                "fixtures/flux-dev/lora/kohya.safetensors",
                "fixtures/flux-dev/lora/kohya_dora.safetensors",
                "fixtures/flux-dev/lora/lycoris.safetensors",
                "fixtures/flux-dev/lora/onetrainer.safetensors",
                "fixtures/flux-dev/lora/xlabs.safetensors",
                "fixtures/sd3/lora/text_encoders.safetensors",
            ])
        },
        open: |folder| lora(&folder.join("lora.safetensors")),
    },
    Reader {
        name: "adapter configuration",
        file: "adapter_config.json",
        around: "fixtures/flux-dev/lora/peft",
        samples: || samples::files(["fixtures/flux-dev/lora/peft/adapter_config.json"]),
        open: lora,
    },
    model("model index", "fixtures/sd3", "model_index.json", || samples::files(["fixtures/sd3/model_index.json"])),
    model("sd3 configuration", "fixtures/sd3", "transformer/config.json", || {
        samples::files(["fixtures/sd3/transformer/config.json"])
    }),
    model("flux configuration", "fixtures/flux-dev", "transformer/config.json", || {
        samples::files(["fixtures/flux-dev/transformer/config.json"])
    }),
    model("clip configuration", "fixtures/sd3", "text_encoder_2/config.json", || {
        samples::files(["fixtures/sd3/text_encoder_2/config.json"])
    }),
    model("t5 configuration", "fixtures/sd3", "text_encoder_3/config.json", || {
        samples::files(["fixtures/sd3/text_encoder_3/config.json"])
    }),
    model("autoencoder configuration", "fixtures/sd3", "vae/config.json", || samples::files(["fixtures/sd3/vae/config.json"])),
    model("scheduler configuration", "fixtures/sd3", "scheduler/scheduler_config.json", || {
        samples::files(["fixtures/sd3/scheduler/scheduler_config.json"])
    }),
    clip_tokenizer("clip vocabulary", "vocab.json", || samples::files(["fixtures/tokenizers/clip_l/vocab.json"])),
    clip_tokenizer("clip merges", "merges.txt", || samples::files(["fixtures/tokenizers/clip_l/merges.txt"])),
    Reader {
        name: "t5 tokenizer",
        file: "tokenizer.json",
        around: "fixtures/tokenizers/t5",
        samples: || samples::files(["fixtures/tokenizers/t5/tokenizer.json"]),
        open: |folder| {
            let tokenizer = T5Tokenizer::from_dir(folder).map_err(sentence)?;
            tokenizer.encode(PROMPT, LENGTH).map(drop).map_err(sentence)
        },
    },
    clip_tokenizer("tokenizer configuration", "tokenizer_config.json", || {
        samples::files(["fixtures/tokenizers/clip_l/tokenizer_config.json"])
    }),
    clip_tokenizer("special tokens", "special_tokens_map.json", || {
        samples::files(["fixtures/tokenizers/clip_l/special_tokens_map.json"])
    }),
    Reader {
        name: "picture",
        file: "picture",
        around: "",
        samples: samples::pictures,
        open: |folder| read_image(&folder.join("picture"), SIDE, SIDE).map(drop).map_err(sentence),
    },
    Reader {
        name: "mask",
        file: "mask",
        around: "",
        samples: samples::pictures,
        open: |folder| read_mask(&folder.join("mask"), SIDE, SIDE).map(drop).map_err(sentence),
    },
    Reader {
        name: "prompts",
        file: "prompts.txt",
        around: "",
        samples: samples::prompts,
        open: |folder| read_prompts(&folder.join("prompts.txt")).map(drop).map_err(sentence),
    },
    Reader {
        name: "latents",
        file: "noise.safetensors",
        around: "",
        samples: || vec![samples::noise(NOISE_SHAPE)],
        open: |folder| {
            let noise = read_noise(&folder.join("noise.safetensors"), NOISE_SHAPE, &Device::flex());
            noise.map(drop).map_err(sentence)
        },
    },
    Reader {
        name: "encoded prompt",
        file: "prompt.safetensors",
        around: "",
        samples: || vec![samples::encoded_prompt()],
        open: |folder| read_encoded_prompt(&folder.join("prompt.safetensors"), &Device::flex()).map(drop).map_err(sentence),
    },
    Reader {
        name: "captions of pictures",
        file: "metadata.jsonl",
        around: "fixtures/photograph",
        samples: || vec![samples::captions_of_pictures()],
        open: |folder| pictures(folder),
    },
    Reader {
        name: "dduf",
        file: "model.dduf",
        around: "",
        samples: || vec![samples::dduf("fixtures/flux-schnell")],
        open: |folder| model_folder(&folder.join("model.dduf")),
    },
];

/// A file in a diffusers folder, which is opened whole and drawn up a plan for.
const fn model(name: &'static str, around: &'static str, file: &'static str, samples: fn() -> Vec<Vec<u8>>) -> Reader {
    Reader { name, file, around, samples, open: model_folder }
}

/// A file of CLIP's tokenizer, which is then given a prompt.
const fn clip_tokenizer(name: &'static str, file: &'static str, samples: fn() -> Vec<Vec<u8>>) -> Reader {
    let open = |folder: &Path| {
        let tokenizer = ClipTokenizer::from_dir(folder).map_err(sentence)?;
        tokenizer.encode(PROMPT, LENGTH).map(drop).map_err(sentence)
    };
    Reader { name, file, around: "fixtures/tokenizers/clip_l", samples, open }
}

/// The reader of this name.
///
/// # Panics
/// If there is none.
pub fn reader(name: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.name == name).unwrap_or_else(|| panic!("no reader of {name}"))
}

/// Read `bytes` by the reader of this name, in a folder that is prepared once in a process.
///
/// # Panics
/// If the reader does, or if there is none.
pub fn fuzz(name: &str, bytes: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let reader = reader(name);
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        reader.prepare(folder.path());
        folder
    });
    // A refusal is as good as success.
    let _ = reader.read(folder.path(), bytes);
}

/// Pixels on a side of what images are brought to.
const SIDE: usize = 16;

/// Of the noise that is asked for: one image of 16 channels.
const NOISE_SHAPE: [usize; 4] = [1, 16, 4, 6];

/// What tokenizers are given: several alphabets, a special token, spaces at odd places.
const PROMPT: &str = "  a red house,\u{3000}un été «à la mer»  <|endoftext|> 家の写真 \u{1f600}";

/// Tokens that they are asked for.
const LENGTH: usize = 32;

/// An error and its causes, as programs print them.
fn sentence(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

/// Every tensor of floating-point numbers, widened.
fn checkpoint(path: &Path) -> Result<(), String> {
    let checkpoint = Checkpoint::open(path).map_err(sentence)?;
    let mut floats = checkpoint.tensors().filter(|(_, tensor)| tensor.format().is_float());
    floats.try_for_each(|(_, tensor)| tensor.to_f32().map(drop)).map_err(sentence)
}

/// A whole model, and the noise levels of a run with it.
fn model_folder(path: &Path) -> Result<(), String> {
    let model = open_model(path, &ComponentPaths::default()).map_err(sentence)?;
    model.schedule(&model.info().defaults).map(drop).map_err(sentence)
}

/// What the adapters are, and whether they fit a small FLUX.1.
fn lora(path: &Path) -> Result<(), String> {
    static TARGETS: OnceLock<Vec<PatchTarget>> = OnceLock::new();
    let lora = Lora::open(path).map_err(sentence)?;
    let targets = TARGETS.get_or_init(|| released_models().into_iter().flat_map(|(_, targets)| targets).collect());
    let _ = lora.report(targets).to_string();
    Ok(())
}

/// Pictures with their captions, as they are learnt from.
fn pictures(folder: &Path) -> Result<(), String> {
    let geometry = ImageGeometry { latent_channels: 16, downscale_factor: 8, patch_size: 2, max_side: None };
    let buckets = Buckets::new(&[64], Buckets::DEFAULT_STEP, &geometry).map_err(sentence)?;
    let mut observer = |_| ControlFlow::Continue(());
    PictureFolder::new(folder).read(&buckets, &mut observer).map(drop).map_err(sentence)
}

impl Reader {
    /// Fill `folder` with the files around the reader's own.
    ///
    /// # Panics
    /// If they cannot be copied.
    pub fn prepare(&self, folder: &Path) {
        if !self.around.is_empty() {
            copy(&samples::in_repository(self.around), folder);
        }
    }

    /// Write `bytes` where the reader expects them, and read them.
    ///
    /// # Errors
    /// The sentence that a user would see.
    /// # Panics
    /// If the file cannot be written.
    pub fn read(&self, folder: &Path, bytes: &[u8]) -> Result<(), String> {
        std::fs::write(folder.join(self.file), bytes).expect("a file in a prepared folder");
        (self.open)(folder)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder of the repository") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
