//! What a closure with state talks to: its output, its timers, its clock.

use super::row::Micros;
use crate::time::Watermark;

/// What is to become of a timer once the closure returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Keep,
    At(i64),
    Cancel,
}

/// The hands of a closure with state: what it puts out, its timers, and the only time it may look at.
///
/// A key has at most one timer in event time and one on the clock; setting one again replaces it. What is
/// said here holds once the closure returns.
#[derive(Debug)]
pub struct Out<U> {
    pub(super) rows: Vec<U>,
    pub(super) forget: bool,
    pub(super) timer: Set,
    pub(super) clock_timer: Set,
    pub(super) now: i64,
    pub(super) watermark: Watermark,
}

impl<U> Out<U> {
    pub(super) fn new(now: i64, watermark: Watermark) -> Out<U> {
        Out { rows: Vec::new(), forget: false, timer: Set::Keep, clock_timer: Set::Keep, now, watermark }
    }

    /// Puts out a row.
    pub fn push(&mut self, row: U) {
        self.rows.push(row);
    }
    /// Gives up the state of this key and its timers; its next row begins with the default.
    pub fn forget(&mut self) {
        self.forget = true;
    }
    /// The wall clock: the same for everything that this worker does at this node in one epoch.
    pub fn now(&self) -> Micros {
        Micros(self.now)
    }
    /// How far event time has come: no row older than this is expected any more. `None` while nothing is
    /// known; the greatest value once the input has ended.
    pub fn watermark(&self) -> Option<Micros> {
        (self.watermark != Watermark::UNKNOWN).then_some(Micros(self.watermark.0))
    }
    /// True once the input has ended: no row will come, and [`Out::watermark`] is the greatest value.
    pub fn has_ended(&self) -> bool {
        self.watermark == Watermark::END
    }
    /// Calls [`on_timer`](super::Stateful::on_timer) for this key once the watermark has reached `at`, in
    /// place of what was set before.
    pub fn timer(&mut self, at: Micros) {
        self.timer = Set::At(at.0);
    }
    /// Takes back what [`Out::timer`] has set.
    pub fn cancel_timer(&mut self) {
        self.timer = Set::Cancel;
    }
    /// Calls [`on_clock_timer`](super::Stateful::on_clock_timer) for this key once the wall clock has reached
    /// `at`, in place of what was set before.
    pub fn clock_timer(&mut self, at: Micros) {
        self.clock_timer = Set::At(at.0);
    }
    /// Takes back what [`Out::clock_timer`] has set.
    pub fn cancel_clock_timer(&mut self) {
        self.clock_timer = Set::Cancel;
    }
}
