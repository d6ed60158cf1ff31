//! Tests of the SQL bridge, by part.

mod expr;
