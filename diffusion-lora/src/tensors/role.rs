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
    /// The bias of the second factor: added to the bias, scaled as the product is.
    FactorBias,
    /// A number that scales the adapter, divided by the rank.
    Alpha,
    /// The lengths of the patched weight's rows or columns. arXiv 2402.09353.
    Magnitude,
    /// Added to the weight.
    Difference,
    /// Added to the bias as it is.
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

/// A tensor's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorName<'a> {
    /// The module that the tensor is about, as the file spells it; of a replaced tensor without a suffix, its whole name.
    pub(crate) module: &'a str,
    pub(crate) role: Role,
    /// What PEFT calls the adapter, if the name tells.
    pub(crate) adapter: Option<&'a str>,
    /// Whether the name is one that whole models have too.
    pub(crate) is_plain: bool,
}

/// What may follow the word that tells the role.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A layer: nothing, `.weight`, or `.ADAPTER.weight`.
    Layer,
    /// A parameter: nothing, or `.ADAPTER`.
    Parameter,
    /// Either, as it changed between versions of PEFT.
    Both,
    /// Nothing.
    Whole,
}

/// What follows the word that tells the role, without the adapter's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Nothing,
    Weight,
    Bias,
}

impl Form {
    fn allows(self, tail: Tail, has_adapter: bool) -> bool {
        match tail {
            Tail::Nothing => !has_adapter || matches!(self, Self::Parameter | Self::Both),
            Tail::Weight => matches!(self, Self::Layer | Self::Both),
            Tail::Bias => false,
        }
    }
}

/// Words that tell a role, with the separator before them. The longest that fits counts.
const WORDS: &[(&str, Role, Form)] = &[
    (".lora_A", Role::Down, Form::Layer),
    (".lora_B", Role::Up, Form::Layer),
    ("_lora_A", Role::Down, Form::Layer),
    ("_lora_B", Role::Up, Form::Layer),
    (".lora_down", Role::Down, Form::Layer),
    (".lora_up", Role::Up, Form::Layer),
    (".lora_mid", Role::Mid, Form::Layer),
    ("_lora_down", Role::Down, Form::Layer),
    ("_lora_up", Role::Up, Form::Layer),
    (".lora.down", Role::Down, Form::Layer),
    (".lora.up", Role::Up, Form::Layer),
    ("_lora.down", Role::Down, Form::Layer),
    ("_lora.up", Role::Up, Form::Layer),
    (".lora_linear_layer.down", Role::Down, Form::Layer),
    (".lora_linear_layer.up", Role::Up, Form::Layer),
    (".alpha", Role::Alpha, Form::Whole),
    (".dora_scale", Role::Magnitude, Form::Whole),
    (".lora_magnitude_vector", Role::Magnitude, Form::Both),
    (".diff", Role::Difference, Form::Whole),
    (".diff_b", Role::BiasDifference, Form::Whole),
    (".w_norm", Role::Difference, Form::Whole),
    (".b_norm", Role::BiasDifference, Form::Whole),
    (".set_weight", Role::Replacement, Form::Whole),
    (".reshape_weight", Role::Reshape, Form::Whole),
    (".hada_w1_a", Role::HadamardUp1, Form::Parameter),
    (".hada_w1_b", Role::HadamardDown1, Form::Parameter),
    (".hada_w2_a", Role::HadamardUp2, Form::Parameter),
    (".hada_w2_b", Role::HadamardDown2, Form::Parameter),
    (".hada_t1", Role::HadamardCore1, Form::Parameter),
    (".hada_t2", Role::HadamardCore2, Form::Parameter),
    (".lokr_w1", Role::Kronecker1, Form::Parameter),
    (".lokr_w1_a", Role::KroneckerUp1, Form::Parameter),
    (".lokr_w1_b", Role::KroneckerDown1, Form::Parameter),
    (".lokr_w2", Role::Kronecker2, Form::Parameter),
    (".lokr_w2_a", Role::KroneckerUp2, Form::Parameter),
    (".lokr_w2_b", Role::KroneckerDown2, Form::Parameter),
    (".lokr_t2", Role::KroneckerCore2, Form::Parameter),
    (".oft_blocks", Role::Unsupported("OFT"), Form::Whole),
    (".oft_diag", Role::Unsupported("OFT"), Form::Whole),
    (".oft_r", Role::Unsupported("OFT"), Form::Both),
    (".oft_R", Role::Unsupported("OFT"), Form::Both),
    (".boft_R", Role::Unsupported("BOFT"), Form::Parameter),
    (".a1.weight", Role::Unsupported("GLoRA"), Form::Whole),
    (".a2.weight", Role::Unsupported("GLoRA"), Form::Whole),
    (".b1.weight", Role::Unsupported("GLoRA"), Form::Whole),
    (".b2.weight", Role::Unsupported("GLoRA"), Form::Whole),
    (".ia3_l", Role::Unsupported("(IA)³"), Form::Parameter),
    (".on_input", Role::Unsupported("(IA)³"), Form::Whole),
    (".vera_lambda_b", Role::Unsupported("VeRA"), Form::Parameter),
    (".vera_lambda_d", Role::Unsupported("VeRA"), Form::Parameter),
    (".lora_embedding_A", Role::Unsupported("LoRA of an embedding"), Form::Parameter),
    (".lora_embedding_B", Role::Unsupported("LoRA of an embedding"), Form::Parameter),
];

