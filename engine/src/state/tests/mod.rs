//! Tests of the store and the log.
