//! From a planned query to nodes of the graph.
//!
//! ```text
//!   input -> stage -> [partial aggregate -> exchange by key ->] aggregate -> stage -> ...
//! ```
//!
//! With several workers an aggregate works in two steps: what each worker has of an epoch is aggregated
//! where it is, and only the partial results cross. The state lies in the second step alone and is the
//! same with one worker, so a job can be restarted with another number of them.

use super::query::{Lowered, QueryPlan};
use crate::operator::{Operator, OperatorFactory, Reads};
use crate::plan::{Input, NodeId, Pipeline, Work};
use crate::window::{
    self, AggregateSpec, JoinSpec, LATE, LATE_RIGHT, Window, WindowAggregate, WindowJoin, WindowPartial,
};
use crate::{Problem, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a query became.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The node that puts out the answer, on port 0.
    pub root: NodeId,
    /// Ports of rows that came too late, each with its schema.
    pub late: Vec<(NodeId, usize)>,
}

/// Adds the nodes of `plan` to `pipeline`, all under the name `node`; `inputs` by the names that the
/// query uses.
///
/// # Errors
/// A join or session by a computed key, with more than one worker.
pub fn attach(
    pipeline: &mut Pipeline,
    node: &str,
    inputs: &BTreeMap<String, Input>,
    plan: &QueryPlan,
    workers: usize,
) -> Result<Attached> {
    let mut attach = Attach { pipeline, node, inputs, workers, late: Vec::new() };
    let root = attach.lower(&plan.root)?;
    let late = attach.late;
    Ok(Attached { root: root.from, late })
}

struct Attach<'a> {
    pipeline: &'a mut Pipeline,
    node: &'a str,
    inputs: &'a BTreeMap<String, Input>,
    workers: usize,
    late: Vec<(NodeId, usize)>,
}

impl Attach<'_> {
    fn lower(&mut self, lowered: &Lowered) -> Result<Input> {
        match lowered {
            Lowered::Input { name, .. } => {
                let known = self.inputs.get(name).cloned();
                known.ok_or_else(|| Problem::internal(format!("the query reads {name}, which is no input")))
            }
            Lowered::Stage { input, planned } => {
                let from = self.lower(input)?;
                let (output, reads) = (Arc::clone(&planned.output), planned.reads.clone());
                Ok(Input::from(self.pipeline.stage(self.node, from, output, reads, Arc::clone(&planned.stage))))
            }
            Lowered::WindowAggregate { input, spec } => {
                let from = self.lower(input)?;
                self.aggregate(from, spec)
            }
            Lowered::WindowJoin { left, right, spec } => {
                let (left, right) = (self.lower(left)?, self.lower(right)?);
                self.join(left, right, spec)
            }
            Lowered::Union { inputs } => {
                let inputs = inputs.iter().map(|i| self.lower(i)).collect::<Result<Vec<_>>>()?;
                Ok(Input::from(self.pipeline.union(self.node, inputs)))
            }
        }
    }

    fn aggregate(&mut self, from: Input, spec: &AggregateSpec) -> Result<Input> {
        let session = matches!(spec.window, Window::Session { .. });
        let before = before("aggregate", aggregate_words(spec));
        let fingerprint = window::aggregate_meaning(spec, before)?.fingerprint();
        let (input, late_schema, factory): (Input, SchemaRef, OperatorFactory) = if session || self.workers == 1 {
            let by = if session { self.columns(spec.keys.iter().map(|k| &k.expr), &spec.input)? } else { Vec::new() };
            let of = spec.clone();
            let make = move |_: &[SchemaRef]| window::aggregate(of.clone());
            (from.by(by), Arc::clone(&spec.input), Arc::new(make))
        } else {
            let partials = window::partial_schema(spec)?;
            let by = partials.fields()[window::partial_keys(spec)].iter().map(|f| f.name().clone()).collect();
            let of = spec.clone();
            let partial = move |_: &[SchemaRef]| Ok(Box::new(WindowPartial::new(of.clone())?) as Box<dyn Operator>);
            let schemas = vec![Arc::clone(&partials), Arc::clone(&spec.input)];
            let node = self.operator("partial", vec![from], schemas, Arc::new(partial), String::new());
            self.late.push((node, LATE));
            let of = spec.clone();
            let merge = move |_: &[SchemaRef]| {
                Ok(Box::new(WindowAggregate::new(of.clone(), window::Input::Partials)?) as Box<dyn Operator>)
            };
            (Input::from(node).by(by), partials, Arc::new(merge))
        };
        // Behind a partial aggregate nothing is late: both judge an epoch by the same watermark.
        let judges = self.late.is_empty() || late_schema.fields() == spec.input.fields();
        let node =
            self.operator("aggregate", vec![input], vec![Arc::clone(&spec.output), late_schema], factory, fingerprint);
        if judges {
            self.late.push((node, LATE));
        }
        Ok(Input::from(node))
    }

    fn join(&mut self, left: Input, right: Input, spec: &JoinSpec) -> Result<Input> {
        let fingerprint = window::join_meaning(spec, before("join", join_words(spec))).fingerprint();
        let by_left = self.columns(spec.left_keys.iter(), &spec.left)?;
        let by_right = self.columns(spec.right_keys.iter(), &spec.right)?;
        let of = spec.clone();
        let make = move |_: &[SchemaRef]| Ok(Box::new(WindowJoin::new(of.clone())?) as Box<dyn Operator>);
        let schemas = vec![Arc::clone(&spec.output), Arc::clone(&spec.left), Arc::clone(&spec.right)];
        let node =
            self.operator("join", vec![left.by(by_left), right.by(by_right)], schemas, Arc::new(make), fingerprint);
        self.late.extend([(node, LATE), (node, LATE_RIGHT)]);
        Ok(Input::from(node))
    }

    fn operator(
        &mut self,
        role: &str,
        inputs: Vec<Input>,
        schemas: Vec<SchemaRef>,
        factory: OperatorFactory,
        fingerprint: String,
    ) -> NodeId {
        let reads = vec![Reads::All; inputs.len()];
        self.pipeline.operator(self.node, role, inputs, schemas, Work::Operator { factory, reads, fingerprint })
    }

    /// The names of key columns, for an exchange; what is computed cannot be exchanged by.
    fn columns<'e>(
        &self,
        keys: impl Iterator<Item = &'e Arc<dyn PhysicalExpr>>,
        schema: &Schema,
    ) -> Result<Vec<String>> {
        if self.workers == 1 {
            return Ok(Vec::new());
        }
        let name = |key: &Arc<dyn PhysicalExpr>| {
            let column = key.downcast_ref::<Column>().map(|c| Field::name(schema.field(c.index())).clone());
            column.ok_or_else(|| {
                Problem::error("SQL-COMPUTED-KEY", "a join or session by a computed key needs one worker")
                    .found(key.to_string())
                    .help("compute the key in a subquery and name it there")
            })
        };
        keys.map(name).collect()
    }
}

