//! `generator`: data that is the same every time, for trying things out, tests and benchmarks.
//!
//! Every record follows from the seed and the numbers before it; a position holds the number of the next
//! record and the state of the random numbers, so a resume costs nothing. Nexmark events come as columns,
//! logs as lines of text. [`nexmark_line`] and [`log_line`] write the very bytes that the files of the
//! benchmarks are made of.

pub mod config;
pub mod kind;
mod logs;
mod nexmark;
mod rng;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use config::{Dataset, GeneratorConfig};
pub use logs::{LOGS_SEED, log_line};
pub use nexmark::{NEXMARK_SEED, nexmark_line};
pub use rng::Rng;
pub use source::Generator;
