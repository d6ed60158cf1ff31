//! Queries: one SELECT over named inputs becomes a small tree of stages and window operators.
//!
//! DataFusion parses, analyses and optimises; [`super::lower`] turns its logical plan into [`Lowered`].
//! What has no lowering is refused here, by name, before anything starts.

use super::error::{QUERY, unsupported};
use super::expr::parser_options;
use super::limits::{DEPTH_MAX, QUERY_BYTES_MAX, check_source, check_tree, deep};
use super::lower::lower;
use super::refuse::refuse;
use super::registry::{Catalog, FUNCTIONS};
use super::stage::Planned;
use super::tvf::{WindowFunctions, query_problem};
use crate::window::spec::{AggregateSpec, JoinSpec, Window};
use crate::{Problem, Result};
use arrow::datatypes::SchemaRef;
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::analyzer::Analyzer;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Optimizer, OptimizerContext};
use datafusion_sql::planner::SqlToRel;
use datafusion_sql::sqlparser::ast::Statement;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One input of a query.
#[derive(Clone, Debug)]
pub struct QueryInput {
    /// The name by which the query calls it.
    pub name: String,
    /// Its columns. A field with the metadata of [`WINDOW_KEY`] is a window column.
    pub schema: SchemaRef,
    /// The column that its watermark follows; `None` = arrival time.
    pub event_time: Option<String>,
}

/// Field metadata of a window column: `start` or `end`. Plans write it on their output and read it on
/// their inputs, so that a window survives from node to node.
pub const WINDOW_KEY: &str = "millstream.window";
/// Field metadata beside [`WINDOW_KEY`]: the window's length in microseconds, where all have the same.
pub const WINDOW_SIZE_KEY: &str = "millstream.window_size_us";

/// What a query comes down to.
#[derive(Clone, Debug)]
pub struct QueryPlan {
    /// The tree of operators.
    pub root: Lowered,
    /// The columns of the answer.
    pub output: SchemaRef,
    /// The output column that holds event time: a window's end, else an event-time column passed
    /// through, else a window's start.
    pub event_time: Option<String>,
    /// Which columns of each input are read.
    pub input_columns: BTreeMap<String, Vec<String>>,
    /// Warnings and notes.
    pub notes: Vec<Problem>,
}

/// A node of the tree. Only a [`Lowered::Stage`] right above a [`Lowered::Input`] reads columns by name
/// and bears others beside them; every other node gets exactly what the node below gives.
#[derive(Clone, Debug)]
pub enum Lowered {
    /// An input of the query; there is always a stage above it. One input may stand here several times.
    Input {
        /// The name by which the query calls it.
        name: String,
        /// The columns that the stage above reads.
        columns: Vec<String>,
    },
    /// Filters and projections, fused.
    Stage {
        /// What it reads.
        input: Box<Lowered>,
        /// What it does.
        planned: Planned,
    },
    /// Keyed aggregates per window.
    WindowAggregate {
        /// What it reads.
        input: Box<Lowered>,
        /// What it does.
        spec: AggregateSpec,
    },
    /// A join within windows.
    WindowJoin {
        /// Port 0.
        left: Box<Lowered>,
        /// Port 1.
        right: Box<Lowered>,
        /// What it does.
        spec: JoinSpec,
    },
    /// All rows of all inputs.
    Union {
        /// What it reads; equal schemas.
        inputs: Vec<Lowered>,
    },
}

/// Plans one SELECT for node `node`.
///
/// # Errors
/// `SQL-SYNTAX`, `SQL-UNKNOWN-COLUMN`, `SQL-UNKNOWN-INPUT`, `SQL-UNKNOWN-FUNCTION`, `SQL-TYPE`,
/// `SQL-WINDOW`, `SQL-TOO-LARGE`; `SQL-UNSUPPORTED` names what is not offered and what to write instead.
/// Places count lines and columns inside the query (file [`QUERY`]).
pub fn plan_query(node: &str, inputs: &[QueryInput], query: &str) -> Result<QueryPlan> {
    let planned = check_source(query, QUERY_BYTES_MAX).and_then(|()| deep(|| plan(inputs, query)));
    planned.map_err(|p| p.node(node))
}

fn plan(inputs: &[QueryInput], query: &str) -> Result<QueryPlan> {
    let statement = parse(query)?;
    refuse(&statement)?;
    let wrong = |e: DataFusionError| query_problem(&e);
    let catalog =
        Catalog::new(inputs.iter().map(|i| (i.name.as_str(), Arc::clone(&i.schema))), vec![Arc::new(WindowFunctions)]);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    let plan = planner.sql_statement_to_plan(statement).map_err(|e| with_inputs(wrong(e), inputs))?;
    check_trees(&plan)?;
    let plan = Analyzer::new().execute_and_check(plan, FUNCTIONS.options(), |_, _| {}).map_err(wrong)?;
    let context = OptimizerContext::new_with_config_options(Arc::new(FUNCTIONS.options().clone()));
    let plan = optimizer().optimize(plan, &context.without_query_execution_start_time(), |_, _| {}).map_err(wrong)?;
    check_trees(&plan)?;
    lower(&plan, inputs)
}

