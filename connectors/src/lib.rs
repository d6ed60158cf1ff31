//! Connectors, transforms and formats: everything between the outside and the engine.
//!
//! One folder per outside system, [`transforms`] for what lies in between, [`format`] for bytes to columns
//! and back. [`registry`] lists every kind of node once; [`load`] turns a pipeline file into the engine's
//! pipeline; [`guess`] writes one for some data; [`cases`] runs the tests that stand in them.

pub mod cases;
pub mod discard;
pub mod file;
pub mod format;
pub mod generator;
pub mod guess;

pub mod kind;
pub mod load;
pub mod registry;
pub mod schema;
pub mod stdio;
pub mod transforms;

pub use kind::{Build, Events, Kind};
pub use load::{LoadOptions, Loaded, load};
pub use registry::Registry;
