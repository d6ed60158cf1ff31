//! The beginning of a file's content, to guess from.

use super::config::Compression;
use super::stream::{Stream, detect};
use std::fs::File;
use std::io::Result;

/// Bytes of content that are looked at.
const SAMPLE_BYTES: usize = 1 << 20;

/// The beginning of a content.
pub struct Sample {
    /// Decompressed.
    pub bytes: Vec<u8>,
    /// `gzip` or `zstd`, where the file is compressed.
    pub compressed: Option<&'static str>,
    /// True if there is no more.
    pub whole: bool,
}

/// Reads up to a mebibyte of content from the beginning.
///
/// # Errors
/// Those of the file system, and a compressed content that is damaged before its first byte.
pub fn take(file: &File) -> Result<Sample> {
    let compression = detect(file, true)?.unwrap_or_default();
    let mut stream = Stream::open(file.try_clone()?, compression, 0)?;
    let mut bytes = Vec::with_capacity(SAMPLE_BYTES + 1);
    while bytes.len() <= SAMPLE_BYTES {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            // What came before a damage is enough to guess from.
            Err(_) if !bytes.is_empty() => break,
            Err(e) => return Err(e),
        }
    }
    let whole = bytes.len() <= SAMPLE_BYTES;
    bytes.truncate(SAMPLE_BYTES);
    let compressed = match compression {
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
        Compression::None | Compression::Auto => None,
    };
    Ok(Sample { bytes, compressed, whole })
}
