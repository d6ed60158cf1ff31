//! [`SessionAggregate`]: a GROUP BY over sessions, per key the rows that follow each other closely.

use super::aggregate::send_in_batches;
use super::expr::failed;
use super::place::send_late;
use super::plan::{Evaluated, Plan, States};
use super::segment::{Closed, groups_of, held_back, own_rows};
use super::spec::{AggregateSpec, Window};
use super::table::Groups;
use super::{LATE, RESULTS};
use crate::batch::{Batch, record_batch};
use crate::meaning::fitted;
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::Accumulator;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SESSIONS: &str = "sessions";

/// Forgotten keys are swept out once there are this many and they outnumber the live ones. Few in tests,
/// so that random scripts reach it.
const DEAD_KEYS_MIN: usize = if cfg!(test) { 2 } else { 1_024 };

/// What an accumulator takes, estimated.
const ACCUMULATOR_BYTES: usize = 64;

/// Aggregates per key and session; a session's row leaves when it closes.
///
/// Rows of a key at most `gap_us` apart share a session; it starts with its first row and ends `gap_us`
/// after its last. Rows wait for the close of their epoch, so that neither their order nor their batches
/// decide which sessions they join: a row is late when the session it would be in, with all rows of
/// its epoch, is closed.
///
/// Input and output as [`super::WindowAggregate`] over raw rows.
/// State: open sessions, each handed over whole when it changed, in segments by its end. A session that
///        grew replaces, on restore, the sessions it overlaps; so nothing is ever taken back by name.
pub struct SessionAggregate {
    plan: Plan,
    gap: i64,
    groups: Groups,
    /// The sessions of each group, apart from each other by more than the gap, in order.
    sessions: Vec<Vec<Session>>,
    /// `(end, group)` of every session.
    by_end: BTreeSet<(i64, usize)>,
    /// The rows of this epoch.
    pending: Vec<Evaluated>,
    closed: Closed,
    saved_segments: BTreeSet<i64>,
    block_schema: SchemaRef,
}

struct Session {
    start: i64,
    end: i64,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Changed since the last delta.
    changed: bool,
}

/// A row of `pending`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    group: usize,
    time: i64,
    batch: usize,
    row: u32,
}

impl SessionAggregate {
    /// Errors: `WINDOW-SIZE` for a gap that is not positive.
    pub fn new(spec: AggregateSpec) -> Result<SessionAggregate> {
        let Window::Session { gap_us: gap, .. } = spec.window else {
            return Err(Problem::internal("the session operator is for session windows"));
        };
        if gap <= 0 {
            return Err(Problem::error("WINDOW-SIZE", "a session needs a positive gap").found(format!("{gap} us")));
        }
        let plan = Plan::new(spec)?;
        Ok(SessionAggregate {
            groups: Groups::new(&plan.key_types)?,
            block_schema: plan.block_schema(),
            plan,
            gap,
            sessions: Vec::new(),
            by_end: BTreeSet::new(),
            pending: Vec::new(),
            closed: Closed::default(),
            saved_segments: BTreeSet::new(),
        })
    }

    /// The end of the segment a session is handed over in.
    fn segment(&self, end: i64) -> i64 {
        let below = end.div_euclid(self.gap).saturating_mul(self.gap);
        if below == end { end } else { below.saturating_add(self.gap) }
    }

    /// All rows of the epoch, by key and time.
    fn sorted_rows(&mut self) -> Result<Vec<Row>> {
        let (mut rows, mut numbers) = (Vec::new(), Vec::new());
        for (batch, pending) in self.pending.iter().enumerate() {
            self.groups.intern(&pending.inputs.keys, pending.inputs.rows, &mut numbers)?;
            let times = pending.times.end.values();
            let each = numbers.iter().zip(times).zip(0u32..);
            rows.extend(each.map(|((&group, &time), row)| Row { group, time, batch, row }));
        }
        self.sessions.resize_with(self.groups.len(), Vec::new);
        rows.sort_unstable();
        Ok(rows)
    }

