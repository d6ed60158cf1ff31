//! What a node implements: [`Stage`] without state, [`Operator`] with state.
//!
//! Timely types do not appear here. A stage is fused with its neighbours into one chain; an operator
//! stands alone behind its inputs and is called in epoch order.

use crate::Result;
use crate::batch::Batch;
use crate::time::{Epoch, Micros, Watermark};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A row that a node refuses, on its way to the node's `errors` port.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The row alone, with its origin where that is still known.
    pub row: Batch,
    /// Stable code, such as `PARSE-NO-MATCH`.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

/// Collects what a node puts out during one call.
#[derive(Debug)]
pub struct Emit {
    /// Batches by output port, in order.
    pub out: Vec<(usize, Batch)>,
    /// Rows refused.
    pub rejected: Vec<Rejected>,
    /// Rows that were meant to go no further.
    pub filtered: u64,
    /// The wall clock, for everything that the node does in the present epoch: the only time it may look at.
    pub now: Micros,
}

impl Default for Emit {
    fn default() -> Self {
        Emit { out: Vec::new(), rejected: Vec::new(), filtered: 0, now: i64::MIN }
    }
}

impl Emit {
    /// True while an operator is only told the watermark of the checkpoint that it is restored from: there
    /// is no time yet, and nothing may be sent.
    pub fn is_restoring(&self) -> bool {
        self.now == i64::MIN
    }
    /// Sends rows to the first port. An empty batch is not sent.
    pub fn send(&mut self, batch: Batch) {
        self.send_to(0, batch);
    }
    /// Sends rows to a port. An empty batch is not sent.
    pub fn send_to(&mut self, port: usize, batch: Batch) {
        if !batch.is_empty() {
            self.out.push((port, batch));
        }
    }
    /// Refuses row `row` of `batch`: it becomes a dead letter.
    pub fn reject(&mut self, batch: &Batch, row: usize, code: &'static str, message: impl Into<String>) {
        self.rejected.push(Rejected { row: batch.slice(row, 1), code, message: message.into() });
    }
    /// Counts rows that were dropped on purpose.
    pub fn filtered(&mut self, rows: usize) {
        self.filtered += rows as u64;
    }
}

/// A node without state: one batch in, any number out. Rows keep their order.
///
/// Every row of the input must be accounted for: sent, rejected, or counted as filtered.
pub trait Stage: 'static {
    /// Works on one batch.
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()>;
}

/// Which columns of its input a node needs; the rest is never decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All of them.
    All,
    /// Just these: the output is computed from them.
    Only(Vec<String>),
    /// Whatever is wanted of its output, and these as well: the input passes through.
    Extra(Vec<String>),
}

impl Reads {
    /// What the input must provide when `output` is wanted; `None` = all columns.
    pub fn demand(&self, output: &Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        match self {
            Reads::All => None,
            Reads::Only(columns) => Some(columns.iter().cloned().collect()),
            Reads::Extra(columns) => output.as_ref().map(|o| o.iter().chain(columns).cloned().collect()),
        }
    }
}

/// Makes the stage of one worker, for input of exactly this schema (after column pruning).
pub type StageFactory = Arc<dyn Fn(&SchemaRef) -> Result<Box<dyn Stage>> + Send + Sync>;

/// Makes the operator of one worker; one schema per input port (after column pruning).
pub type OperatorFactory = Arc<dyn Fn(&[SchemaRef]) -> Result<Box<dyn Operator>> + Send + Sync>;

