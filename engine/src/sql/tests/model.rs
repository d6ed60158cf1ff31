//! Goal: a plan means what its query says.
//! Method: a slow interpreter of [`Lowered`] over whole inputs (nested loops, one accumulator per group)
//! runs the plans of random events; answers are compared with plain Rust.

use super::query::{Q5, Q7, Q8, events, plan};
use crate::batch::Batch;
use crate::operator::Emit;
use crate::sql::{Lowered, QueryPlan};
use crate::window::spec::{AggregateSpec, JoinKind, JoinSpec, Window, WindowEnd};
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, concat, concat_batches, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

const SECOND: i64 = 1_000_000;

#[derive(Clone, Debug, Default)]
struct Event {
    kind: &'static str,
    ts: i64,
    id: Option<i64>,
    name: Option<String>,
    seller: Option<i64>,
    auction: Option<i64>,
    price: Option<i64>,
}

fn random_events(rng: &mut fastrand::Rng) -> Vec<Event> {
    let count = rng.usize(1..400);
    let event = |i: usize, rng: &mut fastrand::Rng| {
        let ts = rng.i64(-30..60) * SECOND + rng.i64(0..SECOND);
        match rng.u8(0..4) {
            0 => Event { kind: "person", ts, id: Some(i as i64 % 20), name: Some(format!("p{i}")), ..Event::default() },
            1 => Event { kind: "auction", ts, id: Some(i as i64), seller: Some(rng.i64(0..20)), ..Event::default() },
            _ => Event {
                kind: "bid",
                ts,
                auction: Some(rng.i64(0..6)),
                price: Some(rng.i64(1..1000)),
                ..Event::default()
            },
        }
    };
    (0..count).map(|i| event(i, rng)).collect()
}

