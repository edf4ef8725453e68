//! diffusion-core
