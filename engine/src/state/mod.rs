//! The commit log and the store beneath the checkpoints.
