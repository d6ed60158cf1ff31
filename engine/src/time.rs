//! Epochs, watermarks and the clock.
//!
//! An *epoch* is the engine's logical clock: a `u64`, totally ordered, the timely timestamp of every
//! batch. A *watermark* is an estimate in event time; late rows may break it, nothing breaks a frontier.
//! Event time is microseconds since the Unix epoch, UTC, everywhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
    /// The clock itself, where time only passes when somebody says so. A job on such a clock ends an epoch
    /// as soon as it holds something, since the time between two epochs might never pass.
    fn manual(&self) -> Option<&ManualClock> {
        None
    }
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

/// A clock that stands until it is moved; clones of the [`Arc`] are the same clock.
///
/// A job that runs on it is woken by every move and ends the epoch that is open, so that timers, idle
/// sources and windows by arrival time see the new time at once.
///
/// ```
/// use millstream::time::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at(1_000_000);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!((clock.now(), clock.monotonic()), (2_000_000, Duration::from_secs(1)));
/// clock.set(0); // somebody sets the wall clock back; no time has passed
/// assert_eq!((clock.now(), clock.monotonic()), (0, Duration::from_secs(1)));
/// ```
#[derive(Default)]
pub struct ManualClock(Mutex<Manual>);

#[derive(Default)]
struct Manual {
    wall: Micros,
    monotonic: Duration,
    watchers: Vec<Weak<dyn Moved>>,
}

/// Somebody who must hear when a [`ManualClock`] moves.
pub(crate) trait Moved: Send + Sync {
    /// The clock shows another time now.
    fn moved(&self);
}

impl ManualClock {
    /// A clock that shows this wall time; its monotonic time begins at zero.
    pub fn at(wall: Micros) -> Arc<ManualClock> {
        Arc::new(ManualClock(Mutex::new(Manual { wall, ..Manual::default() })))
    }
    /// Time passes, on both clocks.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.change(|m| {
            m.wall = m.wall.saturating_add(micros);
            m.monotonic += by;
        });
    }
    /// Time passes while the wall clock stands still: it is frozen, or was set back meanwhile.
    pub fn advance_frozen(&self, by: Duration) {
        self.change(|m| m.monotonic += by);
    }
    /// Sets the wall clock; no time passes.
    pub fn set(&self, wall: Micros) {
        self.change(|m| m.wall = wall);
    }
    /// Makes the wall clock show `wall`: time passes where it lies ahead, otherwise the clock is set back.
    pub fn move_to(&self, wall: Micros) {
        self.change(|m| {
            m.monotonic += Duration::from_micros(u64::try_from(wall.saturating_sub(m.wall)).unwrap_or(0));
            m.wall = wall;
        });
    }
    /// Tells `watcher` of every move, for as long as it is there.
    pub(crate) fn watch(&self, watcher: Weak<dyn Moved>) {
        let mut inner = self.lock();
        inner.watchers.retain(|w| w.strong_count() > 0);
        inner.watchers.push(watcher);
    }

    fn change(&self, change: impl FnOnce(&mut Manual)) {
        let watchers = {
            let mut inner = self.lock();
            change(&mut inner);
            inner.watchers.clone()
        };
        // Not under the lock: who is told will look at the clock.
        watchers.iter().filter_map(Weak::upgrade).for_each(|w| w.moved());
    }
    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        self.lock().wall
    }
    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }
    fn manual(&self) -> Option<&ManualClock> {
        Some(self)
    }
}
