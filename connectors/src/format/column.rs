//! One column under construction: values go in one by one, a refused row is taken back.

use super::json::DEPTH_MAX;
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use millstream::json::JSON_METADATA;
use millstream::{Problem, Result};
use std::sync::Arc;

/// Field metadata: the unit of a timestamp that comes as a number, one of `s`, `ms`, `us`, `ns`.
pub const TIME_UNIT_METADATA: &str = "millstream.time_unit";

/// Values of one column, and its name as messages give it (`a.b` within structs).
pub(crate) struct Column {
    pub name: String,
    pub field: FieldRef,
    pub store: Store,
    /// Rows without a value, ascending. Where they are few, as mostly, this is less than a bitmap.
    nulls: Vec<u32>,
}

/// The values; a null stands as some value, or as nothing in lists and texts.
pub(crate) enum Store {
    Bool(Vec<bool>),
    /// Every integer type but `uint64`.
    Int {
        values: Vec<i64>,
        min: i64,
        max: i64,
    },
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    /// `input` is the unit of numbers, where numbers are allowed.
    Timestamp {
        values: Vec<i64>,
        input: Option<TimeUnit>,
        unit: TimeUnit,
    },
    Date(Vec<i32>),
    Time {
        values: Vec<i64>,
        unit: TimeUnit,
    },
    Text(Runs),
    /// A value kept as its own text.
    Json(Runs),
    Bytes(Runs),
    List {
        offsets: Vec<i32>,
        item: Box<Column>,
    },
    Struct {
        fields: Vec<Column>,
        len: usize,
    },
    Map {
        offsets: Vec<i32>,
        keys: Runs,
        values: Box<Column>,
    },
}

/// Byte strings behind one another.
pub(crate) struct Runs {
    offsets: Vec<i32>,
    pub data: Vec<u8>,
}

impl Runs {
    fn new(rows: usize, bytes: usize) -> Runs {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Runs { offsets, data: Vec::with_capacity(bytes) }
    }
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.close();
    }
    /// What has been added to `data` since the last run is the next one.
    #[inline]
    pub fn close(&mut self) {
        // The decoder hands batches on long before the texts of one reach 2 GiB.
        self.offsets.push(self.data.len() as i32);
    }
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }
    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.data.truncate(self.offsets[len] as usize);
    }
    fn take(&mut self) -> (OffsetBuffer<i32>, Vec<u8>) {
        let fresh = Runs::new(self.len(), self.data.len() + self.data.len() / 8);
        let old = std::mem::replace(self, fresh);
        (offset_buffer(old.offsets), old.data)
    }
    fn take_text(&mut self, nulls: Option<NullBuffer>) -> StringArray {
        let (offsets, data) = self.take();
        StringArray::try_new(offsets, data.into(), nulls).expect("runs are whole pieces of valid UTF-8")
    }
}