    /// Applies the rows of the epoch.
    fn apply(&mut self, out: &mut Emit) -> Result<()> {
        let rows = self.sorted_rows()?;
        let mut late = Vec::new();
        for of_key in rows.chunk_by(|a, b| a.group == b.group) {
            self.apply_key(of_key, &mut late)?;
        }
        late.sort_unstable_by_key(|row| (row.batch, row.row));
        for of_batch in late.chunk_by(|a, b| a.batch == b.batch) {
            let rows = UInt32Array::from_iter_values(of_batch.iter().map(|r| r.row));
            send_late(&self.pending[of_batch[0].batch].batch, &[rows], LATE, out);
        }
        self.pending.clear();
        Ok(())
    }

    /// Joins the rows of one key with each other and with its open sessions.
    fn apply_key(&mut self, rows: &[Row], late: &mut Vec<Row>) -> Result<()> {
        let (group, gap) = (rows[0].group, self.gap);
        for run in rows.chunk_by(|a, b| b.time <= a.time.saturating_add(gap)) {
            let (start, end) = (run[0].time, run[run.len() - 1].time.saturating_add(gap));
            let (from, to) = self.touching(group, start, end);
            if from == to && end <= self.closed.until {
                late.extend_from_slice(run);
                continue;
            }
            let mut session = self.take_sessions(group, from, to, start, end)?;
            for of_batch in run.chunk_by(|a, b| a.batch == b.batch) {
                self.update(&mut session, of_batch)?;
            }
            self.by_end.insert((session.end, group));
            self.sessions[group].insert(from, session);
        }
        Ok(())
    }

    /// The range of a key's sessions that are at most the gap away from `start..=end`. They lie in order
    /// and apart, and both a session and the run reach a gap beyond their last row.
    fn touching(&self, group: usize, start: i64, end: i64) -> (usize, usize) {
        let sessions = &self.sessions[group];
        (sessions.partition_point(|s| s.end < start), sessions.partition_point(|s| s.start <= end))
    }

    /// Takes out these sessions of a key and joins them into one that covers `start..end` too.
    fn take_sessions(&mut self, group: usize, from: usize, to: usize, start: i64, end: i64) -> Result<Session> {
        let mut joined = None::<Session>;
        for mut session in self.sessions[group].drain(from..to) {
            self.by_end.remove(&(session.end, group));
            let Some(into) = &mut joined else {
                joined = Some(session);
                continue;
            };
            for (to, from) in into.accumulators.iter_mut().zip(&mut session.accumulators) {
                to.merge_batch(&arrays(from.state().map_err(failed)?)?).map_err(failed)?;
            }
            into.end = session.end;
        }
        let joined = joined.map_or_else(|| self.empty(start, end), Ok)?;
        Ok(Session { start: joined.start.min(start), end: joined.end.max(end), changed: true, ..joined })
    }

    fn empty(&self, start: i64, end: i64) -> Result<Session> {
        let accumulators = self.plan.spec.aggregates.iter().map(|a| a.function.create_accumulator().map_err(failed));
        Ok(Session { start, end, accumulators: accumulators.collect::<Result<_>>()?, changed: false })
    }

    /// Adds rows of one batch to a session.
    fn update(&self, session: &mut Session, rows: &[Row]) -> Result<()> {
        let inputs = &self.pending[rows[0].batch].inputs;
        let indices = UInt32Array::from_iter_values(rows.iter().map(|r| r.row));
        let each = session.accumulators.iter_mut().zip(inputs.args.iter().zip(&inputs.filters));
        for (accumulator, (args, mask)) in each {
            let mut args = args.iter().map(|a| take(a, &indices, None)).collect::<Result<Vec<_>, _>>();
            if let (Some(mask), Ok(taken)) = (mask, &args) {
                let mask = take(mask, &indices, None).map_err(super::expr::kernel)?;
                args = taken.iter().map(|a| filter(a, mask.as_boolean())).collect();
            }
            accumulator.update_batch(&args.map_err(super::expr::kernel)?).map_err(failed)?;
        }
        Ok(())
    }

