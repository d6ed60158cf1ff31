//! What a planner asks of the window operators: [`AggregateSpec`] and [`JoinSpec`].
//!
//! Plain data, made by [`crate::sql`] and carried out by the operators beside it. Expressions are
//! compiled over the schema in `input` (or `left`, `right`); the operator that is built for a pruned
//! input gets exactly these columns, in this order.

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use std::sync::Arc;

/// A GROUP BY over windows: keys and aggregates per window, emitted when the window closes.
///
/// Without aggregates it is the DISTINCT of its keys within each window.
#[derive(Clone, Debug)]
pub struct AggregateSpec {
    /// The rows that come in.
    pub input: SchemaRef,
    /// Which windows a row belongs to.
    pub window: Window,
    /// The grouping keys without the window's own columns; may be empty.
    pub keys: Vec<KeyColumn>,
    /// The aggregates; may be empty.
    pub aggregates: Vec<Aggregate>,
    /// Name of the output column that holds the window's start, if it is wanted.
    pub start: Option<String>,
    /// Name of the output column that holds the window's end, if it is wanted.
    pub end: Option<String>,
    /// Keys, then start and end where wanted (`Timestamp(us, UTC)`, never null), then aggregates.
    pub output: SchemaRef,
    /// How long after its end a window stays open, in microseconds of event time.
    pub allowed_lateness_us: i64,
}

/// One grouping key.
#[derive(Clone, Debug)]
pub struct KeyColumn {
    /// Over the input's schema.
    pub expr: Arc<dyn PhysicalExpr>,
    /// Name, type and nullability in the output.
    pub field: FieldRef,
}

/// One aggregate.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Function, arguments, `DISTINCT`, state fields; makes accumulators. Its arguments
    /// ([`AggregateFunctionExpr::expressions`]) are over the input's schema.
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE …)`: only rows where it is true count.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Name, type and nullability in the output.
    pub field: FieldRef,
}

/// Which windows a row belongs to. Times are microseconds; windows are half-open, aligned to the Unix
/// epoch in UTC plus `offset_us` (`0 <= offset_us <` the slide, or the size where there is no slide).
///
/// `time` yields `Timestamp(us, UTC)`; a row whose time is NULL belongs to no window and is refused.
#[derive(Clone, Debug)]
pub enum Window {
    /// Windows side by side.
    Tumble {
        /// Event time over the input's schema.
        time: Arc<dyn PhysicalExpr>,
        /// Length.
        size_us: i64,
        /// Shift against the Unix epoch.
        offset_us: i64,
    },
    /// Overlapping windows; `size_us` need not be a multiple of `slide_us`.
    Hop {
        /// Event time over the input's schema.
        time: Arc<dyn PhysicalExpr>,
        /// Distance between two starts.
        slide_us: i64,
        /// Length.
        size_us: i64,
        /// Shift against the Unix epoch.
        offset_us: i64,
    },
    /// Per key: rows that are at most `gap_us` apart share a window; start is the first row's time, end
    /// the last row's time plus the gap.
    Session {
        /// Event time over the input's schema.
        time: Arc<dyn PhysicalExpr>,
        /// Silence that ends a window.
        gap_us: i64,
    },
    /// The rows carry a window already (a second GROUP BY): it closes when the watermark reaches its
    /// end. At least one of `start` and `end` is there; with `start` alone `size_us` is there too.
    /// Rows belong to one window when the columns that are there are equal.
    Existing {
        /// Index of the input column with the window's start.
        start: Option<usize>,
        /// Index of the input column with the window's end.
        end: Option<usize>,
        /// The window's length, where all have the same.
        size_us: Option<i64>,
    },
}

/// A join of two inputs whose rows carry windows; pairs leave when the window closes.
///
/// Two rows are paired when their window ends are equal, all keys are equal (NULL equals nothing) and
/// the residual is true.
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// The rows of port 0.
    pub left: SchemaRef,
    /// The rows of port 1.
    pub right: SchemaRef,
    /// Key expressions over `left`, pairwise with `right_keys` and of equal types; may be empty.
    pub left_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Key expressions over `right`.
    pub right_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Where a left row's window end is.
    pub left_end: WindowEnd,
    /// Where a right row's window end is.
    pub right_end: WindowEnd,
    /// The length of the windows, where all have the same.
    pub window_us: Option<i64>,
    /// Which rows leave.
    pub kind: JoinKind,
    /// Over the columns of `left` followed by those of `right`.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of `left` followed by those of `right` (nullable for [`JoinKind::Left`]). Names may
    /// repeat: refer to columns by index.
    pub output: SchemaRef,
    /// How long after its end a window stays open, in microseconds of event time.
    pub allowed_lateness_us: i64,
}

/// Where a row's window end is: the value of a `Timestamp(us, UTC)` column plus a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowEnd {
    /// Index of the column.
    pub column: usize,
    /// Added to it: 0 for a column of window ends, the window's size for one of window starts.
    pub plus_us: i64,
}

/// Which rows a [`JoinSpec`] lets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without a partner beside NULLs.
    Left,
}
