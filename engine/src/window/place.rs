//! Sends rows to their panes, or to the `late` port.

use super::LATE;
use super::grid::{Grid, Span};
use super::plan::{Evaluated, Inputs, Times};
use crate::Result;
use crate::batch::Batch;
use crate::operator::Emit;
use arrow::array::{BooleanArray, BooleanBufferBuilder, UInt32Array};
use arrow::compute::{max, min};
use std::collections::BTreeMap;

/// The panes that the rows of a batch fall into.
pub(super) enum Spread {
    /// All of them into one.
    One(Span),
    /// Which rows fall into which.
    Many(Vec<(Span, UInt32Array)>),
}

/// Which panes these times fall into; `None` for no rows.
pub(super) fn spread(grid: Option<&Grid>, times: &Times) -> Option<Spread> {
    match grid {
        Some(grid) => {
            let (least, most) = (min(&times.end)?, max(&times.end)?);
            let (first, last) = (grid.pane(least), grid.pane(most));
            let times = times.end.values();
            Some(if first == last { Spread::One(first) } else { split(times.len(), |i| grid.pane(times[i])) })
        }
        None => {
            let (ends, starts) = (times.end.values(), times.start.as_ref().map(|s| s.values()));
            let span = |i: usize| Span { end: ends[i], start: starts.map_or(i64::MIN, |s| s[i]) };
            let first = (!ends.is_empty()).then(|| span(0))?;
            let one = (1..ends.len()).all(|i| span(i) == first);
            Some(if one { Spread::One(first) } else { split(ends.len(), span) })
        }
    }
}

fn split(rows: usize, span: impl Fn(usize) -> Span) -> Spread {
    let mut panes: BTreeMap<Span, Vec<u32>> = BTreeMap::new();
    let mut row = 0;
    while row < rows {
        // Neighbours mostly share a pane: look it up once per run.
        let pane = span(row);
        let rows_of = panes.entry(pane).or_default();
        while row < rows && span(row) == pane {
            rows_of.push(row as u32);
            row += 1;
        }
    }
    Spread::Many(panes.into_iter().map(|(span, rows)| (span, rows.into())).collect())
}

/// Judges rows against what is closed and passes the others on by pane.
///
/// `last_end` says where the last window of a pane ends; `None`: it has no window, its rows are counted
/// as filtered.
pub(super) fn route(
    grid: Option<&Grid>,
    closed_until: i64,
    rows: Evaluated,
    out: &mut Emit,
    mut to_pane: impl FnMut(Span, &Inputs, &mut Emit) -> Result<()>,
) -> Result<()> {
    let Evaluated { batch, times, inputs } = rows;
    let last_end = |pane: Span| grid.map_or(Some(pane.end), |g| g.last_end(pane));
    let mut late = Vec::new();
    match spread(grid, &times) {
        None => {}
        Some(Spread::One(pane)) => match last_end(pane) {
            None => out.filtered(batch.len()),
            Some(end) if end <= closed_until => out.send_to(LATE, batch),
            Some(_) => to_pane(pane, &inputs, out)?,
        },
        Some(Spread::Many(panes)) => {
            for (pane, rows) in panes {
                match last_end(pane) {
                    None => out.filtered(rows.len()),
                    Some(end) if end <= closed_until => late.push(rows),
                    Some(_) => to_pane(pane, &inputs.take(&rows)?, out)?,
                }
            }
            send_late(&batch, &late, LATE, out);
        }
    }
    Ok(())
}

/// Sends these rows of a batch to a port, in the order of the batch.
pub(super) fn send_late(batch: &Batch, rows: &[UInt32Array], port: usize, out: &mut Emit) {
    if rows.is_empty() {
        return;
    }
    let mut mask = BooleanBufferBuilder::new(batch.len());
    mask.append_n(batch.len(), false);
    rows.iter().flat_map(|rows| rows.values()).for_each(|row| mask.set_bit(*row as usize, true));
    out.send_to(port, batch.filter(&BooleanArray::new(mask.finish(), None)));
}
