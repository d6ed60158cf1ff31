//! Files on this machine: logs that grow and rotate, data in folders, results.
//!
//! * `file_source`: each path is one partition; a position names the file (device, inode, fingerprint)
//!   and the offset in it, so rotation, truncation and replacement are noticed. Can be read again.
//! * `file_sink`: exactly once on one host. Rows go to hidden files; a file gets its name after the
//!   checkpoint that closes it is durable.
//!
//! The modules in the order in which a record meets them: [`open`] and `stream` (bytes of one file),
//! `cut` (whole lines), `identity` (which file it is), `follow` and `rows` (one path, over time),
//! `source` (all paths); `sink`, `place` (directories and names), `part` (one file), `spool` (Parquet).

pub mod config;
pub(crate) mod cut;
mod follow;
mod identity;
pub mod kind;
pub mod open;
mod part;
mod place;
mod rows;
pub(crate) mod sample;
mod sink;
mod source;
mod spool;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{FileSinkConfig, FileSourceConfig};
pub use open::Access;
pub use sink::FileSinkFactory;
pub use source::FileSource;
