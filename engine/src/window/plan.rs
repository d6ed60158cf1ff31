//! An [`AggregateSpec`] made ready: expressions to evaluate, accumulators to make, schemas.

use super::expr;
use super::spec::{AggregateSpec, Window};
use super::table::plain_type;
use crate::batch::{Batch, record_batch};
use crate::operator::Emit;
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use datafusion_expr::GroupsAccumulator;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

use super::grid::Span;
use super::segment::state_schema;

/// What an aggregate over windows needs at run time.
pub(super) struct Plan {
    pub(super) spec: AggregateSpec,
    args: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    /// Key types inside tables and state.
    pub(super) key_types: Vec<DataType>,
    /// State columns of each aggregate.
    pub(super) states: Vec<Vec<FieldRef>>,
    /// The name and type of each of them, in a row.
    names: Vec<(String, DataType)>,
}

/// Rows that can go on: each has a time.
pub(super) struct Evaluated {
    pub(super) batch: Batch,
    pub(super) times: Times,
    pub(super) inputs: Inputs,
}

/// The event time of each row as `end`; for existing windows their ends and, where known, starts.
pub(super) struct Times {
    pub(super) end: Int64Array,
    pub(super) start: Option<Int64Array>,
}

/// A batch with everything evaluated: keys, arguments, filters.
pub(super) struct Inputs {
    pub(super) rows: usize,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) args: Vec<Vec<ArrayRef>>,
    pub(super) filters: Vec<Option<BooleanArray>>,
}

impl Inputs {
    /// These rows of it.
    pub(super) fn take(&self, rows: &UInt32Array) -> Result<Inputs> {
        let column = |c: &ArrayRef| take(c, rows, None).map_err(expr::kernel);
        let columns = |cs: &Vec<ArrayRef>| cs.iter().map(column).collect::<Result<Vec<_>>>();
        let filter = |f: &Option<BooleanArray>| match f {
            Some(f) => Ok(Some(take(f, rows, None).map_err(expr::kernel)?.as_boolean().clone())),
            None => Ok(None),
        };
        Ok(Inputs {
            rows: rows.len(),
            keys: columns(&self.keys)?,
            args: self.args.iter().map(columns).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
        })
    }
}

/// Keys and accumulator states, one row per group; the form in which partial aggregates travel.
#[derive(Clone)]
pub(super) struct States {
    pub(super) rows: usize,
    pub(super) keys: Vec<ArrayRef>,
    /// The state columns of all aggregates, one after the other.
    pub(super) states: Vec<ArrayRef>,
}

impl States {
    pub(super) fn bytes(&self) -> usize {
        self.keys.iter().chain(&self.states).map(|c| c.get_array_memory_size()).sum()
    }
    /// The columns of a state batch behind its first `skip`.
    pub(super) fn of(rows: &RecordBatch, skip: usize, keys: usize) -> States {
        let columns = &rows.columns()[skip..];
        States { rows: rows.num_rows(), keys: columns[..keys].to_vec(), states: columns[keys..].to_vec() }
    }
    pub(super) fn take(&self, rows: &UInt32Array) -> Result<States> {
        let column = |c: &ArrayRef| take(c, rows, None).map_err(expr::kernel);
        Ok(States {
            rows: rows.len(),
            keys: self.keys.iter().map(column).collect::<Result<_>>()?,
            states: self.states.iter().map(column).collect::<Result<_>>()?,
        })
    }
}

impl Plan {
    pub(super) fn new(spec: AggregateSpec) -> Result<Plan> {
        let states = spec.aggregates.iter().map(|a| a.function.state_fields().map_err(expr::failed));
        Ok(Plan {
            args: spec.aggregates.iter().map(|a| a.function.expressions()).collect(),
            key_types: spec.keys.iter().map(|k| plain_type(k.field.data_type())).collect(),
            states: states.collect::<Result<_>>()?,
            names: super::meaning::state_columns(&spec)?,
            spec,
        })
    }