/// Words that mean this only in XLabs' files, after a module name that has `.processor.` in it.
const XLABS: &[(&str, Role, Form)] = &[(".down", Role::Down, Form::Layer), (".up", Role::Up, Form::Layer)];

/// Names of whole tensors that Black Forest Labs' control LoRAs carry, as whole models do.
const WHOLE: &[&str] = &[".query_norm.scale", ".key_norm.scale"];

impl<'a> TensorName<'a> {
    /// Take a name apart; `None` if it tells no role.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let words = if name.contains(".processor.") { XLABS } else { WORDS };
        let [weight, bias] = [".weight", ".bias"].map(|end| name.strip_suffix(end));
        let stems = [(Some(name), Tail::Nothing), (weight, Tail::Weight), (bias, Tail::Bias)];
        let stems = stems.into_iter().filter_map(|(stem, tail)| Some((stem?, tail)));
        // A name that is understood without an adapter's name has none.
        let bare = stems.clone().find_map(|(stem, tail)| Self::with_word(stem, tail, None, words));
        let named = || {
            stems.clone().find_map(|(stem, tail)| {
                let (stem, adapter) = stem.rsplit_once('.').filter(|(_, adapter)| !adapter.is_empty())?;
                Self::with_word(stem, tail, Some(adapter), words)
            })
        };
        let whole = || {
            let whole = Self { module: name, role: Role::Replacement, adapter: None, is_plain: true };
            WHOLE.iter().any(|end| name.ends_with(end)).then_some(whole)
        };
        bare.or_else(named).or_else(whole)
    }

    fn with_word(stem: &'a str, tail: Tail, adapter: Option<&'a str>, words: &[(&str, Role, Form)]) -> Option<Self> {
        let fitting = words.iter().filter_map(|&(word, role, form)| {
            let module = stem.strip_suffix(word)?;
            let role = match (role, form, tail) {
                (Role::Up, Form::Layer, Tail::Bias) => Role::FactorBias,
                _ if form.allows(tail, adapter.is_some()) => role,
                _ => return None,
            };
            Some(Self { module, role, adapter, is_plain: false })
        });
        fitting.min_by_key(|name| name.module.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<(&str, Role, Option<&str>)> {
        TensorName::parse(name).map(|name| (name.module, name.role, name.adapter))
    }

    #[test]
    fn the_longest_word_counts() {
        assert_eq!(parsed("a.lora_A.weight"), Some(("a", Role::Down, None)));
        assert_eq!(parsed("a.lora_A"), Some(("a", Role::Down, None)));
        assert_eq!(parsed("a.to_k_lora.down.weight"), Some(("a.to_k", Role::Down, None)));
        assert_eq!(parsed("a.lora_B.bias"), Some(("a", Role::FactorBias, None)));
        assert_eq!(parsed("a.diff_b"), Some(("a", Role::BiasDifference, None)));
        assert_eq!(parsed("a.lokr_w1_a"), Some(("a", Role::KroneckerUp1, None)));
        assert_eq!(parsed("a.processor.qkv_lora1.down.weight"), Some(("a.processor.qkv_lora1", Role::Down, None)));
        assert_eq!(parsed("a.norm.key_norm.scale"), Some(("a.norm.key_norm.scale", Role::Replacement, None)));
        for name in ["a.weight", "a.lora_A.bias", "a.down.weight", "a.lora_A.b.c.weight", "a.alpha.x", "a.lora_A.0"] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }

    #[test]
    fn the_name_of_an_adapter_may_be_any() {
        for adapter in ["default", "default_0", "lora_1", "weight", "my style", "7"] {
            assert_eq!(parsed(&format!("a.lora_A.{adapter}.weight")), Some(("a", Role::Down, Some(adapter))), "{adapter}");
            assert_eq!(parsed(&format!("a.lora_B.{adapter}.bias")), Some(("a", Role::FactorBias, Some(adapter))), "{adapter}");
            for end in ["", ".weight"] {
                let name = format!("a.lora_magnitude_vector.{adapter}{end}");
                assert!(matches!(parsed(&name), Some(("a", Role::Magnitude, _))), "{name}");
            }
            assert_eq!(parsed(&format!("a.hada_w2_b.{adapter}")), Some(("a", Role::HadamardDown2, Some(adapter))), "{adapter}");
        }
    }

    #[test]
    fn whole_models_have_names_of_replaced_tensors_too() {
        assert!(TensorName::parse("a.norm.key_norm.scale").unwrap().is_plain);
        assert!(!TensorName::parse("a.norm.key_norm.scale.set_weight").unwrap().is_plain);
    }
}
