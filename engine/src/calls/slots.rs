//! The slots that all workers of a node share: one for each call in flight.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Gives an operator a turn.
type Wake = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Slots {
    free: AtomicUsize,
    /// Workers that found none free, and how to wake them.
    starving: Mutex<BTreeMap<usize, Wake>>,
}

/// A slot that is taken, until this is dropped.
pub(super) struct Permit(Weak<Slots>);

impl Slots {
    /// Those that other instances of the same run share already, or new ones.
    pub fn join(all: &Mutex<Weak<Slots>>, slots: usize) -> Arc<Slots> {
        let mut all = lock(all);
        all.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Slots { free: AtomicUsize::new(slots), starving: Mutex::default() });
            *all = Arc::downgrade(&made);
            made
        })
    }

    /// Takes a slot; where none is free, `wake` is called once one is.
    pub fn take(self: &Arc<Self>, worker: usize, wake: &Wake) -> Option<Permit> {
        if let Some(permit) = self.try_take() {
            return Some(permit);
        }
        lock(&self.starving).insert(worker, Arc::clone(wake));
        // One that was given back before we stood in the list has woken nobody.
        self.try_take()
    }

    fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        Some(Permit(Arc::downgrade(self)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(slots) = self.0.upgrade() else { return };
        slots.free.fetch_add(1, Ordering::AcqRel);
        let starving = std::mem::take(&mut *lock(&slots.starving));
        starving.into_values().for_each(|wake| wake());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
