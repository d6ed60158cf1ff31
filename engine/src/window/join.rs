//! [`WindowJoin`]: rows of two inputs with equal keys in the same window.

use super::place::{Spread, send_late, spread};
use super::plan::{Times, refuse_null_times};
use super::segment::{Closed, groups_of, held_back, own_rows, state_schema};
use super::spec::{JoinKind, JoinSpec, WindowEnd};
use super::table::Groups;
use super::{LATE, LATE_RIGHT, RESULTS, expr};
use crate::batch::{BATCH_ROWS, Batch, record_batch};
use crate::meaning::fitted;
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{Field, Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];

/// Pairs rows of two inputs; the pairs of a window leave when it closes.
///
/// Input:  port 0 the left rows, port 1 the right ones, in any order.
/// Output: port 0, `spec.output`: pairs and, for a left join, left rows without a partner beside NULLs;
///         in batches of at most 8,192 rows, windows in order of their end. Port 1, late left rows;
///         port 2, late right rows.
/// State:  the rows of open windows, in one segment per window end. Deltas append.
/// Errors: a row without a window end is refused (`WINDOW-NULL-TIME`). A key or residual that fails to
///         evaluate (`EXPR-…`) refuses the left or right row over which it fails.
pub struct WindowJoin {
    spec: JoinSpec,
    sides: [Side; 2],
    windows: BTreeMap<i64, [Rows; 2]>,
    closed: Closed,
    dropped: BTreeSet<i64>,
}

/// What is the same for all rows of one input.
struct Side {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    end: WindowEnd,
    late_port: usize,
    schema: SchemaRef,
    block_schema: SchemaRef,
}

/// The rows of one input in one window.
#[derive(Default)]
struct Rows {
    batches: Vec<RecordBatch>,
    /// How many of them have been handed over.
    saved: usize,
    size: StateSize,
}

impl Rows {
    fn push(&mut self, rows: RecordBatch) {
        self.size.keys += rows.num_rows() as u64;
        self.size.bytes += rows.get_array_memory_size() as u64;
        self.batches.push(rows);
    }
}

impl WindowJoin {
    /// Errors: none yet; types are the planner's business.
    pub fn new(spec: JoinSpec) -> Result<WindowJoin> {
        let side = |keys: &Vec<_>, end, late_port, schema: &SchemaRef| Side {
            keys: keys.clone(),
            end,
            late_port,
            schema: Arc::clone(schema),
            block_schema: state_schema(schema.fields().iter().map(|f| Field::clone(f))),
        };
        Ok(WindowJoin {
            sides: [
                side(&spec.left_keys, spec.left_end, LATE, &spec.left),
                side(&spec.right_keys, spec.right_end, LATE_RIGHT, &spec.right),
            ],
            spec,
            windows: BTreeMap::new(),
            closed: Closed::default(),
            dropped: BTreeSet::new(),
        })
    }

    /// Joins the rows of one window.
    fn join(&self, window: [Rows; 2], out: &mut Emit) -> Result<()> {
        let [left, right] = window;
        if left.batches.is_empty() || (right.batches.is_empty() && self.spec.kind == JoinKind::Inner) {
            return Ok(());
        }
        let left = concat_batches(&self.spec.left, &left.batches).map_err(expr::kernel)?;
        let right = concat_batches(&self.spec.right, &right.batches).map_err(expr::kernel)?;
        let pairs = Pairs::new(&self.sides, &left, &right)?;
        let mut matched = vec![false; left.num_rows()];
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for row in 0..left.num_rows() {
            for partner in pairs.partners(row) {
                lefts.push(row as u32);
                rights.push(*partner);
                if lefts.len() == BATCH_ROWS {
                    self.send_pairs(&left, &right, &mut lefts, &mut rights, &mut matched, out)?;
                }
            }
        }
        self.send_pairs(&left, &right, &mut lefts, &mut rights, &mut matched, out)?;
        if self.spec.kind == JoinKind::Left {
            self.send_unmatched(&left, &matched, out)?;
        }
        Ok(())
    }

    /// Sends the pairs gathered so far for which the residual holds.
    fn send_pairs(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        lefts: &mut Vec<u32>,
        rights: &mut Vec<u32>,
        matched: &mut [bool],
        out: &mut Emit,
    ) -> Result<()> {
        if lefts.is_empty() {
            return Ok(());
        }
        let (lefts, rights) = (std::mem::take(lefts), std::mem::take(rights));
        let pick = |rows: &RecordBatch, which: &UInt32Array| {
            let columns = rows.columns().iter().map(|c| take(c, which, None).map_err(expr::kernel));
            columns.collect::<Result<Vec<_>>>()
        };
        let mut columns = pick(left, &UInt32Array::from(lefts.clone()))?;
        columns.extend(pick(right, &UInt32Array::from(rights))?);
        let joined = record_batch(Arc::clone(&self.spec.output), columns, lefts.len());
        let Some(residual) = &self.spec.residual else {
            lefts.iter().for_each(|row| matched[*row as usize] = true);
            out.send_to(RESULTS, Batch::new(joined));
            return Ok(());
        };
        let keep = residual_mask(residual, &joined, out)?;
        let kept = lefts.iter().enumerate().filter(|(i, _)| keep.value(*i));
        kept.for_each(|(_, row)| matched[*row as usize] = true);
        out.send_to(RESULTS, Batch::new(joined).filter(&keep));
        Ok(())
    }

