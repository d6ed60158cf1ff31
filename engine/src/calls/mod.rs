//! Calls: work that waits (asynchronous) or computes for long (blocking), done beside the dataflow.
//!
//! ```text
//!   rows --> [ waiting | in flight (bounded) | answered ] --> rows, in the epoch in which the answer comes
//!                 |           ^      |
//!                 |           |      v
//!                 |       tasks of the job's tokio runtime, or its threads for blocking work
//!                 +--- all three are state: part of every checkpoint
//! ```
//!
//! One [`Operator`](crate::operator::Operator) on each worker, with a wake-up: an answer activates it, and it
//! sends what has come in the lowest open epoch. It needs no form of node of its own: order of epochs, deltas,
//! restore, compaction and watermarks are those of every operator, so a checkpoint is right for the same reason.
//!
//! * **A slow call holds nothing.** The operator never keeps an epoch open. At the close of a checkpoint its
//!   delta holds the rows that came in this epoch or an earlier one and have not left in it: those that wait,
//!   that are in flight, and whose answer waits for an older one. A row is written once, when the first
//!   checkpoint meets it, and once more (its number) when it has left.
//! * **Bounded.** At most [`Calls::new`]'s number of calls is in flight in the whole job; its workers share the
//!   slots. With order kept, a call counts until its rows have left. Rows beyond that wait as the batches they
//!   came in, and count against the job's memory: at the limit sources stop reading.
//! * **No deadlock.** Calls wait for no epoch, no memory and no other operator, so each comes to its answer or
//!   its timeout; an answer needs nothing but a turn of its worker to leave; leaving frees the memory for
//!   which sources wait. Since no epoch is held open, the limit on open epochs never waits for a call.
//! * **Watermark.** What is sent behind the operator is as old as the row it came from. So the output's
//!   watermark is that of the input, but at most the one that was valid before the epoch of the oldest row
//!   that is still here.
//! * **The end.** A job whose sources have ended goes on, epochs and checkpoints with it, until all calls have
//!   been answered and what came of them has gone through the calls further down. A drained stop waits for no
//!   call: the last checkpoint holds its row.
//! * **After a restart** what was in flight is called again, and the call is told ([`Call::again`]). Rows go
//!   to the worker that owns their key group: the first one of the worker that took them in. Where order is
//!   kept that is group 0, so that all of them are on one worker, the older ones first; and rows that come
//!   anew leave only in epochs behind the last one in which a restored row has left, on any worker. So rows
//!   of one partition, or of one key behind an exchange, stay in order over restarts on any number of workers.
//!   The columns of the input may change in between as far as stored rows can be read: [`crate::meaning`].
//! * **Failure.** An error, a panic or a timeout makes dead letters of the call's rows (`CALL-FAILED`,
//!   `CALL-PANIC`, `CALL-TIMEOUT`), by the node's error policy. Trying again is the function's own business.
//!   Rows with a weight other than 1 are refused (`CALL-DIFF`): nobody knows whether the answer to a
//!   retraction would be the one that is to be retracted.
//!
//! A blocking call cannot be stopped: after its timeout its row is a dead letter, but its slot is free only
//! when it returns.

mod operator;
mod saved;
mod slots;
mod task;

use crate::Result;
use crate::batch::Batch;
use crate::meaning::Meaning;
use crate::operator::{Emit, Operator, Reads};
use crate::plan::Work;
use arrow::datatypes::{FieldRef, SchemaRef};
use operator::Caller;
use slots::Runs;
use std::sync::Arc;
use std::time::Duration;
use task::Function;

/// How many calls at once, and what becomes of their answers. A number stands for that many, in order,
/// without a timeout.
///
/// ```
/// use millstream::calls::Calls;
/// use std::time::Duration;
///
/// let patient: Calls = 32.into();
/// let hasty = Calls::new(32).unordered().timeout(Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    in_flight: usize,
    ordered: bool,
    timeout: Option<Duration>,
}

