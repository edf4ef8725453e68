//! Finetunes by others.

use diffusion_models::components::TRANSFORMER;

use super::super::known_model::{Access, KnownModel, KnownVariant};
use super::shared::{
    APACHE, FLUX_CLIP_L, FLUX_DEV_BYTES, FLUX_LITE_SIZES, FLUX_NON_COMMERCIAL, FLUX_VAE, T5_F16, T5_Q8, file, flux_folder,
};

pub(super) const SRPO: KnownModel = KnownModel {
    name: "srpo",
    title: "SRPO, a finetune of FLUX.1 [dev] by Tencent",
    licence: "Tencent Hunyuan Community License",
    repository: "tencent/SRPO",
    variants: &[
        KnownVariant {
            name: "f32",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "tencent/SRPO:diffusion_pytorch_model.safetensors", &[(TRANSFORMER, 2 * FLUX_DEV_BYTES)]),
                FLUX_CLIP_L,
                T5_F16,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "bf16",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "rockerBOO/flux.1-dev-SRPO:flux.1-dev-SRPO-bf16.safetensors", &[(TRANSFORMER, FLUX_DEV_BYTES)]),
                FLUX_CLIP_L,
                T5_F16,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "q6",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "befox/SRPO-GGUF:srpo-Q6_K.gguf", &[(TRANSFORMER, 9_857_000_736)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
    ],
};

pub(super) const FLEX_1_ALPHA: KnownModel = KnownModel {
    name: "flex-1-alpha",
    title: "Flex.1-alpha, 8 billion parameters, from FLUX.1 [schnell]",
    licence: APACHE,
    repository: "ostris/Flex.1-alpha",
    variants: &[KnownVariant {
        name: "bf16",
        access: Access::Open,
        parts: &[flux_folder("ostris/Flex.1-alpha", FLUX_LITE_SIZES)],
    }],
};

pub(super) const FLUX_LITE: KnownModel = KnownModel {
    name: "flux-lite",
    title: "FLUX.1 Lite, 8 billion parameters, from FLUX.1 [dev]",
    licence: FLUX_NON_COMMERCIAL,
    repository: "Freepik/flux.1-lite-8B",
    variants: &[KnownVariant {
        name: "bf16",
        access: Access::Open,
        parts: &[flux_folder("Freepik/flux.1-lite-8B", FLUX_LITE_SIZES)],
    }],
};
