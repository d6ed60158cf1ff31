//! Everything of a pipeline that grows on disk: for `status --disk` and for the metrics.

use millstream::dead::{Limits, WhenFull};
use millstream::state::{Committed, Store, usage};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// One thing that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is: the label of its metric.
    pub what: &'static str,
    /// How large it is.
    pub bytes: u64,
    /// How large it may be, and what happens then.
    pub max: Option<(u64, &'static str)>,
    /// How old it may be.
    pub keep: Option<Duration>,
    /// What bounds it where that is no number.
    pub bound: &'static str,
}

impl Item {
    /// The part of `max` that is used, 1 = all.
    pub fn share(&self) -> Option<f64> {
        self.max.map(|(max, _)| self.bytes as f64 / max as f64)
    }
}

/// What there is now.
///
/// # Errors
/// Where the state directory cannot be read.
pub fn items(store: &Arc<dyn Store>, limits: &Limits) -> millstream::Result<Vec<Item>> {
    let used = usage(&**store)?;
    let hidden =
        Committed::newest(store)?.map_or(0, |tail| tail.body.sinks.values().flatten().map(|h| open(&h.0)).sum());
    let item = |what, bytes, bound| Item { what, bytes, max: None, keep: None, bound };
    let when_full = match limits.when_full {
        WhenFull::Pause => "pause",
        WhenFull::DropOldest => "drop_oldest",
    };
    Ok(vec![
        item("log", used.records, "the newest 64 records"),
        item("state", used.state, "what operators hold, up to twice"),
        item("outbox", used.outboxes, "two checkpoints"),
        Item {
            max: Some((limits.max, when_full)),
            keep: Some(limits.keep),
            ..item("dead_letters", used.dead_letters, "")
        },
        item("sink_parts", hidden, "`roll` of each sink"),
        item("other", used.other, "not Millstream's"),
    ])
}

/// Bytes of the parts that a sink still writes to, from its handle in the commit record.
fn open(handle: &Value) -> u64 {
    handle["open"].as_array().into_iter().flatten().filter_map(|part| part["bytes"].as_u64()).sum()
}
