//! Connectors, transforms and formats: everything between the outside and the engine.
//!
//! One folder per outside system, `transforms` for nodes in between, `format` for bytes to columns and
//! back. The registry lists every kind of node once; loading turns a checked document into the engine's
//! pipeline.

pub mod discard;
pub mod file;
pub mod format;
pub mod stdio;
pub mod transforms;
