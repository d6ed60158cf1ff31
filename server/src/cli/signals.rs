//! Ctrl-C: the first drains, the second stops at once.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How often the program has been asked to end.
static ASKED: Mutex<usize> = Mutex::new(0);
static ASKED_AGAIN: Condvar = Condvar::new();

fn count() -> MutexGuard<'static, usize> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen, once per process.
pub fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Without signals the program still works; it then ends the hard way.
        let _ = ctrlc::set_handler(|| {
            *count() += 1;
            ASKED_AGAIN.notify_all();
        });
    });
}

/// How often the program has been asked to end.
pub fn asked() -> usize {
    *count()
}

/// Waits until the program has been asked to end, at most for `limit`; whether it has been.
pub fn wait(limit: Duration) -> bool {
    let waited = ASKED_AGAIN.wait_timeout_while(count(), limit, |asked| *asked == 0);
    *waited.unwrap_or_else(PoisonError::into_inner).0 > 0
}
