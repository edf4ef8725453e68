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

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no PNG.
    #[error("{} is not a PNG that can be read; convert it", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: png::DecodingError,
    },
    /// The PNG has no colours.
    #[error("{} is a picture of type {found}, expected RGB or RGBA; convert it", path.display())]
    Color {
        /// The file.
        path: PathBuf,
        /// Its type.
        found: String,
    },
}

/// Read a PNG of any depth with colours; its transparency is dropped.
///
/// # Errors
/// [`ReadError`] naming the file.
pub fn read_png(path: &Path) -> Result<RgbImage, ReadError> {
    let file = std::fs::File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    let failed = |source| ReadError::Decode { path: path.to_owned(), source };
    let mut decoder = png::Decoder::new(io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(failed)?;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or_default()];
    let info = reader.next_frame(&mut pixels).map_err(failed)?;
    pixels.truncate(info.buffer_size());
    let pixels = match info.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels.chunks(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        png::ColorType::Grayscale => pixels.into_iter().flat_map(|level| [level; 3]).collect(),
        other => return Err(ReadError::Color { path: path.to_owned(), found: format!("{other:?}") }),
    };
    Ok(RgbImage { width: info.width as usize, height: info.height as usize, pixels })
}
