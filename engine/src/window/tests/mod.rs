//! Random batches, epochs, watermarks, checkpoints, crashes and changes of the worker count, compared
//! epoch by epoch with models that recompute everything from rows.
//!
//! A case is a script of epochs. [`Fleet::run`] plays it on one to three workers, rows routed by key
//! hash; at random points it forgets everything since the last checkpoint, restores another number of
//! workers from the blocks handed over, and plays on. What each epoch puts out must equal what the model
//! says, as a multiset, whatever happened in between. A failing case prints its seed.

mod aggregate;
mod join;

use super::spec::*;
use crate::batch::Batch;
use crate::key::{hash_batch, partition};
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock};
use crate::time::Watermark;
use arrow::array::*;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::*;
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::{average, count, min_max, sum};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{binary, cast as cast_expr, col, lit};
use fastrand::Rng;
use std::sync::Arc;

/// Columns of a row, all as numbers; what left on port `p` has `p` in front.
pub(crate) type Line = Vec<Option<i64>>;

/// Rows that were refused, counted in one line.
const REFUSED: i64 = 100;

/// One input row. `id` is unique.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) key: Option<i64>,
    pub(crate) time: Option<i64>,
    pub(crate) value: Option<i64>,
}

impl Row {
    fn line(&self, port: i64) -> Line {
        vec![Some(port), Some(self.id), self.key, self.time, self.value]
    }
}

/// One epoch: batches by port, then its watermark.
pub(crate) struct Step {
    pub(crate) batches: Vec<(usize, Vec<Row>)>,
    pub(crate) watermark: Watermark,
}

impl Step {
    pub(crate) fn rows(&self, port: usize) -> impl Iterator<Item = &Row> {
        self.batches.iter().filter(move |(p, _)| *p == port).flat_map(|(_, rows)| rows)
    }
}

/// `id, key, ts, v`.
pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, t: DataType| Field::new(name, t, true);
    let numbers = |name| field(name, DataType::Int64);
    Arc::new(Schema::new(vec![numbers("id"), numbers("key"), field("ts", time), numbers("v")]))
}

fn batch(rows: &[Row]) -> Batch {
    let numbers = |of: fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(rows.iter().map(of))) };
    let times = TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.time)).with_timezone("UTC");
    let columns = vec![numbers(|r| Some(r.id)), numbers(|r| r.key), Arc::new(times), numbers(|r| r.value)];
    Batch::new(RecordBatch::try_new(schema(), columns).expect("the test's schema"))
}

fn lines(port: usize, rows: &RecordBatch) -> Vec<Line> {
    let columns: Vec<ArrayRef> =
        rows.columns().iter().map(|c| cast(c, &DataType::Int64).expect("numbers and times")).collect();
    let value = |c: &ArrayRef, row| c.is_valid(row).then(|| c.as_primitive::<Int64Type>().value(row));
    let line = |row| std::iter::once(Some(port as i64)).chain(columns.iter().map(|c| value(c, row))).collect();
    (0..rows.num_rows()).map(line).collect()
}

/// A random script over times near the watermark; the last epoch ends the input.
pub(crate) fn script(rng: &mut Rng, ports: usize, keys: i64, step: i64) -> Vec<Step> {
    let (mut id, mut now) = (0, rng.i64(-50..50));
    let epochs = rng.usize(3..25);
    (0..epochs)
        .map(|epoch| {
            let mut batches = Vec::new();
            for _ in 0..rng.usize(0..4) {
                let (port, count) = (rng.usize(0..ports), rng.usize(1..30));
                let row = |_| {
                    id += 1;
                    let time = (now + rng.i64(-60..60)).div_euclid(step) * step;
                    Row {
                        id,
                        key: (rng.u8(..) > 20).then(|| rng.i64(0..keys)),
                        time: (rng.u8(..) > 5).then_some(time),
                        value: (rng.u8(..) > 30).then(|| rng.i64(-5..6)),
                    }
                };
                batches.push((port, (0..count).map(row).collect()));
            }
            now += rng.i64(0..25);
            let watermark = match () {
                () if epoch + 1 == epochs => Watermark::END,
                () if epoch == 0 && rng.bool() => Watermark::UNKNOWN,
                () => Watermark(now - 20),
            };
            Step { batches, watermark }
        })
        .collect()
}

/// Makes one instance of an operator.
pub(crate) type Make = Box<dyn Fn() -> Box<dyn Operator>>;

/// A stage of the dataflow: instances side by side and the store behind them.
struct Team {
    make: Make,
    members: Vec<Box<dyn Operator>>,
    /// What was handed over, less what was dropped.
    store: Vec<StateBlock>,
    watermark: Watermark,
}

impl Team {
    fn new(make: Make) -> Team {
        Team { make, members: Vec::new(), store: Vec::new(), watermark: Watermark::UNKNOWN }
    }

