//! Which names entries of a DDUF file may have.

use super::error::DdufProblem;

/// Kinds of files that a DDUF file holds.
const EXTENSIONS: [&str; 4] = ["json", "model", "safetensors", "txt"];
/// As file systems have it.
const LONGEST: usize = 255;
/// Characters of a refused name that are shown.
const SHOWN: usize = 80;

/// The name of a file at the top or one folder below, or of such a folder, which ends in a slash.
pub(super) fn checked(bytes: &[u8]) -> Result<String, DdufProblem> {
    let refused = |reason| {
        let name = String::from_utf8_lossy(bytes).chars().take(SHOWN).flat_map(char::escape_debug).collect();
        DdufProblem::Name { name, reason }
    };
    let name = str::from_utf8(bytes).map_err(|_| refused("has a name that is not UTF-8"))?;
    let path = name.strip_suffix('/').unwrap_or(name);
    let is_folder = path.len() < name.len();
    let parts: Vec<&str> = path.split('/').collect();
    let reason = if name.len() > LONGEST {
        "has a name that is too long"
    } else if name.contains('\\') || name.contains(char::is_control) {
        "has a name with characters that names of a model's files do not have"
    } else if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        "leads out of the file, or nowhere; such names are made to do harm"
    } else if parts.len() > if is_folder { 1 } else { 2 } {
        "lies deeper than one folder, which DDUF files do not allow"
    } else if !is_folder && !has_known_extension(path) {
        "is of a kind that DDUF files do not hold; only .json, .model, .safetensors and .txt belong there"
    } else {
        return Ok(name.to_owned());
    };
    Err(refused(reason))
}

fn has_known_extension(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_diffusers_folder_pass() {
        for name in ["model_index.json", "vae/config.json", "tokenizer/spiece.model", "transformer/", "a/x.fp16.safetensors"] {
            assert_eq!(checked(name.as_bytes()).unwrap(), name);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        let long = format!("{}.json", "x".repeat(300));
        for (name, reason) in [
            ("../vae/config.json", "leads out"),
            ("vae/..", "leads out"),
            ("/etc/config.json", "leads out"),
            ("vae//config.json", "leads out"),
            ("", "leads out"),
            ("vae\\config.json", "characters"),
            ("vae/\x1b[31m.json", "\\u{1b}[31m"),
            ("a/b/config.json", "deeper"),
            ("a/b/", "deeper"),
            ("vae/model.bin", "of a kind"),
            ("vae/json", "of a kind"),
            ("README", "of a kind"),
            (&long, "too long"),
        ] {
            let said = checked(name.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(reason) && !said.contains('\x1b') && said.len() < 250, "{name:?}: {said}");
        }
        assert!(checked(b"vae/\xff.json").unwrap_err().to_string().contains("UTF-8"));
    }
}
