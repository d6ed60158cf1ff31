//! Durations and sizes as people write them: a whole number and a unit, nothing else.

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use std::fmt;

/// Why a duration or size cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct UnitError {
    /// The fact.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// A length of time: `500ms`, `10s`, `1m`, `12h`, `30d`. Never negative, at most 36500d.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// A number of bytes: `512B`, `64KiB`, `256MiB`, `1GiB`, `2TiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A part of a whole: `5%`, `0.5%`. At most `100%`, in steps of a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

const DURATION_UNITS: [(&str, u64); 6] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
const DURATION_MAX: u64 = 36_500 * 86_400_000_000;
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const SIZE_MAX: u64 = 1 << 60;

impl Duration {
    /// The form, for messages.
    pub const EXPECTED: &'static str = "a duration such as 500ms, 10s, 1m, 12h or 30d";
    /// Nothing.
    pub const ZERO: Duration = Duration(std::time::Duration::ZERO);

    /// Whole milliseconds.
    pub const fn from_millis(ms: u64) -> Duration {
        Duration(std::time::Duration::from_millis(ms))
    }
    /// Whole seconds.
    pub const fn from_secs(s: u64) -> Duration {
        Duration(std::time::Duration::from_secs(s))
    }
    /// As the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
    /// In microseconds.
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
    /// Reads `500ms`.
    pub fn parse(text: &str) -> Result<Duration, UnitError> {
        let micros = amount(text, &DURATION_UNITS, DURATION_MAX, "36500d", "10s")?;
        Ok(Duration(std::time::Duration::from_micros(micros)))
    }
    /// JSON Schema of a duration in a config.
    pub fn json_schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9]+(us|ms|s|m|h|d)$", "x-unit": "duration", "examples": ["10s"] })
    }
}

impl Percent {
    /// The form, for messages.
    pub const EXPECTED: &'static str = "a share such as 5% or 0.5%, at most 100%";

    /// Whole percent.
    pub const fn new(percent: u32) -> Percent {
        Percent(percent * 10_000)
    }
    /// Out of a million.
    pub const fn millionths(self) -> u32 {
        self.0
    }
    /// Reads `0.5%`.
    pub fn parse(text: &str) -> Result<Percent, UnitError> {
        let plain = |t: &&str| t.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !t.starts_with('.');
        let number: Option<f64> = text.strip_suffix('%').filter(plain).and_then(|n| n.parse().ok());
        match number.filter(|n| *n <= 100.0) {
            Some(n) => Ok(Percent((n * 10_000.0).round() as u32)),
            None => Err(UnitError { what: "not a share".into(), help: "write it with its unit, such as 5%".into() }),
        }
    }
}

impl ByteSize {
    /// The form, for messages.
    pub const EXPECTED: &'static str = "a size such as 64KiB, 256MiB or 1GiB";

    /// That many bytes.
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }
    /// That many mebibytes.
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
    /// Reads `256MiB`.
    pub fn parse(text: &str) -> Result<ByteSize, UnitError> {
        amount(text, &SIZE_UNITS, SIZE_MAX, "1048576TiB", "256MiB").map(ByteSize)
    }
    /// JSON Schema of a size in a config.
    pub fn json_schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$", "x-unit": "size", "examples": ["256MiB"] })
    }
}

