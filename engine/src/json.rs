//! Rows as NDJSON.
