//! Files on this machine.
pub mod config;
pub mod kind;
pub(crate) mod cut;
mod encode;
mod follow;
mod identity;
mod open;
mod part;
mod place;
mod sink;
mod source;
mod spool;
mod stream;
mod units;
#[cfg(test)]
mod tests;

pub use open::Access;
pub use sink::{Content, FileSinkFactory, MakeEncoder};
pub use source::{Events, FileSource, MakeDecoder};
