//! The types of pipeline files, as far as text can be turned into them, and that conversion.

use super::time_text::TimeFormat;
use super::{at_key, excerpt};
use arrow::datatypes::{DataType, Field, TimeUnit};
use millstream::Result;
use millstream_pipelines::types::{self, Type};
use std::borrow::Cow;

/// What a timestamp is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Text.
    Text,
    /// A whole number of these units since the Unix epoch.
    Number(TimeUnit),
}

/// The kinds of value a field can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text as it is.
    Text,
    /// `true`, `false`, `1`, `0`.
    Bool,
    /// A signed whole number of that many bits.
    Int(u8),
    /// An unsigned whole number of that many bits.
    Uint(u8),
    /// A floating-point number of that many bits.
    Float(u8),
    /// An exact number: digits, digits behind the point.
    Decimal(u8, u8),
    /// A calendar day.
    Date,
    /// A point in time.
    Timestamp(Stamp),
}

/// A field's declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// As it was written, for messages.
    pub name: String,
    /// What it means.
    pub kind: Kind,
    /// A `!` stood behind it: a row without a value is refused.
    pub required: bool,
}

/// A converted value on its way into a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// Text.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// A signed whole number; also days and microseconds since the Unix epoch.
    Int(i64),
    /// An unsigned whole number.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// An exact number, scaled.
    Decimal(i128),
}

impl Value<'_> {
    /// The same value, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::Uint(v) => Value::Uint(v),
            Value::Float(v) => Value::Float(v),
            Value::Decimal(v) => Value::Decimal(v),
        }
    }
}

impl FieldType {
    /// Text, may be null.
    pub fn text() -> FieldType {
        FieldType { name: "string".into(), kind: Kind::Text, required: false }
    }

    /// Reads a type name such as `int64`, `timestamp(ms)` or `decimal(10, 2)!`, found under the config
    /// key `field`.
    ///
    /// # Errors
    /// `TYPE-UNKNOWN` with the nearest name.
    pub fn read(field: &str, written: &str) -> Result<FieldType> {
        let name = written.trim();
        let unknown = |why: String| at_key("TYPE-UNKNOWN", field, why).found(excerpt(name));
        let parsed = types::FieldType::parse(name).map_err(|e| match e.help {
            Some(help) => unknown(e.what).help(help),
            None => unknown(e.what),
        })?;
        let kind = kind_of(&parsed.ty).ok_or_else(|| {
            unknown("text cannot become a value of this type".into())
                .expected("a whole or exact or floating-point number, bool, string, date or timestamp")
        })?;
        Ok(FieldType { name: name.into(), kind, required: !parsed.nullable })
    }

    /// The Arrow field of a column of this type.
    pub fn field(&self, name: &str) -> Field {
        Field::new(name, self.kind.data_type(), !self.required)
    }

    /// Converts text; `None` where it is not of this type.
    pub fn convert<'a>(&self, text: &'a str, times: &TimeFormat) -> Option<Value<'a>> {
        match self.kind {
            Kind::Text => Some(Value::Text(Cow::Borrowed(text))),
            Kind::Bool => match text {
                "true" | "TRUE" | "True" | "1" => Some(Value::Bool(true)),
                "false" | "FALSE" | "False" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::Int(bits) => fit_int(text.parse().ok()?, bits),
            Kind::Uint(bits) => fit_uint(text.parse().ok()?, bits),
            Kind::Float(_) => text.parse().ok().map(Value::Float),
            Kind::Decimal(precision, scale) => decimal(text, precision, scale).map(Value::Decimal),
            Kind::Date => times.date(text).map(Value::Int),
            Kind::Timestamp(Stamp::Text) => times.micros(text).map(Value::Int),
            Kind::Timestamp(Stamp::Number(unit)) => to_micros(text.parse().ok()?, unit).map(Value::Int),
        }
    }

    /// The message for text (or its absence) that is not of this type.
    pub fn refusal(&self, field: &str, found: Option<&str>) -> String {
        match found {
            Some(found) => format!("field `{field}`: found `{}`, expected {}", excerpt(found), self.name),
            None => format!("field `{field}`: found nothing, expected {}", self.name),
        }
    }
}

impl Kind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Bool => DataType::Boolean,
            Kind::Int(8) => DataType::Int8,
            Kind::Int(16) => DataType::Int16,
            Kind::Int(32) => DataType::Int32,
            Kind::Int(_) => DataType::Int64,
            Kind::Uint(8) => DataType::UInt8,
            Kind::Uint(16) => DataType::UInt16,
            Kind::Uint(32) => DataType::UInt32,
            Kind::Uint(_) => DataType::UInt64,
            Kind::Float(32) => DataType::Float32,
            Kind::Float(_) => DataType::Float64,
            Kind::Decimal(p, s) => DataType::Decimal128(p, i8::try_from(s).expect("scale is at most 38")),
            Kind::Date => DataType::Date32,
            Kind::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// What text of this type is turned into; `None` where text is not.
