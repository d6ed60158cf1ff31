//! Placeholder.

pub mod discard;
pub mod file;
pub mod format;
pub mod stdio;
