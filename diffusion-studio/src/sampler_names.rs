//! temporary
pub(crate) fn sampler_label(kind: diffusion_schedulers::kind::SamplerKind) -> String {
    kind.to_string()
}
pub(crate) fn schedule_label(kind: diffusion_schedulers::kind::ScheduleKind) -> String {
    kind.to_string()
}
