//! Layers that model families share.

mod conditioning_mlp;
mod convolution;
mod feed_forward;
mod modulation;
mod timestep_embedding;

pub(crate) use conditioning_mlp::ConditioningMlp;
pub(crate) use convolution::convolution_3x3;
pub(crate) use feed_forward::FeedForward;
pub(crate) use modulation::{Modulation, modulated_norm, modulations};
pub(crate) use timestep_embedding::{TIMESTEP_EMBEDDING_SIZE, timestep_embeddings};
