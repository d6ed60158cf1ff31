//! A checkpoint that is durable, and how to read it back.

use super::block::{self, Listed, TRAILER};
use super::live::{BlockAt, DataFile, Live, LiveState};
use super::record::{AttachedKind, AttachedRef, Checkpoint, DAMAGE_HELP, FileRef, Run};
use super::sabotage;
use super::store::Store;
use crate::operator::StateBlock;
use crate::problem::{Problem, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A checkpoint as its record says. Cheap to clone; can be sent to another thread.
///
/// Its files stay as long as it is one of the last two checkpoints, or a
/// [`Compaction`](super::Compaction) of it runs.
#[derive(Clone)]
pub struct Committed {
    /// The number of its record.
    pub number: u64,
    /// The generation that wrote it.
    pub generation: u64,
    /// BLAKE3 of its record, in hex: what a sink's progress marker may name.
    pub hash: String,
    /// What the record says.
    pub body: Arc<Checkpoint>,
    pub(crate) live: Arc<Live>,
    pub(crate) store: Arc<dyn Store>,
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committed").field("number", &self.number).field("body", &self.body).finish_non_exhaustive()
    }
}

impl Committed {
    /// All state ids with their fingerprints, in id order.
    pub fn ids(&self) -> impl Iterator<Item = (&str, &str)> {
        self.live.state.iter().map(|(id, live)| (id.as_str(), live.fingerprint.as_str()))
    }

    /// All blocks of a state in hand-over order; empty if there is no such state. Blocks that were
    /// dropped since are not among them, and no [`Change::Drop`](crate::operator::Change::Drop) is.
    ///
    /// # Errors
    /// `STATE-MISSING-FILE`, `STATE-CORRUPT-FILE`: a block is never skipped.
    pub fn restore(&self, id: &str) -> Result<Vec<StateBlock>> {
        let Some(live) = self.live.state.get(id) else { return Ok(Vec::new()) };
        live.blocks().map(|at| self.read(at)).collect()
    }

    /// Live bytes of a state: of its base, and of the deltas behind it.
    pub fn bytes(&self, id: &str) -> (u64, u64) {
        self.live.state.get(id).map_or((0, 0), LiveState::bytes)
    }

    /// The attached files that were not released, oldest first.
    pub fn attached(&self, kind: AttachedKind) -> impl Iterator<Item = &AttachedRef> {
        self.body.attached.iter().filter(move |a| a.kind == kind)
    }

    /// The bytes of an attached file, checked.
    pub fn read_attached(&self, attached: &AttachedRef) -> Result<Bytes> {
        let file = &attached.file;
        let bytes = self.store.get(&file.name)?.ok_or_else(|| missing(&*self.store, &file.name))?;
        if !sabotage::planted("skip_checksum")
            && (bytes.len() as u64 != file.len || blake3::hash(&bytes).to_hex().as_str() != file.blake3)
        {
            return Err(damaged(&*self.store, &file.name, "other bytes than were written"));
        }
        Ok(bytes)
    }

    fn read(&self, at: &BlockAt) -> Result<StateBlock> {
        let (name, listed) = (&at.file.file.name, at.listed());
        let len = usize::try_from(listed.len).map_err(|_| damaged(&*self.store, name, "a block too long"))?;
        let bytes = self.store.get_range(name, listed.at, len)?.ok_or_else(|| missing(&*self.store, name))?;
        block::read_block(listed, &bytes).map_err(|p| block::in_file(p, self.store.place(name)))
    }
}

/// A file that a record names is not there.
pub(crate) fn missing(store: &dyn Store, name: &str) -> Problem {
    Problem::outside("STATE-MISSING-FILE", "a file that the commit log names is missing")
        .at(store.place(name))
        .help(DAMAGE_HELP)
}

/// A file that a record names is not what it was.
pub(crate) fn damaged(store: &dyn Store, name: &str, found: &str) -> Problem {
    Problem::outside("STATE-CORRUPT-FILE", "a state file is damaged")
        .at(store.place(name))
        .found(found)
        .help(DAMAGE_HELP)
}

/// How much of a file is read at a time while it is hashed, in bytes.
const CHUNK: usize = 4 << 20;

/// Reads a whole file and compares length and BLAKE3.
pub(crate) fn check_file(store: &dyn Store, file: &FileRef) -> Result<()> {
    let len = store.size(&file.name)?.ok_or_else(|| missing(store, &file.name))?;
    if sabotage::planted("skip_checksum") {
        return Ok(());
    }
    if len != file.len {
        return Err(damaged(store, &file.name, &format!("{len} bytes")).expected(format!("{} bytes", file.len)));
    }
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    while at < len {
        let bytes = store.get_range(&file.name, at, CHUNK)?.ok_or_else(|| missing(store, &file.name))?;
        if bytes.is_empty() {
            return Err(damaged(store, &file.name, &format!("only {at} bytes can be read")));
        }
        hasher.update(&bytes);
        at += bytes.len() as u64;
    }
    if hasher.finalize().to_hex().as_str() != file.blake3 {
        return Err(damaged(store, &file.name, "other bytes than were written (BLAKE3 differs)"));
    }
    Ok(())
}

/// Reads the directory of a data file.
pub(crate) fn read_file(store: &dyn Store, file: &FileRef) -> Result<DataFile> {
    let name = &file.name;
    let get = |at: u64, len: usize| store.get_range(name, at, len)?.ok_or_else(|| missing(store, name));
    let read = || -> Result<Vec<Listed>> {
        block::check_head(&get(0, 8)?)?;
        let trailer = get(file.len.saturating_sub(TRAILER as u64), TRAILER)?;
        let (at, len) = block::read_trailer(&trailer, file.len)?;
        block::read_directory(&get(at, len)?, &trailer)
    };
    let blocks = read().map_err(|p| block::in_file(p, store.place(name)))?;
    Ok(DataFile { file: file.clone(), blocks })
}

/// Loads what a checkpoint record names: checks every file, reads every directory.
pub(crate) fn load(store: &dyn Store, body: &Checkpoint) -> Result<Live> {
    let mut files = Vec::with_capacity(body.files.len());
    for file in &body.files {
        check_file(store, file)?;
        files.push(Arc::new(read_file(store, file)?));
    }
    for attached in &body.attached {
        check_file(store, &attached.file)?;
    }
    let blocks = |id: &str, was: &BTreeSet<String>, runs: &[Run]| -> Result<Vec<BlockAt>> {
        let ours = |written: &String| written == id || was.contains(written);
        let mut out = Vec::new();
        for (file, from, to) in runs {
            let file = files
                .get(*file as usize)
                .ok_or_else(|| Problem::internal("a record names a file that it does not list"))?;
            for index in *from as usize..*to as usize {
                match file.blocks.get(index) {
                    Some(listed) if ours(&listed.header.id) => out.push(BlockAt { file: file.clone(), index }),
                    _ => return Err(damaged(store, &file.file.name, &format!("no block {index} of state {id}"))),
                }
            }
        }
        Ok(out)
    };
    let mut state = BTreeMap::new();
    for (id, s) in &body.state {
        let live = LiveState {
            fingerprint: s.fingerprint.clone(),
            base: blocks(id, &s.was, &s.base)?,
            deltas: blocks(id, &s.was, &s.deltas)?,
        };
        state.insert(id.clone(), live);
    }
    Ok(Live { state, attached: body.attached.clone() })
}
