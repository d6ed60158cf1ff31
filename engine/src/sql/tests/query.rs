//! Goal: queries come down to the operators that they should, and nothing more is read than is needed.
//! Method: the tree as text, for the Nexmark queries as they stand in pipelines and for small ones.

use crate::sql::{Lowered, QueryInput, QueryPlan, WINDOW_KEY, WINDOW_SIZE_KEY, WindowForm, plan_query, plan_window};
use crate::window::spec::Window;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use std::sync::Arc;

const Q0: &str = include_str!("../../../../pipelines/nexmark/q0.sql");
const Q1: &str = include_str!("../../../../pipelines/nexmark/q1.sql");
const Q2: &str = include_str!("../../../../pipelines/nexmark/q2.sql");
pub(super) const Q5: &str = include_str!("../../../../pipelines/nexmark/q5.sql");
pub(super) const Q7: &str = include_str!("../../../../pipelines/nexmark/q7.sql");
pub(super) const Q8: &str = include_str!("../../../../pipelines/nexmark/q8.sql");

pub(super) fn events() -> QueryInput {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let text = |name| field(name, DataType::Utf8);
    let number = |name| field(name, DataType::Int64);
    let fields = vec![
        text("type"),
        field("ts", timestamp),
        number("id"),
        text("name"),
        text("city"),
        text("state"),
        number("seller"),
        number("category"),
        number("auction"),
        number("bidder"),
        number("price"),
        text("extra"),
    ];
    QueryInput { name: "events".into(), schema: Arc::new(Schema::new(fields)), event_time: Some("ts".into()) }
}

pub(super) fn plan(query: &str) -> QueryPlan {
    plan_query("node", &[events()], query).unwrap_or_else(|p| panic!("{query}\n{p}"))
}

