//! The states of all keys of one worker, with their timers, and how they go into a checkpoint.
//!
//! A block has one row per key: `_group`, the key's bytes, the state as JSON (NULL: the key is gone), and
//! when its timers are due.
//!
//! Invariant: a timer is in its set exactly when the entry of its key says so; a key without an entry has none.

use crate::batch::record_batch;
use crate::key::{group, hash_rows};
use crate::operator::{Change, KeyGroups, StateBlock, StateSize};
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, StringArray};
use arrow::array::{RecordBatch, StringBuilder, UInt8Array, UInt8Builder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The name of the state's only table.
const TABLE: &str = "keys";

/// A key's bytes.
pub(super) type KeyBytes = Arc<[u8]>;

/// When keys are due, in the order in which they fire.
pub(super) type Due = BTreeSet<(i64, KeyBytes)>;

/// What is kept of one key.
#[derive(Debug, Default)]
pub(super) struct Entry<S> {
    pub state: S,
    pub timer: Option<i64>,
    pub clock_timer: Option<i64>,
}

/// All keys of one worker.
pub(super) struct Keys<S> {
    entries: HashMap<KeyBytes, Entry<S>>,
    timers: Due,
    clock_timers: Due,
    /// Keys changed since the last delta, in a fixed order.
    changed: BTreeSet<KeyBytes>,
}

impl<S> Default for Keys<S> {
    fn default() -> Self {
        Keys { entries: HashMap::new(), timers: Due::new(), clock_timers: Due::new(), changed: BTreeSet::new() }
    }
}

impl<S> Keys<S> {
    /// Event-time timers in order.
    pub fn timers(&self) -> &Due {
        &self.timers
    }
    /// Clock timers in order.
    pub fn clock_timers(&self) -> &Due {
        &self.clock_timers
    }
    /// The entry of a key, to be changed: its timers only through [`Keys::schedule`].
    pub fn entry(&mut self, key: &[u8]) -> (KeyBytes, &mut Entry<S>)
    where
        S: Default,
    {
        let key = match self.entries.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => KeyBytes::from(key),
        };
        if !self.changed.contains(&key) {
            self.changed.insert(Arc::clone(&key));
        }
        let entry = self.entries.entry(Arc::clone(&key)).or_default();
        (key, entry)
    }
    /// When the timers of a key that is there are due from now on.
    pub fn schedule(&mut self, key: &KeyBytes, timer: Option<i64>, clock_timer: Option<i64>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        replace(&mut self.timers, key, std::mem::replace(&mut entry.timer, timer), timer);
        replace(&mut self.clock_timers, key, std::mem::replace(&mut entry.clock_timer, clock_timer), clock_timer);
    }
    /// Gives up a key.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            replace(&mut self.timers, &key, entry.timer, None);
            replace(&mut self.clock_timers, &key, entry.clock_timer, None);
        }
    }

    /// Keys held; the bytes leave out what the states hold on the heap.
    pub fn size(&self) -> StateSize {
        let keys = self.entries.len() as u64;
        let timers = (self.timers.len() + self.clock_timers.len()) as u64;
        let (entry, timer) = (size_of::<(KeyBytes, Entry<S>)>() as u64, size_of::<(i64, KeyBytes)>() as u64);
        StateSize { keys, bytes: keys * entry + timers * timer }
    }
}

fn replace(set: &mut Due, key: &KeyBytes, old: Option<i64>, new: Option<i64>) {
    if old == new {
        return;
    }
    if let Some(at) = old {
        set.remove(&(at, Arc::clone(key)));
    }
    if let Some(at) = new {
        set.insert((at, Arc::clone(key)));
    }
}

