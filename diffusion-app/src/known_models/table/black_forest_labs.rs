//! FLUX.1 of Black Forest Labs.

use diffusion_models::components::{CLIP_L, T5XXL, TRANSFORMER, VAE};

use super::super::known_model::{Access, KnownModel, KnownPart, KnownVariant};
use super::shared::{
    APACHE, CLIP_L_BYTES, FLUX_CLIP_L, FLUX_DEV_BYTES, FLUX_DEV_SIZES, FLUX_NON_COMMERCIAL, FLUX_SCHNELL_BYTES, FLUX_VAE,
    T5_BYTES, T5_FP8, T5_FP8_BYTES, T5_Q5, T5_Q8, VAE_BYTES, file, flux_folder,
};

pub(super) const FLUX_DEV: KnownModel = KnownModel {
    name: "flux-dev",
    title: "FLUX.1 [dev]",
    licence: FLUX_NON_COMMERCIAL,
    repository: "black-forest-labs/FLUX.1-dev",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[flux_folder("black-forest-labs/FLUX.1-dev", FLUX_DEV_SIZES)],
        },
        KnownVariant {
            name: "q8",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-dev-gguf:flux1-dev-Q8_0.gguf", &[(TRANSFORMER, 12_708_281_504)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Open,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "Comfy-Org/flux1-dev:flux1-dev-fp8.safetensors",
                sizes: &[(TRANSFORMER, FLUX_DEV_BYTES / 2), (CLIP_L, CLIP_L_BYTES), (T5XXL, T5_FP8_BYTES), (VAE, VAE_BYTES)],
            }],
        },
        KnownVariant {
            name: "q6",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-dev-gguf:flux1-dev-Q6_K.gguf", &[(TRANSFORMER, 9_857_000_736)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "q4",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-dev-gguf:flux1-dev-Q4_K_S.gguf", &[(TRANSFORMER, 6_805_988_640)]),
                FLUX_CLIP_L,
                T5_Q5,
                FLUX_VAE,
            ],
        },
    ],
};

pub(super) const FLUX_SCHNELL: KnownModel = KnownModel {
    name: "flux-schnell",
    title: "FLUX.1 [schnell]",
    licence: APACHE,
    repository: "black-forest-labs/FLUX.1-schnell",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[flux_folder(
                "black-forest-labs/FLUX.1-schnell",
                &[(TRANSFORMER, FLUX_SCHNELL_BYTES), (CLIP_L, CLIP_L_BYTES), (T5XXL, T5_BYTES), (VAE, VAE_BYTES)],
            )],
        },
        KnownVariant {
            name: "q8",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-schnell-gguf:flux1-schnell-Q8_0.gguf", &[(TRANSFORMER, 12_687_821_728)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Open,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "Comfy-Org/flux1-schnell:flux1-schnell-fp8.safetensors",
                sizes: &[(TRANSFORMER, FLUX_SCHNELL_BYTES / 2), (CLIP_L, CLIP_L_BYTES), (T5XXL, T5_FP8_BYTES), (VAE, VAE_BYTES)],
            }],
        },
        KnownVariant {
            name: "q6",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-schnell-gguf:flux1-schnell-Q6_K.gguf", &[(TRANSFORMER, 9_834_955_808)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "q4",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "city96/FLUX.1-schnell-gguf:flux1-schnell-Q4_K_S.gguf", &[(TRANSFORMER, 6_783_000_000)]),
                FLUX_CLIP_L,
                T5_Q5,
                FLUX_VAE,
            ],
        },
    ],
};

pub(super) const FLUX_KREA_DEV: KnownModel = KnownModel {
    name: "flux-krea-dev",
    title: "FLUX.1 Krea [dev]",
    licence: FLUX_NON_COMMERCIAL,
    repository: "black-forest-labs/FLUX.1-Krea-dev",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[flux_folder("black-forest-labs/FLUX.1-Krea-dev", FLUX_DEV_SIZES)],
        },
        KnownVariant {
            name: "q8",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "QuantStack/FLUX.1-Krea-dev-GGUF:flux1-krea-dev-Q8_0.gguf", &[(TRANSFORMER, 12_714_452_256)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Open,
            parts: &[
                file(
                    TRANSFORMER,
                    "Comfy-Org/FLUX.1-Krea-dev_ComfyUI:split_files/diffusion_models/flux1-krea-dev_fp8_scaled.safetensors",
                    &[(TRANSFORMER, FLUX_DEV_BYTES / 2)],
                ),
                FLUX_CLIP_L,
                T5_FP8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "q6",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "QuantStack/FLUX.1-Krea-dev-GGUF:flux1-krea-dev-Q6_K.gguf", &[(TRANSFORMER, 9_848_349_984)]),
                FLUX_CLIP_L,
                T5_Q8,
                FLUX_VAE,
            ],
        },
        KnownVariant {
            name: "q4",
            access: Access::Open,
            parts: &[
                file(TRANSFORMER, "QuantStack/FLUX.1-Krea-dev-GGUF:flux1-krea-dev-Q4_1.gguf", &[(TRANSFORMER, 7_536_977_184)]),
                FLUX_CLIP_L,
                T5_Q5,
                FLUX_VAE,
            ],
        },
    ],
};
