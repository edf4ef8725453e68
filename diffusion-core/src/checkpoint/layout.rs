//! Whose names a file has.

/// Whose names, and whose division into matrices, the files of a network have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// Those of the people who released the model, as single files have them, and `ComfyUI` and kohya after them.
    Original,
    /// Those of diffusers, or of transformers, as folders have them.
    Diffusers,
}
