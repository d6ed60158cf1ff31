//! `discard`: a sink that counts rows and keeps none. For measuring, and for branches nobody needs.
//!
//! Delivery: trivially exactly once, nothing leaves.

pub mod config;
pub mod kind;
mod sink;
#[cfg(test)]
mod tests;

pub use config::DiscardConfig;
pub use sink::Discard;
