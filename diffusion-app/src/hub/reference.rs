//! Names of repositories and of files in them.

use std::fmt;

/// A repository on the hub, or a file of it: `ORG/NAME[@REVISION][:FILE]`.
///
/// ```
/// use diffusion_app::hub::HubReference;
///
/// let file = HubReference::parse("city96/FLUX.1-dev-gguf@main:flux1-dev-Q8_0.gguf").unwrap();
/// assert_eq!((&*file.repository, file.revision.as_deref()), ("city96/FLUX.1-dev-gguf", Some("main")));
/// assert_eq!(file.file.as_deref(), Some("flux1-dev-Q8_0.gguf"));
/// assert_eq!(HubReference::parse("models/flux1-dev.safetensors"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// Organisation and name, `ORG/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit; the main branch if there is none.
    pub revision: Option<String>,
    /// A file of the repository, or a folder of it; what fits the use if there is none.
    pub file: Option<String>,
}

/// Endings of files that people keep in folders, so that `FOLDER/FILE` is a path and no repository.
const FILE_ENDINGS: [&str; 13] =
    [".safetensors", ".gguf", ".dduf", ".json", ".bin", ".pt", ".pth", ".ckpt", ".sft", ".zip", ".txt", ".png", ".jpg"];

/// Most characters of a repository's name.
const MAX_NAME: usize = 96;

impl HubReference {
    /// The revision that is meant where none is given.
    pub const MAIN: &str = "main";

    /// A text that has the form of a repository, or of a file in one. `None` for everything else: paths that begin with `.`,
    /// `/` or `~`, have more than two parts, or end like a file.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, file) = match text.split_once(':') {
            Some((head, file)) => (head, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match head.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (head, None),
        };
        let (organisation, name) = repository.split_once('/')?;
        let is_file = FILE_ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending));
        let holds = is_name(organisation)
            && is_name(name)
            && !is_file
            && repository.len() <= MAX_NAME
            && revision.is_none_or(is_inner_path)
            && file.is_none_or(is_inner_path);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        holds.then(|| Self { repository: repository.to_owned(), revision: owned(revision), file: owned(file) })
    }

    /// The revision, by name.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(Self::MAIN)
    }

    /// What people call it: the file's name without its ending, or the repository's without its organisation.
    pub fn short_name(&self) -> &str {
        match &self.file {
            Some(file) => {
                let name = file.rsplit('/').next().unwrap_or(file);
                name.rsplit_once('.').map_or(name, |(stem, _)| stem)
            }
            None => self.repository.rsplit('/').next().unwrap_or(&self.repository),
        }
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

/// Letters, digits, `-`, `_` and `.`, as the hub takes them.
fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    starts && name.chars().all(known) && !name.contains("..") && !name.contains("--") && !name.ends_with(['.', '-'])
}

/// A path that stays inside the folder it starts in, on every system.
pub(super) fn is_inner_path(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.starts_with(' ');
    let is_plain = |letter: char| !letter.is_control() && !matches!(letter, '\\' | ':');
    path.chars().all(is_plain) && path.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_revisions_and_files_are_told_apart() {
        let parsed = |text: &str| HubReference::parse(text).map(|found| (found.repository, found.revision, found.file));
        let owned = |text: &str| Some(text.to_owned());
        let flux = || "black-forest-labs/FLUX.1-dev".to_owned();
        assert_eq!(parsed("black-forest-labs/FLUX.1-dev"), Some((flux(), None, None)));
        assert_eq!(parsed("black-forest-labs/FLUX.1-dev@refs/pr/3"), Some((flux(), owned("refs/pr/3"), None)));
        assert_eq!(parsed("black-forest-labs/FLUX.1-dev:vae"), Some((flux(), None, owned("vae"))));
        let both = parsed("black-forest-labs/FLUX.1-dev@1.0:a/b.safetensors");
        assert_eq!(both, Some((flux(), owned("1.0"), owned("a/b.safetensors"))));
        for text in ["a/b@c:d/e.gguf", "a/b", "a/b:c"] {
            assert_eq!(HubReference::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn paths_are_no_repositories() {
        for path in [
            "./a/b",
            "../b",
            "/a/b",
            "~/b",
            "a",
            "a/b/c",
            "a/b.safetensors",
            "loras/b.GGUF",
            "a/",
            "/b",
            r"C:\a\b",
            "C:/a/b",
            "a b/c",
            "a/b:",
            "a/b@",
            "a/b@../c",
            "a/b:../c",
            "a/b:/etc/passwd",
            "a/b:c//d",
            "a/..",
            "a/b..c",
            "a/b--c",
            "-a/b",
            "a/b:c\\d",
            "a/b:c\nd",
            "",
        ] {
            assert_eq!(HubReference::parse(path), None, "{path}");
        }
        assert_eq!(HubReference::parse(&format!("a/{}", "b".repeat(200))), None);
    }

    #[test]
    fn short_names_keep_the_dots_of_versions() {
        let short = |text: &str| HubReference::parse(text).unwrap().short_name().to_owned();
        assert_eq!(short("stabilityai/stable-diffusion-3.5-medium"), "stable-diffusion-3.5-medium");
        assert_eq!(short("a/b:folder/flux1-dev-Q8_0.gguf"), "flux1-dev-Q8_0");
    }
}
