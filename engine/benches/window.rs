//! Windowed counts: rows per second of `on_batch`, and what closes and deltas cost.
//!
//! `cargo bench -p millstream --bench window` measures; under `cargo test` it only shows that it still
//! runs. Every line ends with a checksum of the output, so that the work cannot be optimised away.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use arrow::array::*;
use arrow::datatypes::*;
use datafusion_functions_aggregate::{count, sum};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{col, lit};
use millstream::operator::{Change, Emit, Operator, StateBlock};
use millstream::window::spec::{Aggregate, AggregateSpec, KeyColumn, Window};
use millstream::window::{Input, WindowAggregate};
use millstream::{Batch, Watermark, key};
use std::sync::Arc;
use std::time::Instant;

const BATCH: usize = 8_192;
const MINUTE_US: i64 = 60_000_000;

fn main() {
    let tiny = !std::env::args().any(|a| a == "--bench");
    let batches = if tiny { 4 } else { 1_500 };
    hash(batches);
    let tumble = |time| Window::Tumble { time, size_us: MINUTE_US, offset_us: 0 };
    let hop = |time| Window::Hop { time, slide_us: MINUTE_US / 5, size_us: MINUTE_US, offset_us: 0 };
    for (name, keys) in [("1k ints", 1_000), ("100k ints", 100_000)] {
        run(&format!("tumble count, {name}"), batches, &rows(batches, keys, false), &tumble, false);
    }
    run("tumble count + sum, 100k ints", batches, &rows(batches, 100_000, false), &tumble, true);
    run("tumble count, 100k strings", batches / 2, &rows(batches / 2, 100_000, true), &tumble, false);
    run("hop count, 5 panes, 100k ints", batches, &rows(batches, 100_000, false), &hop, false);
    for strings in [false, true] {
        delta(if tiny { 1_000 } else { 100_000 }, strings);
    }
}

/// Batches whose times run evenly through five minutes, keys at random.
fn rows(batches: usize, keys: u64, strings: bool) -> Vec<RecordBatch> {
    let mut rng = fastrand::Rng::with_seed(7);
    let step = 5 * MINUTE_US / batches as i64;
    let one = |batch: usize| {
        let numbers: Vec<i64> = (0..BATCH).map(|_| rng.u64(0..keys) as i64).collect();
        let start = batch as i64 * step;
        let times = (0..BATCH as i64).map(|row| start + row * step / BATCH as i64);
        record(numbers, times.collect(), strings)
    };
    (0..batches).map(one).collect()
}

fn record(keys: Vec<i64>, times: Vec<i64>, strings: bool) -> RecordBatch {
    let numbers = Int64Array::from(keys);
    let key: ArrayRef = match strings {
        true => Arc::new(StringArray::from_iter_values(numbers.values().iter().map(|k| format!("device-{k:08}")))),
        false => Arc::new(numbers.clone()),
    };
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("key", key),
        ("ts", Arc::new(times) as ArrayRef),
        ("v", Arc::new(numbers) as ArrayRef),
    ])
    .expect("columns of one length")
}

fn spec(input: &SchemaRef, window: &dyn Fn(Arc<dyn PhysicalExpr>) -> Window, with_sum: bool) -> AggregateSpec {
    let aggregate = |fun, arg: Arc<dyn PhysicalExpr>, name: &str| {
        let function = AggregateExprBuilder::new(fun, vec![arg]).schema(Arc::clone(input)).alias(name).build();
        let function = function.expect("an aggregate of integers");
        Aggregate { field: function.field(), function: Arc::new(function), filter: None }
    };
    let mut aggregates = vec![aggregate(count::count_udaf(), lit(1i64), "n")];
    if with_sum {
        aggregates.push(aggregate(sum::sum_udaf(), col("v", input).expect("there"), "sum"));
    }
    let key = Arc::clone(&input.fields()[0]);
    let mut output = vec![Arc::clone(&key)];
    output.extend(aggregates.iter().map(|a| Arc::clone(&a.field)));
    AggregateSpec {
        window: window(col("ts", input).expect("there")),
        keys: vec![KeyColumn { expr: col("key", input).expect("there"), field: key }],
        aggregates,
        start: None,
        end: None,
        output: Arc::new(Schema::new(output)),
        input: Arc::clone(input),
        allowed_lateness_us: 0,
    }
}