fn amount(text: &str, units: &[(&str, u64)], max: u64, max_text: &str, example: &str) -> Result<u64, UnitError> {
    let fail = |what: String, help: String| Err(UnitError { what, help });
    let names = || units.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
    let plain = format!("write a whole number and a unit without a space: {example}");
    if text.starts_with('-') {
        return fail("negative".into(), format!("write zero or more, such as {example}"));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return fail("no number".into(), plain);
    }
    if unit.is_empty() {
        return fail("no unit".into(), format!("add a unit: {}", suggestions(number, units)));
    }
    if unit.starts_with(['.', 'e', 'E', '+']) && unit != "E" {
        return fail("not a whole number".into(), format!("{plain}; use a smaller unit instead of a fraction"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return fail(
            format!("unknown unit `{}`", unit.trim()),
            unit_help(number, unit.trim(), units).unwrap_or(format!("units are {}", names())),
        );
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).filter(|n| *n <= max) {
        Some(n) => Ok(n),
        None => fail("too large".into(), format!("at most {max_text}")),
    }
}

fn suggestions(number: &str, units: &[(&str, u64)]) -> String {
    let some: Vec<_> = units.iter().skip(1).take(3).map(|(u, _)| format!("{number}{u}")).collect();
    some.join(", ")
}

/// What people write instead: `sec`, `MB`, `minutes`.
fn unit_help(number: &str, unit: &str, units: &[(&str, u64)]) -> Option<String> {
    let lower = unit.to_ascii_lowercase();
    let first = lower.chars().next()?;
    let right = units.iter().map(|(u, _)| *u).find(|u| u.eq_ignore_ascii_case(unit)).or_else(|| {
        let long = |u: &&(&str, u64)| u.0.chars().next().is_some_and(|c| c.eq_ignore_ascii_case(&first));
        match lower.as_str() {
            l if l.starts_with("mil") || l.starts_with("ms") => units.iter().map(|(u, _)| *u).find(|u| *u == "ms"),
            l if l.starts_with("mic") || l == "µs" => units.iter().map(|(u, _)| *u).find(|u| *u == "us"),
            l if l.starts_with("min") => units.iter().map(|(u, _)| *u).find(|u| *u == "m"),
            _ => units.iter().rev().find(long).map(|(u, _)| *u),
        }
    })?;
    Some(format!("write {number}{right}"))
}

fn show(mut f: impl FnMut(String) -> fmt::Result, n: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (unit, factor) =
        units.iter().rev().find(|(_, factor)| n >= *factor && n.is_multiple_of(*factor)).unwrap_or(&units[0]);
    f(format!("{}{unit}", n / factor))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        show(|s| f.write_str(&s), u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX), &DURATION_UNITS)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(|s| f.write_str(&s), self.0, &SIZE_UNITS)
    }
}

macro_rules! text_serde {
    ($type:ident) => {
        impl std::str::FromStr for $type {
            type Err = UnitError;
            fn from_str(s: &str) -> Result<$type, UnitError> {
                $type::parse(s)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                struct V;
                impl Visitor<'_> for V {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($type::EXPECTED)
                    }
                    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<$type, E> {
                        $type::parse(s).map_err(|_| E::invalid_value(Unexpected::Str(s), &self))
                    }
                }
                d.deserialize_str(V)
            }
        }
        #[cfg(any(test, feature = "schemars"))]
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::Schema::try_from($type::json_schema()).expect("an object is a schema")
            }
        }
    };
}

text_serde!(Duration);
text_serde!(ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_what_people_write() {
        for text in ["500ms", "10s", "1m", "12h", "30d", "0s", "36500d", "7us", "90s"] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Duration::parse("60s").unwrap().to_string(), "1m");
        for text in ["64KiB", "256MiB", "1GiB", "0B", "3TiB", "1000B"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Duration::parse("2m").unwrap().micros(), 120_000_000);
        assert_eq!(ByteSize::parse("2KiB").unwrap().bytes(), 2048);
    }

    #[test]
    fn refuses_with_the_expected_form() {
        let cases = [
            ("5", "no unit", "add a unit: 5ms, 5s, 5m"),
            ("5 sec", "unknown unit `sec`", "write 5s"),
            ("5sec", "unknown unit `sec`", "write 5s"),
            ("5min", "unknown unit `min`", "write 5m"),
            ("2 days", "unknown unit `days`", "write 2d"),
            ("-1s", "negative", "write zero or more, such as 10s"),
            (
                "1e9d",
                "not a whole number",
                "write a whole number and a unit without a space: 10s; use a smaller unit instead of a fraction",
            ),
            (
                "1.5s",
                "not a whole number",
                "write a whole number and a unit without a space: 10s; use a smaller unit instead of a fraction",
            ),
            ("36501d", "too large", "at most 36500d"),
            ("99999999999999999999999s", "too large", "at most 36500d"),
            ("", "no number", "write a whole number and a unit without a space: 10s"),
            ("soon", "no number", "write a whole number and a unit without a space: 10s"),
            ("5x", "unknown unit `x`", "units are us, ms, s, m, h, d"),
        ];
        for (text, what, help) in cases {
            let e = Duration::parse(text).unwrap_err();
            assert_eq!((e.what.as_str(), e.help.as_str()), (what, help), "{text}");
        }
        assert_eq!(ByteSize::parse("256MB").unwrap_err().help, "write 256MiB");
        assert_eq!(ByteSize::parse("1gib").unwrap_err().help, "write 1GiB");
        assert_eq!(ByteSize::parse("9999999999TiB").unwrap_err().what, "too large");
        assert_eq!(ByteSize::parse("5").unwrap_err().what, "no unit");
    }

    #[test]
    fn serde_round_trip() {
        let all: (Duration, ByteSize) = serde_json::from_str(r#"["90s", "64KiB"]"#).unwrap();
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["90s","64KiB"]"#);
        assert!(serde_json::from_str::<Duration>("5").unwrap_err().to_string().contains(Duration::EXPECTED));
    }
}
