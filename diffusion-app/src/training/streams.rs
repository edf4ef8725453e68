//! What random numbers are drawn for, each from a stream of its own.

pub(super) const ORDER: u64 = u64::from_be_bytes(*b"order   ");
pub(super) const LATENTS: u64 = u64::from_be_bytes(*b"latents ");
pub(super) const NOISE: u64 = u64::from_be_bytes(*b"noise   ");
pub(super) const NOISE_LEVELS: u64 = u64::from_be_bytes(*b"levels  ");
pub(super) const DROPOUT: u64 = u64::from_be_bytes(*b"dropout ");
pub(super) const FLIPS: u64 = u64::from_be_bytes(*b"flips   ");
pub(super) const CLASS_PICTURES: u64 = u64::from_be_bytes(*b"class   ");
