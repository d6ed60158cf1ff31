//! Where the threads of a job wait for each other: the only places.
//!
//! In a program these are the waits of the standard library. In a simulation (tests only, see `sim`) the
//! threads of a job take turns: one runs, all others stand at one of these places, and a seeded scheduler
//! says who is next. So every interleaving at the granularity of a wait can come up, and the same seed gives
//! the same one again. Timely cannot be put on one thread, but it can be made to take turns.

#[cfg(test)]
pub(crate) mod sim;

use super::shared::lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use timely::worker::Worker;

/// Waits while `waiting` holds, at most for `limit`; whether it still holds is for the caller to see.
pub(crate) fn wait<'a, T>(
    mutex: &'a Mutex<T>,
    condvar: &Condvar,
    limit: Option<Duration>,
    mut waiting: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    let guard = lock(mutex);
    #[cfg(test)]
    if let Some(seat) = sim::seat() {
        drop(guard);
        return seat.wait(mutex, limit, waiting);
    }
    match limit {
        None => condvar.wait_while(guard, |t| waiting(t)).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => {
            condvar.wait_timeout_while(guard, limit, |t| waiting(t)).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// Receives, waiting at most for `limit`.
pub(crate) fn receive<T>(from: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
    #[cfg(test)]
    if let Some(seat) = sim::seat() {
        return seat.receive(from, limit);
    }
    from.recv_timeout(limit)
}

/// Lets `pause` pass, or less.
pub(crate) fn pause(pause: Duration) {
    #[cfg(test)]
    if let Some(seat) = sim::seat() {
        return seat.pass();
    }
    std::thread::park_timeout(pause);
}

/// How long one activation may take before other operators get their turn.
const ACTIVATION: Duration = Duration::from_millis(5);

/// One activation of an operator. In a simulation it takes no time: what happens must not depend on the machine.
#[derive(Clone, Copy)]
pub(crate) struct Activation(std::time::Instant);

impl Activation {
    pub fn begin() -> Activation {
        Activation(std::time::Instant::now())
    }
    /// True once others are to have their turn.
    pub fn is_over(&self) -> bool {
        #[cfg(test)]
        if sim::seat().is_some() {
            return false;
        }
        self.0.elapsed() > ACTIVATION
    }
}

/// One step of a worker; sleeps at most for `limit` when there is nothing to do.
pub(crate) fn step(worker: &mut Worker, limit: Duration) {
    #[cfg(test)]
    if let Some(seat) = sim::seat() {
        worker.step();
        return seat.pass();
    }
    worker.step_or_park(Some(limit));
}

/// Threads that are waited for together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group(Arc<AtomicUsize>);

impl Group {
    /// A group of so many threads that somebody else starts; each says [`Member::enter`] when it begins.
    pub fn of(&self, threads: usize) -> Vec<Member> {
        (0..threads).map(|_| self.member()).collect()
    }
    /// Starts a thread of the group. It is named `millstream-NAME`.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let member = self.member();
        let run = move || {
            let _here = member.enter();
            run();
        };
        let thread = std::thread::Builder::new().name(format!("millstream-{name}"));
        thread.spawn(run).expect("the system can start a thread")
    }
    /// Waits until all have ended; what remains is to join them.
    pub fn ended(&self) {
        #[cfg(test)]
        if let Some(seat) = sim::seat() {
            while self.0.load(Ordering::Acquire) > 0 {
                seat.pass();
            }
        }
    }
    fn member(&self) -> Member {
        self.0.fetch_add(1, Ordering::AcqRel);
        Member {
            group: Arc::clone(&self.0),
            #[cfg(test)]
            seat: sim::seat().map(|s| s.another()),
        }
    }
}

/// A place in a [`Group`], for a thread that is about to begin.
pub(crate) struct Member {
    group: Arc<AtomicUsize>,
    #[cfg(test)]
    seat: Option<sim::Seat>,
}

impl Member {
    /// Called on the thread itself, first of all; the thread counts until the value is dropped.
    pub fn enter(&self) -> Here {
        Here {
            group: Arc::clone(&self.group),
            #[cfg(test)]
            _turn: self.seat.clone().map(sim::Seat::sit),
        }
    }
}

/// A thread of a [`Group`] at work.
pub(crate) struct Here {
    group: Arc<AtomicUsize>,
    #[cfg(test)]
    _turn: Option<sim::Turn>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.group.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A named thread that is not waited for: it ends by itself once the job does.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    drop(Group::default().spawn(name, run));
}
