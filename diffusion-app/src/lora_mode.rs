//! How LoRAs reach the weights.

use diffusion_core::Residency;
use diffusion_core::weights::PatchMode;

/// How to apply LoRAs, where fusing may take as many bytes as `needed`, and `available` bytes of memory are free, if that is
/// known: fused, because nothing is slower afterwards, unless that does not fit. What is streamed cannot be fused for good.
///
/// ```
/// use diffusion_app::lora_mode::lora_mode;
/// use diffusion_core::Residency;
/// use diffusion_core::weights::PatchMode;
///
/// assert_eq!(lora_mode(Residency::Resident, 9, Some(10)), PatchMode::Fuse);
/// assert_eq!(lora_mode(Residency::Resident, 11, Some(10)), PatchMode::Attach);
/// assert_eq!(lora_mode(Residency::Streamed, 9, Some(10)), PatchMode::Attach);
/// ```
pub fn lora_mode(residency: Residency, needed: usize, available: Option<usize>) -> PatchMode {
    let fits = residency == Residency::Resident && available.is_none_or(|available| needed <= available);
    if fits { PatchMode::Fuse } else { PatchMode::Attach }
}
