//! Placeholder.

pub mod transforms;
