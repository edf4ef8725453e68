//! Matrices in number formats that Burn has no tensors of: kept packed, widened where they are used.

use burn::module::{Module, Param, ParamId, Reparameterization};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::checkpoint::Format;
use crate::ops;

/// The packed values of a matrix, attached to the parameter that stands for it.
///
/// The parameter itself stays empty and only tells the shape; [`Projection`](crate::Projection) and
/// [`TokenEmbedding`](crate::TokenEmbedding) ask for [`unpack`](Self::unpack).
#[derive(Module, Debug)]
pub struct PackedWeight {
    /// The bytes of the matrix in its file, row by row.
    bytes: Param<Tensor<1, Int>>,
    #[module(skip)]
    format: Format,
    #[module(skip)]
    shape: [usize; 2],
    #[module(skip)]
    scale: f32,
}

impl PackedWeight {
    /// Pack `bytes`, a `[rows, columns]` matrix in `format` whose values are to be multiplied by `scale`.
    pub(crate) fn new(bytes: bytes::Bytes, format: Format, shape: [usize; 2], scale: f32, device: &Device) -> Self {
        let len = bytes.len();
        let data = TensorData::from_bytes(Bytes::from_shared(bytes, AllocationProperty::File), [len], DType::U8);
        let bytes = Tensor::from_data(data, (device, DType::U8));
        Self { bytes: Param::initialized(ParamId::new(), bytes), format, shape, scale }
    }

    /// The matrix, `[rows, columns]`, in the type `compute`.
    pub fn unpack(&self, compute: FloatDType) -> Tensor<2> {
        let values = ops::unpack(self.bytes.val(), self.format, self.shape);
        let values = if self.scale == 1.0 { values } else { values.mul_scalar(self.scale) };
        ops::cast(values, compute)
    }
}

impl Reparameterization for PackedWeight {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let compute = base.dtype().into();
        self.unpack(compute).reshape(base.shape())
    }
}
