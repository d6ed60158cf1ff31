//! State per key: a value of the program's own type, changed by a closure, kept in the checkpoints.
//!
//! A checkpoint takes the keys changed since the last one: `_group`, the key's bytes, and the state as
//! JSON; NULL says that the key is gone. A worker takes back the keys of its own key groups, so the number
//! of workers may change between runs. All of it is held in memory.

use super::row::Row;
use super::stage::{KEY, send};
use crate::batch::{Batch, record_batch};
use crate::key::{group, hash_rows};
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::Epoch;
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, StringArray, StringBuilder, UInt8Array, UInt8Builder};
use arrow::datatypes::{DataType, Field, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;

/// The name of the state's only table.
const TABLE: &str = "keys";

/// What a stateful closure puts out.
#[derive(Debug)]
pub struct Out<U> {
    rows: Vec<U>,
    forget: bool,
}

impl<U> Out<U> {
    /// Puts out a row.
    pub fn push(&mut self, row: U) {
        self.rows.push(row);
    }
    /// Gives up the state of this key once the closure returns; its next row begins with the default.
    pub fn forget(&mut self) {
        self.forget = true;
    }
}

/// The operator of one worker.
pub(super) struct Stateful<T, U, S, F> {
    run: Arc<F>,
    states: HashMap<Box<[u8]>, S>,
    /// Keys changed since the last delta, in a fixed order.
    changed: BTreeSet<Box<[u8]>>,
    rows: PhantomData<fn(T) -> U>,
}

impl<T, U, S, F> Stateful<T, U, S, F> {
    pub fn new(run: Arc<F>) -> Self {
        Stateful { run, states: HashMap::new(), changed: BTreeSet::new(), rows: PhantomData }
    }
}

impl<T, U, S, F> Operator for Stateful<T, U, S, F>
where
    T: Row,
    U: Row,
    S: Serialize + DeserializeOwned + Default + 'static,
    F: Fn(&mut S, T, &mut Out<U>) + 'static,
{
    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, emit: &mut Emit) -> Result<()> {
        let keys = batch.column(KEY).and_then(|c| c.as_any().downcast_ref::<BinaryArray>()).cloned();
        let keys = keys.ok_or_else(|| Problem::internal("keyed rows came without their key"))?;
        let mut out = Out { rows: Vec::new(), forget: false };
        for (n, row) in T::from_batch(&batch.rows)?.into_iter().enumerate() {
            if batch.diff.as_ref().is_some_and(|d| d.value(n) != 1) {
                emit.reject(&batch, n, "STATEFUL-DIFF", "a closure with state takes rows that come once, not changes");
                continue;
            }
            let key = keys.value(n);
            let state = match self.states.get_mut(key) {
                Some(state) => state,
                None => self.states.entry(key.into()).or_default(),
            };
            (self.run)(state, row, &mut out);
            if std::mem::take(&mut out.forget) {
                self.states.remove(key);
            }
            if !self.changed.contains(key) {
                self.changed.insert(key.into());
            }
        }
        send(&Batch::new(U::to_batch(&out.rows)), emit);
        Ok(())
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        let changed = std::mem::take(&mut self.changed);
        out.extend(block(changed.iter().map(|key| (&**key, self.states.get(key))))?);
        Ok(())
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.extend(block(self.states.iter().map(|(key, state)| (&**key, Some(state))))?);
        Ok(())
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        let Change::Rows(rows) = &block.change else { return Ok(()) };
        let group = stored::<UInt8Array>(rows.columns().first())?;
        let (key, state) =
            (stored::<BinaryArray>(rows.column_by_name("key"))?, stored::<StringArray>(rows.column_by_name("state"))?);
        for row in (0..rows.num_rows()).filter(|r| groups.contains(group.value(*r))) {
            if state.is_null(row) {
                self.states.remove(key.value(row));
                continue;
            }
            let read = serde_json::from_str(state.value(row)).map_err(|e| {
                Problem::error(
                    "STATEFUL-STATE",
                    format!("the checkpoint holds a state that the state type cannot read: {e}"),
                )
                .found(state.value(row))
                .help("give new fields a default (`#[serde(default)]`), or the node another name")
            })?;
            self.states.insert(key.value(row).into(), read);
        }
        Ok(())
    }

    /// The bytes leave out what the states hold on the heap.
    fn size(&self) -> StateSize {
        let keys = self.states.len() as u64;
        StateSize { keys, bytes: keys * size_of::<(Box<[u8]>, S)>() as u64 }
    }
}

/// A column of a stored block.
fn stored<A: Array + 'static>(column: Option<&ArrayRef>) -> Result<&A> {
    column
        .and_then(|c| c.as_any().downcast_ref::<A>())
        .ok_or_else(|| Problem::internal("a block of keyed state has other columns than it was written with"))
}

/// These keys and their states as a block; `None` where there are none.
fn block<'a, S: Serialize + 'a>(states: impl Iterator<Item = (&'a [u8], Option<&'a S>)>) -> Result<Option<StateBlock>> {
    let (mut keys, mut values) = (BinaryBuilder::new(), StringBuilder::new());
    for (key, state) in states {
        keys.append_value(key);
        let json = state.map(serde_json::to_string).transpose().map_err(|e| {
            Problem::error("STATEFUL-STATE", format!("a state cannot be written as JSON: {e}"))
                .expected("a type that serde writes as JSON: maps in it have strings as keys")
        })?;
        values.append_option(json);
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
    ]);
    let rows = keys.len();
    let columns = vec![Arc::new(groups.finish()) as ArrayRef, keys, Arc::new(values.finish())];
    let rows = record_batch(Arc::new(schema), columns, rows);
    Ok(Some(StateBlock { table: TABLE.into(), segment: 0, change: Change::Rows(rows) }))
}
