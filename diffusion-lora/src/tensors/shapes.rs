//! What the shapes of an adapter's tensors say, and whether they fit together.

use diffusion_core::checkpoint::{CheckpointError, StoredTensor};

use super::integers::integers;
use super::method::Method;
use super::module_tensors::ModuleTensors;
use super::role::Role;
use crate::error::LoraError;

impl ModuleTensors {
    /// Rows and columns of what the adapter adds to the weight, and its rank if it has one. A convolution's kernel counts among
    /// the columns. `[0, 0]` if there is a bias only.
    ///
    /// # Errors
    /// [`LoraError::Shape`] if the factors do not fit together.
    pub(super) fn shape(&self, method: Method) -> Result<([usize; 2], Option<usize>), LoraError> {
        Ok(match method {
            Method::LowRank => {
                let (shape, rank) = self.product_shape(Role::Up, Role::Down, Role::Mid)?;
                (shape, Some(rank))
            }
            Method::Hadamard => {
                let (first, rank) = self.product_shape(Role::HadamardUp1, Role::HadamardDown1, Role::HadamardCore1)?;
                let (second, _) = self.product_shape(Role::HadamardUp2, Role::HadamardDown2, Role::HadamardCore2)?;
                if first != second {
                    return Err(self.wrong(Role::HadamardUp2, format!("a product of shape {first:?} with hada_w2_b")));
                }
                (first, Some(rank))
            }
            Method::Kronecker => {
                if self.get(Role::Kronecker1).is_some_and(|tensor| tensor.shape().len() > 2) {
                    return Err(self.wrong(Role::Kronecker1, "a matrix".to_owned()));
                }
                let factor = |whole, up, down, core| match self.get(whole) {
                    Some(tensor) => Ok((flattened(tensor.shape()), None)),
                    None => self.product_shape(up, down, core).map(|(shape, rank)| (shape, Some(rank))),
                };
                let (first, first_rank) = factor(Role::Kronecker1, Role::KroneckerUp1, Role::KroneckerDown1, Role::Mid)?;
                let (second, second_rank) =
                    factor(Role::Kronecker2, Role::KroneckerUp2, Role::KroneckerDown2, Role::KroneckerCore2)?;
                ([first[0].saturating_mul(second[0]), first[1].saturating_mul(second[1])], first_rank.or(second_rank))
            }
            Method::Difference => (self.whole_shape(Role::Difference), None),
            Method::Replacement => (self.whole_shape(Role::Replacement), None),
            Method::BiasOnly => ([0, 0], None),
        })
    }

    fn whole_shape(&self, role: Role) -> [usize; 2] {
        self.get(role).map_or([0, 0], |tensor| flattened(tensor.shape()))
    }

    /// Shape and inner dimension of `up · down`, with a core between for convolutions.
    fn product_shape(&self, up: Role, down: Role, core: Role) -> Result<([usize; 2], usize), LoraError> {
        let ([up_rows, up_columns], [down_rows, down_columns]) = (self.whole_shape(up), self.whole_shape(down));
        if up_columns == 0 || down_rows == 0 {
            let role = if down_rows == 0 { down } else { up };
            return Err(self.wrong(role, "a rank of at least 1".to_owned()));
        }
        // A second factor with a kernel of its own would be taken for one of a larger rank.
        if self.get(up).is_some_and(|tensor| product(tensor.shape().get(2..).unwrap_or_default()) != 1) {
            return Err(self.wrong(up, "a matrix, or a convolution of 1 by 1".to_owned()));
        }
        match self.get(core).map(StoredTensor::shape) {
            // Hadamard's factors beside a core lie the other way round: [rank, rows].
            Some([first, second, kernel @ ..]) if up != Role::Up => {
                let fits = up_rows == *first && down_rows == *second;
                let shape = [up_columns, down_columns.saturating_mul(product(kernel))];
                if fits { Ok((shape, down_rows)) } else { Err(self.wrong(core, format!("[{up_rows}, {down_rows}, ..]"))) }
            }
            Some([first, second, kernel @ ..]) => {
                let fits = up_columns == *first && down_rows == *second;
                let shape = [up_rows, down_columns.saturating_mul(product(kernel))];
                if fits { Ok((shape, down_rows)) } else { Err(self.wrong(core, format!("[{up_columns}, {down_rows}, ..]"))) }
            }
            Some(_) => Err(self.wrong(core, "at least two dimensions".to_owned())),
            None if up_columns == down_rows => Ok(([up_rows, down_columns], down_rows)),
            None => Err(self.wrong(up, format!("{down_rows} columns, the rank of the other factor"))),
        }
    }

    /// Check the tensors that are no factors: that each has a use and a shape that fits what the factors make.
    ///
    /// # Errors
    /// [`LoraError::Surplus`], or [`LoraError::Shape`].
    pub(super) fn check_others(&self, method: Method, shape: [usize; 2]) -> Result<(), LoraError> {
        if let Some((_, tensor)) = self.iter().find(|(role, _)| !self.is_used(method, *role)) {
            return Err(LoraError::Surplus {
                path: self.path().to_owned(),
                tensor: tensor.name().to_owned(),
                kind: method.name(),
            });
        }
        self.check_magnitude(shape)?;
        self.check_bias(method, shape)?;
        self.check_reshape(shape)
    }

