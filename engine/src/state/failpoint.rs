//! Named places at which a test can kill the process.
//!
//! With the cargo feature `failpoints`, `MILLSTREAM_FAILPOINT=name:hit` makes the process abort when it
//! passes [`failpoint!`](crate::failpoint) `name` for the `hit`th time (from 1), which is as abrupt as
//! `kill -9`. Without the feature the macro compiles to nothing. A name that is not in [`names`] does
//! not compile.

/// All names, in the order in which a checkpoint passes them.
const NAMES: &[&str] = &[
    "state.open.begin",
    "state.open.tail_read",
    "state.open.generation_put",
    "state.open.verified",
    "state.commit.begin",
    "state.commit.data_put",
    "state.commit.base_put",
    "state.commit.attached_put",
    "state.commit.files_done",
    "state.commit.record_put",
    "state.collect.listed",
    "state.collect.deleted",
    "state.collect.record_deleted",
    "store.put.begin",
    "store.put.created",
    "store.put.half_written",
    "store.put.written",
    "store.put.synced",
    "store.put.linked",
    "store.put.unlinked",
    "store.put.dir_synced",
    "store.delete.begin",
    "store.delete.unlinked",
    "file_sink.created",
    "file_sink.written",
    "file_sink.synced",
    "file_sink.closed",
    "file_sink.prepared",
    "file_sink.renamed",
    "file_sink.committed",
    "file_sink.recover.cut",
    "file_sink.recover.published",
    "file_sink.recover.cleaned",
];

/// All names that [`failpoint!`](crate::failpoint) is used with.
pub fn names() -> &'static [&'static str] {
    NAMES
}

/// Kills the process here if a test asks for it: see [`state::failpoint`](crate::state::failpoint).
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        const { assert!($crate::state::failpoint::is_known($name), "add the name to failpoint::NAMES") };
        $crate::state::failpoint::hit($name);
    }};
}

/// True if the name is in [`names`]; at compile time.
#[doc(hidden)]
pub const fn is_known(name: &str) -> bool {
    let mut i = 0;
    while i < NAMES.len() {
        if same(NAMES[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// One pass through a failpoint.
#[doc(hidden)]
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// One pass through a failpoint.
#[doc(hidden)]
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("MILLSTREAM_FAILPOINT").ok()?;
        let (name, hit) = text.rsplit_once(':').unwrap_or((&text, "1"));
        assert!(NAMES.contains(&name), "MILLSTREAM_FAILPOINT: unknown name {name}");
        Some((name.to_string(), hit.parse().expect("MILLSTREAM_FAILPOINT is name:hit")))
    });
    if let Some((wanted, at)) = wanted
        && wanted == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *at
    {
        std::process::abort();
    }
}
