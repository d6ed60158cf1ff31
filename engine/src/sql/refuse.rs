//! What a query must not contain, seen in its text, so that the answer names what is written there.

use super::error::unsupported;
use crate::{Problem, Result};
use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, JoinOperator, Query, Select, SetExpr, SetOperator,
    Statement, TableFactor, TableWithJoins, Value, Visit, Visitor,
};
use std::ops::ControlFlow;

/// Refuses everything but one SELECT of what is offered.
pub(super) fn refuse(statement: &Statement) -> Result<()> {
    if !matches!(statement, Statement::Query(_)) {
        let text = statement.to_string();
        let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
        return Err(unsupported(format!("{word} is no query"), "write one SELECT"));
    }
    match statement.visit(&mut Refuse::default()) {
        ControlFlow::Break(problem) => Err(*problem),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Refuse {
    /// Addresses of the queries that are the first argument of a window function: they are relations.
    relations: Vec<usize>,
}
type Flow = ControlFlow<Box<Problem>>;

fn stop(what: impl Into<String>, help: &str) -> Flow {
    ControlFlow::Break(Box::new(unsupported(what, help)))
}

impl Visitor for Refuse {
    type Break = Box<Problem>;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        if query.with.as_ref().is_some_and(|w| w.recursive) {
            return stop("a recursive CTE", "compute the levels one by one, or outside of the pipeline");
        }
        if query.order_by.is_some() {
            return stop(
                "ORDER BY",
                "a stream has no end to sort at; take max(…) or min(…) per window, or sort in the sink",
            );
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return stop("LIMIT, OFFSET or FETCH", "take max(…) or min(…) per window");
        }
        if !query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty() {
            return stop("FOR … or a pipe after a query", "leave it out");
        }
        match query.body.as_ref() {
            SetExpr::Values(_) => stop("VALUES", "read constants from a file with a source"),
            body => set_operation(body),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        if matches!(select.distinct, Some(Distinct::On(_))) {
            return stop("DISTINCT ON", "use GROUP BY with a window column, or a `dedupe` node");
        }
        if select.from.is_empty() {
            return stop("a SELECT without FROM", "name an input in FROM; a `generator` source makes rows");
        }
        if select.qualify.is_some() || !select.named_window.is_empty() {
            return stop(
                "QUALIFY and WINDOW",
                "aggregate per window: tumble, hop or session in FROM with GROUP BY window_end",
            );
        }
        let sorts = !select.sort_by.is_empty() || !select.cluster_by.is_empty() || !select.distribute_by.is_empty();
        if sorts
            || select.top.is_some()
            || select.into.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
        {
            return stop("TOP, INTO, LATERAL VIEW, CONNECT BY, SORT BY and their like", "leave it out");
        }
        match &select.group_by {
            GroupByExpr::All(_) => return stop("GROUP BY ALL", "name the keys and a window column in GROUP BY"),
            GroupByExpr::Expressions(keys, modifiers) => {
                let sets = |e: &Expr| matches!(e, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
                if !modifiers.is_empty() || keys.iter().any(sets) {
                    return stop(
                        "ROLLUP, CUBE and GROUPING SETS",
                        "write one query per grouping and join them with UNION ALL",
                    );
                }
            }
        }
        select.from.iter().try_for_each(joins)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        if let TableFactor::Table { args: Some(args), .. } = factor
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))) = args.args.first()
        {
            self.relations.push(address(query));
        }
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                stop("TABLESAMPLE", "filter with a condition, such as id % 100 = 0")
            }
            TableFactor::Derived { lateral: true, .. } | TableFactor::Function { .. } => {
                stop("LATERAL", "write a windowed JOIN")
            }
            TableFactor::NestedJoin { table_with_joins, .. } => joins(table_with_joins),
            TableFactor::Table { .. } | TableFactor::Derived { .. } => Flow::Continue(()),
            TableFactor::UNNEST { .. } => stop("UNNEST", "unfold lists in a transform before this node"),
            other => stop(format!("`{other}` in FROM"), "name an input, a CTE, a subquery or a window function"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Subquery(query) if self.relations.contains(&address(query)) => Flow::Continue(()),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => stop(
                format!("the placeholder `{value}`"),
                "write the value itself, or a parameter of the pipeline: ${name}",
            ),
            Expr::Subquery(_)
            | Expr::Exists { .. }
            | Expr::InSubquery { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => {
                stop("a query inside an expression", "write a windowed JOIN, or put the query in FROM")
            }
            Expr::Function(f) if f.over.is_some() => stop(
                format!("{}(…) OVER", f.name),
                "aggregate per window: tumble, hop or session in FROM with GROUP BY window_end",
            ),
            _ => Flow::Continue(()),
        }
    }
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

fn set_operation(body: &SetExpr) -> Flow {
    let SetExpr::SetOperation { op, left, right, .. } = body else { return Flow::Continue(()) };
    match op {
        SetOperator::Union => {
            set_operation(left)?;
            set_operation(right)
        }
        op => stop(format!("{op}"), "write a windowed JOIN"),
    }
}

fn joins(table: &TableWithJoins) -> Flow {
    for join in &table.joins {
        let name = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => continue,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => continue,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => {
                return stop("RIGHT JOIN", "swap the two inputs and write LEFT JOIN");
            }
            JoinOperator::FullOuter(_) => "FULL JOIN",
            JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) | JoinOperator::RightSemi(_) => "SEMI JOIN",
            JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) | JoinOperator::RightAnti(_) => "ANTI JOIN",
            JoinOperator::AsOf { .. } => "ASOF JOIN",
            _ => "this kind of join",
        };
        return stop(name, "INNER JOIN and LEFT JOIN are offered, with equal window columns in ON");
    }
    Flow::Continue(())
}
