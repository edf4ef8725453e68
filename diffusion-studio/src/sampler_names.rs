//! Samplers and schedules under the names that other programs have for them.
//!
//! Names are compared without regard to case, spaces, underscores, dashes and a leading `k_`. One table gives each sampler the
//! label that people know it by and its other names; a name that AUTOMATIC1111 put a schedule into ("DPM++ 2M Karras") gives both.

use std::fmt;

use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};

/// A sampler and what else it is called.
struct SamplerNames {
    kind: SamplerKind,
    /// As AUTOMATIC1111 and Forge write it, or `ComfyUI`'s name in their manner.
    label: &'static str,
    aliases: &'static [&'static str],
}

const fn sampler(kind: SamplerKind, label: &'static str, aliases: &'static [&'static str]) -> SamplerNames {
    SamplerNames { kind, label, aliases }
}

/// Reference: `modules/sd_samplers_kdiffusion.py` of stable-diffusion-webui, `comfy/samplers.py` of `ComfyUI`, and the enum
/// `sample_method_t` of stable-diffusion.cpp.
const SAMPLERS: &[SamplerNames] = &[
    sampler(SamplerKind::Euler, "Euler", &["euler flow", "flowmatch euler", "FlowMatchEulerDiscreteScheduler"]),
    sampler(SamplerKind::EulerAncestral, "Euler a", &["euler ancestral"]),
    sampler(SamplerKind::Heun, "Heun", &["FlowMatchHeunDiscreteScheduler"]),
    sampler(SamplerKind::DpmPp2M, "DPM++ 2M", &["dpmpp 2m", "dpm++2m", "dpmplusplus 2m"]),
    sampler(SamplerKind::DpmPp2MLogSnr, "DPM++ 2M LogSNR", &["dpmpp 2m logsnr", "DPMSolverMultistepScheduler"]),
    sampler(SamplerKind::DpmPp2MSde, "DPM++ 2M SDE", &["dpmpp 2m sde", "dpmpp 2m sde gpu"]),
    sampler(SamplerKind::DpmPp2MSdeHeun, "DPM++ 2M SDE Heun", &["dpmpp 2m sde heun", "dpmpp 2m sde heun gpu"]),
    sampler(SamplerKind::DpmPp3MSde, "DPM++ 3M SDE", &["dpmpp 3m sde", "dpmpp 3m sde gpu"]),
    sampler(
        SamplerKind::DpmPp2SAncestral,
        "DPM++ 2S a",
        &["dpmpp 2s a", "dpmpp 2s ancestral", "dpm++2s a", "dpm++ 2s ancestral"],
    ),
    sampler(SamplerKind::DpmPpSde, "DPM++ SDE", &["dpmpp sde", "dpmpp sde gpu"]),
    sampler(SamplerKind::UniPc, "UniPC", &["uni pc", "uni pc bh2", "UniPCMultistepScheduler"]),
    sampler(SamplerKind::UniPcBh1, "UniPC BH1", &["uni pc bh1"]),
    sampler(SamplerKind::Ddim, "DDIM", &["ddim trailing", "DDIMScheduler"]),
    sampler(SamplerKind::Lcm, "LCM", &["LCMScheduler"]),
    sampler(SamplerKind::Ipndm, "IPNDM", &["ipndm"]),
    sampler(SamplerKind::ResMultistep, "Res Multistep", &["res multistep"]),
];

/// A schedule and what else it is called. `None` is the model's own.
struct ScheduleNames {
    kind: Option<ScheduleKind>,
    label: &'static str,
    aliases: &'static [&'static str],
}

