//! Scalar SQL expressions over record batches.
//!
//! Text is parsed, resolved against a schema, coerced and simplified by DataFusion, then compiled to a
//! physical expression. Integer arithmetic that overflows is an error, not a wrapped number. What can
//! be wrong with the text is found here; what can be wrong with a row shows in
//! [`Expression::evaluate`].

use super::caps::check_text;
use super::error::{EXPRESSION, problem, unsupported};
use super::limits::{DEPTH_MAX, EXPRESSION_BYTES_MAX, check_source, check_tree, deep};
use super::registry::Catalog;
use crate::{Place, Problem, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A compiled scalar expression.
#[derive(Clone, Debug)]
pub struct Expression {
    sql: String,
    logical: Expr,
    physical: Arc<dyn PhysicalExpr>,
    field: FieldRef,
    columns: Vec<String>,
}

impl Expression {
    /// Compiles `sql` over `schema`.
    ///
    /// # Errors
    /// `SQL-SYNTAX`, `SQL-UNKNOWN-COLUMN`, `SQL-UNKNOWN-FUNCTION`, `SQL-TYPE`, `SQL-TOO-LARGE`,
    /// `SQL-UNSUPPORTED`, `SQL-VALUE`; with line and column inside the text (file [`EXPRESSION`]) where
    /// they are known.
    pub fn compile(sql: &str, schema: &SchemaRef) -> Result<Expression> {
        check_source(sql, EXPRESSION_BYTES_MAX)?;
        let logical = deep(|| resolve(sql, schema))?;
        Expression::bind(sql.to_owned(), logical, schema)
    }
    /// The same expression over another schema, which must hold its [columns](Self::columns) with the
    /// same types, anywhere: what column pruning left over.
    ///
    /// # Errors
    /// `SQL-UNKNOWN-COLUMN` if one is missing.
    pub fn rebind(&self, schema: &SchemaRef) -> Result<Expression> {
        Expression::bind(self.sql.clone(), self.logical.clone(), schema)
    }
    fn bind(sql: String, logical: Expr, schema: &SchemaRef) -> Result<Expression> {
        let wrong = |e| problem(&e, EXPRESSION);
        let df = df_schema(schema)?;
        let physical = physical(&logical, &df).map_err(wrong)?;
        let (_, field) = logical.to_field(&df).map_err(wrong)?;
        let data_type = physical.data_type(schema).map_err(wrong)?;
        let field = Arc::new(Field::new(&sql, data_type, field.is_nullable()).with_metadata(field.metadata().clone()));
        let mut columns: Vec<String> = logical.column_refs().into_iter().map(|c| c.name.clone()).collect();
        columns.sort_by_key(|c| schema.index_of(c).unwrap_or(usize::MAX));
        Ok(Expression { sql, logical, physical, field, columns })
    }
    /// One value per row.
    ///
    /// # Errors
    /// If any row cannot be handled: `EXPR-CAST`, `EXPR-DIVIDE-BY-ZERO`, `EXPR-OVERFLOW`,
    /// `EXPR-TOO-LARGE`, `EXPR-FAILED`. [`filter`](super::filter) and [`select`](super::select) set the
    /// bad rows aside instead.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        evaluate(self.physical.as_ref(), batch).map_err(|e| {
            let (code, message) = super::error::row_error(&e);
            Problem::error(code, message)
        })
    }
    /// The columns it reads, in the schema's order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        self.field.data_type()
    }
    /// True if a value can be NULL.
    pub fn nullable(&self) -> bool {
        self.field.is_nullable()
    }
    /// The text it was compiled from.
    pub fn sql(&self) -> &str {
        &self.sql
    }
    /// The compiled form.
    pub fn physical(&self) -> &Arc<dyn PhysicalExpr> {
        &self.physical
    }
    /// Its conjuncts (`a AND b` gives two), in the order in which they are written.
    pub(super) fn conjuncts(&self, schema: &SchemaRef) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let df = df_schema(schema)?;
        let parts = datafusion_expr::utils::split_conjunction(&self.logical);
        parts.into_iter().map(|e| physical(e, &df).map_err(|e| problem(&e, EXPRESSION))).collect()
    }
}

