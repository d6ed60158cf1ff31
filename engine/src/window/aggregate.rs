//! [`WindowAggregate`]: a GROUP BY over tumbling, hopping or existing windows.

use super::RESULTS;
use super::grid::{Grid, Span};
use super::pane::Pane;
use super::part::Part;
use super::place::{Spread, route, spread};
use super::plan::{Evaluated, Plan, States, Times};
use super::segment::{Closed, held_back, own_rows};
use super::spec::{AggregateSpec, Window};
use crate::batch::{BATCH_ROWS, Batch};
use crate::meaning::fitted;
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const PANES: &str = "panes";

/// What a [`WindowAggregate`] is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Rows of `AggregateSpec::input`.
    Rows,
    /// What [`super::WindowPartial`] puts out. Late rows have left there; what is late nevertheless is
    /// refused (`WINDOW-LATE`).
    Partials,
}

/// Aggregates per key and window; a window's rows leave when it closes.
///
/// Input:  port 0, rows in any order.
/// Output: port 0, `spec.output`, in batches of at most 8,192 rows, windows in order of their end;
///         port 1, late rows as they came.
/// State:  partial aggregates per pane (the greatest span of which every window is a multiple), dropped
///         with the last window that needs them.
/// Errors: a row without a time is refused (`WINDOW-NULL-TIME`), one over which an expression fails too
///         (`EXPR-…`).
pub struct WindowAggregate {
    plan: Plan,
    input: Input,
    grid: Option<Grid>,
    panes: BTreeMap<Span, Pane>,
    closed: Closed,
    /// Segments that were handed over and have since been closed.
    dropped: BTreeSet<i64>,
    block_schema: SchemaRef,
    scratch: Vec<usize>,
    size: StateSize,
    closes: u64,
}

/// With more panes than this the size is measured at every so many closes only: it is asked for at
/// each, a hundred times a second.
const PANES_MEASURED: usize = 64;

impl WindowAggregate {
    /// Errors: `WINDOW-SIZE`, and those of the aggregates. Sessions have an operator of their own,
    /// [`super::SessionAggregate`].
    pub fn new(spec: AggregateSpec, input: Input) -> Result<WindowAggregate> {
        if let Window::Session { .. } = spec.window {
            return Err(Problem::internal("a session window needs the session operator"));
        }
        let (grid, plan) = (Grid::new(&spec.window)?, Plan::new(spec)?);
        Ok(WindowAggregate {
            block_schema: plan.block_schema(),
            plan,
            input,
            grid,
            panes: BTreeMap::new(),
            closed: Closed::default(),
            dropped: BTreeSet::new(),
            scratch: Vec::new(),
            size: StateSize::default(),
            closes: 0,
        })
    }

    fn add_rows(&mut self, rows: Evaluated, out: &mut Emit) -> Result<()> {
        let WindowAggregate { plan, grid, panes, closed, scratch, .. } = self;
        route(grid.as_ref(), closed.until, rows, out, |span, inputs, _| {
            panes.entry(span).or_insert_with(Pane::new).fresh(plan)?.update(inputs, scratch)
        })
    }

    fn add_partials(&mut self, batch: &Batch, out: &mut Emit) -> Result<()> {
        for (span, states) in states_by_pane(&self.plan, &batch.rows, 0)? {
            if self.last_end(span) <= self.closed.until {
                refuse_late_partials(batch, span, out);
                continue;
            }
            let pane = self.panes.entry(span).or_insert_with(Pane::new);
            pane.fresh(&self.plan)?.merge(&self.plan, &states, &mut self.scratch)?;
        }
        Ok(())
    }

    fn last_end(&self, pane: Span) -> i64 {
        self.grid.as_ref().and_then(|g| g.last_end(pane)).unwrap_or(pane.end)
    }

    /// The next window after `after` that has rows.
    fn next_window(&self, after: i64) -> Option<Span> {
        match self.grid.filter(|g| !g.is_one_pane()) {
            Some(grid) => grid.next_window(after, self.panes.keys().copied()),
            None => self.panes.keys().next().copied(),
        }
    }

    /// Everything of one window; takes the panes that no later window needs.
    fn take_window(&mut self, window: Span) -> Result<Part> {
        let Some(grid) = self.grid.filter(|g| !g.is_one_pane()) else {
            return self.take_pane(window).into_part(&self.plan, &mut self.scratch);
        };
        let mut part = Part::new(&self.plan)?;
        for pane in self.panes.range_mut(grid.panes(window)).map(|(_, pane)| pane) {
            pane.add_to(&self.plan, &mut part, &mut self.scratch)?;
        }
        self.drop_panes(window.end);
        Ok(part)
    }

    /// Emits the windows that ended after `after` and are closed now.
    fn close_windows(&mut self, mut after: i64, out: &mut Emit) -> Result<()> {
        while let Some(window) = self.next_window(after).filter(|w| w.end <= self.closed.until) {
            let part = self.take_window(window)?;
            self.emit(part, window, out)?;
            after = window.end;
        }
        Ok(())
    }

