//! Sinusoidal embedding of a timestep.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// Width of the embedding that transformers of this family take in.
pub(crate) const TIMESTEP_EMBEDDING_SIZE: usize = 256;

/// `[cos(t f_k) | sin(t f_k)]` with `f_k = 10000^(-k / 128)`, the same for each of `batch` rows.
///
/// In f32 like the reference, also for the frequencies: at timestep 1000 their rounding is what one sees.
///
/// # Shapes
/// - result: `[batch, 256]`
///
/// Reference: diffusers `embeddings.py#L27` (`get_timestep_embedding`, `flip_sin_to_cos=True`) at 58eb52c.
pub(crate) fn timestep_embedding(timestep: f32, batch: usize, dtype: FloatDType, device: &Device) -> Tensor<2> {
    let half = TIMESTEP_EMBEDDING_SIZE / 2;
    let exponent = |k: usize| -(10_000f64.ln() as f32) * k as f32 / half as f32;
    let angles: Vec<f32> = (0..half).map(|k| timestep * f64::from(exponent(k)).exp() as f32).collect();
    let cos = angles.iter().map(|&angle| f64::from(angle).cos() as f32);
    let sin = angles.iter().map(|&angle| f64::from(angle).sin() as f32);
    let row: Vec<f32> = cos.chain(sin).collect();
    let embedding = TensorData::new(row, [1, TIMESTEP_EMBEDDING_SIZE]);
    let embedding = Tensor::<2>::from_data(embedding, (device, burn::tensor::DType::F32));
    embedding.cast(dtype).repeat_dim(0, batch)
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
            let found = timestep_embedding(timestep, 1, FloatDType::F32, &device);
            assert_close(&format!("timestep {timestep}"), found, expected.clone().narrow(0, row, 1), TOLERANCE);
        }
    }

    #[test]
    fn every_picture_of_a_batch_has_the_same_row() {
        let device = Device::flex();
        let rows = timestep_embedding(7.5, 3, FloatDType::F32, &device);
        let one = timestep_embedding(7.5, 1, FloatDType::F32, &device);
        assert_eq!(rows.into_data(), Tensor::cat(vec![one.clone(), one.clone(), one], 0).into_data());
    }
}