fn kind_of(ty: &Type) -> Option<Kind> {
    Some(match ty {
        Type::String => Kind::Text,
        Type::Bool => Kind::Bool,
        Type::Int8 => Kind::Int(8),
        Type::Int16 => Kind::Int(16),
        Type::Int32 => Kind::Int(32),
        Type::Int64 => Kind::Int(64),
        Type::UInt8 => Kind::Uint(8),
        Type::UInt16 => Kind::Uint(16),
        Type::UInt32 => Kind::Uint(32),
        Type::UInt64 => Kind::Uint(64),
        Type::Float32 => Kind::Float(32),
        Type::Float64 => Kind::Float(64),
        Type::Decimal { precision, scale } => Kind::Decimal(*precision, *scale),
        Type::Date => Kind::Date,
        Type::Timestamp(unit) => Kind::Timestamp(unit.map_or(Stamp::Text, |unit| {
            Stamp::Number(match unit {
                types::TimeUnit::Seconds => TimeUnit::Second,
                types::TimeUnit::Millis => TimeUnit::Millisecond,
                types::TimeUnit::Micros => TimeUnit::Microsecond,
                types::TimeUnit::Nanos => TimeUnit::Nanosecond,
            })
        })),
        Type::Bytes | Type::Time | Type::Json | Type::List(_) | Type::Map(_) | Type::Struct(_) => return None,
    })
}

/// `n` as a signed number of `bits` bits.
pub fn fit_int(n: i64, bits: u8) -> Option<Value<'static>> {
    let spare = 64 - u32::from(bits);
    ((n << spare) >> spare == n).then_some(Value::Int(n))
}

/// `n` as an unsigned number of `bits` bits.
pub fn fit_uint(n: u64, bits: u8) -> Option<Value<'static>> {
    (bits == 64 || n >> bits == 0).then_some(Value::Uint(n))
}

/// A number of units since the Unix epoch in microseconds; parts of a microsecond are cut off downwards.
pub fn to_micros(n: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => n.checked_mul(1_000_000),
        TimeUnit::Millisecond => n.checked_mul(1_000),
        TimeUnit::Microsecond => Some(n),
        TimeUnit::Nanosecond => Some(n.div_euclid(1_000)),
    }
}

/// A decimal number, scaled. No exponent, and no more digits behind the point than the scale has,
/// unless they are zero: nothing is rounded away.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part
        .get(usize::from(scale)..)
        .map_or(part, |rest| if rest.bytes().all(|b| b == b'0') { &part[..usize::from(scale)] } else { part });
    if whole.is_empty() && part.is_empty() || part.len() > usize::from(scale) {
        return None;
    }
    let zeros = usize::from(scale) - part.len();
    let mut n: i128 = 0;
    for digit in whole.bytes().chain(part.bytes()).chain(std::iter::repeat_n(b'0', zeros)) {
        if !digit.is_ascii_digit() {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    (n < 10i128.pow(u32::from(precision))).then_some(if negative { -n } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_type_names() {
        let read = |name| FieldType::read("types", name).map(|t| (t.kind, t.required));
        assert_eq!(read("int64"), Ok((Kind::Int(64), false)));
        assert_eq!(read(" string! "), Ok((Kind::Text, true)));
        assert_eq!(read("decimal(10, 2)"), Ok((Kind::Decimal(10, 2), false)));
        assert_eq!(read("timestamp(ms)!"), Ok((Kind::Timestamp(Stamp::Number(TimeUnit::Millisecond)), true)));
        for bad in
            ["int", "timestamp(min)", "decimal(39, 2)", "decimal(2, 3)", "decimal()", "", "list(int64)", "(", ")"]
        {
            assert_eq!(read(bad).unwrap_err().code, "TYPE-UNKNOWN", "{bad}");
        }
        assert_eq!(
            FieldType::read("types", "timestmp").unwrap_err().help.as_deref(),
            Some("did you mean `timestamp`?")
        );
    }

    #[test]
    fn converts_text() {
        let times = TimeFormat::default();
        let convert = |name: &str, text: &'static str| FieldType::read("types", name).unwrap().convert(text, &times);
        assert_eq!(convert("int8", "127"), Some(Value::Int(127)));
        assert_eq!(convert("int8", "-128"), Some(Value::Int(-128)));
        assert_eq!(convert("int8", "128"), None);
        assert_eq!(convert("int64", "9223372036854775808"), None);
        assert_eq!(convert("uint8", "256"), None);
        assert_eq!(convert("uint64", "18446744073709551615"), Some(Value::Uint(u64::MAX)));
        assert_eq!(convert("uint64", "-1"), None);
        assert_eq!(convert("float64", "1e3"), Some(Value::Float(1000.0)));
        assert_eq!(convert("bool", "yes"), None);
        assert_eq!(convert("decimal(5, 2)", "-12.3"), Some(Value::Decimal(-1230)));
        assert_eq!(convert("decimal(5, 2)", "12.300"), Some(Value::Decimal(1230)));
        assert_eq!(convert("decimal(5, 2)", "12.345"), None);
        assert_eq!(convert("decimal(5, 2)", "1000"), None);
        assert_eq!(convert("decimal(38, 0)", &"9".repeat(60).leak()[..]), None);
        for junk in ["", ".", "-", "1.2.3", "1e3", "٣"] {
            assert_eq!(convert("decimal(5, 2)", junk), None, "{junk}");
        }
        assert_eq!(convert("date", "1970-01-03"), Some(Value::Int(2)));
        assert_eq!(convert("timestamp", "1970-01-01T01:00:00.5+01:00"), Some(Value::Int(500_000)));
        assert_eq!(convert("timestamp(ms)", "-1"), Some(Value::Int(-1000)));
        assert_eq!(convert("timestamp(ns)", "-1"), Some(Value::Int(-1)));
        assert_eq!(convert("timestamp(s)", "9223372036854775807"), None);
    }
}
