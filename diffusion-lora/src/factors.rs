//! The mathematics of adapters: factors, and the change that they make.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::StoredTensor;

use crate::dialects::ModuleName;
use crate::error::LoraError;
use crate::metadata::PeftSettings;
use crate::tensor_role::Role;

/// How an adapter changes a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    /// `up · down`. arXiv 2106.09685.
    LowRank,
    /// `(up₁ · down₁) ∘ (up₂ · down₂)`. arXiv 2108.06098.
    Hadamard,
    /// `w₁ ⊗ w₂`. arXiv 2212.10650.
    Kronecker,
    /// A whole matrix.
    Difference,
    /// Another parameter.
    Replacement,
    /// Nothing but a bias.
    BiasOnly,
}

impl Method {
    pub(crate) fn name(self, has_magnitude: bool) -> &'static str {
        match self {
            Self::LowRank if has_magnitude => "DoRA",
            Self::LowRank => "LoRA",
            Self::Hadamard => "LoHa",
            Self::Kronecker => "LoKr",
            Self::Difference => "difference",
            Self::Replacement => "replacement",
            Self::BiasOnly => "bias",
        }
    }
}

/// The tensors of an adapter, their shapes checked against each other.
#[derive(Debug)]
pub(crate) struct AdapterTensors {
    path: PathBuf,
    tensors: BTreeMap<Role, StoredTensor>,
    pub(crate) method: Method,
    /// Rows and columns of the change; a convolution's kernel counts among the columns. `[0, 0]` if there is a bias only.
    pub(crate) shape: [usize; 2],
    /// The inner dimension, if there is one.
    pub(crate) rank: Option<usize>,
    pub(crate) alpha: Option<f64>,
    /// What the change is multiplied with, before the user's strength.
    scale: f64,
    /// What was read, on the device where it was last asked for.
    loaded: Mutex<Option<(Device, Arc<Factors>)>>,
}

impl AdapterTensors {
    pub(crate) fn new(
        path: &Path,
        module: &str,
        tensors: BTreeMap<Role, StoredTensor>,
        settings: Option<(&PeftSettings, &ModuleName)>,
    ) -> Result<Self, LoraError> {
        let reader = Reader { path, module, tensors: &tensors };
        let method = reader.method()?;
        let (shape, rank) = reader.shape(method)?;
        let alpha = match tensors.get(&Role::Alpha) {
            Some(alpha) => reader.finite(alpha)?.first().map(|&alpha| f64::from(alpha)),
            None => None,
        };
        let scale = match (rank, alpha) {
            (Some(rank), Some(alpha)) => alpha / rank as f64,
            (Some(rank), None) => settings
                .and_then(|(settings, name)| settings.scale(module.split('.').next().unwrap_or_default(), &name.name, rank))
                .unwrap_or(1.0),
            // Factors that are whole have no rank to divide by, and their trainer writes an alpha that means nothing.
            (None, _) => 1.0,
        };
        let path = path.to_owned();
        Ok(Self { path, method, shape, rank, alpha, scale, loaded: Mutex::default(), tensors })
    }

    /// Bytes of all tensors.
    pub(crate) fn num_tensors(&self) -> usize {
        self.tensors.len()
    }

    pub(crate) fn has_magnitude(&self) -> bool {
        self.tensors.contains_key(&Role::Magnitude)
    }

    /// Length of the bias that is added, if one is.
    pub(crate) fn bias_len(&self) -> Option<usize> {
        self.tensors.get(&Role::BiasDifference).map(|bias| bias.shape().iter().product())
    }

    /// Whether the lengths are those of columns, so that all rows of the weight are needed for them.
    pub(crate) fn has_column_magnitude(&self) -> bool {
        let magnitude = self.tensors.get(&Role::Magnitude);
        magnitude.is_some_and(|magnitude| magnitude.shape().len() > 1 && magnitude.shape()[0] == 1 && self.shape[0] != 1)
    }

