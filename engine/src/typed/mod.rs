//! Typed streams: pipelines over Rust structs and closures, on the same graph as those from files.
//!
//! ```
//! use millstream::runtime::{JobState, Resume, Runtime};
//! use millstream::typed::{Flow, channel, collect};
//!
//! millstream::row! {
//!     struct Reading { device: String, celsius: f64 }
//! }
//! millstream::row! {
//!     struct Seen { device: String, readings: i64 }
//! }
//!
//! let (feed, readings) = channel::<Reading>(1024);
//! let (sink, seen) = collect::<Seen>();
//! let flow = Flow::new("sensors");
//! flow.channel("readings", readings)
//!     .filter("warm", |r| r.celsius > 0.0)
//!     .key_by(|r| r.device.clone())
//!     .stateful("count", |count: &mut i64, r, out| {
//!         *count += 1;
//!         out.push(Seen { device: r.device, readings: *count });
//!     })
//!     .to("seen", sink);
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let state = dir.path();
//! let runtime = Runtime::builder().state_dir(state).build().unwrap();
//! let job = runtime.start(&flow.pipeline(), Resume::OrFresh).unwrap();
//! feed.send(Reading { device: "a".into(), celsius: 20.5 }).unwrap();
//! drop(feed); // ends the source, and with it the job
//! assert_eq!(job.wait_blocking(), JobState::Stopped);
//! assert_eq!(seen.take()[0].row.readings, 1);
//! ```
//!
//! Rows are columns on every edge; a closure over rows costs one pass from columns to structs and one
//! back. [`Stream::map_batches`] works on the columns themselves.
//!
//! Building never fails half-way: problems are collected and returned by the start, all of them. The
//! name of a node is its identity: its state is found again under it. A panic in a closure fails the job
//! and nothing else.
//!
//! Closures with state have timers, in event time ([`Stateful::on_timer`]) and on the clock
//! ([`Stateful::on_clock_timer`]), and read the time from their [`Out`] alone: so a test can move it
//! ([`ManualClock`](crate::time::ManualClock)).
//!
//! Guarantees: state is as exact as any operator's. A [`channel()`] keeps what no checkpoint covers for the next
//! job of the same process, but loses it with the process (at most once); [`collect()`] hands rows over as
//! they come, so a restart may repeat them (at least once). With a source that can be read again and a
//! sink with two phases, [`Flow::source`] and [`Stream::to`] give exactly once.

mod channel;
mod collect;
mod flow;
mod key;
mod keyed;
mod out;
mod row;
mod stage;
mod stateful;
mod subscribe;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timer_tests;

pub use channel::{Channel, Closed, Feed, channel};
pub use collect::{Collected, Collector, Update, collect};
pub use flow::{Attempt, Flow, Keyed, Stateful, Stream};
pub use key::Key;
pub use out::Out;
pub use row::{Field, Micros, Row, Value, column};
pub use subscribe::{Next, Subscription};
