//! The node `window`: a form that makes the very plan of the equal SQL.

use super::error::{EXPRESSION, QUERY};
use super::limits::{EXPRESSION_BYTES_MAX, check_source, deep};
use super::query::{QueryInput, QueryPlan, plan_query};
use crate::problem::nearest;
use crate::{Place, Problem, Result};
use std::fmt::Write;

/// What a person fills in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowForm {
    /// Length of the windows, in microseconds.
    pub size_us: i64,
    /// Distance between two windows, in microseconds, where they overlap; `None` = side by side.
    pub slide_us: Option<i64>,
    /// Columns to group by.
    pub by: Vec<String>,
    /// Output name and aggregate, in order.
    pub select: Vec<(String, String)>,
    /// The event-time column.
    pub time: String,
}

/// Lines of the generated query before the first aggregate.
const LINES_BEFORE: usize = 2;

/// Plans a window over one input: columns `by`, `window_start`, `window_end`, then `select`.
///
/// # Errors
/// Those of [`plan_query`]; a mistake in one of `select` names it and counts line and column inside its
/// own text (file [`EXPRESSION`]).
pub fn plan_window(node: &str, input: &QueryInput, form: &WindowForm) -> Result<QueryPlan> {
    check(input, form).map_err(|p| p.node(node))?;
    let (query, starts) = sql(input, form);
    plan_query(node, std::slice::from_ref(input), &query).map_err(|p| relocate(p, form, &starts))
}

fn check(input: &QueryInput, form: &WindowForm) -> Result<()> {
    let columns = || input.schema.fields().iter().map(|f| f.name().as_str());
    for name in form.by.iter().chain([&form.time]) {
        if columns().any(|c| c == name) {
            continue;
        }
        let problem = Problem::error("SQL-UNKNOWN-COLUMN", format!("there is no column `{name}`"))
            .found(name)
            .expected(format!("one of {}", columns().collect::<Vec<_>>().join(", ")));
        return Err(match nearest(name, columns()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    }
    for (name, aggregate) in &form.select {
        // Each must be one expression by itself, or it could change the query around it.
        let alone = check_source(aggregate, EXPRESSION_BYTES_MAX)
            .and_then(|()| deep(|| super::expr::parse(aggregate).map(|_| ())));
        alone.map_err(|p| in_column(p, name))?;
    }
    Ok(())
}

/// The query, and the line on which each aggregate begins.
fn sql(input: &QueryInput, form: &WindowForm) -> (String, Vec<usize>) {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let keys: Vec<String> =
        form.by.iter().map(|b| quoted(b)).chain(["window_start".into(), "window_end".into()]).collect();
    let keys = keys.join(", ");
    let mut query = format!("SELECT\n{keys}\n");
    let mut line = LINES_BEFORE + 1;
    let mut starts = Vec::with_capacity(form.select.len());
    for (name, aggregate) in &form.select {
        // The comma stands on its own line: places inside the text need no shift.
        write!(query, ",\n{aggregate}\nAS {}\n", quoted(name)).expect("writing to a string");
        starts.push(line + 1);
        line += aggregate.matches('\n').count() + 3;
    }
    let (input, time, size) = (quoted(&input.name), quoted(&form.time), interval(form.size_us));
    let from = match form.slide_us {
        Some(slide) => format!("hop({input}, {time}, {}, {size})", interval(slide)),
        None => format!("tumble({input}, {time}, {size})"),
    };
    write!(query, "FROM {from} GROUP BY {keys}").expect("writing to a string");
    (query, starts)
}

fn interval(us: i64) -> String {
    format!("INTERVAL '{us} microseconds'")
}

fn relocate(mut problem: Problem, form: &WindowForm, starts: &[usize]) -> Problem {
    let Some(Place::Text { file, line, column, .. }) = problem.place.clone() else { return problem };
    if file != QUERY {
        return problem;
    }
    problem.place = None;
    match starts.iter().rposition(|s| *s <= line) {
        Some(i) => in_column(problem.at(Place::text(EXPRESSION, line - starts[i] + 1, column)), &form.select[i].0),
        None => problem,
    }
}

fn in_column(mut problem: Problem, column: &str) -> Problem {
    problem.what = format!("column `{column}`: {}", problem.what);
    problem
}
