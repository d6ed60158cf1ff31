//! Ctrl-C: the first drains, the second stops at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the program has been asked to end.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Begins to listen, once per process.
pub fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Without signals the program still works; it then ends the hard way.
        let _ = ctrlc::set_handler(|| {
            ASKED.fetch_add(1, Ordering::SeqCst);
        });
    });
}

/// How often the program has been asked to end.
pub fn asked() -> usize {
    ASKED.load(Ordering::SeqCst)
}
