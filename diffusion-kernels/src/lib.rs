//! CPU kernels for diffusion models, on plain slices of numbers: nothing here knows a tensor library or a model.
//!
//! Every kernel is written once, over two small traits, and compiled for each set of instructions: [`simd`](crate) vectors of f32
//! for what goes row by row, and a micro-kernel over *units* of 32 bits (one f32, or a pair of bf16 that follow one another along
//! the summed dimension) for products. A [`Cpu`] says which set runs; it is found at run time, and can be lowered by hand.
//! [`Instructions::Generic`] is plain Rust for every processor, its vectors without `unsafe` code.
//!
//! Results depend on the instruction set (the order of sums, fused additions), never on the number of threads. Work is spread
//! over rayon's current pool.
//!
//! # Layout
//! - `cpu`: which instructions there are
//! - `simd`: vectors of f32, and functions of them
//! - `tile`: the micro-kernel of products
//! - `product`: [`linear`], from weights as files hold them
//! - `attention`: [`attention()`] and its gradients
//! - `convolution`: [`convolution()`] of images, read in place
//! - `rows`: what lies between products, one pass each
//! - `memory`: scratch that is kept, pieces of a slice that threads write
#![allow(
    clippy::inline_always,
    reason = "generic bodies have the instructions of the `target_feature` function that they are inlined into, so they must be"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod attention;
mod convolution;
mod cpu;
mod memory;
mod product;
mod rows;
mod simd;
mod tile;
mod weight_format;

pub use attention::{Attention, AttentionGradients, Bias, Strides, Tokens, TokensMut, attention, attention_backward};
pub use convolution::{Border, Convolution, Images, Window, convolution};
pub use cpu::{Cpu, Instructions};
pub use memory::release_scratch;
pub use product::{Activation, Epilogue, PerImage, Products, Residual, Weight, WidenRows, linear};
pub use rows::{
    Affine, ChannelNorm, GroupNorm, HeadNorm, Rope, Source, activate, activate_and_multiply, activate_backward, add_gated,
    gate_rows, group_norm, layer_norm, layer_norm_backward, normalise_heads, normalise_heads_backward, rms_norm, softmax,
};
pub use weight_format::WeightFormat;
