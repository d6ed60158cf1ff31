//! Jobs run whole: a scripted source, an outside world that survives the job, and what must hold.

mod calls;
#[cfg(feature = "sql")]
mod jumps;
mod panics;
mod replay;
mod restart;
mod running;
mod simulated;
mod world;
