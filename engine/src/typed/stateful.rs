//! State per key: a value of the program's own type, changed by closures, kept in the checkpoints together
//! with the key's timers.
//!
//! A checkpoint takes the keys changed since the last one. A worker takes back the keys of its own key
//! groups, so the number of workers may change between runs. All of it is held in memory.
//!
//! Timers fire at the close of an epoch, event time before clock, each in the order of their times and then
//! of the bytes of their keys. One that a closure sets while timers fire, and that is due already, fires in
//! the same close where it is later than the one that fires; otherwise, and on the clock always, at the
//! next close: a closure that sets what is past cannot hold up the job. Once the input has ended there is no
//! next close: everything fires, in order, until nothing is set any more.

use super::key::Key;
use super::keyed::{KeyBytes, Keys};
use super::out::{Out, Set};
use super::row::{Micros, Row};
use super::stage::{KEY, send};
use crate::batch::Batch;
use crate::operator::{Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::array::BinaryArray;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Bound;
use std::sync::Arc;

/// How many timers may set another one after the input has ended. A closure that goes on for ever must be
/// told from one that works off what it has.
const ENDLESS: usize = if cfg!(test) { 1_000 } else { 1_000_000 };

/// What is called for a row.
type OnRow<S, T, U> = Arc<dyn Fn(&mut S, T, &mut Out<U>) + Send + Sync>;
/// What is called for a timer.
type OnTimer<K, S, U> = Arc<dyn Fn(&K, &mut S, Micros, &mut Out<U>) + Send + Sync>;

/// The closures of one node.
pub(super) struct Closures<K, T, U, S> {
    pub row: OnRow<S, T, U>,
    pub timer: Option<OnTimer<K, S, U>>,
    pub clock_timer: Option<OnTimer<K, S, U>>,
}

impl<K, T, U, S> Clone for Closures<K, T, U, S> {
    fn clone(&self) -> Self {
        Closures { row: Arc::clone(&self.row), timer: self.timer.clone(), clock_timer: self.clock_timer.clone() }
    }
}

/// The operator of one worker.
pub(super) struct KeyedState<K, T, U, S> {
    calls: Closures<K, T, U, S>,
    keys: Keys<S>,
    watermark: Watermark,
}

/// Which timer fires.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Event,
    Clock,
}

impl<K, T, U, S> KeyedState<K, T, U, S>
where
    K: Key,
    U: Row,
    S: Default,
{
    pub fn new(calls: Closures<K, T, U, S>) -> Self {
        KeyedState { calls, keys: Keys::default(), watermark: Watermark::UNKNOWN }
    }

    /// Carries out what a closure said about its key.
    fn settle(&mut self, key: &KeyBytes, out: &mut Out<U>) -> Result<()> {
        let (timer, clock_timer) =
            (std::mem::replace(&mut out.timer, Set::Keep), std::mem::replace(&mut out.clock_timer, Set::Keep));
        if std::mem::take(&mut out.forget) {
            self.keys.remove(key);
            return Ok(());
        }
        if (timer, clock_timer) == (Set::Keep, Set::Keep) {
            return Ok(());
        }
        unheard(timer, self.calls.timer.is_some(), "timer")?;
        unheard(clock_timer, self.calls.clock_timer.is_some(), "clock_timer")?;
        let (_, entry) = self.keys.entry(key);
        let (timer, clock_timer) = (becomes(entry.timer, timer), becomes(entry.clock_timer, clock_timer));
        self.keys.schedule(key, timer, clock_timer);
        Ok(())
    }

    fn fire(&mut self, which: Which, at: i64, key: &KeyBytes, out: &mut Out<U>) -> Result<()> {
        let (_, entry) = self.keys.entry(key);
        let (timer, clock_timer) = (entry.timer, entry.clock_timer);
        let call = match which {
            Which::Event => {
                self.keys.schedule(key, None, clock_timer);
                self.calls.timer.as_ref()
            }
            Which::Clock => {
                self.keys.schedule(key, timer, None);
                self.calls.clock_timer.as_ref()
            }
        };
        let call = call.ok_or_else(|| unheard_of(if which == Which::Event { "timer" } else { "clock_timer" }))?;
        let named = K::read(&mut &**key).ok_or_else(|| Problem::internal("a key's bytes are not those of its type"))?;
        call(&named, &mut self.keys.entry(key).1.state, Micros(at), out);
        self.settle(key, out)
    }

    /// Fires what the watermark has passed.
    fn fire_event_time(&mut self, out: &mut Out<U>) -> Result<()> {
        if self.watermark == Watermark::END {
            return self.fire_all(out);
        }
        let mut after = Bound::Unbounded;
        loop {
            let next = self.keys.timers().range((after, Bound::Unbounded)).next();
            let Some((at, key)) = next.filter(|(at, _)| *at <= self.watermark.0).cloned() else { return Ok(()) };
            self.fire(Which::Event, at, &key, out)?;
            after = Bound::Excluded((at, key));
        }
    }

    /// The input has ended.
    fn fire_all(&mut self, out: &mut Out<U>) -> Result<()> {
        let most = self.keys.timers().len() + ENDLESS;
        for _ in 0..most {
            let Some((at, key)) = self.keys.timers().first().cloned() else { return Ok(()) };
            self.fire(Which::Event, at, &key, out)?;
        }
        match self.keys.timers().is_empty() {
            true => Ok(()),
            false => Err(Problem::error("STATEFUL-ENDLESS", "timers set others for ever after the input has ended")
                .help("set no timer again where `out.has_ended()`")),
        }
    }

    /// Fires what the clock has passed.
    fn fire_clock(&mut self, out: &mut Out<U>) -> Result<()> {
        let due = self.keys.clock_timers().iter().take_while(|(at, _)| *at <= out.now);
        let due: Vec<(i64, KeyBytes)> = due.cloned().collect();
        due.iter().try_for_each(|(at, key)| self.fire(Which::Clock, *at, key, out))
    }
}

