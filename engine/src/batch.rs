//! The one container on every edge: an Arrow record batch, its weights, and where its rows came from.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows per batch that sources and operators aim at; batches are never larger.
pub const BATCH_ROWS: usize = 8_192;

/// Rows that belong to one epoch.
///
/// `diff: None` means that every row is an insertion (+1); a changelog carries one weight per row.
/// Where positions are still known, `origin` names them: it is filtered with the rows and dropped at
/// the first exchange or stateful operator.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// One weight per row; `None` = all +1.
    pub diff: Option<Int64Array>,
    /// Source, partition and position of each row, while they are known.
    pub origin: Option<Origin>,
    /// What this batch costs against the job's memory budget; released when the last clone is dropped.
    pub charge: Option<Arc<Charge>>,
}

/// Where the rows of a batch came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The source node's name.
    pub source: Arc<str>,
    /// The partition's name within the source.
    pub partition: Arc<str>,
    /// One position per row, in the partition's own unit (bytes for files, offsets for Kafka).
    pub positions: UInt64Array,
    /// The original bytes, for dead letters; a record is found in it by its position.
    pub slab: Option<Slab>,
}

/// A run of original bytes of one partition; `start` is the position of its first byte, and records
/// in it are lines.
#[derive(Clone, Debug)]
pub struct Slab {
    /// Position of the first byte.
    pub start: u64,
    /// The bytes as they were read.
    pub bytes: Bytes,
}

impl Slab {
    /// The line that begins at `position`, without its line end; `None` where the slab does not hold it.
    pub fn line(&self, position: u64) -> Option<Bytes> {
        let from = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.get(from..)?;
        let mut len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if len > 0 && rest[len - 1] == b'\r' {
            len -= 1;
        }
        Some(self.bytes.slice(from..from + len))
    }
}

/// Bytes counted against a job's memory budget for as long as this value lives.
#[derive(Debug)]
pub struct Charge {
    bytes: u64,
    account: Arc<AtomicU64>,
}

impl Charge {
    /// Adds `bytes` to `account` until dropped.
    pub fn new(bytes: u64, account: &Arc<AtomicU64>) -> Arc<Charge> {
        account.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Charge { bytes, account: Arc::clone(account) })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new(RecordBatch::new_empty(Arc::new(Schema::empty())))
    }
}

impl Batch {
    /// Insertions without origin.
    pub fn new(rows: RecordBatch) -> Batch {
        Batch { rows, diff: None, origin: None, charge: None }
    }
    /// A changelog batch: one weight per row.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn with_diff(rows: RecordBatch, diff: Int64Array) -> Batch {
        assert_eq!(rows.num_rows(), diff.len(), "one weight per row");
        Batch { rows, diff: Some(diff), origin: None, charge: None }
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }
    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The schema of the columns.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
    /// The column named `name`.
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.rows.column_by_name(name)
    }
    /// The same rows (weights, origin, charge) under other columns.
    ///
    /// # Panics
    /// When the number of rows differs.
    pub fn with_rows(&self, rows: RecordBatch) -> Batch {
        assert_eq!(self.len(), rows.num_rows(), "one new row per old row");
        Batch { rows, diff: self.diff.clone(), origin: self.origin.clone(), charge: self.charge.clone() }
    }
    /// Keeps the rows where `mask` is true (NULL counts as false); weights and origin follow.
    ///
    /// # Panics
    /// When the mask has another length.
    pub fn filter(&self, mask: &BooleanArray) -> Batch {
        let keep = |a: &dyn Array| compute::filter(a, mask).expect("mask has one value per row");
        Batch {
            rows: compute::filter_record_batch(&self.rows, mask).expect("mask has one value per row"),
            diff: self.diff.as_ref().map(|d| downcast::<Int64Array>(&keep(d))),
            origin: self.origin.as_ref().map(|o| Origin {
                positions: downcast::<UInt64Array>(&keep(&o.positions)),
                source: Arc::clone(&o.source),
                partition: Arc::clone(&o.partition),
                slab: o.slab.clone(),
            }),
            charge: self.charge.clone(),
        }
    }
    /// A zero-copy slice of `length` rows from `offset`.
    pub fn slice(&self, offset: usize, length: usize) -> Batch {
        Batch {
            rows: self.rows.slice(offset, length),
            diff: self.diff.as_ref().map(|d| d.slice(offset, length)),
            origin: self.origin.as_ref().map(|o| Origin { positions: o.positions.slice(offset, length), ..o.clone() }),
            charge: self.charge.clone(),
        }
    }
    /// Only the named columns, in that order; a name that is not there is left out.
    pub fn project(&self, names: &[&str]) -> Batch {
        let schema = self.rows.schema();
        let indices: Vec<usize> = names.iter().filter_map(|n| schema.index_of(n).ok()).collect();
        self.with_rows(self.rows.project(&indices).expect("indices come from the schema"))
    }
}

/// A record batch of `rows` rows; unlike `RecordBatch::try_new` it may have no columns.
///
/// # Panics
/// When columns and schema do not fit: callers build both from the same plan.
pub fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).expect("columns are built for this schema")
}

fn downcast<T: Array + Clone + 'static>(array: &ArrayRef) -> T {
    array.as_any().downcast_ref::<T>().expect("filter keeps the type").clone()
}
