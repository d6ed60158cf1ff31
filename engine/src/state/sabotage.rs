//! Planted mistakes that the tests must catch: who tests the tests.
//!
//! With the cargo feature `sabotage`, `MILLSTREAM_SABOTAGE=name` switches one on for the process; this
//! crate's own tests switch them on for one thread. Otherwise [`planted`] is `false` at compile time.

/// The mistakes that the store and the log know.
pub const NAMES: &[&str] = &[
    "skip_dir_fsync",
    "record_before_files",
    "overwrite_instead_of_put_if_absent",
    "resume_old",
    "gc_too_early",
    "skip_checksum",
];

/// The mistakes that the runtime knows; the tests of the whole system must catch each.
pub const RUNTIME: &[&str] = &[
    "position_behind",
    "position_ahead",
    "publish_before_record",
    "skip_sink_recovery",
    "skip_delta",
    "key_hash_changed",
    "forget_positions",
];

/// True if the mistake `name` is to be made here.
#[cfg(not(any(test, feature = "sabotage")))]
#[inline(always)]
pub const fn planted(_name: &str) -> bool {
    false
}

/// True if the mistake `name` is to be made here.
#[cfg(any(test, feature = "sabotage"))]
pub fn planted(name: &str) -> bool {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    if ON_THIS_THREAD.with(|on| on.borrow().as_deref() == Some(name)) {
        return true;
    }
    WANTED.get_or_init(|| std::env::var("MILLSTREAM_SABOTAGE").ok()).as_deref() == Some(name)
}

#[cfg(any(test, feature = "sabotage"))]
thread_local! {
    static ON_THIS_THREAD: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Runs `work` with one mistake planted on this thread.
#[cfg(any(test, feature = "sabotage"))]
pub fn with<T>(name: &str, work: impl FnOnce() -> T) -> T {
    ON_THIS_THREAD.with(|on| *on.borrow_mut() = Some(name.to_string()));
    let result = work();
    ON_THIS_THREAD.with(|on| *on.borrow_mut() = None);
    result
}
