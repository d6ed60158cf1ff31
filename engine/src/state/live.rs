//! Which blocks are live: the index that the log keeps in memory between commits.
//!
//! A [`Live`] is what the newest checkpoint record says, with each block's table, segment and length
//! at hand. It is rebuilt at open from the directories of the data files.

use super::block::Listed;
use super::record::{AttachedRef, FileRef, Run, StateRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A data file and its directory.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub file: FileRef,
    pub blocks: Vec<Listed>,
}

/// One block of a data file.
#[derive(Clone, Debug)]
pub(crate) struct BlockAt {
    pub file: Arc<DataFile>,
    pub index: usize,
}

impl BlockAt {
    pub fn listed(&self) -> &Listed {
        &self.file.blocks[self.index]
    }
    fn is_in(&self, table: &str, segment: i64) -> bool {
        let header = &self.listed().header;
        header.segment == segment && header.table == table
    }
}

/// All blocks of one state, in restore order.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveState {
    pub fingerprint: String,
    pub base: Vec<BlockAt>,
    pub deltas: Vec<BlockAt>,
}

impl LiveState {
    pub fn blocks(&self) -> impl Iterator<Item = &BlockAt> {
        self.base.iter().chain(&self.deltas)
    }
    /// Forgets the blocks of a table's segment.
    pub fn drop_segment(&mut self, table: &str, segment: i64) {
        self.base.retain(|b| !b.is_in(table, segment));
        self.deltas.retain(|b| !b.is_in(table, segment));
    }
    /// Bytes of the base, and of the deltas.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |blocks: &[BlockAt]| blocks.iter().map(|b| b.listed().len).sum();
        (sum(&self.base), sum(&self.deltas))
    }
    /// How many files the deltas lie in.
    pub fn delta_files(&self) -> usize {
        self.deltas.iter().map(|b| &*b.file.file.name).collect::<BTreeSet<_>>().len()
    }
}

/// All that is live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub state: BTreeMap<String, LiveState>,
    pub attached: Vec<AttachedRef>,
}

impl Live {
    /// The names of all files that are needed.
    pub fn names(&self) -> BTreeSet<String> {
        let data = self.state.values().flat_map(LiveState::blocks).map(|b| b.file.file.name.clone());
        data.chain(self.attached.iter().map(|a| a.file.name.clone())).collect()
    }

    /// The form that stands in a record.
    pub fn describe(&self) -> (Vec<FileRef>, BTreeMap<String, StateRef>) {
        let mut files = Files::default();
        let state = self.state.iter().map(|(id, live)| {
            let (base, deltas) = (files.runs(&live.base), files.runs(&live.deltas));
            let written = live.blocks().map(|b| &b.listed().header.id);
            let was = written.filter(|written| *written != id).cloned().collect();
            (id.clone(), StateRef { fingerprint: live.fingerprint.clone(), base, deltas, was })
        });
        let state = state.collect();
        (files.listed, state)
    }
}

/// Gives each file an index, in the order of first use.
#[derive(Default)]
struct Files {
    listed: Vec<FileRef>,
    index: HashMap<String, u32>,
}

impl Files {
    fn runs(&mut self, blocks: &[BlockAt]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for block in blocks {
            let file = self.of(&block.file.file);
            let at = u32::try_from(block.index).expect("a directory has fewer than 2^32 blocks");
            match runs.last_mut() {
                Some((f, _, to)) if *f == file && *to == at => *to += 1,
                _ => runs.push((file, at, at + 1)),
            }
        }
        runs
    }
    fn of(&mut self, file: &FileRef) -> u32 {
        if let Some(index) = self.index.get(&file.name) {
            return *index;
        }
        let index = u32::try_from(self.listed.len()).expect("a record names fewer than 2^32 files");
        self.listed.push(file.clone());
        self.index.insert(file.name.clone(), index);
        index
    }
}
