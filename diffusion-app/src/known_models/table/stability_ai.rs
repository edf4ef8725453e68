//! Stable Diffusion 3 and 3.5 of Stability AI.

use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};

use super::super::known_model::{Access, KnownModel, KnownPart, KnownVariant};
use super::shared::{
    CLIP_G_BYTES, CLIP_L_BYTES, SD3_CLIP_G, SD3_CLIP_L, SD3_MEDIUM_BYTES, SD35_LARGE_BYTES, SD35_MEDIUM_BYTES, SD35_VAE,
    STABILITY_COMMUNITY, T5_BYTES, T5_FP8_BYTES, T5_Q5, T5_Q8, VAE_BYTES, file,
};

pub(super) const SD35_MEDIUM: KnownModel = KnownModel {
    name: "sd3.5-medium",
    title: "Stable Diffusion 3.5 Medium",
    licence: STABILITY_COMMUNITY,
    repository: "stabilityai/stable-diffusion-3.5-medium",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "stabilityai/stable-diffusion-3.5-medium",
                sizes: &[
                    (TRANSFORMER, SD35_MEDIUM_BYTES),
                    (CLIP_L, CLIP_L_BYTES),
                    (CLIP_G, CLIP_G_BYTES),
                    (T5XXL, T5_BYTES),
                    (VAE, VAE_BYTES),
                ],
            }],
        },
        KnownVariant {
            name: "q8",
            access: Access::Gated,
            parts: &[
                file(
                    TRANSFORMER,
                    "city96/stable-diffusion-3.5-medium-gguf:sd3.5_medium-Q8_0.gguf",
                    &[(TRANSFORMER, 2_855_825_856)],
                ),
                SD3_CLIP_L,
                SD3_CLIP_G,
                T5_Q8,
                SD35_VAE,
            ],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Open,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "Comfy-Org/stable-diffusion-3.5-fp8:sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
                sizes: &[
                    (TRANSFORMER, SD35_MEDIUM_BYTES),
                    (CLIP_L, CLIP_L_BYTES),
                    (CLIP_G, CLIP_G_BYTES),
                    (T5XXL, T5_FP8_BYTES),
                    (VAE, VAE_BYTES),
                ],
            }],
        },
    ],
};

pub(super) const SD35_LARGE: KnownModel = KnownModel {
    name: "sd3.5-large",
    title: "Stable Diffusion 3.5 Large",
    licence: STABILITY_COMMUNITY,
    repository: "stabilityai/stable-diffusion-3.5-large",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "stabilityai/stable-diffusion-3.5-large",
                sizes: SD35_LARGE_SIZES,
            }],
        },
        KnownVariant {
            name: "q8",
            access: Access::Gated,
            parts: &[
                file(
                    TRANSFORMER,
                    "city96/stable-diffusion-3.5-large-gguf:sd3.5_large-Q8_0.gguf",
                    &[(TRANSFORMER, 8_779_212_512)],
                ),
                SD3_CLIP_L,
                SD3_CLIP_G,
                T5_Q8,
                SD35_VAE,
            ],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Open,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "Comfy-Org/stable-diffusion-3.5-fp8:sd3.5_large_fp8_scaled.safetensors",
                sizes: &[
                    (TRANSFORMER, SD35_LARGE_BYTES / 2),
                    (CLIP_L, CLIP_L_BYTES),
                    (CLIP_G, CLIP_G_BYTES),
                    (T5XXL, T5_FP8_BYTES),
                    (VAE, VAE_BYTES),
                ],
            }],
        },
        KnownVariant {
            name: "q4",
            access: Access::Gated,
            parts: &[
                file(
                    TRANSFORMER,
                    "city96/stable-diffusion-3.5-large-gguf:sd3.5_large-Q4_0.gguf",
                    &[(TRANSFORMER, 4_772_054_752)],
                ),
                SD3_CLIP_L,
                SD3_CLIP_G,
                T5_Q5,
                SD35_VAE,
            ],
        },
    ],
};

pub(super) const SD35_LARGE_TURBO: KnownModel = KnownModel {
    name: "sd3.5-large-turbo",
    title: "Stable Diffusion 3.5 Large Turbo",
    licence: STABILITY_COMMUNITY,
    repository: "stabilityai/stable-diffusion-3.5-large-turbo",
    variants: &[
        KnownVariant {
            name: "bf16",
            access: Access::Gated,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "stabilityai/stable-diffusion-3.5-large-turbo",
                sizes: SD35_LARGE_SIZES,
            }],
        },
        KnownVariant {
            name: "q8",
            access: Access::Gated,
            parts: &[
                file(
                    TRANSFORMER,
                    "city96/stable-diffusion-3.5-large-turbo-gguf:sd3.5_large_turbo-Q8_0.gguf",
                    &[(TRANSFORMER, 8_779_212_512)],
                ),
                SD3_CLIP_L,
                SD3_CLIP_G,
                T5_Q8,
                SD35_VAE,
            ],
        },
        KnownVariant {
            name: "q4",
            access: Access::Gated,
            parts: &[
                file(
                    TRANSFORMER,
                    "city96/stable-diffusion-3.5-large-turbo-gguf:sd3.5_large_turbo-Q4_0.gguf",
                    &[(TRANSFORMER, 4_772_054_752)],
                ),
                SD3_CLIP_L,
                SD3_CLIP_G,
                T5_Q5,
                SD35_VAE,
            ],
        },
    ],
};

pub(super) const SD3_MEDIUM: KnownModel = KnownModel {
    name: "sd3-medium",
    title: "Stable Diffusion 3 Medium",
    licence: STABILITY_COMMUNITY,
    repository: "stabilityai/stable-diffusion-3-medium-diffusers",
    variants: &[
        KnownVariant {
            name: "f16",
            access: Access::Gated,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "stabilityai/stable-diffusion-3-medium-diffusers",
                sizes: &[
                    (TRANSFORMER, SD3_MEDIUM_BYTES),
                    (CLIP_L, CLIP_L_BYTES),
                    (CLIP_G, CLIP_G_BYTES),
                    (T5XXL, T5_BYTES),
                    (VAE, VAE_BYTES),
                ],
            }],
        },
        KnownVariant {
            name: "fp8",
            access: Access::Gated,
            parts: &[KnownPart {
                component: TRANSFORMER,
                source: "stabilityai/stable-diffusion-3-medium:sd3_medium_incl_clips_t5xxlfp8.safetensors",
                sizes: &[
                    (TRANSFORMER, SD3_MEDIUM_BYTES),
                    (CLIP_L, CLIP_L_BYTES),
                    (CLIP_G, CLIP_G_BYTES),
                    (T5XXL, T5_FP8_BYTES),
                    (VAE, VAE_BYTES),
                ],
            }],
        },
    ],
};

const SD35_LARGE_SIZES: &[(ComponentId, u64)] =
    &[(TRANSFORMER, SD35_LARGE_BYTES), (CLIP_L, CLIP_L_BYTES), (CLIP_G, CLIP_G_BYTES), (T5XXL, T5_BYTES), (VAE, VAE_BYTES)];
