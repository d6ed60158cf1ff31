//! The runtime: one job is one timely instance, one clock, one committer, and a thread per reader and sink.
//!
//! ```text
//!   readers --> [worker 0..N: source -> chain -> exchange -> operator -> sink] --> sink threads
//!                    ^ epochs            | parts of marked epochs
//!                  clock <-- durable -- committer --> commit log
//! ```
//!
//! Modules in the order in which a record meets them: `intake` (reader threads), `source`, `track` (event
//! time), `chain` (stages), `stream` (the exchange), `stateful` (operators), `sink`, `dead` (dead
//! letters), `replay` (their way back), `checkpoint` (the committer), `watch` (subscriptions), `settle` (for
//! test runs); around them
//! `clock`, `shared`, `turns` (every wait), `worker` (builds the graph), `evolve` (a changed pipeline and its
//! checkpoint), `launch` (puts it all together) and `job` (what the program holds).
//!
//! Panics: `isolate` sets the record aside on which a stage or a decoder panics; `suspects` does it for
//! operators, whose state a panic may have broken, over several starts of the job. Any other panic, a stop or
//! a leak ends with the job: nothing else is shared between jobs but the process.

mod chain;
mod checkpoint;
mod clock;
mod dead;
mod evolve;
mod intake;
mod isolate;
mod job;
mod launch;
mod ports;
mod replay;
mod settle;
mod shared;
mod sink;
mod source;
mod stateful;
mod stream;
mod suspects;
#[cfg(test)]
mod tests;
mod track;
mod turns;
mod watch;
mod worker;

pub use evolve::{Change, Comparison, Fate, compare};
pub(crate) use job::Watch;
pub use job::{Job, JobState, Replay, Resume, Resumed, Runtime, RuntimeBuilder, Status, Stop};
pub(crate) use settle::Settled;
pub use watch::Watched;
