//! GROUP BY over a window.

use super::super::error::unsupported;
use super::super::program::{Physical, column, map_columns};
use super::super::tvf::WindowKind;
use super::piece::{Piece, Role, Slot, Tree, WindowColumn, column_expr};
use super::{Lowering, index_of, wrong};
use crate::window::spec::{Aggregate, AggregateSpec, KeyColumn, Window};
use crate::{Problem, Result};
use arrow::datatypes::{FieldRef, Schema};
use datafusion_common::DFSchema;
use datafusion_expr::expr::{AggregateFunction, NullTreatment};
use datafusion_expr::{Expr, logical_plan};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use std::collections::BTreeSet;
use std::sync::Arc;

const NO_WINDOW: &str = "read FROM tumble(input, event_time, INTERVAL '1 minute') (or hop, session) and name window_start or window_end in GROUP BY";

/// What a grouping expression is.
enum Group {
    Window(Role, usize),
    Key(Expr),
}

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, node: &logical_plan::Aggregate) -> Result<Piece> {
        let mut piece = self.plan(&node.input)?;
        let below = node.input.schema();
        let functions = node.aggr_expr.iter().map(function).collect::<Result<Vec<_>>>()?;
        let chosen = chosen_window(&piece, &node.group_expr, below)?;
        if piece.pending.is_some() && !takes_over(&piece, chosen, node, below) {
            piece.materialise()?;
        }
        let groups = node.group_expr.iter().map(|e| group(&piece, e, below, chosen)).collect::<Result<Vec<_>>>()?;
        let mut builder =
            Builder { piece: &piece, below, keys: Vec::new(), aggregates: Vec::new(), start: None, end: None };
        let mut order = Vec::with_capacity(groups.len());
        for (i, g) in groups.iter().enumerate() {
            order.push(builder.group(g, node.schema.field(i))?);
        }
        for (i, f) in functions.into_iter().enumerate() {
            builder.aggregate(f, node.schema.field(groups.len() + i))?;
        }
        let Builder { keys, aggregates, start, end, .. } = builder;
        let window = window(&piece, &groups, chosen);
        let spec = build(&piece, window, keys, aggregates, start, end);
        let id = self.new_window();
        Ok(finish(piece, spec, &order, chosen, id, node.schema.fields().len()))
    }
}

/// The window to close with: that of the first window column in GROUP BY, ends before starts.
fn chosen_window(piece: &Piece, groups: &[Expr], below: &DFSchema) -> Result<WindowColumn> {
    if groups.iter().any(|g| matches!(g, Expr::GroupingSet(_))) {
        return Err(unsupported(
            "ROLLUP, CUBE and GROUPING SETS",
            "write one query per grouping and join them with UNION ALL",
        ));
    }
    let found = |role| {
        let column = |g| index_of(column_expr(g)?, below);
        groups.iter().filter_map(column).filter_map(|i| piece.windows[i]).find(|w| w.role == role)
    };
    let closes = |w: &WindowColumn| w.role == Role::End || w.size_us.is_some() || piece.pending.is_some();
    found(Role::End).or(found(Role::Start)).filter(closes).ok_or_else(|| {
        let what = if groups.is_empty() {
            "an aggregate over a stream without end"
        } else if piece.pending.is_some() || piece.windows.iter().any(Option::is_some) {
            "GROUP BY without window_start or window_end"
        } else {
            "GROUP BY without a window"
        };
        unsupported(what, NO_WINDOW)
    })
}

/// True if the aggregate can do the pending window by itself: it groups by that window, and nothing
/// else reads its columns.
fn takes_over(piece: &Piece, chosen: WindowColumn, node: &logical_plan::Aggregate, below: &DFSchema) -> bool {
    let pending = |i: usize| !matches!(piece.slots[i], Slot::Real(_));
    let of_pending = (0..piece.slots.len()).any(|i| pending(i) && piece.windows[i].is_some_and(|w| w.id == chosen.id));
    let plain = node.group_expr.iter().all(|g| column_expr(g).is_some() || !piece.is_imaginary(g, below));
    of_pending && plain && !node.aggr_expr.iter().any(|a| piece.is_imaginary(a, below))
}

