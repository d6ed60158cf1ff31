//! From JSON text to a value of a column.

use super::scan::{Fault, Parse, Scan, Span};
use crate::format::column::{Column, Store};
use crate::format::instant;
use crate::format::number::{Scaled, decimal};
use arrow::datatypes::TimeUnit;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::borrow::Cow;

/// Reads the value at `scan` into `column`; `depth` containers are open around it. After a fault the
/// column may hold part of the row: the caller takes it back.
#[inline]
pub(in crate::format) fn read(column: &mut Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    if scan.peek() == b'n' {
        return read_null(column, scan);
    }
    let start = scan.at;
    match &mut column.store {
        Store::Int { values, min, max } => match scan.integer() {
            Some(value) if value >= *min && value <= *max => {
                values.push(value);
                Ok(())
            }
            Some(_) => range(scan, start, column),
            None => {
                let value = read_integer(column, scan)?;
                push_integer(column, value);
                Ok(())
            }
        },
        Store::Text(runs) => {
            if scan.peek() != b'"' {
                return mismatch(column, scan, depth);
            }
            let span = scan.string()?;
            if span.escaped {
                scan.unescape(span, &mut runs.data)?;
                runs.close();
            } else {
                runs.push(&scan.data[span.from..span.to]);
            }
            Ok(())
        }
        Store::Timestamp { values, input: Some(input), unit } if matches!(scan.peek(), b'-' | b'0'..=b'9') => {
            let value = match scan.integer() {
                Some(value) => convert(value, *input, *unit),
                None => scaled_time(scan.number()?, *input, *unit),
            };
            match value {
                Some(value) => {
                    values.push(value);
                    Ok(())
                }
                None => range(scan, start, column),
            }
        }
        _ => read_rare(column, scan, depth),
    }
}

#[inline(never)]
fn read_rare(column: &mut Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    match (&column.store, scan.peek()) {
        (Store::Bool(_), b't' | b'f') => read_bool(column, scan),
        (Store::UInt64(_) | Store::Float32(_) | Store::Float64(_) | Store::Decimal { .. }, b'-' | b'0'..=b'9') => {
            read_number(column, scan)
        }
        (Store::Decimal { .. }, b'"') => {
            let start = scan.at;
            let text = text(scan)?;
            push_decimal(column, scan, start, &text)
        }
        (Store::Timestamp { .. } | Store::Date(_) | Store::Time { .. } | Store::Bytes(_), b'"') => {
            read_formatted(column, scan)
        }
        (Store::Json(_), _) => {
            let start = scan.at;
            scan.skip(depth)?;
            let Store::Json(runs) = &mut column.store else { unreachable!("looked at above") };
            runs.push(&scan.data[start..scan.at]);
            Ok(())
        }
        (Store::List { .. }, b'[') => read_list(column, scan, depth + 1),
        (Store::Struct { .. }, b'{') => read_struct(column, scan, depth + 1),
        (Store::Map { .. }, b'{') => read_map(column, scan, depth + 1),
        _ => mismatch(column, scan, depth),
    }
}

fn read_null(column: &mut Column, scan: &mut Scan<'_>) -> Parse {
    let at = scan.at;
    scan.literal(b"null")?;
    if !column.field.is_nullable() {
        let message = format!("field `{}`: found null, expected {}", column.name, type_name(column));
        return Err(Box::new(Fault { code: "JSON-MISSING", at, message }));
    }
    column.push_null();
    Ok(())
}

fn read_bool(column: &mut Column, scan: &mut Scan<'_>) -> Parse {
    let value = scan.peek() == b't';
    scan.literal(if value { b"true" } else { b"false" })?;
    let Store::Bool(values) = &mut column.store else { unreachable!("called for booleans") };
    values.push(value);
    Ok(())
}

/// An integer that is not plain: 19 digits and more, a fraction, an exponent.
fn read_integer(column: &Column, scan: &mut Scan<'_>) -> Parse<i64> {
    if !matches!(scan.peek(), b'-' | b'0'..=b'9') {
        mismatch(column, scan, 0)?;
    }
    let Store::Int { min, max, .. } = column.store else { unreachable!("called for integers") };
    let start = scan.at;
    let text = scan.number()?;
    match decimal(text, 0) {
        Some(Scaled { exact: false, .. }) => wrong(scan, start, column),
        Some(Scaled { value, .. }) if value >= i128::from(min) && value <= i128::from(max) => Ok(value as i64),
        _ => range(scan, start, column),
    }
}

fn push_integer(column: &mut Column, value: i64) {
    let Store::Int { values, .. } = &mut column.store else { unreachable!("called for integers") };
    values.push(value);
}

