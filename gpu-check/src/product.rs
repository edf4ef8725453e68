//! Products with weights in the formats of files, against sums in f64.

use std::error::Error;

use burn::tensor::{DType, Tensor, TensorData};
use diffusion_app::cli::PrintError;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{Projection, ProjectionConfig, load_into};
use diffusion_core::{Loading, Precision};
use half::bf16;

use crate::compare::{name, numbers, relative_error_f64, unit};
use crate::network::weight_std;
use crate::table::{Case, Table};
use crate::tested::Tested;

/// Rows of the input, as many as fill no tile.
const ROWS: usize = 77;
/// Columns of the output that fill no tile either, in whole blocks of every format in the other direction.
const OUTPUT_SIZE: usize = 203;

/// A matrix in every format, as wide as that of FLUX.1.
pub(crate) fn check(tested: &Tested, table: &mut Table) -> Result<(), PrintError> {
    let width = tested.sizes.flux.hidden_size();
    for &precision in &tested.precisions {
        for &format in tested.sizes.formats {
            let case = Case::new("product", format!("{ROWS} x {width} by {OUTPUT_SIZE} from {format}"), name(precision));
            // The matrix is widened into the precision, and the result is rounded to it.
            table.compare(case, 2.0 * unit(precision), || error(tested, width, format, precision))?;
        }
    }
    Ok(())
}

fn error(tested: &Tested, width: usize, format: Format, precision: Precision) -> Result<f64, Box<dyn Error>> {
    let mut random = TorchGenerator::new(2);
    let matrix: Vec<f32> = random.normal(OUTPUT_SIZE * width).into_iter().map(|value| value * weight_std(width)).collect();
    let input: Vec<f32> = random.normal(ROWS * width).into_iter().map(|value| bf16::from_f32(value).to_f32()).collect();
    // What the file holds is what has to be multiplied with.
    let (projection, stored) = projection(tested, &matrix, width, format, precision)?;
    let tensor = Tensor::<2>::from_data(TensorData::new(input.clone(), [ROWS, width]), (&tested.device, DType::F32));
    let found = numbers(projection.forward(tensor.cast(precision.compute)))?;
    let dot = |row: &[f32], column: &[f32]| row.iter().zip(column).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let right: Vec<f64> = input.chunks(width).flat_map(|row| stored.chunks(width).map(move |column| dot(row, column))).collect();
    Ok(relative_error_f64(&found, &right))
}

/// A layer with a matrix that is loaded from a file, and the numbers that the file holds.
pub(crate) fn projection(
    tested: &Tested,
    matrix: &[f32],
    width: usize,
    format: Format,
    precision: Precision,
) -> Result<(Projection, Vec<f32>), Box<dyn Error>> {
    let (folder, outputs) = (tempfile::tempdir()?, matrix.len() / width);
    let container = if format.block().elements > 1 { Container::Gguf } else { Container::Safetensors };
    let path = folder.path().join("matrix").with_extension(container.extension());
    let spec = TensorSpec { name: "weight".to_owned(), shape: vec![outputs, width], format };
    let mut bytes = vec![0; spec.num_bytes().ok_or("the width is no multiple of a block")?];
    format.narrow(matrix, &mut bytes);
    let mut writer = CheckpointWriter::create(&path, container, vec![spec], None)?;
    writer.append(&bytes)?;
    writer.finish()?;
    let mut stored = vec![0.0; matrix.len()];
    format.widen(&bytes, &mut stored);
    let projection = ProjectionConfig::without_bias(width, outputs).init(&tested.device);
    let loading = Loading::new(precision, &tested.device);
    Ok((load_into(Checkpoint::open(&path)?, projection, &loading)?, stored))
}
