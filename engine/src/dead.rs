//! Dead letters: rows set aside with their error and their origin.
//!
//! Every node has an `errors` port; all of them have one schema ([`schema`]). What nobody connects goes
//! to the pipeline's own store: Arrow IPC segments beside the checkpoints, named by the commit record,
//! so that a dead letter is in the same commit as the output. A payload over [`PAYLOAD_MAX`] bytes is
//! kept as its first 64 KiB with its length and hash in the message.
//!
//! A stored letter has one column more than a row of the port: `role`, which of the steps that make up the
//! node refused it. [`stored`] reads the store, [`replay`] says which letters can be fed again, and where.

use crate::batch::{Batch, record_batch};
use crate::connect::Reject;
use crate::operator::Rejected;
use crate::time::Micros;
use crate::{Problem, Result};
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub mod guard;
pub mod replay;
pub mod stored;

/// Payloads over this many bytes are cut.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// What is kept of a payload that is cut.
pub const PAYLOAD_KEPT: usize = 64 << 10;

/// What the dead-letter store does when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The pipeline waits: nothing is lost.
    #[default]
    Pause,
    /// The oldest segments go.
    DropOldest,
}

/// Limits of the dead-letter store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Letters older than this go.
    pub keep: Duration,
    /// Bytes on disk.
    pub max: u64,
    /// What happens at `max`.
    pub when_full: WhenFull,
    /// When too many records become dead letters; `None` = never.
    pub guard: Option<guard::Guard>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            keep: Duration::from_secs(30 * 24 * 3600),
            max: 1 << 30,
            when_full: WhenFull::Pause,
            guard: Some(guard::Guard::default()),
        }
    }
}

/// The schema of every `errors` port.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("time", utc, false),
            Field::new("node", DataType::Utf8, false),
            Field::new("code", DataType::Utf8, false),
            Field::new("message", DataType::Utf8, false),
            Field::new("source", DataType::Utf8, true),
            Field::new("partition", DataType::Utf8, true),
            Field::new("position", DataType::UInt64, true),
            Field::new("key", DataType::Binary, true),
            Field::new("headers", DataType::Utf8, true),
            Field::new("payload", DataType::Binary, true),
            Field::new("input", DataType::Utf8, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// One letter, before it becomes a row.
#[derive(Debug, Default)]
struct Letter {
    code: &'static str,
    message: String,
    source: Option<Arc<str>>,
    partition: Option<Arc<str>>,
    position: Option<u64>,
    key: Option<Bytes>,
    payload: Option<Bytes>,
    input: Option<String>,
}

/// Rows refused by a stage or an operator, as dead letters.
pub fn from_rows(node: &str, now: Micros, rejected: Vec<Rejected>) -> Batch {
    let letters = rejected.into_iter().map(|r| {
        let origin = r.row.origin.as_ref();
        let position = origin.map(|o| o.positions.value(0));
        Letter {
            code: r.code,
            message: r.message,
            source: origin.map(|o| Arc::clone(&o.source)),
            partition: origin.map(|o| Arc::clone(&o.partition)),
            position,
            key: None,
            payload: origin.and_then(|o| o.slab.as_ref()?.line(position?)),
            input: Some(crate::json::row_json(&r.row.rows, 0)),
        }
    });
    batch(node, now, letters)
}

/// Records refused by a decoder, as dead letters.
pub fn from_rejects(node: &str, partition: &Arc<str>, now: Micros, rejects: Vec<Reject>) -> Batch {
    let source: Arc<str> = node.into();
    let letters = rejects.into_iter().map(|r| Letter {
        code: r.code,
        message: r.message,
        source: Some(Arc::clone(&source)),
        partition: Some(Arc::clone(partition)),
        position: Some(r.position),
        key: r.key,
        payload: Some(r.payload),
        input: None,
    });
    batch(node, now, letters)
}

fn batch(node: &str, now: Micros, letters: impl Iterator<Item = Letter>) -> Batch {
    let (mut nodes, mut codes, mut messages) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let (mut sources, mut partitions, mut positions) =
        (StringBuilder::new(), StringBuilder::new(), UInt64Builder::new());
    let (mut keys, mut headers, mut payloads, mut inputs) =
        (BinaryBuilder::new(), StringBuilder::new(), BinaryBuilder::new(), StringBuilder::new());
    let mut rows = 0;
    for mut letter in letters {
        rows += 1;
        if let Some(payload) = letter.payload.as_mut().filter(|p| p.len() > PAYLOAD_MAX) {
            letter.message.push_str(&format!(
                " (payload of {} bytes, BLAKE3 {}, cut)",
                payload.len(),
                blake3::hash(payload).to_hex()
            ));
            *payload = payload.slice(..PAYLOAD_KEPT);
        }
        nodes.append_value(node);
        codes.append_value(letter.code);
        messages.append_value(&letter.message);
        sources.append_option(letter.source.as_deref());
        partitions.append_option(letter.partition.as_deref());
        positions.append_option(letter.position);
        keys.append_option(letter.key.as_deref());
        headers.append_null();
        payloads.append_option(letter.payload.as_deref());
        inputs.append_option(letter.input.as_deref());
    }
    let time = TimestampMicrosecondArray::from_value(now, rows).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(time),
        Arc::new(nodes.finish()),
        Arc::new(codes.finish()),
        Arc::new(messages.finish()),
        Arc::new(sources.finish()),
        Arc::new(partitions.finish()),
        Arc::new(positions.finish()),
        Arc::new(keys.finish()),
        Arc::new(headers.finish()),
        Arc::new(payloads.finish()),
        Arc::new(inputs.finish()),
    ];
    Batch::new(record_batch(schema(), columns, rows))
}