    /// Sends the sessions that are closed, in order of their ends.
    fn emit_closed(&mut self, out: &mut Emit) -> Result<()> {
        let mut due = Vec::new();
        while let Some((end, group)) = self.by_end.first().copied().filter(|(end, _)| *end <= self.closed.until) {
            self.by_end.pop_first();
            let sessions = &mut self.sessions[group];
            let at = sessions.iter().position(|s| s.end == end).expect("`by_end` names open sessions");
            due.push((group, sessions.remove(at)));
        }
        if due.is_empty() {
            return Ok(());
        }
        due.sort_by_key(|(_, s)| (s.end, s.start));
        let keys = self.groups.keys_of(&due.iter().map(|(g, _)| *g).collect::<Vec<_>>())?;
        let time = |of: fn(&Session) -> i64| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter_values(due.iter().map(|(_, s)| of(s)));
            Arc::new(times.with_timezone("UTC"))
        };
        let (starts, ends) = (time(|s| s.start), time(|s| s.end));
        let values = (0..self.plan.spec.aggregates.len()).map(|a| {
            let values = due.iter_mut().map(|(_, s)| s.accumulators[a].evaluate().map_err(failed));
            column(values.collect::<Result<Vec<_>>>()?)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        send_in_batches(&self.plan.output_rows(due.len(), keys, starts, ends, values)?, RESULTS, out);
        self.forget_keys()
    }

    /// Makes the table of keys anew when most of its keys have no session left.
    fn forget_keys(&mut self) -> Result<()> {
        let live: Vec<usize> = (0..self.sessions.len()).filter(|g| !self.sessions[*g].is_empty()).collect();
        if self.sessions.len() - live.len() < DEAD_KEYS_MIN.max(live.len()) {
            return Ok(());
        }
        let mut groups = Groups::new(&self.plan.key_types)?;
        groups.intern(&self.groups.keys_of(&live)?, live.len(), &mut Vec::new())?;
        self.groups = groups;
        let mut kept: Vec<_> = std::mem::take(&mut self.sessions);
        self.sessions = live.iter().map(|g| std::mem::take(&mut kept[*g])).collect();
        let ends = self.sessions.iter().enumerate();
        self.by_end = ends.flat_map(|(g, of)| of.iter().map(move |s| (s.end, g))).collect();
        Ok(())
    }

    /// Sessions as blocks, by segment; all of them or those that changed.
    fn blocks(&mut self, all: bool, out: &mut Vec<StateBlock>) -> Result<()> {
        let mut segments: BTreeMap<i64, Vec<(usize, usize)>> = BTreeMap::new();
        for (group, sessions) in self.sessions.iter().enumerate() {
            for (at, session) in sessions.iter().enumerate().filter(|(_, s)| all || s.changed) {
                segments.entry(self.segment(session.end)).or_default().push((group, at));
            }
        }
        for (segment, which) in segments {
            let rows = self.state_rows(&which)?;
            self.saved_segments.insert(segment);
            out.push(StateBlock { table: SESSIONS.into(), segment, change: Change::Rows(rows) });
        }
        Ok(())
    }

    fn state_rows(&mut self, which: &[(usize, usize)]) -> Result<RecordBatch> {
        let rows = which.len();
        let keys = self.groups.keys_of(&which.iter().map(|(g, _)| *g).collect::<Vec<_>>())?;
        let time = |of: fn(&Session) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(which.iter().map(|(g, s)| of(&self.sessions[*g][*s]))))
        };
        let mut columns = vec![groups_of(&keys, rows)?, time(|s| s.end), time(|s| s.start)];
        columns.extend(keys);
        let mut states = vec![Vec::with_capacity(rows); self.plan.states.iter().map(Vec::len).sum()];
        for (group, at) in which {
            let session = &mut self.sessions[*group][*at];
            let values = session.hand_over(&self.plan)?;
            session.changed = false;
            states.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        for values in states {
            columns.push(column(values)?);
        }
        Ok(record_batch(Arc::clone(&self.block_schema), columns, rows))
    }

