//! What the states of windows mean, as [`Meaning`]s: columns by name, never by index, so that a column more
//! or less in the input changes nothing.

use super::expr;
use super::spec::{AggregateSpec, JoinKind, JoinSpec, Window, WindowEnd};
use crate::Result;
use crate::meaning::{Meaning, is_wider};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{CastExpr, Column};
use std::collections::BTreeMap;
use std::sync::Arc;

type Expr = Arc<dyn PhysicalExpr>;

/// The names and types of the state columns, aggregate by aggregate: `sum(x)`, or `avg(x) 1` and `avg(x) 2`
/// where an aggregate keeps several.
pub(super) fn state_columns(spec: &AggregateSpec) -> Result<Vec<(String, DataType)>> {
    let mut columns = Vec::new();
    for aggregate in &spec.aggregates {
        let arguments: Vec<String> =
            aggregate.function.expressions().iter().map(|e| text(plain(e, &spec.input), &spec.input)).collect();
        let distinct = if aggregate.function.is_distinct() { "distinct " } else { "" };
        let filter = aggregate.filter.as_ref().map_or_else(String::new, |f| format!(" where {}", text(f, &spec.input)));
        let arguments = match arguments.join(", ") {
            one if one == "1" => "*".to_string(),
            many => many,
        };
        let name = format!("{}({distinct}{arguments}){filter}", aggregate.function.fun().name());
        let states = aggregate.function.state_fields().map_err(expr::failed)?;
        let many = states.len() > 1;
        let named = |(n, f): (usize, &FieldRef)| {
            (if many { format!("{name} {}", n + 1) } else { name.clone() }, f.data_type().clone())
        };
        columns.extend(states.iter().enumerate().map(named));
    }
    let names = distinct(columns.iter().map(|(name, _)| name.clone()));
    Ok(names.into_iter().zip(columns).map(|(name, (_, ty))| (name, ty)).collect())
}

/// What an aggregate keeps. An aggregate more cannot be added to windows that are open: its rows are gone.
///
/// # Errors
/// Those of the aggregate functions.
pub fn aggregate_meaning(spec: &AggregateSpec, before: String) -> Result<Meaning> {
    let time = |t: &Expr| text(t, &spec.input);
    let name = |i: &Option<usize>| i.map(|i| spec.input.field(i).name().clone());
    let shifted = |by: &i64| if *by == 0 { String::new() } else { format!(" from {}", as_text(*by)) };
    let window = match &spec.window {
        Window::Tumble { time: t, size_us, offset_us } => {
            format!("tumble on {}, {}{}", time(t), as_text(*size_us), shifted(offset_us))
        }
        Window::Hop { time: t, slide_us, size_us, offset_us } => {
            let (slide, size) = (as_text(*slide_us), as_text(*size_us));
            format!("hop on {}, {size} every {slide}{}", time(t), shifted(offset_us))
        }
        Window::Session { time: t, gap_us } => format!("session on {}, gap {}", time(t), as_text(*gap_us)),
        Window::Existing { start, end, size_us } => {
            let columns: Vec<String> = [name(start), name(end)].into_iter().flatten().collect();
            let size = size_us.map_or_else(String::new, |s| format!(", {}", as_text(s)));
            format!("that of {}{size}", columns.join(" and "))
        }
    };
    let keys = spec.keys.iter().map(|k| format!("{}: {}", text(&k.expr, &spec.input), k.field.data_type()));
    Ok(Meaning {
        kind: "aggregate".into(),
        fixed: BTreeMap::from([("window".into(), window), ("by".into(), keys.collect::<Vec<_>>().join(", "))]),
        fields: state_columns(spec)?.into_iter().map(|(name, ty)| (name, format!("{ty}!"))).collect(),
        before,
    })
}

/// What a join keeps: the rows of both sides, with all their columns.
pub fn join_meaning(spec: &JoinSpec, before: String) -> Meaning {
    let keys = |keys: &[Expr], schema: &Schema| {
        let one = |k: &Expr| {
            let ty = k.data_type(schema).map_or_else(|_| "unknown".into(), |t| t.to_string());
            format!("{}: {ty}", text(k, schema))
        };
        keys.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let end = |end: &WindowEnd, schema: &Schema| {
        let plus = if end.plus_us == 0 { String::new() } else { format!(" + {}", as_text(end.plus_us)) };
        format!("{}{plus}", schema.field(end.column).name())
    };
    let kind = match spec.kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
    };
    let columns = |side: &'static str, schema: &Schema| {
        let one = |f: &FieldRef| {
            (format!("{side}.{}", f.name()), format!("{}{}", f.data_type(), if f.is_nullable() { "" } else { "!" }))
        };
        schema.fields().iter().map(one).collect::<Vec<_>>()
    };
    let window = spec.window_us.map_or_else(|| "of any length".into(), as_text);
    let ends = format!("{} = {}", end(&spec.left_end, &spec.left), end(&spec.right_end, &spec.right));
    Meaning {
        kind: "join".into(),
        fixed: BTreeMap::from([
            ("kind".into(), kind.into()),
            ("window".into(), format!("{window}, {ends}")),
            ("left by".into(), keys(&spec.left_keys, &spec.left)),
            ("right by".into(), keys(&spec.right_keys, &spec.right)),
        ]),
        fields: columns("left", &spec.left).into_iter().chain(columns("right", &spec.right)).collect(),
        before,
    }
}

/// The expression without a cast on top that loses nothing: `sum` of a wider column is the same sum.
fn plain<'e>(e: &'e Expr, schema: &Schema) -> &'e Expr {
    let Some(cast) = e.downcast_ref::<CastExpr>() else { return e };
    match cast.expr().data_type(schema) {
        Ok(inner) if is_wider(&inner, cast.cast_type()) => cast.expr(),
        _ => e,
    }
}

/// An expression in text, with columns by name alone: `price@3` is `price`.
fn text(e: &Expr, schema: &Schema) -> String {
    let named = |e: Expr| {
        let Some(column) = e.downcast_ref::<Column>() else { return Ok(Transformed::no(e)) };
        let name = schema.fields().get(column.index()).map_or(column.name(), |f| f.name());
        Ok(Transformed::yes(Arc::new(Column::new(name, usize::MAX)) as Expr))
    };
    // An index that no text in a literal ends with by chance.
    let nowhere = format!("@{}", usize::MAX);
    let printed = Arc::clone(e).transform(named).map_or_else(|_| e.to_string(), |t| t.data.to_string());
    printed.replace(&nowhere, "")
}

/// A length of time as pipeline files write it: the largest unit that divides it.
fn as_text(micros: i64) -> String {
    let units = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    match units.iter().find(|(_, unit)| micros != 0 && micros % unit == 0) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => format!("{micros}us"),
    }
}

/// Names that repeat, told apart: `a`, `a (2)`.
fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut one = |name: String| {
        let n = seen.entry(name.clone()).or_default();
        *n += 1;
        if *n == 1 { name } else { format!("{name} ({n})") }
    };
    names.into_iter().map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_told_apart() {
        let names = ["a", "b", "a", "a"].map(String::from);
        assert_eq!(distinct(names), ["a", "b", "a (2)", "a (3)"]);
    }

    #[test]
    fn lengths_of_time_have_their_largest_unit() {
        let all = [60_000_000, 90_000_000, 250_000, 86_400_000_000, 7, 0].map(as_text);
        assert_eq!(all, ["1m", "90s", "250ms", "1d", "7us", "0us"]);
    }
}
