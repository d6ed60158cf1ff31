//! The seeded scheduler: threads that take turns, and a clock that moves with them.

use crate::runtime::shared::lock;
use crate::time::{Clock, Micros};
use std::cell::RefCell;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// More turns than any test takes: whoever needs them waits for something that never comes.
const TOO_MANY: u64 = 3_000_000;

thread_local! {
    static HERE: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// The seat of the thread that asks, where it takes part in a simulation.
pub(crate) fn seat() -> Option<Seat> {
    HERE.with(|here| here.borrow().clone())
}

/// A simulation.
pub(crate) struct Sim {
    state: Mutex<State>,
    /// One per seat, and only its thread waits there.
    called: Mutex<Vec<Arc<Condvar>>>,
}

struct State {
    rng: fastrand::Rng,
    seed: u64,
    /// Seats taken or promised.
    live: Vec<usize>,
    current: usize,
    turns: u64,
    now: Duration,
    /// Moves with every choice: equal traces, equal runs.
    trace: u64,
}

/// A thread's place in a simulation.
#[derive(Clone)]
pub(crate) struct Seat {
    sim: Arc<Sim>,
    number: usize,
}

/// Held by a thread while it takes part.
pub(crate) struct Turn(Seat);

impl Sim {
    /// A simulation whose first seat, and first turn, the calling thread has.
    pub fn begin(seed: u64) -> (Arc<Sim>, Turn) {
        let state = State {
            rng: fastrand::Rng::with_seed(seed),
            seed,
            live: vec![0],
            current: 0,
            turns: 0,
            now: Duration::from_secs(1),
            trace: 0,
        };
        let called = Mutex::new(vec![Arc::new(Condvar::new())]);
        let sim = Arc::new(Sim { state: Mutex::new(state), called });
        let turn = Seat { sim: Arc::clone(&sim), number: 0 }.sit();
        (sim, turn)
    }
    /// Turns taken so far.
    pub fn turns(&self) -> u64 {
        lock(&self.state).turns
    }
    /// A number that two runs share if they were the same, turn by turn.
    pub fn trace(&self) -> u64 {
        lock(&self.state).trace
    }
    /// True once all threads but the caller's have ended.
    pub fn is_alone(&self) -> bool {
        lock(&self.state).live.len() == 1
    }
    fn call(&self, seat: usize) {
        let called = Arc::clone(&lock(&self.called)[seat]);
        called.notify_one();
    }
}

impl Clock for Sim {
    fn now(&self) -> Micros {
        1_700_000_000_000_000 + i64::try_from(self.monotonic().as_micros()).expect("a simulation is short")
    }
    fn monotonic(&self) -> Duration {
        lock(&self.state).now
    }
}

impl State {
    /// Chooses who is next, and lets time pass: mostly little, now and then enough for things to fall due.
    fn choose(&mut self) -> usize {
        self.turns += 1;
        assert!(self.turns < TOO_MANY, "seed {}: no end after {TOO_MANY} turns", self.seed);
        let micros = if self.rng.u32(..100) == 0 { self.rng.u64(..20_000) } else { self.rng.u64(..50) };
        self.now += Duration::from_micros(micros);
        self.current = self.live[self.rng.usize(..self.live.len())];
        self.trace = (self.trace ^ self.current as u64).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
        self.current
    }
}

impl Seat {
    /// A seat for a thread that the calling one is about to start.
    pub fn another(&self) -> Seat {
        let mut called = lock(&self.sim.called);
        called.push(Arc::new(Condvar::new()));
        let number = called.len() - 1;
        lock(&self.sim.state).live.push(number);
        Seat { sim: Arc::clone(&self.sim), number }
    }
    /// Takes the seat for the calling thread; returns when it is its turn.
    pub fn sit(self) -> Turn {
        HERE.with(|here| *here.borrow_mut() = Some(self.clone()));
        self.until_called();
        Turn(self)
    }
    /// Gives the turn away; returns when it is this thread's again.
    pub fn pass(&self) {
        let next = lock(&self.sim.state).choose();
        if next != self.number {
            self.sim.call(next);
            self.until_called();
        }
    }
    fn until_called(&self) {
        let called = Arc::clone(&lock(&self.sim.called)[self.number]);
        let state = lock(&self.sim.state);
        drop(called.wait_while(state, |s| s.current != self.number).unwrap_or_else(PoisonError::into_inner));
    }
    /// Gives turns away while `waiting` holds, at most for `limit` of the simulated time.
    pub fn wait<'a, T>(
        &self,
        mutex: &'a Mutex<T>,
        limit: Option<Duration>,
        mut waiting: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        let end = limit.map(|l| self.sim.monotonic() + l);
        loop {
            let mut guard = lock(mutex);
            if !waiting(&mut guard) || end.is_some_and(|end| self.sim.monotonic() >= end) {
                return guard;
            }
            drop(guard);
            self.pass();
        }
    }
    /// Gives turns away until something comes, at most for `limit` of the simulated time.
    pub fn receive<T>(&self, from: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
        let end = self.sim.monotonic() + limit;
        loop {
            match from.try_recv() {
                Ok(value) => return Ok(value),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(_) if self.sim.monotonic() >= end => return Err(RecvTimeoutError::Timeout),
                Err(_) => self.pass(),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HERE.with(|here| *here.borrow_mut() = None);
        let mut state = lock(&self.0.sim.state);
        state.live.retain(|seat| *seat != self.0.number);
        if !state.live.is_empty() && state.current == self.0.number {
            let next = state.choose();
            drop(state);
            self.0.sim.call(next);
        }
    }
}
