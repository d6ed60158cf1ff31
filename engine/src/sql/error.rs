//! DataFusion's errors as [`Problem`]s, and row errors as dead-letter codes.

use super::caps::TOO_LARGE;
use super::registry::{CLOCK_FUNCTIONS, FUNCTIONS};
use crate::problem::nearest;
use crate::{Place, Problem};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::parser::ParserError;

/// The name of the text in a [`Place`] inside a scalar expression; line and column count from its start.
pub const EXPRESSION: &str = "expression";
/// The name of the text in a [`Place`] inside a query; line and column count from its start.
pub const QUERY: &str = "query";

/// What DataFusion refused, in our words. `text` is [`EXPRESSION`] or [`QUERY`].
pub(super) fn problem(error: &DataFusionError, text: &str) -> Problem {
    if let Some(ours) = ours(error) {
        return ours;
    }
    let span = error.diagnostic().and_then(|d| d.span);
    let mut problem = describe(error.find_root());
    if problem.place.is_none()
        && let Some(span) = span
    {
        problem = problem.at(Place::text(text, span.start.line as usize, span.start.column as usize));
    }
    if let Some(Place::Text { file, .. }) = &mut problem.place {
        *file = text.to_owned();
    }
    problem
}

/// A construct that is not offered, with what to write instead.
pub(super) fn unsupported(what: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::error("SQL-UNSUPPORTED", what).help(help)
}

/// Carries a [`Problem`] through DataFusion.
pub(super) fn external(problem: Problem) -> DataFusionError {
    DataFusionError::External(Box::new(problem))
}

fn ours(error: &DataFusionError) -> Option<Problem> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = next {
        if let Some(problem) = e.downcast_ref::<Problem>() {
            return Some(problem.clone());
        }
        next = e.source();
    }
    None
}

fn describe(root: &DataFusionError) -> Problem {
    match root {
        DataFusionError::SQL(e, _) => syntax(e),
        DataFusionError::SchemaError(e, _) => schema(e),
        DataFusionError::NotImplemented(text) => {
            unsupported(first_line(text), "see the reference of SQL for what is offered")
        }
        DataFusionError::Plan(text) => plan(text),
        DataFusionError::Execution(text) if text.contains(TOO_LARGE) => {
            Problem::error("SQL-TOO-LARGE", first_line(text))
        }
        DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => {
            Problem::error("SQL-VALUE", "a constant in the SQL cannot be evaluated").found(row_error(root).1)
        }
        other => Problem::internal("the SQL planner failed").found(first_line(&other.strip_backtrace())),
    }
}

fn syntax(error: &ParserError) -> Problem {
    let text = match error {
        ParserError::TokenizerError(t) | ParserError::ParserError(t) => t,
        ParserError::RecursionLimitExceeded => {
            return Problem::error("SQL-TOO-LARGE", "the SQL is nested too deeply").help("split it over several nodes");
        }
    };
    let (text, place) = match text.rsplit_once(" at Line: ") {
        Some((text, rest)) => (text, line_column(rest)),
        None => (text.as_str(), None),
    };
    let problem = match text.strip_prefix("Expected: ").and_then(|t| t.split_once(", found: ")) {
        Some((expected, found)) => {
            let found = if found == "EOF" { "the end of the text" } else { found };
            Problem::error("SQL-SYNTAX", "the SQL cannot be read").found(found).expected(expected)
        }
        None => Problem::error("SQL-SYNTAX", "the SQL cannot be read").found(first_line(text)),
    };
    match place {
        Some((line, column)) => problem.at(Place::text("", line, column)),
        None => problem,
    }
}

fn line_column(text: &str) -> Option<(usize, usize)> {
    let (line, column) = text.split_once(", Column: ")?;
    let digits = column.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((line.trim().parse().ok()?, digits.parse().ok()?))
}