    /// Read the tensors, or get what was read before.
    ///
    /// # Errors
    /// [`LoraError::NotFinite`].
    pub(crate) fn load(&self, device: &Device) -> Result<Arc<Factors>, LoraError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((on, factors)) = &*loaded
            && on == device
        {
            return Ok(factors.clone());
        }
        let factors = Arc::new(self.read(device)?);
        *loaded = Some((device.clone(), factors.clone()));
        Ok(factors)
    }

    fn read(&self, device: &Device) -> Result<Factors, LoraError> {
        let reader = Reader { path: &self.path, module: "", tensors: &self.tensors };
        let matrix = |role| reader.matrix(role, device);
        let up_and_down = |up, down, core| -> Result<_, LoraError> {
            let (Some(up), Some(down)) = (matrix(up)?, matrix(down)?) else { return Ok(None) };
            Ok(Some(match reader.tensors.get(&core) {
                Some(_) => reader.with_core(up, down, core, device)?,
                None => (up, down),
            }))
        };
        let product =
            |up, down, core| -> Result<_, LoraError> { Ok(up_and_down(up, down, core)?.map(|(up, down)| up.matmul(down))) };
        let change = match self.method {
            Method::LowRank => up_and_down(Role::Up, Role::Down, Role::Mid)?.map(|(up, down)| Change::LowRank { up, down }),
            Method::Hadamard => {
                let first = up_and_down(Role::HadamardUp1, Role::HadamardDown1, Role::HadamardCore1)?;
                let second = up_and_down(Role::HadamardUp2, Role::HadamardDown2, Role::HadamardCore2)?;
                first.zip(second).map(|(first, second)| Change::Hadamard([first, second]))
            }
            Method::Kronecker => {
                let first = match matrix(Role::Kronecker1)? {
                    Some(whole) => Some(whole),
                    None => product(Role::KroneckerUp1, Role::KroneckerDown1, Role::Mid)?,
                };
                let second = match matrix(Role::Kronecker2)? {
                    Some(whole) => Some(whole),
                    None => product(Role::KroneckerUp2, Role::KroneckerDown2, Role::KroneckerCore2)?,
                };
                first.zip(second).map(|(first, second)| Change::Kronecker([first, second]))
            }
            Method::Difference => matrix(Role::Difference)?.map(Change::Whole),
            Method::Replacement => matrix(Role::Replacement)?.map(Change::Whole),
            Method::BiasOnly => None,
        };
        let column = |role| -> Result<Option<Tensor<2>>, LoraError> {
            Ok(matrix(role)?.map(|tensor| {
                let len = tensor.shape().num_elements();
                tensor.reshape([len, 1])
            }))
        };
        let magnitude =
            if self.has_column_magnitude() { column(Role::Magnitude)?.map(Tensor::transpose) } else { column(Role::Magnitude)? };
        Ok(Factors { change, scale: self.scale, magnitude, bias: column(Role::BiasDifference)? })
    }
}

/// What an adapter is made of, on a device, in f32.
#[derive(Debug)]
pub(crate) struct Factors {
    change: Option<Change>,
    pub(crate) scale: f64,
    /// `[rows, 1]` or `[1, columns]`.
    pub(crate) magnitude: Option<Tensor<2>>,
    /// `[rows, 1]`.
    pub(crate) bias: Option<Tensor<2>>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each module of a file")]
enum Change {
    LowRank { up: Tensor<2>, down: Tensor<2> },
    Hadamard([(Tensor<2>, Tensor<2>); 2]),
    Kronecker([Tensor<2>; 2]),
    Whole(Tensor<2>),
}

impl Factors {
    /// Rows of the change, without any scale: `[rows, columns]`.
    ///
    /// # Panics
    /// If the adapter changes a bias only.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Tensor<2> {
        let narrowed = |matrix: &Tensor<2>| matrix.clone().narrow(0, rows.start, rows.len());
        match self.change.as_ref().expect("an adapter of a weight") {
            Change::LowRank { up, down } => narrowed(up).matmul(down.clone()),
            Change::Hadamard(products) => {
                let [first, second] = products.each_ref().map(|(up, down)| narrowed(up).matmul(down.clone()));
                first * second
            }
            Change::Kronecker([first, second]) => {
                let [second_rows, _] = second.dims();
                let needed = rows.start / second_rows..rows.end.div_ceil(second_rows);
                let product = kronecker(first.clone().narrow(0, needed.start, needed.len()), second.clone());
                product.narrow(0, rows.start - needed.start * second_rows, rows.len())
            }
            Change::Whole(whole) => narrowed(whole),
        }
    }

