//! Placeholder.
pub mod file;
