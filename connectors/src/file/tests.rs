//! Files that are rotated, cut, replaced and damaged under a reader; sinks that crash.

mod sink;
mod source;