fn group(piece: &Piece, expr: &Expr, below: &DFSchema, chosen: WindowColumn) -> Result<Group> {
    if let Some(index) = column_expr(expr).and_then(|c| index_of(c, below))
        && let Some(window) = piece.windows[index].filter(|w| w.id == chosen.id)
    {
        return Ok(Group::Window(window.role, index));
    }
    Ok(Group::Key(expr.clone()))
}

fn function(expr: &Expr) -> Result<&AggregateFunction> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::AggregateFunction(f) => Ok(f),
        other => Err(Problem::internal(format!("`{other}` stands where an aggregate should"))),
    }
}

struct Builder<'a> {
    piece: &'a Piece,
    below: &'a DFSchema,
    keys: Vec<KeyColumn>,
    aggregates: Vec<Aggregate>,
    start: Option<String>,
    end: Option<String>,
}

/// Where a grouping column is in the operator's output.
enum Place {
    Key(usize),
    Start,
    End,
}

impl Builder<'_> {
    fn group(&mut self, group: &Group, field: &FieldRef) -> Result<Place> {
        match group {
            Group::Window(Role::Start, _) => {
                self.start.get_or_insert_with(|| field.name().clone());
                Ok(Place::Start)
            }
            Group::Window(Role::End, _) => {
                self.end.get_or_insert_with(|| field.name().clone());
                Ok(Place::End)
            }
            Group::Key(expr) => {
                self.keys.push(KeyColumn { expr: self.piece.compile(expr, self.below)?, field: Arc::clone(field) });
                Ok(Place::Key(self.keys.len() - 1))
            }
        }
    }

    fn aggregate(&mut self, call: &AggregateFunction, field: &FieldRef) -> Result<()> {
        let name = call.func.name();
        if !call.params.order_by.is_empty() {
            return Err(unsupported(format!("ORDER BY inside {name}(…)"), "use max(…) or min(…)"));
        }
        if ["first_value", "last_value", "nth_value"].contains(&name) {
            return Err(unsupported(format!("{name}(…): rows of a stream have no order"), "use max(…) or min(…)"));
        }
        let args = call.params.args.iter().map(|a| self.piece.compile(a, self.below)).collect::<Result<Vec<_>>>()?;
        let filter = call.params.filter.as_ref().map(|f| self.piece.compile(f, self.below)).transpose()?;
        let built = AggregateExprBuilder::new(Arc::clone(&call.func), args)
            .schema(self.piece.tree.output())
            .alias(field.name())
            .with_ignore_nulls(call.params.null_treatment == Some(NullTreatment::IgnoreNulls))
            .with_distinct(call.params.distinct)
            .build()
            .map_err(wrong)?;
        let mergeable = built.state_fields().is_ok();
        let runs = built.groups_accumulator_supported() || built.create_accumulator().is_ok();
        if !mergeable || !runs {
            let distinct = if call.params.distinct { "DISTINCT " } else { "" };
            return Err(unsupported(
                format!("{name}({distinct}…) over a window"),
                "GROUP BY the value first, then aggregate again over window_end",
            ));
        }
        self.aggregates.push(Aggregate { function: Arc::new(built), filter, field: Arc::clone(field) });
        Ok(())
    }
}

/// How the operator tells windows apart.
fn window(piece: &Piece, groups: &[Group], chosen: WindowColumn) -> Window {
    if let Some(pending) = &piece.pending {
        let time = Arc::clone(&pending.time);
        return match pending.kind {
            WindowKind::Tumble { size_us, offset_us } => Window::Tumble { time, size_us, offset_us },
            WindowKind::Hop { slide_us, size_us, offset_us } => Window::Hop { time, slide_us, size_us, offset_us },
            WindowKind::Session { gap_us } => Window::Session { time, gap_us },
        };
    }
    let index = |role| {
        groups.iter().find_map(|g| match g {
            Group::Window(r, i) if *r == role => Some(piece.real(*i)),
            _ => None,
        })
    };
    Window::Existing { start: index(Role::Start), end: index(Role::End), size_us: chosen.size_us }
}

fn build(
    piece: &Piece,
    window: Window,
    keys: Vec<KeyColumn>,
    aggregates: Vec<Aggregate>,
    start: Option<String>,
    end: Option<String>,
) -> AggregateSpec {
    let bounds = [&start, &end].into_iter().flatten();
    let time = |name: &String| Arc::new(arrow::datatypes::Field::new(name, super::super::tvf::time_type(), false));
    let fields: Vec<FieldRef> = keys
        .iter()
        .map(|k| Arc::clone(&k.field))
        .chain(bounds.map(time))
        .chain(aggregates.iter().map(|a| Arc::clone(&a.field)))
        .collect();
    let output = Arc::new(Schema::new(fields));
    AggregateSpec { input: piece.tree.output(), window, keys, aggregates, start, end, output, allowed_lateness_us: 0 }
}

