//! Rows as structs: [`Row`], and the macro [`row!`](crate::row) that implements it column by column.

use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use std::sync::Arc;
use std::time::Duration;

/// A point in event time: microseconds since the Unix epoch, UTC; a timestamp column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl std::ops::Add<Duration> for Micros {
    type Output = Micros;
    fn add(self, by: Duration) -> Micros {
        Micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Micros {
    type Output = Micros;
    fn sub(self, by: Duration) -> Micros {
        Micros(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<Micros> for i64 {
    fn from(at: Micros) -> i64 {
        at.0
    }
}

/// A struct that can be a row of a stream; [`row!`](crate::row) implements it.
pub trait Row: Sized + Send + 'static {
    /// One column per field, in the order of the fields.
    fn schema() -> SchemaRef;
    /// These rows as columns.
    fn to_batch(rows: &[Self]) -> RecordBatch;
    /// The rows of a batch. Columns are found by name; those that the struct does not have are left out.
    ///
    /// # Errors
    /// `ROW-COLUMN` where a column is missing, `ROW-TYPE` where it has another type, `ROW-NULL` where it
    /// holds a NULL and the field is not an `Option`.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>>;
}

/// A type whose values stand in a column: `i64`, `f64`, `bool`, `String` and [`Micros`].
pub trait Value: Sized + Send + 'static {
    /// The column as Arrow keeps it.
    type Array: Array + Clone;
    /// The type of the column.
    fn data_type() -> DataType;
    /// A column of these values.
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef;
    /// The column, as the type that [`Value::data_type`] says.
    fn array(column: &ArrayRef) -> Self::Array;
    /// The value of a row that is not NULL.
    fn get(array: &Self::Array, row: usize) -> Self;
}

/// The type of a struct's field: a [`Value`], or an `Option` of one.
pub trait Field: Sized + Send + 'static {
    /// The value within.
    type Value: Value;
    /// True for an `Option`.
    const NULLABLE: bool;
    /// What stands in the column; `None` = NULL.
    fn value(&self) -> Option<&Self::Value>;
    /// The field of one row.
    fn read(array: &<Self::Value as Value>::Array, row: usize) -> Self;
    /// The column of this field in the schema.
    fn field(name: &str) -> arrow::datatypes::Field {
        arrow::datatypes::Field::new(name, Self::Value::data_type(), Self::NULLABLE)
    }
}

impl<T: Value> Field for Option<T> {
    type Value = T;
    const NULLABLE: bool = true;
    fn value(&self) -> Option<&T> {
        self.as_ref()
    }
    fn read(array: &T::Array, row: usize) -> Self {
        array.is_valid(row).then(|| T::get(array, row))
    }
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Field for $type {
            type Value = $type;
            const NULLABLE: bool = false;
            fn value(&self) -> Option<&$type> {
                Some(self)
            }
            fn read(array: &<$type as Value>::Array, row: usize) -> Self {
                <$type as Value>::get(array, row)
            }
        }
    )*};
}
plain!(i64, f64, bool, String, Micros);

impl Value for i64 {
    type Array = Int64Array;
    fn data_type() -> DataType {
        DataType::Int64
    }
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef {
        let mut column = Int64Builder::with_capacity(values.len());
        values.for_each(|v| column.append_option(v.copied()));
        Arc::new(column.finish())
    }
    fn array(column: &ArrayRef) -> Int64Array {
        column.as_primitive::<Int64Type>().clone()
    }
    fn get(array: &Int64Array, row: usize) -> i64 {
        array.value(row)
    }
}

impl Value for f64 {
    type Array = Float64Array;
    fn data_type() -> DataType {
        DataType::Float64
    }
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef {
        let mut column = Float64Builder::with_capacity(values.len());
        values.for_each(|v| column.append_option(v.copied()));
        Arc::new(column.finish())
    }
    fn array(column: &ArrayRef) -> Float64Array {
        column.as_primitive::<Float64Type>().clone()
    }
    fn get(array: &Float64Array, row: usize) -> f64 {
        array.value(row)
    }
}

impl Value for bool {
    type Array = BooleanArray;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef {
        let mut column = BooleanBuilder::with_capacity(values.len());
        values.for_each(|v| column.append_option(v.copied()));
        Arc::new(column.finish())
    }
    fn array(column: &ArrayRef) -> BooleanArray {
        column.as_boolean().clone()
    }
    fn get(array: &BooleanArray, row: usize) -> bool {
        array.value(row)
    }
}

impl Value for String {
    type Array = StringArray;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef {
        let mut column = StringBuilder::with_capacity(values.len(), 0);
        values.for_each(|v| column.append_option(v));
        Arc::new(column.finish())
    }
    fn array(column: &ArrayRef) -> StringArray {
        column.as_string::<i32>().clone()
    }
    fn get(array: &StringArray, row: usize) -> String {
        array.value(row).to_owned()
    }
}

