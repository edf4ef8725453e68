//! The tensors of an adapter: what each is to it, whether they fit together, and what they add to a weight.

mod adapter_tensors;
mod factors;
mod method;
mod module_tensors;
mod read_factors;
mod role;

pub(crate) use adapter_tensors::AdapterTensors;
pub(crate) use factors::Factors;
pub(crate) use method::Method;
pub(crate) use module_tensors::ModuleTensors;
pub(crate) use role::{Role, parse_name};
