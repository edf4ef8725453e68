//! The tensors of an adapter: what each is to it, whether they fit together, and what they add to a weight.

mod adapter_tensors;
mod factors;
mod integers;
mod method;
mod module_tensors;
mod read_factors;
mod role;
mod shapes;

pub(crate) use adapter_tensors::AdapterTensors;
pub(crate) use factors::Factors;
#[cfg(feature = "train")]
pub(crate) use factors::kronecker;
pub(crate) use method::Method;
pub(crate) use module_tensors::ModuleTensors;
pub(crate) use role::{Role, TensorName};
