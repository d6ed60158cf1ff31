//! The commit log and the store beneath the checkpoints.
//!
//! ```text
//!   CheckpointBody --commit--> data/state-G-E, data/base-G-E-n, data/outbox-G-E-n, data/dead-G-E-n   (files first)
//!                              log/000000000042                                                    (then the record)
//! ```
//!
//! The creation of a record, with put-if-absent on the next number, is the decision for its checkpoint.
//! Three order rules carry everything: files before the record that names them; the record before any
//! effect outside; nothing is deleted that one of the last two checkpoint records names.
//!
//! * [`fs`]: the few system calls, behind a trait, so that tests can crash, tear and fail them.
//! * [`store`]: put-if-absent, get, list, delete. [`LocalStore`] keeps a directory, [`MemStore`] nothing beyond the
//!   process; an object store fits.
//! * [`block`]: the format of a data file. [`record`]: the format of a log record.
//! * [`log`]: opening, committing, garbage. [`committed`]: reading a checkpoint back.
//! * [`Evolution`]: a checkpoint as a changed pipeline sees it.
//! * [`verify`]: reads everything, for people. [`failpoint`], [`sabotage`]: for the tests.
//!
//! Every call here blocks: call it from the coordinator's thread, never from a dataflow worker.

pub mod block;
pub mod committed;
mod evolve;
pub mod failpoint;
pub mod fs;
mod live;
pub mod log;
mod memory;
pub mod record;
pub mod sabotage;
pub mod store;
pub mod verify;

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod tests;

pub use committed::Committed;
pub use evolve::Evolution;
pub use log::{
    Attach, CheckpointBody, CommitLog, CommitOutcome, Compaction, OpenOptions, Opened, StateBase, StateDelta,
};
pub use memory::MemStore;
pub use store::{Entry, LocalStore, PutOutcome, Store};
pub use verify::{Report, Usage, usage, verify};
