//! Transforms: what stands between sources and sinks and keeps nothing from one batch to the next.
//!
//! Each has a config (its doc comments are the user documentation), a pure `plan` from config and
//! input schema to a [`Planned`], and a [`Stage`](millstream::operator::Stage).
//!
//! * [`parse`]: text into columns.
//! * [`redact`]: e-mail addresses, IP addresses, card numbers and whatever a regex names.
//! * [`route`]: rows to output ports by condition.
//! * [`union`]: several inputs of one schema.
//!
//! Problems about a config point at the key within the node ([`Place::Node`] with an empty node name):
//! the caller, who knows the node and its place in the file, fills in the rest.
//!
//! Nothing is lost: every row in is sent, rejected or counted as filtered.

pub mod columns;
pub mod kinds;
pub mod limits;
pub mod ordered;
pub mod parse;
pub mod redact;
pub mod route;
pub mod time_text;
pub mod types;
pub mod union;

use arrow::datatypes::{Schema, SchemaRef};
pub use millstream::operator::Reads;
use millstream::operator::StageFactory;
use millstream::problem::nearest;
use millstream::{Place, Problem};

/// A transform that knows its input schema.
#[derive(Clone)]
pub struct Planned {
    /// The columns it puts out.
    pub output: SchemaRef,
    /// The columns it reads.
    pub reads: Reads,
    /// Makes the stage of one worker; called with the actual input schema, which may lack columns that
    /// [`Planned::reads`] does not name.
    pub stage: StageFactory,
}

/// A problem with the key `field` of a node's config.
fn at_key(code: &'static str, field: &str, what: impl Into<String>) -> Problem {
    Problem::error(code, what).at(Place::Node { node: String::new(), field: field.into() })
}

/// A problem with a column that the input does not have; names the nearest one.
fn no_column(field: &str, name: &str, input: &Schema) -> Problem {
    let names: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
    let problem = at_key("COLUMN-UNKNOWN", field, format!("the input has no column `{name}`"));
    let problem = problem.expected(format!("one of {}", names.join(", ")));
    match nearest(name, names) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem,
    }
}

/// At most 80 characters of `text`, control characters escaped, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
