//! DDUF files: a diffusers folder in one file, a zip archive whose entries are stored as they are.
//!
//! Weights in it are mapped where they lie. The format aligns nothing, so numbers may lie at addresses that processors do not
//! take them from; those are copied while they are loaded, as from any file whose header has an odd length.
//!
//! Reference: `huggingface_hub` `serialization/_dduf.py` at 04b8d45; <https://huggingface.co/docs/hub/dduf>.

mod entry_name;
mod error;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rawzip::{CompressionMethod, FileReader, RangeReader, ReaderAt, ZipArchive, ZipFileHeaderRecord, ZipLocator};

pub use error::{DdufError, DdufProblem};

/// The entry that names the components.
pub const INDEX: &str = "model_index.json";

/// The largest text that is read, in bytes; the longest of a published model is a tokenizer of 35 MB.
const LONGEST_TEXT: u64 = 100 << 20;

const EXTENSION: &str = "dduf";
/// What every entry begins with, so the first one, too.
const MAGIC: &[u8; 4] = b"PK\x03\x04";
/// A model has some thirty files, and a hundred in shards.
const MOST_ENTRIES: usize = 1000;
/// Name and extra fields before the data of an entry: two lengths of 16 bits.
const LONGEST_HEADER: usize = 2 * u16::MAX as usize;

/// A DDUF file that was opened and checked: every entry lies in it as it is, apart from all others, under a name that a
/// diffusers folder has. Nothing but the list of entries and `model_index.json` is read.
#[derive(Debug)]
pub struct Dduf {
    path: PathBuf,
    file: File,
    /// Of the whole file, in bytes.
    size: u64,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Of its data.
    range: Range<u64>,
    crc: u32,
}

impl Dduf {
    /// Whether a file is a DDUF file by its name.
    pub fn is_named(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION))
    }

    /// Open a DDUF file.
    ///
    /// # Errors
    /// [`DdufError`] naming the file and the entry that is not as the format asks.
    pub fn open(path: &Path) -> Result<Self, DdufError> {
        Self::read(path).map_err(|problem| DdufError { path: path.to_owned(), problem })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the files in it, in order; `/` separates a folder's from its own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a file of this name.
    pub fn has_file(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether there is a folder of this name; the empty name is that of the top.
    pub fn has_folder(&self, name: &str) -> bool {
        name.is_empty() || self.names().any(|file| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The text of a file in it.
    ///
    /// # Errors
    /// [`DdufProblem::Read`] with [`NotFound`](std::io::ErrorKind::NotFound) where there is none of this name,
    /// [`DdufProblem::NotText`] if its checksum is wrong or it is not UTF-8, [`DdufProblem::TooLong`].
    pub fn read_text(&self, name: &str) -> Result<String, DdufProblem> {
        let entry = self.entries.get(name).ok_or(std::io::Error::from(std::io::ErrorKind::NotFound))?;
        let size = entry.range.end - entry.range.start;
        if size > LONGEST_TEXT {
            return Err(DdufProblem::TooLong { name: name.to_owned(), size });
        }
        let mut bytes = Vec::new();
        RangeReader::new(FileReader::from(self.file.try_clone()?), entry.range.clone()).read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).ok().filter(|text| rawzip::crc32(text.as_bytes()) == entry.crc);
        text.ok_or_else(|| DdufProblem::NotText { name: name.to_owned() })
    }

    /// Where a file in it lies in the whole, with the size of the whole and the opened file; `None` if there is none of this
    /// name.
    pub(crate) fn part(&self, name: &str) -> Option<(&File, u64, Range<u64>)> {
        self.entries.get(name).map(|entry| (&self.file, self.size, entry.range.clone()))
    }

    fn read(path: &Path) -> Result<Self, DdufProblem> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let reader = FileReader::from(file.try_clone()?);
        let mut magic = [0; MAGIC.len()];
        if reader.read_at(&mut magic, 0)? < MAGIC.len() || magic != *MAGIC {
            return Err(DdufProblem::NoZip { size });
        }
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let located = ZipLocator::new().locate_in_reader(reader, &mut buffer, size);
        let archive = located.map_err(|(_, error)| match error.kind() {
            rawzip::ErrorKind::MissingEndOfCentralDirectory | rawzip::ErrorKind::Eof => DdufProblem::Truncated { size },
            _ => directory(error),
        })?;
        let dduf = Self { path: path.to_owned(), file, size, entries: read_entries(&archive, &mut buffer)? };
        dduf.check_index()?;
        Ok(dduf)
    }

    /// Refuse folders that the index does not name.
    fn check_index(&self) -> Result<(), DdufProblem> {
        if !self.has_file(INDEX) {
            return Err(DdufProblem::NoIndex);
        }
        let index: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.read_text(INDEX)?).map_err(|source| DdufProblem::Index { source })?;
        let mut folders = self.names().filter_map(|name| name.split_once('/')).map(|(folder, _)| folder);
        match folders.find(|folder| !index.contains_key(*folder)) {
            Some(folder) => Err(DdufProblem::UnknownFolder { folder: folder.to_owned() }),
            None => Ok(()),
        }
    }
}

