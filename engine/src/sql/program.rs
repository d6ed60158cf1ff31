//! What a stage of expressions is to do: a row of layers, each a fused filter and projection.
//!
//! The planner pushes filters, projections and window assignments; neighbours are fused as they come.
//! [`super::run`] carries it out.

use super::assign::Assign;
use super::run::ProgramStage;
use crate::operator::Stage;
use crate::{Problem, Result};
use arrow::datatypes::SchemaRef;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, Literal};
use std::fmt;
use std::sync::Arc;

pub(super) type Physical = Arc<dyn PhysicalExpr>;

/// Layers, compiled for one input schema.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) input: SchemaRef,
    pub(super) output: SchemaRef,
    pub(super) layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
pub(super) enum Layer {
    Step(Step),
    Assign(Assign),
}

/// A filter, a projection, or both.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Over the layer's input; all must be true.
    pub(super) conjuncts: Vec<Physical>,
    /// Over the layer's input; `None` lets it through.
    pub(super) outputs: Option<Vec<Physical>>,
    /// What comes out.
    pub(super) schema: SchemaRef,
}

impl Program {
    /// Lets everything through.
    pub(super) fn identity(input: SchemaRef) -> Program {
        Program { output: Arc::clone(&input), input, layers: Vec::new() }
    }
    /// True if it changes nothing.
    pub(super) fn is_identity(&self) -> bool {
        self.layers.is_empty()
    }
    /// Keeps rows for which all of `conjuncts` (over the current output) are true.
    pub(super) fn filter(&mut self, conjuncts: Vec<Physical>) {
        match self.layers.last_mut() {
            Some(Layer::Step(step)) if step.outputs.is_none() => step.conjuncts.extend(conjuncts),
            _ => self.layers.push(Layer::Step(Step { conjuncts, outputs: None, schema: Arc::clone(&self.output) })),
        }
    }
    /// Computes `outputs` (over the current output); their fields are `schema`.
    pub(super) fn project(&mut self, outputs: Vec<Physical>, schema: SchemaRef) {
        let same = outputs.len() == self.output.fields().len()
            && outputs.iter().enumerate().all(|(i, e)| column(e) == Some(i));
        if same && schema == self.output {
            return;
        }
        self.output = Arc::clone(&schema);
        if let Some(Layer::Step(step)) = self.layers.last_mut() {
            match &step.outputs {
                None => (step.outputs, step.schema) = (Some(outputs), schema),
                Some(below) if may_inline(below, &outputs) => {
                    step.outputs = Some(outputs.iter().map(|e| inline(e, below)).collect());
                    step.schema = schema;
                }
                Some(_) => {
                    self.layers.push(Layer::Step(Step { conjuncts: Vec::new(), outputs: Some(outputs), schema }))
                }
            }
            return;
        }
        self.layers.push(Layer::Step(Step { conjuncts: Vec::new(), outputs: Some(outputs), schema }));
    }
    /// Adds the window's start and end to each row; a hop repeats rows.
    pub(super) fn assign(&mut self, assign: Assign) {
        self.output = Arc::clone(&assign.schema);
        self.layers.push(Layer::Assign(assign));
    }
    /// The stage for input that holds the columns of this program's input, anywhere among others.
    pub(super) fn stage(&self, actual: &SchemaRef) -> Result<Box<dyn Stage>> {
        let mut columns = Vec::with_capacity(self.input.fields().len());
        for field in self.input.fields() {
            let what = || format!("column `{}` of a stage is not as planned", field.name());
            let index = actual.index_of(field.name()).map_err(|_| Problem::internal(what()).found("no such column"))?;
            let found = actual.field(index).data_type();
            if found != field.data_type() {
                return Err(Problem::internal(what()).found(found.to_string()).expected(field.data_type().to_string()));
            }
            columns.push(index);
        }
        let same = columns.iter().copied().eq(0..actual.fields().len());
        Ok(Box::new(ProgramStage::new(self, (!same).then_some(columns))))
    }
    /// The stage for input of exactly this program's schema, where names may repeat.
    pub(super) fn exact_stage(&self) -> Box<dyn Stage> {
        Box::new(ProgramStage::new(self, None))
    }
}

/// The index, if the expression is nothing but a column.
pub(super) fn column(expr: &Physical) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Replaces each column by `to(index)`.
pub(super) fn map_columns(expr: &Physical, mut to: impl FnMut(usize) -> Physical) -> Physical {
    let mapped = Arc::clone(expr).transform_down(|e| match column(&e) {
        Some(index) => Ok(Transformed::new(to(index), true, TreeNodeRecursion::Jump)),
        None => Ok(Transformed::no(e)),
    });
    mapped.expect("replacing a column by an expression of its type keeps the tree valid").data
}

fn inline(expr: &Physical, below: &[Physical]) -> Physical {
    map_columns(expr, |i| Arc::clone(&below[i]))
}

/// True if nothing would be computed twice.
fn may_inline(below: &[Physical], outputs: &[Physical]) -> bool {
    let mut uses = vec![0usize; below.len()];
    for output in outputs {
        let counted = output.apply(|e| {
            if let Some(i) = column(e) {
                uses[i] += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        counted.expect("counting cannot fail");
    }
    below.iter().zip(uses).all(|(e, n)| n <= 1 || column(e).is_some() || e.is::<Literal>())
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            match layer {
                Layer::Step(step) => write!(f, "{step}")?,
                Layer::Assign(assign) => write!(f, "{assign}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.conjuncts.iter().enumerate() {
            write!(f, "{}{c}", if i == 0 { "filter " } else { ", then " })?;
        }
        let Some(outputs) = &self.outputs else {
            return Ok(());
        };
        f.write_str(if self.conjuncts.is_empty() { "project " } else { "; project " })?;
        for (i, (e, field)) in outputs.iter().zip(self.schema.fields()).enumerate() {
            write!(f, "{}{e} AS {}", if i == 0 { "" } else { ", " }, field.name())?;
        }
        Ok(())
    }
}