    fn checkpoint(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        let mut rows = Vec::new();
        for member in &mut self.members {
            let mut blocks = Vec::new();
            member.delta(&mut blocks).expect("delta");
            for block in blocks {
                match &block.change {
                    Change::Rows(_) => rows.push(block),
                    Change::Drop => self.store.retain(|b| (&b.table, b.segment) != (&block.table, block.segment)),
                }
            }
        }
        self.store.extend(rows);
    }

    fn restored(&self, groups: &KeyGroups) -> Box<dyn Operator> {
        let mut member = (self.make)();
        self.store.iter().for_each(|block| member.restore(block.clone(), groups).expect("restore"));
        member
    }

    fn compact(&mut self) {
        let mut blocks = Vec::new();
        self.restored(&KeyGroups::ALL).base(&mut blocks).expect("base");
        assert!(blocks.iter().all(|b| matches!(b.change, Change::Rows(_))));
        self.store = blocks;
    }

    fn restart(&mut self, workers: usize) {
        self.members = (0..workers).map(|w| self.restored(&KeyGroups::of(w, workers))).collect();
        let mut out = Emit::default();
        for member in &mut self.members {
            member.on_close(0, self.watermark, &mut out).expect("close");
        }
        assert!(out.out.is_empty(), "restoring emits nothing");
    }
}

/// One stateful node: its operator and, where it has one, the operator before the exchange.
pub(crate) struct Fleet {
    front: Option<Team>,
    main: Team,
    /// Key columns of the main operator's input, by port.
    keys: Vec<Vec<usize>>,
}

impl Fleet {
    pub(crate) fn new(keys: Vec<Vec<usize>>, make: impl Fn() -> Box<dyn Operator> + 'static) -> Fleet {
        Fleet { front: None, main: Team::new(Box::new(make)), keys }
    }

    pub(crate) fn behind(mut self, make: impl Fn() -> Box<dyn Operator> + 'static) -> Fleet {
        self.front = Some(Team::new(Box::new(make)));
        self
    }

    fn route(&mut self, port: usize, epoch: u64, batch: Batch, out: &mut Emit) {
        let mut hashes = Vec::new();
        hash_batch(&batch.rows, &self.keys[port], &mut hashes).expect("keys");
        for (worker, part) in partition(batch, &hashes, self.main.members.len()) {
            self.main.members[worker].on_batch(port, epoch, part, out).expect("batch");
        }
    }

    /// Results of the first stage go on to the second, everything else leaves.
    fn pass_on(&mut self, epoch: u64, front: Emit, out: &mut Emit) {
        out.rejected.extend(front.rejected);
        for (port, batch) in front.out {
            match port {
                super::RESULTS => self.route(0, epoch, batch, out),
                other => out.send_to(other, batch),
            }
        }
    }

    /// Plays one epoch.
    fn step(&mut self, rng: &mut Rng, epoch: u64, step: &Step) -> Vec<Line> {
        let mut out = Emit::default();
        for (port, rows) in &step.batches {
            let mut first = Emit::default();
            match &mut self.front {
                None => self.route(*port, epoch, batch(rows), &mut out),
                Some(front) => {
                    let member = rng.usize(0..front.members.len());
                    front.members[member].on_batch(*port, epoch, batch(rows), &mut first).expect("batch");
                }
            }
            self.pass_on(epoch, first, &mut out);
        }
        for member in 0..self.front.as_ref().map_or(0, |f| f.members.len()) {
            let mut first = Emit::default();
            let front = self.front.as_mut().expect("it has members");
            front.members[member].on_close(epoch, step.watermark, &mut first).expect("close");
            self.pass_on(epoch, first, &mut out);
        }
        for member in &mut self.main.members {
            member.on_close(epoch, step.watermark, &mut out).expect("close");
            let _ = member.size();
        }
        assert!(out.out.iter().all(|(_, b)| b.len() <= crate::batch::BATCH_ROWS));
        let refused = (!out.rejected.is_empty()).then(|| vec![Some(REFUSED), Some(out.rejected.len() as i64)]);
        out.out.iter().flat_map(|(port, b)| lines(*port, &b.rows)).chain(refused).collect()
    }

    /// Plays a script with crashes in between; `workers_max` bounds how many workers there ever are.
    pub(crate) fn run(&mut self, rng: &mut Rng, script: &[Step], workers_max: usize) -> Vec<Vec<Line>> {
        let mut teams: Vec<&mut Team> = self.front.iter_mut().chain([&mut self.main]).collect();
        let workers = rng.usize(1..=workers_max);
        teams.iter_mut().for_each(|team| team.restart(workers));
        let (mut output, mut saved, mut crashes) = (Vec::new(), 0, rng.usize(0..4));
        while output.len() < script.len() {
            let epoch = output.len();
            output.push(self.step(rng, epoch as u64 + 1, &script[epoch]));
            let mut teams: Vec<&mut Team> = self.front.iter_mut().chain([&mut self.main]).collect();
            if rng.u8(..) < 100 {
                teams.iter_mut().for_each(|team| team.checkpoint(script[epoch].watermark));
                saved = output.len();
                if rng.u8(..) < 60 {
                    teams.iter_mut().for_each(|team| team.compact());
                }
            }
            if crashes > 0 && rng.u8(..) < 50 {
                crashes -= 1;
                output.truncate(saved);
                let workers = rng.usize(1..=workers_max);
                teams.iter_mut().for_each(|team| team.restart(workers));
            }
        }
        output
    }
}

