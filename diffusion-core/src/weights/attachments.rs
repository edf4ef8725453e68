//! Reaching what is attached to the matrices of a loaded module, whatever the module is.
//!
//! Burn's visitors and mappers come by the *parameters* of an attachment, but a slot for adapters is none, and factors that are
//! not there yet cannot be mapped. So a walk makes a wish just before it comes by an attachment, and the attachment fulfils it
//! in place of the usual visit.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, Reparameterization};
use burn::tensor::Tensor;
use thiserror::Error;

use super::attached_weight::{AdapterSlot, AttachedWeight, WISH, Wish};
use super::low_rank_factors::LowRankFactors;
use super::parameter::published_path;

/// Why factors cannot be given to a module.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactorsError {
    /// There is no loaded matrix of this name.
    #[error("{path} is no matrix that is loaded")]
    NoMatrix {
        /// Path of the parameter.
        path: String,
    },
    /// The product of the factors is no matrix of this shape.
    #[error("factors of a {found:?} matrix for {path}, which is {expected:?}")]
    Shape {
        /// Path of the parameter.
        path: String,
        /// `[rows, columns]` of the parameter.
        expected: [usize; 2],
        /// `[rows, columns]` of the factors' product.
        found: [usize; 2],
    },
}

/// The module with these factors and no others, by the paths of the matrices that they are beside. They become parameters of
/// the module; everything else stays as it is, so a loaded network stays frozen.
///
/// # Errors
/// [`FactorsError`] if there is no matrix at a path, or one of another shape. Blocks that are streamed have none.
pub fn with_factors<M: Module>(module: M, factors: BTreeMap<String, LowRankFactors>) -> Result<M, FactorsError> {
    let mut giver = Giver { walk: Walk::default(), shape: Vec::new(), factors, failure: None };
    let module = module.map(&mut giver);
    let left_over = giver.factors.into_keys().next().map(|path| FactorsError::NoMatrix { path });
    match giver.failure.or(left_over) {
        Some(failure) => Err(failure),
        None => Ok(module),
    }
}

/// The factors of a module, by the paths of the matrices that they are beside.
pub fn factors_of<M: Module>(module: &M) -> BTreeMap<String, LowRankFactors> {
    let seen = attachments_of(module).into_iter();
    seen.filter_map(|(path, attached)| Some((path, attached.factors?))).collect()
}

/// The places for adapters of a module's matrices, by path.
pub(super) fn adapter_slots<M: Module>(module: &M) -> BTreeMap<String, AdapterSlot> {
    attachments_of(module).into_iter().map(|(path, attached)| (path, attached.slot)).collect()
}

/// Where a walk is.
#[derive(Default)]
struct Walk {
    path: Vec<String>,
}

impl Walk {
    /// The path of the matrix whose attachment comes next, if one does.
    fn enter(&mut self, name: &str, kind: &str) -> Option<String> {
        let at_attachment = kind == "Reparameterization" && name == AttachedWeight::NAME;
        let path = at_attachment.then(|| published_path(&self.path.join(".")));
        self.path.push(name.to_owned());
        path
    }

    fn exit(&mut self) {
        self.path.pop();
    }
}

fn attachments_of<M: Module>(module: &M) -> BTreeMap<String, AttachedWeight> {
    /// The path of the attachment that is being passed.
    struct Seer {
        walk: Walk,
        at: Option<String>,
        seen: BTreeMap<String, AttachedWeight>,
    }
    impl ModuleVisitor for Seer {
        fn enter_module(&mut self, name: &str, kind: &str) {
            self.at = self.walk.enter(name, kind);
            if self.at.is_some() {
                WISH.set(Wish::See);
            }
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.walk.exit();
            if let Some(path) = self.at.take()
                && let Wish::Seen(attached) = WISH.replace(Wish::Nothing)
            {
                self.seen.insert(path, attached);
            }
        }
    }
    let mut seer = Seer { walk: Walk::default(), at: None, seen: BTreeMap::new() };
    module.visit(&mut seer);
    seer.seen
}

struct Giver {
    walk: Walk,
    /// Of the parameter that came last, beside which the next attachment is.
    shape: Vec<usize>,
    factors: BTreeMap<String, LowRankFactors>,
    failure: Option<FactorsError>,
}

impl ModuleMapper for Giver {
    fn enter_module(&mut self, name: &str, kind: &str) {
        if let Some(path) = self.walk.enter(name, kind) {
            let shape = std::mem::take(&mut self.shape);
            WISH.set(Wish::Take { factors: self.factors.remove(&path), shape });
        }
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.walk.exit();
        if let Wish::Refused { expected, found } = WISH.replace(Wish::Nothing) {
            let path = published_path(&self.walk.path.join("."));
            self.failure.get_or_insert(FactorsError::Shape { path, expected, found });
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.shape = param.lazy_shape().to_vec();
        param
    }
}
