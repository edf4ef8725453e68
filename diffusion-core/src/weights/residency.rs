//! Whether weights stay in memory.

/// Whether the blocks of a network stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Residency {
    /// All blocks stay, from the first use on.
    #[default]
    Resident,
    /// A block's weights are in memory while it computes; the next block's are read ahead meanwhile.
    Streamed,
}
