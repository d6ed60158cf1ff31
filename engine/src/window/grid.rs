//! Which pane a time falls into, and which windows a pane belongs to.

use super::spec::Window;
use crate::{Problem, Result};
use std::ops::RangeInclusive;

/// A span of event time, half-open, in microseconds. Ordered by end, so that a map of panes is in the
/// order in which they die. `start` is `i64::MIN` where rows carry only an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) end: i64,
    pub(super) start: i64,
}

/// Windows of one size at regular distances, cut into panes so that every window is a run of panes.
///
/// Arithmetic saturates: a time within one window of the ends of `i64` falls into a clipped window
/// instead of overflowing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    slide: i64,
    size: i64,
    offset: i64,
    pane: i64,
}

impl Grid {
    /// The grid of a tumbling or hopping window; `None` for the others. Errors: `WINDOW-SIZE` where size or
    /// slide is not positive.
    pub(super) fn new(window: &Window) -> Result<Option<Grid>> {
        let (slide, size, offset) = match *window {
            Window::Tumble { size_us, offset_us, .. } => (size_us, size_us, offset_us),
            Window::Hop { slide_us, size_us, offset_us, .. } => (slide_us, size_us, offset_us),
            Window::Session { .. } | Window::Existing { .. } => return Ok(None),
        };
        if slide <= 0 || size <= 0 {
            return Err(Problem::error("WINDOW-SIZE", "a window needs a positive size and slide")
                .found(format!("size {size} us, slide {slide} us")));
        }
        Ok(Some(Grid { slide, size, offset, pane: gcd(slide, size) }))
    }

    /// True if every window is one pane and every pane one window.
    pub(super) fn is_one_pane(&self) -> bool {
        self.size == self.pane && self.slide == self.pane
    }

    /// The pane of a time.
    #[inline]
    pub(super) fn pane(&self, time: i64) -> Span {
        let start = floor(time, self.pane, self.offset);
        Span { start, end: start.saturating_add(self.pane) }
    }

    /// The end of the last window that holds this pane; `None` where it lies between windows.
    pub(super) fn last_end(&self, pane: Span) -> Option<i64> {
        let end = floor(pane.start, self.slide, self.offset).saturating_add(self.size);
        (end > pane.start).then_some(end)
    }

    /// The end of the first window that ends after `after` and holds this pane.
    fn next_end(&self, pane: Span, after: i64) -> Option<i64> {
        // Window ends lie at offset + size + k * slide.
        let phase = (self.offset.wrapping_add(self.size)).rem_euclid(self.slide);
        let least = pane.end.max(after.saturating_add(1));
        let before = floor(least, self.slide, phase);
        let end = if before >= least { before } else { before.saturating_add(self.slide) };
        self.last_end(pane).filter(|last| end <= *last).map(|_| end)
    }

    /// The next window to close after `after` among those that hold a pane of `panes` (in order).
    pub(super) fn next_window(&self, after: i64, panes: impl Iterator<Item = Span>) -> Option<Span> {
        // Windows that hold an earlier pane but none of the earlier ends come first by end, so the
        // first pane that yields one yields the least.
        let end = panes.filter_map(|p| self.next_end(p, after)).next()?;
        Some(Span { start: end.saturating_sub(self.size), end })
    }

    /// The panes of a window, as bounds on a map of panes.
    pub(super) fn panes(&self, window: Span) -> RangeInclusive<Span> {
        let first = Span { end: window.start.saturating_add(1), start: i64::MIN };
        first..=Span { end: window.end, start: i64::MAX }
    }
}

/// The greatest `offset + k * step` that is not above `time`.
#[inline]
fn floor(time: i64, step: i64, offset: i64) -> i64 {
    let k = time.saturating_sub(offset).div_euclid(step);
    k.saturating_mul(step).saturating_add(offset)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
