//! diffusion-models