    /// New accumulators, one per aggregate.
    pub(super) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        let one = |a: &super::spec::Aggregate| -> Result<Box<dyn GroupsAccumulator>> {
            if a.function.groups_accumulator_supported() {
                return a.function.create_groups_accumulator().map_err(expr::failed);
            }
            let function = Arc::clone(&a.function);
            Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
        };
        self.spec.aggregates.iter().map(one).collect()
    }

    /// Evaluates everything over a batch.
    pub(super) fn inputs(&self, rows: &RecordBatch) -> Result<Inputs> {
        let columns = |es: &Vec<Arc<dyn PhysicalExpr>>| es.iter().map(|e| expr::column(e, rows)).collect();
        let keys = self.spec.keys.iter().zip(&self.key_types).map(|(k, plain)| {
            let column = expr::key_column(&k.expr, rows)?;
            if column.data_type() == plain { Ok(column) } else { cast(&column, plain).map_err(expr::kernel) }
        });
        let filters = self.spec.aggregates.iter().map(|a| a.filter.as_ref().map(|f| expr::mask(f, rows)).transpose());
        Ok(Inputs {
            rows: rows.num_rows(),
            keys: keys.collect::<Result<_>>()?,
            args: self.args.iter().map(columns).collect::<Result<_>>()?,
            filters: filters.collect::<Result<_>>()?,
        })
    }

    /// Evaluates times and inputs over a batch of rows. Rows without a time, and rows over which an
    /// expression fails, are refused; the rest comes back in one piece, or in several around the latter.
    pub(super) fn evaluate(&self, batch: Batch, out: &mut Emit) -> Result<Vec<Evaluated>> {
        if batch.diff.is_some() {
            return Err(Problem::error("WINDOW-CHANGELOG", "a window takes rows, not changes")
                .help("put the window before what makes the changes"));
        }
        let (mut todo, mut done) = (vec![batch], Vec::new());
        while let Some(batch) = todo.pop() {
            let (batch, evaluated) = self.evaluate_or_fail(batch, out);
            match evaluated {
                Ok(evaluated) => done.push(evaluated),
                Err(problem) if batch.len() < 2 => {
                    let (code, message) = expr::of_a_row(problem)?;
                    out.reject(&batch, 0, code, message);
                }
                Err(problem) => {
                    expr::of_a_row(problem)?;
                    let half = batch.len() / 2;
                    todo.push(batch.slice(half, batch.len() - half));
                    todo.push(batch.slice(0, half));
                }
            }
        }
        Ok(done)
    }

    /// All or nothing; with the rows that remain to be tried when it fails.
    fn evaluate_or_fail(&self, batch: Batch, out: &mut Emit) -> (Batch, Result<Evaluated>) {
        let (batch, times) = match self.times(&batch, out) {
            Ok((kept, times)) => (kept, times),
            Err(problem) => return (batch, Err(problem)),
        };
        let inputs = self.inputs(&batch.rows);
        (batch.clone(), inputs.map(|inputs| Evaluated { batch, times, inputs }))
    }

    /// The times of the rows that have one; the others are refused.
    fn times(&self, batch: &Batch, out: &mut Emit) -> Result<(Batch, Times)> {
        let times = self.time_columns(&batch.rows)?;
        let nulls = NullBuffer::union(times.end.nulls(), times.start.as_ref().and_then(|s| s.nulls()));
        let Some(nulls) = nulls.filter(|n| n.null_count() > 0) else {
            return Ok((batch.clone(), times));
        };
        refuse_null_times(batch, &nulls, out);
        let batch = batch.filter(&BooleanArray::new(nulls.into_inner(), None));
        let times = self.time_columns(&batch.rows)?;
        Ok((batch, times))
    }

    /// The times of the rows; for existing windows their ends and, where known, starts.
    fn time_columns(&self, rows: &RecordBatch) -> Result<Times> {
        let (end, start) = match &self.spec.window {
            Window::Tumble { time, .. } | Window::Hop { time, .. } | Window::Session { time, .. } => {
                (expr::micros(&expr::column(time, rows)?)?, None)
            }
            Window::Existing { start, end, size_us } => {
                let column = |i: Option<usize>| i.map(|i| expr::micros(rows.column(i))).transpose();
                let shift = |a: &Int64Array, by: i64| a.unary::<_, Int64Type>(|v| v.saturating_add(by));
                match (column(*start)?, column(*end)?, size_us) {
                    (starts, Some(ends), None) => (ends, starts),
                    (Some(starts), Some(ends), _) => (ends, Some(starts)),
                    (None, Some(ends), Some(size)) => (ends.clone(), Some(shift(&ends, -size))),
                    (Some(starts), None, Some(size)) => (shift(&starts, *size), Some(starts)),
                    (_, None, _) => return Err(Problem::internal("a window column without an end")),
                }
            }
        };
        Ok(Times { end, start })
    }

    fn state_fields(&self) -> impl Iterator<Item = Field> + '_ {
        let time = |name: &str| Field::new(name, DataType::Int64, false);
        let keys = self.spec.keys.iter().zip(&self.key_types).enumerate();
        let keys = keys.map(|(i, (_, t))| Field::new(format!("key{i}"), t.clone(), true));
        let states = self.names.iter().map(|(name, ty)| Field::new(name, ty.clone(), true));
        [time("_end"), time("_start")].into_iter().chain(keys).chain(states)
    }

    /// `_end`, `_start`, keys, states.
    pub(super) fn partial_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.state_fields().collect::<Vec<_>>()))
    }

    /// `_group`, then what [`Plan::partial_schema`] says.
    pub(super) fn block_schema(&self) -> SchemaRef {
        state_schema(self.state_fields())
    }

    /// Partial aggregates of one pane as a batch of [`Plan::partial_schema`].
    pub(super) fn partial_rows(&self, schema: &SchemaRef, pane: Span, states: &States) -> RecordBatch {
        let constant = |v: i64| -> ArrayRef { Arc::new(Int64Array::from_value(v, states.rows)) };
        let mut columns = vec![constant(pane.end), constant(pane.start)];
        columns.extend(states.keys.iter().chain(&states.states).cloned());
        record_batch(Arc::clone(schema), columns, states.rows)
    }

    /// The output rows of windows: keys, start and end where wanted, aggregates.
    pub(super) fn output_rows(
        &self,
        rows: usize,
        keys: Vec<ArrayRef>,
        starts: ArrayRef,
        ends: ArrayRef,
        values: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let spec = &self.spec;
        let mut columns = keys;
        columns.extend(spec.start.as_ref().map(|_| starts));
        columns.extend(spec.end.as_ref().map(|_| ends));
        columns.extend(values);
        let columns = columns.into_iter().zip(spec.output.fields()).map(|(column, field)| {
            let fits = column.data_type() == field.data_type();
            if fits { Ok(column) } else { cast(&column, field.data_type()).map_err(expr::kernel) }
        });
        Ok(record_batch(Arc::clone(&spec.output), columns.collect::<Result<_>>()?, rows))
    }
}

/// Refuses the rows whose event time is NULL.
pub(super) fn refuse_null_times(batch: &Batch, times: &NullBuffer, out: &mut Emit) {
    for row in (0..batch.len()).filter(|row| times.is_null(*row)) {
        out.reject(batch, row, "WINDOW-NULL-TIME", "found NULL as the event time; expected a timestamp");
    }
}
