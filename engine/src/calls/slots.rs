//! What all workers of a node share: a slot for each call in flight, and whether restored rows are still here.

use crate::operator::Context;
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Gives an operator a turn.
type Wake = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Slots {
    /// The job's account of memory: tells one run from another.
    run: Arc<AtomicU64>,
    free: AtomicUsize,
    /// Workers that found none free, and how to wake them.
    starving: Mutex<BTreeMap<usize, Wake>>,
    restored: Mutex<Restored>,
}

/// Rows that were here at the checkpoint from which the run went on.
struct Restored {
    /// Workers that have some left, or that have not joined yet.
    workers: usize,
    /// The last epoch in which any left.
    last: Epoch,
    wake: Vec<Wake>,
}

/// The slots of all runs that are under way.
pub(super) type Runs = Arc<Mutex<Vec<Weak<Slots>>>>;

/// A slot that is taken, until this is dropped.
pub(super) struct Permit(Weak<Slots>);

impl Slots {
    /// Those that other workers of the same run share already, or new ones.
    pub fn join(runs: &Runs, slots: usize, context: &Context) -> Arc<Slots> {
        let mut runs = lock(runs);
        runs.retain(|run| run.strong_count() > 0);
        let own = runs.iter().filter_map(Weak::upgrade).find(|s| Arc::ptr_eq(&s.run, &context.memory));
        let own = own.unwrap_or_else(|| {
            let restored = Restored { workers: context.workers, last: 0, wake: Vec::new() };
            let made = Arc::new(Slots {
                run: Arc::clone(&context.memory),
                free: AtomicUsize::new(slots),
                starving: Mutex::default(),
                restored: Mutex::new(restored),
            });
            runs.push(Arc::downgrade(&made));
            made
        });
        lock(&own.restored).wake.push(Arc::clone(&context.wake));
        own
    }

    /// The last restored rows of one worker have left, in this epoch; or there were none.
    pub fn restored_left(&self, epoch: Epoch) {
        let mut restored = lock(&self.restored);
        restored.workers -= 1;
        restored.last = restored.last.max(epoch);
        if restored.workers == 0 {
            let all = std::mem::take(&mut restored.wake);
            drop(restored);
            all.iter().for_each(|wake| wake());
        }
    }

    /// True if what leaves in this epoch is behind all restored rows, of any worker.
    pub fn behind_restored(&self, epoch: Epoch) -> bool {
        let restored = lock(&self.restored);
        restored.workers == 0 && epoch > restored.last
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
