//! Runs a [`Program`] over batches.
//!
//! A conjunction is evaluated from left to right; once it has dropped half of the rows, the survivors are
//! gathered, and only in the columns that are still needed. Columns that nothing needs after the filter
//! are never copied.
//!
//! Failure: a batch fails as a whole, is then halved until the bad rows stand alone, and runs again
//! without them; they are rejected. A row for which any condition is false is filtered even where
//! another condition fails on it, so the order of conditions does not decide what is a dead letter.

use super::assign::Assign;
use super::error::row_error;
use super::expr::evaluate;
use super::program::{Layer, Physical, Program, Step, column, map_columns};
use crate::batch::{BATCH_ROWS, Batch};
use crate::operator::{Emit, Stage};
use crate::{Problem, Result};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Why a batch did not run.
#[derive(Debug)]
pub(super) enum Failure {
    /// A row cannot be handled: code and message.
    Row(&'static str, String),
    /// A broken invariant.
    Fatal(Problem),
}

impl From<DataFusionError> for Failure {
    fn from(e: DataFusionError) -> Failure {
        let (code, message) = row_error(&e);
        Failure::Row(code, message)
    }
}

/// A program made ready for one worker.
pub(super) struct ProgramStage {
    /// The columns of the input that the program reads, in its order; `None` = as they are.
    select: Option<Vec<usize>>,
    layers: Vec<Ready>,
}

enum Ready {
    Step(ReadyStep),
    Assign(Assign),
}

/// Each conjunct sees just the columns that it, later ones and the outputs need.
struct ReadyStep {
    first: Vec<usize>,
    conjuncts: Vec<(Physical, Vec<usize>)>,
    outputs: Option<Vec<Physical>>,
    schema: SchemaRef,
}

impl ProgramStage {
    pub(super) fn new(program: &Program, select: Option<Vec<usize>>) -> ProgramStage {
        let mut width = program.input.fields().len();
        let mut layers = Vec::with_capacity(program.layers.len());
        for layer in &program.layers {
            let (ready, schema) = match layer {
                Layer::Step(step) => (Ready::Step(ReadyStep::new(step, width)), &step.schema),
                Layer::Assign(assign) => (Ready::Assign(assign.clone()), &assign.schema),
            };
            width = schema.fields().len();
            layers.push(ready);
        }
        ProgramStage { select, layers }
    }

    /// What is left of the batch, and how many rows were filtered.
    fn run(&self, batch: &Batch) -> Result<(Batch, usize), Failure> {
        let mut batch = match &self.select {
            Some(columns) => project(batch, columns),
            None => batch.clone(),
        };
        let mut filtered = 0;
        for layer in &self.layers {
            batch = match layer {
                Ready::Step(step) => {
                    let (next, dropped) = step.run(batch)?;
                    filtered += dropped;
                    next
                }
                Ready::Assign(assign) => assign.run(&batch)?,
            };
            if batch.is_empty() {
                break;
            }
        }
        Ok((batch, filtered))
    }

