//! What tells one file from another: device and inode, a fingerprint of its first bytes, and the
//! number of files that have been read under the same path before it.
//!
//! None of the three is enough alone. Inodes are used again as soon as a file is gone, two files can
//! begin alike, and `copytruncate` keeps the inode while the content starts over.

use millstream::connect::Position;
use millstream::{Place, Problem, Result};
use rustix::buffer::spare_capacity;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the start of a file that its fingerprint covers, at most.
pub const HEAD_BYTES: usize = 1_024;

/// Which file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
    /// Hash of the first `head_bytes` bytes, in hexadecimal.
    pub head: String,
    /// How many bytes `head` covers: all there were when it was taken, at most [`HEAD_BYTES`].
    pub head_bytes: usize,
}

impl Identity {
    /// No file at all: fits none.
    pub fn nothing() -> Identity {
        Identity { device: 0, inode: 0, head: hash(&[]), head_bytes: 0 }
    }

    /// The identity of an open file, as it is now.
    pub fn of(file: &File) -> std::io::Result<Identity> {
        let meta = file.metadata()?;
        let head = read_head(file)?;
        Ok(Identity { device: meta.dev(), inode: meta.ino(), head: hash(&head), head_bytes: head.len() })
    }

    /// True if `file` still begins with the bytes that the fingerprint covers.
    pub fn same_head(&self, file: &File) -> std::io::Result<bool> {
        let head = read_head(file)?;
        Ok(head.get(..self.head_bytes).is_some_and(|h| hash(h) == self.head))
    }

    /// True if `meta` is of the same device and inode.
    pub fn same_inode(&self, meta: &Metadata) -> bool {
        self.device == meta.dev() && self.inode == meta.ino()
    }

    /// True if `file` is this file: same inode, same first bytes.
    pub fn is(&self, file: &File) -> std::io::Result<bool> {
        Ok(self.same_inode(&file.metadata()?) && self.same_head(file)?)
    }

    /// Takes in what a growing file has gained since; false if its first bytes are no longer the same.
    pub fn refresh(&mut self, file: &File) -> std::io::Result<bool> {
        let head = read_head(file)?;
        if head.get(..self.head_bytes).is_none_or(|h| hash(h) != self.head) {
            return Ok(false);
        }
        if head.len() > self.head_bytes {
            self.head = hash(&head);
            self.head_bytes = head.len();
        }
        Ok(true)
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

fn read_head(file: &File) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// Where to go on in a path: the content of a file source's [`Position`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// The file that is being read.
    pub identity: Identity,
    /// Offset of the next record: in bytes (of the content, for a compressed file), or in rows for a
    /// format of columns.
    pub offset: u64,
    /// How many files have been read under this path before.
    pub generation: u64,
    /// True once a file that is read once has been read to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// Files that were read under this path before and are still there under other names: a pattern
    /// that matches those names must not read them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Identity>,
}

impl FilePosition {
    /// The beginning of a file.
    pub fn start(identity: Identity, generation: u64) -> FilePosition {
        FilePosition { identity, offset: 0, generation, ended: false, done: Vec::new() }
    }

    /// For the checkpoint.
    pub fn to_position(&self) -> Position {
        Position(serde_json::to_value(self).expect("strings and integers always serialise"))
    }

    /// From a checkpoint.
    ///
    /// # Errors
    /// `FILE-POSITION` where the position is not one of a file source.
    pub fn from_position(path: &Path, position: &Position) -> Result<FilePosition> {
        serde_json::from_value(position.0.clone()).map_err(|e| {
            Problem::error("FILE-POSITION", "the checkpoint's position is not one of a file source")
                .at(Place::path(path))
                .found(e.to_string())
        })
    }
}

/// Looks in the directory of `path` for the file that `position` speaks of, under whatever name it has
/// now: the same inode first, then a copy that begins alike and is long enough (`copytruncate`, a
/// restored backup). Only plain content is compared: a compressed copy is another file.
pub fn find(path: &Path, position: &FilePosition) -> Option<(PathBuf, File)> {
    let mut copy = None;
    for candidate in siblings(path) {
        let Ok(file) = super::open::regular(&candidate) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        if !position.identity.same_head(&file).unwrap_or(false) {
            continue;
        }
        if position.identity.same_inode(&meta) {
            return Some((candidate, file));
        }
        // An empty fingerprint fits every file, so it proves nothing about another inode.
        if position.identity.head_bytes > 0 && meta.len() >= position.offset && copy.is_none() {
            copy = Some((candidate, file));
        }
    }
    copy
}

/// The files beside `path`, itself first, the others by name.
fn siblings(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut others: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|entries| {
            entries
                .filter_map(|e| e.ok())
                .filter(|e| e.file_type().is_ok_and(|t| t.is_file()))
                .map(|e| directory.join(e.file_name()))
                .collect()
        })
        .unwrap_or_default();
    others.retain(|p| p != path);
    others.sort();
    others.insert(0, path.to_path_buf());
    others
}

/// Keeps those of `done` that are still in the directory of `path`: the others cannot be met again.
pub fn still_there(path: &Path, done: &mut Vec<Identity>) {
    let metas: Vec<Metadata> = siblings(path).iter().filter_map(|p| std::fs::metadata(p).ok()).collect();
    done.retain(|d| metas.iter().any(|m| d.same_inode(m)));
}

/// Reads up to the spare capacity of `buf` behind its end; returns how many bytes came.
pub fn read_behind(file: &File, buf: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        match rustix::io::read(file, spare_capacity(buf)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => return other.map_err(Into::into),
        }
    }
}
