//! Checkpoint files: reading, refusing, loading, writing.

mod blocks;
mod convert;
mod damaged;
mod files;
mod fp8;
mod gguf;
mod gguf_problems;
mod header_entries;
mod loading;
mod quantised;
mod shards;
