//! A part of the tree under construction, and what is known of its columns.

use super::super::assign::Assign;
use super::super::error::unsupported;
use super::super::expr::physical;
use super::super::program::{Physical, Program, column, map_columns};
use super::super::query::{Lowered, WINDOW_KEY, WINDOW_SIZE_KEY};
use super::super::stage::Planned;
use super::super::tvf::{WINDOW_END, WINDOW_START, WindowKind, time_type};
use super::{index_of, wrong};
use crate::operator::{Reads, StageFactory};
use crate::window::spec::{AggregateSpec, JoinSpec};
use crate::{Problem, Result};
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion_common::{Column as LogicalColumn, DFSchema};
use datafusion_expr::Expr;
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;

/// [`Lowered`] with stages still open.
pub(super) enum Tree {
    Input { name: String, columns: Vec<String> },
    Stage { input: Box<Tree>, program: Program },
    Aggregate { input: Box<Tree>, spec: AggregateSpec },
    Join { left: Box<Tree>, right: Box<Tree>, spec: JoinSpec },
    Union { inputs: Vec<Tree>, output: SchemaRef },
}

impl Tree {
    /// An input with the stage that picks its columns.
    pub(super) fn input(name: String, columns: Vec<String>, schema: SchemaRef) -> Tree {
        Tree::Stage { input: Box::new(Tree::Input { name, columns }), program: Program::identity(schema) }
    }
    /// The columns that come out.
    pub(super) fn output(&self) -> SchemaRef {
        match self {
            Tree::Input { .. } => unreachable!("an input always has its stage above it"),
            Tree::Stage { program, .. } => Arc::clone(&program.output),
            Tree::Aggregate { spec, .. } => Arc::clone(&spec.output),
            Tree::Join { spec, .. } => Arc::clone(&spec.output),
            Tree::Union { output, .. } => Arc::clone(output),
        }
    }
    /// The stage on top, put there if there is none.
    pub(super) fn program(&mut self) -> &mut Program {
        if !matches!(self, Tree::Stage { .. }) {
            let program = Program::identity(self.output());
            let input =
                std::mem::replace(self, Tree::Union { inputs: Vec::new(), output: Arc::clone(&program.output) });
            *self = Tree::Stage { input: Box::new(input), program };
        }
        match self {
            Tree::Stage { program, .. } => program,
            _ => unreachable!("just put there"),
        }
    }
    /// Closes all stages.
    pub(super) fn finish(self) -> Lowered {
        match self {
            Tree::Input { name, columns } => Lowered::Input { name, columns },
            Tree::Stage { input, program } => match *input {
                Tree::Input { .. } => stage(*input, program, true),
                other if program.is_identity() => other.finish(),
                other => stage(other, program, false),
            },
            Tree::Aggregate { input, spec } => Lowered::WindowAggregate { input: Box::new(input.finish()), spec },
            Tree::Join { left, right, spec } => {
                Lowered::WindowJoin { left: Box::new(left.finish()), right: Box::new(right.finish()), spec }
            }
            Tree::Union { inputs, .. } => Lowered::Union { inputs: inputs.into_iter().map(Tree::finish).collect() },
        }
    }
}

fn stage(input: Tree, program: Program, by_name: bool) -> Lowered {
    let text = if program.is_identity() { "pass".to_owned() } else { program.to_string() };
    let output = Arc::clone(&program.output);
    let reads = Reads::Only(program.input.fields().iter().map(|f| f.name().clone()).collect());
    let make: StageFactory = match by_name {
        true => Arc::new(move |actual| program.stage(actual)),
        false => Arc::new(move |_| Ok(program.exact_stage())),
    };
    Lowered::Stage { input: Box::new(input.finish()), planned: Planned { output, reads, stage: make, text } }
}

/// Where a logical column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A column of what the tree gives.
    Real(usize),
    /// The start of the pending window.
    Start,
    /// The end of the pending window.
    End,
}

/// Which end of a window a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Start,
    End,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Start => "start",
            Role::End => "end",
        }
    }
}

/// A column that holds an end of a window; columns of one window share the id.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowColumn {
    pub(super) role: Role,
    pub(super) size_us: Option<i64>,
    pub(super) id: usize,
}

impl WindowColumn {
    /// What an earlier plan wrote on the field.
    pub(super) fn read(field: &Field, id: usize) -> Option<WindowColumn> {
        if field.data_type() != &time_type() {
            return None;
        }
        let role = match field.metadata().get(WINDOW_KEY)?.as_str() {
            "start" => Role::Start,
            "end" => Role::End,
            _ => return None,
        };
        let size_us = field.metadata().get(WINDOW_SIZE_KEY).and_then(|s| s.parse().ok());
        Some(WindowColumn { role, size_us, id })
    }
}

/// A window function whose columns nothing has needed yet.
pub(super) struct Pending {
    pub(super) kind: WindowKind,
    /// Over what the tree gives.
    pub(super) time: Physical,
}

/// A tree and its logical columns.
pub(super) struct Piece {
    pub(super) tree: Tree,
    /// Per logical column.
    pub(super) slots: Vec<Slot>,
    /// Per logical column.
    pub(super) windows: Vec<Option<WindowColumn>>,
    /// Per logical column: true for an event-time column passed through.
    pub(super) times: Vec<bool>,
    pub(super) pending: Option<Pending>,
}

