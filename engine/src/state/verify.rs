//! Reads a whole store, for people: `millstream state verify` and `millstream status --disk`.

use super::log::file_class;
use super::record::{self, Checkpoint};
use super::store::{Entry, Store};
use super::{block, committed, log};
use crate::problem::{Problem, Result};
use serde::Serialize;
use std::collections::BTreeSet;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Files read that a record names.
    pub files: u64,
    /// Blocks decoded.
    pub blocks: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The newest checkpoint; 0 = none.
    pub checkpoint: u64,
    /// Damage: a start would refuse it, or a fall-back would.
    pub problems: Vec<Problem>,
    /// What no record names: left by a crash and deleted in time, or not ours.
    pub extra: Vec<String>,
}

/// Bytes by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Log records.
    pub records: u64,
    /// State: bases and deltas, with what waits to be deleted.
    pub state: u64,
    /// Outboxes.
    pub outboxes: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Files that are not ours.
    pub other: u64,
}

/// Bytes by class.
pub fn usage(store: &dyn Store) -> Result<Usage> {
    let mut usage = Usage::default();
    for Entry { name, len } in store.list("")? {
        *match file_class(&name) {
            Some("outbox") => &mut usage.outboxes,
            Some("dead") => &mut usage.dead_letters,
            Some(_) => &mut usage.state,
            None if record::number(&name).is_some() => &mut usage.records,
            None => &mut usage.other,
        } += len;
    }
    Ok(usage)
}

/// Reads every record and every file that the last two checkpoints name, and decodes every block.
/// Changes nothing. On a store in use a file may be deleted while it is read: verify again then.
///
/// # Errors
/// Only where the store cannot be listed; damage is in the report.
pub fn verify(store: &dyn Store) -> Result<Report> {
    let entries = store.list("")?;
    let mut report = Report::default();
    let mut named = BTreeSet::new();
    let mut oldest = 1;
    match log::read_chain(store, None, false) {
        Err(problem) => report.problems.push(problem),
        Ok(chain) => {
            oldest = chain.oldest;
            for (n, (newest, _)) in chain.checkpoints.iter().take(2).enumerate() {
                let Some(body) = &newest.checkpoint else { continue };
                if n == 0 {
                    report.checkpoint = body.checkpoint;
                }
                verify_files(store, body, &mut named, &mut report);
            }
        }
    }
    for Entry { name, len } in &entries {
        match record::number(name) {
            Some(number) if number >= oldest => {
                report.records += 1;
                report.bytes += len;
            }
            _ if named.contains(name) => {}
            _ => report.extra.push(name.clone()),
        }
    }
    Ok(report)
}

fn verify_files(store: &dyn Store, body: &Checkpoint, named: &mut BTreeSet<String>, report: &mut Report) {
    for file in &body.files {
        if !named.insert(file.name.clone()) {
            continue;
        }
        report.files += 1;
        match committed::check_file(store, file).and_then(|()| verify_blocks(store, &file.name)) {
            Ok(blocks) => report.blocks += blocks,
            Err(problem) => report.problems.push(problem),
        }
        report.bytes += file.len;
    }
    for attached in &body.attached {
        if named.insert(attached.file.name.clone()) {
            report.files += 1;
            report.bytes += attached.file.len;
            report.problems.extend(committed::check_file(store, &attached.file).err());
        }
    }
    if let Err(problem) = committed::load(store, body)
        && !report.problems.contains(&problem)
    {
        report.problems.push(problem);
    }
}

fn verify_blocks(store: &dyn Store, name: &str) -> Result<u64> {
    let bytes = store.get(name)?.ok_or_else(|| committed::missing(store, name))?;
    let blocks = block::read_all(&bytes).map_err(|p| block::in_file(p, store.place(name)))?;
    Ok(blocks.len() as u64)
}
