//! A pane: what is known of one span of event time.
//!
//! New rows go into `fresh`, a hash table. A delta turns it into columns of partial aggregates, hands
//! them over and keeps them in `sealed`; they are hashed again only when the window closes, or when too
//! many have gathered. So a delta costs the changed keys once and never touches a main table.

use super::grid::Span;
use super::part::Part;
use super::plan::{Plan, States};
use super::segment::groups_of;
use crate::Result;
use crate::batch::record_batch;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Sealed rows may be this many times the number of keys they came down to when last compacted.
const COMPACT_RATIO: usize = 4;
/// Below this many sealed rows nothing is compacted. Few in tests, so that random scripts reach it.
const COMPACT_ROWS: usize = if cfg!(test) { 16 } else { 65_536 };

pub(super) struct Pane {
    fresh: Option<Part>,
    sealed: Vec<States>,
    /// How many of `sealed` have been handed over.
    saved: usize,
    /// Rows left by the last compaction.
    compacted: usize,
}

impl Pane {
    pub(super) fn new() -> Pane {
        Pane { fresh: None, sealed: Vec::new(), saved: 0, compacted: 0 }
    }

    /// Where new rows go.
    pub(super) fn fresh(&mut self, plan: &Plan) -> Result<&mut Part> {
        match &mut self.fresh {
            Some(part) => Ok(part),
            empty => Ok(empty.insert(Part::new(plan)?)),
        }
    }

    /// True if a part of it has been handed over.
    pub(super) fn is_saved(&self) -> bool {
        self.saved > 0
    }

    /// Takes back what was handed over.
    pub(super) fn restore(&mut self, states: States) {
        self.sealed.insert(self.saved, states);
        self.saved += 1;
    }

    fn seal(&mut self) -> Result<()> {
        if let Some(part) = self.fresh.take().filter(|p| p.len() > 0) {
            self.sealed.push(part.into_states()?);
        }
        Ok(())
    }

    /// The rows since the last call, as blocks of `schema`.
    pub(super) fn delta(
        &mut self,
        plan: &Plan,
        schema: &SchemaRef,
        span: Span,
        scratch: &mut Vec<usize>,
    ) -> Result<Vec<RecordBatch>> {
        self.seal()?;
        let new = &self.sealed[self.saved..];
        let rows = new.iter().map(|s| block(schema, span, s)).collect::<Result<Vec<_>>>()?;
        self.saved = self.sealed.len();
        self.compact(plan, scratch)?;
        Ok(rows)
    }

    /// Everything, as blocks of `schema`.
    pub(super) fn base(
        &mut self,
        plan: &Plan,
        schema: &SchemaRef,
        span: Span,
        scratch: &mut Vec<usize>,
    ) -> Result<Option<RecordBatch>> {
        self.seal()?;
        if self.sealed.len() > 1 {
            let part = self.merged(plan, Part::new(plan)?, scratch)?;
            self.sealed = vec![part.into_states()?];
        }
        self.saved = self.sealed.len();
        self.sealed.first().map(|s| block(schema, span, s)).transpose()
    }

    fn compact(&mut self, plan: &Plan, scratch: &mut Vec<usize>) -> Result<()> {
        let rows: usize = self.sealed.iter().map(|s| s.rows).sum();
        if self.sealed.len() < 2 || rows < COMPACT_ROWS.max(self.compacted * COMPACT_RATIO) {
            return Ok(());
        }
        let states = self.merged(plan, Part::new(plan)?, scratch)?.into_states()?;
        self.compacted = states.rows;
        self.sealed = vec![states];
        self.saved = 1;
        Ok(())
    }

    /// `part` with all sealed rows added.
    fn merged(&self, plan: &Plan, mut part: Part, scratch: &mut Vec<usize>) -> Result<Part> {
        self.sealed.iter().try_for_each(|states| part.merge(plan, states, scratch))?;
        Ok(part)
    }

    /// Gives up everything as one table.
    pub(super) fn into_part(mut self, plan: &Plan, scratch: &mut Vec<usize>) -> Result<Part> {
        let part = match self.fresh.take() {
            Some(part) => part,
            None => Part::new(plan)?,
        };
        self.merged(plan, part, scratch)
    }

    /// Adds everything to `part` and keeps it, for a window that shares this pane with another.
    pub(super) fn add_to(&mut self, plan: &Plan, part: &mut Part, scratch: &mut Vec<usize>) -> Result<()> {
        self.seal()?;
        self.sealed.iter().try_for_each(|states| part.merge(plan, states, scratch))
    }

    /// Rows held (keys may repeat between deltas).
    pub(super) fn len(&self) -> usize {
        let fresh = self.fresh.as_ref().map_or(0, Part::len);
        fresh + self.sealed.iter().map(|s| s.rows).sum::<usize>()
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        let fresh = self.fresh.as_ref().map_or(0, Part::bytes);
        fresh + self.sealed.iter().map(States::bytes).sum::<usize>()
    }
}

fn block(schema: &SchemaRef, span: Span, states: &States) -> Result<RecordBatch> {
    let constant = |v: i64| -> ArrayRef { Arc::new(Int64Array::from_value(v, states.rows)) };
    let group = groups_of(&states.keys, states.rows)?;
    let mut columns = vec![group, constant(span.end), constant(span.start)];
    columns.extend(states.keys.iter().chain(&states.states).cloned());
    Ok(record_batch(Arc::clone(schema), columns, states.rows))
}
