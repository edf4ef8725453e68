//! txt2img
fn main() {}
