//! The benchmarks' data and answers: the same code that `cargo xtask bench` uses.

#![allow(dead_code)] // Not all of it is needed here.

#[path = "../../../xtask/src/bench/answers.rs"]
pub mod answers;
#[path = "../../../xtask/src/bench/generate.rs"]
pub mod generate;
