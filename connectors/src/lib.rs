//! Connectors, transforms and formats: everything between the outside and the engine.

pub mod file;
pub mod transforms;
