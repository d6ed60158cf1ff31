//! The whole system, as a child process: golden answers, kills at random moments and at every named
//! failpoint, planted mistakes that must be caught, bad input, bad state, logs, and a state folder that
//! an earlier build has written.

#![allow(clippy::print_stdout, reason = "a test says its seed, and what it skips")]

mod bad_input;
mod bad_pipeline;
mod bad_state;
mod data;
mod evolve;
mod fixture;
mod golden;
mod guard;
mod harness;
mod idle;
mod kill;
mod logs;
mod new;
mod observed;
mod panics;
mod replay;
mod sabotage;
mod syscalls;
mod test_command;
mod watch;
