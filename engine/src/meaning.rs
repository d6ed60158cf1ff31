//! What a state means, in words: which changes of a node its state survives.
//!
//! A state's fingerprint is the text of its [`Meaning`]. What stands under `fixed` (the keys, the window)
//! must stay the same. `fields` are the columns that the state holds beside its keys; they may change as far
//! as a stored row can still be read: a column may go, become wider, or be added where NULL is an answer
//! for what came before. [`fit`] decides; [`fitted`] then reads each block in the columns of now. So the
//! columns of a block bear the names that stand under `fields`.
//!
//! A fingerprint that is not such a text is compared as it is: it changes or it does not.

use crate::operator::StateBlock;
use crate::{Problem, Result};
use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// What a state means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// What kind of state: `aggregate`, `join`, `dedupe`.
    pub kind: String,
    /// What must not change, by what it is called.
    pub fixed: BTreeMap<String, String>,
    /// The columns beside the keys, each with its type. `!` behind the type: no row may be without it, so it
    /// cannot be added later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// The fingerprint that releases wrote before there were meanings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub before: String,
}

impl Meaning {
    /// The meaning as the text that stands beside the state.
    pub fn fingerprint(&self) -> String {
        serde_json::to_string(self).expect("strings are JSON")
    }

    /// The meaning that a fingerprint says; `None` where it is a text of another form.
    pub fn of(fingerprint: &str) -> Option<Meaning> {
        serde_json::from_str(fingerprint).ok()
    }
}

/// A fingerprint in words, for people.
pub fn describe(fingerprint: &str) -> String {
    let Some(meaning) = Meaning::of(fingerprint) else { return fingerprint.to_string() };
    let mut text = meaning.kind;
    for (what, is) in &meaning.fixed {
        let _ = write!(text, "; {what}: {}", if is.is_empty() { "none" } else { is });
    }
    if !meaning.fields.is_empty() {
        let fields: Vec<&str> = meaning.fields.keys().map(String::as_str).collect();
        let _ = write!(text, "; keeps {}", fields.join(", "));
    }
    text
}

/// Whether a state can be read by the node as it now is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It means the same.
    Same,
    /// It is read in other columns; what changes, one line each.
    Migrates(Vec<String>),
    /// It cannot be read: what was kept, and what would be.
    Unlike {
        /// What the state has.
        found: String,
        /// What the node now is.
        expected: String,
    },
}

/// Compares the fingerprint of a state with that of the node that is to take it.
pub fn fit(stored: &str, now: &str) -> Fit {
    if stored == now {
        return Fit::Same;
    }
    let unlike = |found: String, expected: String| Fit::Unlike { found, expected };
    let Some(new) = Meaning::of(now) else { return unlike(describe(stored), now.to_string()) };
    let Some(old) = Meaning::of(stored) else {
        return if stored == new.before { Fit::Same } else { unlike(stored.to_string(), describe(now)) };
    };
    if old.kind != new.kind {
        return unlike(old.kind, new.kind);
    }
    for what in old.fixed.keys().chain(new.fixed.keys()) {
        let side = |m: &Meaning| match m.fixed.get(what).map(String::as_str) {
            None | Some("") => format!("{what}: none"),
            Some(is) => format!("{what}: {is}"),
        };
        if old.fixed.get(what) != new.fixed.get(what) {
            return unlike(side(&old), side(&new));
        }
    }
    fit_fields(&old, &new)
}

fn fit_fields(old: &Meaning, new: &Meaning) -> Fit {
    let (mut changes, mut found, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for (name, ty) in &new.fields {
        match old.fields.get(name) {
            Some(was) if was == ty || was.strip_suffix('!') == Some(ty) => {}
            Some(was) if widens(was, ty) => changes.push(format!("`{name}` widens from {was} to {ty}")),
            Some(was) => {
                found.push(format!("`{name}`: {was}"));
                expected.push(format!("`{name}`: {ty}"));
            }
            None if ty.ends_with('!') => expected.push(format!("`{name}`: {ty}")),
            None => changes.push(format!("`{name}` is new: NULL in what came before")),
        }
    }
    let gone = old.fields.keys().filter(|name| !new.fields.contains_key(*name));
    changes.extend(gone.map(|name| format!("`{name}` is no longer kept")));
    if !expected.is_empty() {
        if found.is_empty() {
            found = old.fields.iter().map(|(name, ty)| format!("`{name}`: {ty}")).collect();
        }
        let text = |of: Vec<String>| if of.is_empty() { "nothing beside the keys".into() } else { of.join(", ") };
        return Fit::Unlike { found: text(found), expected: text(expected) };
    }
    if changes.is_empty() { Fit::Same } else { Fit::Migrates(changes) }
}

/// True if every value of the one type is one of the other.
fn widens(from: &str, to: &str) -> bool {
    let required = (from.ends_with('!'), to.ends_with('!'));
    let types = (from.trim_end_matches('!').parse(), to.trim_end_matches('!').parse());
    match types {
        (Ok(from), Ok(to)) => (required.0 || !required.1) && is_wider(&from, &to),
        _ => false,
    }
}

/// True if `to` is an integer or float type that holds every value of `from`, and not the same one.
pub(crate) fn is_wider(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let bits = |t: &DataType| t.primitive_width().unwrap_or(0);
    match (from, to) {
        (T::Float32, T::Float64) => true,
        (from, to) if !from.is_integer() || !to.is_integer() => false,
        (from, to) if from.is_unsigned_integer() || to.is_signed_integer() => bits(from) < bits(to),
        _ => false,
    }
}

/// The rows of a block in the columns that its operator now hands over, found by name: a narrower column is
/// widened, one that the block lacks is NULL, one that nobody wants is left out.
///
/// Blocks that were written before columns had names of their own must have the very types, in order.
///
/// # Errors
/// `STATE-SCHEMA` where a column is there with a type that does not fit, or may not be NULL and is not there.
pub(crate) fn fitted(block: &StateBlock, rows: &RecordBatch, expected: &SchemaRef) -> Result<RecordBatch> {
    let found = rows.schema();
    let same = |a: &Field, b: &Field| a.name() == b.name() && a.data_type() == b.data_type();
    let types = |s: &Schema| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    let equal = found.fields().len() == expected.fields().len()
        && found.fields().iter().zip(expected.fields()).all(|(a, b)| same(a, b));
    let unnamed = || found.fields().iter().any(|f| f.name().starts_with("state0_"));
    if equal || (unnamed() && types(&found) == types(expected)) {
        return Ok(rows.clone());
    }
    let unlike = || {
        crate::window::segment::foreign(block)
            .found(crate::plan::describe(&found))
            .expected(crate::plan::describe(expected))
    };
    let mut columns = Vec::with_capacity(expected.fields().len());
    for field in expected.fields() {
        columns.push(match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) if is_wider(column.data_type(), field.data_type()) => {
                cast(column, field.data_type()).map_err(|_| unlike())?
            }
            None if field.is_nullable() => new_null_array(field.data_type(), rows.num_rows()),
            _ => return Err(unlike()),
        });
    }
    RecordBatch::try_new(Arc::clone(expected), columns).map_err(|e| unlike().help(e.to_string()))
}

