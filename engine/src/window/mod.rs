//! Aggregates, sessions and joins over event-time windows.
//!
//! ```text
//! rows ─► WindowPartial ─► exchange by key ─► WindowAggregate (Input::Partials) ─► one row per key and window
//! rows ───────────────────► exchange by key ─► WindowAggregate | SessionAggregate | WindowJoin
//! ```
//!
//! The rule of time, the same for all of them: rows of epoch t are judged against the watermark of the
//! close before; at the close of t, windows with `end + allowed_lateness <= W(t)` are emitted at t and
//! forgotten. So the result depends only on which rows are in which epoch. A row all of whose windows
//! are closed leaves unchanged on a `late` port.
//!
//! State is handed over in segments that end with event time: a segment is dropped when the watermark
//! has passed it, by every worker at the same checkpoint, and what a watermark has closed is never taken
//! back on restore. The watermark itself is handed over too, once per key group.
//!
//! * [`table`]: key columns to group numbers.
//! * [`spec`]: what a planner asks for.
//! * [`WindowAggregate`], [`WindowPartial`]: tumbling, hopping and existing windows.
//! * [`SessionAggregate`]: sessions per key.
//! * [`WindowJoin`]: rows of two inputs in the same window.

pub mod table;

#[cfg(feature = "sql")]
mod aggregate;
#[cfg(feature = "sql")]
mod expr;
#[cfg(feature = "sql")]
mod grid;
#[cfg(feature = "sql")]
mod join;
#[cfg(feature = "sql")]
mod meaning;
#[cfg(feature = "sql")]
mod pane;
#[cfg(feature = "sql")]
mod part;
#[cfg(feature = "sql")]
mod partial;
#[cfg(feature = "sql")]
mod place;
#[cfg(feature = "sql")]
mod plan;
#[cfg(feature = "sql")]
mod session;
#[cfg(feature = "sql")]
pub mod spec;
#[cfg(test)]
#[cfg(feature = "sql")]
mod tests;

pub(crate) mod segment;

#[cfg(feature = "sql")]
pub use aggregate::{Input, WindowAggregate};
#[cfg(feature = "sql")]
pub use join::WindowJoin;
#[cfg(feature = "sql")]
pub use meaning::{aggregate_meaning, join_meaning};
#[cfg(feature = "sql")]
pub use partial::{WindowPartial, partial_keys, partial_schema};
#[cfg(feature = "sql")]
pub use session::SessionAggregate;
#[cfg(feature = "sql")]
pub use spec::{Aggregate, AggregateSpec, JoinKind, JoinSpec, KeyColumn, Window, WindowEnd};

/// Output port of results.
pub const RESULTS: usize = 0;
/// Output port of rows that came after all of their windows had closed; for a join, of its left input.
pub const LATE: usize = 1;
/// Output port of a join's late right rows.
pub const LATE_RIGHT: usize = 2;

/// The operator of an aggregate over raw rows, whatever its window.
#[cfg(feature = "sql")]
pub fn aggregate(spec: AggregateSpec) -> crate::Result<Box<dyn crate::operator::Operator>> {
    Ok(match spec.window {
        Window::Session { .. } => Box::new(SessionAggregate::new(spec)?),
        _ => Box::new(WindowAggregate::new(spec, Input::Rows)?),
    })
}