/// Puts the operator on the tree, over just the columns that it reads.
fn finish(
    mut piece: Piece,
    spec: AggregateSpec,
    order: &[Place],
    chosen: WindowColumn,
    id: usize,
    width: usize,
) -> Piece {
    let (keys, bounds) = (spec.keys.len(), usize::from(spec.start.is_some()));
    let slots: Vec<Slot> = (0..width)
        .map(|i| match order.get(i) {
            Some(Place::Key(k)) => Slot::Real(*k),
            Some(Place::Start) => Slot::Real(keys),
            Some(Place::End) => Slot::Real(keys + bounds),
            None => Slot::Real(keys + bounds + usize::from(spec.end.is_some()) + i - order.len()),
        })
        .collect();
    let windows = (0..width)
        .map(|i| match order.get(i) {
            Some(Place::Start) => Some(WindowColumn { role: Role::Start, id, ..chosen }),
            Some(Place::End) => Some(WindowColumn { role: Role::End, id, ..chosen }),
            _ => None,
        })
        .collect();
    let spec = narrow(&mut piece, spec);
    let tree = Tree::Aggregate { input: Box::new(piece.tree), spec };
    Piece { tree, slots, windows, times: vec![false; width], pending: None }
}

/// Drops the columns that the operator does not read.
fn narrow(piece: &mut Piece, mut spec: AggregateSpec) -> AggregateSpec {
    let mut used = BTreeSet::new();
    let mut read = |e: &Physical| used.extend(collect_columns(e).iter().map(Column::index));
    spec.keys.iter().for_each(|k| read(&k.expr));
    for a in &spec.aggregates {
        a.function.expressions().iter().for_each(&mut read);
        a.filter.iter().for_each(&mut read);
    }
    match &spec.window {
        Window::Tumble { time, .. } | Window::Hop { time, .. } | Window::Session { time, .. } => read(time),
        Window::Existing { start, end, .. } => used.extend(start.iter().chain(end)),
    }
    let used: Vec<usize> = used.into_iter().collect();
    if used.len() == spec.input.fields().len() {
        return spec;
    }
    let at = |i: usize| used.binary_search(&i).expect("all that is read is in there");
    let schema = Arc::new(spec.input.project(&used).expect("indices of this schema"));
    let onto = |e: &Physical| map_columns(e, |i| Arc::new(Column::new(schema.field(at(i)).name(), at(i))));
    spec.keys.iter_mut().for_each(|k| k.expr = onto(&k.expr));
    for a in &mut spec.aggregates {
        a.filter = a.filter.as_ref().map(onto);
        a.function = Arc::new(rebuild(a, &onto, &schema));
    }
    match &mut spec.window {
        Window::Tumble { time, .. } | Window::Hop { time, .. } | Window::Session { time, .. } => *time = onto(time),
        Window::Existing { start, end, .. } => (*start, *end) = (start.map(at), end.map(at)),
    }
    debug_assert!(matches!(&spec.window, Window::Existing { .. }) || column_in(&spec.window, &schema));
    piece.project_physical(used, Arc::clone(&schema));
    spec.input = schema;
    spec
}

fn column_in(window: &Window, schema: &Schema) -> bool {
    match window {
        Window::Tumble { time, .. } | Window::Hop { time, .. } | Window::Session { time, .. } => {
            column(time).is_none_or(|i| i < schema.fields().len())
        }
        Window::Existing { .. } => true,
    }
}

fn rebuild(
    aggregate: &Aggregate,
    onto: &impl Fn(&Physical) -> Physical,
    schema: &Arc<Schema>,
) -> datafusion_physical_expr::aggregate::AggregateFunctionExpr {
    let old = &aggregate.function;
    AggregateExprBuilder::new(Arc::new(old.fun().clone()), old.expressions().iter().map(onto).collect())
        .schema(Arc::clone(schema))
        .alias(old.name())
        .with_ignore_nulls(old.ignore_nulls())
        .with_distinct(old.is_distinct())
        .build()
        .expect("it was built like this over more columns")
}
