//! The format of a log record: one line of JSON, and a line with its BLAKE3.
//!
//! Records are numbered 1, 2, 3, … without gaps; generation records and checkpoint records share the
//! numbers. A record names the BLAKE3 of the whole record before it, so that nothing can be exchanged
//! unnoticed. A checkpoint record carries everything that is live, so that older ones may be deleted:
//! `oldest` is the first number that must still be there when this record is the newest.

use crate::connect::{Handle, Position};
use crate::problem::{Place, Problem, Result};
use crate::state::sabotage;
use crate::time::{Epoch, Micros};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest format this program reads and writes.
pub const VERSION: u32 = 1;

/// What to do about damage.
pub(crate) const DAMAGE_HELP: &str = "nothing was changed; run `millstream state verify` to see what else is damaged, then restore the directory from a backup";

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format version.
    pub millstream_log: u32,
    /// The pipeline's id.
    pub pipeline: String,
    /// The record's own number.
    pub number: u64,
    /// Which start of the pipeline wrote it.
    pub generation: u64,
    /// BLAKE3 of the record before it, all bytes; empty for the first.
    pub previous: String,
    /// The oldest record that must be there.
    pub oldest: u64,
    /// Records from `oldest` on that were damaged and given up, when falling back was allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<u64>,
    /// The checkpoint record that counts: this one, or the one that a generation goes on from; 0 = none.
    pub data: u64,
    /// Wall clock at the time, microseconds since the Unix epoch.
    pub wall: Micros,
    /// Who wrote it: process and machine.
    pub holder: String,
    /// What was committed; `None` in a generation record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// What a checkpoint record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The checkpoint's number E, without gaps.
    pub checkpoint: u64,
    /// The epoch c that it closes.
    pub epoch: Epoch,
    /// The key hash.
    pub hash: String,
    /// Number of key groups.
    pub groups: u32,
    /// Per source node and partition, what to read next.
    pub sources: BTreeMap<String, BTreeMap<String, Position>>,
    /// Per node.
    pub watermarks: BTreeMap<String, i64>,
    /// Per sink node, what each worker's sink made durable.
    pub sinks: BTreeMap<String, Vec<Handle>>,
    /// All files that hold a live block.
    pub files: Vec<FileRef>,
    /// Per state id, the live blocks.
    pub state: BTreeMap<String, StateRef>,
    /// Outboxes and dead letters that were not released.
    pub attached: Vec<AttachedRef>,
    /// The caller's own.
    pub extra: serde_json::Value,
}

/// A file that a record names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Its name in the store.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// BLAKE3 of all bytes, in hex.
    pub blake3: String,
    /// The checkpoint that wrote it.
    pub checkpoint: u64,
}

/// A run of blocks: index of the file in [`Checkpoint::files`], first block, first block behind it.
pub type Run = (u32, u32, u32);

/// The live blocks of one state, in the order in which they are to be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRef {
    /// What gives the state its meaning.
    pub fingerprint: String,
    /// The compacted beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<Run>,
    /// Ids under which some of the blocks were written: those of nodes that have been renamed since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub was: BTreeSet<String>,
    /// What was handed over since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Run>,
}

/// What an attached file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachedKind {
    /// Rows of a staged sink that are yet to be delivered.
    Outbox,
    /// Dead letters.
    DeadLetters,
}

/// An attached file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedRef {
    /// What it is.
    pub kind: AttachedKind,
    /// The node it belongs to.
    pub owner: String,
    /// The file.
    pub file: FileRef,
}

/// The name of record `number`.
pub fn name(number: u64) -> String {
    format!("log/{number:012}")
}

/// The number in a record's name; `None` if it is not such a name.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log/")?;
    if digits.len() < 12 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|n| *n > 0 && self::name(*n) == name)
}

/// The hash that the next record names.
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// A record's bytes.
pub fn encode(record: &Record) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec(record).map_err(|e| Problem::internal(format!("cannot encode a record: {e}")))?;
    let sum = hash(&bytes);
    bytes.extend(format!("\nblake3 {sum}\n").bytes());
    Ok(bytes)
}

/// Reads record `number` from its bytes. The hash chain is for the caller to check.
pub fn decode(bytes: &[u8], number: u64, place: Place) -> Result<Record> {
    let bad = |found: String| {
        Problem::outside("STATE-CORRUPT-RECORD", format!("record {number} of the commit log is damaged"))
            .at(place.clone())
            .found(found)
            .help(DAMAGE_HELP)
    };
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(|| bad(format!("{} bytes without a line end", bytes.len())))?;
    let (line, rest) = bytes.split_at(end);
    if !sabotage::planted("skip_checksum") && rest != format!("\nblake3 {}\n", hash(line)).as_bytes() {
        return Err(bad("a wrong checksum".into()));
    }
    refuse_newer(line, &place)?;
    let record: Record = serde_json::from_slice(line).map_err(|e| bad(format!("unreadable content: {e}")))?;
    if record.number != number || record.oldest > number || record.data > number {
        return Err(bad(format!("record {} under the name of record {number}", record.number)));
    }
    Ok(record)
}

fn refuse_newer(line: &[u8], place: &Place) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        millstream_log: u32,
    }
    match serde_json::from_slice::<Format>(line) {
        Ok(format) if format.millstream_log > VERSION => {
            Err(Problem::error("STATE-NEWER-FORMAT", "the commit log was written by a newer Millstream")
                .at(place.clone())
                .found(format!("format {}", format.millstream_log))
                .expected(format!("format {VERSION} or older"))
                .help("start the version that wrote it, or a newer one"))
        }
        _ => Ok(()),
    }
}