fn directory(error: rawzip::Error) -> DdufProblem {
    DdufProblem::Directory { source: error.into() }
}

/// All entries, each checked alone and against the others.
fn read_entries(archive: &ZipArchive<FileReader>, buffer: &mut [u8]) -> Result<BTreeMap<String, Entry>, DdufProblem> {
    let mut header = vec![0; LONGEST_HEADER];
    let mut entries = BTreeMap::new();
    // From the header of each entry to the end of its data.
    let mut places: Vec<(Range<u64>, String)> = Vec::new();
    let mut records = archive.entries(buffer);
    while let Some(record) = records.next_entry().map_err(directory)? {
        if places.len() == MOST_ENTRIES {
            return Err(DdufProblem::TooMany { most: MOST_ENTRIES });
        }
        let name = entry_name::checked(record.file_path().as_bytes())?;
        let start = record.local_header_offset();
        let range = data_range(archive, &record, &name, &mut header)?;
        places.push((start..range.end, name.clone()));
        if name.ends_with('/') {
            // Archives may list folders by themselves.
            if !range.is_empty() {
                return Err(DdufProblem::Name { name, reason: "is a folder that has contents of its own" });
            }
        } else if entries.insert(name.clone(), Entry { range, crc: record.crc32() }).is_some() {
            return Err(DdufProblem::Duplicate { name });
        }
    }
    let (announced, found) = (archive.entries_hint(), places.len() as u64);
    if announced != found {
        return Err(DdufProblem::Count { announced, found });
    }
    places.sort_by_key(|(range, _)| range.start);
    match places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some([(_, first), (_, second), ..]) => Err(DdufProblem::Overlap { first: first.clone(), second: second.clone() }),
        _ => Ok(entries),
    }
}

/// Where the data of an entry lies, which begins after a header of its own.
fn data_range(
    archive: &ZipArchive<FileReader>,
    record: &ZipFileHeaderRecord<'_>,
    name: &str,
    header: &mut [u8],
) -> Result<Range<u64>, DdufProblem> {
    let named = || name.to_owned();
    let flags = record.flags();
    if flags.is_encrypted() || flags.has_strong_encryption() || flags.is_masked() {
        return Err(DdufProblem::Encrypted { name: named() });
    }
    if record.compression_method() != CompressionMethod::STORE {
        let method = record.compression_method();
        let method = method.name().map_or_else(|| format!("method {}", method.as_u16()), str::to_owned);
        return Err(DdufProblem::Compressed { name: named(), method });
    }
    let (stored, size) = (record.compressed_size_hint(), record.uncompressed_size_hint());
    if stored != size {
        return Err(DdufProblem::Sizes { name: named(), stored, size });
    }
    let place = |_| DdufProblem::Place { name: named() };
    let entry = archive.get_entry(record.wayfinder()).map_err(place)?;
    let local = entry.local_header(header).map_err(place)?;
    let (start, end) = entry.compressed_data_range();
    let is_there = local.file_path().as_bytes() == name.as_bytes()
        && local.compression_method() == CompressionMethod::STORE
        && end <= archive.directory_offset();
    if is_there { Ok(start..end) } else { Err(DdufProblem::Place { name: named() }) }
}
