//! The operator on one worker: what waits, what is in flight, what leaves.

use super::saved::{Chunk, LEFT, ROWS, chunks, ids, left_block, row_bytes, rows_blocks};
use super::slots::{Runs, Slots};
use super::task::{self, Answer, Function, Outcome, Task};
use super::{Call, Calls};
use crate::Result;
use crate::batch::{BATCH_ROWS, Batch, Charge};
use crate::operator::{Change, Context, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use arrow::array::{BooleanArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A call under way, or one whose answer waits for an older one.
struct Flight {
    chunk: Chunk,
    _task: Task,
    outcome: Option<Outcome>,
}

pub(super) struct Caller {
    calls: Calls,
    /// Rows per call, at most.
    rows_max: usize,
    input: SchemaRef,
    function: Function,
    runs: Runs,
    /// `None` on an instance that only compacts state.
    running: Option<(Context, Arc<Slots>)>,
    waiting: VecDeque<Chunk>,
    /// In the order in which they were started, which is that in which their rows came.
    flights: BTreeMap<u64, Flight>,
    started: u64,
    answers: (Sender<(u64, Outcome)>, Receiver<(u64, Outcome)>),
    next_id: u64,
    /// Rows that are in a block and have left since the last delta.
    left: Vec<(u8, u64)>,
    /// How many rows are here that were at the checkpoint from which the run went on.
    restored: usize,
    /// How many rows here hold the watermark back at this value.
    marks: BTreeMap<i64, usize>,
    /// The watermark of the input at the last close.
    watermark: Watermark,
    size: StateSize,
}

impl Caller {
    pub fn new(calls: Calls, rows_max: usize, input: SchemaRef, function: Function, runs: Runs) -> Caller {
        Caller {
            calls,
            rows_max,
            input,
            function,
            runs,
            running: None,
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            started: 0,
            answers: channel(),
            next_id: 0,
            left: Vec::new(),
            restored: 0,
            marks: BTreeMap::new(),
            watermark: Watermark::UNKNOWN,
            size: StateSize::default(),
        }
    }

    /// All rows that are here, in the order in which they came.
    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.flights.values().map(|f| &f.chunk).chain(&self.waiting)
    }

    fn wait(&mut self, chunk: Chunk) {
        *self.marks.entry(chunk.mark).or_default() += chunk.len();
        self.size.keys += chunk.len() as u64;
        self.size.bytes += chunk.bytes();
        self.waiting.push_back(chunk);
    }

    fn number(&mut self, rows: usize, workers: usize) -> UInt64Array {
        let first = self.next_id;
        self.next_id += (rows * workers) as u64;
        UInt64Array::from_iter_values((0..rows).map(|n| first + (n * workers) as u64))
    }

    /// Starts as many calls as there are slots.
    fn call(&mut self) {
        let Some((context, slots)) = &self.running else { return };
        while self.flights.len() < self.calls.in_flight {
            let Some(front) = self.waiting.front_mut() else { return };
            let Some(slot) = slots.take(context.worker, &context.wake) else { return };
            let chunk = front.split(self.rows_max);
            if front.len() == 0 {
                self.waiting.pop_front();
            }
            self.started += 1;
            let wake = Arc::clone(&context.wake);
            let answer = Answer { call: self.started, to: self.answers.0.clone(), wake, given: false };
            let call = Call { batch: chunk.batch.clone(), again: chunk.again };
            let task = task::start(&context.tokio, &self.function, self.calls, call, slot, answer);
            self.flights.insert(self.started, Flight { chunk, _task: task, outcome: None });
        }
    }

    /// The calls whose rows may leave now, in the order in which they are to leave.
    fn answered(&mut self, epoch: Epoch) -> Vec<(Chunk, Outcome)> {
        let mut ready = Vec::new();
        for (call, outcome) in self.answers.1.try_iter() {
            match self.flights.get_mut(&call) {
                Some(flight) if self.calls.ordered => flight.outcome = Some(outcome),
                Some(_) => ready.extend(self.flights.remove(&call).map(|f| (f.chunk, outcome))),
                None => {}
            }
        }
        let behind = self.running.as_ref().is_some_and(|(_, slots)| slots.behind_restored(epoch));
        let leaves = |flight: &Flight| flight.outcome.is_some() && (behind || flight.chunk.again);
        while let Some(first) = self.flights.first_entry().filter(|f| leaves(f.get())) {
            let flight = first.remove();
            ready.extend(flight.outcome.map(|outcome| (flight.chunk, outcome)));
        }
        ready
    }

    fn leave(&mut self, chunk: &Chunk, outcome: Outcome, sent: &mut Vec<(usize, Batch)>, out: &mut Emit) {
        let rows = chunk.len();
        match outcome {
            Outcome::Done(emit) => {
                let known = emit.out.iter().map(|(_, b)| b.len()).sum::<usize>() + emit.rejected.len();
                let silent = (rows as u64).saturating_sub(known as u64 + emit.filtered);
                out.filtered += emit.filtered + silent;
                out.rejected.extend(emit.rejected);
                sent.extend(emit.out);
            }
            Outcome::Failed { code, message } => {
                (0..rows).for_each(|row| out.reject(&chunk.batch, row, code, &*message));
            }
        }
        if let Some(held) = self.marks.get_mut(&chunk.mark) {
            *held -= rows;
            if *held == 0 {
                self.marks.remove(&chunk.mark);
            }
        }
        self.size.keys -= rows as u64;
        self.size.bytes -= chunk.bytes();
        if chunk.saved {
            self.left.extend(chunk.ids.values().iter().map(|id| (chunk.group, *id)));
        }
    }
}

impl Operator for Caller {
    fn start(&mut self, context: &Context) -> Result<()> {
        // Numbers of this run are above those of the state, which every worker has seen whole.
        self.next_id += 1 + context.worker as u64;
        for chunk in &mut self.waiting {
            chunk.batch.charge = Some(Charge::new(chunk.bytes(), &context.memory));
        }
        let slots = Slots::join(&self.runs, self.calls.in_flight, context);
        self.restored = self.waiting.iter().map(Chunk::len).sum();
        if self.restored == 0 {
            slots.restored_left(0);
        }
        self.running = Some((context.clone(), slots));
        (context.wake)();
        Ok(())
    }

    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        let (worker, workers) = self.running.as_ref().map_or((0, 1), |(c, _)| (c.worker, c.workers));
        let columns: Vec<&str> = self.input.fields().iter().map(|f| f.name().as_str()).collect();
        let batch = insertions(batch.project(&columns), out);
        if batch.is_empty() {
            return Ok(());
        }
        // See the module: rows whose order counts meet on one worker after a restart.
        let first = if self.calls.ordered { 0 } else { KeyGroups::of(worker, workers).from };
        let group = u8::try_from(first).expect("there are 256 groups");
        let (ids, row_bytes) = (self.number(batch.len(), workers), row_bytes(&batch.rows));
        self.wait(Chunk { ids, batch, mark: self.watermark.0, group, again: false, saved: false, row_bytes });
        self.call();
        Ok(())
    }

    fn work(&mut self, epoch: Epoch, out: &mut Emit) -> Result<bool> {
        let ready = self.answered(epoch);
        let any = !ready.is_empty();
        let mut sent = Vec::new();
        for (chunk, outcome) in ready {
            self.leave(&chunk, outcome, &mut sent, out);
            if chunk.again {
                self.restored -= chunk.len();
                if let (0, Some((_, slots))) = (self.restored, &self.running) {
                    slots.restored_left(epoch);
                }
            }
        }
        pack(sent, out)?;
        self.call();
        Ok(any)
    }

    fn pending(&self) -> Option<usize> {
        Some(usize::try_from(self.size.keys).unwrap_or(usize::MAX))
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, _out: &mut Emit) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn watermark(&self, input: Watermark) -> Watermark {
        self.marks.keys().next().map_or(input, |oldest| input.min(Watermark(*oldest)))
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.extend(left_block(std::mem::take(&mut self.left)));
        out.extend(rows_blocks(self.chunks().filter(|c| !c.saved))?);
        self.flights.values_mut().map(|f| &mut f.chunk).chain(&mut self.waiting).for_each(|c| c.saved = true);
        Ok(())
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.extend(rows_blocks(self.chunks())?);
        Ok(())
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        let Change::Rows(rows) = &block.change else { return Ok(()) };
        if block.table == ROWS {
            self.next_id = ids(rows)?.values().iter().copied().fold(self.next_id, u64::max);
            chunks(rows, &self.input, groups)?.into_iter().for_each(|chunk| self.wait(chunk));
        } else if block.table == LEFT {
            let gone: HashSet<u64> = ids(rows)?.values().iter().copied().collect();
            let before = std::mem::take(&mut self.waiting);
            (self.marks, self.size) = (BTreeMap::new(), StateSize::default());
            for mut chunk in before {
                chunk.without(&gone);
                if chunk.len() > 0 {
                    self.wait(chunk);
                }
            }
        }
        Ok(())
    }

    fn size(&self) -> StateSize {
        self.size
    }
}

