//! What files are that hold no weights which are read.

/// What a file is, and what to do then.
type OtherKind = (&'static str, &'static str);

const PICTURE: &str = "a picture is no model: give the file of a model";
const PYTORCH: OtherKind = (
    "a PyTorch checkpoint (a pickle, which can run code when it is loaded)",
    "download the safetensors file of the same model, or load this one in Python with \
     `torch.load(FILE, weights_only=True, map_location=\"cpu\")`, which runs no code of it, and write what is inside with \
     `safetensors.torch.save_file`",
);
const ARCHIVE: &str = "unpack it, and give the model that is inside";
const WEB_PAGE: OtherKind = (
    "a web page",
    "the download needs another address, or a licence to be accepted first: open the model's page in a browser, and download the \
     file itself",
);

/// The first bytes of files, and what such files are.
const MAGICS: &[(&[u8], OtherKind)] = &[
    (b"\x89PNG\r\n\x1a\n", ("a PNG picture", PICTURE)),
    (b"\xff\xd8\xff", ("a JPEG picture", PICTURE)),
    (b"GIF8", ("a GIF picture", PICTURE)),
    (b"BM", ("a BMP picture", PICTURE)),
    (b"II*\0", ("a TIFF picture", PICTURE)),
    (b"MM\0*", ("a TIFF picture", PICTURE)),
    (b"RIFF", ("a WebP picture, or a sound or film", PICTURE)),
    (b"\x80\x02", PYTORCH),
    (b"\x80\x03", PYTORCH),
    (b"\x80\x04", PYTORCH),
    (b"\x80\x05", PYTORCH),
    (b"\x1f\x8b", ("packed with gzip", ARCHIVE)),
    (b"7z\xbc\xaf\x27\x1c", ("a 7z archive", ARCHIVE)),
    (b"Rar!\x1a\x07", ("a RAR archive", ARCHIVE)),
    (b"\x28\xb5\x2f\xfd", ("packed with zstd", ARCHIVE)),
    (b"\xfd7zXZ\0", ("packed with xz", ARCHIVE)),
    (b"%PDF-", ("a PDF document", "give the file of a model")),
    (b"\x89HDF\r\n\x1a\n", ("an HDF5 file, as Keras writes them", "download the safetensors file of the same model")),
    (b"\x93NUMPY", ("a NumPy array", "download the safetensors file of the model")),
    (b"lmgg", OLD_GGML),
    (b"tjgg", OLD_GGML),
    (b"fmgg", OLD_GGML),
    (b"version https://git-lfs", ("a Git LFS pointer", "run `git lfs pull` in its folder, or download the file itself")),
];
const OLD_GGML: OtherKind = ("a file in a GGML format from before GGUF", "download a GGUF file of the same model");

/// The first file of a zip archive starts with this, and its name is at [`ZIP_NAME`].
const ZIP: &[u8] = b"PK\x03\x04";
const ZIP_NAME: usize = 30;
/// Every archive of `torch.save` has a file of this name, after a folder.
const PICKLE_NAME: &[u8] = b"data.pkl";

/// Messages of servers are at most this long, in bytes.
const SHORT: usize = 4096;

/// What a file may be that is no safetensors and no GGUF file.
pub(super) fn other_kind(bytes: &[u8]) -> Option<OtherKind> {
    if bytes.starts_with(ZIP) {
        // The name and what belongs to it are far shorter than that.
        let name = &bytes[ZIP_NAME.min(bytes.len())..bytes.len().min(SHORT)];
        let is_pickle = name.windows(PICKLE_NAME.len()).any(|window| window == PICKLE_NAME);
        return Some(if is_pickle { PYTORCH } else { ("a zip archive", ARCHIVE) });
    }
    let magic = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind);
    magic.or_else(|| other_text(bytes))
}

/// What text may be. Servers answer with text in place of a file.
fn other_text(bytes: &[u8]) -> Option<OtherKind> {
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = &start[..start.len().min(SHORT)].trim_ascii_start();
    let starts = |sign: &str| start.get(..sign.len()).is_some_and(|start| start.eq_ignore_ascii_case(sign.as_bytes()));
    if ["<!doctype", "<!--", "<html", "<head", "<?xml", "<error"].into_iter().any(starts) {
        return Some(WEB_PAGE);
    }
    // A safetensors file that was cut has zeros in its first bytes, the number that tells the length of its header.
    let is_shown = |char: char| char.is_whitespace() || !char.is_control();
    let is_text = bytes.len() >= 8 && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_shown));
    if bytes.len() >= SHORT || !is_text {
        None
    } else if starts("{") || starts("[") {
        Some(("a JSON text", "of a diffusers folder give the folder itself, or the file with the weights"))
    } else {
        let advice = "it may be what a server answered in place of the file: read it, and download the file again";
        Some(("a short text", advice))
    }
}
