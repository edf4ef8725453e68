//! Samplers: values that integrate a velocity field along given noise levels.
//!
//! | Sampler | evaluations a step | order | adds noise |
//! |---|---|---|---|
//! | [`Euler`] | 1 | 1 | |
//! | [`Heun`] | 2 | 2 | |
//! | [`DpmPp2M`], [`ResMultistep`] | 1 | 2 | |
//! | [`DpmPp2MLogSnr`] | 1 | 1, 2 | |
//! | [`UniPc`] | 1 | 2, 3 | |
//! | [`Ipndm`] | 1 | 2, up to 4 after the first steps if they are equal | |
//! | [`Ddim`] | 1 | 1 | if asked to |
//! | [`EulerAncestral`], [`Lcm`] | 1 | 1 | yes |
//! | [`DpmPp2SAncestral`], [`DpmPpSde`] | 2 | 2 | yes |
//! | [`DpmPp2MSde`], [`DpmPp3MSde`] | 1 | 2 | yes |
//!
//! Orders are those without noise.
//!
//! [`SamplerKind`](crate::kind::SamplerKind) makes them from names.

mod added_noise;
mod ddim;
mod dpmpp_2m;
mod dpmpp_2m_log_snr;
mod dpmpp_2m_sde;
mod dpmpp_2s_ancestral;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod euler;
mod euler_ancestral;
mod heun;
mod ipndm;
mod lcm;
mod order;
mod res_multistep;
mod run;
mod sde_step;
mod towards;
mod uni_pc;

pub use added_noise::AddedNoise;
pub use ddim::Ddim;
pub use dpmpp_2m::DpmPp2M;
pub use dpmpp_2m_log_snr::DpmPp2MLogSnr;
pub use dpmpp_2m_sde::DpmPp2MSde;
pub use dpmpp_2s_ancestral::DpmPp2SAncestral;
pub use dpmpp_3m_sde::DpmPp3MSde;
pub use dpmpp_sde::DpmPpSde;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use heun::Heun;
pub use ipndm::Ipndm;
pub use lcm::Lcm;
pub use order::{LastSteps, SolverOrder, SolverType};
pub use res_multistep::ResMultistep;
pub use uni_pc::{UniPc, UniPcVariant};
