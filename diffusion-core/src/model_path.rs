//! Paths of a model's files, which may lead into a [DDUF file](crate::dduf) as into a folder: `model.dduf/vae/config.json`.
//!
//! Whatever opens a file or folder of a model by its path asks here, so a DDUF file is a folder wherever a folder is, and
//! error messages name the file and the entry by the path alone.

use std::io;
use std::path::Path;

use crate::dduf::{Dduf, DdufError, DdufProblem};
use crate::files;

/// The DDUF file that a path leads into, and what is left of the path there, with `/` between its parts; `None` for a path
/// that stays in the file system.
///
/// # Errors
/// [`DdufError`] if there is a DDUF file on the way that cannot be used.
pub fn enter(path: &Path) -> Result<Option<(Dduf, String)>, DdufError> {
    // Without a slash at the end, with which no file is found.
    let path = path.components().as_path();
    let Some(file) = path.ancestors().find(|file| Dduf::is_named(file) && file.is_file()) else { return Ok(None) };
    let rest = path.strip_prefix(file).unwrap_or(Path::new(""));
    let parts: Vec<_> = rest.iter().map(|part| part.to_string_lossy()).collect();
    Ok(Some((Dduf::open(file)?, parts.join("/"))))
}

/// Whether a path leads to a folder: one of the file system, a DDUF file, or a folder in it. No, where that cannot be told.
pub fn is_folder(path: &Path) -> bool {
    match enter(path) {
        Ok(Some((dduf, name))) => dduf.has_folder(&name),
        Ok(None) => path.is_dir(),
        Err(_) => false,
    }
}

/// Whether a path leads to a file or folder. No, where that cannot be told.
pub fn exists(path: &Path) -> bool {
    match enter(path) {
        Ok(Some((dduf, name))) => dduf.has_file(&name) || dduf.has_folder(&name),
        Ok(None) => path.exists(),
        Err(_) => false,
    }
}

/// Whether a path is one of this machine: it exists, or leads into a DDUF file that does, be that one broken or without such an
/// entry. What else has the form of a path may be the name of something elsewhere.
pub fn is_here(path: &Path) -> bool {
    path.exists() || !matches!(enter(path), Ok(None))
}

/// The text that a path leads to.
///
/// # Errors
/// As [`files::read_text`]; what is wrong with a DDUF file is the error that is inside.
pub fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |error: DdufError| io::Error::new(io::ErrorKind::InvalidData, error);
    if let Some((dduf, name)) = enter(path).map_err(invalid)? {
        return dduf.read_text(&name).map_err(|problem| match problem {
            DdufProblem::Read { source } => source,
            problem => invalid(DdufError { path: dduf.path().to_owned(), problem }),
        });
    }
    files::read_text(path)
}
