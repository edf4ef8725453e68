//! Writing DDUF files, whole ones and ones that break a rule.

#![allow(dead_code, reason = "every test program uses a part")]

use std::fs;
use std::path::Path;

/// A file in the archive, and what is said about it there.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// 0 for data that is stored as it is.
    pub(crate) method: u16,
    /// Bit 0: encrypted.
    pub(crate) flags: u16,
    /// The size before compression, if it is said to be another one.
    pub(crate) unpacked: Option<u64>,
    /// Where its header is said to be, if not where it is.
    pub(crate) offset: Option<u64>,
    /// The data begins at a place that leaves this when divided by eight.
    pub(crate) remainder: usize,
}

impl Entry {
    pub(crate) fn new(name: &str, data: impl Into<Vec<u8>>) -> Self {
        let (name, data) = (name.as_bytes().to_vec(), data.into());
        Self { name, data, method: 0, flags: 0, unpacked: None, offset: None, remainder: 0 }
    }
}

/// The files of a diffusers folder, in order of their names: those at the top and one folder below that such an archive holds.
pub(crate) fn entries_of(folder: &Path) -> Vec<Entry> {
    const KINDS: [&str; 4] = ["json", "model", "safetensors", "txt"];
    let is_kind = |path: &Path| path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known));
    let mut entries = Vec::new();
    let mut add = |path: &Path| {
        let name = path.strip_prefix(folder).unwrap().iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/");
        entries.push(Entry::new(&name, fs::read(path).unwrap()));
    };
    for component in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if component.is_dir() && !component.ends_with("lora") && !component.ends_with("training") {
            let files = fs::read_dir(&component).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|file| is_kind(file)).for_each(|file| add(&file));
        } else if component.ends_with("model_index.json") {
            add(&component);
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// The archive. Sizes before the data are written in 64 bits, as `huggingface_hub` has Python's `zipfile` write them; `wide`
/// writes those of the list in 64 bits too, as for files of more than 4 GiB.
pub(crate) fn archive(entries: &[Entry], wide: bool) -> Vec<u8> {
    const NARROW: u32 = u32::MAX;
    const PADDING: u16 = 0xd935;
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        let start = bytes.len() as u64;
        let (packed, name_len) = (entry.data.len() as u64, entry.name.len() as u16);
        let unpacked = entry.unpacked.unwrap_or(packed);
        let crc = rawzip::crc32(&entry.data);
        let sizes = [&1u16.to_le_bytes()[..], &16u16.to_le_bytes(), &unpacked.to_le_bytes(), &packed.to_le_bytes()].concat();
        let data_start = bytes.len() + 30 + entry.name.len() + sizes.len() + 4;
        let padding = (8 + entry.remainder - data_start % 8) % 8;

        let both = |sizes: [u32; 2], extra: usize| {
            [
                &45u16.to_le_bytes()[..],
                &entry.flags.to_le_bytes(),
                &entry.method.to_le_bytes(),
                &[0; 4],
                &crc.to_le_bytes(),
                &sizes[0].to_le_bytes(),
                &sizes[1].to_le_bytes(),
                &name_len.to_le_bytes(),
                &(extra as u16).to_le_bytes(),
            ]
            .concat()
        };
        bytes.extend([b"PK\x03\x04", &both([NARROW; 2], sizes.len() + 4 + padding)[..], &entry.name, &sizes].concat());
        bytes.extend([&PADDING.to_le_bytes()[..], &(padding as u16).to_le_bytes(), &vec![0; padding]].concat());
        assert_eq!(bytes.len() % 8, entry.remainder);
        bytes.extend(&entry.data);

        let offset = entry.offset.unwrap_or(start);
        let (head, narrow_offset, extra) = if wide {
            let extra = [&1u16.to_le_bytes()[..], &24u16.to_le_bytes(), &sizes[4..], &offset.to_le_bytes()].concat();
            (both([NARROW; 2], extra.len()), NARROW, extra)
        } else {
            (both([packed as u32, unpacked as u32], 0), offset as u32, Vec::new())
        };
        list.extend([b"PK\x01\x02", &45u16.to_le_bytes()[..], &head, &[0; 10]].concat());
        list.extend([&narrow_offset.to_le_bytes()[..], &entry.name, &extra].concat());
    }
    let (list_start, list_len, count) = (bytes.len() as u64, list.len() as u64, entries.len() as u64);
    bytes.append(&mut list);
    let mut counts = (count as u16, list_len as u32, list_start as u32);
    if wide {
        counts = (u16::MAX, NARROW, NARROW);
        let end = bytes.len() as u64;
        bytes.extend([b"PK\x06\x06", &44u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8]].concat());
        bytes.extend([count, count, list_len, list_start].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend([b"PK\x06\x07", &[0; 4][..], &end.to_le_bytes(), &1u32.to_le_bytes()].concat());
    }
    bytes.extend([b"PK\x05\x06", &[0; 4][..], &counts.0.to_le_bytes(), &counts.0.to_le_bytes()].concat());
    bytes.extend([&counts.1.to_le_bytes()[..], &counts.2.to_le_bytes(), &[0; 2]].concat());
    bytes
}
