//! `tumble`, `hop` and `session` in FROM: table functions whose first argument is a relation.
//!
//! The stock planner cannot take a table as a function's argument; [`WindowFunctions`] plans the call to
//! a [`WindowNode`] over that relation, which adds `window_start` and `window_end`.

use super::error::{QUERY, external, problem, unsupported};
use crate::Problem;
use crate::problem::nearest;
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue, TableReference};
use datafusion_expr::logical_plan::Extension;
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Cast, Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, ObjectName, ObjectNamePart, TableFactor};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The columns that a window function adds.
pub(super) const WINDOW_START: &str = "window_start";
pub(super) const WINDOW_END: &str = "window_end";

/// More windows than this per row are a slip of the unit.
const WINDOWS_PER_ROW_MAX: i64 = 100_000;

/// The type of event time everywhere in the engine.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Which window function, with its lengths in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(super) enum WindowKind {
    Tumble { size_us: i64, offset_us: i64 },
    Hop { slide_us: i64, size_us: i64, offset_us: i64 },
    Session { gap_us: i64 },
}

impl WindowKind {
    /// The length that all windows have, if they have one.
    pub(super) fn size_us(self) -> Option<i64> {
        match self {
            WindowKind::Tumble { size_us, .. } | WindowKind::Hop { size_us, .. } => Some(size_us),
            WindowKind::Session { .. } => None,
        }
    }
    fn name(self) -> &'static str {
        match self {
            WindowKind::Tumble { .. } => "tumble",
            WindowKind::Hop { .. } => "hop",
            WindowKind::Session { .. } => "session",
        }
    }
}

/// Adds [`WINDOW_START`] and [`WINDOW_END`] to its input; a hop repeats rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowNode {
    pub(super) input: LogicalPlan,
    pub(super) kind: WindowKind,
    /// Yields [`time_type`] over the input.
    pub(super) time: Expr,
    schema: DFSchemaRef,
}

impl WindowNode {
    fn new(input: LogicalPlan, kind: WindowKind, time: Expr) -> Result<WindowNode> {
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let qualifier = fields.first().and_then(|(q, _)| q.clone());
        let qualifier = qualifier.filter(|q| fields.iter().all(|(other, _)| other.as_ref() == Some(q)));
        for name in [WINDOW_START, WINDOW_END] {
            fields.push((qualifier.clone(), Arc::new(Field::new(name, time_type(), false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(WindowNode { input, kind, time, schema })
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.kind.partial_cmp(&other.kind) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        self.kind.name()
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        [WINDOW_START, WINDOW_END].map(str::to_owned).into()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.time)
    }
    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(time), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return Err(external(Problem::internal("a window lost its input")));
        };
        WindowNode::new(input, self.kind, time)
    }
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|c| *c < width).collect()])
    }
}

/// Plans the three window functions.
#[derive(Debug)]
pub(super) struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Table { name, args: Some(args), alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = name.to_string().to_lowercase();
        let Some(usage) = usage(&function) else { return Err(external(unknown(&function))) };
        let args = positional(&args.args, usage)?;
        let input = relation_of(args[0], &relation, usage)?;
        let input = context.plan(input)?;
        for name in [WINDOW_START, WINDOW_END] {
            if input.schema().has_column_with_unqualified_name(name) {
                let what = format!("`{function}` over rows that already have a column `{name}`");
                return Err(external(unsupported(
                    what,
                    format!("give it another name in a subquery: SELECT {name} AS first_{name}, …"),
                )));
            }
        }
        let time = time_column(context.sql_to_expr(args[1].clone(), input.schema())?, &input)?;
        let mut lengths = Vec::with_capacity(args.len() - 2);
        for arg in &args[2..] {
            lengths.push(microseconds(&context.sql_to_expr((*arg).clone(), &DFSchema::empty())?, usage)?);
        }
        let kind = kind(&function, &lengths, usage)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(WindowNode::new(input, kind, time)?) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

fn usage(function: &str) -> Option<&'static str> {
    match function {
        "tumble" => Some("tumble(input, event_time, INTERVAL size [, INTERVAL offset])"),
        "hop" => Some("hop(input, event_time, INTERVAL slide, INTERVAL size [, INTERVAL offset])"),
        "session" => Some("session(input, event_time, INTERVAL gap)"),
        _ => None,
    }
}

fn unknown(function: &str) -> Problem {
    let problem = Problem::error("SQL-UNKNOWN-FUNCTION", format!("there is no table function `{function}`"));
    match nearest(function, ["tumble", "hop", "session"]) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.expected("one of tumble, hop, session"),
    }
}

