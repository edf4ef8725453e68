//! What files call trained modules and their factors.

use diffusion_core::weights::PatchTarget;

use super::fused::LowRankValues;
use super::matrix::Matrix;
use super::published::PublishedModule;
use super::spelling::LoraSpelling;
use super::trained_module::{KroneckerFactor, TrainedFactors, TrainedModule};

/// What kohya calls networks.
///
/// Reference: kohya-ss/sd-scripts `networks/lora_sd3.py#L231-L236` at 48d368f.
const KOHYA: [(&str, &str); 4] =
    [("transformer", "lora_unet"), ("clip_l", "lora_te1"), ("clip_g", "lora_te2"), ("t5xxl", "lora_te3")];

/// What `LyCORIS` calls the denoising network, where modules have the names of diffusers. Text encoders are called as by kohya.
///
/// Reference: `ComfyUI` `lora.py#L36-L88` at a125cd8.
const LYCORIS: (&str, &str) = ("transformer", "lycoris");

impl LoraSpelling {
    /// The name of a module with low-rank factors; `None` if its network has none in this spelling.
    pub(super) fn low_rank_name(self, module: &PublishedModule<'_>) -> Option<String> {
        match self {
            Self::Diffusers => Some(format!("{}.{}", network(module.target)?, module.name)),
            Self::Kohya => flat_name(&KOHYA, module),
        }
    }

    /// The tensors of a low-rank adapter by what follows the module's name.
    pub(super) fn low_rank_tensors(self, values: LowRankValues) -> Vec<(&'static str, Matrix)> {
        let LowRankValues { down, up, magnitude, alpha, .. } = values;
        match self {
            Self::Diffusers => {
                let magnitude = magnitude.map(|magnitude| (".lora_magnitude_vector", magnitude.flattened()));
                [(".lora_A.weight", down), (".lora_B.weight", up)].into_iter().chain(magnitude).collect()
            }
            Self::Kohya => {
                let magnitude = magnitude.map(|magnitude| (".dora_scale", magnitude));
                let others = [(".lora_down.weight", down), (".lora_up.weight", up), (ALPHA, Matrix::scalar(alpha))];
                others.into_iter().chain(magnitude).collect()
            }
        }
    }
}

/// What follows a module's name in the name of its alpha.
pub(super) const ALPHA: &str = ".alpha";

/// What diffusers calls a network.
pub(super) fn network(target: &PatchTarget) -> Option<&'static str> {
    target.aliases.first().copied()
}

/// The name of a module with the factors of a Kronecker product.
pub(super) fn kronecker_name(module: &PublishedModule<'_>) -> Option<String> {
    flat_name(&[LYCORIS], module).or_else(|| flat_name(&KOHYA, module))
}

fn flat_name(networks: &[(&str, &str)], module: &PublishedModule<'_>) -> Option<String> {
    let is_alias = |alias: &str| module.target.aliases.contains(&alias);
    let (_, prefix) = networks.iter().find(|(alias, _)| is_alias(alias))?;
    Some(format!("{prefix}_{}", module.name.replace('.', "_")))
}

/// The tensors of a Kronecker product by what follows the module's name; none if it is no such adapter.
///
/// Reference: LyCORIS `modules/lokr.py`.
pub(super) fn kronecker_tensors(module: &TrainedModule) -> Vec<(&'static str, Matrix)> {
    let module = if module.has_scale() { module.clone() } else { module.clone().with_alpha_folded() };
    let TrainedFactors::Kronecker([first, second]) = &module.factors else { return Vec::new() };
    let tensors = |factor: &KroneckerFactor, [whole, up, down]: [&'static str; 3]| match factor {
        KroneckerFactor::Whole(matrix) => vec![(whole, Matrix::read(matrix))],
        KroneckerFactor::Product { up: first, down: second } => {
            vec![(up, Matrix::read(first)), (down, Matrix::read(second))]
        }
    };
    let mut all = tensors(first, [".lokr_w1", ".lokr_w1_a", ".lokr_w1_b"]);
    all.extend(tensors(second, [".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"]));
    all.push((ALPHA, Matrix::scalar(module.alpha)));
    all
}