fn read_number(column: &mut Column, scan: &mut Scan<'_>) -> Parse {
    let start = scan.at;
    let text = scan.number()?;
    let ascii = || std::str::from_utf8(text).expect("a number is ASCII");
    let fits = match &mut column.store {
        Store::Float64(values) => {
            let value: f64 = ascii().parse().expect("JSON numbers are numbers for Rust");
            values.push(value);
            value.is_finite()
        }
        Store::Float32(values) => {
            let value: f32 = ascii().parse().expect("JSON numbers are numbers for Rust");
            values.push(value);
            value.is_finite()
        }
        Store::UInt64(values) => match decimal(text, 0) {
            Some(Scaled { exact: false, .. }) => return wrong(scan, start, column),
            Some(Scaled { value, .. }) => u64::try_from(value).map(|v| values.push(v)).is_ok(),
            None => false,
        },
        _ => return push_decimal(column, scan, start, text),
    };
    if fits {
        return Ok(());
    }
    range(scan, start, column)
}

fn push_decimal(column: &mut Column, scan: &Scan<'_>, start: usize, text: &[u8]) -> Parse {
    let Store::Decimal { values, precision, scale } = &mut column.store else { unreachable!("called for decimals") };
    match decimal(text, i32::from(*scale)) {
        Some(Scaled { value, exact: true }) if value.unsigned_abs() < 10u128.pow(u32::from(*precision)) => {
            values.push(value);
            Ok(())
        }
        _ => range(scan, start, column),
    }
}

/// Values that stand as text: time points, dates, times, bytes.
fn read_formatted(column: &mut Column, scan: &mut Scan<'_>) -> Parse {
    let start = scan.at;
    let text = text(scan)?;
    if push_formatted(column, &text) { Ok(()) } else { wrong(scan, start, column) }
}

/// Adds a value that stands as text; false if the text is none.
pub(in crate::format) fn push_formatted(column: &mut Column, text: &[u8]) -> bool {
    let in_unit = |(seconds, rest): (i64, u32), unit: TimeUnit| {
        let whole = convert(seconds, TimeUnit::Second, unit)?;
        whole.checked_add(convert(i64::from(rest), TimeUnit::Nanosecond, unit)?)
    };
    match &mut column.store {
        Store::Timestamp { values, unit, .. } => {
            instant::timestamp(text).and_then(|t| in_unit(t, *unit)).map(|v| values.push(v)).is_some()
        }
        Store::Date(values) => instant::date(text).map(|v| values.push(v)).is_some(),
        Store::Time { values, unit } => {
            instant::time(text).and_then(|t| in_unit(t, *unit)).map(|v| values.push(v)).is_some()
        }
        Store::Bytes(runs) => BASE64.decode_vec(text, &mut runs.data).is_ok_and(|()| {
            runs.close();
            true
        }),
        _ => unreachable!("called for values that stand as text"),
    }
}

fn read_list(column: &mut Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    scan.check_depth(depth)?;
    let Store::List { offsets, item } = &mut column.store else { unreachable!("called for lists") };
    if !scan.empty(b']') {
        loop {
            read(item, scan, depth)?;
            if !scan.more(b']')? {
                break;
            }
        }
    }
    offsets.push(item.len() as i32);
    Ok(())
}

fn read_struct(column: &mut Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    scan.check_depth(depth)?;
    let Store::Struct { fields, len } = &mut column.store else { unreachable!("called for structs") };
    let (mut next, mut scratch) = (0, Vec::new());
    if !scan.empty(b'}') {
        loop {
            let at = scan.at;
            let span = scan.key()?;
            let key = resolved(scan, span, &mut scratch)?;
            // Mostly the field that follows the last one.
            let index = match fields.get(next) {
                Some(f) if f.field.name().as_bytes() == key => Some(next),
                _ => fields.iter().position(|f| f.field.name().as_bytes() == key),
            };
            match index {
                None => scan.skip(depth)?,
                Some(i) if fields[i].len() > *len => return duplicate(at, &fields[i].name),
                Some(i) => {
                    read(&mut fields[i], scan, depth)?;
                    next = i + 1;
                }
            }
            if !scan.more(b'}')? {
                break;
            }
        }
    }
    for field in fields.iter_mut().filter(|f| f.len() == *len) {
        missing(field, scan.at)?;
    }
    *len += 1;
    Ok(())
}

fn read_map(column: &mut Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    scan.check_depth(depth)?;
    let Store::Map { offsets, keys, values } = &mut column.store else { unreachable!("called for maps") };
    if !scan.empty(b'}') {
        loop {
            let span = scan.key()?;
            scan.unescape(span, &mut keys.data)?;
            keys.close();
            read(values, scan, depth)?;
            if !scan.more(b'}')? {
                break;
            }
        }
    }
    offsets.push(keys.len() as i32);
    Ok(())
}

