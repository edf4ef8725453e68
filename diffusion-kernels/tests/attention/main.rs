//! Attention and its gradients, on every set of instructions that this processor has, against sums in f64.
#![allow(unreachable_pub, reason = "of all files of the tests")]

mod case;
#[path = "../common/mod.rs"]
mod common;
mod edges;
mod exact;
mod gradients;
mod guarded;
mod shapes;
