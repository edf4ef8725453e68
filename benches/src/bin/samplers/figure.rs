//! Error against evaluations, both on logarithmic axes.

use std::error::Error;
use std::path::Path;

use diffusion_schedulers::kind::SamplerKind;
use plotters::prelude::*;

/// The errors of a sampler.
pub(crate) struct Curve {
    pub(crate) sampler: SamplerKind,
    /// Evaluations of the network and relative error of the latents.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Width and height of the figure in pixels.
const SIZE: (u32, u32) = (1000, 520);
const FONT: &str = "sans-serif";
/// Ends of the axes.
const EVALUATIONS: std::ops::Range<f64> = 3.5..75.0;
const ERRORS: std::ops::Range<f64> = 0.005..4.0;

/// Write the figure: samplers that follow the flow on the left, those that add noise on the right.
pub(crate) fn write(path: &Path, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    let (noisy, flowing): (Vec<&Curve>, Vec<&Curve>) = curves.iter().partition(|curve| curve.sampler.is_stochastic());
    for (panel, title, curves) in [(left, "deterministic samplers", flowing), (right, "samplers that add noise", noisy)] {
        let mut chart = ChartBuilder::on(&panel)
            .caption(title, (FONT, 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(EVALUATIONS.log_scale(), ERRORS.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("evaluations of the network")
            .y_desc("relative error of the latents")
            .label_style((FONT, 13))
            .x_label_formatter(&|evaluations| format!("{evaluations:.0}"))
            .bold_line_style(BLACK.mix(0.2))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (index, curve) in curves.into_iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)?
                .label(curve.sampler.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .label_font((FONT, 13))
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    root.present()?;
    Ok(())
}