fn window_error(what: impl Into<String>, usage: &str) -> DataFusionError {
    external(Problem::error("SQL-WINDOW", what).expected(usage))
}

fn positional<'a>(args: &'a [FunctionArg], usage: &str) -> Result<Vec<&'a ast::Expr>> {
    let args = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(e),
        other => Err(window_error(format!("`{other}` cannot stand in a window function"), usage)),
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    if args.len() < 3 {
        return Err(window_error(format!("a window function with {} arguments", args.len()), usage));
    }
    Ok(args)
}

/// The relation that the first argument names, as it would stand in FROM.
fn relation_of(arg: &ast::Expr, call: &TableFactor, usage: &str) -> Result<TableFactor> {
    match arg {
        ast::Expr::Identifier(ident) => {
            let mut table = call.clone();
            if let TableFactor::Table { name, alias, args, .. } = &mut table {
                *name = ObjectName(vec![ObjectNamePart::Identifier(ident.clone())]);
                (*alias, *args) = (None, None);
            }
            Ok(table)
        }
        ast::Expr::Subquery(query) => {
            Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None })
        }
        other => Err(window_error(format!("`{other}` is no input, CTE or subquery"), usage)),
    }
}

fn time_column(expr: Expr, input: &LogicalPlan) -> Result<Expr> {
    let Expr::Column(column) = &expr else {
        let what = format!("`{expr}` is no column");
        return Err(external(Problem::error("SQL-WINDOW", what).expected("the event-time column of the input")));
    };
    let name = column.name.clone();
    match expr.get_type(input.schema())? {
        found if found == time_type() => Ok(expr),
        DataType::Timestamp(..) => Ok(Expr::Cast(Cast::new(Box::new(expr), time_type()))),
        found => Err(external(
            Problem::error("SQL-WINDOW", format!("column `{name}` is no timestamp"))
                .found(found.to_string())
                .expected("an event-time column of type timestamp")
                .help("declare its type in the source: `timestamp`, or `timestamp(ms)` where the input is a number"),
        )),
    }
}

fn microseconds(expr: &Expr, usage: &str) -> Result<i64> {
    let length = match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) if v.months == 0 && v.nanoseconds % 1_000 == 0 => {
            i64::from(v.days).checked_mul(86_400_000_000).and_then(|d| d.checked_add(v.nanoseconds / 1_000))
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(v)), _) => {
            i64::from(v.days).checked_mul(86_400_000_000).and_then(|d| d.checked_add(i64::from(v.milliseconds) * 1_000))
        }
        _ => None,
    };
    length.ok_or_else(|| window_error(format!("`{expr}` is no INTERVAL of fixed length"), usage))
}

fn kind(function: &str, lengths: &[i64], usage: &str) -> Result<WindowKind> {
    let kind = match (function, lengths) {
        ("tumble", [size]) => WindowKind::Tumble { size_us: *size, offset_us: 0 },
        ("tumble", [size, offset]) => {
            WindowKind::Tumble { size_us: *size, offset_us: offset.checked_rem_euclid(*size).unwrap_or(0) }
        }
        ("hop", [slide, size]) => WindowKind::Hop { slide_us: *slide, size_us: *size, offset_us: 0 },
        ("hop", [slide, size, offset]) => WindowKind::Hop {
            slide_us: *slide,
            size_us: *size,
            offset_us: offset.checked_rem_euclid(*slide).unwrap_or(0),
        },
        ("session", [gap]) => WindowKind::Session { gap_us: *gap },
        _ => return Err(window_error(format!("`{function}` with {} lengths", lengths.len()), usage)),
    };
    let positive = match kind {
        WindowKind::Tumble { size_us, .. } => size_us > 0,
        WindowKind::Hop { slide_us, size_us, .. } => slide_us > 0 && size_us > 0,
        WindowKind::Session { gap_us } => gap_us > 0,
    };
    if !positive {
        return Err(window_error("the length of a window must be above zero", usage));
    }
    if let WindowKind::Hop { slide_us, size_us, .. } = kind {
        if size_us < slide_us {
            return Err(window_error("the size is below the slide: rows between two windows would vanish", usage));
        }
        if size_us / slide_us > WINDOWS_PER_ROW_MAX {
            return Err(window_error(format!("each row would be in {} windows", size_us / slide_us), usage));
        }
    }
    Ok(kind)
}

/// The problem of a plan step of a query.
pub(super) fn query_problem(error: &DataFusionError) -> Problem {
    problem(error, QUERY)
}
