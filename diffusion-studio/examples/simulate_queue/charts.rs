//! Charts of many runs, readable on light and dark pages.

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::{Report, Users};
use crate::run::Policy;

/// A run and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) workers: usize,
    pub(crate) load: f64,
    pub(crate) policy: Policy,
    pub(crate) report: Report,
}

/// Width and height of a panel in pixels.
const PANEL: (u32, u32) = (330, 250);
const FONT: &str = "sans-serif";
/// Grey and colours of a middle brightness, on no background.
const GREY: RGBColor = RGBColor(128, 132, 140);
const COLORS: [RGBColor; 3] = [RGBColor(214, 96, 60), RGBColor(196, 152, 30), RGBColor(50, 140, 220)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A number of a run, and where it lies on its axis.
struct Measure {
    name: &'static str,
    value: fn(&Report) -> f64,
    range: Range<f64>,
}

const MEAN_WAIT: Measure = Measure { name: "mean wait, s", value: |report| report.waits(Users::All).mean, range: 0.02..1e6 };
const LIGHT_WAIT: Measure =
    Measure { name: "light users' p95 wait, s", value: |report| report.waits(Users::Light).p95, range: 0.02..1e6 };
const LOADS: Measure = Measure { name: "models loaded per job", value: |report| report.loads_per_job, range: 0.0005..1.0 };
const PREPARING: Measure =
    Measure { name: "time loading and switching, %", value: |report| 100.0 * report.preparing, range: 0.5..100.0 };

/// What a panel shows beside its lines.
struct Frame {
    title: String,
    x_name: &'static str,
    x_range: Range<f64>,
    /// Where lines are named, if they are.
    legend: Option<SeriesLabelPosition>,
}

/// A line of a panel.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// How long people wait, by fleet and load.
pub(crate) fn waits(path: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    by_fleet(path, runs, &[MEAN_WAIT, LIGHT_WAIT])
}

/// What workers do, by fleet and load.
pub(crate) fn loads(path: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    by_fleet(path, runs, &[LOADS, PREPARING])
}

fn by_fleet(path: &Path, runs: &[Run], measures: &[Measure]) -> Result<(), Box<dyn Error>> {
    let per_mille: BTreeSet<u64> = runs.iter().map(|run| (1000.0 * run.load) as u64).collect();
    let size = (PANEL.0 * per_mille.len() as u32, PANEL.1 * measures.len() as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    let mut panels = root.split_evenly((measures.len(), per_mille.len())).into_iter();
    let mut legend = Some(SeriesLabelPosition::LowerLeft);
    for measure in measures {
        for load in &per_mille {
            let Some(panel) = panels.next() else { break };
            let mut lines: Vec<Line> = Vec::new();
            for run in runs.iter().filter(|run| (1000.0 * run.load) as u64 == *load) {
                add(&mut lines, run.policy.name(), (run.workers as f64, (measure.value)(&run.report)));
            }
            let title = format!("{} % of what can be drawn", load / 10);
            let frame = Frame { title, x_name: "workers", x_range: 8.0..12_500.0, legend: legend.take() };
            draw(&panel, &frame, measure, &lines)?;
        }
    }
    root.present()?;
    Ok(())
}

/// What patience does.
pub(crate) fn patience(path: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    let measures = [MEAN_WAIT, LOADS, PREPARING];
    let root = SVGBackend::new(path, (PANEL.0 * measures.len() as u32, PANEL.1)).into_drawing_area();
    let mut legend = Some(SeriesLabelPosition::UpperRight);
    for (panel, measure) in root.split_evenly((1, measures.len())).iter().zip(&measures) {
        let mut lines: Vec<Line> = Vec::new();
        for run in runs {
            let Policy::Placed(patience) = run.policy else { continue };
            add(&mut lines, format!("{} workers", run.workers), (patience.against_ready, (measure.value)(&run.report)));
        }
        let title = "90 % of what can be drawn".to_owned();
        let frame = Frame { title, x_name: "patience, times the cost", x_range: 0.2..80.0, legend: legend.take() };
        draw(panel, &frame, measure, &lines)?;
    }
    root.present()?;
    Ok(())
}

fn add(lines: &mut Vec<Line>, name: String, point: (f64, f64)) {
    match lines.iter_mut().find(|line| line.name == name) {
        Some(line) => line.points.push(point),
        None => lines.push(Line { name, points: vec![point] }),
    }
}

fn draw(panel: &Area, frame: &Frame, measure: &Measure, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let text = |size: u32| (FONT, size).into_font().color(&GREY);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{}, {}", measure.name, frame.title), text(13))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(frame.x_range.clone().log_scale(), measure.range.clone().log_scale())?;
    chart
        .configure_mesh()
        .x_desc(frame.x_name)
        .label_style(text(12))
        .axis_desc_style(text(12))
        .axis_style(GREY)
        .bold_line_style(GREY.mix(0.3))
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|value| format!("{value}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (line, color) in lines.iter().zip(COLORS) {
        let inside = |(x, y): &(f64, f64)| (*x, y.clamp(measure.range.start, measure.range.end));
        let series = LineSeries::new(line.points.iter().map(inside), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(series)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    if let Some(position) = &frame.legend {
        chart.configure_series_labels().position(position.clone()).label_font(text(12)).draw()?;
    }
    Ok(())
}
