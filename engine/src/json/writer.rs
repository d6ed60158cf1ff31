//! One column of a batch, ready to be written row by row.

use super::JSON_METADATA;
use super::scalar::{write_date, write_string, write_time, write_timestamp};
use arrow::array::cast::AsArray;
use arrow::array::*;
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// One column of a batch that writes the JSON text of its values, row by row.
pub struct Writer<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Bool(&'a BooleanBuffer),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedBinary(&'a FixedSizeBinaryArray),
    Date32(&'a [i32]),
    Date64(&'a [i64]),
    Time32(&'a [i32], TimeUnit),
    Time64(&'a [i64], TimeUnit),
    Timestamp(&'a [i64], TimeUnit),
    Decimal32(&'a Decimal32Array),
    Decimal64(&'a Decimal64Array),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    /// Strings that are JSON already.
    Json(Box<Values<'a>>),
    List(&'a [i32], Box<Writer<'a>>),
    LargeList(&'a [i64], Box<Writer<'a>>),
    FixedList(usize, Box<Writer<'a>>),
    Struct(Vec<Vec<u8>>, Vec<Writer<'a>>),
    Map(&'a [i32], Box<Writer<'a>>, Box<Writer<'a>>),
    Dictionary(Vec<usize>, Box<Writer<'a>>),
    /// A type without a JSON form; only [`super::row_json`] comes here.
    Other(&'a dyn Array),
}

/// What stands before each value of an object: `{"a":`, then `,"b":`, …
pub(super) fn prefixes<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Vec<u8>> {
    names
        .enumerate()
        .map(|(i, name)| {
            let mut prefix = vec![if i == 0 { b'{' } else { b',' }];
            write_string(name.as_bytes(), &mut prefix);
            prefix.push(b':');
            prefix
        })
        .collect()
}

impl<'a> Writer<'a> {
    /// A writer for the rows of `array`, whose metadata is in `field`.
    pub fn of(array: &'a dyn Array, field: &Field) -> Writer<'a> {
        let mut values = Values::of(array);
        if field.metadata().get(JSON_METADATA).is_some_and(|v| v == "true") {
            values = Values::Json(Box::new(values));
        }
        Writer { nulls: array.nulls(), values }
    }

    /// Appends the value of one row.
    ///
    /// # Panics
    /// When the column has no such row.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_some_and(|n| n.is_null(row)) {
            out.extend_from_slice(b"null");
        } else {
            self.values.write(row, out);
        }
    }

    /// Writes the elements `from..to` as an array.
    fn write_list(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for row in from..to {
            if row > from {
                out.push(b',');
            }
            self.write(row, out);
        }
        out.push(b']');
    }

    /// Writes a value where JSON wants a string: the key of a map.
    fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.write(row, out);
        if out.get(start) != Some(&b'"') {
            let text = out.split_off(start);
            write_string(&text, out);
        }
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Values<'a> {
        match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().values()),
            DataType::Int8 => Values::I8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Values::I16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Values::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Values::I64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Values::U8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Values::U16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Values::U32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Values::U64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Values::F32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::F64(array.as_primitive::<Float64Type>().values()),
            DataType::Utf8 => Values::Utf8(array.as_string()),
            DataType::LargeUtf8 => Values::LargeUtf8(array.as_string()),
            DataType::Utf8View => Values::Utf8View(array.as_string_view()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::LargeBinary => Values::LargeBinary(array.as_binary()),
            DataType::BinaryView => Values::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Values::FixedBinary(array.as_fixed_size_binary()),
            DataType::Date32 => Values::Date32(array.as_primitive::<Date32Type>().values()),
            DataType::Date64 => Values::Date64(array.as_primitive::<Date64Type>().values()),
            DataType::Time32(TimeUnit::Second) => {
                Values::Time32(array.as_primitive::<Time32SecondType>().values(), TimeUnit::Second)
            }
            DataType::Time32(unit) => Values::Time32(array.as_primitive::<Time32MillisecondType>().values(), *unit),
            DataType::Time64(TimeUnit::Nanosecond) => {
                Values::Time64(array.as_primitive::<Time64NanosecondType>().values(), TimeUnit::Nanosecond)
            }
            DataType::Time64(unit) => Values::Time64(array.as_primitive::<Time64MicrosecondType>().values(), *unit),
            DataType::Timestamp(unit, _) => Values::Timestamp(timestamps(array, *unit), *unit),
            DataType::Decimal32(..) => Values::Decimal32(array.as_primitive()),
            DataType::Decimal64(..) => Values::Decimal64(array.as_primitive()),
            DataType::Decimal128(..) => Values::Decimal128(array.as_primitive()),
            DataType::Decimal256(..) => Values::Decimal256(array.as_primitive()),
            _ => Values::nested(array),
        }
    }

    fn nested(array: &'a dyn Array) -> Values<'a> {
        match array.data_type() {
            DataType::List(field) => {
                let list = array.as_list::<i32>();
                Values::List(list.value_offsets(), Box::new(Writer::of(list.values().as_ref(), field)))
            }
            DataType::LargeList(field) => {
                let list = array.as_list::<i64>();
                Values::LargeList(list.value_offsets(), Box::new(Writer::of(list.values().as_ref(), field)))
            }
            DataType::FixedSizeList(field, size) => {
                let values = Writer::of(array.as_fixed_size_list().values().as_ref(), field);
                Values::FixedList(usize::try_from(*size).unwrap_or(0), Box::new(values))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let writers = columns.iter().zip(fields).map(|(c, f)| Writer::of(c.as_ref(), f)).collect();
                Values::Struct(prefixes(fields.iter().map(|f| f.name().as_str())), writers)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (key_field, value_field) = map.entries_fields();
                Values::Map(
                    map.value_offsets(),
                    Box::new(Writer::of(map.keys().as_ref(), key_field)),
                    Box::new(Writer::of(map.values().as_ref(), value_field)),
                )
            }
            DataType::Dictionary(_, values) => {
                let dictionary = array.as_any_dictionary();
                if dictionary.values().is_empty() {
                    return Values::Null;
                }
                let field = Field::new("", values.as_ref().clone(), true);
                let values = Writer::of(dictionary.values().as_ref(), &field);
                Values::Dictionary(dictionary.normalized_keys(), Box::new(values))
            }
            _ => Values::Other(array),
        }
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Values::I64(v) => integer(v[row], out),
            Values::Utf8(v) => write_string(v.value(row).as_bytes(), out),
            Values::F64(v) => float(v[row], v[row].is_finite(), out),
            Values::Timestamp(v, unit) => quoted(out, |out| write_timestamp(v[row], *unit, out)),
            Values::I8(v) => integer(v[row], out),
            Values::I16(v) => integer(v[row], out),
            Values::I32(v) => integer(v[row], out),
            Values::U8(v) => integer(v[row], out),
            Values::U16(v) => integer(v[row], out),
            Values::U32(v) => integer(v[row], out),
            Values::U64(v) => integer(v[row], out),
            Values::Bool(v) => out.extend_from_slice(if v.value(row) { b"true" } else { b"false" }),
            Values::Utf8View(v) => write_string(v.value(row).as_bytes(), out),
            Values::LargeUtf8(v) => write_string(v.value(row).as_bytes(), out),
            _ => self.write_rare(row, out),
        }
    }

    #[inline(never)]
    fn write_rare(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Values::F32(v) => float(v[row], v[row].is_finite(), out),
            Values::Binary(v) => base64(v.value(row), out),
            Values::LargeBinary(v) => base64(v.value(row), out),
            Values::BinaryView(v) => base64(v.value(row), out),
            Values::FixedBinary(v) => base64(v.value(row), out),
            Values::Date32(v) => quoted(out, |out| write_date(v[row], out)),
            Values::Date64(v) => {
                let days = v[row].div_euclid(86_400_000);
                quoted(out, |out| write_date(i32::try_from(days).unwrap_or(i32::MAX), out));
            }
            Values::Time32(v, unit) => quoted(out, |out| write_time(i64::from(v[row]), *unit, out)),
            Values::Time64(v, unit) => quoted(out, |out| write_time(v[row], *unit, out)),
            Values::Decimal32(v) => out.extend_from_slice(v.value_as_string(row).as_bytes()),
            Values::Decimal64(v) => out.extend_from_slice(v.value_as_string(row).as_bytes()),
            Values::Decimal128(v) => out.extend_from_slice(v.value_as_string(row).as_bytes()),
            Values::Decimal256(v) => out.extend_from_slice(v.value_as_string(row).as_bytes()),
            Values::Json(v) => json(v, row, out),
            Values::List(offsets, values) => {
                values.write_list(offsets[row] as usize, offsets[row + 1] as usize, out);
            }
            Values::LargeList(offsets, values) => {
                values.write_list(offsets[row] as usize, offsets[row + 1] as usize, out);
            }
            Values::FixedList(size, values) => values.write_list(row * size, (row + 1) * size, out),
            Values::Struct(prefixes, writers) => super::write_row(prefixes, writers, row, None, out),
            Values::Map(offsets, keys, values) => {
                out.push(b'{');
                for entry in offsets[row] as usize..offsets[row + 1] as usize {
                    if entry > offsets[row] as usize {
                        out.push(b',');
                    }
                    keys.write_key(entry, out);
                    out.push(b':');
                    values.write(entry, out);
                }
                out.push(b'}');
            }
            Values::Dictionary(keys, values) => values.write(keys[row], out),
            Values::Other(array) => write_string(format!("{:?}", array.slice(row, 1)).as_bytes(), out),
            _ => out.extend_from_slice(b"null"),
        }
    }
}

fn timestamps(array: &dyn Array, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
    }
}

#[inline]
fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn float(value: impl zmij::Float, finite: bool, out: &mut Vec<u8>) {
    if finite {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

#[inline]
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    let mut text = String::new();
    BASE64.encode_string(bytes, &mut text);
    quoted(out, |out| out.extend_from_slice(text.as_bytes()));
}

/// Text that says it is JSON is checked once more, since a line of output must never be broken by it;
/// what does not parse is written as a string. Line ends between its tokens become spaces.
fn json(values: &Values<'_>, row: usize, out: &mut Vec<u8>) {
    let text = match values {
        Values::Utf8(v) => v.value(row),
        Values::LargeUtf8(v) => v.value(row),
        Values::Utf8View(v) => v.value(row),
        other => return other.write(row, out),
    };
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return write_string(text.as_bytes(), out);
    }
    out.extend(text.bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
}
