//! Expressions and queries: DataFusion plans, Millstream runs.
//!
//! ```text
//!   text --parse, resolve, coerce, simplify--> Expression / LogicalPlan
//!        --lower--> stages (filter + projection, fused) and window operators
//! ```
//!
//! * [`Expression`]: a scalar expression over record batches.
//! * [`filter`], [`select`]: expressions as stages; bad rows are set aside, not the batch.
//! * [`plan_query`]: one SELECT over named inputs, lowered to stages and window operators.
//! * [`plan_window`]: the same plan from a filled-in form.
//! * [`limits`]: how large a text may be.
//!
//! Nothing of DataFusion runs a query here: its physical operators are not part of this program.

mod assign;
mod attach;
mod caps;
mod error;
mod expr;
mod form;
pub mod limits;
mod lower;
mod program;
mod query;
mod refuse;
mod registry;
mod run;
mod stage;
#[cfg(test)]
mod tests;
mod tvf;

pub use attach::{Attached, attach};
pub(crate) use error::row_error;
pub use error::{EXPRESSION, QUERY};
pub use expr::Expression;
pub use form::{WindowForm, plan_window};
pub use query::{Lowered, QueryInput, QueryPlan, WINDOW_KEY, WINDOW_SIZE_KEY, plan_query};
pub use stage::{Planned, filter, select};