/// Compares epoch by epoch, as multisets.
pub(crate) fn compare(seed: u64, mut found: Vec<Vec<Line>>, mut expected: Vec<Vec<Line>>) {
    for (epoch, (found, expected)) in found.iter_mut().zip(&mut expected).enumerate() {
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "seed {seed}, epoch {epoch}");
    }
}

/// The model's line for rows that were refused.
pub(crate) fn refused(step: &Step) -> Option<Line> {
    let refused = step.batches.iter().flat_map(|(_, rows)| rows).filter(|r| r.time.is_none()).count();
    (refused > 0).then(|| vec![Some(REFUSED), Some(refused as i64)])
}

/// `event + lateness <= watermark`, as the rule of time says.
pub(crate) fn passed(end: i64, lateness: i64, watermark: Watermark) -> bool {
    watermark == Watermark::END || (watermark != Watermark::UNKNOWN && end + lateness <= watermark.0)
}

fn aggregate(fun: Arc<AggregateUDF>, arg: Arc<dyn PhysicalExpr>, name: &str, distinct: bool) -> Aggregate {
    let builder = AggregateExprBuilder::new(fun, vec![arg]).schema(schema()).alias(name).with_distinct(distinct);
    let function = builder.build().expect("an aggregate of the tests");
    Aggregate { field: function.field(), function: Arc::new(function), filter: None }
}

/// `count(*), sum(v) filter (where v > 0), min(v), count(distinct v), avg(v)` by `key`.
pub(crate) fn aggregate_spec(window: Window, allowed_lateness_us: i64) -> AggregateSpec {
    let input = schema();
    let v = col("v", &input).expect("there");
    let positive = binary(Arc::clone(&v), datafusion_expr::Operator::Gt, lit(0i64), &input).expect("numbers");
    let double = cast_expr(Arc::clone(&v), &input, DataType::Float64).expect("numbers");
    let mut sums = aggregate(sum::sum_udaf(), Arc::clone(&v), "sum", false);
    sums.filter = Some(positive);
    let aggregates = vec![
        aggregate(count::count_udaf(), lit(1i64), "n", false),
        sums,
        aggregate(min_max::min_udaf(), Arc::clone(&v), "min", false),
        aggregate(count::count_udaf(), v, "distinct", true),
        aggregate(average::avg_udaf(), double, "avg", false),
    ];
    let key = Arc::new(Field::new("key", DataType::Int64, true));
    let time = |name: &str| Arc::new(Field::new(name, input.field(2).data_type().clone(), false));
    let mut output = vec![Arc::clone(&key), time("window_start"), time("window_end")];
    output.extend(aggregates.iter().map(|a| Arc::new(a.field.as_ref().clone().with_nullable(true))));
    AggregateSpec {
        window,
        keys: vec![KeyColumn { expr: col("key", &input).expect("there"), field: key }],
        aggregates,
        start: Some("window_start".into()),
        end: Some("window_end".into()),
        output: Arc::new(Schema::new(output)),
        input,
        allowed_lateness_us,
    }
}

/// The model of those aggregates.
pub(crate) fn aggregated(key: Option<i64>, start: i64, end: i64, values: &[Option<i64>]) -> Line {
    let known: Vec<i64> = values.iter().flatten().copied().collect();
    let positive: Vec<i64> = known.iter().copied().filter(|v| *v > 0).collect();
    let distinct: std::collections::BTreeSet<_> = known.iter().collect();
    let sum = (!positive.is_empty()).then(|| positive.iter().sum());
    let average = (!known.is_empty()).then(|| (known.iter().sum::<i64>() as f64 / known.len() as f64) as i64);
    let values = [Some(values.len() as i64), sum, known.iter().min().copied(), Some(distinct.len() as i64), average];
    [Some(super::RESULTS as i64), key, Some(start), Some(end)].into_iter().chain(values).collect()
}

/// All rows of a port as one batch, for tests that look at batches themselves.
fn sent(out: &Emit, port: usize) -> Option<RecordBatch> {
    let batches: Vec<_> = out.out.iter().filter(|(p, _)| *p == port).map(|(_, b)| b.rows.clone()).collect();
    batches.first().map(|first| concat_batches(&first.schema(), &batches).expect("one schema"))
}