/// Adds a null for a field that the record does not have.
pub(in crate::format) fn missing(column: &mut Column, at: usize) -> Parse {
    if !column.field.is_nullable() {
        let message = format!("field `{}` is missing, expected {}", column.name, type_name(column));
        return Err(Box::new(Fault { code: "JSON-MISSING", at, message }));
    }
    column.push_null();
    Ok(())
}

#[cold]
pub(in crate::format) fn duplicate<T>(at: usize, name: &str) -> Parse<T> {
    Err(Box::new(Fault { code: "JSON-DUPLICATE", at, message: format!("field `{name}` comes twice") }))
}

/// The text of a string with escapes resolved.
pub(in crate::format) fn resolved<'s>(scan: &Scan<'s>, span: Span, scratch: &'s mut Vec<u8>) -> Parse<&'s [u8]> {
    if !span.escaped {
        return Ok(&scan.data[span.from..span.to]);
    }
    scratch.clear();
    scan.unescape(span, scratch)?;
    Ok(scratch)
}

fn text<'a>(scan: &mut Scan<'a>) -> Parse<Cow<'a, [u8]>> {
    let span = scan.string()?;
    if !span.escaped {
        return Ok(Cow::Borrowed(&scan.data[span.from..span.to]));
    }
    let mut text = Vec::new();
    scan.unescape(span, &mut text)?;
    Ok(Cow::Owned(text))
}

/// Between units of time, cut towards the past.
#[inline]
fn convert(value: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let (from, to) = (nanos(from), nanos(to));
    if from >= to { value.checked_mul(from / to) } else { Some(value.div_euclid(to / from)) }
}

/// A number with a fraction or an exponent as a time point.
fn scaled_time(text: &[u8], from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let digits = nanos(from).ilog10() as i32;
    let value = decimal(text, digits)?.value;
    i64::try_from(value.div_euclid(i128::from(nanos(to)))).ok()
}

#[inline]
fn nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The value is JSON of another type, or no JSON at all, which is then the better message.
#[cold]
fn mismatch(column: &Column, scan: &mut Scan<'_>, depth: u32) -> Parse {
    let start = scan.at;
    scan.skip(depth)?;
    wrong(scan, start, column)
}

/// The value from `start` to here has the wrong type.
#[cold]
fn wrong<T>(scan: &Scan<'_>, start: usize, column: &Column) -> Parse<T> {
    let message = format!("field `{}`: found {}, expected {}", column.name, found(scan, start), type_name(column));
    Err(Box::new(Fault { code: "JSON-TYPE", at: start, message }))
}

#[cold]
fn range<T>(scan: &Scan<'_>, start: usize, column: &Column) -> Parse<T> {
    let (found, expected) = (found(scan, start), type_name(column));
    let message = format!("field `{}`: found {found}, expected a value that fits {expected}", column.name);
    Err(Box::new(Fault { code: "JSON-RANGE", at: start, message }))
}

/// The value from `start` to here, for a message.
fn found(scan: &Scan<'_>, start: usize) -> String {
    let text = &scan.data[start..scan.at];
    let kind = match text.first() {
        Some(b'"') => "the string ",
        Some(b'{') => "the object ",
        Some(b'[') => "the list ",
        Some(b'-' | b'0'..=b'9') => "the number ",
        _ => "",
    };
    format!("{kind}{}", lossy(text))
}

/// At most 40 characters of a value.
pub(in crate::format) fn lossy(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The type as pipeline files spell it, with what it looks like in JSON.
pub(in crate::format) fn type_name(column: &Column) -> String {
    use arrow::datatypes::DataType::*;
    match column.field.data_type() {
        Boolean => "bool".to_owned(),
        Utf8 | LargeUtf8 | Utf8View => "string".to_owned(),
        Binary | LargeBinary | BinaryView => "bytes in base64".to_owned(),
        Date32 => "date such as \"2026-01-31\"".to_owned(),
        Time32(_) | Time64(_) => "time such as \"23:59:59\"".to_owned(),
        Timestamp(..) => match column.store {
            Store::Timestamp { input: Some(_), .. } => "timestamp (a number, or RFC 3339 text)".to_owned(),
            _ => "timestamp in RFC 3339 such as \"2026-01-31T23:59:59Z\"".to_owned(),
        },
        Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        List(_) => "list".to_owned(),
        Struct(_) => "struct".to_owned(),
        Map(..) => "map".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