/// The rules that help a stream and make no node that has no lowering.
fn optimizer() -> Optimizer {
    Optimizer::with_rules(vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ])
}

fn parse(query: &str) -> Result<Statement> {
    let wrong = |e| super::error::problem(&DataFusionError::SQL(Box::new(e), None), QUERY);
    let parser = Parser::new(&GenericDialect {}).with_recursion_limit(DEPTH_MAX);
    let mut statements = parser.try_with_sql(query).map_err(wrong)?.parse_statements().map_err(wrong)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (None, _) => Err(Problem::error("SQL-SYNTAX", "the query is empty").expected("one SELECT")),
        _ => Err(unsupported("several statements in one query", "write one SELECT; use CTEs or several nodes")),
    }
}

fn check_trees(plan: &LogicalPlan) -> Result<()> {
    let mut found = Ok(());
    let walked = plan.apply(|node| {
        node.apply_expressions(|e| {
            found = check_tree(e);
            Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })
    });
    walked.map_err(|e| query_problem(&e))?;
    found
}

fn with_inputs(problem: Problem, inputs: &[QueryInput]) -> Problem {
    if problem.code != "SQL-UNKNOWN-INPUT" {
        return problem;
    }
    let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
    problem.expected(format!("one of {}", names.join(", ")))
}

impl QueryPlan {
    /// Keeps all windows of this plan open for `us` microseconds after their end.
    #[must_use]
    pub fn with_allowed_lateness(mut self, us: i64) -> QueryPlan {
        self.root.set_lateness(us);
        self
    }
}

impl Lowered {
    fn set_lateness(&mut self, us: i64) {
        match self {
            Lowered::Input { .. } => {}
            Lowered::Stage { input, .. } => input.set_lateness(us),
            Lowered::WindowAggregate { input, spec } => {
                spec.allowed_lateness_us = us;
                input.set_lateness(us);
            }
            Lowered::WindowJoin { left, right, spec } => {
                spec.allowed_lateness_us = us;
                left.set_lateness(us);
                right.set_lateness(us);
            }
            Lowered::Union { inputs } => inputs.iter_mut().for_each(|i| i.set_lateness(us)),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:1$}", "", depth * 2)?;
        match self {
            Lowered::Input { name, columns } => writeln!(f, "input {name} [{}]", columns.join(", ")),
            Lowered::Stage { input, planned } => {
                writeln!(f, "stage {}", planned.text)?;
                input.write(f, depth + 1)
            }
            Lowered::WindowAggregate { input, spec } => {
                writeln!(f, "aggregate {}", Text(spec))?;
                input.write(f, depth + 1)
            }
            Lowered::WindowJoin { left, right, spec } => {
                let keys: Vec<String> =
                    spec.left_keys.iter().zip(&spec.right_keys).map(|(l, r)| format!("{l} = {r}")).collect();
                write!(
                    f,
                    "{:?} join [{}] end {}+{}us",
                    spec.kind,
                    keys.join(", "),
                    spec.left_end.column,
                    spec.left_end.plus_us
                )?;
                write!(f, " = {}+{}us", spec.right_end.column, spec.right_end.plus_us)?;
                match &spec.residual {
                    Some(residual) => writeln!(f, " residual {residual}")?,
                    None => writeln!(f)?,
                }
                left.write(f, depth + 1)?;
                right.write(f, depth + 1)
            }
            Lowered::Union { inputs } => {
                writeln!(f, "union")?;
                inputs.iter().try_for_each(|i| i.write(f, depth + 1))
            }
        }
    }
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// An aggregate for people.
struct Text<'a>(&'a AggregateSpec);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.0;
        match &spec.window {
            Window::Tumble { time, size_us, offset_us } => write!(f, "tumble({time}, {size_us}us, {offset_us}us)")?,
            Window::Hop { time, slide_us, size_us, offset_us } => {
                write!(f, "hop({time}, {slide_us}us, {size_us}us, {offset_us}us)")?;
            }
            Window::Session { time, gap_us } => write!(f, "session({time}, {gap_us}us)")?,
            Window::Existing { start, end, size_us } => {
                write!(f, "existing(start {start:?}, end {end:?}, size {size_us:?})")?
            }
        }
        let keys: Vec<String> = spec.keys.iter().map(|k| format!("{} AS {}", k.expr, k.field.name())).collect();
        write!(f, " by [{}]", keys.join(", "))?;
        for name in [&spec.start, &spec.end].into_iter().flatten() {
            write!(f, " {name}")?;
        }
        let aggregates = spec.aggregates.iter().map(|a| match &a.filter {
            Some(filter) => format!("{} if {filter}", a.field.name()),
            None => a.field.name().clone(),
        });
        write!(f, " compute [{}]", aggregates.collect::<Vec<_>>().join(", "))
    }
}
