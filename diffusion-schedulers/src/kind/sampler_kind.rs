//! Samplers by name.

use super::named_kinds::named_kinds;

named_kinds! {
    /// A sampler by name. The names are those of `ComfyUI` where it has the same method.
    SamplerKind, "sampler" {
        /// [`Euler`](crate::samplers::Euler).
        Euler = "euler",
        /// [`EulerAncestral`](crate::samplers::EulerAncestral).
        EulerAncestral = "euler_ancestral",
        /// [`Heun`](crate::samplers::Heun).
        Heun = "heun",
        /// [`DpmPp2M`](crate::samplers::DpmPp2M), as k-diffusion and `ComfyUI` have it.
        DpmPp2M = "dpmpp_2m",
        /// [`DpmPp2MLogSnr`](crate::samplers::DpmPp2MLogSnr) of second order, as diffusers has it.
        DpmPp2MLogSnr = "dpmpp_2m_logsnr",
        /// [`DpmPp2MSde`](crate::samplers::DpmPp2MSde).
        DpmPp2MSde = "dpmpp_2m_sde",
        /// [`DpmPp2MSde`](crate::samplers::DpmPp2MSde) in Heun's form.
        DpmPp2MSdeHeun = "dpmpp_2m_sde_heun",
        /// [`DpmPp3MSde`](crate::samplers::DpmPp3MSde).
        DpmPp3MSde = "dpmpp_3m_sde",
        /// [`DpmPp2SAncestral`](crate::samplers::DpmPp2SAncestral).
        DpmPp2SAncestral = "dpmpp_2s_ancestral",
        /// [`DpmPpSde`](crate::samplers::DpmPpSde).
        DpmPpSde = "dpmpp_sde",
        /// [`UniPc`](crate::samplers::UniPc) of second order, as diffusers has it. `ComfyUI`'s is of third order, on other levels.
        UniPc = "uni_pc",
        /// [`UniPc`](crate::samplers::UniPc) with [`UniPcVariant::Bh1`](crate::samplers::UniPcVariant::Bh1).
        UniPcBh1 = "uni_pc_bh1",
        /// [`Ddim`](crate::samplers::Ddim), deterministic unless asked for noise.
        Ddim = "ddim",
        /// [`Lcm`](crate::samplers::Lcm), for models distilled to it.
        Lcm = "lcm",
        /// [`Ipndm`](crate::samplers::Ipndm).
        Ipndm = "ipndm",
        /// [`ResMultistep`](crate::samplers::ResMultistep).
        ResMultistep = "res_multistep",
    }
}

impl SamplerKind {
    /// Whether it adds noise with the settings of the references.
    pub fn is_stochastic(self) -> bool {
        match self {
            Self::EulerAncestral
            | Self::DpmPp2MSde
            | Self::DpmPp2MSdeHeun
            | Self::DpmPp3MSde
            | Self::DpmPp2SAncestral
            | Self::DpmPpSde
            | Self::Lcm => true,
            Self::Euler
            | Self::Heun
            | Self::DpmPp2M
            | Self::DpmPp2MLogSnr
            | Self::UniPc
            | Self::UniPcBh1
            | Self::Ddim
            | Self::Ipndm
            | Self::ResMultistep => false,
        }
    }

    /// Whether it extrapolates from earlier steps, in the logarithm of the noise level.
    pub(super) fn extrapolates(self) -> bool {
        match self {
            Self::DpmPp2M
            | Self::DpmPp2MLogSnr
            | Self::DpmPp2MSde
            | Self::DpmPp2MSdeHeun
            | Self::DpmPp3MSde
            | Self::UniPc
            | Self::UniPcBh1
            | Self::ResMultistep => true,
            Self::Euler
            | Self::EulerAncestral
            | Self::Heun
            | Self::DpmPp2SAncestral
            | Self::DpmPpSde
            | Self::Ddim
            | Self::Lcm
            | Self::Ipndm => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_samplers_and_back() {
        for &kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "euler_a".parse::<SamplerKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no sampler \"euler_a\"; there are euler, euler_ancestral, heun, "), "{error}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_sampler_is_stored_as_its_name() {
        for &kind in SamplerKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<SamplerKind>(&json).unwrap(), kind);
        }
        let error = serde_json::from_str::<SamplerKind>("\"euler_a\"").unwrap_err().to_string();
        assert!(error.starts_with("there is no sampler \"euler_a\"; there are euler, "), "{error}");
    }
}
