//! Expressions and queries: DataFusion plans, Millstream runs.
//!
//! ```text
//!   text --parse, resolve, coerce, simplify--> Expression / LogicalPlan
//!        --lower--> stages (filter + projection, fused) and window operators
//! ```
//!
//! * [`Expression`]: a scalar expression over record batches.
//! * [`filter`], [`select`]: expressions as stages; bad rows are set aside, not the batch.
//! * [`limits`]: how large a text may be.
//!
//! Nothing of DataFusion runs a query here: its physical operators are not part of this program.

mod assign;
mod caps;
mod error;
mod expr;
pub mod limits;
mod program;
mod registry;
mod run;
mod stage;
#[cfg(test)]
mod tests;

pub use error::{EXPRESSION, QUERY};
pub use expr::Expression;
pub use stage::{Planned, filter, select};
