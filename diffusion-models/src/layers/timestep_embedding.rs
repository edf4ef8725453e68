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