impl<S: Serialize + DeserializeOwned> Keys<S> {
    /// The keys changed since the last call.
    pub fn delta(&mut self) -> Result<Option<StateBlock>> {
        let changed = std::mem::take(&mut self.changed);
        block(changed.iter().map(|key| (&**key, self.entries.get(key))))
    }
    /// All keys.
    pub fn base(&self) -> Result<Option<StateBlock>> {
        block(self.entries.iter().map(|(key, entry)| (&**key, Some(entry))))
    }
    /// Takes back what `delta` and `base` made, as far as it belongs to these groups.
    pub fn restore(&mut self, block: &StateBlock, groups: &KeyGroups) -> Result<()> {
        let Change::Rows(rows) = &block.change else { return Ok(()) };
        let group = stored::<UInt8Array>(rows.columns().first())?;
        let key = stored::<BinaryArray>(rows.column_by_name("key"))?;
        let state = stored::<StringArray>(rows.column_by_name("state"))?;
        let (timer, clock_timer) = (times(rows, "timer"), times(rows, "clock_timer"));
        for row in (0..rows.num_rows()).filter(|r| groups.contains(group.value(*r))) {
            self.remove(key.value(row));
            if state.is_null(row) {
                continue;
            }
            let read = read(state.value(row))?;
            let bytes = KeyBytes::from(key.value(row));
            self.entries.insert(Arc::clone(&bytes), Entry { state: read, timer: None, clock_timer: None });
            let at = |times: Option<&Int64Array>| times.filter(|t| t.is_valid(row)).map(|t| t.value(row));
            self.schedule(&bytes, at(timer), at(clock_timer));
        }
        Ok(())
    }
}

/// When a kind of timer is due; state written before there were timers has no such column.
fn times<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a Int64Array> {
    rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>())
}

fn read<S: DeserializeOwned>(json: &str) -> Result<S> {
    serde_json::from_str(json).map_err(|e| {
        Problem::error("STATEFUL-STATE", format!("the checkpoint holds a state that the state type cannot read: {e}"))
            .found(json)
            .help("give new fields a default (`#[serde(default)]`), or the node another name")
    })
}

/// A column of a stored block.
fn stored<A: Array + 'static>(column: Option<&ArrayRef>) -> Result<&A> {
    column
        .and_then(|c| c.as_any().downcast_ref::<A>())
        .ok_or_else(|| Problem::internal("a block of keyed state has other columns than it was written with"))
}

/// These keys as a block; `None` where there are none.
fn block<'a, S: Serialize + 'a>(
    entries: impl Iterator<Item = (&'a [u8], Option<&'a Entry<S>>)>,
) -> Result<Option<StateBlock>> {
    let (mut keys, mut values) = (BinaryBuilder::new(), StringBuilder::new());
    let (mut timers, mut clock_timers) = (Int64Builder::new(), Int64Builder::new());
    for (key, entry) in entries {
        keys.append_value(key);
        let json = entry.map(|e| serde_json::to_string(&e.state)).transpose().map_err(|e| {
            Problem::error("STATEFUL-STATE", format!("a state cannot be written as JSON: {e}"))
                .expected("a type that serde writes as JSON: maps in it have strings as keys")
        })?;
        values.append_option(json);
        timers.append_option(entry.and_then(|e| e.timer));
        clock_timers.append_option(entry.and_then(|e| e.clock_timer));
    }
    let keys: ArrayRef = Arc::new(keys.finish());
    if keys.is_empty() {
        return Ok(None);
    }
    let mut hashes = Vec::new();
    hash_rows(&[Arc::clone(&keys)], &mut hashes)?;
    let mut groups = UInt8Builder::with_capacity(hashes.len());
    hashes.iter().for_each(|h| groups.append_value(group(*h)));
    let schema = Schema::new(vec![
        Field::new("_group", DataType::UInt8, false),
        Field::new("key", DataType::Binary, false),
        Field::new("state", DataType::Utf8, true),
        Field::new("timer", DataType::Int64, true),
        Field::new("clock_timer", DataType::Int64, true),
    ]);
    let rows = keys.len();
    let columns = vec![
        Arc::new(groups.finish()) as ArrayRef,
        keys,
        Arc::new(values.finish()),
        Arc::new(timers.finish()),
        Arc::new(clock_timers.finish()),
    ];
    let rows = record_batch(Arc::new(schema), columns, rows);
    Ok(Some(StateBlock { table: TABLE.into(), segment: 0, change: Change::Rows(rows) }))
}
