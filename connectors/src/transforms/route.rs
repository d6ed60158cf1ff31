//! `route`: sends each row to the output port of the first condition that holds, or of all of them.
//!
//! Ports are numbered in the order of `routes`; the port `else` comes behind them. The conditions are
//! compiled elsewhere and handed in as predicates, one set per worker. Rows keep their order per port.

use super::at_key;
use super::ordered::Ordered;
use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use millstream::operator::{Emit, Stage};
use millstream::{Batch, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port of rows for which no condition holds.
pub const ELSE: &str = "else";

/// Sends rows to different outputs. Each entry of `routes` is an output port with its condition; read
/// one with `from: node.port`. Rows for which no condition holds go to the port `else`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Ports and their conditions, SQL expressions over the input's columns; looked at in this order.
    /// A condition that is NULL does not hold.
    pub routes: Ordered,
    /// Which ports a row goes to.
    #[serde(default)]
    pub mode: RouteMode,
}

/// Which ports a row goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteMode {
    /// The first whose condition holds.
    #[default]
    First,
    /// All whose conditions hold.
    All,
}

impl RouteConfig {
    /// The output ports in order, `else` last.
    ///
    /// # Errors
    /// `ROUTE-CONFIG` without routes, or for a port name that is not `[a-z][a-z0-9_]*` or is taken
    /// (`else`, `errors`).
    pub fn ports(&self) -> Result<Vec<String>> {
        if self.routes.is_empty() {
            return Err(at_key("ROUTE-CONFIG", "routes", "there are no routes")
                .expected("at least one port with its condition"));
        }
        for (name, _) in self.routes.iter() {
            let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !plain {
                return Err(at_key("ROUTE-CONFIG", &format!("routes.{name}"), format!("`{name}` cannot name a port"))
                    .expected("small letters, digits and `_`, a letter first, at most 64"));
            }
            if name == ELSE || name == "errors" {
                return Err(at_key(
                    "ROUTE-CONFIG",
                    &format!("routes.{name}"),
                    format!("the port `{name}` is there already"),
                )
                .help("rows for which no condition holds go to `else`; choose another name"));
            }
        }
        Ok(self.routes.iter().map(|(name, _)| name.to_owned()).chain([ELSE.to_owned()]).collect())
    }
}

/// Says for each row of a batch whether a condition holds; NULL counts as no.
pub type Predicate = Box<dyn Fn(&RecordBatch) -> Result<BooleanArray>>;

/// The stage of one worker.
pub struct Route {
    predicates: Vec<Predicate>,
    mode: RouteMode,
    keep_rest: bool,
}

impl Route {
    /// Routes by `predicates`, one per port. Rows for which none holds go to port `predicates.len()` if
    /// `keep_rest`, and are counted as filtered otherwise.
    pub fn new(predicates: Vec<Predicate>, mode: RouteMode, keep_rest: bool) -> Route {
        Route { predicates, mode, keep_rest }
    }
}

impl Stage for Route {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let rows = batch.len();
        let mut rest = BooleanBuffer::new_set(rows);
        for (port, predicate) in self.predicates.iter().enumerate() {
            if rest.count_set_bits() == 0 && self.mode == RouteMode::First {
                break;
            }
            let holds = truth(predicate(&batch.rows)?, rows)?;
            let taken = if self.mode == RouteMode::First { &holds & &rest } else { holds.clone() };
            send(&batch, port, taken, out);
            rest = &rest & &!&holds;
        }
        if self.keep_rest {
            send(&batch, self.predicates.len(), rest, out);
        } else {
            out.filtered(rest.count_set_bits());
        }
        Ok(())
    }
}

fn truth(answer: BooleanArray, rows: usize) -> Result<BooleanBuffer> {
    if answer.len() != rows {
        return Err(Problem::internal(format!("a condition gave {} answers for {rows} rows", answer.len())));
    }
    Ok(match answer.nulls() {
        Some(nulls) => answer.values() & nulls.inner(),
        None => answer.values().clone(),
    })
}

fn send(batch: &Batch, port: usize, mask: BooleanBuffer, out: &mut Emit) {
    match mask.count_set_bits() {
        0 => {}
        n if n == batch.len() => out.send_to(port, batch.clone()),
        _ => out.send_to(port, batch.filter(&BooleanArray::new(mask, None))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    fn batch() -> Batch {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4), Some(5)]));
        Batch::new(RecordBatch::try_from_iter([("n", n)]).unwrap())
    }

    /// `n < limit`, NULL where n is NULL.
    fn below(limit: i64) -> Predicate {
        Box::new(move |rows| {
            Ok(rows.column(0).as_primitive::<Int64Type>().iter().map(|n| n.map(|n| n < limit)).collect())
        })
    }

    fn run(predicates: Vec<Predicate>, mode: RouteMode, keep_rest: bool) -> (Vec<(usize, Vec<Option<i64>>)>, u64) {
        let mut out = Emit::default();
        Route::new(predicates, mode, keep_rest).apply(batch(), &mut out).unwrap();
        let values = |b: &Batch| b.rows.column(0).as_primitive::<Int64Type>().iter().collect();
        (out.out.iter().map(|(port, b)| (*port, values(b))).collect(), out.filtered)
    }

    #[test]
    fn first_sends_each_row_once() {
        let (out, filtered) = run(vec![below(2), below(5)], RouteMode::First, true);
        assert_eq!(out, [(0, vec![Some(1)]), (1, vec![Some(2), Some(4)]), (2, vec![None, Some(5)])]);
        assert_eq!(filtered, 0);
    }

    #[test]
    fn all_sends_to_every_match() {
        let (out, filtered) = run(vec![below(3), below(5)], RouteMode::All, true);
        assert_eq!(out, [(0, vec![Some(1), Some(2)]), (1, vec![Some(1), Some(2), Some(4)]), (2, vec![None, Some(5)])]);
        assert_eq!(filtered, 0);
    }

    #[test]
    fn rest_that_nobody_wants_is_counted() {
        let (out, filtered) = run(vec![below(2)], RouteMode::First, false);
        assert_eq!(out, [(0, vec![Some(1)])]);
        assert_eq!(filtered, 4);
    }

    #[test]
    fn wrong_answers_are_our_defect() {
        let short: Predicate = Box::new(|_| Ok(BooleanArray::from(vec![true])));
        let error = Route::new(vec![short], RouteMode::First, true).apply(batch(), &mut Emit::default()).unwrap_err();
        assert_eq!(error.code, "INTERNAL");
    }

    #[test]
    fn config_names_ports_in_order() {
        let config: RouteConfig = serde_json::from_str(r#"{"routes":{"hot":"n > 3","cold":"true"}}"#).unwrap();
        assert_eq!(config.ports().unwrap(), ["hot", "cold", "else"]);
        for bad in [
            r#"{"routes":{}}"#,
            r#"{"routes":{"else":"true"}}"#,
            r#"{"routes":{"A b":"true"}}"#,
            r#"{"routes":{"errors":"true"}}"#,
        ] {
            assert_eq!(
                serde_json::from_str::<RouteConfig>(bad).unwrap().ports().unwrap_err().code,
                "ROUTE-CONFIG",
                "{bad}"
            );
        }
        assert!(serde_json::from_str::<RouteConfig>(r#"{"routes":{},"else":1}"#).is_err());
        assert!(serde_json::from_str::<RouteConfig>(r#"{"routes":{"a":"x","a":"y"}}"#).is_err());
    }
}