const fn schedule(kind: ScheduleKind, label: &'static str, aliases: &'static [&'static str]) -> ScheduleNames {
    ScheduleNames { kind: Some(kind), label, aliases }
}

/// The name of the model's own schedule.
pub(crate) const AUTOMATIC: &str = "automatic";

/// Reference: `modules/sd_schedulers.py` of stable-diffusion-webui: its "Uniform" is what k-diffusion and `ComfyUI` call normal.
const SCHEDULES: &[ScheduleNames] = &[
    ScheduleNames { kind: None, label: "Automatic", aliases: &["auto", "default", "discrete", "use same scheduler"] },
    schedule(ScheduleKind::FlowShift, "Flow Shift", &["sd3"]),
    schedule(ScheduleKind::TimeShift, "Time Shift", &["flux"]),
    schedule(ScheduleKind::Simple, "Simple", &[]),
    schedule(ScheduleKind::Normal, "Normal", &["uniform"]),
    schedule(ScheduleKind::SgmUniform, "SGM Uniform", &["sgm"]),
    schedule(ScheduleKind::Karras, "Karras", &[]),
    schedule(ScheduleKind::Exponential, "Exponential", &[]),
    schedule(ScheduleKind::Beta, "Beta", &[]),
    schedule(ScheduleKind::KlOptimal, "KL Optimal", &[]),
    schedule(ScheduleKind::LinearQuadratic, "Linear Quadratic", &[]),
    schedule(ScheduleKind::DdimUniform, "DDIM Uniform", &["ddim"]),
    schedule(ScheduleKind::DpmSolverFlow, "DPM Solver Flow", &[]),
    schedule(ScheduleKind::UniPcFlow, "UniPC Flow", &[]),
    schedule(ScheduleKind::Linspace, "Linspace", &[]),
    schedule(ScheduleKind::Leading, "Leading", &[]),
    schedule(ScheduleKind::Trailing, "Trailing", &[]),
    schedule(ScheduleKind::Lcm, "LCM", &[]),
];

/// A name that no sampler or schedule has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {noun} {name:?}; there are {}", Listed(known))]
pub(crate) struct UnknownName {
    /// "sampler" or "schedule".
    pub(crate) noun: &'static str,
    /// The name.
    pub(crate) name: String,
    /// The names that there are.
    pub(crate) known: Vec<&'static str>,
}

struct Listed<'a>(&'a [&'static str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The sampler of this name, and the schedule that the name says, if it says one.
///
/// # Errors
/// [`UnknownName`] with the names that there are.
pub(crate) fn sampler_named(name: &str) -> Result<(SamplerKind, Option<ScheduleKind>), UnknownName> {
    let plain = plain(name);
    let with_schedule = || {
        SCHEDULES.iter().find_map(|schedule| {
            let rest = plain.strip_suffix(&self::plain(schedule.label))?;
            Some((sampler_of(rest)?, Some(schedule.kind?)))
        })
    };
    // k-diffusion's names in AUTOMATIC1111 end in "_ka" where the schedule is Karras's.
    let with_karras = || Some((sampler_of(plain.strip_suffix("ka")?)?, Some(ScheduleKind::Karras)));
    let found = sampler_of(&plain).map(|kind| (kind, None)).or_else(with_schedule).or_else(with_karras);
    found.ok_or_else(|| UnknownName {
        noun: "sampler",
        name: shown(name),
        known: SamplerKind::ALL.iter().map(|kind| kind.name()).collect(),
    })
}

/// The schedule of this name; `None` is the model's own.
///
/// # Errors
/// [`UnknownName`] with the names that there are.
pub(crate) fn schedule_named(name: &str) -> Result<Option<ScheduleKind>, UnknownName> {
    let plain = plain(name);
    let is_named = |schedule: &&ScheduleNames| {
        let own = schedule.kind.map_or(AUTOMATIC, ScheduleKind::name);
        let names = [schedule.label, own];
        names.iter().chain(schedule.aliases).any(|name| self::plain(name) == plain)
    };
    SCHEDULES.iter().find(is_named).map(|schedule| schedule.kind).ok_or_else(|| UnknownName {
        noun: "schedule",
        name: shown(name),
        known: std::iter::once(AUTOMATIC).chain(ScheduleKind::ALL.iter().map(|kind| kind.name())).collect(),
    })
}

/// What people call a sampler: AUTOMATIC1111's name, where it has one.
pub(crate) fn sampler_label(kind: SamplerKind) -> &'static str {
    SAMPLERS.iter().find(|sampler| sampler.kind == kind).map_or(kind.name(), |sampler| sampler.label)
}

/// Other names of a sampler.
pub(crate) fn sampler_aliases(kind: SamplerKind) -> impl Iterator<Item = &'static str> {
    let aliases = SAMPLERS.iter().find(|sampler| sampler.kind == kind).map_or(&[][..], |sampler| sampler.aliases);
    std::iter::once(kind.name()).chain(aliases.iter().copied())
}

/// What people call a schedule; `None` is the model's own.
pub(crate) fn schedule_label(kind: Option<ScheduleKind>) -> &'static str {
    let own = kind.map_or(AUTOMATIC, ScheduleKind::name);
    SCHEDULES.iter().find(|schedule| schedule.kind == kind).map_or(own, |schedule| schedule.label)
}

/// Other names of a schedule; `None` is the model's own.
pub(crate) fn schedule_aliases(kind: Option<ScheduleKind>) -> &'static [&'static str] {
    SCHEDULES.iter().find(|schedule| schedule.kind == kind).map_or(&[], |schedule| schedule.aliases)
}

fn sampler_of(plain: &str) -> Option<SamplerKind> {
    let is_named = |sampler: &&SamplerNames| {
        let names = [sampler.label, sampler.kind.name()];
        names.iter().chain(sampler.aliases).any(|name| self::plain(name) == plain)
    };
    SAMPLERS.iter().find(is_named).map(|sampler| sampler.kind)
}