    /// Finds the rows on which the program fails: `(row, code, message)`.
    fn find_bad(&self, batch: &Batch, from: usize, bad: &mut Vec<(usize, &'static str, String)>) -> Result<()> {
        match self.run(batch) {
            Ok(_) => Ok(()),
            Err(Failure::Fatal(problem)) => Err(problem),
            Err(Failure::Row(code, message)) if batch.len() == 1 => {
                bad.push((from, code, message));
                Ok(())
            }
            Err(Failure::Row(..)) => {
                let half = batch.len() / 2;
                self.find_bad(&batch.slice(0, half), from, bad)?;
                self.find_bad(&batch.slice(half, batch.len() - half), from + half, bad)
            }
        }
    }

    /// Runs rows of which none is bad alone; a batch that is too large as a whole is halved.
    fn run_good(&self, batch: &Batch, out: &mut Emit) -> Result<()> {
        match self.run(batch) {
            Ok((rows, filtered)) => {
                out.filtered(filtered);
                send(rows, out);
                Ok(())
            }
            Err(Failure::Fatal(problem)) => Err(problem),
            Err(Failure::Row(code, message)) if batch.len() == 1 => {
                out.reject(batch, 0, code, message);
                Ok(())
            }
            Err(Failure::Row(..)) => {
                let half = batch.len() / 2;
                self.run_good(&batch.slice(0, half), out)?;
                self.run_good(&batch.slice(half, batch.len() - half), out)
            }
        }
    }
}

impl Stage for ProgramStage {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        match self.run(&batch) {
            Ok((rows, filtered)) => {
                out.filtered(filtered);
                send(rows, out);
                return Ok(());
            }
            Err(Failure::Fatal(problem)) => return Err(problem),
            Err(Failure::Row(..)) => {}
        }
        let mut bad = Vec::new();
        self.find_bad(&batch, 0, &mut bad)?;
        let mut good = vec![true; batch.len()];
        for (row, code, message) in bad {
            good[row] = false;
            out.reject(&batch, row, code, message);
        }
        let good = batch.filter(&BooleanArray::from(good));
        if good.is_empty() { Ok(()) } else { self.run_good(&good, out) }
    }
}

fn send(batch: Batch, out: &mut Emit) {
    if batch.len() <= BATCH_ROWS {
        return out.send(batch);
    }
    for from in (0..batch.len()).step_by(BATCH_ROWS) {
        out.send(batch.slice(from, BATCH_ROWS.min(batch.len() - from)));
    }
}

fn project(batch: &Batch, columns: &[usize]) -> Batch {
    batch.with_rows(batch.rows.project(columns).expect("the planner counted the columns"))
}

impl ReadyStep {
    fn new(step: &Step, width: usize) -> ReadyStep {
        // needs[i]: what conjunct i and everything after it reads; the last one: what the outputs read.
        let mut needs: Vec<BTreeSet<usize>> = Vec::with_capacity(step.conjuncts.len() + 1);
        needs.push(match &step.outputs {
            Some(outputs) => outputs.iter().flat_map(reads).collect(),
            None => (0..width).collect(),
        });
        for conjunct in step.conjuncts.iter().rev() {
            let mut need = needs.last().expect("starts with one").clone();
            need.extend(reads(conjunct));
            needs.push(need);
        }
        needs.reverse();
        let needs: Vec<Vec<usize>> = needs.into_iter().map(|n| n.into_iter().collect()).collect();
        let place = |need: &[usize], index: usize| need.binary_search(&index).expect("the need covers what is read");
        let onto = |e: &Physical, need: &[usize]| {
            let names = |i: usize| e.downcast_ref::<Column>().map_or(format!("#{i}"), |c| c.name().to_owned());
            map_columns(e, |i| Arc::new(Column::new(&names(i), place(need, i))))
        };
        let conjunct = |(i, e): (usize, &Physical)| {
            (onto(e, &needs[i]), needs[i + 1].iter().map(|c| place(&needs[i], *c)).collect())
        };
        ReadyStep {
            conjuncts: step.conjuncts.iter().enumerate().map(conjunct).collect(),
            outputs: step.outputs.as_ref().map(|o| o.iter().map(|e| onto(e, &needs[step.conjuncts.len()])).collect()),
            schema: Arc::clone(&step.schema),
            first: needs[0].clone(),
        }
    }

    fn run(&self, batch: Batch) -> Result<(Batch, usize), Failure> {
        let before = batch.len();
        let batch = match self.filter(project(&batch, &self.first))? {
            Some(batch) => batch,
            None => return Ok((Batch::default(), before)),
        };
        let filtered = before - batch.len();
        let Some(outputs) = &self.outputs else {
            return Ok((batch, filtered));
        };
        let columns = outputs.iter().map(|e| match column(e) {
            Some(i) => Ok(Arc::clone(batch.rows.column(i))),
            None => evaluate(e.as_ref(), &batch.rows),
        });
        let columns = columns.collect::<datafusion_common::Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|e| {
            Failure::Fatal(Problem::internal("a projection gave other columns than planned").found(e.to_string()))
        })?;
        Ok((batch.with_rows(rows), filtered))
    }

    /// The rows that pass, in the columns that the outputs need; `None` if there are none.
    fn filter(&self, batch: Batch) -> Result<Option<Batch>, Failure> {
        let (mut batch, mut pending) = (batch, None::<BooleanArray>);
        for (i, (expr, next)) in self.conjuncts.iter().enumerate() {
            let passed = match test(expr, &batch) {
                Ok(passed) => passed,
                Err(_) if batch.len() == 1 && self.falsified(i, &batch) => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            let mask = match pending.take() {
                Some(earlier) => and(&earlier, &passed).expect("masks of one batch"),
                None => passed,
            };
            let kept = mask.true_count();
            if kept == 0 {
                return Ok(None);
            }
            batch = project(&batch, next);
            let last = i + 1 == self.conjuncts.len();
            if kept < batch.len() && (last || kept * 2 <= batch.len()) {
                batch = batch.filter(&mask);
            } else if kept < batch.len() {
                pending = Some(mask);
            }
        }
        Ok(Some(batch))
    }

    /// True if a conjunct after `failed` is false for the one row of `batch`.
    fn falsified(&self, failed: usize, batch: &Batch) -> bool {
        let mut batch = batch.clone();
        for (i, (expr, next)) in self.conjuncts.iter().enumerate().skip(failed) {
            if i > failed && test(expr, &batch).is_ok_and(|passed| passed.true_count() == 0) {
                return true;
            }
            batch = project(&batch, next);
        }
        false
    }
}

/// True where the condition is true; NULL counts as false.
fn test(expr: &Physical, batch: &Batch) -> datafusion_common::Result<BooleanArray> {
    let values = evaluate(expr.as_ref(), &batch.rows)?;
    let values = values.as_boolean();
    Ok(if values.null_count() == 0 { values.clone() } else { prep_null_mask_filter(values) })
}

fn reads(expr: &Physical) -> BTreeSet<usize> {
    collect_columns(expr).iter().map(Column::index).collect()
}
