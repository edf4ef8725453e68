//! What lies in a folder of pictures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::metadata_file::METADATA;

/// Ends of the names of pictures. The last ones are those of pictures that cannot be read, so that they are refused and not
/// passed over.
const PICTURES: [&str; 16] = [
    "bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp", //
    "avif", "exr", "heic", "heif", "jxl", "psd", "tga",
];
/// Ends of the names of captions.
const CAPTIONS: [&str; 2] = ["caption", "txt"];

/// A file in a folder.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Relative to the folder of the listing at the top, with `/` between folders.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl Found {
    /// The name without its end.
    pub(super) fn stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(&*self.name, |(stem, _)| stem)
    }
}

/// What lies in a folder, in the order of the names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) pictures: Vec<Found>,
    pub(super) captions: Vec<Found>,
    /// Names of folders.
    pub(super) folders: Vec<String>,
    pub(super) metadata: Option<Found>,
}

impl Listing {
    /// What lies in a folder below `top`, of this name; the empty one is that of `top`. What is hidden is left out.
    pub(super) fn of(top: &Path, name: &str) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(top.join(name))? {
            let path = entry?.path();
            let Some(own) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            if own.starts_with('.') {
                continue;
            }
            let found = Found { name: if name.is_empty() { own.clone() } else { format!("{name}/{own}") }, path };
            let end = own.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
            let ends = |ends: &[&str]| end.as_deref().is_some_and(|end| ends.contains(&end));
            if found.path.is_dir() {
                listing.folders.push(found.name);
            } else if own == METADATA {
                listing.metadata = Some(found);
            } else if ends(&PICTURES) {
                listing.pictures.push(found);
            } else if ends(&CAPTIONS) {
                listing.captions.push(found);
            }
        }
        listing.pictures.sort_by(|first, second| first.name.cmp(&second.name));
        listing.captions.sort_by(|first, second| first.name.cmp(&second.name));
        listing.folders.sort();
        Ok(listing)
    }
}

/// A folder whose name says how often its pictures come in an epoch, and what they show: `10_sks dog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepeatedFolder {
    pub(super) repeats: usize,
    pub(super) caption: String,
}

impl RepeatedFolder {
    /// More than anybody needs.
    const MAX_REPEATS: usize = 10_000;

    /// The folder of this name, if it is one.
    pub(super) fn of(name: &str) -> Option<Self> {
        let own = name.rsplit_once('/').map_or(name, |(_, own)| own);
        let (repeats, caption) = own.split_once('_')?;
        let is_number = repeats.bytes().all(|byte| byte.is_ascii_digit());
        let repeats = repeats.parse().ok().filter(|repeats| is_number && (1..=Self::MAX_REPEATS).contains(repeats))?;
        let caption = caption.trim().to_owned();
        (!caption.is_empty()).then_some(Self { repeats, caption })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_tell_repeats_and_a_caption() {
        for (name, expected) in [
            ("10_sks dog", Some((10, "sks dog"))),
            ("train/3_a_b", Some((3, "a_b"))),
            ("10000_x", Some((10_000, "x"))),
            ("10001_x", None),
            ("0_x", None),
            ("+1_x", None),
            ("_x", None),
            ("10_", None),
            ("dogs", None),
            ("dogs_10", None),
        ] {
            let expected = expected.map(|(repeats, caption)| RepeatedFolder { repeats, caption: caption.to_owned() });
            assert_eq!(RepeatedFolder::of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_listing_is_in_order_and_leaves_out_what_is_hidden_or_something_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.PNG", "a.jpeg", "a.caption", "b.txt", "notes.md", "._a.png", "c.heic", "b", METADATA] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for name in ["z.png", "5_y", ".git"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("5_y/x.y.png"), "").unwrap();
        let listing = Listing::of(folder.path(), "").unwrap();
        let names = |found: &[Found]| found.iter().map(|found| found.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&listing.pictures), ["a.jpeg", "b.PNG", "c.heic"]);
        assert_eq!(names(&listing.captions), ["a.caption", "b.txt"]);
        assert_eq!(listing.folders, ["5_y", "z.png"]);
        assert!(listing.metadata.is_some());
        let listing = Listing::of(folder.path(), "5_y").unwrap();
        assert_eq!((listing.pictures[0].name.as_str(), listing.pictures[0].stem()), ("5_y/x.y.png", "5_y/x.y"));
        assert!(listing.metadata.is_none());
    }
}
