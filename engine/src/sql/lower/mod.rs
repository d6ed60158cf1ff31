//! From DataFusion's optimised logical plan to [`Lowered`].
//!
//! Each logical node becomes a [`Piece`]: a tree so far, and where each logical column stands in what
//! the tree gives. Filters and projections are pushed onto the stage on top of the tree. The columns of
//! a window function stay imaginary ([`Pending`]) until something needs their values: an aggregate right
//! above takes over the window itself, so a hop never repeats rows for it.

mod aggregate;
mod join;
mod piece;

use super::error::unsupported;
use super::query::{Lowered, QueryInput, QueryPlan, WINDOW_KEY, WINDOW_SIZE_KEY};
use super::tvf::{WindowNode, query_problem};
use crate::{Problem, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Filter, LogicalPlan, Projection, TableScan, Union};
use piece::{Pending, Piece, Role, Slot, Tree, WindowColumn, column_expr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Lowers the plan of a whole query.
pub(super) fn lower(plan: &LogicalPlan, inputs: &[QueryInput]) -> Result<QueryPlan> {
    let mut lowering = Lowering { inputs, notes: Vec::new(), windows: 0 };
    let mut piece = lowering.plan(plan)?;
    piece.materialise()?;
    let output = decorate(plan.schema(), &piece.windows);
    let event_time = event_time(&output, &piece);
    let columns = (0..output.fields().len()).map(|i| piece.real(i)).collect();
    piece.project_physical(columns, Arc::clone(&output));
    let root = piece.tree.finish();
    let mut input_columns = BTreeMap::new();
    collect_inputs(&root, &mut input_columns);
    let input_columns = input_columns.into_iter().map(|(n, c)| (n, c.into_iter().collect())).collect();
    Ok(QueryPlan { root, output, event_time, input_columns, notes: lowering.notes })
}

/// The output's fields, with the window columns marked.
fn decorate(schema: &DFSchema, windows: &[Option<WindowColumn>]) -> SchemaRef {
    let fields = schema.fields().iter().zip(windows).map(|(field, window)| {
        let mut metadata = field.metadata().clone();
        metadata.remove(WINDOW_KEY);
        metadata.remove(WINDOW_SIZE_KEY);
        if let Some(window) = window {
            metadata.insert(WINDOW_KEY.to_owned(), window.role.name().to_owned());
            if let Some(size) = window.size_us {
                metadata.insert(WINDOW_SIZE_KEY.to_owned(), size.to_string());
            }
        }
        Field::clone(field).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn event_time(output: &SchemaRef, piece: &Piece) -> Option<String> {
    let role = |role| piece.windows.iter().position(|w| w.is_some_and(|w| w.role == role));
    let passed = piece.times.iter().position(|t| *t);
    let index = role(Role::End).or(passed).or(role(Role::Start))?;
    Some(output.field(index).name().clone())
}

fn collect_inputs(node: &Lowered, all: &mut BTreeMap<String, BTreeSet<String>>) {
    match node {
        Lowered::Input { name, columns } => all.entry(name.clone()).or_default().extend(columns.iter().cloned()),
        Lowered::Stage { input, .. } | Lowered::WindowAggregate { input, .. } => collect_inputs(input, all),
        Lowered::WindowJoin { left, right, .. } => {
            collect_inputs(left, all);
            collect_inputs(right, all);
        }
        Lowered::Union { inputs } => inputs.iter().for_each(|i| collect_inputs(i, all)),
    }
}

struct Lowering<'a> {
    inputs: &'a [QueryInput],
    notes: Vec<Problem>,
    /// Windows made so far: the next one's id.
    windows: usize,
}

impl Lowering<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Piece> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Extension(e) => match e.node.as_any().downcast_ref::<WindowNode>() {
                Some(window) => self.window(window),
                None => Err(Problem::internal("an unknown node in the plan of a query").found(e.node.name())),
            },
            other => Err(refused(other)),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Piece> {
        let name = scan.table_name.table();
        let input = self.inputs.iter().find(|i| i.name == name);
        let input = input.ok_or_else(|| Problem::internal(format!("input `{name}` vanished from the plan")))?;
        let indices = scan.projection.clone().unwrap_or_else(|| (0..input.schema.fields().len()).collect());
        let schema = input.schema.project(&indices).map_err(|e| Problem::internal(e.to_string()))?;
        let id = self.new_window();
        let windows = schema.fields().iter().map(|f| WindowColumn::read(f, id)).collect();
        let times = schema.fields().iter().map(|f| input.event_time.as_deref() == Some(f.name())).collect();
        let columns = schema.fields().iter().map(|f| f.name().clone()).collect();
        let mut piece = Piece::over(Tree::input(name.to_owned(), columns, Arc::new(schema)), windows);
        piece.times = times;
        if !scan.filters.is_empty() {
            return Err(Problem::internal("a filter was pushed into an input"));
        }
        Ok(piece)
    }

    fn filter(&mut self, filter: &Filter) -> Result<Piece> {
        let mut piece = self.plan(&filter.input)?;
        let conjuncts = split_conjunction(&filter.predicate);
        let schema = filter.input.schema();
        if piece.pending.is_some() && conjuncts.iter().any(|c| piece.is_imaginary(c, schema)) {
            piece.materialise()?;
        }
        let compiled = conjuncts.into_iter().map(|c| piece.compile(c, schema)).collect::<Result<Vec<_>>>()?;
        piece.filter(compiled);
        Ok(piece)
    }

    fn projection(&mut self, projection: &Projection) -> Result<Piece> {
        let mut piece = self.plan(&projection.input)?;
        let below = projection.input.schema();
        let computes = |e: &Expr| column_expr(e).is_none();
        if piece.pending.is_some() && projection.expr.iter().any(|e| computes(e) && piece.is_imaginary(e, below)) {
            piece.materialise()?;
        }
        let fields = projection.schema.fields();
        piece.project(&projection.expr, below, fields)?;
        Ok(piece)
    }

    fn window(&mut self, node: &WindowNode) -> Result<Piece> {
        let mut piece = self.plan(&node.input)?;
        piece.materialise()?;
        self.check_time(node, &piece);
        let time = piece.compile(&node.time, node.input.schema())?;
        let id = self.new_window();
        let size_us = node.kind.size_us();
        for (slot, role) in [(Slot::Start, Role::Start), (Slot::End, Role::End)] {
            piece.slots.push(slot);
            piece.windows.push(Some(WindowColumn { role, size_us, id }));
            piece.times.push(false);
        }
        piece.pending = Some(Pending { kind: node.kind, time });
        Ok(piece)
    }

    /// Warns where the windows follow another column than the watermark does.
    fn check_time(&mut self, node: &WindowNode, piece: &Piece) {
        let time = match &node.time {
            Expr::Cast(cast) => cast.expr.as_ref(),
            other => other,
        };
        let Some(column) = column_expr(time) else { return };
        let Some(index) = index_of(column, node.input.schema()) else { return };
        if piece.times[index] || piece.windows[index].is_some() {
            return;
        }
        let what = format!("the windows follow `{}`, the watermark does not", column.name);
        self.notes.push(
            Problem::warning("SQL-EVENT-TIME", what)
                .expected("the event-time column of the input")
                .help(format!("set `event_time: {{ field: {} }}` on the input's node", column.name)),
        );
    }

    fn union(&mut self, union: &Union) -> Result<Piece> {
        let mut pieces = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let mut piece = self.plan(input)?;
            piece.materialise()?;
            let columns = (0..piece.slots.len()).map(|i| piece.real(i)).collect();
            piece.project_physical(columns, Arc::clone(union.schema.inner()));
            pieces.push(piece);
        }
        let id = self.new_window();
        let columns = 0..union.schema.fields().len();
        // A column is a window's only if it is so in all inputs, with the same role and length.
        let window = |i: usize| {
            let first = pieces.first()?.windows[i]?;
            let alike = |w: WindowColumn| (w.role, w.size_us) == (first.role, first.size_us);
            pieces.iter().all(|p| p.windows[i].is_some_and(alike)).then_some(WindowColumn { id, ..first })
        };
        let windows = columns.clone().map(window).collect();
        let times = columns.map(|i| pieces.iter().all(|p| p.times[i])).collect();
        let inputs = pieces.into_iter().map(|p| p.tree).collect();
        let mut piece = Piece::over(Tree::Union { inputs, output: Arc::clone(union.schema.inner()) }, windows);
        piece.times = times;
        Ok(piece)
    }

    fn new_window(&mut self) -> usize {
        self.windows += 1;
        self.windows
    }
}

fn index_of(column: &Column, schema: &DFSchema) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

fn refused(plan: &LogicalPlan) -> Problem {
    match plan {
        LogicalPlan::Sort(_) => unsupported("ORDER BY", "take max(…) or min(…) per window, or sort in the sink"),
        LogicalPlan::Limit(_) => unsupported("LIMIT", "take max(…) or min(…) per window"),
        LogicalPlan::Window(_) => unsupported("a window function with OVER", "aggregate with GROUP BY window_end"),
        LogicalPlan::RecursiveQuery(_) => unsupported("a recursive CTE", "compute the levels one by one"),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
            unsupported("a query that reads no input", "name an input in FROM")
        }
        LogicalPlan::Unnest(_) => unsupported("UNNEST", "unfold lists in a transform before this node"),
        LogicalPlan::Subquery(_) => {
            unsupported("a subquery that refers to the query around it", "write a windowed JOIN")
        }
        other => {
            let text = other.display().to_string();
            unsupported(
                text.split(':').next().unwrap_or_default().to_owned(),
                "see the reference of SQL for what is offered",
            )
        }
    }
}

fn wrong(error: datafusion_common::DataFusionError) -> Problem {
    query_problem(&error)
}