/// What an aggregate keeps, in the words of state that was written before there were meanings.
fn aggregate_words(spec: &AggregateSpec) -> String {
    let window = match &spec.window {
        Window::Tumble { time, size_us, offset_us } => format!("tumble {time} {size_us} {offset_us}"),
        Window::Hop { time, slide_us, size_us, offset_us } => format!("hop {time} {slide_us} {size_us} {offset_us}"),
        Window::Session { time, gap_us } => format!("session {time} {gap_us}"),
        Window::Existing { start, end, size_us } => format!("existing {start:?} {end:?} {size_us:?}"),
    };
    let keys = spec.keys.iter().map(|k| format!("{}:{}", k.expr, k.field.data_type())).collect::<Vec<_>>();
    let aggregates = spec.aggregates.iter().map(|a| {
        let arguments = listed(&a.function.expressions());
        let filter = a.filter.as_ref().map_or_else(String::new, |f| format!(" where {f}"));
        let distinct = if a.function.is_distinct() { "distinct " } else { "" };
        format!("{}({distinct}{arguments}){filter}:{}", a.function.fun().name(), a.field.data_type())
    });
    format!("{window} by [{}] of [{}]", keys.join(", "), aggregates.collect::<Vec<_>>().join(", "))
}

/// What a join keeps, in the same words.
fn join_words(spec: &JoinSpec) -> String {
    let side = |keys: &[Arc<dyn PhysicalExpr>], schema: &Schema| {
        format!("[{}] of [{}]", listed(keys), crate::plan::describe(schema))
    };
    let kind = match spec.kind {
        window::JoinKind::Inner => "inner",
        window::JoinKind::Left => "left",
    };
    format!("{kind} {} and {}", side(&spec.left_keys, &spec.left), side(&spec.right_keys, &spec.right))
}

fn listed(expressions: &[Arc<dyn PhysicalExpr>]) -> String {
    expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The fingerprint that such state bears.
fn before(kind: &str, meaning: String) -> String {
    format!("{kind}:{}", &blake3::hash(meaning.as_bytes()).to_hex()[..16])
}
