//! [`Dedupe`]: the first row of each key goes on, later ones do not.

use crate::batch::{Batch, record_batch};
use crate::meaning::{Meaning, fitted};
use crate::operator::{Change, Emit, KeyGroups, Operator, StateBlock, StateSize};
use crate::time::{Epoch, Watermark};
use crate::window::segment::{Closed, foreign, groups_of, own_rows, state_schema};
use crate::window::table::{Groups, plain_type};
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KEYS: &str = "keys";

/// The stamp of a key that is forgotten.
const FORGOTTEN: i64 = i64::MIN;

/// Forgotten keys are swept out once there are this many and they outnumber the others. Few in tests, so
/// that random scripts reach it.
const FORGOTTEN_MIN: usize = if cfg!(test) { 3 } else { 1_024 };

/// What a [`Dedupe`] compares and how long it remembers.
#[derive(Clone, Debug)]
pub struct DedupeSpec {
    /// The rows that come in; they go out unchanged.
    pub input: SchemaRef,
    /// Indices of the columns that make the key. NULL is a value like any other.
    pub keys: Vec<usize>,
    /// When a key is forgotten.
    pub remember: Remember,
}

/// When a key is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// Once the watermark has reached the key's last event time plus this.
    Within {
        /// Index of the event-time column, a timestamp.
        time: usize,
        /// Microseconds of event time, positive.
        within_us: i64,
    },
    /// Once this many others have been seen since: each worker keeps at most so many, those seen in the
    /// latest epochs.
    MaxKeys(usize),
}

/// Lets the first row of each key pass; later ones are counted as filtered and keep the key remembered.
///
/// Input:  port 0, rows in any order; within an epoch the first to arrive is the first.
/// Output: port 0, the input's rows.
/// State:  the keys, each with its stamp: the greatest event time, or the latest epoch. A delta holds the
///         keys seen since the last one. With `Within` it comes in segments of a quarter of the time
///         kept, which are dropped when the watermark has passed all that is in them.
/// Errors: with `Within` a row without a time is refused (`DEDUPE-NULL-TIME`). A row so late that its
///         key would be forgotten at once passes unless the key is known.
pub struct Dedupe {
    spec: DedupeSpec,
    types: Vec<DataType>,
    groups: Groups,
    /// Per group.
    stamps: Vec<i64>,
    /// Per group: seen since the last delta.
    changed: Vec<bool>,
    changes: Vec<usize>,
    /// The groups by segment of their stamp; a group whose stamp moved on is in several.
    segments: BTreeMap<i64, Vec<usize>>,
    /// Segments that were handed over.
    saved: BTreeSet<i64>,
    live: usize,
    closed: Closed,
    block_schema: SchemaRef,
    scratch: Vec<usize>,
}

impl Dedupe {
    /// Errors: `KEY-TYPE` for a column that cannot be a key, `DEDUPE-BOUND` for a bound that is not
    /// positive.
    pub fn new(spec: DedupeSpec) -> Result<Dedupe> {
        let bound = match spec.remember {
            Remember::Within { within_us, .. } => within_us > 0,
            Remember::MaxKeys(keys) => keys > 0,
        };
        if !bound {
            return Err(Problem::error("DEDUPE-BOUND", "a bound on what is remembered must be positive")
                .found(format!("{:?}", spec.remember)));
        }
        let types: Vec<_> = spec.keys.iter().map(|k| plain_type(spec.input.field(*k).data_type())).collect();
        let keys = types.iter().enumerate().map(|(i, t)| Field::new(format!("key{i}"), t.clone(), true));
        let stamp = Field::new("stamp", DataType::Int64, false);
        Ok(Dedupe {
            block_schema: state_schema(std::iter::once(stamp).chain(keys)),
            groups: Groups::new(&types)?,
            types,
            spec,
            stamps: Vec::new(),
            changed: Vec::new(),
            changes: Vec::new(),
            segments: BTreeMap::new(),
            saved: BTreeSet::new(),
            live: 0,
            closed: Closed::default(),
            scratch: Vec::new(),
        })
    }

    /// What the state of such a node means.
    pub fn meaning(spec: &DedupeSpec) -> Meaning {
        let key = |k: &usize| {
            let field = spec.input.field(*k);
            format!("{}: {}", field.name(), field.data_type())
        };
        let names: Vec<&str> = spec.keys.iter().map(|k| spec.input.field(*k).name().as_str()).collect();
        let (bound, short) = match spec.remember {
            Remember::Within { time, .. } => (format!("within a time of {}", spec.input.field(time).name()), "within"),
            Remember::MaxKeys(_) => ("a number of keys".into(), "max"),
        };
        Meaning {
            kind: "dedupe".into(),
            fixed: BTreeMap::from([
                ("by".into(), spec.keys.iter().map(key).collect::<Vec<_>>().join(", ")),
                ("bound".into(), bound),
            ]),
            fields: BTreeMap::new(),
            before: format!("dedupe:{}:{short}", names.join(",")),
        }
    }

