//! Millstream pipeline files: the document, its checks, the catalogue of node kinds.

pub mod catalogue;

pub use millstream_problem::{Place, Problem, Result};