impl Calls {
    /// At most so many calls are in flight in the whole job, at least 1.
    pub fn new(in_flight: usize) -> Calls {
        Calls { in_flight: in_flight.max(1), ordered: true, timeout: None }
    }
    /// Rows leave as their answers come. Otherwise they leave in the order in which they came to their
    /// worker, and one slow call lets at most as many others run ahead of it as may be in flight.
    pub fn unordered(mut self) -> Calls {
        self.ordered = false;
        self
    }
    /// A call that takes longer than this makes dead letters of its rows. An asynchronous one is dropped
    /// where it waits.
    pub fn timeout(mut self, limit: Duration) -> Calls {
        self.timeout = Some(limit);
        self
    }
}

impl From<usize> for Calls {
    fn from(in_flight: usize) -> Calls {
        Calls::new(in_flight)
    }
}

/// What a function is called with.
#[derive(Clone, Debug)]
pub struct Call {
    /// At least one row, of one batch, with the columns that were asked for.
    pub batch: Batch,
    /// True if these rows were here at the checkpoint from which the job went on: the call may have been
    /// made before. False says less: what a source reads a second time after a crash comes as new.
    pub again: bool,
}

/// The work of a node that calls an asynchronous function, on the job's tokio runtime.
///
/// `input` names the columns that it gets, `rows` how many rows (of one batch) it takes at once at most. The
/// function must not compute for long: it would hold up the other calls of the job. What it returns is sent
/// in the epoch in which it comes; a row that is neither sent nor refused counts as filtered. An error makes
/// dead letters of all rows of the call, with the problem's code if it is a fixed one.
///
/// ```
/// use millstream::calls::{self, Call, Calls};
/// use millstream::operator::Emit;
/// use millstream::plan::{Input, Pipeline};
/// # use millstream::arrow::datatypes::{DataType, Field, Schema};
/// # use std::sync::Arc;
/// # let schema = Arc::new(Schema::new(vec![Field::new("url", DataType::Utf8, false)]));
/// # let mut pipeline = Pipeline::new("probe");
/// # let source = pipeline.union("rows", vec![]);
/// let probe = |call: Call| async move {
///     let mut out = Emit::default();
///     // .. ask, and make columns of the answers ..
///     out.send(call.batch);
///     Ok(out)
/// };
/// let work = calls::asynchronous(Calls::new(32), 1, &schema, probe);
/// pipeline.operator("probe", "calls", vec![Input::from(source)], vec![schema], work);
/// ```
pub fn asynchronous<F, R>(calls: Calls, rows: usize, input: &SchemaRef, call: F) -> Work
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Emit>> + Send + 'static,
{
    work(calls, rows, input, Function::Async(Arc::new(move |c| Box::pin(call(c)))))
}

/// The work of a node that calls a function which computes for long, or blocks: like [`asynchronous`], but
/// each call has a thread of its own while it runs, beside the dataflow.
pub fn blocking<F>(calls: Calls, rows: usize, input: &SchemaRef, call: F) -> Work
where
    F: Fn(Call) -> Result<Emit> + Send + Sync + 'static,
{
    work(calls, rows, input, Function::Blocking(Arc::new(call)))
}

fn work(calls: Calls, rows: usize, input: &SchemaRef, function: Function) -> Work {
    let reads = vec![Reads::Only(input.fields().iter().map(|f| f.name().clone()).collect())];
    let fingerprint = meaning(input).fingerprint();
    let input = Arc::clone(input);
    // The instances of one run find each other here. Nobody else holds the slots: those of a run that is
    // over go with it, also where calls of it never return.
    let runs = Runs::default();
    let make = move |_: &[SchemaRef]| {
        let caller = Caller::new(calls, rows.max(1), Arc::clone(&input), function.clone(), Arc::clone(&runs));
        Ok(Box::new(caller) as Box<dyn Operator>)
    };
    Work::Operator { factory: Arc::new(make), reads, fingerprint }
}

/// Rows wait for whatever function the node now has; its input may change as far as they can be read.
fn meaning(input: &SchemaRef) -> Meaning {
    let required = |nullable: bool| if nullable { "" } else { "!" };
    let field = |f: &FieldRef| (f.name().clone(), format!("{}{}", f.data_type(), required(f.is_nullable())));
    Meaning { kind: "calls".into(), fields: input.fields().iter().map(field).collect(), ..Meaning::default() }
}