fn offset_buffer(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

impl Column {
    /// A column for `field`; `prefix` is the path of the struct around it.
    ///
    /// # Errors
    /// `FORMAT-TYPE` where JSON values cannot become the type.
    pub fn new(field: &FieldRef, prefix: &str, depth: u32) -> Result<Column> {
        let name = format!("{prefix}{}", field.name());
        let store = Store::new(field, &name, depth)?;
        Ok(Column { name, field: Arc::clone(field), store, nulls: Vec::new() })
    }

    pub fn len(&self) -> usize {
        match &self.store {
            Store::Bool(v) => v.len(),
            Store::Int { values, .. } | Store::Timestamp { values, .. } | Store::Time { values, .. } => values.len(),
            Store::UInt64(v) => v.len(),
            Store::Float32(v) => v.len(),
            Store::Float64(v) => v.len(),
            Store::Decimal { values, .. } => values.len(),
            Store::Date(v) => v.len(),
            Store::Text(v) | Store::Json(v) | Store::Bytes(v) => v.len(),
            Store::List { offsets, .. } | Store::Map { offsets, .. } => offsets.len() - 1,
            Store::Struct { len, .. } => *len,
        }
    }

    /// Adds a row without a value. Whether that is allowed is the caller's question.
    #[inline]
    pub fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        match &mut self.store {
            Store::Bool(v) => v.push(false),
            Store::Int { values, .. } | Store::Timestamp { values, .. } | Store::Time { values, .. } => values.push(0),
            Store::UInt64(v) => v.push(0),
            Store::Float32(v) => v.push(0.0),
            Store::Float64(v) => v.push(0.0),
            Store::Decimal { values, .. } => values.push(0),
            Store::Date(v) => v.push(0),
            Store::Text(v) | Store::Json(v) | Store::Bytes(v) => v.close(),
            Store::List { offsets, .. } | Store::Map { offsets, .. } => offsets.push(offsets[offsets.len() - 1]),
            Store::Struct { fields, len } => {
                fields.iter_mut().for_each(Column::push_null);
                *len += 1;
            }
        }
    }

    /// Takes back everything from row `len` on, also what a value that broke off has left within.
    pub fn truncate(&mut self, len: usize) {
        while self.nulls.last().is_some_and(|&n| n as usize >= len) {
            self.nulls.pop();
        }
        match &mut self.store {
            Store::Bool(v) => v.truncate(len),
            Store::Int { values, .. } | Store::Timestamp { values, .. } | Store::Time { values, .. } => {
                values.truncate(len);
            }
            Store::UInt64(v) => v.truncate(len),
            Store::Float32(v) => v.truncate(len),
            Store::Float64(v) => v.truncate(len),
            Store::Decimal { values, .. } => values.truncate(len),
            Store::Date(v) => v.truncate(len),
            Store::Text(v) | Store::Json(v) | Store::Bytes(v) => v.truncate(len),
            Store::List { offsets, item } => {
                offsets.truncate(len + 1);
                item.truncate(offsets[len] as usize);
            }
            Store::Map { offsets, keys, values } => {
                offsets.truncate(len + 1);
                keys.truncate(offsets[len] as usize);
                values.truncate(offsets[len] as usize);
            }
            Store::Struct { fields, len: rows } => {
                fields.iter_mut().for_each(|f| f.truncate(len));
                *rows = len;
            }
        }
    }

    /// Hands over what has been collected, as an array of the field's type, and starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        let len = self.len();
        let nulls = self.take_nulls(len);
        let kind = self.field.data_type().clone();
        match &mut self.store {
            Store::Bool(v) => Arc::new(BooleanArray::new(std::mem::take(v).into(), nulls)),
            Store::Int { values, .. } => integers(take(values), nulls, &kind),
            Store::UInt64(v) => Arc::new(UInt64Array::new(take(v).into(), nulls)),
            Store::Float32(v) => Arc::new(Float32Array::new(take(v).into(), nulls)),
            Store::Float64(v) => Arc::new(Float64Array::new(take(v).into(), nulls)),
            Store::Decimal { values, .. } => {
                Arc::new(Decimal128Array::new(take(values).into(), nulls).with_data_type(kind))
            }
            Store::Timestamp { values, .. } => timestamps(take(values), nulls, &kind),
            Store::Date(v) => Arc::new(Date32Array::new(take(v).into(), nulls)),
            Store::Time { values, .. } => times(take(values), nulls, &kind),
            Store::Text(v) | Store::Json(v) => texts(v.take_text(nulls), &kind),
            Store::Bytes(v) => {
                let (offsets, data) = v.take();
                let array = BinaryArray::new(offsets, data.into(), nulls);
                match kind {
                    DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(array.iter())),
                    DataType::BinaryView => Arc::new(BinaryViewArray::from(&array)),
                    _ => Arc::new(array),
                }
            }
            Store::List { offsets, item } => {
                let offsets = offset_buffer(std::mem::replace(offsets, vec![0]));
                Arc::new(ListArray::new(Arc::clone(&item.field), offsets, item.finish(), nulls))
            }
            Store::Struct { fields, len: rows } => {
                *rows = 0;
                let (names, columns): (Vec<FieldRef>, Vec<ArrayRef>) =
                    fields.iter_mut().map(|f| (Arc::clone(&f.field), f.finish())).unzip();
                let array = StructArray::try_new_with_length(Fields::from(names), columns, nulls, len);
                Arc::new(array.expect("all fields have one value per row"))
            }
            Store::Map { offsets, keys, values } => {
                let DataType::Map(entries, sorted) = &kind else { unreachable!("a map store has a map type") };
                let DataType::Struct(pair) = entries.data_type() else { unreachable!("map entries are structs") };
                let offsets = offset_buffer(std::mem::replace(offsets, vec![0]));
                let keys = texts(keys.take_text(None), pair[0].data_type());
                let entries_array = StructArray::new(pair.clone(), vec![keys, values.finish()], None);
                Arc::new(MapArray::new(Arc::clone(entries), offsets, entries_array, nulls, *sorted))
            }
        }
    }

    fn take_nulls(&mut self, len: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut bits = BooleanBufferBuilder::new(len);
        bits.append_n(len, true);
        for row in self.nulls.drain(..) {
            bits.set_bit(row as usize, false);
        }
        Some(NullBuffer::new(bits.finish()))
    }
}