fn batch(all: &[Event]) -> RecordBatch {
    let schema = events().schema;
    let numbers = |f: &dyn Fn(&Event) -> Option<i64>| Arc::new(all.iter().map(f).collect::<Int64Array>()) as ArrayRef;
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "type" => Arc::new(all.iter().map(|e| Some(e.kind)).collect::<StringArray>()) as ArrayRef,
        "ts" => Arc::new(all.iter().map(|e| Some(e.ts)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        "name" => Arc::new(all.iter().map(|e| e.name.clone()).collect::<StringArray>()),
        "id" => numbers(&|e| e.id),
        "seller" => numbers(&|e| e.seller),
        "auction" => numbers(&|e| e.auction),
        "price" => numbers(&|e| e.price),
        _ => new_null_array(field.data_type(), all.len()),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

/// All rows that a plan gives for all rows of `events`, and the codes of rejected rows.
fn run(plan: &QueryPlan, rows: &RecordBatch) -> (RecordBatch, Vec<&'static str>) {
    let mut rejected = Vec::new();
    let answer = eval(&plan.root, rows, &mut rejected);
    assert_eq!(answer.schema(), plan.output);
    (answer, rejected)
}

fn eval(node: &Lowered, rows: &RecordBatch, rejected: &mut Vec<&'static str>) -> RecordBatch {
    match node {
        // The columns read, in another order than planned and with others beside them.
        Lowered::Input { .. } => rows.project(&(0..rows.num_columns()).rev().collect::<Vec<_>>()).unwrap(),
        Lowered::Stage { input, planned } => {
            let input = eval(input, rows, rejected);
            let mut out = Emit::default();
            (planned.stage)(&input.schema()).unwrap().apply(Batch::new(input), &mut out).unwrap();
            rejected.extend(out.rejected.iter().map(|r| r.code));
            concat_batches(&planned.output, out.out.iter().map(|(_, b)| &b.rows)).unwrap()
        }
        Lowered::WindowAggregate { input, spec } => aggregate(spec, &eval(input, rows, rejected)),
        Lowered::WindowJoin { left, right, spec } => {
            join(spec, &eval(left, rows, rejected), &eval(right, rows, rejected))
        }
        Lowered::Union { inputs } => {
            let inputs: Vec<RecordBatch> = inputs.iter().map(|i| eval(i, rows, rejected)).collect();
            concat_batches(&inputs[0].schema(), &inputs).unwrap()
        }
    }
}

fn values(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> ArrayRef {
    expr.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap()
}

fn times(array: &ArrayRef) -> Vec<i64> {
    array.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// The windows of each row: start and end.
fn windows(spec: &AggregateSpec, rows: &RecordBatch, keys: &[Vec<ScalarValue>]) -> Vec<Vec<(i64, i64)>> {
    let hop = |time: &Arc<dyn PhysicalExpr>, slide: i64, size: i64, offset: i64| {
        let starts = |t: i64| {
            ((t - size).div_euclid(slide) - 1..=t.div_euclid(slide) + 1).map(|n| n * slide + offset).collect::<Vec<_>>()
        };
        let of = |t: i64| starts(t).into_iter().filter(|s| *s <= t && t < s + size).map(|s| (s, s + size)).collect();
        times(&values(time, rows)).into_iter().map(of).collect()
    };
    match &spec.window {
        Window::Tumble { time, size_us, offset_us } => hop(time, *size_us, *size_us, *offset_us),
        Window::Hop { time, slide_us, size_us, offset_us } => hop(time, *slide_us, *size_us, *offset_us),
        Window::Session { time, gap_us } => {
            let at = times(&values(time, rows));
            let mut order: Vec<usize> = (0..at.len()).collect();
            order.sort_by_key(|i| at[*i]);
            let mut sessions: HashMap<&Vec<ScalarValue>, Vec<Vec<usize>>> = HashMap::new();
            for i in order {
                let of_key = sessions.entry(&keys[i]).or_default();
                match of_key.last_mut() {
                    Some(last) if at[i] - at[*last.last().unwrap()] <= *gap_us => last.push(i),
                    _ => of_key.push(vec![i]),
                }
            }
            let mut all = vec![Vec::new(); at.len()];
            for session in sessions.values().flatten() {
                for i in session {
                    all[*i] = vec![(at[session[0]], at[*session.last().unwrap()] + gap_us)];
                }
            }
            all
        }
        Window::Existing { start, end, size_us } => {
            let column = |i: &Option<usize>| i.map(|i| times(rows.column(i)));
            let (starts, ends) = (column(start), column(end));
            let bounds = |i: usize| {
                let end = ends.as_ref().map(|e| e[i]).unwrap_or_else(|| starts.as_ref().unwrap()[i] + size_us.unwrap());
                vec![(starts.as_ref().map_or(i64::MIN, |s| s[i]), end)]
            };
            (0..rows.num_rows()).map(bounds).collect()
        }
    }
}

fn aggregate(spec: &AggregateSpec, rows: &RecordBatch) -> RecordBatch {
    assert_eq!(rows.schema(), spec.input);
    let key_arrays: Vec<ArrayRef> = spec.keys.iter().map(|k| values(&k.expr, rows)).collect();
    let key = |i: usize| key_arrays.iter().map(|a| ScalarValue::try_from_array(a, i).unwrap()).collect::<Vec<_>>();
    let keys: Vec<Vec<ScalarValue>> = (0..rows.num_rows()).map(key).collect();
    let mut groups: HashMap<(Vec<ScalarValue>, (i64, i64)), Vec<u32>> = HashMap::new();
    for (i, of_row) in windows(spec, rows, &keys).into_iter().enumerate() {
        for window in of_row {
            groups.entry((keys[i].clone(), window)).or_default().push(i as u32);
        }
    }
    let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); spec.output.fields().len()];
    for ((key, (start, end)), members) in groups {
        let members = take_record_batch(rows, &UInt32Array::from(members)).unwrap();
        let time = |t: i64| ScalarValue::TimestampMicrosecond(Some(t), Some("UTC".into()));
        let mut row = key;
        row.extend(spec.start.as_ref().map(|_| time(start)));
        row.extend(spec.end.as_ref().map(|_| time(end)));
        for a in &spec.aggregates {
            let counted = match &a.filter {
                Some(filter) => filter_record_batch(&members, values(filter, &members).as_boolean()).unwrap(),
                None => members.clone(),
            };
            let args: Vec<ArrayRef> = a.function.expressions().iter().map(|e| values(e, &counted)).collect();
            let mut accumulator = a.function.create_accumulator().unwrap();
            accumulator.update_batch(&args).unwrap();
            row.push(accumulator.evaluate().unwrap());
        }
        columns.iter_mut().zip(row).for_each(|(c, v)| c.push(v));
    }
    if columns.iter().all(Vec::is_empty) {
        return RecordBatch::new_empty(Arc::clone(&spec.output));
    }
    let arrays = columns.into_iter().map(|c| ScalarValue::iter_to_array(c).unwrap()).collect();
    RecordBatch::try_new(Arc::clone(&spec.output), arrays).unwrap()
}

fn join(spec: &JoinSpec, left: &RecordBatch, right: &RecordBatch) -> RecordBatch {
    assert_eq!((left.schema(), right.schema()), (Arc::clone(&spec.left), Arc::clone(&spec.right)));
    let key = |keys: &[Arc<dyn PhysicalExpr>], end: &WindowEnd, rows: &RecordBatch| {
        let arrays: Vec<ArrayRef> = keys.iter().map(|k| values(k, rows)).collect();
        let ends: Vec<i64> = times(rows.column(end.column)).into_iter().map(|t| t + end.plus_us).collect();
        let of =
            |i: usize| (ends[i], arrays.iter().map(|a| ScalarValue::try_from_array(a, i).unwrap()).collect::<Vec<_>>());
        (0..rows.num_rows()).map(of).collect::<Vec<_>>()
    };
    let (left_keys, right_keys) =
        (key(&spec.left_keys, &spec.left_end, left), key(&spec.right_keys, &spec.right_end, right));
    let pair = |l: &[u32], r: &[Option<u32>]| {
        let (l, r) = (UInt32Array::from(l.to_vec()), UInt32Array::from(r.to_vec()));
        let columns =
            left.columns().iter().map(|c| take(c, &l, None)).chain(right.columns().iter().map(|c| take(c, &r, None)));
        RecordBatch::try_new(Arc::clone(&spec.output), columns.map(Result::unwrap).collect()).unwrap()
    };
    let mut all = vec![RecordBatch::new_empty(Arc::clone(&spec.output))];
    for (l, l_key) in left_keys.iter().enumerate() {
        let equal = |k: &(i64, Vec<ScalarValue>)| k == l_key && !k.1.iter().any(ScalarValue::is_null);
        let partners: Vec<Option<u32>> =
            (0..right_keys.len()).filter(|r| equal(&right_keys[*r])).map(|r| Some(r as u32)).collect();
        let mut pairs = pair(&vec![l as u32; partners.len()], &partners);
        if let Some(residual) = &spec.residual {
            pairs = filter_record_batch(&pairs, values(residual, &pairs).as_boolean()).unwrap();
        }
        if pairs.num_rows() == 0 && spec.kind == JoinKind::Left {
            pairs = pair(&[l as u32], &[None]);
        }
        all.push(pairs);
    }
    concat_batches(&spec.output, &all).unwrap()
}

/// The answer as sorted lines.
fn lines(answer: &RecordBatch) -> Vec<String> {
    let text: Vec<ArrayRef> = answer
        .columns()
        .iter()
        .map(|c| {
            if matches!(c.data_type(), DataType::Timestamp(..)) {
                cast(c, &DataType::Int64).unwrap()
            } else {
                Arc::clone(c)
            }
        })
        .map(|c| cast(&c, &DataType::Utf8).unwrap())
        .collect();
    let cell =
        |c: &ArrayRef, i: usize| if c.is_null(i) { "-".to_owned() } else { c.as_string::<i32>().value(i).to_owned() };
    let mut lines: Vec<String> =
        (0..answer.num_rows()).map(|i| text.iter().map(|c| cell(c, i)).collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

/// Runs `query` over random events and compares with `expected`.
fn check(query: &str, expected: impl Fn(&[Event]) -> Vec<String>) {
    let plan = plan(query);
    for _ in 0..30 {
        let seed = fastrand::u64(..);
        let all = random_events(&mut fastrand::Rng::with_seed(seed));
        let (answer, rejected) = run(&plan, &batch(&all));
        let mut expected = expected(&all);
        expected.sort();
        assert_eq!(lines(&answer), expected, "seed {seed}\n{query}\n{}", plan.root);
        assert!(rejected.is_empty(), "{rejected:?}");
    }
}

fn window_end(ts: i64, size: i64) -> i64 {
    ts.div_euclid(size) * size + size
}

fn bids(all: &[Event]) -> impl Iterator<Item = &Event> {
    all.iter().filter(|e| e.kind == "bid")
}

#[test]
fn hottest_auction_per_hop() {
    check(Q5, |all| {
        let mut counts: BTreeMap<(i64, i64), u64> = BTreeMap::new();
        for e in bids(all) {
            let last = e.ts.div_euclid(2 * SECOND) * 2 * SECOND;
            for start in (0..5).map(|n| last - n * 2 * SECOND) {
                *counts.entry((start + 10 * SECOND, e.auction.unwrap())).or_default() += 1;
            }
        }
        let mut most: BTreeMap<i64, u64> = BTreeMap::new();
        for ((end, _), n) in counts {
            let top = most.entry(end).or_default();
            *top = n.max(*top);
        }
        most.into_iter().map(|(end, n)| format!("{} {n}", end / 1000)).collect()
    });
}

#[test]
fn highest_bid_per_tumble() {
    check(Q7, |all| {
        let mut most: BTreeMap<i64, i64> = BTreeMap::new();
        for e in bids(all) {
            let top = most.entry(window_end(e.ts, 10 * SECOND)).or_default();
            *top = e.price.unwrap().max(*top);
        }
        most.into_iter().map(|(end, n)| format!("{} {n}", end / 1000)).collect()
    });
}

#[test]
fn persons_who_sell_at_once() {
    check(Q8, |all| {
        let end = |e: &Event| window_end(e.ts, 10 * SECOND);
        let sellers: BTreeSet<(i64, i64)> =
            all.iter().filter(|e| e.kind == "auction").map(|e| (e.seller.unwrap(), end(e))).collect();
        let persons = all.iter().filter(|e| e.kind == "person" && sellers.contains(&(e.id.unwrap(), end(e))));
        persons
            .map(|e| format!("{} {} {}", e.id.unwrap(), e.name.as_ref().unwrap(), (end(e) - 10 * SECOND) / 1000))
            .collect()
    });
}

#[test]
fn joining_back_the_hottest() {
    let query = "WITH c AS (SELECT auction, window_start, window_end, count(*) AS num, sum(price) AS total
                           FROM hop(events, ts, INTERVAL '3' SECOND, INTERVAL '10' SECOND) WHERE type = 'bid' GROUP BY auction, window_start, window_end),
                      m AS (SELECT window_end, max(num) AS most FROM c GROUP BY window_end)
                 SELECT c.window_end, c.auction, c.num, c.total FROM c JOIN m ON c.window_end = m.window_end AND c.num = m.most";
    check(query, |all| {
        let mut counts: BTreeMap<i64, BTreeMap<i64, (i64, i64)>> = BTreeMap::new();
        for e in bids(all) {
            let starts = (-40..80).map(|n| n * 3 * SECOND).filter(|s| *s <= e.ts && e.ts < s + 10 * SECOND);
            for start in starts {
                let cell = counts.entry(start + 10 * SECOND).or_default().entry(e.auction.unwrap()).or_default();
                *cell = (cell.0 + 1, cell.1 + e.price.unwrap());
            }
        }
        let hottest = |(end, of): (i64, BTreeMap<i64, (i64, i64)>)| {
            let most = of.values().map(|v| v.0).max().unwrap();
            of.into_iter()
                .filter(move |(_, v)| v.0 == most)
                .map(move |(a, (n, t))| format!("{end} {a} {n} {t}"))
                .collect::<Vec<_>>()
        };
        counts.into_iter().flat_map(hottest).collect()
    });
}

#[test]
fn left_join_with_a_residual() {
    let query = "SELECT a.id, b.price, a.window_end FROM tumble(events, ts, INTERVAL '5' SECOND) a
                 LEFT JOIN tumble(events, ts, INTERVAL '5' SECOND) b
                 ON a.window_end = b.window_end AND a.seller = b.auction AND b.price > 500 AND a.id < b.price
                 WHERE a.type = 'auction'";
    check(query, |all| {
        let end = |e: &Event| window_end(e.ts, 5 * SECOND);
        let mut rows = Vec::new();
        for a in all.iter().filter(|e| e.kind == "auction") {
            let fits = |b: &&Event| end(a) == end(b) && a.seller == b.auction && b.price > Some(500) && a.id < b.price;
            let prices: Vec<String> = bids(all).filter(fits).map(|b| b.price.unwrap().to_string()).collect();
            let prices = if prices.is_empty() { vec!["-".to_owned()] } else { prices };
            rows.extend(prices.iter().map(|p| format!("{} {p} {}", a.id.unwrap(), end(a))));
        }
        rows
    });
}

#[test]
fn filters_distinct_and_having() {
    let query = "SELECT auction % 2 AS odd, window_start, count(DISTINCT price % 10) AS d, count(*) FILTER (WHERE price > 500) AS dear
                 FROM tumble(events, ts, INTERVAL '20' SECOND) WHERE type = 'bid'
                 GROUP BY auction % 2, window_start HAVING count(*) > 2 AND window_start >= TIMESTAMP '1970-01-01 00:00:00Z'";
    check(query, |all| {
        let mut groups: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
        for e in bids(all) {
            let start = window_end(e.ts, 20 * SECOND) - 20 * SECOND;
            groups.entry((e.auction.unwrap() % 2, start)).or_default().push(e.price.unwrap());
        }
        let wanted = groups.into_iter().filter(|((_, start), p)| p.len() > 2 && *start >= 0);
        let line = |((odd, start), prices): ((i64, i64), Vec<i64>)| {
            let distinct = prices.iter().map(|p| p % 10).collect::<HashSet<_>>().len();
            format!("{odd} {start} {distinct} {}", prices.iter().filter(|p| **p > 500).count())
        };
        wanted.map(line).collect()
    });
}

#[test]
fn sessions_per_key() {
    let query =
        "SELECT auction, window_start, window_end, min(price) AS low FROM session(events, ts, INTERVAL '2' SECOND)
                 WHERE type = 'bid' GROUP BY auction, window_start, window_end";
    check(query, |all| {
        let mut by_key: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        bids(all).for_each(|e| by_key.entry(e.auction.unwrap()).or_default().push((e.ts, e.price.unwrap())));
        let mut rows = Vec::new();
        for (key, mut rows_of_key) in by_key {
            rows_of_key.sort();
            let mut open: Option<(i64, i64, i64)> = None;
            for (ts, price) in rows_of_key {
                open = match open {
                    Some((start, last, low)) if ts - last <= 2 * SECOND => Some((start, ts, low.min(price))),
                    closed => {
                        rows.extend(closed.map(|(s, l, low)| format!("{key} {s} {} {low}", l + 2 * SECOND)));
                        Some((ts, ts, price))
                    }
                };
            }
            rows.extend(open.map(|(s, l, low)| format!("{key} {s} {} {low}", l + 2 * SECOND)));
        }
        rows
    });
}

#[test]
fn aggregates_over_window_values() {
    let query = "SELECT window_end, max(CAST(ts AS BIGINT) - CAST(window_start AS BIGINT)) AS latest
                 FROM hop(events, ts, INTERVAL '4' SECOND, INTERVAL '6' SECOND, INTERVAL '1' SECOND) WHERE type = 'bid' GROUP BY window_end";
    check(query, |all| {
        let mut most: BTreeMap<i64, i64> = BTreeMap::new();
        for e in bids(all) {
            let starts = (-40..80).map(|n| n * 4 * SECOND + SECOND).filter(|s| *s <= e.ts && e.ts < s + 6 * SECOND);
            for start in starts {
                let top = most.entry(start + 6 * SECOND).or_insert(i64::MIN);
                *top = (e.ts - start).max(*top);
            }
        }
        most.into_iter().map(|(end, n)| format!("{end} {n}")).collect()
    });
}

#[test]
fn union_all_counts_both() {
    let query = "WITH u AS (SELECT auction AS k, window_end FROM tumble(events, ts, INTERVAL '10' SECOND) WHERE type = 'bid'
                            UNION ALL SELECT seller, window_end FROM tumble(events, ts, INTERVAL '10' SECOND) WHERE type = 'auction')
                 SELECT window_end, k, count(*) AS n FROM u GROUP BY window_end, k";
    check(query, |all| {
        let mut counts: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for (e, k) in all.iter().filter_map(|e| Some((e, e.auction.or(e.seller)?))) {
            *counts.entry((window_end(e.ts, 10 * SECOND), k)).or_default() += 1;
        }
        counts.into_iter().map(|((end, k), n)| format!("{end} {k} {n}")).collect()
    });
}

#[test]
fn rows_without_time_and_bad_rows_are_rejected() {
    let rows = batch(&[
        Event { kind: "bid", ts: 0, auction: Some(0), price: Some(1), ..Event::default() },
        Event { kind: "bid", ts: 1, auction: Some(2), price: Some(8), ..Event::default() },
    ]);
    let divided = plan("SELECT price / auction AS v, window_end FROM tumble(events, ts, INTERVAL '1' SECOND)");
    let (answer, rejected) = run(&divided, &rows);
    assert_eq!((lines(&answer), rejected), (vec![format!("4 {SECOND}")], vec!["EXPR-DIVIDE-BY-ZERO"]));
    let no_time = concat(&[&new_null_array(rows.column(1).data_type(), 1), &rows.column(1).slice(1, 1)]).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[1] = no_time;
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let (answer, rejected) = run(&plan("SELECT price, window_end FROM tumble(events, ts, INTERVAL '1' SECOND)"), &rows);
    assert_eq!((lines(&answer), rejected), (vec![format!("8 {SECOND}")], vec!["WINDOW-NO-TIME"]));
    assert_eq!(answer.column(0).as_primitive::<Int64Type>().value(0), 8);
}
