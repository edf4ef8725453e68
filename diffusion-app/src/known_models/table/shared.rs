//! What several models share.

use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};

use super::super::known_model::KnownPart;

pub(super) const FLUX_NON_COMMERCIAL: &str = "FLUX.1 [dev] Non-Commercial License";
pub(super) const STABILITY_COMMUNITY: &str = "Stability AI Community License";
pub(super) const APACHE: &str = "Apache 2.0";

/// Bytes of what the models share.
pub(super) const CLIP_L_BYTES: u64 = 246_144_152;
pub(super) const CLIP_G_BYTES: u64 = 1_389_382_176;
pub(super) const T5_BYTES: u64 = 9_524_621_312;
pub(super) const T5_FP8_BYTES: u64 = 4_893_934_904;
pub(super) const T5_Q8_BYTES: u64 = 5_061_584_064;
pub(super) const T5_Q5_BYTES: u64 = 3_386_856_640;
pub(super) const VAE_BYTES: u64 = 167_639_366;
/// `ae.safetensors` is in f32.
pub(super) const VAE_F32_BYTES: u64 = 335_304_388;

pub(super) const FLUX_DEV_BYTES: u64 = 23_802_816_640;
pub(super) const FLUX_SCHNELL_BYTES: u64 = 23_782_357_120;
/// 8 double blocks in place of 19.
pub(super) const FLUX_LITE_BYTES: u64 = 16_326_528_128;
pub(super) const SD35_LARGE_BYTES: u64 = 16_292_561_536;
pub(super) const SD35_MEDIUM_BYTES: u64 = 4_939_327_872;
pub(super) const SD3_MEDIUM_BYTES: u64 = 4_169_902_208;

/// A diffusers folder of FLUX.1.
pub(super) const fn flux_folder(source: &'static str, sizes: &'static [(ComponentId, u64); 4]) -> KnownPart {
    KnownPart { component: TRANSFORMER, source, sizes }
}

/// One file.
pub(super) const fn file(component: ComponentId, source: &'static str, sizes: &'static [(ComponentId, u64); 1]) -> KnownPart {
    KnownPart { component, source, sizes }
}

pub(super) const FLUX_CLIP_L: KnownPart =
    file(CLIP_L, "comfyanonymous/flux_text_encoders:clip_l.safetensors", &[(CLIP_L, CLIP_L_BYTES)]);
pub(super) const T5_FP8: KnownPart =
    file(T5XXL, "comfyanonymous/flux_text_encoders:t5xxl_fp8_e4m3fn.safetensors", &[(T5XXL, T5_FP8_BYTES)]);
pub(super) const T5_F16: KnownPart =
    file(T5XXL, "comfyanonymous/flux_text_encoders:t5xxl_fp16.safetensors", &[(T5XXL, 9_787_841_024)]);
pub(super) const T5_Q8: KnownPart =
    file(T5XXL, "city96/t5-v1_1-xxl-encoder-gguf:t5-v1_1-xxl-encoder-Q8_0.gguf", &[(T5XXL, T5_Q8_BYTES)]);
/// Below five bits T5 follows prompts less well, says whoever published these.
pub(super) const T5_Q5: KnownPart =
    file(T5XXL, "city96/t5-v1_1-xxl-encoder-gguf:t5-v1_1-xxl-encoder-Q5_K_M.gguf", &[(T5XXL, T5_Q5_BYTES)]);
/// The autoencoder of FLUX.1-schnell, under Apache 2.0; the repositories of Black Forest Labs ask to log in.
pub(super) const FLUX_VAE: KnownPart =
    file(VAE, "Comfy-Org/Lumina_Image_2.0_Repackaged:split_files/vae/ae.safetensors", &[(VAE, VAE_F32_BYTES)]);
pub(super) const SD3_CLIP_L: KnownPart =
    file(CLIP_L, "Comfy-Org/stable-diffusion-3.5-fp8:text_encoders/clip_l.safetensors", &[(CLIP_L, CLIP_L_BYTES)]);
pub(super) const SD3_CLIP_G: KnownPart =
    file(CLIP_G, "Comfy-Org/stable-diffusion-3.5-fp8:text_encoders/clip_g.safetensors", &[(CLIP_G, CLIP_G_BYTES)]);
pub(super) const SD35_VAE: KnownPart = file(VAE, "stabilityai/stable-diffusion-3.5-large:vae", &[(VAE, VAE_BYTES)]);
pub(super) const FLUX_DEV_SIZES: &[(ComponentId, u64); 4] =
    &[(TRANSFORMER, FLUX_DEV_BYTES), (CLIP_L, CLIP_L_BYTES), (T5XXL, T5_BYTES), (VAE, VAE_BYTES)];
pub(super) const FLUX_LITE_SIZES: &[(ComponentId, u64); 4] =
    &[(TRANSFORMER, FLUX_LITE_BYTES), (CLIP_L, CLIP_L_BYTES), (T5XXL, T5_BYTES), (VAE, VAE_BYTES)];
