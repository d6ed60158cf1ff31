//! Columns under construction, one per declared field.

use super::types::{FieldType, Kind, Value};
use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder,
    UInt32Builder, UInt64Builder,
};
use std::sync::Arc;

/// A column of one of the types that text can become.
#[derive(Debug)]
pub enum Column {
    /// Text.
    Text(StringBuilder),
    /// Truth values.
    Bool(BooleanBuilder),
    /// Whole numbers.
    Int8(Int8Builder),
    /// Whole numbers.
    Int16(Int16Builder),
    /// Whole numbers.
    Int32(Int32Builder),
    /// Whole numbers.
    Int64(Int64Builder),
    /// Whole numbers.
    Uint8(UInt8Builder),
    /// Whole numbers.
    Uint16(UInt16Builder),
    /// Whole numbers.
    Uint32(UInt32Builder),
    /// Whole numbers.
    Uint64(UInt64Builder),
    /// Numbers.
    Float32(Float32Builder),
    /// Numbers.
    Float64(Float64Builder),
    /// Exact numbers.
    Decimal(Decimal128Builder),
    /// Days.
    Date(Date32Builder),
    /// Points in time.
    Timestamp(TimestampMicrosecondBuilder),
}

/// Applies `$do` to the builder inside, whichever it is.
macro_rules! each {
    ($column:expr, $builder:ident => $do:expr) => {
        match $column {
            Column::Text($builder) => $do,
            Column::Bool($builder) => $do,
            Column::Int8($builder) => $do,
            Column::Int16($builder) => $do,
            Column::Int32($builder) => $do,
            Column::Int64($builder) => $do,
            Column::Uint8($builder) => $do,
            Column::Uint16($builder) => $do,
            Column::Uint32($builder) => $do,
            Column::Uint64($builder) => $do,
            Column::Float32($builder) => $do,
            Column::Float64($builder) => $do,
            Column::Decimal($builder) => $do,
            Column::Date($builder) => $do,
            Column::Timestamp($builder) => $do,
        }
    };
}

impl Column {
    /// An empty column of that type.
    pub fn new(of: &FieldType) -> Column {
        match of.kind {
            Kind::Text => Column::Text(StringBuilder::new()),
            Kind::Bool => Column::Bool(BooleanBuilder::new()),
            Kind::Int(8) => Column::Int8(Int8Builder::new()),
            Kind::Int(16) => Column::Int16(Int16Builder::new()),
            Kind::Int(32) => Column::Int32(Int32Builder::new()),
            Kind::Int(_) => Column::Int64(Int64Builder::new()),
            Kind::Uint(8) => Column::Uint8(UInt8Builder::new()),
            Kind::Uint(16) => Column::Uint16(UInt16Builder::new()),
            Kind::Uint(32) => Column::Uint32(UInt32Builder::new()),
            Kind::Uint(_) => Column::Uint64(UInt64Builder::new()),
            Kind::Float(32) => Column::Float32(Float32Builder::new()),
            Kind::Float(_) => Column::Float64(Float64Builder::new()),
            Kind::Decimal(..) => Column::Decimal(Decimal128Builder::new().with_data_type(of.kind.data_type())),
            Kind::Date => Column::Date(Date32Builder::new()),
            Kind::Timestamp(_) => Column::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// Adds a value.
    ///
    /// # Panics
    /// When it was not converted for this column's type.
    pub fn push(&mut self, value: Value<'_>) {
        const FITS: &str = "conversion checked the range";
        match (self, value) {
            (column, Value::Null) => each!(column, b => b.append_null()),
            (Column::Text(b), Value::Text(v)) => b.append_value(v),
            (Column::Bool(b), Value::Bool(v)) => b.append_value(v),
            (Column::Int8(b), Value::Int(v)) => b.append_value(i8::try_from(v).expect(FITS)),
            (Column::Int16(b), Value::Int(v)) => b.append_value(i16::try_from(v).expect(FITS)),
            (Column::Int32(b), Value::Int(v)) => b.append_value(i32::try_from(v).expect(FITS)),
            (Column::Int64(b), Value::Int(v)) => b.append_value(v),
            (Column::Uint8(b), Value::Uint(v)) => b.append_value(u8::try_from(v).expect(FITS)),
            (Column::Uint16(b), Value::Uint(v)) => b.append_value(u16::try_from(v).expect(FITS)),
            (Column::Uint32(b), Value::Uint(v)) => b.append_value(u32::try_from(v).expect(FITS)),
            (Column::Uint64(b), Value::Uint(v)) => b.append_value(v),
            #[allow(clippy::cast_possible_truncation)] // float32 was asked for
            (Column::Float32(b), Value::Float(v)) => b.append_value(v as f32),
            (Column::Float64(b), Value::Float(v)) => b.append_value(v),
            (Column::Decimal(b), Value::Decimal(v)) => b.append_value(v),
            (Column::Date(b), Value::Int(v)) => b.append_value(i32::try_from(v).expect(FITS)),
            (Column::Timestamp(b), Value::Int(v)) => b.append_value(v),
            (column, value) => unreachable!("{value:?} was not converted for {column:?}"),
        }
    }

    /// The column so far; begins anew.
    pub fn finish(&mut self) -> ArrayRef {
        each!(self, b => Arc::new(b.finish()))
    }
}
