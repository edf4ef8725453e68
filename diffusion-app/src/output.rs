//! Output files: whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use diffusion_core::image::RgbImage;
use tempfile::NamedTempFile;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}; choose a folder that exists and that you may write to", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Check that a file can be written, before work is spent on what goes into it.
///
/// # Errors
/// [`WriteError`] if no file can be made beside it, or it is a folder.
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    let refuse = |source| WriteError { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(refuse(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    temporary_beside(path).map(drop).map_err(refuse)
}

/// Write a file under a temporary name, and give it its own when it is whole.
///
/// # Errors
/// [`WriteError`]; what was at `path` before is then still there.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let attempt = || {
        let mut file = temporary_beside(path)?;
        {
            let mut buffer = io::BufWriter::new(&mut file);
            write(&mut buffer)?;
            buffer.flush()?;
        }
        file.persist(path).map(drop).map_err(|failed| failed.error)
    };
    attempt().map_err(|source| WriteError { path: path.to_owned(), source })
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".part");
    // Those of any new file; temporary files are private otherwise.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Write a picture as PNG with a text chunk `parameters`, where other programs look for prompt and settings.
///
/// # Errors
/// [`WriteError`].
pub fn write_png(path: &Path, picture: &RgbImage, parameters: &str) -> Result<(), WriteError> {
    write_whole(path, |file| {
        let mut encoder = png::Encoder::new(file, picture.width as u32, picture.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Plain text chunks hold Latin-1 only.
        if parameters.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk("parameters".to_owned(), parameters.to_owned())?;
        } else {
            encoder.add_itxt_chunk("parameters".to_owned(), parameters.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&picture.pixels)?;
        Ok(writer.finish()?)
    })
}
