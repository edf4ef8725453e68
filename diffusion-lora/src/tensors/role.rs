//! What a tensor of a LoRA file is to its adapter, told by the end of its name.

/// What a tensor is to its adapter. Rows are those of the weight, `rank` is the inner dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// `[rank, columns]`.
    Down,
    /// `[rows, rank]`.
    Up,
    /// `[rank, rank, height, width]`, between the two, for convolutions.
    Mid,
    /// A number that scales the adapter, divided by the rank.
    Alpha,
    /// The lengths of the patched weight's rows or columns. arXiv 2402.09353.
    Magnitude,
    /// Added to the weight.
    Difference,
    /// Added to the bias.
    BiasDifference,
    /// In place of the parameter.
    Replacement,
    /// Factors of a Hadamard product. arXiv 2108.06098.
    HadamardUp1,
    HadamardDown1,
    HadamardUp2,
    HadamardDown2,
    HadamardCore1,
    HadamardCore2,
    /// Factors of a Kronecker product. arXiv 2212.10650.
    Kronecker1,
    KroneckerUp1,
    KroneckerDown1,
    Kronecker2,
    KroneckerUp2,
    KroneckerDown2,
    KroneckerCore2,
    /// The shape to widen the weight to; told by the other tensors anyway.
    Reshape,
    /// Of a kind that is not read.
    Unsupported(&'static str),
}

/// Ends of names. The longest that fits counts.
const SUFFIXES: &[(&str, Role)] = &[
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_A.default_0.weight", Role::Down),
    (".lora_B.default_0.weight", Role::Up),
    (".lora_A", Role::Down),
    (".lora_B", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_mid.weight", Role::Mid),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora_B.bias", Role::BiasDifference),
    (".alpha", Role::Alpha),
    (".dora_scale", Role::Magnitude),
    (".lora_magnitude_vector", Role::Magnitude),
    (".lora_magnitude_vector.weight", Role::Magnitude),
    (".lora_magnitude_vector.default", Role::Magnitude),
    (".lora_magnitude_vector.default.weight", Role::Magnitude),
    (".diff", Role::Difference),
    (".diff_b", Role::BiasDifference),
    (".w_norm", Role::Difference),
    (".b_norm", Role::BiasDifference),
    (".set_weight", Role::Replacement),
    (".reshape_weight", Role::Reshape),
    (".hada_w1_a", Role::HadamardUp1),
    (".hada_w1_b", Role::HadamardDown1),
    (".hada_w2_a", Role::HadamardUp2),
    (".hada_w2_b", Role::HadamardDown2),
    (".hada_t1", Role::HadamardCore1),
    (".hada_t2", Role::HadamardCore2),
    (".lokr_w1", Role::Kronecker1),
    (".lokr_w1_a", Role::KroneckerUp1),
    (".lokr_w1_b", Role::KroneckerDown1),
    (".lokr_w2", Role::Kronecker2),
    (".lokr_w2_a", Role::KroneckerUp2),
    (".lokr_w2_b", Role::KroneckerDown2),
    (".lokr_t2", Role::KroneckerCore2),
    (".oft_blocks", Role::Unsupported("OFT")),
    (".oft_diag", Role::Unsupported("OFT")),
    (".oft_R.weight", Role::Unsupported("OFT")),
    (".boft_R", Role::Unsupported("BOFT")),
    (".a1.weight", Role::Unsupported("GLoRA")),
    (".a2.weight", Role::Unsupported("GLoRA")),
    (".b1.weight", Role::Unsupported("GLoRA")),
    (".b2.weight", Role::Unsupported("GLoRA")),
    (".vera_lambda_b", Role::Unsupported("VeRA")),
    (".vera_lambda_d", Role::Unsupported("VeRA")),
];

/// Ends of names that mean this only in XLabs' files, after a module name that has `.processor.` in it.
const XLABS: &[(&str, Role)] = &[(".down.weight", Role::Down), (".up.weight", Role::Up)];

/// Names of whole tensors that Black Forest Labs' control LoRAs carry.
const WHOLE: &[&str] = &[".query_norm.scale", ".key_norm.scale"];

/// The module that a tensor is about, as the file spells it, and what it is to its adapter. For a replaced tensor without a
/// suffix, that is its whole name.
pub(crate) fn parse_name(name: &str) -> Option<(&str, Role)> {
    let table = if name.contains(".processor.") { XLABS } else { SUFFIXES };
    let fitting = table.iter().filter_map(|(suffix, role)| Some((name.strip_suffix(suffix)?, *role)));
    let longest = fitting.min_by_key(|(module, _)| module.len());
    longest.or_else(|| WHOLE.iter().any(|end| name.ends_with(end)).then_some((name, Role::Replacement)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_counts() {
        assert_eq!(parse_name("a.lora_A.weight"), Some(("a", Role::Down)));
        assert_eq!(parse_name("a.to_k_lora.down.weight"), Some(("a.to_k", Role::Down)));
        assert_eq!(parse_name("a.lora_B.bias"), Some(("a", Role::BiasDifference)));
        assert_eq!(parse_name("a.processor.qkv_lora1.down.weight"), Some(("a.processor.qkv_lora1", Role::Down)));
        assert_eq!(parse_name("a.norm.key_norm.scale"), Some(("a.norm.key_norm.scale", Role::Replacement)));
        assert_eq!(parse_name("a.weight"), None);
    }
}
