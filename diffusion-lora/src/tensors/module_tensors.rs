//! The tensors of one module of a file, and what their shapes say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffusion_core::checkpoint::StoredTensor;

use super::method::Method;
use super::role::Role;
use crate::error::LoraError;

/// The tensors of one module of a file, by what they are to its adapter.
#[derive(Debug)]
pub(crate) struct ModuleTensors {
    path: PathBuf,
    module: String,
    tensors: BTreeMap<Role, StoredTensor>,
}

/// A role that an adapter needs, with what newcomers call it.
type Needed = (Role, &'static str);

impl ModuleTensors {
    /// Those of `module`, as the file at `path` spells it.
    pub(crate) fn new(path: &Path, module: &str, tensors: BTreeMap<Role, StoredTensor>) -> Self {
        Self { path: path.to_owned(), module: module.to_owned(), tensors }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn module(&self) -> &str {
        &self.module
    }

    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn get(&self, role: Role) -> Option<&StoredTensor> {
        self.tensors.get(&role)
    }

    pub(super) fn has(&self, role: Role) -> bool {
        self.tensors.contains_key(&role)
    }

    fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }

    /// How the adapter patches the weight.
    ///
    /// # Errors
    /// [`LoraError::Incomplete`].
    pub(super) fn method(&self) -> Result<Method, LoraError> {
        const LOW_RANK: [Needed; 2] =
            [(Role::Down, "the factor `down` (or `lora_A`)"), (Role::Up, "the factor `up` (or `lora_B`)")];
        const HADAMARD: [Needed; 4] = [
            (Role::HadamardUp1, "`hada_w1_a`"),
            (Role::HadamardDown1, "`hada_w1_b`"),
            (Role::HadamardUp2, "`hada_w2_a`"),
            (Role::HadamardDown2, "`hada_w2_b`"),
        ];
        if self.has_any(&LOW_RANK.map(|(role, _)| role)) {
            return self.with_all(&LOW_RANK, Method::LowRank);
        }
        if self.has_any(&HADAMARD.map(|(role, _)| role)) {
            return self.with_all(&HADAMARD, Method::Hadamard);
        }
        let first = [Role::Kronecker1, Role::KroneckerUp1, Role::KroneckerDown1];
        let second = [Role::Kronecker2, Role::KroneckerUp2, Role::KroneckerDown2];
        if self.has_any(&first) || self.has_any(&second) {
            return match (self.is_whole_or_product(first), self.is_whole_or_product(second)) {
                (true, true) => Ok(Method::Kronecker),
                (false, _) => Err(self.incomplete("`lokr_w1`")),
                (true, false) => Err(self.incomplete("`lokr_w2`")),
            };
        }
        if self.has(Role::Difference) {
            Ok(Method::Difference)
        } else if self.has(Role::Replacement) {
            Ok(Method::Replacement)
        } else if self.has(Role::BiasDifference) {
            Ok(Method::BiasOnly)
        } else {
            Err(self.incomplete("all but its scale"))
        }
    }

    fn with_all(&self, needed: &[Needed], method: Method) -> Result<Method, LoraError> {
        match needed.iter().find(|(role, _)| !self.has(*role)) {
            Some((_, missing)) => Err(self.incomplete(missing)),
            None => Ok(method),
        }
    }

    fn is_whole_or_product(&self, [whole, up, down]: [Role; 3]) -> bool {
        self.has(whole) || (self.has(up) && self.has(down))
    }

    fn incomplete(&self, missing: &'static str) -> LoraError {
        LoraError::Incomplete { path: self.path.clone(), module: self.module.clone(), missing }
    }

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
        match self.get(core).map(StoredTensor::shape) {
            // Hadamard's factors beside a core lie the other way round: [rank, rows].
            Some([first, second, kernel @ ..]) if up != Role::Up => {
                let fits = up_rows == *first && down_rows == *second;
                let shape = [up_columns, down_columns * kernel.iter().product::<usize>()];
                if fits { Ok((shape, down_rows)) } else { Err(self.wrong(core, format!("[{up_rows}, {down_rows}, ..]"))) }
            }
            Some([first, second, kernel @ ..]) => {
                let fits = up_columns == *first && down_rows == *second;
                let shape = [up_rows, down_columns * kernel.iter().product::<usize>()];
                if fits { Ok((shape, down_rows)) } else { Err(self.wrong(core, format!("[{up_columns}, {down_rows}, ..]"))) }
            }
            Some(_) => Err(self.wrong(core, "at least two dimensions".to_owned())),
            None if up_columns == down_rows => Ok(([up_rows, down_columns], down_rows)),
            None => Err(self.wrong(up, format!("{down_rows} columns, the rank of the other factor"))),
        }
    }

    /// Whether the adapter gives lengths to columns, `[1, columns]`, and not to rows, so that it needs all rows of the weight.
    pub(super) fn has_column_magnitude(&self, [rows, _]: [usize; 2]) -> bool {
        let is_one_row = |magnitude: &StoredTensor| magnitude.shape().len() > 1 && magnitude.shape()[0] == 1;
        rows != 1 && self.get(Role::Magnitude).is_some_and(is_one_row)
    }

    /// Whether there are as many lengths as rows, or columns, of this shape.
    ///
    /// # Errors
    /// [`LoraError::Shape`].
    pub(super) fn check_magnitude(&self, shape: [usize; 2]) -> Result<(), LoraError> {
        let Some(magnitude) = self.get(Role::Magnitude) else { return Ok(()) };
        let (expected, of) = if self.has_column_magnitude(shape) { (shape[1], "columns") } else { (shape[0], "rows") };
        if magnitude.shape().iter().product::<usize>() == expected {
            return Ok(());
        }
        Err(self.wrong(Role::Magnitude, format!("{expected} numbers, one for each of the {of}")))
    }

    fn wrong(&self, role: Role, expected: String) -> LoraError {
        let tensor = self.get(role);
        LoraError::Shape {
            path: self.path.clone(),
            tensor: tensor.map_or_else(|| self.module.clone(), |tensor| tensor.name().to_owned()),
            expected,
            found: tensor.map(|tensor| tensor.shape().to_vec()).unwrap_or_default(),
        }
    }
}

/// First dimension, and all others.
pub(super) fn flattened(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [first, others @ ..] => [*first, others.iter().product()],
    }
}
