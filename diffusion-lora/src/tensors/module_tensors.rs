//! The tensors of one module of a file.

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

    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn get(&self, role: Role) -> Option<&StoredTensor> {
        self.tensors.get(&role)
    }

    pub(super) fn has(&self, role: Role) -> bool {
        self.tensors.contains_key(&role)
    }

    /// All tensors with their roles.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Role, &StoredTensor)> {
        self.tensors.iter().map(|(role, tensor)| (*role, tensor))
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
        if self.has_any(&[Role::Down, Role::Up, Role::FactorBias]) {
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

    /// What is added to the bias, scaled or not.
    pub(super) fn bias(&self) -> Option<&StoredTensor> {
        self.get(Role::FactorBias).or_else(|| self.get(Role::BiasDifference))
    }

    pub(super) fn wrong(&self, role: Role, expected: String) -> LoraError {
        let tensor = self.get(role);
        LoraError::Shape {
            path: self.path.clone(),
            tensor: tensor.map_or_else(|| self.module.clone(), |tensor| tensor.name().to_owned()),
            expected,
            found: tensor.map(|tensor| tensor.shape().to_vec()).unwrap_or_default(),
        }
    }
}