    /// The segment of a stamp: the end of its quarter of the time kept, or the epoch itself.
    fn segment(&self, stamp: i64) -> i64 {
        match self.spec.remember {
            Remember::MaxKeys(_) => stamp,
            Remember::Within { within_us, .. } => {
                let step = (within_us / 4).max(1);
                stamp.div_euclid(step).saturating_add(1).saturating_mul(step)
            }
        }
    }

    /// True if a key with this stamp still counts.
    fn is_live(&self, stamp: i64) -> bool {
        match self.spec.remember {
            _ if stamp == FORGOTTEN => false,
            Remember::MaxKeys(_) => true,
            Remember::Within { .. } => stamp > self.closed.until,
        }
    }

    fn key_columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let plain = |(k, t): (&usize, &DataType)| cast(rows.column(*k), t);
        let columns = self.spec.keys.iter().zip(&self.types).map(plain).collect::<Result<Vec<_>, _>>();
        columns.map_err(|e| Problem::internal("a key column has another type").found(e.to_string()))
    }

    /// Stamps of the rows that have one; the others are refused.
    fn stamped(&self, epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<(Batch, Int64Array)> {
        let Remember::Within { time, .. } = self.spec.remember else {
            let epoch = i64::try_from(epoch).expect("epochs count milliseconds");
            let stamps = Int64Array::from_value(epoch, batch.len());
            return Ok((batch, stamps));
        };
        let micros = |rows: &RecordBatch| -> Result<Int64Array> {
            let zone = match rows.column(time).data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                other => return Err(not_a_time(other)),
            };
            let cast = cast(rows.column(time), &DataType::Timestamp(TimeUnit::Microsecond, zone));
            let cast = cast.map_err(|e| not_a_time(rows.column(time).data_type()).help(e.to_string()))?;
            Ok(cast.as_primitive::<TimestampMicrosecondType>().reinterpret_cast())
        };
        let stamps = micros(&batch.rows)?;
        let Some(nulls) = stamps.nulls().filter(|n| n.null_count() > 0) else {
            return Ok((batch, stamps));
        };
        for row in (0..batch.len()).filter(|row| nulls.is_null(*row)) {
            out.reject(&batch, row, "DEDUPE-NULL-TIME", "found NULL as the event time; expected a timestamp");
        }
        let batch = batch.filter(&BooleanArray::new(nulls.inner().clone(), None));
        let stamps = micros(&batch.rows)?;
        Ok((batch, stamps))
    }

    /// Notes a key; true if it is new or was forgotten.
    fn see(&mut self, group: usize, stamp: i64) -> bool {
        let old = self.stamps[group];
        let first = !self.is_live(old);
        if stamp > old && self.is_live(stamp) {
            self.live += usize::from(old == FORGOTTEN);
            self.stamps[group] = stamp;
            let segment = self.segment(stamp);
            if old == FORGOTTEN || self.segment(old) != segment {
                self.segments.entry(segment).or_default().push(group);
            }
            if !std::mem::replace(&mut self.changed[group], true) {
                self.changes.push(group);
            }
        }
        first
    }

    fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let mut numbers = std::mem::take(&mut self.scratch);
        self.groups.intern(keys, rows, &mut numbers)?;
        self.stamps.resize(self.groups.len(), FORGOTTEN);
        self.changed.resize(self.groups.len(), false);
        Ok(numbers)
    }

    /// Forgets the groups of the first segment, as long as `more` says so.
    fn forget_segment(&mut self, mut more: impl FnMut(&Dedupe) -> bool) {
        let Some((segment, groups)) = self.segments.pop_first() else { return };
        let mut groups = groups.into_iter();
        while more(self) {
            let Some(group) = groups.next() else { return };
            let stamp = self.stamps[group];
            if stamp != FORGOTTEN && self.segment(stamp) == segment {
                self.stamps[group] = FORGOTTEN;
                self.live -= 1;
            }
        }
        let rest: Vec<_> = groups.collect();
        if !rest.is_empty() {
            self.segments.insert(segment, rest);
        }
    }

    fn forget(&mut self) {
        match self.spec.remember {
            Remember::MaxKeys(most) => {
                while self.live > most {
                    self.forget_segment(|this| this.live > most);
                }
            }
            // Stamps lie before the end of their segment; whole segments are enough, since a single
            // stamp is compared when its key is seen.
            Remember::Within { .. } => {
                let until = self.closed.until.saturating_add(1);
                while self.segments.keys().next().is_some_and(|end| *end <= until) {
                    self.forget_segment(|_| true);
                }
            }
        }
    }

    /// Makes the table anew when most of its keys are forgotten.
    fn sweep(&mut self) -> Result<()> {
        if self.stamps.len() - self.live < FORGOTTEN_MIN.max(self.live) {
            return Ok(());
        }
        let live: Vec<usize> = (0..self.stamps.len()).filter(|g| self.stamps[*g] != FORGOTTEN).collect();
        let keys = self.groups.keys_of(&live)?;
        let (stamps, changed) = (std::mem::take(&mut self.stamps), std::mem::take(&mut self.changed));
        self.groups = Groups::new(&self.types)?;
        self.segments.clear();
        self.changes.clear();
        let numbers = self.intern(&keys, live.len())?;
        for (&group, old) in numbers.iter().zip(live) {
            self.stamps[group] = stamps[old];
            self.segments.entry(self.segment(stamps[old])).or_default().push(group);
            if changed[old] {
                self.changed[group] = true;
                self.changes.push(group);
            }
        }
        self.scratch = numbers;
        Ok(())
    }

    fn blocks(&mut self, groups: &[usize], out: &mut Vec<StateBlock>) -> Result<()> {
        let mut segments: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for &group in groups.iter().filter(|g| self.is_live(self.stamps[**g])) {
            let segment = match self.spec.remember {
                Remember::MaxKeys(_) => 0,
                Remember::Within { .. } => self.segment(self.stamps[group]),
            };
            segments.entry(segment).or_default().push(group);
        }
        for (segment, groups) in segments {
            self.saved.insert(segment);
            let keys = self.groups.keys_of(&groups)?;
            let stamps = Int64Array::from_iter_values(groups.iter().map(|g| self.stamps[*g]));
            let mut columns = vec![groups_of(&keys, groups.len())?, Arc::new(stamps)];
            columns.extend(keys);
            let rows = record_batch(Arc::clone(&self.block_schema), columns, groups.len());
            out.push(StateBlock { table: KEYS.into(), segment, change: Change::Rows(rows) });
        }
        Ok(())
    }
}

