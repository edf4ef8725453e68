//! From the tensors of a file to factors on a device.

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::StoredTensor;

use super::factors::{Delta, Factors};
use super::method::Method;
use super::module_tensors::ModuleTensors;
use super::role::Role;
use super::shapes::flattened;
use crate::error::LoraError;

/// The roles of a product: its factors `up` and `down`, and the core between them that convolutions may have.
#[derive(Clone, Copy)]
struct Product {
    up: Role,
    down: Role,
    core: Role,
}

const LOW_RANK: Product = Product { up: Role::Up, down: Role::Down, core: Role::Mid };
const HADAMARD: [Product; 2] = [
    Product { up: Role::HadamardUp1, down: Role::HadamardDown1, core: Role::HadamardCore1 },
    Product { up: Role::HadamardUp2, down: Role::HadamardDown2, core: Role::HadamardCore2 },
];
const KRONECKER: [(Role, Product); 2] = [
    (Role::Kronecker1, Product { up: Role::KroneckerUp1, down: Role::KroneckerDown1, core: Role::Mid }),
    (Role::Kronecker2, Product { up: Role::KroneckerUp2, down: Role::KroneckerDown2, core: Role::KroneckerCore2 }),
];

impl ModuleTensors {
    /// Read all tensors of an adapter whose product has this [shape](Self::shape). `scale` is the adapter's own.
    ///
    /// # Errors
    /// [`LoraError::NotFinite`], or [`LoraError::Checkpoint`] if the file cannot be read any more.
    pub(super) fn factors(&self, method: Method, shape: [usize; 2], scale: f64, device: &Device) -> Result<Factors, LoraError> {
        let delta = match method {
            Method::LowRank => self.product(LOW_RANK, device)?.map(|(up, down)| Delta::LowRank { up, down }),
            Method::Hadamard => {
                let [first, second] = HADAMARD;
                let products = self.product(first, device)?.zip(self.product(second, device)?);
                products.map(|(first, second)| Delta::Hadamard([first, second]))
            }
            Method::Kronecker => {
                let [first, second] = KRONECKER;
                let factors = self.whole_or_product(first, device)?.zip(self.whole_or_product(second, device)?);
                factors.map(|(first, second)| Delta::Kronecker([first, second]))
            }
            Method::Difference => self.matrix(Role::Difference, device)?.map(Delta::Whole),
            Method::Replacement => self.matrix(Role::Replacement, device)?.map(Delta::Whole),
            Method::BiasOnly => None,
        };
        let magnitude = self.column(Role::Magnitude, device)?;
        let magnitude = if self.has_column_magnitude(shape) { magnitude.map(Tensor::transpose) } else { magnitude };
        // What scales the product scales the bias of its factor: peft `tuners/lora/layer.py#L1017` at 0.21.2.
        let factor_bias = self.column(Role::FactorBias, device)?.map(|bias| bias.mul_scalar(scale));
        let bias = match factor_bias {
            Some(bias) => Some(bias),
            None => self.column(Role::BiasDifference, device)?,
        };
        Ok(Factors { method, delta, scale, magnitude, bias })
    }

    /// All numbers of a tensor.
    pub(super) fn finite(&self, tensor: &StoredTensor) -> Result<Vec<f32>, LoraError> {
        let values = tensor.to_f32()?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(LoraError::NotFinite { path: self.path().to_owned(), tensor: tensor.name().to_owned(), value }),
            None => Ok(values),
        }
    }

    /// A tensor as `[first dimension, all others]`.
    fn matrix(&self, role: Role, device: &Device) -> Result<Option<Tensor<2>>, LoraError> {
        let Some(tensor) = self.get(role) else { return Ok(None) };
        let data = TensorData::new(self.finite(tensor)?, flattened(tensor.shape()));
        Ok(Some(Tensor::from_data(data, (device, DType::F32))))
    }

    /// A tensor as `[numbers, 1]`.
    fn column(&self, role: Role, device: &Device) -> Result<Option<Tensor<2>>, LoraError> {
        Ok(self.matrix(role, device)?.map(|tensor| {
            let len = tensor.shape().num_elements();
            tensor.reshape([len, 1])
        }))
    }

    /// A matrix, or the product that stands for it.
    fn whole_or_product(&self, (whole, product): (Role, Product), device: &Device) -> Result<Option<Tensor<2>>, LoraError> {
        match self.matrix(whole, device)? {
            Some(whole) => Ok(Some(whole)),
            None => Ok(self.product(product, device)?.map(|(up, down)| up.matmul(down))),
        }
    }

    /// Factors `(up, down)` of a product. A core between them goes to the right one.
    ///
    /// Of LoCon, `Σ up[o,a] core[a,b,k] down[b,i]`; of the others, `Σ up[a,o] core[a,b,k] down[b,i]`.
    fn product(&self, product: Product, device: &Device) -> Result<Option<(Tensor<2>, Tensor<2>)>, LoraError> {
        let (Some(up), Some(down)) = (self.matrix(product.up, device)?, self.matrix(product.down, device)?) else {
            return Ok(None);
        };
        let Some(core) = self.get(product.core) else { return Ok(Some((up, down))) };
        let [first, second] = [core.shape()[0], core.shape()[1]];
        let kernel: usize = core.shape()[2..].iter().product();
        let data = TensorData::new(self.finite(core)?, [first, second, kernel]);
        let core = Tensor::<3>::from_data(data, (device, DType::F32));
        let [_, columns] = down.dims();
        // [first, kernel, second] · [second, columns] -> [first, columns, kernel]
        let right = core.swap_dims(1, 2).reshape([first * kernel, second]).matmul(down);
        let right = right.reshape([first, kernel, columns]).swap_dims(1, 2).reshape([first, columns * kernel]);
        let left = if product.up == Role::Up { up } else { up.transpose() };
        Ok(Some((left, right)))
    }
}