fn schema(error: &SchemaError) -> Problem {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            unknown_column(
                &field.name,
                &names,
                field.spans().first().map(|s| (s.start.line as usize, s.start.column as usize)),
            )
        }
        SchemaError::AmbiguousReference { field } => {
            Problem::error("SQL-AMBIGUOUS-COLUMN", format!("column `{}` is in more than one input", field.name))
                .help("write the input's name before it, as in `a.column`")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Problem::error("SQL-DUPLICATE-COLUMN", format!("two columns are called `{name}`"))
                .help("give one of them another name with AS")
        }
    }
}

/// Names the columns that are there and the nearest of them.
pub(super) fn unknown_column(name: &str, columns: &[&str], at: Option<(usize, usize)>) -> Problem {
    if CLOCK_FUNCTIONS.contains(&name) {
        return unknown_function(name);
    }
    let problem = Problem::error("SQL-UNKNOWN-COLUMN", format!("there is no column `{name}`"))
        .found(name)
        .expected(format!("one of {}", columns.join(", ")));
    let cased = columns.iter().find(|c| c.eq_ignore_ascii_case(name));
    let problem = match (cased, nearest(name, columns.iter().copied())) {
        (Some(c), _) if **c != c.to_lowercase() => {
            problem.help(format!("names without quotes are read in lower case: write \"{c}\" in double quotes"))
        }
        (_, Some(near)) => problem.help(format!("did you mean `{near}`?")),
        _ => problem,
    };
    match at {
        Some((line, column)) => problem.at(Place::text("", line, column)),
        None => problem,
    }
}

fn plan(text: &str) -> Problem {
    let line = first_line(text);
    if let Some(name) = line.strip_prefix("Invalid function '").and_then(|t| t.split('\'').next()) {
        return unknown_function(name);
    }
    if let Some(name) = line.strip_prefix("table '").and_then(|t| t.split('\'').next()) {
        return Problem::error("SQL-UNKNOWN-INPUT", format!("there is no input `{name}`"))
            .help("name it under `from`, as in `from: { name: node }`");
    }
    let is_type =
        ["boolean", "coerce", "type", "argument", "signature", "cast"].iter().any(|w| line.to_lowercase().contains(w));
    if is_type { Problem::error("SQL-TYPE", line) } else { Problem::error("SQL-PLAN", line) }
}

fn unknown_function(name: &str) -> Problem {
    if CLOCK_FUNCTIONS.contains(&name) {
        return unsupported(
            format!("`{name}()` is not offered: the wall clock is no part of a record"),
            "use a column that holds the time, such as `_timestamp`",
        );
    }
    let problem = Problem::error("SQL-UNKNOWN-FUNCTION", format!("there is no function `{name}`")).found(name);
    match nearest(name, FUNCTIONS.scalar_names().chain(FUNCTIONS.aggregate_names())) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("the reference of SQL lists all functions"),
    }
}

/// The code and the message of a dead letter for a row that an expression cannot handle.
pub(crate) fn row_error(error: &DataFusionError) -> (&'static str, String) {
    let root = error.find_root();
    let text = match root {
        DataFusionError::ArrowError(e, _) => return (arrow_code(e), first_line(&e.to_string())),
        DataFusionError::Execution(text) => first_line(text),
        other => first_line(&other.strip_backtrace()),
    };
    let lower = text.to_lowercase();
    let code = match () {
        () if text.contains(TOO_LARGE) => "EXPR-TOO-LARGE",
        () if lower.contains("overflow") => "EXPR-OVERFLOW",
        () if lower.contains("divide by zero") => "EXPR-DIVIDE-BY-ZERO",
        () if lower.contains("cast") || lower.contains("parse") => "EXPR-CAST",
        () => "EXPR-FAILED",
    };
    (code, text)
}

fn arrow_code(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::DivideByZero => "EXPR-DIVIDE-BY-ZERO",
        ArrowError::ArithmeticOverflow(_) => "EXPR-OVERFLOW",
        ArrowError::CastError(_) | ArrowError::ParseError(_) => "EXPR-CAST",
        ArrowError::ComputeError(t) if t.to_lowercase().contains("overflow") => "EXPR-OVERFLOW",
        _ => "EXPR-FAILED",
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}