/// The problem of a state that the node cannot take.
pub(crate) fn changed(node: &str, found: String, expected: String) -> Problem {
    Problem::error("STATE-CHANGED", "what the checkpoint holds of this node has another meaning than the node now has")
        .node(node.to_string())
        .found(found)
        .expected(expected)
        .help(format!("undo the change, or give up the state: run again with --drop-state {node}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Change;
    use arrow::array::{Int32Array, Int64Array, StringArray};

    fn meaning(keys: &str, fields: &[(&str, &str)]) -> String {
        Meaning {
            kind: "aggregate".into(),
            fixed: BTreeMap::from([("keys".into(), keys.into())]),
            fields: fields.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect(),
            before: "aggregate:0123".into(),
        }
        .fingerprint()
    }

    #[test]
    fn what_fits_and_what_does_not() {
        let base = meaning("svc: Utf8", &[("count(*)", "Int64!"), ("min(x)", "Int32!"), ("note", "Utf8")]);
        let of = |fields: &[(&str, &str)]| fit(&base, &meaning("svc: Utf8", fields));
        assert_eq!(of(&[("count(*)", "Int64!"), ("min(x)", "Int32!"), ("note", "Utf8")]), Fit::Same);
        let migrates = |fields: &[(&str, &str)], lines: usize| match of(fields) {
            Fit::Migrates(changes) => assert_eq!(changes.len(), lines, "{changes:?}"),
            other => panic!("{fields:?}: {other:?}"),
        };
        migrates(&[("count(*)", "Int64!")], 2);
        migrates(&[("count(*)", "Int64!"), ("min(x)", "Int64!"), ("note", "Utf8")], 1);
        migrates(&[("count(*)", "Int64!"), ("min(x)", "Int32!"), ("note", "Utf8"), ("more", "Int64")], 1);
        for unlike in [
            &[("count(*)", "Int64!"), ("sum(x)", "Int64!")][..],
            &[("min(x)", "Int16!")],
            &[("note", "Utf8!")],
            &[("note", "Int64")],
        ] {
            assert!(matches!(of(unlike), Fit::Unlike { .. }), "{unlike:?}: {:?}", of(unlike));
        }
        assert!(matches!(fit(&base, &meaning("svc: Int64", &[])), Fit::Unlike { .. }));
        assert_eq!(fit("aggregate:0123", &base), Fit::Same);
        assert!(matches!(fit("aggregate:4567", &base), Fit::Unlike { .. }));
        assert!(matches!(fit("typed-1 key u64", "typed-1 key i64"), Fit::Unlike { .. }));
        assert_eq!(fit("typed-1 key u64", "typed-1 key u64"), Fit::Same);
    }

    #[test]
    fn wider_means_every_value_fits() {
        use DataType as T;
        for (from, to) in [(T::Int8, T::Int16), (T::UInt32, T::Int64), (T::UInt8, T::UInt16), (T::Float32, T::Float64)]
        {
            assert!(is_wider(&from, &to) && !is_wider(&to, &from), "{from} {to}");
        }
        for (from, to) in [(T::UInt64, T::Int64), (T::Int8, T::UInt64), (T::Int32, T::Float64), (T::Int64, T::Int64)] {
            assert!(!is_wider(&from, &to), "{from} {to}");
        }
    }

    #[test]
    fn blocks_are_read_by_name() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)]);
        let rows = RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["x", "y"]))],
        )
        .expect("columns of the schema");
        let block = StateBlock { table: "t".into(), segment: 0, change: Change::Rows(rows.clone()) };
        let of = |fields: Vec<Field>| fitted(&block, &rows, &Arc::new(Schema::new(fields)));
        let wide = of(vec![Field::new("c", DataType::Int64, true), Field::new("a", DataType::Int64, false)]);
        let wide = wide.expect("a widened, b left out, c added");
        assert_eq!(wide.column(1).as_ref(), &Int64Array::from(vec![1, 2]) as &dyn arrow::array::Array);
        assert_eq!(wide.column(0).null_count(), 2);
        for wrong in [Field::new("a", DataType::Int16, false), Field::new("c", DataType::Int64, false)] {
            assert_eq!(of(vec![wrong]).expect_err("does not fit").code, "STATE-SCHEMA");
        }
    }
}
