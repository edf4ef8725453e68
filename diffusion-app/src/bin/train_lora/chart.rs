//! The loss as a picture.

use std::error::Error;
use std::path::Path;

use diffusion_app::output::write_whole;
use plotters::prelude::*;

use crate::log::LoggedStep;

/// Width and height of the picture.
const SIZE: (u32, u32) = (960, 480);
/// Steps whose mean makes a point of the smooth line, as a share of all.
const SMOOTHED_SHARE: usize = 20;

/// Draw the loss of each step, and a running mean.
pub(crate) fn write_chart(path: &Path, steps: &[LoggedStep]) -> Result<(), Box<dyn Error>> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(()) };
    let highest = steps.iter().map(|step| step.loss).fold(0.0, f64::max);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .caption("loss", ("sans-serif", 20))
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(first.step..last.step.max(first.step + 1), 0.0..highest * 1.05 + f64::MIN_POSITIVE)?;
        chart.configure_mesh().x_desc("step").light_line_style(WHITE).draw()?;
        chart.draw_series(LineSeries::new(steps.iter().map(|step| (step.step, step.loss)), RGBColor(190, 205, 225)))?;
        chart.draw_series(LineSeries::new(running_mean(steps), RGBColor(20, 80, 160).stroke_width(2)))?;
        root.present()?;
    }
    Ok(write_whole(path, |out| out.write_all(svg.as_bytes()))?)
}

/// The mean of some steps up to each.
fn running_mean(steps: &[LoggedStep]) -> Vec<(usize, f64)> {
    let len = (steps.len() / SMOOTHED_SHARE).max(1);
    let mean = |end: usize| {
        let window = &steps[end.saturating_sub(len)..end];
        (window[window.len() - 1].step, window.iter().map(|step| step.loss).sum::<f64>() / window.len() as f64)
    };
    (1..=steps.len()).map(mean).collect()
}
