//! How the values of a tensor lie in a file.

/// How the values of a stored tensor lie, compared with the parameter that they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// In the same order.
    Same,
    /// First and second half of the rows change places.
    HalvesSwapped,
    /// Rows are columns.
    Transposed,
}
