//! The nodes `filter` and `select`: SQL expressions as stages.

use super::error::EXPRESSION;
use super::expr::Expression;
use super::program::Program;
use crate::operator::{Reads, StageFactory};
use crate::{Place, Problem, Result};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::fmt;
use std::sync::Arc;

/// A stage that has been planned.
#[derive(Clone)]
pub struct Planned {
    /// What comes out, before column pruning.
    pub output: SchemaRef,
    /// Which columns of the input it needs.
    pub reads: Reads,
    /// Makes it, for the input that column pruning left over.
    pub stage: StageFactory,
    /// What it does, for people.
    pub text: String,
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planned")
            .field("output", &self.output)
            .field("reads", &self.reads)
            .field("text", &self.text)
            .finish()
    }
}

/// Lets rows through for which `sql` is true; false and NULL are counted as filtered.
///
/// # Errors
/// As [`Expression::compile`]; `SQL-TYPE` if it is not a condition.
pub fn filter(sql: &str, schema: &SchemaRef) -> Result<Planned> {
    let condition = Expression::compile(sql, schema)?;
    if condition.data_type() != &DataType::Boolean {
        return Err(Problem::error("SQL-TYPE", "the expression is not a condition")
            .at(Place::text(EXPRESSION, 1, 1))
            .found(condition.data_type().to_string())
            .expected("a condition: true or false"));
    }
    let reads = Reads::Extra(condition.columns().to_vec());
    let make = move |actual: &SchemaRef| {
        let mut program = Program::identity(Arc::clone(actual));
        program.filter(condition.rebind(actual)?.conjuncts(actual)?);
        Ok(program.exact_stage())
    };
    Ok(Planned { output: Arc::clone(schema), reads, stage: Arc::new(make), text: format!("filter {sql}") })
}

/// Computes each `(name, sql)` of `columns`, in that order.
///
/// # Errors
/// The problems of all columns: as [`Expression::compile`], with the column's name as
/// [`node field`](Place::Node) where nothing nearer is known; `SQL-DUPLICATE-COLUMN`.
pub fn select(columns: &[(String, String)], schema: &SchemaRef) -> Result<Planned, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut compiled: Vec<(String, Expression)> = Vec::with_capacity(columns.len());
    for (name, sql) in columns {
        if compiled.iter().any(|(n, _)| n == name) {
            problems.push(Problem::error("SQL-DUPLICATE-COLUMN", format!("two columns are called `{name}`")));
        }
        match Expression::compile(sql, schema) {
            Ok(expression) => compiled.push((name.clone(), expression)),
            Err(problem) => problems.push(in_column(problem, name)),
        }
    }
    if columns.is_empty() {
        problems.push(Problem::error("SQL-EMPTY", "no column is selected").expected("at least one `name: expression`"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let fields: Vec<Field> = compiled.iter().map(|(name, e)| output_field(name, e, schema)).collect();
    let output = Arc::new(Schema::new(fields));
    let used =
        schema.fields().iter().map(|f| f.name()).filter(|n| compiled.iter().any(|(_, e)| e.columns().contains(n)));
    let reads = Reads::Only(used.cloned().collect());
    let text = compiled.iter().map(|(n, e)| format!("{} AS {n}", e.sql())).collect::<Vec<_>>().join(", ");
    let planned = Arc::clone(&output);
    let make = move |actual: &SchemaRef| {
        let bound = compiled.iter().map(|(_, e)| Ok(Arc::clone(e.rebind(actual)?.physical())));
        let mut program = Program::identity(Arc::clone(actual));
        program.project(bound.collect::<Result<_>>()?, Arc::clone(&planned));
        Ok(program.exact_stage())
    };
    Ok(Planned { output, reads, stage: Arc::new(make), text: format!("select {text}") })
}

fn output_field(name: &str, expression: &Expression, schema: &SchemaRef) -> Field {
    let field = Field::new(name, expression.data_type().clone(), expression.nullable());
    match schema.field_with_name(expression.sql().trim()) {
        Ok(source) => field.with_metadata(source.metadata().clone()),
        Err(_) => field,
    }
}

fn in_column(mut problem: Problem, column: &str) -> Problem {
    problem.what = format!("column `{column}`: {}", problem.what);
    problem
}