fn columns(plan: &QueryPlan) -> String {
    plan.output.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(query: &str, tree: &str, output: &str) -> QueryPlan {
    let plan = plan(query);
    let found: String = plan.root.to_string();
    let expected: String = tree.lines().map(|l| format!("{}\n", l.strip_prefix("        ").unwrap_or(l))).collect();
    assert_eq!(found.trim(), expected.trim(), "\n--- found\n{found}");
    assert_eq!(columns(&plan), output);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    plan
}

#[test]
fn nexmark_q0() {
    let plan = check(
        Q0,
        "stage filter type@0 = bid; project auction@2 AS auction, bidder@3 AS bidder, price@4 AS price, CAST(ts@1 AS Int64) / 1000 AS ts, extra@5 AS extra
          input events [type, ts, auction, bidder, price, extra]",
        "auction bidder price ts extra",
    );
    assert_eq!(plan.event_time, None, "ts is a number here");
}

#[test]
fn nexmark_q1() {
    let plan = check(
        Q1,
        "stage filter type@0 = bid; project auction@2 AS auction, bidder@3 AS bidder, CAST(price@4 AS Float64) * 0.908 AS price, CAST(ts@1 AS Int64) / 1000 AS ts, extra@5 AS extra
          input events [type, ts, auction, bidder, price, extra]",
        "auction bidder price ts extra",
    );
    assert_eq!(plan.output.field(2).data_type(), &DataType::Float64);
}

#[test]
fn nexmark_q2() {
    let plan = check(
        Q2,
        "stage filter type@0 = bid, then auction@1 % 123 = 0; project auction@1 AS auction, price@2 AS price
          input events [type, auction, price]",
        "auction price",
    );
    assert_eq!(plan.input_columns["events"], ["auction", "price", "type"]);
}

#[test]
fn nexmark_q5() {
    let plan = check(
        Q5,
        "stage project CAST(window_end@0 AS Int64) / 1000 AS we, max(counts.num)@1 AS num
          aggregate existing(start None, end Some(0), size Some(10000000)) by [] window_end compute [max(counts.num)]
            stage project window_end@1 AS window_end, count(Int64(1))@2 AS num
              aggregate hop(ts@1, 2000000us, 10000000us, 0us) by [auction@0 AS auction] window_end compute [count(Int64(1))]
                stage filter type@0 = bid; project auction@2 AS auction, ts@1 AS ts
                  input events [type, ts, auction]",
        "we num",
    );
    assert_eq!(plan.output.field(1).data_type(), &DataType::Int64);
}

#[test]
fn nexmark_q7() {
    check(
        Q7,
        "stage project CAST(window_end@0 AS Int64) / 1000 AS we, max(events.price)@1 AS price
          aggregate tumble(ts@1, 10000000us, 0us) by [] window_end compute [max(events.price)]
            stage filter type@0 = bid; project price@2 AS price, ts@1 AS ts
              input events [type, ts, price]",
        "we price",
    );
}

#[test]
fn nexmark_q8() {
    check(
        Q8,
        "stage project id@0 AS id, name@1 AS name, CAST(window_start@2 AS Int64) / 1000 AS ws
          Inner join [id@0 = seller@0] end 3+0us = 1+0us
            stage filter type@0 = person; project id@2 AS id, name@3 AS name, ts@1 AS ts; window ts@2 slide 10000000us size 10000000us offset 0us; project id@0 AS id, name@1 AS name, window_start@3 AS window_start, window_end@4 AS window_end
              input events [type, ts, id, name]
            aggregate tumble(ts@1, 10000000us, 0us) by [seller@0 AS seller] window_end compute []
              stage filter type@0 = auction; project seller@2 AS seller, ts@1 AS ts
                input events [type, ts, seller]",
        "id name ws",
    );
}

#[test]
fn window_columns_are_marked_and_survive_from_node_to_node() {
    let first = plan(
        "SELECT auction, window_start, window_end AS w, count(*) AS n FROM tumble(events, ts, INTERVAL '1 minute') GROUP BY auction, window_start, window_end",
    );
    assert_eq!(first.event_time.as_deref(), Some("w"));
    let marks: Vec<_> = first
        .output
        .fields()
        .iter()
        .map(|f| (f.metadata().get(WINDOW_KEY), f.metadata().get(WINDOW_SIZE_KEY)))
        .collect();
    let size = "60000000".to_owned();
    let (start, end) = ("start".to_owned(), "end".to_owned());
    assert_eq!(marks, [(None, None), (Some(&start), Some(&size)), (Some(&end), Some(&size)), (None, None)]);
    let input = QueryInput { name: "first".into(), schema: first.output.clone(), event_time: first.event_time.clone() };
    let second = plan_query("b", &[input], "SELECT w, max(n) AS most FROM first GROUP BY w").unwrap();
    assert_eq!(second.event_time.as_deref(), Some("w"));
    let text = second.root.to_string();
    assert!(text.contains("aggregate existing(start None, end Some(0), size Some(60000000))"), "{text}");
}

#[test]
fn distinct_having_filter_and_expressions() {
    check(
        "SELECT DISTINCT auction, window_end FROM tumble(events, ts, INTERVAL '10' SECOND)",
        "stage project auction@0 AS auction, window_end@1 AS window_end
          aggregate tumble(ts@1, 10000000us, 0us) by [auction@0 AS auction] window_end compute []
            stage project auction@1 AS auction, ts@0 AS ts
              input events [ts, auction]",
        "auction window_end",
    );
    let plan = plan(
        "SELECT lower(name) AS who, window_start, count(*) FILTER (WHERE price > 10) AS n, avg(price) AS mean
         FROM tumble(events, ts, INTERVAL '1' HOUR, INTERVAL '-1 minute')
         GROUP BY lower(name), window_start HAVING count(*) > 3",
    );
    assert_eq!(columns(&plan), "who window_start n mean");
    let text = plan.root.to_string();
    for part in ["filter count(", " > 3; project lower(", "3600000000us, 3540000000us) by [lower(name@", "if price@"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn an_aggregate_over_window_values_gets_real_columns() {
    let plan = plan(
        "SELECT window_end, max(ts - window_start) AS late FROM hop(events, ts, INTERVAL '1' SECOND, INTERVAL '2' SECOND) GROUP BY window_end",
    );
    let text = plan.root.to_string();
    assert!(text.contains("aggregate existing(") && text.contains("window ts@"), "{text}");
}

#[test]
fn sessions_are_keyed_by_the_other_columns() {
    check(
        "SELECT bidder, window_start, window_end, count(*) AS n FROM session(events, ts, INTERVAL '30' SECOND) WHERE type = 'bid' GROUP BY bidder, window_start, window_end",
        "stage project bidder@0 AS bidder, window_start@1 AS window_start, window_end@2 AS window_end, count(Int64(1))@3 AS n
          aggregate session(ts@1, 30000000us) by [bidder@0 AS bidder] window_start window_end compute [count(Int64(1))]
            stage filter type@0 = bid; project bidder@2 AS bidder, ts@1 AS ts
              input events [type, ts, bidder]",
        "bidder window_start window_end n",
    );
}

#[test]
fn joins_take_left_residuals_and_starts() {
    let plan = plan(
        "SELECT a.id, b.price FROM tumble(events, ts, INTERVAL '10' SECOND) a
         LEFT JOIN tumble(events, ts, INTERVAL '10' SECOND) b
         ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.id = b.auction AND b.price > a.category",
    );
    let Lowered::Stage { input, .. } = &plan.root else { panic!("{}", plan.root) };
    let Lowered::WindowJoin { spec, .. } = input.as_ref() else { panic!("{}", plan.root) };
    assert_eq!((spec.left_keys.len(), spec.right_keys.len(), spec.left_end.plus_us), (1, 1, 0));
    assert!(spec.residual.is_some());
    assert_eq!(spec.output.fields().len(), spec.left.fields().len() + spec.right.fields().len());
    assert!(spec.output.fields().iter().skip(spec.left.fields().len()).all(|f| f.is_nullable()));
    let by_start = super::query::plan(
        "SELECT a.id FROM tumble(events, ts, INTERVAL '10' SECOND) a, tumble(events, ts, INTERVAL '10' SECOND) b
         WHERE a.window_start = b.window_start AND a.id = b.auction",
    );
    let text = by_start.root.to_string();
    assert!(text.contains("+10000000us"), "{text}");
}

#[test]
fn unions_keep_the_window() {
    let plan = plan(
        "WITH u AS (SELECT auction AS k, window_end FROM tumble(events, ts, INTERVAL '10' SECOND)
                    UNION ALL SELECT seller, window_end FROM tumble(events, ts, INTERVAL '10' SECOND))
         SELECT window_end, count(*) AS n FROM u GROUP BY window_end",
    );
    let text = plan.root.to_string();
    assert!(text.contains("union") && text.contains("existing("), "{text}");
    let all = super::query::plan(
        "SELECT id FROM events WHERE type = 'person' UNION ALL SELECT auction FROM events UNION ALL SELECT seller FROM events",
    );
    let Lowered::Union { inputs } = &all.root else { panic!("{}", all.root) };
    assert_eq!(inputs.len(), 3);
}

#[test]
fn ctes_and_subqueries_feed_windows() {
    let plan = plan(
        "WITH bids AS (SELECT ts AS at, auction, price FROM events WHERE type = 'bid')
         SELECT auction, window_end, sum(price) AS total FROM tumble(bids, at, INTERVAL '10' SECOND) AS t GROUP BY auction, t.window_end",
    );
    assert_eq!(plan.event_time.as_deref(), Some("window_end"));
    super::query::plan(
        "SELECT window_end, count(*) FROM tumble((SELECT ts FROM events), ts, INTERVAL '10' SECOND) GROUP BY window_end",
    );
}

#[test]
fn a_window_over_another_column_than_the_watermark_is_pointed_out() {
    let input = QueryInput { event_time: None, ..events() };
    let plan = plan_query("n", &[input], Q7).unwrap();
    assert_eq!(plan.notes.len(), 1);
    assert_eq!(plan.notes[0].code, "SQL-EVENT-TIME");
}

#[test]
fn lateness_reaches_all_windows() {
    fn all(node: &Lowered, found: &mut Vec<i64>) {
        match node {
            Lowered::Input { .. } => {}
            Lowered::Stage { input, .. } => all(input, found),
            Lowered::WindowAggregate { input, spec } => {
                found.push(spec.allowed_lateness_us);
                all(input, found);
            }
            Lowered::WindowJoin { left, right, spec } => {
                found.push(spec.allowed_lateness_us);
                all(left, found);
                all(right, found);
            }
            Lowered::Union { inputs } => inputs.iter().for_each(|i| all(i, found)),
        }
    }
    let mut found = Vec::new();
    all(&plan(Q8).with_allowed_lateness(5).root, &mut found);
    assert_eq!(found, [5, 5]);
}

#[test]
fn the_form_is_the_sql() {
    let form = WindowForm {
        size_us: 10_000_000,
        slide_us: Some(2_000_000),
        by: vec!["auction".into()],
        select: vec![("num".into(), "count(*)".into()), ("top".into(), "max(price)\n  * 2".into())],
        time: "ts".into(),
    };
    let formed = plan_window("n", &events(), &form).unwrap();
    let written = plan(
        "SELECT auction, window_start, window_end, count(*) AS num, max(price) * 2 AS top
         FROM hop(events, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) GROUP BY auction, window_start, window_end",
    );
    assert_eq!(formed.root.to_string(), written.root.to_string());
    assert_eq!(formed.output, written.output);
}

#[test]
fn mistakes_in_the_form_are_where_they_are() {
    let form = |by: &str, select: &str| WindowForm {
        size_us: 1_000_000,
        by: vec![by.to_owned()],
        select: vec![("n".into(), "count(*)".into()), ("x".into(), select.to_owned())],
        time: "ts".into(),
        ..WindowForm::default()
    };
    let table = [
        ("auctoin", "count(*)", "SQL-UNKNOWN-COLUMN", "did you mean `auction`?"),
        (
            "auction",
            "max(\n  prize)",
            "expression:2:3: node n: SQL-UNKNOWN-COLUMN: column `x`",
            "did you mean `price`?",
        ),
        ("auction", "max(price", "SQL-SYNTAX", "column `x`"),
        ("auction", "count(*) FROM events --", "SQL-SYNTAX", "column `x`"),
        ("auction", "price", "SQL-", ""),
    ];
    for (by, select, code, part) in table {
        let text = plan_window("n", &events(), &form(by, select)).expect_err(select).to_string();
        assert!(text.contains(code) && text.contains(part), "{select}: {text}");
    }
}

#[test]
fn expressions_of_a_spec_fit_their_input() {
    for query in [Q5, Q7, Q8] {
        walk(&plan(query).root);
    }
    fn walk(node: &Lowered) {
        match node {
            Lowered::Input { .. } => {}
            Lowered::Stage { input, .. } => walk(input),
            Lowered::WindowAggregate { input, spec } => {
                for key in &spec.keys {
                    assert_eq!(&key.expr.data_type(&spec.input).unwrap(), key.field.data_type());
                }
                for a in &spec.aggregates {
                    assert_eq!(a.function.field().data_type(), a.field.data_type());
                    a.function.create_accumulator().unwrap();
                }
                if let Window::Tumble { time, .. } | Window::Hop { time, .. } = &spec.window {
                    assert!(matches!(
                        time.data_type(&spec.input).unwrap(),
                        DataType::Timestamp(TimeUnit::Microsecond, Some(_))
                    ));
                }
                walk(input);
            }
            Lowered::WindowJoin { left, right, spec } => {
                assert_eq!(
                    spec.left_keys[0].data_type(&spec.left).unwrap(),
                    spec.right_keys[0].data_type(&spec.right).unwrap()
                );
                walk(left);
                walk(right);
            }
            Lowered::Union { inputs } => inputs.iter().for_each(walk),
        }
    }
}