/// A name with what does not count left out.
fn plain(name: &str) -> String {
    let name = name.trim();
    let name = name.strip_prefix("k_").or_else(|| name.strip_prefix("K_")).unwrap_or(name);
    name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// A name as an error shows it: not longer than names are.
fn shown(name: &str) -> String {
    const ENOUGH: usize = 80;
    name.chars().take(ENOUGH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_lead_to_samplers() {
        use SamplerKind as Kind;
        let karras = Some(ScheduleKind::Karras);
        let expected = [
            ("Euler", Kind::Euler, None),
            ("k_euler", Kind::Euler, None),
            ("euler a", Kind::EulerAncestral, None),
            ("Euler_A", Kind::EulerAncestral, None),
            ("k_euler_a", Kind::EulerAncestral, None),
            ("k_euler_ancestral", Kind::EulerAncestral, None),
            ("Heun", Kind::Heun, None),
            ("DPM++ 2M", Kind::DpmPp2M, None),
            ("dpm++2m", Kind::DpmPp2M, None),
            ("DPM++ 2M Karras", Kind::DpmPp2M, karras),
            ("k_dpmpp_2m_ka", Kind::DpmPp2M, karras),
            ("DPM++ 2M SDE Exponential", Kind::DpmPp2MSde, Some(ScheduleKind::Exponential)),
            ("DPM++ 2M SDE Heun Karras", Kind::DpmPp2MSdeHeun, karras),
            ("DPM++ 2M SGMUniform", Kind::DpmPp2M, Some(ScheduleKind::SgmUniform)),
            ("DPM++ 3M SDE", Kind::DpmPp3MSde, None),
            ("DPM++ 2S a Karras", Kind::DpmPp2SAncestral, karras),
            ("DPM++ SDE", Kind::DpmPpSde, None),
            ("DPM++ SDE Karras", Kind::DpmPpSde, karras),
            ("UniPC", Kind::UniPc, None),
            ("uni_pc_bh2", Kind::UniPc, None),
            ("DDIM", Kind::Ddim, None),
            ("LCM", Kind::Lcm, None),
            ("res multistep", Kind::ResMultistep, None),
        ];
        for (name, kind, schedule) in expected {
            assert_eq!(sampler_named(name), Ok((kind, schedule)), "{name}");
        }
        for &kind in SamplerKind::ALL {
            let names = sampler_aliases(kind).chain([sampler_label(kind)]);
            names.for_each(|name| assert_eq!(sampler_named(name), Ok((kind, None)), "{name}"));
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_all_names() {
        for name in ["Restart", "PLMS", "DPM2 a", "DPM adaptive", "LMS Karras", "euler karrass", ""] {
            let error = sampler_named(name).unwrap_err();
            assert_eq!(error.name, name);
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("there is no sampler {name:?}; there are euler, euler_ancestral, heun, ")),
                "{text}"
            );
        }
        let error = schedule_named("polyexponential").unwrap_err().to_string();
        assert!(error.starts_with("there is no schedule \"polyexponential\"; there are automatic, flow_shift, "), "{error}");
        assert!(sampler_named(&"x".repeat(10_000)).unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn names_of_other_programs_lead_to_schedules() {
        use ScheduleKind as Kind;
        let expected = [
            ("automatic", None),
            ("Automatic", None),
            ("uniform", Some(Kind::Normal)),
            ("karras", Some(Kind::Karras)),
            ("SGM Uniform", Some(Kind::SgmUniform)),
            ("SGMUniform", Some(Kind::SgmUniform)),
            ("sgm_uniform", Some(Kind::SgmUniform)),
            ("beta", Some(Kind::Beta)),
            ("KL Optimal", Some(Kind::KlOptimal)),
            ("DDIM", Some(Kind::DdimUniform)),
            ("ddim_uniform", Some(Kind::DdimUniform)),
            ("simple", Some(Kind::Simple)),
            ("exponential", Some(Kind::Exponential)),
        ];
        for (name, kind) in expected {
            assert_eq!(schedule_named(name), Ok(kind), "{name}");
        }
        for kind in ScheduleKind::ALL.iter().copied().map(Some).chain([None]) {
            let names = schedule_aliases(kind).iter().copied().chain([schedule_label(kind)]);
            names.for_each(|name| assert_eq!(schedule_named(name), Ok(kind), "{name}"));
        }
    }

    /// Two samplers of one name would make the first one hide the second.
    #[test]
    fn every_kind_has_names_of_its_own() {
        for &kind in SamplerKind::ALL {
            assert!(SAMPLERS.iter().any(|sampler| sampler.kind == kind), "{kind}");
        }
        for &kind in ScheduleKind::ALL {
            assert!(SCHEDULES.iter().any(|schedule| schedule.kind == Some(kind)), "{kind}");
        }
        let mut names: Vec<String> = SAMPLERS
            .iter()
            .flat_map(|sampler| {
                let mut own: Vec<String> =
                    [sampler.label, sampler.kind.name()].iter().chain(sampler.aliases).map(|name| plain(name)).collect();
                own.sort();
                own.dedup();
                own
            })
            .collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
