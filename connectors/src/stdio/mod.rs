//! Standard input and standard output.
//!
//! `stdin`: lines, as they come. What has been read cannot be read again, so a pipeline with it is
//! at-most-once. `stdout`: written as batches come and once more after a restart: at-least-once.

pub mod config;
pub mod kind;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use config::{StdinConfig, StdoutConfig};
pub use sink::{Stdout, is_broken_pipe};
pub use source::Stdin;
