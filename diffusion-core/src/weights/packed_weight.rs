//! Matrices in number formats that Burn has no tensors of (8-bit floats, GGUF's blocks): kept packed, widened where they are
//! used.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::format::Format;
use crate::ops::{self, StoredMatrix};

/// The packed values of a matrix, [attached](super::AttachedWeight) to the parameter that stands for it.
///
/// The parameter itself is a single number that nobody reads; [`Projection`](super::Projection) and
/// [`TokenEmbedding`](super::TokenEmbedding) ask for [`unpack`](Self::unpack).
#[derive(Module, Debug)]
pub struct PackedWeight {
    /// The bytes of the matrix in its file, row by row.
    bytes: Param<Tensor<1, Int>>,
    #[module(skip)]
    format: Format,
    #[module(skip)]
    shape: [usize; 2],
    #[module(skip)]
    scale: Option<f32>,
}

impl PackedWeight {
    /// Whether `device` can keep bytes. Where it cannot (WebGPU), the loader widens to the compute type instead.
    pub(super) fn is_supported_on(device: &Device) -> bool {
        device.supports_dtype(DType::U8)
    }

    /// Pack `bytes`, a `[rows, columns]` matrix in `format` whose values are to be multiplied by `scale` if there is one.
    pub(super) fn new(bytes: bytes::Bytes, format: Format, shape: [usize; 2], scale: Option<f32>, device: &Device) -> Self {
        let len = bytes.len();
        let data = TensorData::from_bytes(Bytes::from_shared(bytes, AllocationProperty::File), [len], DType::U8);
        let bytes = Tensor::from_data(data, (device, DType::U8));
        Self { bytes: Param::initialized(ParamId::new(), bytes), format, shape, scale }
    }

    /// `[rows, columns]` of the matrix.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The bytes, as [`stored`](Self::stored) shows them.
    pub(super) fn bytes(&self) -> Tensor<1, Int> {
        self.bytes.val().without_autodiff()
    }

    /// The matrix as it is stored, in its [`bytes`](Self::bytes).
    pub(super) fn stored<'a>(&self, bytes: &'a Tensor<1, Int>) -> StoredMatrix<'a> {
        StoredMatrix::Packed { bytes, format: self.format, shape: self.shape, scale: self.scale }
    }

    /// The matrix, `[rows, columns]`, in the type `compute`.
    pub fn unpack(&self, compute: FloatDType) -> Tensor<2> {
        self.widened(self.bytes(), self.shape, compute)
    }

    /// Rows `ids` of the matrix, `[ids, columns]`, in the type `compute`; no other row is widened.
    pub fn unpack_rows(&self, ids: Tensor<1, Int>, compute: FloatDType) -> Tensor<2> {
        let [rows, columns] = self.shape;
        let [num_ids] = ids.dims();
        let (bytes, ids) = (self.bytes(), ids.without_autodiff());
        let row_bytes = bytes.dims()[0] / rows;
        let bytes = bytes.reshape([rows, row_bytes]).select(0, ids).reshape([num_ids * row_bytes]);
        self.widened(bytes, [num_ids, columns], compute)
    }

    fn widened(&self, bytes: Tensor<1, Int>, shape: [usize; 2], compute: FloatDType) -> Tensor<2> {
        let values = ops::unpack(bytes, self.format, shape);
        let values = match self.scale {
            Some(scale) => values.mul_scalar(scale),
            None => values,
        };
        ops::cast(values, compute)
    }
}