/// Under which name dead letters are attached to a checkpoint.
pub const OWNER: &str = "dead_letters";

/// The schema of a segment: that of the port, and `role`.
fn segment_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut fields = schema().fields().to_vec();
        fields.push(Arc::new(Field::new("role", DataType::Utf8, true)));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// A batch of an `errors` port as it is stored: with the role of the step that refused the rows.
pub(crate) fn with_role(letters: &RecordBatch, role: &str) -> RecordBatch {
    let rows = letters.num_rows();
    let role: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(role, rows)));
    record_batch(segment_schema(), letters.columns().iter().cloned().chain([role]).collect(), rows)
}

/// Stored letters as the bytes of one segment: an Arrow IPC stream.
pub(crate) fn encode(batches: impl Iterator<Item = RecordBatch>) -> Result<Vec<u8>> {
    let failed = |e: arrow::error::ArrowError| Problem::internal(format!("dead letters cannot be encoded: {e}"));
    let mut writer = StreamWriter::try_new(Vec::new(), &segment_schema()).map_err(failed)?;
    for batch in batches {
        // Segments of before there were roles have a column less.
        let missing = segment_schema().fields().len() - batch.num_columns();
        let columns = batch.columns().iter().cloned();
        let nulls = std::iter::repeat_n(arrow::array::new_null_array(&DataType::Utf8, batch.num_rows()), missing);
        let batch = record_batch(segment_schema(), columns.chain(nulls).collect(), batch.num_rows());
        writer.write(&batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

/// The rows of one segment; the column `role` is not there in those of older versions.
///
/// # Errors
/// `DEAD-SEGMENT` when the bytes are not those of a segment.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let failed = |e: arrow::error::ArrowError| {
        Problem::error("DEAD-SEGMENT", format!("a segment of dead letters cannot be read: {e}"))
    };
    StreamReader::try_new(bytes, None).map_err(failed)?.map(|b| b.map_err(failed)).collect()
}

/// What is left of the batches of a segment without some of its rows, which are counted over all of them.
pub(crate) fn without(batches: Vec<RecordBatch>, rows: &BTreeSet<usize>) -> Vec<RecordBatch> {
    let mut first = 0;
    let left = batches.into_iter().map(|batch| {
        let keep: BooleanArray = (first..first + batch.num_rows()).map(|row| Some(!rows.contains(&row))).collect();
        first += batch.num_rows();
        arrow::compute::filter_record_batch(&batch, &keep).expect("the mask has one value per row")
    });
    left.filter(|b| b.num_rows() > 0).collect()
}

/// The store's segments and its limits: what goes, and when sources must wait.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    limits: Limits,
    /// By the checkpoint that wrote it: wall clock and bytes.
    segments: BTreeMap<u64, (Micros, u64)>,
}

impl Keeper {
    pub fn new(limits: Limits, segments: BTreeMap<u64, (Micros, u64)>) -> Keeper {
        Keeper { limits, segments }
    }