/// A node with state. Rows of epoch t arrive only while t is the lowest open epoch.
///
/// State is handed over as [`StateBlock`]s: at each checkpoint what has changed since the last one, and
/// at restore all of it, in the order in which it was handed over, already filtered to the key groups
/// of this worker.
pub trait Operator: 'static {
    /// Rows of epoch `epoch` on input `port`. May send at `epoch`.
    fn on_batch(&mut self, port: usize, epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()>;
    /// Epoch `epoch` is closed: send what waits for it. `watermark` is the one valid at its close,
    /// over all inputs; data of this epoch was to be judged against the previous one.
    fn on_close(&mut self, _epoch: Epoch, _watermark: Watermark, _out: &mut Emit) -> Result<()> {
        Ok(())
    }
    /// From when on it wants [`on_close`](Operator::on_close) although nothing comes: wall clock. Asked after
    /// every call; an epoch is ended for it once the clock is there.
    fn wake(&self) -> Option<Micros> {
        None
    }
    /// The watermark of what this operator puts out, given the one of its input at the same close.
    fn watermark(&self, input: Watermark) -> Watermark {
        input
    }
    /// Called once after `on_close` of a checkpoint epoch: hand over what changed since the last call.
    fn delta(&mut self, _out: &mut Vec<StateBlock>) -> Result<()> {
        Ok(())
    }
    /// Hands over everything, as blocks that alone restore the same state. Used on a throw-away
    /// instance, to compact a long row of deltas.
    ///
    /// # Errors
    /// By default, always: an operator that has a `delta` must have a `base`, or compaction would lose what
    /// it keeps.
    fn base(&mut self, _out: &mut Vec<StateBlock>) -> Result<()> {
        Err(crate::Problem::internal("an operator keeps state and cannot hand it over whole"))
    }
    /// Takes back what `delta` or `base` handed over, block by block, before the first batch.
    /// A row that belongs to another worker's key groups must be skipped: see [`StateBlock::rows`].
    fn restore(&mut self, _block: StateBlock, _groups: &KeyGroups) -> Result<()> {
        Ok(())
    }
    /// Rows, keys and bytes of state held, for metrics and budgets.
    fn size(&self) -> StateSize {
        StateSize::default()
    }
    /// Called once, behind [`restore`](Operator::restore) and before the first batch, on an instance that
    /// a job will run and that has [`pending`](Operator::pending) rows at times; never on one that only
    /// compacts state.
    fn start(&mut self, _context: &Context) -> Result<()> {
        Ok(())
    }
    /// Called whenever the operator gets a turn, also after [`Context::wake`]: may send at `epoch`, the
    /// lowest open one. True if it sent anything or its state has changed: then an epoch is to close, and a
    /// checkpoint to follow, even if nothing else comes.
    fn work(&mut self, _epoch: Epoch, _out: &mut Emit) -> Result<bool> {
        Ok(false)
    }
    /// For an operator that goes on working on what it has taken, outside of these calls: how many rows it
    /// still has. A job whose sources have ended does not end while there are any. `None`, always, for one
    /// that sends nothing by itself.
    fn pending(&self) -> Option<usize> {
        None
    }
}

/// What an operator is told of the job that runs it.
#[derive(Clone)]
pub struct Context {
    /// The number of its worker.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The account of batches alive, for a [`Charge`](crate::batch::Charge): at its limit sources stop reading.
    pub memory: Arc<AtomicU64>,
    /// Gives the operator a turn soon. May be called from any thread, also when the job is over.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Where the job runs what must not run on its workers.
    pub tokio: tokio::runtime::Handle,
}

/// How much state an operator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Distinct keys (or rows, where there are no keys).
    pub keys: u64,
    /// Bytes of memory, estimated.
    pub bytes: u64,
}

/// A piece of an operator's state, on its way to or from the store.
#[derive(Clone, Debug)]
pub struct StateBlock {
    /// What the operator keeps in it; operators with several tables name them.
    pub table: String,
    /// Groups blocks that die together (the end of a window, for example); 0 where nothing does.
    pub segment: i64,
    /// What to do with it.
    pub change: Change,
}

/// What a [`StateBlock`] says.
#[derive(Clone, Debug)]
pub enum Change {
    /// Rows to apply. The first column is `_group: UInt8`, the key group of each row; the other
    /// columns are the operator's own.
    Rows(RecordBatch),
    /// Everything handed over before for this table and segment is gone.
    Drop,
}

/// The key groups of one worker: `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroups {
    /// First group.
    pub from: usize,
    /// First group that is no longer this worker's.
    pub to: usize,
}

impl KeyGroups {
    /// All groups.
    pub const ALL: KeyGroups = KeyGroups { from: 0, to: crate::key::GROUPS };
    /// The groups of worker `worker` of `workers`.
    pub fn of(worker: usize, workers: usize) -> KeyGroups {
        let first = |w: usize| (w * crate::key::GROUPS).div_ceil(workers);
        KeyGroups { from: first(worker), to: first(worker + 1) }
    }
    /// True if the group is in the range.
    pub fn contains(&self, group: u8) -> bool {
        (self.from..self.to).contains(&usize::from(group))
    }
}
