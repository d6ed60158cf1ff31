//! Window operators: keyed aggregates and joins that close with the watermark.

pub mod spec;

pub use spec::{Aggregate, AggregateSpec, JoinKind, JoinSpec, KeyColumn, Window, WindowEnd};