fn checksum(out: &Emit, column: usize) -> i64 {
    let sums = out.out.iter().map(|(_, b)| {
        let counts = b.rows.column(column).as_primitive::<Int64Type>();
        counts.values().iter().enumerate().map(|(i, v)| v * (1 + i as i64 % 3)).sum::<i64>()
    });
    sums.sum::<i64>()
}

/// Rows in, then the closes; the two are timed apart.
fn run(
    name: &str,
    batches: usize,
    rows: &[RecordBatch],
    window: &dyn Fn(Arc<dyn PhysicalExpr>) -> Window,
    with_sum: bool,
) {
    let mut operator = WindowAggregate::new(spec(&rows[0].schema(), window, with_sum), Input::Rows).expect("spec");
    let mut out = Emit::default();
    let (mut adding, mut closing, mut slowest) = (0.0f64, 0.0f64, 0.0f64);
    for (epoch, batch) in rows.iter().enumerate() {
        let last = batch.column(1).as_primitive::<TimestampMicrosecondType>().value(BATCH - 1);
        let began = Instant::now();
        operator.on_batch(0, epoch as u64, Batch::new(batch.clone()), &mut out).expect("batch");
        adding += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let watermark = if epoch + 1 == rows.len() { Watermark::END } else { Watermark(last) };
        operator.on_close(epoch as u64, watermark, &mut out).expect("close");
        closing += began.elapsed().as_secs_f64();
        slowest = slowest.max(began.elapsed().as_secs_f64());
    }
    let total = (batches * BATCH) as f64;
    println!(
        "{name:32} {:6.1} M rows/s in on_batch ({:5.1} ns/row), closes {:5.1} ns/row, slowest {:6.2} ms; checksum {}",
        total / adding / 1e6,
        adding / total * 1e9,
        closing / total * 1e9,
        slowest * 1e3,
        checksum(&out, 1)
    );
}

/// Deltas in which every one of `keys` keys has changed.
fn delta(keys: i64, strings: bool) {
    let times = vec![1; BATCH];
    let window = |time| Window::Tumble { time, size_us: MINUTE_US, offset_us: 0 };
    let all: Vec<i64> = (0..keys).collect();
    let rows: Vec<_> =
        all.chunks(BATCH).map(|keys| record(keys.to_vec(), times[..keys.len()].to_vec(), strings)).collect();
    let mut operator = WindowAggregate::new(spec(&rows[0].schema(), &window, true), Input::Rows).expect("spec");
    let (mut took, mut handed) = (Vec::new(), 0);
    for epoch in 0..21u64 {
        let mut out = Emit::default();
        for batch in &rows {
            operator.on_batch(0, epoch, Batch::new(batch.clone()), &mut out).expect("batch");
        }
        operator.on_close(epoch, Watermark::UNKNOWN, &mut out).expect("close");
        let (mut blocks, began) = (Vec::<StateBlock>::new(), Instant::now());
        operator.delta(&mut blocks).expect("delta");
        took.push(began.elapsed().as_secs_f64() * 1e3);
        let rows = |b: &StateBlock| if let Change::Rows(rows) = &b.change { rows.num_rows() } else { 0 };
        handed += blocks.iter().map(rows).sum::<usize>();
    }
    took.sort_by(f64::total_cmp);
    let kind = if strings { "strings" } else { "ints" };
    println!(
        "delta of {keys} changed {kind:8}          median {:6.2} ms, slowest of 21 {:6.2} ms; checksum {handed}",
        took[10], took[20]
    );
}

/// The key hash of one integer column.
fn hash(batches: usize) {
    let rows = rows(1, 100_000, false);
    let (mut out, mut check, began) = (Vec::new(), 0u64, Instant::now());
    for _ in 0..batches {
        key::hash_batch(&rows[0], &[0], &mut out).expect("integers");
        check = check.wrapping_add(out[BATCH / 2]);
    }
    let per_row = began.elapsed().as_secs_f64() / (batches * BATCH) as f64 * 1e9;
    println!("hash of one integer column       {per_row:6.2} ns/row; checksum {check}");
}