    fn send_unmatched(&self, left: &RecordBatch, matched: &[bool], out: &mut Emit) -> Result<()> {
        let alone = (0u32..).zip(matched).filter(|(_, matched)| !**matched).map(|(row, _)| row);
        let alone = take_record_batch(left, &UInt32Array::from_iter_values(alone)).map_err(expr::kernel)?;
        let mut columns = alone.columns().to_vec();
        let right = self.spec.output.fields().iter().skip(columns.len());
        columns.extend(right.map(|f| new_null_array(f.data_type(), alone.num_rows())));
        let rows = record_batch(Arc::clone(&self.spec.output), columns, alone.num_rows());
        super::aggregate::send_in_batches(&rows, RESULTS, out);
        Ok(())
    }

    fn blocks(&mut self, all: bool, out: &mut Vec<StateBlock>) -> Result<()> {
        for (end, window) in &mut self.windows {
            for ((rows, side), table) in window.iter_mut().zip(&self.sides).zip(TABLES) {
                let from = if all { 0 } else { rows.saved };
                rows.saved = rows.batches.len();
                if from == rows.saved {
                    continue;
                }
                let new = concat_batches(&side.schema, &rows.batches[from..]).map_err(expr::kernel)?;
                // The copy serves further: fewer, larger batches, and those of a source are let go.
                rows.batches.truncate(from);
                rows.batches.push(new.clone());
                rows.saved = rows.batches.len();
                let change = Change::Rows(side.block(&new)?);
                out.push(StateBlock { table: table.into(), segment: *end, change });
            }
        }
        Ok(())
    }
}

/// Where the residual is true. Pairs over which it fails are refused, each with its error.
fn residual_mask(residual: &Arc<dyn PhysicalExpr>, joined: &RecordBatch, out: &mut Emit) -> Result<BooleanArray> {
    match expr::mask(residual, joined) {
        Err(problem) => _ = expr::of_a_row(problem)?,
        mask => return mask,
    }
    let batch = Batch::new(joined.clone());
    let mut one = |row: usize| match expr::mask(residual, &joined.slice(row, 1)) {
        Ok(mask) => Ok(Some(mask.value(0))),
        Err(problem) => {
            let (code, message) = expr::of_a_row(problem)?;
            out.reject(&batch, row, code, message);
            Ok(Some(false))
        }
    };
    (0..joined.num_rows()).map(&mut one).collect()
}

impl Side {
    fn key_columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.keys.iter().map(|k| expr::key_column(k, rows)).collect()
    }

    /// Window ends, `None` at rows without one.
    fn ends(&self, rows: &RecordBatch) -> Result<Int64Array> {
        let ends = expr::micros(rows.column(self.end.column))?;
        Ok(ends.unary::<_, Int64Type>(|v| v.saturating_add(self.end.plus_us)))
    }

    fn block(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.key_columns(rows)?;
        let mut columns = vec![groups_of(&keys, rows.num_rows())?];
        columns.extend(rows.columns().iter().cloned());
        Ok(record_batch(Arc::clone(&self.block_schema), columns, rows.num_rows()))
    }

    /// Refuses the rows whose keys cannot be evaluated; the rest comes back.
    fn with_keys(&self, batch: Batch, out: &mut Emit) -> Result<Batch> {
        match self.key_columns(&batch.rows) {
            Ok(_) => return Ok(batch),
            Err(problem) => _ = expr::of_a_row(problem)?,
        }
        let mut one = |row: usize| match self.key_columns(&batch.rows.slice(row, 1)) {
            Ok(_) => Ok(Some(true)),
            Err(problem) => {
                let (code, message) = expr::of_a_row(problem)?;
                out.reject(&batch, row, code, message);
                Ok(Some(false))
            }
        };
        let keep = (0..batch.len()).map(&mut one).collect::<Result<BooleanArray>>()?;
        Ok(batch.filter(&keep))
    }
}

/// For each left row the right rows with equal keys.
struct Pairs {
    /// The group of each left row; `None` where a key is NULL.
    left: Vec<Option<usize>>,
    /// Where the right rows of each group begin in `right`.
    starts: Vec<u32>,
    right: Vec<u32>,
}