    /// Whether an adapter that patches in this way reads the tensor of this role.
    fn is_used(&self, method: Method, role: Role) -> bool {
        let factors: &[Role] = match method {
            Method::LowRank => &[Role::Down, Role::Up, Role::Mid, Role::FactorBias, Role::Magnitude, Role::Reshape],
            Method::Hadamard => &[
                Role::HadamardUp1,
                Role::HadamardDown1,
                Role::HadamardUp2,
                Role::HadamardDown2,
                Role::HadamardCore1,
                Role::HadamardCore2,
                Role::Magnitude,
            ],
            Method::Kronecker => {
                let is_product_of = |whole| !self.has(whole);
                return match role {
                    Role::KroneckerUp1 | Role::KroneckerDown1 | Role::Mid => is_product_of(Role::Kronecker1),
                    Role::KroneckerUp2 | Role::KroneckerDown2 | Role::KroneckerCore2 => is_product_of(Role::Kronecker2),
                    Role::Kronecker1 | Role::Kronecker2 | Role::Magnitude | Role::BiasDifference | Role::Alpha => true,
                    _ => false,
                };
            }
            Method::Difference => &[Role::Difference, Role::Magnitude],
            Method::Replacement => &[Role::Replacement, Role::Reshape],
            Method::BiasOnly => &[],
        };
        let is_only_bias = role == Role::BiasDifference && !self.has(Role::FactorBias);
        factors.contains(&role) || is_only_bias || role == Role::Alpha
    }

    /// Whether the adapter gives lengths to columns, `[1, columns]`, and not to rows, so that it needs all rows of the weight.
    pub(super) fn has_column_magnitude(&self, [rows, _]: [usize; 2]) -> bool {
        let is_one_row = |magnitude: &StoredTensor| magnitude.shape().len() > 1 && magnitude.shape()[0] == 1;
        rows != 1 && self.get(Role::Magnitude).is_some_and(is_one_row)
    }

    /// Whether there are as many lengths as rows, or columns, of this shape, in one line.
    fn check_magnitude(&self, shape: [usize; 2]) -> Result<(), LoraError> {
        let Some(magnitude) = self.get(Role::Magnitude) else { return Ok(()) };
        let is_of_columns = self.has_column_magnitude(shape);
        let (expected, of) = if is_of_columns { (shape[1], "columns") } else { (shape[0], "rows") };
        let line = if is_of_columns { &magnitude.shape()[1..] } else { magnitude.shape() };
        if is_line(line, expected) {
            return Ok(());
        }
        Err(self.wrong(Role::Magnitude, format!("{expected} numbers, one for each of the {of}")))
    }

    fn check_bias(&self, method: Method, [rows, _]: [usize; 2]) -> Result<(), LoraError> {
        let role = if self.has(Role::FactorBias) { Role::FactorBias } else { Role::BiasDifference };
        let Some(bias) = self.get(role) else { return Ok(()) };
        let rows = if method == Method::BiasOnly { product(bias.shape()) } else { rows };
        if is_line(bias.shape(), rows) { Ok(()) } else { Err(self.wrong(role, format!("{rows} numbers, one for each row"))) }
    }

    /// Whether the shape that the weight is to get is that of what is added to it.
    fn check_reshape(&self, shape: [usize; 2]) -> Result<(), LoraError> {
        let Some(reshape) = self.get(Role::Reshape) else { return Ok(()) };
        let told = integers(reshape)?.map(|told| told.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect::<Vec<_>>());
        match told {
            Some(told) if flattened(&told) == shape => Ok(()),
            _ => Err(self.wrong(Role::Reshape, format!("the whole numbers {shape:?}, the shape of what is added"))),
        }
    }

    /// The number that scales the adapter, of any format, if there is one.
    ///
    /// # Errors
    /// [`LoraError::Shape`], [`LoraError::NotFinite`], or [`LoraError::Checkpoint`] if it is no number.
    pub(super) fn alpha(&self) -> Result<Option<f64>, LoraError> {
        let Some(tensor) = self.get(Role::Alpha) else { return Ok(None) };
        if product(tensor.shape()) != 1 {
            return Err(self.wrong(Role::Alpha, "one number".to_owned()));
        }
        if let Some(&[number]) = integers(tensor)?.as_deref() {
            return Ok(Some(number as f64));
        }
        if !tensor.format().is_float() {
            let (path, found) = (self.path().to_owned(), tensor.format().to_string());
            let tensor = tensor.name().to_owned();
            return Err(CheckpointError::DType { path, tensor, expected: "a real number", found }.into());
        }
        Ok(self.finite(tensor)?.first().map(|&alpha| f64::from(alpha)))
    }
}

/// How many numbers a tensor of these dimensions has; the largest number if that is beyond it.
fn product(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, &len| product.saturating_mul(len))
}

/// Whether there are `len` numbers in one line: no other dimension is longer than 1.
fn is_line(shape: &[usize], len: usize) -> bool {
    product(shape) == len && (len == 1 || shape.contains(&len))
}

/// First dimension, and all others.
pub(super) fn flattened(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [first, others @ ..] => [*first, product(others)],
    }
}