/// Refuses rows that are not insertions.
fn insertions(batch: Batch, out: &mut Emit) -> Batch {
    let Some(diff) = &batch.diff else { return batch };
    let once: BooleanArray = diff.values().iter().map(|d| Some(*d == 1)).collect();
    for row in (0..batch.len()).filter(|row| !once.value(*row)) {
        out.reject(&batch, row, "CALL-DIFF", "a call takes rows that come once, not changes");
    }
    Batch { diff: None, ..batch.filter(&once) }
}

/// Sends many small batches as few large ones, each port's in order.
fn pack(sent: Vec<(usize, Batch)>, out: &mut Emit) -> Result<()> {
    let mut ports: BTreeMap<usize, (usize, Vec<Batch>)> = BTreeMap::new();
    for (port, batch) in sent.into_iter().filter(|(_, b)| !b.is_empty()) {
        let (rows, run) = ports.entry(port).or_default();
        let joins = |first: &Batch| first.diff.is_none() && batch.diff.is_none() && first.schema() == batch.schema();
        if *rows + batch.len() > BATCH_ROWS || !run.first().is_none_or(joins) {
            flush(port, std::mem::take(run), out)?;
            *rows = 0;
        }
        *rows += batch.len();
        run.push(batch);
    }
    ports.into_iter().try_for_each(|(port, (_, run))| flush(port, run, out))
}

fn flush(port: usize, mut run: Vec<Batch>, out: &mut Emit) -> Result<()> {
    let batch = match run.len() {
        0 => return Ok(()),
        1 => run.remove(0),
        _ => {
            let rows = concat_batches(&run[0].schema(), run.iter().map(|b| &b.rows));
            Batch::new(rows.map_err(|e| crate::Problem::internal(format!("answers cannot be put together: {e}")))?)
        }
    };
    for from in (0..batch.len()).step_by(BATCH_ROWS) {
        out.send_to(port, batch.slice(from, BATCH_ROWS.min(batch.len() - from)));
    }
    Ok(())
}