impl Value for Micros {
    type Array = TimestampMicrosecondArray;
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }
    fn build<'a>(values: impl ExactSizeIterator<Item = Option<&'a Self>>) -> ArrayRef {
        let column: TimestampMicrosecondArray = values.map(|v| v.map(|m| m.0)).collect();
        Arc::new(column.with_timezone("UTC"))
    }
    fn array(column: &ArrayRef) -> TimestampMicrosecondArray {
        column.as_primitive::<TimestampMicrosecondType>().clone()
    }
    fn get(array: &TimestampMicrosecondArray, row: usize) -> Micros {
        Micros(array.value(row))
    }
}

/// The column named `name`, as the field's type has it.
///
/// Other encodings of a string and other units of a timestamp are converted; no other type is.
///
/// # Errors
/// As [`Row::from_batch`].
pub fn column<F: Field>(batch: &RecordBatch, name: &str) -> Result<<F::Value as Value>::Array> {
    let wanted = F::Value::data_type();
    let column = batch.column_by_name(name).ok_or_else(|| {
        Problem::error("ROW-COLUMN", format!("the rows have no column `{name}`"))
            .found(crate::plan::describe(&batch.schema()))
            .expected(format!("{name}: {wanted}"))
    })?;
    if !F::NULLABLE && column.null_count() > 0 {
        return Err(Problem::error("ROW-NULL", format!("the column `{name}` holds a NULL"))
            .expected("a value in every row")
            .help("make the field an Option"));
    }
    if *column.data_type() == wanted {
        return Ok(F::Value::array(column));
    }
    let found = column.data_type();
    let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..));
    if !(is_text(found) && is_text(&wanted) || is_time(found) && is_time(&wanted)) {
        return Err(Problem::error("ROW-TYPE", format!("the column `{name}` has another type than the field"))
            .found(found.to_string())
            .expected(wanted.to_string()));
    }
    let cast = cast(column, &wanted).map_err(|e| {
        Problem::error("ROW-TYPE", format!("the column `{name}` cannot be converted: {e}")).expected(wanted.to_string())
    })?;
    Ok(F::Value::array(&cast))
}

/// Declares a struct and implements [`Row`](crate::typed::Row) for it.
///
/// Fields are `i64`, `f64`, `bool`, `String`, [`Micros`](crate::typed::Micros), or an `Option` of one of
/// these. Attributes, documentation and visibility stay as written.
///
/// ```
/// use millstream::typed::{Micros, Row};
///
/// millstream::row! {
///     /// A reading of a sensor.
///     #[derive(Clone, Debug, PartialEq)]
///     pub struct Reading {
///         /// Which sensor.
///         pub device: String,
///         /// NULL where the sensor has failed.
///         pub celsius: Option<f64>,
///         pub at: Micros,
///     }
/// }
///
/// let rows = vec![Reading { device: "a".into(), celsius: None, at: Micros(1_000_000) }];
/// assert_eq!(Reading::from_batch(&Reading::to_batch(&rows)).unwrap(), rows);
/// ```
#[macro_export]
macro_rules! row {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }

        impl $crate::typed::Row for $name {
            fn schema() -> $crate::arrow::datatypes::SchemaRef {
                static SCHEMA: ::std::sync::OnceLock<$crate::arrow::datatypes::SchemaRef> = ::std::sync::OnceLock::new();
                ::std::sync::Arc::clone(SCHEMA.get_or_init(|| {
                    ::std::sync::Arc::new($crate::arrow::datatypes::Schema::new(::std::vec![
                        $(<$type as $crate::typed::Field>::field(::core::stringify!($field).trim_start_matches("r#"))),+
                    ]))
                }))
            }
            fn to_batch(rows: &[Self]) -> $crate::arrow::array::RecordBatch {
                let columns = ::std::vec![$(
                    <<$type as $crate::typed::Field>::Value as $crate::typed::Value>::build(
                        rows.iter().map(|row| $crate::typed::Field::value(&row.$field))
                    )
                ),+];
                $crate::batch::record_batch(<Self as $crate::typed::Row>::schema(), columns, rows.len())
            }
            fn from_batch(batch: &$crate::arrow::array::RecordBatch) -> $crate::Result<::std::vec::Vec<Self>> {
                $(let $field = $crate::typed::column::<$type>(batch, ::core::stringify!($field).trim_start_matches("r#"))?;)+
                ::core::result::Result::Ok((0..batch.num_rows()).map(|row| Self {
                    $($field: <$type as $crate::typed::Field>::read(&$field, row)),+
                }).collect())
            }
        }
    };
}