fn not_a_time(found: &DataType) -> Problem {
    Problem::error("DEDUPE-TIME-TYPE", "event time is not a timestamp").found(found.to_string()).expected("Timestamp")
}

impl Operator for Dedupe {
    fn on_batch(&mut self, _port: usize, epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        if batch.diff.is_some() {
            return Err(Problem::error("DEDUPE-CHANGELOG", "dedupe takes rows, not changes"));
        }
        let (batch, stamps) = self.stamped(epoch, batch, out)?;
        let keys = self.key_columns(&batch.rows)?;
        let numbers = self.intern(&keys, batch.len())?;
        let first = numbers.iter().zip(stamps.values()).map(|(g, s)| Some(self.see(*g, *s)));
        let first = BooleanArray::from_iter(first);
        self.scratch = numbers;
        let passed = first.true_count();
        out.filtered(batch.len() - passed);
        out.send(if passed == batch.len() { batch } else { batch.filter(&first) });
        Ok(())
    }

    fn on_close(&mut self, _epoch: Epoch, watermark: Watermark, _out: &mut Emit) -> Result<()> {
        if let Remember::Within { within_us, .. } = self.spec.remember {
            self.closed.advance(watermark, within_us);
        }
        self.forget();
        self.sweep()
    }

    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        if let Remember::Within { .. } = self.spec.remember {
            self.closed.delta(out);
            let open = self.saved.split_off(&self.closed.until.saturating_add(2));
            for segment in std::mem::replace(&mut self.saved, open) {
                out.push(StateBlock { table: KEYS.into(), segment, change: Change::Drop });
            }
        }
        let groups = std::mem::take(&mut self.changes);
        groups.iter().for_each(|g| self.changed[*g] = false);
        self.blocks(&groups, out)
    }

    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.closed.base(out);
        self.blocks(&(0..self.stamps.len()).collect::<Vec<_>>(), out)
    }

    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        if self.closed.restore(&block)? {
            self.forget();
            return Ok(());
        }
        if block.table != KEYS {
            return Err(foreign(&block));
        }
        // What was dropped had expired, and that the watermark says too.
        let Change::Rows(rows) = &block.change else {
            self.saved.remove(&block.segment);
            return Ok(());
        };
        let own = fitted(&block, &own_rows(&block, rows, groups)?, &self.block_schema)?;
        self.saved.insert(block.segment);
        let numbers = self.intern(&own.columns()[2..], own.num_rows())?;
        for (group, stamp) in numbers.iter().zip(own.column(1).as_primitive::<Int64Type>().values()) {
            self.see(*group, *stamp);
        }
        self.scratch = numbers;
        // It came from the store: it is no change.
        std::mem::take(&mut self.changes).into_iter().for_each(|g| self.changed[g] = false);
        Ok(())
    }

    fn size(&self) -> StateSize {
        let per_key = size_of::<i64>() + size_of::<bool>() + size_of::<usize>();
        let bytes = self.groups.bytes() + self.stamps.capacity() * per_key;
        StateSize { keys: self.live as u64, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests;
