//! The frozen key hash and the key groups.
//!
//! State outlives releases, so the hash is ours: xxh3-64 over canonical value bytes, columns combined
//! in order. A row's key group is the top byte of its hash; a worker owns a range of the
//! [`GROUPS`] groups. The id of this function stands in every commit record.

/// Number of key groups; fixed for the life of a pipeline's state.
pub const GROUPS: usize = 256;

/// The name of this hash in commit records.
pub const HASH_ID: &str = "xxh3-64/canonical-1";