/// Evaluates and checks that no text in the result is above the cap.
pub(super) fn evaluate(expr: &dyn PhysicalExpr, batch: &RecordBatch) -> datafusion_common::Result<ArrayRef> {
    let array = expr.evaluate(batch)?.into_array(batch.num_rows())?;
    if !expr.is::<Column>() {
        check_text("the expression", array.as_ref())?;
    }
    Ok(array)
}

/// Compiles a logical expression; integer arithmetic is checked.
pub(super) fn physical(expr: &Expr, schema: &DFSchema) -> datafusion_common::Result<Arc<dyn PhysicalExpr>> {
    let compiled = create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    Ok(compiled.transform_up(checked)?.data)
}

fn checked(expr: Arc<dyn PhysicalExpr>) -> datafusion_common::Result<Transformed<Arc<dyn PhysicalExpr>>> {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(b) if matches!(b.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
            Ok(Transformed::yes(Arc::new(b.clone().with_fail_on_overflow(true))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

pub(super) fn df_schema(schema: &SchemaRef) -> Result<DFSchema> {
    DFSchema::try_from(Schema::clone(schema)).map_err(|e| problem(&e, EXPRESSION))
}

pub(super) fn parser_options() -> ParserOptions {
    ParserOptions::new().with_collect_spans(true).with_map_string_types_to_utf8view(false)
}

fn resolve(sql: &str, schema: &SchemaRef) -> Result<Expr> {
    let wrong = |e| problem(&e, EXPRESSION);
    let tree = parse(sql)?;
    let catalog = Catalog::empty();
    let df: DFSchemaRef = Arc::new(df_schema(schema)?);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    refuse_queries(&tree)?;
    let expr = planner.sql_to_expr(tree, &df, &mut PlannerContext::new()).map_err(wrong)?;
    refuse_aggregates(&expr)?;
    check_tree(&expr)?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&df)).build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr, &df).map_err(wrong)?;
    let expr = simplifier.simplify(expr).map_err(wrong)?;
    check_tree(&expr)?;
    Ok(expr)
}

pub(super) fn parse(sql: &str) -> Result<ast::Expr> {
    let wrong = |e| problem(&datafusion_common::DataFusionError::SQL(Box::new(e), None), EXPRESSION);
    let parser = Parser::new(&GenericDialect {}).with_recursion_limit(DEPTH_MAX);
    let mut parser = parser.try_with_sql(sql).map_err(wrong)?;
    let tree = parser.parse_expr().map_err(wrong)?;
    let rest = parser.peek_token();
    if rest.token == Token::EOF {
        return Ok(tree);
    }
    let place = Place::text(EXPRESSION, rest.span.start.line as usize, rest.span.start.column as usize);
    Err(Problem::error("SQL-SYNTAX", "the SQL cannot be read")
        .at(place)
        .found(rest.token.to_string())
        .expected("the end of the expression, or an operator"))
}

/// Refuses what no expression of a record can hold, before anything looks for its tables or values.
fn refuse_queries(tree: &ast::Expr) -> Result<()> {
    let stop = |what: String, help: &str| ControlFlow::Break(unsupported(what, help));
    let found = ast::visit_expressions(tree, |e| match e {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
            stop("a query inside an expression is not offered".to_owned(), "write a windowed JOIN in an `sql` node")
        }
        ast::Expr::Value(v) if matches!(v.value, ast::Value::Placeholder(_)) => {
            stop(format!("the placeholder `{v}`"), "write the value itself, or a parameter of the pipeline: ${name}")
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(problem) => Err(problem),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn refuse_aggregates(expr: &Expr) -> Result<()> {
    let mut name = None;
    let found = expr.exists(|e| {
        name = match e {
            Expr::AggregateFunction(f) => Some(f.func.name().to_owned()),
            Expr::WindowFunction(f) => Some(f.fun.name().to_owned()),
            _ => None,
        };
        Ok(name.is_some())
    });
    match (found, name) {
        (Ok(true), Some(name)) => Err(unsupported(
            format!("`{name}` spans several rows, an expression sees one"),
            "use a `window` node, or an `sql` node with GROUP BY window_end",
        )),
        _ => Ok(()),
    }
}
