//! step
fn main() {}
