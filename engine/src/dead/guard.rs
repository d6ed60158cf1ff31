//! The rate guard: a format that changes must not bury a topic in the dead-letter store.
//!
//! Letters on their way to the store and records read by the sources are counted over the last [`Guard::every`].
//! When there are more letters than [`Guard::rows`], and they are a larger share of the records than
//! [`Guard::share`], the guard strikes, once and for the life of the job: the sources wait and an alarm stands, or,
//! where all sources end by themselves, the run ends with that problem. What had been read by then is in the
//! checkpoint, its letters in the store. Letters that go to a connected `errors` port are not counted: they
//! are data.

use crate::Problem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When there are too many dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Of a million records, how many may become dead letters.
    pub share: u32,
    /// So many may always.
    pub rows: u64,
    /// Over how long both are counted.
    pub every: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Guard { share: 50_000, rows: 1_000, every: Duration::from_secs(60) }
    }
}

/// The guard of a running job.
#[derive(Debug)]
pub(crate) struct Counter {
    guard: Guard,
    window: Mutex<Window>,
}

/// What is looked back over: the present half of the time, and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    present: Half,
    before: Half,
    /// Records read when letters were last counted.
    read: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    began: Duration,
    /// Records read before it began.
    read: u64,
    letters: u64,
}

impl Counter {
    pub fn new(guard: Guard, now: Duration) -> Counter {
        let half = Half { began: now, ..Half::default() };
        Counter { guard, window: Mutex::new(Window { present: half, before: half, read: 0 }) }
    }

    /// `letters` more at monotonic time `now`, with `read` records read in all. What is wrong, where it is too many.
    pub fn count(&self, letters: u64, read: u64, now: Duration) -> Option<Problem> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let Window { present, before, read: last } = &mut *window;
        let age = now.saturating_sub(present.began);
        if age > self.guard.every / 2 {
            let fresh = Half { began: now, read: *last, letters: 0 };
            *before = if age > self.guard.every { fresh } else { *present };
            *present = fresh;
        }
        *last = read;
        present.letters += letters;
        let letters = present.letters + before.letters;
        let read = read.saturating_sub(before.read).max(letters);
        let too_many = letters > self.guard.rows
            && u128::from(letters) * 1_000_000 > u128::from(read) * u128::from(self.guard.share);
        too_many.then(|| self.problem(letters, read, now.saturating_sub(before.began)))
    }

    fn problem(&self, letters: u64, read: u64, over: Duration) -> Problem {
        let percent = f64::from(self.guard.share) / 10_000.0;
        Problem::error("DEAD-GUARD", "too many records become dead letters")
            .found(format!(
                "{letters} of {read} records ({:.1} %) within {:.1} s",
                letters as f64 * 100.0 / read as f64,
                over.as_secs_f64()
            ))
            .expected(format!(
                "at most {percent} % within {:?}, where there are more than {}",
                self.guard.every, self.guard.rows
            ))
            .help("`millstream dead list` shows them; mend the pipeline, start it again and run `millstream dead replay`; if they are meant to be, start it again with `dead_letters: { guard: off }`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn counter() -> Counter {
        Counter::new(Guard::default(), S)
    }

    #[test]
    fn a_changed_format_strikes_soon() {
        let counter = counter();
        assert_eq!(counter.count(1_000, 1_000, S), None, "so many may always");
        let problem = counter.count(1, 1_001, S).unwrap();
        assert_eq!(problem.found.as_deref(), Some("1001 of 1001 records (100.0 %) within 0.0 s"));
    }

    #[test]
    fn a_small_share_never_does() {
        let counter = counter();
        let rounds = (1..1_000).map(|n| counter.count(500, n * 10_000, S * (1 + u32::try_from(n).unwrap())));
        assert!(rounds.flatten().next().is_none());
    }

    #[test]
    fn only_the_last_minute_counts() {
        let counter = counter();
        assert_eq!(counter.count(900, 900, S), None);
        assert_eq!(counter.count(900, 1_800, S * 70), None, "the first ones are long ago");
        assert_eq!(counter.count(900, 90_000, S * 120), None);
        assert!(counter.count(5_000, 95_000, S * 121).is_some());
    }
}
