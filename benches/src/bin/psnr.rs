//! How far two images are apart.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Print the peak signal-to-noise ratio of two PNG images in decibels; equal images have `inf`.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// An image.
    left: PathBuf,
    /// Another image of the same size and kind.
    right: PathBuf,
    /// Exit with 1 if the ratio is lower.
    #[arg(long, value_name = "DECIBELS", default_value_t = 0.0)]
    at_least: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_app::cli::run(|| {
        let left = read(&arguments.left)?;
        let right = read(&arguments.right)?;
        if (left.size, left.color) != (right.size, right.color) {
            return Err(format!("an image of {left} cannot be compared to one of {right}").into());
        }
        let decibels = psnr(&left.samples, &right.samples);
        println!("{decibels:.2}");
        if decibels < arguments.at_least {
            return Err(format!("{decibels:.2} dB are less than {} dB", arguments.at_least).into());
        }
        Ok(())
    })
}

struct Image {
    size: (u32, u32),
    color: png::ColorType,
    samples: Vec<u8>,
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} pixels in {:?}", self.size.0, self.size.1, self.color)
    }
}

fn read(path: &Path) -> Result<Image, Box<dyn Error>> {
    let refuse = |error: &dyn Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(|error| refuse(&error))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    // Palettes to colors, and 16 bits to the 8 that the peak below is of.
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| refuse(&error))?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or("the image is too large")?];
    let info = reader.next_frame(&mut samples).map_err(|error| refuse(&error))?;
    samples.truncate(info.buffer_size());
    Ok(Image { size: (info.width, info.height), color: info.color_type, samples })
}

/// `10 log₁₀(255² / mean squared difference)`.
fn psnr(left: &[u8], right: &[u8]) -> f64 {
    let squares = left.iter().zip(right).map(|(&l, &r)| f64::from(l.abs_diff(r)).powi(2));
    let mean = squares.sum::<f64>() / left.len() as f64;
    10.0 * (255.0f64.powi(2) / mean).log10()
}
