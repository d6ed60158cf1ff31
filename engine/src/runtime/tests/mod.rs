//! Jobs run whole: a scripted source, an outside world that survives the job, and what must hold.

mod calls;
mod panics;
mod restart;
mod running;
mod simulated;
mod world;
