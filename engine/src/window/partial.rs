//! [`WindowPartial`]: the aggregate of one worker's rows of one epoch, before the exchange.

use super::RESULTS;
use super::aggregate::send_in_batches;
use super::grid::{Grid, Span};
use super::part::Part;
use super::place::route;
use super::plan::Plan;
use super::segment::Closed;
use super::spec::{AggregateSpec, Window};
use crate::batch::Batch;
use crate::operator::{Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::ops::Range;

/// So many groups are sent on before the epoch ends: beyond that the table no longer fits a cache. Few
/// in tests, so that random scripts reach it.
const GROUPS_MAX: usize = if cfg!(test) { 12 } else { 65_536 };

/// Aggregates rows per key and pane and sends the states on when the epoch closes.
///
/// Input:  port 0, rows of `AggregateSpec::input`.
/// Output: port 0, [`partial_schema`], for a [`super::WindowAggregate`] over [`super::Input::Partials`]
///         behind an exchange by [`partial_keys`]; port 1, late rows as they came.
/// State:  the watermark alone.
pub struct WindowPartial {
    plan: Plan,
    grid: Option<Grid>,
    parts: BTreeMap<Span, Part>,
    closed: Closed,
    schema: SchemaRef,
    scratch: Vec<usize>,
}

/// What a [`WindowPartial`] of this spec puts out: the pane's `_end` and `_start` in microseconds, the
/// keys, the states.
pub fn partial_schema(spec: &AggregateSpec) -> Result<SchemaRef> {
    Ok(Plan::new(spec.clone())?.partial_schema())
}

/// The key columns in [`partial_schema`], for the exchange. Empty without keys: all to one worker.
pub fn partial_keys(spec: &AggregateSpec) -> Range<usize> {
    2..2 + spec.keys.len()
}

impl WindowPartial {
    /// Errors as those of [`super::WindowAggregate::new`]; sessions cannot be aggregated before the
    /// exchange.
    pub fn new(spec: AggregateSpec) -> Result<WindowPartial> {
        if let Window::Session { .. } = spec.window {
            return Err(Problem::internal("sessions cannot be aggregated before the exchange"));
        }
        let (grid, plan) = (Grid::new(&spec.window)?, Plan::new(spec)?);
        Ok(WindowPartial {
            schema: plan.partial_schema(),
            plan,
            grid,
            parts: BTreeMap::new(),
            closed: Closed::default(),
            scratch: Vec::new(),
        })
    }

    fn flush(&mut self, out: &mut Emit) -> Result<()> {
        for (span, part) in std::mem::take(&mut self.parts) {
            let states = part.into_states()?;
            send_in_batches(&self.plan.partial_rows(&self.schema, span, &states), RESULTS, out);
        }
        Ok(())
    }
}

impl Operator for WindowPartial {
    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        for rows in self.plan.evaluate(batch, out)? {
            let WindowPartial { plan, grid, parts, closed, scratch, .. } = self;
            route(grid.as_ref(), closed.until, rows, out, |span, inputs, _| {
                let part = match parts.entry(span) {
                    std::collections::btree_map::Entry::Occupied(part) => part.into_mut(),
                    std::collections::btree_map::Entry::Vacant(empty) => empty.insert(Part::new(plan)?),
                };
                part.update(inputs, scratch)
            })?;
        }
        if self.parts.values().map(Part::len).sum::<usize>() > GROUPS_MAX {
            self.flush(out)?;
        }
        Ok(())
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        self.closed.advance(watermark, self.plan.spec.allowed_lateness_us);
        self.flush(out)
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.delta(out);
        Ok(())
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.base(out);
        Ok(())
    }

    fn restore(&mut self, block: StateBlock, _groups: &KeyGroups) -> Result<()> {
        match self.closed.restore(&block)? {
            true => Ok(()),
            false => Err(super::segment::foreign(&block)),
        }
    }

    fn size(&self) -> StateSize {
        StateSize {
            keys: self.parts.values().map(|p| p.len() as u64).sum(),
            bytes: self.parts.values().map(|p| p.bytes() as u64).sum(),
        }
    }
}