    /// Rows of the change as factors `(up, down)`, without any scale, if it is a product of two.
    pub(crate) fn low_rank(&self, rows: Range<usize>) -> Option<(Tensor<2>, Tensor<2>)> {
        match &self.change {
            Some(Change::LowRank { up, down }) if self.magnitude.is_none() => {
                Some((up.clone().narrow(0, rows.start, rows.len()), down.clone()))
            }
            _ => None,
        }
    }
}

/// `a ⊗ b`: every number of `a` times the whole of `b`.
fn kronecker(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let ([a_rows, a_columns], [b_rows, b_columns]) = (a.dims(), b.dims());
    let product = a.reshape([a_rows, 1, a_columns, 1]) * b.reshape([1, b_rows, 1, b_columns]);
    product.reshape([a_rows * b_rows, a_columns * b_columns])
}

/// Reads and checks the tensors of one module.
struct Reader<'a> {
    path: &'a Path,
    module: &'a str,
    tensors: &'a BTreeMap<Role, StoredTensor>,
}

impl Reader<'_> {
    fn has(&self, role: Role) -> bool {
        self.tensors.contains_key(&role)
    }

    fn method(&self) -> Result<Method, LoraError> {
        let has = |role| self.has(role);
        let needed: &[(Role, &'static str)] = if has(Role::Down) || has(Role::Up) {
            &[(Role::Down, "the factor `down` (or `lora_A`)"), (Role::Up, "the factor `up` (or `lora_B`)")]
        } else if has(Role::HadamardUp1) || has(Role::HadamardDown1) || has(Role::HadamardUp2) || has(Role::HadamardDown2) {
            &[
                (Role::HadamardUp1, "`hada_w1_a`"),
                (Role::HadamardDown1, "`hada_w1_b`"),
                (Role::HadamardUp2, "`hada_w2_a`"),
                (Role::HadamardDown2, "`hada_w2_b`"),
            ]
        } else {
            &[]
        };
        if let Some((_, missing)) = needed.iter().find(|(role, _)| !has(*role)) {
            return Err(self.incomplete(missing));
        }
        if !needed.is_empty() {
            return Ok(if has(Role::Down) { Method::LowRank } else { Method::Hadamard });
        }
        let kronecker = [Role::Kronecker1, Role::KroneckerUp1, Role::KroneckerDown1, Role::Kronecker2, Role::KroneckerUp2];
        if kronecker.into_iter().chain([Role::KroneckerDown2]).any(has) {
            let whole_or_product = |whole, up, down| has(whole) || (has(up) && has(down));
            if !whole_or_product(Role::Kronecker1, Role::KroneckerUp1, Role::KroneckerDown1) {
                return Err(self.incomplete("`lokr_w1`"));
            }
            if !whole_or_product(Role::Kronecker2, Role::KroneckerUp2, Role::KroneckerDown2) {
                return Err(self.incomplete("`lokr_w2`"));
            }
            return Ok(Method::Kronecker);
        }
        if has(Role::Difference) {
            Ok(Method::Difference)
        } else if has(Role::Replacement) {
            Ok(Method::Replacement)
        } else if has(Role::BiasDifference) {
            Ok(Method::BiasOnly)
        } else {
            Err(self.incomplete("all but its scale"))
        }
    }

    fn incomplete(&self, missing: &'static str) -> LoraError {
        LoraError::Incomplete { path: self.path.to_owned(), module: self.module.to_owned(), missing }
    }

    /// Shape of the change, and its rank.
    fn shape(&self, method: Method) -> Result<([usize; 2], Option<usize>), LoraError> {
        let product = |up, down, core| self.product_shape(up, down, core);
        Ok(match method {
            Method::LowRank => {
                let (shape, rank) = product(Role::Up, Role::Down, Role::Mid)?;
                (shape, Some(rank))
            }
            Method::Hadamard => {
                let (first, rank) = product(Role::HadamardUp1, Role::HadamardDown1, Role::HadamardCore1)?;
                let (second, _) = product(Role::HadamardUp2, Role::HadamardDown2, Role::HadamardCore2)?;
                if first != second {
                    return Err(self.wrong(Role::HadamardUp2, format!("a product of shape {first:?} with hada_w2_b")));
                }
                (first, Some(rank))
            }
            Method::Kronecker => {
                let factor = |whole, up, down, core| match self.tensors.get(&whole) {
                    Some(tensor) => Ok((flattened(tensor.shape()), None)),
                    None => product(up, down, core).map(|(shape, rank)| (shape, Some(rank))),
                };
                let (first, first_rank) = factor(Role::Kronecker1, Role::KroneckerUp1, Role::KroneckerDown1, Role::Mid)?;
                let (second, second_rank) =
                    factor(Role::Kronecker2, Role::KroneckerUp2, Role::KroneckerDown2, Role::KroneckerCore2)?;
                ([first[0] * second[0], first[1] * second[1]], first_rank.or(second_rank))
            }
            Method::Difference => (self.whole_shape(Role::Difference), None),
            Method::Replacement => (self.whole_shape(Role::Replacement), None),
            Method::BiasOnly => ([0, 0], None),
        })
    }

    fn whole_shape(&self, role: Role) -> [usize; 2] {
        self.tensors.get(&role).map_or([0, 0], |tensor| flattened(tensor.shape()))
    }

    /// Shape and inner dimension of `up · down`, with a core between for convolutions.
    fn product_shape(&self, up: Role, down: Role, core: Role) -> Result<([usize; 2], usize), LoraError> {
        let ([up_rows, up_columns], [down_rows, down_columns]) = (self.whole_shape(up), self.whole_shape(down));
        if up_columns == 0 || down_rows == 0 {
            let role = if down_rows == 0 { down } else { up };
            return Err(self.wrong(role, "a rank of at least 1".to_owned()));
        }
        let core_shape = self.tensors.get(&core).map(StoredTensor::shape);
        match core_shape {
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

    fn wrong(&self, role: Role, expected: String) -> LoraError {
        let tensor = self.tensors.get(&role);
        LoraError::Shape {
            path: self.path.to_owned(),
            tensor: tensor.map_or_else(|| self.module.to_owned(), |tensor| tensor.name().to_owned()),
            expected,
            found: tensor.map(|tensor| tensor.shape().to_vec()).unwrap_or_default(),
        }
    }

    /// All numbers of a tensor.
    fn finite(&self, tensor: &StoredTensor) -> Result<Vec<f32>, LoraError> {
        let values = tensor.to_f32()?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(LoraError::NotFinite { path: self.path.to_owned(), tensor: tensor.name().to_owned(), value }),
            None => Ok(values),
        }
    }

    /// A tensor as `[first dimension, all others]`.
    fn matrix(&self, role: Role, device: &Device) -> Result<Option<Tensor<2>>, LoraError> {
        let Some(tensor) = self.tensors.get(&role) else { return Ok(None) };
        let data = TensorData::new(self.finite(tensor)?, flattened(tensor.shape()));
        Ok(Some(Tensor::from_data(data, (device, DType::F32))))
    }

    /// Factors `(up, down)` of a product that has a core between: the core goes to the right one.
    ///
    /// Of LoCon, `Σ up[o,a] core[a,b,k] down[b,i]`; of the others, `Σ up[a,o] core[a,b,k] down[b,i]`.
    fn with_core(
        &self,
        up: Tensor<2>,
        down: Tensor<2>,
        core: Role,
        device: &Device,
    ) -> Result<(Tensor<2>, Tensor<2>), LoraError> {
        let Some(tensor) = self.tensors.get(&core) else { return Ok((up, down)) };
        let [first, second] = [tensor.shape()[0], tensor.shape()[1]];
        let kernel: usize = tensor.shape()[2..].iter().product();
        let data = TensorData::new(self.finite(tensor)?, [first, second, kernel]);
        let core_tensor = Tensor::<3>::from_data(data, (device, DType::F32));
        let [_, columns] = down.dims();
        // [first, kernel, second] · [second, columns] -> [first, columns, kernel]
        let right = core_tensor.swap_dims(1, 2).reshape([first * kernel, second]).matmul(down);
        let right = right.reshape([first, kernel, columns]).swap_dims(1, 2).reshape([first, columns * kernel]);
        let left = if core == Role::Mid { up } else { up.transpose() };
        Ok((left, right))
    }
}

/// First dimension, and all others.
fn flattened(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [first, others @ ..] => [*first, others.iter().product()],
    }
}
