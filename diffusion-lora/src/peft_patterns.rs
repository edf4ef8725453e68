//! PEFT's regular expressions over the names of modules.

use fancy_regex::{Regex, RegexBuilder};

use diffusion_core::files::Shown;

/// The value of the first pattern that fits each of `modules`, in the order of the patterns.
///
/// A pattern fits a module if it matches all of its name, or all that follows a dot in it. It has the syntax of Python's `re`.
///
/// Reference: peft `utils/other.py#L1524-L1532` (`get_pattern_key`) at 0.21.2.
///
/// # Errors
/// What is wrong with a pattern, or that there are too many.
pub(crate) fn values_of(patterns: &[(String, f64)], modules: &[&str]) -> Result<Vec<Option<f64>>, String> {
    /// A pattern for every module of a model with a thousand of them.
    const MOST_COMPARISONS: usize = 1_000_000;
    if patterns.len().saturating_mul(modules.len()) > MOST_COMPARISONS {
        return Err(format!("{} patterns for {} modules are more than are compared", patterns.len(), modules.len()));
    }
    let mut values = vec![None; modules.len()];
    for (pattern, value) in patterns {
        let failed = |error: fancy_regex::Error| format!("the pattern {:?} cannot be used: {error}", Shown(pattern).to_string());
        let regex = compiled(pattern).map_err(failed)?;
        for (module, found) in modules.iter().zip(&mut values).filter(|(_, found)| found.is_none()) {
            if regex.is_match(module).map_err(failed)? {
                *found = Some(*value);
            }
        }
    }
    // A name that fits no pattern is looked up as it is.
    for (module, found) in modules.iter().zip(&mut values).filter(|(_, found)| found.is_none()) {
        *found = patterns.iter().find(|(pattern, _)| pattern == module).map(|(_, value)| *value);
    }
    Ok(values)
}

/// One pattern. The groups before its own have the numbers that they have in PEFT, for patterns that refer to groups.
fn compiled(pattern: &str) -> Result<Regex, fancy_regex::Error> {
    /// Bytes of a compiled pattern: a file's pattern must not take memory without bound, nor time.
    const LARGEST: usize = 1 << 20;
    const MOST_STEPS: usize = 10_000;
    RegexBuilder::new(&format!("^(.*\\.)?({pattern})$"))
        .delegate_size_limit(LARGEST)
        .delegate_dfa_size_limit(LARGEST)
        .backtrack_limit(MOST_STEPS)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(patterns: &[&str], module: &str) -> Option<usize> {
        let patterns: Vec<_> = patterns.iter().zip(0_u8..).map(|(pattern, i)| ((*pattern).to_owned(), f64::from(i))).collect();
        values_of(&patterns, &[module]).unwrap()[0].map(|value| value as usize)
    }

    /// What peft 0.21.2 answers, `get_pattern_key(patterns, module)`.
    #[test]
    fn patterns_fit_as_they_do_in_peft() {
        let query = "transformer_blocks.0.attn.to_q";
        for (patterns, module, expected) in [
            (&["to_q"][..], query, Some(0)),
            (&["o_q"], query, None),
            (&["attn.to_q"], query, Some(0)),
            (&["to_k", "attn.to_q", "to_q"], query, Some(1)),
            (&["to_q", "attn.to_q"], query, Some(0)),
            (&[".*to_[qk]"], query, Some(0)),
            (&[r".*\.to_[qk]"], query, Some(0)),
            (&["to_(q|k)"], query, Some(0)),
            (&["to_k|to_q"], query, Some(0)),
            (&["^transformer_blocks.0.attn.to_q"], query, Some(0)),
            (&["^transformer_blocks.0.attn.to_q$"], query, Some(0)),
            (&["^attn.to_q"], query, None),
            (&[r"transformer_blocks\.\d+\.attn\.to_q"], query, Some(0)),
            (&["attn"], query, None),
            (&["attn.*"], query, Some(0)),
            (&[r"(?!.*single).*to_q"], query, Some(0)),
            (&[r"(?!.*single).*to_q"], "x.single_transformer_blocks.0.attn.to_q", Some(0)),
            (&[r"^(?!.*single).*to_q"], "x.single_transformer_blocks.0.attn.to_q", None),
            (&[r"(\w+)\.\3"], "a.b.b", Some(0)),
            (&[r"(\w+)\.\1"], "a.b.b", None),
            (&["attn.to+q"], "attn.to+q", Some(0)),
            (&[""], query, None),
        ] {
            assert_eq!(first(patterns, module), expected, "{patterns:?} {module}");
        }
    }

    #[test]
    fn patterns_that_take_too_much_are_refused() {
        let refused = |pattern: &str, module: &str| values_of(&[(pattern.to_owned(), 1.0)], &[module]).unwrap_err();
        assert!(refused("(", "a").contains("pattern"));
        assert!(refused(r"((\w{500}){500}){500}", "a").contains("pattern"));
        assert!(refused(r"(?=(a+)+\3b)(x+x+)+y", &"a".repeat(5000)).contains("pattern"));
        let many = vec![("a".to_owned(), 1.0); 2000];
        assert!(values_of(&many, &vec!["a"; 2000]).unwrap_err().contains("2000 patterns"));
    }
}
