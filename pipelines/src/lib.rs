//! Millstream pipeline files: the document, its checks, the catalogue of node kinds.
//!
//! ```text
//! bytes --parse--> tree::Node (spans) --read--> Document --resolve--> Document (no references left)
//!                                                  |                     |
//!                                                check(Catalogue)     Node::config::<T>()
//! ```
//!
//! Nothing here reads files, the environment or the clock: the caller hands bytes and look-ups in. So the
//! editor in the browser checks with this very code. All problems come in one pass, each with file, line,
//! column, byte range, what was found, what was expected and what to do.

pub mod catalogue;
pub mod check;
pub mod codes;
pub mod document;
pub mod graph;
pub mod parse;
mod references;
#[cfg(feature = "render")]
pub mod render;
pub mod schema;
pub mod secret;
pub mod source;
pub mod template;
pub mod time;
pub mod tree;
pub mod types;
pub mod units;
mod validate;

pub use check::{check, check_tests};
pub use document::Document;
pub use millstream_problem::{Place, Problem, Result};
pub use secret::Secret;
pub use source::{Source, Span};

/// No more problems than this are reported for one file.
pub const PROBLEMS_MAX: usize = 100;