    /// Puts a session in place of those it touches.
    fn put(&mut self, group: usize, session: Session) {
        let (from, to) = self.touching(group, session.start, session.end);
        for old in self.sessions[group].drain(from..to) {
            self.by_end.remove(&(old.end, group));
        }
        self.by_end.insert((session.end, group));
        self.sessions[group].insert(from, session);
    }

    fn restore_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let time = |i: usize| rows.column(i).as_primitive::<Int64Type>().values().clone();
        let (ends, starts) = (time(1), time(2));
        let states = States::of(rows, 3, self.plan.key_types.len());
        let mut numbers = Vec::new();
        self.groups.intern(&states.keys, states.rows, &mut numbers)?;
        self.sessions.resize_with(self.groups.len(), Vec::new);
        let until = self.closed.until;
        for row in (0..states.rows).filter(|row| ends[*row] > until) {
            let mut session = self.empty(starts[row], ends[row])?;
            let mut at = 0;
            for (accumulator, fields) in session.accumulators.iter_mut().zip(&self.plan.states) {
                let values = states.states[at..at + fields.len()].iter().map(|c| c.slice(row, 1));
                accumulator.merge_batch(&values.collect::<Vec<_>>()).map_err(failed)?;
                at += fields.len();
            }
            self.put(numbers[row], session);
        }
        Ok(())
    }

    /// Forgets, without a word, what was emitted before the state was handed over.
    fn forget_closed(&mut self) {
        let until = self.closed.until;
        self.by_end.retain(|(end, _)| *end > until);
        self.sessions.iter_mut().for_each(|of| of.retain(|s| s.end > until));
    }
}

impl Session {
    /// Its states. Asking for them may use an accumulator up, so they are put into new ones.
    fn hand_over(&mut self, plan: &Plan) -> Result<Vec<ScalarValue>> {
        let mut values = Vec::new();
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&plan.spec.aggregates) {
            let state = accumulator.state().map_err(failed)?;
            *accumulator = aggregate.function.create_accumulator().map_err(failed)?;
            accumulator.merge_batch(&arrays(state.clone())?).map_err(failed)?;
            values.extend(state);
        }
        Ok(values)
    }
}

fn column(values: Vec<ScalarValue>) -> Result<ArrayRef> {
    ScalarValue::iter_to_array(values).map_err(failed)
}

fn arrays(values: Vec<ScalarValue>) -> Result<Vec<ArrayRef>> {
    values.into_iter().map(|v| v.to_array().map_err(failed)).collect()
}

impl Operator for SessionAggregate {
    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        self.pending.extend(self.plan.evaluate(batch, out)?);
        Ok(())
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        self.apply(out)?;
        match self.closed.advance(watermark, self.plan.spec.allowed_lateness_us) {
            true => self.emit_closed(out),
            false => Ok(()),
        }
    }

    fn watermark(&self, input: Watermark) -> Watermark {
        held_back(input, self.plan.spec.allowed_lateness_us)
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.delta(out);
        let open = self.saved_segments.split_off(&self.closed.until.saturating_add(1));
        for segment in std::mem::replace(&mut self.saved_segments, open) {
            out.push(StateBlock { table: SESSIONS.into(), segment, change: Change::Drop });
        }
        self.blocks(false, out)
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.base(out);
        self.blocks(true, out)
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        if self.closed.restore(&block)? {
            self.forget_closed();
            return Ok(());
        }
        // A segment is dropped when everything in it is closed, and that the watermark says too.
        let Change::Rows(rows) = &block.change else {
            self.saved_segments.remove(&block.segment);
            return Ok(());
        };
        let rows = fitted(&block, &own_rows(&block, rows, groups)?, &self.block_schema)?;
        self.saved_segments.insert(block.segment);
        self.restore_rows(&rows)
    }

    fn size(&self) -> StateSize {
        // Not asked of every accumulator: this is called at each close.
        let accumulator = size_of::<Box<dyn Accumulator>>() + ACCUMULATOR_BYTES;
        let session = size_of::<(i64, usize, Session)>() + self.plan.spec.aggregates.len() * accumulator;
        let sessions = self.by_end.len() * session;
        StateSize { keys: self.by_end.len() as u64, bytes: (self.groups.bytes() + sessions) as u64 }
    }
}
