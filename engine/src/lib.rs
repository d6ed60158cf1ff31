//! Millstream: a stream-processing dataflow runtime.
//!
//! Arrow record batches move through one timely dataflow per job; every checkpoint is a consistent
//! cut; what can be delivered exactly once is. The modules in the order in which a record meets them:
//!
//! * [`batch`]: the one container on every edge.
//! * [`time`]: epochs, watermarks, the clock.
//! * [`connect`]: what a connector implements: [`connect::Source`], [`connect::Decoder`], [`connect::Sink`].
//! * [`operator`]: what a node implements: [`operator::Stage`] (stateless) and [`operator::Operator`] (with state).
//! * [`key`]: the frozen key hash and the key groups.
//! * [`window`]: aggregates, sessions and joins over event-time windows.
//! * [`dedupe`]: the first row of each key.
//! * [`calls`]: asynchronous and CPU-heavy work, beside the dataflow.
//! * [`json`]: rows as NDJSON, for sinks, dead letters and subscriptions.
//! * [`dead`]: dead letters.
//! * [`plan`]: the graph of a pipeline, as the builder and the file loader make it.
//! * [`runtime`]: jobs: timely workers, the clock, checkpoints.
//! * [`typed`]: pipelines over Rust structs and closures.
//! * [`metrics`]: what a running job counts. [`meaning`]: which changes of a node its state survives.
//! * `sql` (feature `sql`): expressions and queries.
//! * [`state`]: the commit log and the store beneath the checkpoints.
//! * [`testing`]: runs of a pipeline in a test, with a clock that is moved by hand.
//!
//! What is deliberately absent: this crate knows no connector, no YAML and no HTTP, reads the wall
//! clock only through [`time::Clock`], and installs no signal handler, subscriber, allocator or global
//! runtime.

pub mod batch;
pub mod calls;
pub mod connect;
pub mod dead;
pub mod dedupe;
pub mod json;
pub mod key;
pub mod meaning;
pub mod metrics;
pub mod operator;
pub mod plan;
pub mod runtime;
#[cfg(feature = "sql")]
pub mod sql;
pub mod state;
pub mod testing;
pub mod time;
pub mod typed;
pub mod window;

pub use arrow;
pub use batch::{Batch, Origin};
pub use millstream_problem as problem;
pub use millstream_problem::{Place, Problem, Result};
pub use time::{Epoch, Watermark};