impl Store {
    fn new(field: &FieldRef, name: &str, depth: u32) -> Result<Store> {
        let ints = |min, max| Store::Int { values: Vec::new(), min, max };
        Ok(match field.data_type() {
            DataType::Boolean => Store::Bool(Vec::new()),
            DataType::Int8 => ints(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => ints(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => ints(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => ints(i64::MIN, i64::MAX),
            DataType::UInt8 => ints(0, u8::MAX.into()),
            DataType::UInt16 => ints(0, u16::MAX.into()),
            DataType::UInt32 => ints(0, u32::MAX.into()),
            DataType::UInt64 => Store::UInt64(Vec::new()),
            DataType::Float32 => Store::Float32(Vec::new()),
            DataType::Float64 => Store::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Store::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::Timestamp(unit, _) => {
                Store::Timestamp { values: Vec::new(), input: input_unit(field, name)?, unit: *unit }
            }
            DataType::Date32 => Store::Date(Vec::new()),
            DataType::Time32(unit) | DataType::Time64(unit) => Store::Time { values: Vec::new(), unit: *unit },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let json = field.metadata().get(JSON_METADATA).is_some_and(|v| v == "true");
                let runs = Runs::new(0, 0);
                if json { Store::Json(runs) } else { Store::Text(runs) }
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Store::Bytes(Runs::new(0, 0)),
            _ if depth >= DEPTH_MAX => return Err(unsupported(field, name)),
            DataType::List(item) => {
                let item = Column { name: name.to_owned(), ..Column::new(item, "", depth + 1)? };
                Store::List { offsets: vec![0], item: Box::new(item) }
            }
            DataType::Struct(fields) => {
                let prefix = format!("{name}.");
                let fields = fields.iter().map(|f| Column::new(f, &prefix, depth + 1)).collect::<Result<_>>()?;
                Store::Struct { fields, len: 0 }
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if is_text(pair[0].data_type()) => Store::Map {
                    offsets: vec![0],
                    keys: Runs::new(0, 0),
                    values: Box::new(Column { name: name.to_owned(), ..Column::new(&pair[1], "", depth + 1)? }),
                },
                _ => return Err(unsupported(field, name)),
            },
            _ => return Err(unsupported(field, name)),
        })
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn unsupported(field: &Field, name: &str) -> Problem {
    Problem::error("FORMAT-TYPE", format!("column `{name}` cannot be read from JSON"))
        .found(format!("type {}", field.data_type()))
        .expected("one of bool, integers, float32, float64, decimal, string, bytes, date, time, timestamp, json, list, map with string keys, struct")
}

fn input_unit(field: &Field, name: &str) -> Result<Option<TimeUnit>> {
    let Some(unit) = field.metadata().get(TIME_UNIT_METADATA) else { return Ok(None) };
    match unit.as_str() {
        "s" => Ok(Some(TimeUnit::Second)),
        "ms" => Ok(Some(TimeUnit::Millisecond)),
        "us" => Ok(Some(TimeUnit::Microsecond)),
        "ns" => Ok(Some(TimeUnit::Nanosecond)),
        other => Err(Problem::error("FORMAT-TYPE", format!("column `{name}` has an unknown time unit"))
            .found(format!("`{other}`"))
            .expected("one of s, ms, us, ns")),
    }
}

/// The values, leaving room for as many behind.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let fresh = Vec::with_capacity(values.len());
    std::mem::replace(values, fresh)
}

fn integers(values: Vec<i64>, nulls: Option<NullBuffer>, kind: &DataType) -> ArrayRef {
    // The range was checked value by value.
    macro_rules! narrow {
        ($array:ty, $native:ty) => {
            Arc::new(<$array>::new(values.iter().map(|&v| v as $native).collect(), nulls))
        };
    }
    match kind {
        DataType::Int8 => narrow!(Int8Array, i8),
        DataType::Int16 => narrow!(Int16Array, i16),
        DataType::Int32 => narrow!(Int32Array, i32),
        DataType::UInt8 => narrow!(UInt8Array, u8),
        DataType::UInt16 => narrow!(UInt16Array, u16),
        DataType::UInt32 => narrow!(UInt32Array, u32),
        _ => Arc::new(Int64Array::new(values.into(), nulls)),
    }
}

fn timestamps(values: Vec<i64>, nulls: Option<NullBuffer>, kind: &DataType) -> ArrayRef {
    let DataType::Timestamp(unit, zone) = kind else { unreachable!("a timestamp store has a timestamp type") };
    let zone = zone.clone();
    match unit {
        TimeUnit::Second => Arc::new(TimestampSecondArray::new(values.into(), nulls).with_timezone_opt(zone)),
        TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::new(values.into(), nulls).with_timezone_opt(zone)),
        TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone)),
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::new(values.into(), nulls).with_timezone_opt(zone)),
    }
}

fn times(values: Vec<i64>, nulls: Option<NullBuffer>, kind: &DataType) -> ArrayRef {
    match kind {
        // A time of day in these units fits 32 bits.
        DataType::Time32(TimeUnit::Second) => {
            Arc::new(Time32SecondArray::new(values.iter().map(|&v| v as i32).collect(), nulls))
        }
        DataType::Time32(_) => Arc::new(Time32MillisecondArray::new(values.iter().map(|&v| v as i32).collect(), nulls)),
        DataType::Time64(TimeUnit::Nanosecond) => Arc::new(Time64NanosecondArray::new(values.into(), nulls)),
        _ => Arc::new(Time64MicrosecondArray::new(values.into(), nulls)),
    }
}

fn texts(array: StringArray, kind: &DataType) -> ArrayRef {
    match kind {
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(array.iter())),
        DataType::Utf8View => Arc::new(StringViewArray::from(&array)),
        _ => Arc::new(array),
    }
}