impl Pairs {
    fn new(sides: &[Side; 2], left: &RecordBatch, right: &RecordBatch) -> Result<Pairs> {
        let keys = [sides[0].key_columns(left)?, sides[1].key_columns(right)?];
        let types: Vec<_> = keys[0].iter().map(|k| k.data_type().clone()).collect();
        if !keys[1].iter().map(|k| k.data_type()).eq(&types) {
            return Err(Problem::internal("the keys of a join have different types"));
        }
        let mut groups = Groups::new(&types)?;
        let right = numbers(&mut groups, &keys[1], right.num_rows())?;
        let left = numbers(&mut groups, &keys[0], left.num_rows())?;
        let mut starts = vec![0u32; groups.len() + 1];
        right.iter().flatten().for_each(|g| starts[g + 1] += 1);
        for group in 0..groups.len() {
            starts[group + 1] += starts[group];
        }
        let (mut next, mut sorted) = (starts.clone(), vec![0; *starts.last().expect("one more") as usize]);
        for (row, group) in (0u32..).zip(&right) {
            if let Some(group) = group {
                sorted[next[*group] as usize] = row;
                next[*group] += 1;
            }
        }
        Ok(Pairs { left, starts, right: sorted })
    }

    fn partners(&self, left: usize) -> &[u32] {
        match self.left[left] {
            Some(group) => &self.right[self.starts[group] as usize..self.starts[group + 1] as usize],
            None => &[],
        }
    }
}

fn numbers(groups: &mut Groups, keys: &[ArrayRef], rows: usize) -> Result<Vec<Option<usize>>> {
    let mut numbers = Vec::new();
    groups.intern(keys, rows, &mut numbers)?;
    let known = |row: usize| keys.iter().all(|k| k.is_valid(row));
    Ok(numbers.into_iter().enumerate().map(|(row, group)| known(row).then_some(group)).collect())
}

impl Operator for WindowJoin {
    fn on_batch(&mut self, port: usize, _epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        let side = &self.sides[port];
        if batch.diff.is_some() {
            return Err(Problem::error("WINDOW-CHANGELOG", "a window takes rows, not changes")
                .help("put the window before what makes the changes"));
        }
        let mut batch = side.with_keys(batch, out)?;
        let mut ends = side.ends(&batch.rows)?;
        if let Some(nulls) = ends.nulls().filter(|n| n.null_count() > 0) {
            refuse_null_times(&batch, nulls, out);
            batch = batch.filter(&BooleanArray::new(nulls.inner().clone(), None));
            ends = side.ends(&batch.rows)?;
        }
        let spans = match spread(None, &Times { end: ends, start: None }) {
            None => return Ok(()),
            Some(Spread::One(span)) if span.end <= self.closed.until => {
                out.send_to(side.late_port, batch);
                return Ok(());
            }
            Some(Spread::One(span)) => {
                self.windows.entry(span.end).or_default()[port].push(batch.rows);
                return Ok(());
            }
            Some(Spread::Many(spans)) => spans,
        };
        let (late, open): (Vec<_>, Vec<_>) = spans.into_iter().partition(|(s, _)| s.end <= self.closed.until);
        let late: Vec<_> = late.into_iter().map(|(_, rows)| rows).collect();
        send_late(&batch, &late, side.late_port, out);
        for (span, rows) in open {
            let rows = take_record_batch(&batch.rows, &rows).map_err(expr::kernel)?;
            self.windows.entry(span.end).or_default()[port].push(rows);
        }
        Ok(())
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        self.closed.advance(watermark, self.spec.allowed_lateness_us);
        while let Some(end) = self.windows.keys().next().copied().filter(|end| *end <= self.closed.until) {
            let (_, window) = self.windows.pop_first().expect("just seen");
            if window.iter().any(|rows| rows.saved > 0) {
                self.dropped.insert(end);
            }
            self.join(window, out)?;
        }
        Ok(())
    }

    fn watermark(&self, input: Watermark) -> Watermark {
        held_back(input, self.spec.allowed_lateness_us)
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.delta(out);
        for segment in std::mem::take(&mut self.dropped) {
            let drop = |table: &str| StateBlock { table: table.into(), segment, change: Change::Drop };
            out.extend(TABLES.map(drop));
        }
        self.blocks(false, out)
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.base(out);
        self.blocks(true, out)
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        if self.closed.restore(&block)? {
            self.windows.retain(|end, _| *end > self.closed.until);
            return Ok(());
        }
        let side = TABLES.iter().position(|t| *t == block.table);
        let side = side.ok_or_else(|| super::segment::foreign(&block))?;
        let Change::Rows(rows) = &block.change else {
            // Both sides of a window are dropped together.
            self.windows.remove(&block.segment);
            return Ok(());
        };
        let own = fitted(&block, &own_rows(&block, rows, groups)?, &self.sides[side].block_schema)?;
        if block.segment <= self.closed.until || own.num_rows() == 0 {
            return Ok(());
        }
        let schema = Arc::clone(&self.sides[side].schema);
        let rows = record_batch(schema, own.columns()[1..].to_vec(), own.num_rows());
        let window = &mut self.windows.entry(block.segment).or_default()[side];
        window.push(rows);
        window.saved = window.batches.len();
        Ok(())
    }

    fn size(&self) -> StateSize {
        let sides = || self.windows.values().flatten().map(|rows| rows.size);
        StateSize { keys: sides().map(|s| s.keys).sum(), bytes: sides().map(|s| s.bytes).sum() }
    }
}