impl Piece {
    /// Logical columns are the tree's, in its order.
    pub(super) fn over(tree: Tree, windows: Vec<Option<WindowColumn>>) -> Piece {
        let slots = (0..windows.len()).map(Slot::Real).collect();
        Piece { times: vec![false; windows.len()], tree, slots, windows, pending: None }
    }

    /// The tree's column of a logical column.
    ///
    /// # Panics
    /// When a window is pending.
    pub(super) fn real(&self, logical: usize) -> usize {
        match self.slots[logical] {
            Slot::Real(index) => index,
            Slot::Start | Slot::End => panic!("windows are materialised before their columns are read"),
        }
    }

    /// True if the expression needs the value of a pending window's column.
    pub(super) fn is_imaginary(&self, expr: &Expr, schema: &DFSchema) -> bool {
        let imaginary =
            |c: &&LogicalColumn| index_of(c, schema).is_some_and(|i| !matches!(self.slots[i], Slot::Real(_)));
        expr.column_refs().iter().any(imaginary)
    }

    /// Compiles a logical expression over `schema` (this piece's) to one over what the tree gives.
    pub(super) fn compile(&self, expr: &Expr, schema: &DFSchema) -> Result<Physical> {
        if self.is_imaginary(expr, schema) {
            return Err(Problem::internal(format!("`{expr}` reads a window that has no columns yet")));
        }
        let compiled = physical(expr, schema).map_err(wrong)?;
        let output = self.tree.output();
        Ok(map_columns(&compiled, |i| {
            let index = self.real(i);
            Arc::new(Column::new(output.field(index).name(), index))
        }))
    }

    /// Keeps rows for which all are true.
    pub(super) fn filter(&mut self, conjuncts: Vec<Physical>) {
        self.tree.program().filter(conjuncts);
    }

    /// Computes logical expressions; columns of a pending window may only be passed on as they are.
    pub(super) fn project(&mut self, exprs: &[Expr], schema: &DFSchema, fields: &Fields) -> Result<()> {
        let (mut outputs, mut physical_fields) = (Vec::new(), Vec::new());
        let (mut slots, mut windows, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for (expr, field) in exprs.iter().zip(fields) {
            let source = column_expr(expr).and_then(|c| index_of(c, schema));
            windows.push(source.and_then(|i| self.windows[i]));
            times.push(source.is_some_and(|i| self.times[i]));
            match source.map(|i| self.slots[i]) {
                Some(slot @ (Slot::Start | Slot::End)) => slots.push(slot),
                _ => {
                    slots.push(Slot::Real(outputs.len()));
                    outputs.push(self.compile(expr, schema)?);
                    physical_fields.push(Arc::clone(field));
                }
            }
        }
        let below = self.tree.output();
        if let Some(pending) = &mut self.pending {
            // The time goes along, as itself where it is selected, else as a hidden column.
            let kept = column(&pending.time).and_then(|t| outputs.iter().position(|o| column(o) == Some(t)));
            let index = kept.unwrap_or_else(|| {
                outputs.push(Arc::clone(&pending.time));
                let name = column(&pending.time).map_or("_time".to_owned(), |i| below.field(i).name().clone());
                physical_fields.push(Arc::new(Field::new(name, time_type(), true)));
                outputs.len() - 1
            });
            pending.time = Arc::new(Column::new(physical_fields[index].name(), index));
        }
        self.tree.program().project(outputs, Arc::new(Schema::new(physical_fields)));
        (self.slots, self.windows, self.times) = (slots, windows, times);
        Ok(())
    }

    /// Reorders or drops columns of the tree: `columns[i]` becomes logical column `i`.
    pub(super) fn project_physical(&mut self, columns: Vec<usize>, schema: SchemaRef) {
        let output = self.tree.output();
        let exprs = columns.iter().map(|i| Arc::new(Column::new(output.field(*i).name(), *i)) as Physical).collect();
        self.slots = (0..columns.len()).map(Slot::Real).collect();
        if output != schema || !columns.iter().copied().eq(0..output.fields().len()) {
            self.tree.program().project(exprs, schema);
        }
    }

    /// Gives a pending window's columns values.
    ///
    /// # Errors
    /// For a session: its windows exist only once its rows are grouped.
    pub(super) fn materialise(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let (slide_us, size_us, offset_us) = match pending.kind {
            WindowKind::Tumble { size_us, offset_us } => (size_us, size_us, offset_us),
            WindowKind::Hop { slide_us, size_us, offset_us } => (slide_us, size_us, offset_us),
            WindowKind::Session { .. } => {
                return Err(unsupported(
                    "a session window that is not grouped at once",
                    "write GROUP BY keys, window_start, window_end right over session(…); filter and compute on its columns in the query around it",
                ));
            }
        };
        let program = self.tree.program();
        let width = program.output.fields().len();
        let mut fields: Vec<_> = program.output.fields().iter().cloned().collect();
        fields.extend([WINDOW_START, WINDOW_END].map(|n| Arc::new(Field::new(n, time_type(), false))));
        let schema = Arc::new(Schema::new(fields));
        program.assign(Assign { time: pending.time, slide_us, size_us, offset_us, schema });
        for slot in &mut self.slots {
            *slot = match *slot {
                Slot::Real(index) => Slot::Real(index),
                Slot::Start => Slot::Real(width),
                Slot::End => Slot::Real(width + 1),
            };
        }
        Ok(())
    }
}

/// The column, if the expression is nothing but one, under any name.
pub(super) fn column_expr(expr: &Expr) -> Option<&LogicalColumn> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column_expr(&alias.expr),
        _ => None,
    }
}
