//! Tests of the SQL bridge, by part.

mod expr;
mod model;
mod query;
mod refused;
