//! The known models as a table for the terminal.

use std::fmt::Write;

use super::known_model::{Access, KnownVariant};
use super::table::KNOWN_MODELS;

/// The known models as a table for the terminal. `cached` tells of a variant whether its files are there, if that is known.
pub fn list(cached: &dyn Fn(&KnownVariant) -> Option<bool>) -> String {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let mut text = format!("{:<22}{:>10}{:>10}  {:<8}\n", "--model", "on disk", "memory", "cached");
    for model in KNOWN_MODELS {
        let _ = writeln!(text, "{}: {}, https://huggingface.co/{}", model.title, model.licence, model.repository);
        for variant in model.variants {
            let (name, disk, memory) = (model.name_of(variant), gigabytes(variant.disk()), gigabytes(variant.memory()));
            let cached = match cached(variant) {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            let gated = if variant.access == Access::Gated { "log in" } else { "" };
            let _ = writeln!(text, "  {name:<20}{disk:>10}{memory:>10}  {cached:<8}{gated}");
        }
    }
    text.push_str(
        "Memory is that of the weights that are there at once; an image of 1024 x 1024 pixels takes some GB besides. Weights\n\
         that do not fit are read from disk block by block. \"log in\": accept the authors' terms on the page first.\n",
    );
    text.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_variant_its_size_licence_and_page() {
        let text = list(&|variant| Some(variant.name == "q8"));
        for word in
            ["flux-dev:q8", "33.7 GB", "23.8 GB", "Apache 2.0", "https://huggingface.co/ostris/Flex.1-alpha", "yes", "log in"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(text.lines().all(|line| line.len() < 140 && !line.ends_with(' ')), "{text}");
    }
}
