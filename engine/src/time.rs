//! Epochs, watermarks and the clock.
//!
//! An *epoch* is the engine's logical clock: a `u64`, totally ordered, the timely timestamp of every
//! batch. A *watermark* is an estimate in event time; late rows may break it, nothing breaks a frontier.
//! Event time is microseconds since the Unix epoch, UTC, everywhere.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One value of the engine's logical clock. Epoch 0 is before the first record.
pub type Epoch = u64;

/// Event time: microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// An estimate of completeness in event time: no row older than this is expected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub Micros);

impl Watermark {
    /// Nothing is known yet.
    pub const UNKNOWN: Watermark = Watermark(i64::MIN);
    /// The input has ended: every window may close.
    pub const END: Watermark = Watermark(i64::MAX);
}

/// Where the engine reads time from. Nothing else in the engine looks at the wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock: microseconds since the Unix epoch. May jump.
    fn now(&self) -> Micros;
    /// Time since some fixed moment. Never jumps, never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// The machine's clocks, counting monotonic time from now.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(SystemClock(Instant::now()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
