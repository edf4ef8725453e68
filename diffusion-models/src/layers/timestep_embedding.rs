//! Sinusoidal embedding of a timestep.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

/// Width of the embedding that transformers of this family take in.
pub(crate) const TIMESTEP_EMBEDDING_SIZE: usize = 256;

/// `[cos(t f_k) | sin(t f_k)]` with `f_k = 10000^(-k / 128)`, a row for each timestep.
///
/// In f32 like the reference, also for the frequencies: at timestep 1000 their rounding is what one sees.
///
/// # Shapes
/// - result: `[timesteps, 256]`
///
/// Reference: diffusers `embeddings.py#L27` (`get_timestep_embedding`, `flip_sin_to_cos=True`) at 58eb52c.
pub(crate) fn timestep_embeddings(timesteps: impl Iterator<Item = f32>, dtype: FloatDType, device: &Device) -> Tensor<2> {
    let half = TIMESTEP_EMBEDDING_SIZE / 2;
    let exponent = |k: usize| -(10_000f64.ln() as f32) * k as f32 / half as f32;
    let row = |timestep: f32| {
        let angles: Vec<f32> = (0..half).map(|k| timestep * f64::from(exponent(k)).exp() as f32).collect();
        let cos = angles.iter().map(|&angle| f64::from(angle).cos() as f32);
        let sin = angles.iter().map(|&angle| f64::from(angle).sin() as f32);
        cos.chain(sin).collect::<Vec<f32>>()
    };
    let rows: Vec<f32> = timesteps.flat_map(row).collect();
    let shape = [rows.len() / TIMESTEP_EMBEDDING_SIZE, TIMESTEP_EMBEDDING_SIZE];
    Tensor::<2>::from_data(TensorData::new(rows, shape), (device, DType::F32)).cast(dtype)
}

#[cfg(test)]
mod tests {
    use diffusion_core::checkpoint::Checkpoint;

    use super::*;
    use crate::common::{assert_close, fixture, tensor};

    /// Frequencies are powers in f32, which differ between mathematical libraries in the last place; at timestep 1000 that
    /// place is 6e-5 of an angle.
    const TOLERANCE: f64 = 1e-4;

    #[test]
    fn sinusoids_are_those_of_diffusers() {
        let device = Device::flex();
        let stages = Checkpoint::open(&fixture("sd3/stages.safetensors")).unwrap();
        let timesteps: Tensor<1> = tensor(&stages, "timestep_embedding.timesteps", &device);
        let timesteps: Vec<f32> = timesteps.into_data().iter().collect();
        assert_eq!(timesteps, [0.0, 1.0, 250.25, 1000.0]);
        let expected: Tensor<2> = tensor(&stages, "timestep_embedding", &device);
        for (row, timestep) in timesteps.into_iter().enumerate() {
            let found = timestep_embeddings([timestep].into_iter(), FloatDType::F32, &device);
            assert_close(&format!("timestep {timestep}"), found, expected.clone().narrow(0, row, 1), TOLERANCE);
        }
    }

    #[test]
    fn every_image_of_a_batch_has_the_row_of_its_timestep() {
        let device = Device::flex();
        let embedded = |timesteps: &[f32]| timestep_embeddings(timesteps.iter().copied(), FloatDType::F32, &device);
        let rows = embedded(&[7.5, 250.0, 7.5]);
        let (first, second) = (embedded(&[7.5]), embedded(&[250.0]));
        assert_eq!(rows.into_data(), Tensor::cat(vec![first.clone(), second, first], 0).into_data());
    }
}