    /// A segment of `bytes` is about to be committed. Returns the last checkpoint whose segments go.
    pub fn add(&mut self, checkpoint: u64, now: Micros, bytes: u64) -> Option<u64> {
        if bytes > 0 {
            self.segments.insert(checkpoint, (now, bytes));
        }
        let keep = i64::try_from(self.limits.keep.as_micros()).unwrap_or(i64::MAX);
        let mut released = None;
        while let Some(oldest) = self.segments.first_entry() {
            let (checkpoint_of, (wall, _)) = (*oldest.key(), *oldest.get());
            let old = wall.saturating_add(keep) < now;
            let full = self.limits.when_full == WhenFull::DropOldest && self.bytes() > self.limits.max;
            // What this very checkpoint brings stays: it is attached by the record that is being written.
            if checkpoint_of == checkpoint || !(old || full) {
                break;
            }
            released = Some(checkpoint_of);
            self.segments.remove(&checkpoint_of);
        }
        released
    }

    /// A file of the segment of `checkpoint` goes with the next record.
    pub fn forget(&mut self, checkpoint: u64, bytes: u64) {
        if let Some((_, left)) = self.segments.get_mut(&checkpoint) {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.segments.remove(&checkpoint);
            }
        }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|(_, bytes)| bytes).sum()
    }

    /// The wall clocks of the segments, for the record.
    pub fn clocks(&self) -> BTreeMap<u64, Micros> {
        self.segments.iter().map(|(checkpoint, (wall, _))| (*checkpoint, *wall)).collect()
    }

    /// True once sources must wait.
    pub fn is_full(&self) -> bool {
        self.limits.when_full == WhenFull::Pause && self.bytes() > self.limits.max
    }

    /// A word to the user from four fifths of the limit on.
    pub fn warning(&self) -> Option<Problem> {
        let (bytes, max) = (self.bytes(), self.limits.max);
        if self.limits.when_full != WhenFull::Pause || bytes <= max / 5 * 4 {
            return None;
        }
        let what = if bytes > max {
            "the dead-letter store is full: sources wait"
        } else {
            "the dead-letter store is nearly full"
        };
        Some(
            Problem::warning("DEAD-STORE", what)
                .found(format!("{bytes} bytes"))
                .expected(format!("at most {max} bytes"))
                .help(
                    "mend what refuses the records, then raise `dead_letters: { max }` or say `when_full: drop_oldest`",
                ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Decoded;
    use arrow::array::Array;

    const DAY: Micros = 86_400_000_000;

    fn keeper(when_full: WhenFull) -> Keeper {
        Keeper::new(
            Limits { keep: Duration::from_secs(10 * 86_400), max: 1_000, when_full, guard: None },
            BTreeMap::new(),
        )
    }

    #[test]
    fn old_segments_go() {
        let mut keeper = keeper(WhenFull::Pause);
        assert_eq!(keeper.add(1, 0, 100), None);
        assert_eq!(keeper.add(2, 5 * DAY, 100), None);
        assert_eq!(keeper.add(3, 11 * DAY, 0), Some(1));
        assert_eq!(keeper.clocks().into_keys().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_full_store_pauses_or_drops_the_oldest() {
        let mut pausing = keeper(WhenFull::Pause);
        pausing.add(1, 0, 700);
        assert!(pausing.warning().is_none() && !pausing.is_full());
        pausing.add(2, 0, 150);
        assert!(pausing.warning().is_some() && !pausing.is_full());
        pausing.add(3, 0, 200);
        assert!(pausing.is_full());
        let mut dropping = keeper(WhenFull::DropOldest);
        dropping.add(1, 0, 700);
        assert_eq!(dropping.add(2, 0, 600), Some(1));
        assert_eq!(dropping.add(3, 0, 5_000), Some(2), "what is being written stays, however large");
        assert!(!dropping.is_full() && dropping.warning().is_none());
    }

    #[test]
    fn segments_come_back_as_they_went() {
        let mut letters = Decoded::default();
        letters.reject(7, "TEST", "no good", Bytes::from_static(b"\xff"));
        let batch = from_rejects("n", &"p".into(), 5, letters.rejects);
        let stored = with_role(&batch.rows, "source.0");
        let back = decode(&encode([stored.clone()].into_iter()).unwrap()).unwrap();
        assert_eq!(back, [stored]);
        let old = decode(&encode([batch.rows.clone()].into_iter()).unwrap()).unwrap();
        assert!(old[0].column_by_name("role").unwrap().is_null(0), "a segment of before there were roles");
        assert_eq!(decode(b"rubbish").unwrap_err().code, "DEAD-SEGMENT");
    }
}
