//! Weight matrices as files hold them.

use crate::WeightFormat;

/// A matrix whose rows can be widened to f32 piece by piece: formats that the kernels do not read themselves.
pub trait WidenRows: Sync {
    /// Numbers that can be widened together only; pieces begin and end at multiples of it. It divides the length of a row.
    fn block_len(&self) -> usize;

    /// Widen the numbers of row `row` from number `first` on, as many as `out` has room for.
    fn widen(&self, row: usize, first: usize, out: &mut [f32]);
}

/// A weight matrix, `[outputs, inputs]`, in the format that it is stored in.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    pub(super) data: Data<'a>,
    shape: [usize; 2],
    pub(crate) scale: f32,
}

#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    Bytes(WeightFormat, &'a [u8]),
    Widened(&'a dyn WidenRows),
    Transposed(&'a Weight<'a>),
}

impl<'a> Weight<'a> {
    /// A matrix in `bytes`, row by row without gaps. They need not be aligned.
    ///
    /// # Panics
    /// If `bytes` is not as long as the matrix, or its rows are no whole number of blocks.
    pub fn new(format: WeightFormat, bytes: &'a [u8], [outputs, inputs]: [usize; 2]) -> Self {
        let (block_len, block_bytes) = format.block();
        assert!(inputs.is_multiple_of(block_len), "rows of {inputs} numbers in blocks of {block_len}");
        let expected = outputs.checked_mul(inputs / block_len).and_then(|blocks| blocks.checked_mul(block_bytes));
        assert_eq!(Some(bytes.len()), expected, "bytes of {outputs} rows of {inputs} numbers in {format:?}");
        Self { data: Data::Bytes(format, bytes), shape: [outputs, inputs], scale: 1.0 }
    }

    /// A matrix that `rows` widens. Sums are cut into parts at multiples of its block length.
    ///
    /// # Panics
    /// If its block length is zero or does not divide the rows.
    pub fn widened_by(rows: &'a dyn WidenRows, [outputs, inputs]: [usize; 2]) -> Self {
        let block_len = rows.block_len();
        assert!(block_len > 0 && inputs.is_multiple_of(block_len), "rows of {inputs} numbers in blocks of {block_len}");
        Self { data: Data::Widened(rows), shape: [outputs, inputs], scale: 1.0 }
    }

    /// The transpose of a matrix: rows are read where columns were. For gradients of a product's input, from the weight as it is
    /// stored.
    pub fn transposed(stored: &'a Weight<'a>) -> Self {
        let [outputs, inputs] = stored.shape;
        Self { data: Data::Transposed(stored), shape: [inputs, outputs], scale: stored.scale }
    }

    /// The same matrix times `scale`, as files with scaled 8-bit floats want it. Sums are multiplied, not the numbers: they stay
    /// as exact as they are.
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale: self.scale * scale, ..self }
    }

    /// Numbers that are stored, or widened, together.
    pub(crate) fn block_len(&self) -> usize {
        match self.data {
            Data::Widened(rows) => rows.block_len(),
            Data::Bytes(format, _) => format.block().0,
            Data::Transposed(_) => 1,
        }
    }

    /// `[outputs, inputs]`
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }
}
