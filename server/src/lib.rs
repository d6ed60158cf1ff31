//! The command line of Millstream, for its own program and for programs that bring kinds of their own.
//!
//! ```no_run
//! use millstream_connectors::Registry;
//! fn main() -> std::process::ExitCode {
//!     millstream_server::cli_main(Registry::builtin()) // .with(MyKind)
//! }
//! ```
//!
//! Results go to standard output, problems and progress to standard error. Exit codes: 0 = done; 1 = a
//! problem in what was given (file, data, state), or a test that fails; 2 = wrong usage; 3 = the job failed while it ran;
//! 130 = stopped by a second Ctrl-C.

pub mod cli;
pub mod reference;

pub use cli::{cli, cli_main};

/// The code in the documents compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/library.md")]
pub struct LibraryPage;