fn becomes(old: Option<i64>, set: Set) -> Option<i64> {
    match set {
        Set::Keep => old,
        Set::At(at) => Some(at),
        Set::Cancel => None,
    }
}

fn unheard(set: Set, heard: bool, what: &str) -> Result<()> {
    if matches!(set, Set::At(_)) && !heard { Err(unheard_of(what)) } else { Ok(()) }
}

fn unheard_of(what: &str) -> Problem {
    Problem::error("STATEFUL-TIMER", format!("a key has a {what}, and the node does not say what happens then"))
        .help(format!("add `.on_{what}(..)` behind `.stateful(..)`"))
}

impl<K, T, U, S> Operator for KeyedState<K, T, U, S>
where
    K: Key + 'static,
    T: Row,
    U: Row,
    S: Serialize + DeserializeOwned + Default + 'static,
{
    fn on_batch(&mut self, _port: usize, _epoch: Epoch, batch: Batch, emit: &mut Emit) -> Result<()> {
        let keys = batch.column(KEY).and_then(|c| c.as_any().downcast_ref::<BinaryArray>()).cloned();
        let keys = keys.ok_or_else(|| Problem::internal("keyed rows came without their key"))?;
        let mut out = Out::new(emit.now, self.watermark);
        for (n, row) in T::from_batch(&batch.rows)?.into_iter().enumerate() {
            if batch.diff.as_ref().is_some_and(|d| d.value(n) != 1) {
                emit.reject(&batch, n, "STATEFUL-DIFF", "a closure with state takes rows that come once, not changes");
                continue;
            }
            let (key, entry) = self.keys.entry(keys.value(n));
            (self.calls.row)(&mut entry.state, row, &mut out);
            self.settle(&key, &mut out)?;
        }
        send(&Batch::new(U::to_batch(&out.rows)), emit);
        Ok(())
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, emit: &mut Emit) -> Result<()> {
        self.watermark = watermark;
        if emit.is_restoring() {
            return Ok(());
        }
        let mut out = Out::new(emit.now, watermark);
        self.fire_event_time(&mut out)?;
        self.fire_clock(&mut out)?;
        send(&Batch::new(U::to_batch(&out.rows)), emit);
        Ok(())
    }

    fn wake(&self) -> Option<i64> {
        let passed = self.keys.timers().first().is_some_and(|(at, _)| *at <= self.watermark.0);
        if passed { Some(i64::MIN) } else { self.keys.clock_timers().first().map(|(at, _)| *at) }
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.extend(self.keys.delta()?);
        Ok(())
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.extend(self.keys.base()?);
        Ok(())
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        self.keys.restore(&block, groups)
    }

    fn size(&self) -> StateSize {
        self.keys.size()
    }
}
