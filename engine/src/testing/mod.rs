//! Runs of a pipeline in a test: what goes in, what comes out, and a clock that is moved by hand.
//!
//! A [`TestRun`] is the real thing: the planned dataflow with one worker, checkpoints into memory. Every
//! source is replaced by its feed, every sink by a collector, and time passes only when the test says so.
//! Each record has an epoch of its own, so two runs of one test do the same.
//!
//! ```
//! use millstream::testing::TestRun;
//! use millstream::typed::{Flow, Micros, channel, collect};
//! use std::time::Duration;
//!
//! millstream::row! { struct Reading { device: String, celsius: f64, at: Micros } }
//! millstream::row! {
//!     #[derive(Debug, PartialEq)]
//!     struct Silent { device: String, celsius: f64 }
//! }
//!
//! fn sensors() -> Flow {
//!     let flow = Flow::new("sensors");
//!     flow.channel("readings", channel::<Reading>(1024).1)
//!         .event_time("at", Duration::from_secs(5))
//!         .key_by(|r| r.device.clone())
//!         .stateful("silent", |celsius: &mut f64, r, out| {
//!             *celsius = r.celsius;
//!             out.timer(r.at + Duration::from_secs(300));
//!         })
//!         .on_timer(|device, celsius, _at, out| {
//!             out.push(Silent { device: device.clone(), celsius: *celsius });
//!         })
//!         .to("alarms", collect::<Silent>().0);
//!     flow
//! }
//!
//! # fn main() {
//! // #[test]
//! // fn a_device_that_falls_silent_raises_an_alarm() {
//! let minute = |m: i64| Micros(m * 60_000_000);
//! let outcome = TestRun::new(&sensors().pipeline())
//!     .row("readings", Reading { device: "a".into(), celsius: 20.0, at: minute(0) })
//!     .row("readings", Reading { device: "b".into(), celsius: 30.0, at: minute(1) })
//!     .row("readings", Reading { device: "a".into(), celsius: 21.0, at: minute(4) })
//!     .watermark(minute(7)) // `b` is silent since six minutes, `a` since three
//!     .run()
//!     .unwrap();
//! assert_eq!(outcome.rows::<Silent>("alarms"), [Silent { device: "b".into(), celsius: 30.0 }]);
//! # }
//! ```

mod collect;
mod feed;
mod outcome;
mod run;
#[cfg(test)]
mod tests;

pub use outcome::Outcome;
pub use run::TestRun;