    fn measure(&mut self) {
        self.closes += 1;
        if self.panes.len() <= PANES_MEASURED || self.closes.is_multiple_of(PANES_MEASURED as u64) {
            self.size = StateSize {
                keys: self.panes.values().map(|p| p.len() as u64).sum(),
                bytes: self.panes.values().map(|p| p.bytes() as u64).sum(),
            };
        }
    }

    fn take_pane(&mut self, span: Span) -> Pane {
        let pane = self.panes.remove(&span).expect("the caller found it");
        if pane.is_saved() {
            self.dropped.insert(span.end);
        }
        pane
    }

    fn drop_panes(&mut self, until: i64) {
        while let Some(span) = self.panes.keys().next().copied().filter(|s| self.last_end(*s) <= until) {
            self.take_pane(span);
        }
    }

    fn emit(&self, part: Part, window: Span, out: &mut Emit) -> Result<()> {
        let (rows, keys, values) = part.into_results()?;
        let constant =
            |v: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from_value(v, rows).with_timezone("UTC")) };
        let batch = self.plan.output_rows(rows, keys, constant(window.start), constant(window.end), values)?;
        send_in_batches(&batch, RESULTS, out);
        Ok(())
    }
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        match self.input {
            Input::Partials => self.add_partials(&batch, out),
            Input::Rows => self.plan.evaluate(batch, out)?.into_iter().try_for_each(|rows| self.add_rows(rows, out)),
        }
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        let after = self.closed.until;
        if self.closed.advance(watermark, self.plan.spec.allowed_lateness_us) {
            self.close_windows(after, out)?;
        }
        self.measure();
        Ok(())
    }

    fn watermark(&self, input: Watermark) -> Watermark {
        held_back(input, self.plan.spec.allowed_lateness_us)
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.delta(out);
        for segment in std::mem::take(&mut self.dropped) {
            out.push(StateBlock { table: PANES.into(), segment, change: Change::Drop });
        }
        for (span, pane) in &mut self.panes {
            for rows in pane.delta(&self.plan, &self.block_schema, *span, &mut self.scratch)? {
                out.push(StateBlock { table: PANES.into(), segment: span.end, change: Change::Rows(rows) });
            }
        }
        Ok(())
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.base(out);
        for (span, pane) in &mut self.panes {
            let rows = pane.base(&self.plan, &self.block_schema, *span, &mut self.scratch)?;
            out.extend(rows.map(|rows| StateBlock {
                table: PANES.into(),
                segment: span.end,
                change: Change::Rows(rows),
            }));
        }
        Ok(())
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        if self.closed.restore(&block)? {
            self.drop_panes(self.closed.until);
            self.dropped.clear();
            return Ok(());
        }
        let rows = match &block.change {
            Change::Drop => {
                self.panes.retain(|span, _| span.end != block.segment);
                return Ok(());
            }
            Change::Rows(rows) => fitted(&block, &own_rows(&block, rows, groups)?, &self.block_schema)?,
        };
        for (span, states) in states_by_pane(&self.plan, &rows, 1)? {
            if self.last_end(span) > self.closed.until {
                self.panes.entry(span).or_insert_with(Pane::new).restore(states);
            }
        }
        Ok(())
    }

    fn size(&self) -> StateSize {
        self.size
    }
}

/// Refuses the partial aggregates of a pane that is closed. Late rows leave at the partial operator; one
/// that has just been added to a restored job (more workers than before) knows no watermark until its
/// first close, and what it lets through must not be lost without a word.
fn refuse_late_partials(batch: &Batch, span: Span, out: &mut Emit) {
    let time = |column: usize| batch.rows.column(column).as_primitive::<Int64Type>().values();
    let (ends, starts) = (time(0), time(1));
    for row in (0..batch.len()).filter(|row| (ends[*row], starts[*row]) == (span.end, span.start)) {
        out.reject(batch, row, "WINDOW-LATE", "found rows, already aggregated, of a window that is closed");
    }
}

/// Partial aggregates by pane. The first `skip` columns come before `_end` and `_start`.
fn states_by_pane(plan: &Plan, rows: &RecordBatch, skip: usize) -> Result<Vec<(Span, States)>> {
    let time = |i: usize| {
        let column = rows.columns().get(i).and_then(|c| c.as_primitive_opt::<Int64Type>());
        column.cloned().ok_or_else(|| Problem::internal("a partial aggregate without its pane"))
    };
    let times = Times { end: time(skip)?, start: Some(time(skip + 1)?) };
    let states = States::of(rows, skip + 2, plan.key_types.len());
    Ok(match spread(None, &times) {
        None => Vec::new(),
        Some(Spread::One(span)) => vec![(span, states)],
        Some(Spread::Many(panes)) => {
            let parts = panes.into_iter().map(|(span, rows)| Ok((span, states.take(&rows)?)));
            parts.collect::<Result<_>>()?
        }
    })
}

/// Sends rows in batches of at most [`BATCH_ROWS`].
pub(super) fn send_in_batches(rows: &RecordBatch, port: usize, out: &mut Emit) {
    for from in (0..rows.num_rows()).step_by(BATCH_ROWS) {
        let len = BATCH_ROWS.min(rows.num_rows() - from);
        out.send_to(port, Batch::new(rows.slice(from, len)));
    }
}
