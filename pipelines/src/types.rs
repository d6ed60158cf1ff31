//! Field types as they stand in `schema:` and `output:`.
//!
//! ```
//! use millstream_pipelines::types::FieldType;
//! let t = FieldType::parse("list(struct { price: decimal(10, 2)!, at: timestamp(ms) })!").unwrap();
//! assert_eq!(t.to_string(), "list(struct { price: decimal(10, 2)!, at: timestamp(ms) })!");
//! assert!(!t.nullable);
//! ```

use millstream_problem::nearest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Range;

/// A type and whether it may be null; `!` behind a type means never null.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldType {
    /// The type.
    pub ty: Type,
    /// True unless `!` stands behind it.
    pub nullable: bool,
}

/// The types that columns have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it all.
pub enum Type {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// `decimal(p, s)`: `precision` digits, `scale` of them behind the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
    Bytes,
    Date,
    Time,
    /// Microseconds, UTC. The unit says what a *number* in the input counts; text is RFC 3339.
    Timestamp(Option<TimeUnit>),
    Json,
    List(Box<FieldType>),
    /// String keys.
    Map(Box<FieldType>),
    Struct(Vec<(String, FieldType)>),
}

/// What a number counts since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

const SIMPLE: [(&str, Type); 18] = [
    ("bool", Type::Bool),
    ("int8", Type::Int8),
    ("int16", Type::Int16),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint8", Type::UInt8),
    ("uint16", Type::UInt16),
    ("uint32", Type::UInt32),
    ("uint64", Type::UInt64),
    ("float32", Type::Float32),
    ("float64", Type::Float64),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("date", Type::Date),
    ("time", Type::Time),
    ("timestamp", Type::Timestamp(None)),
    ("json", Type::Json),
    ("decimal", Type::Decimal { precision: 38, scale: 10 }),
];
const UNITS: [(&str, TimeUnit); 4] =
    [("s", TimeUnit::Seconds), ("ms", TimeUnit::Millis), ("us", TimeUnit::Micros), ("ns", TimeUnit::Nanos)];
const ALIASES: [(&str, &str); 22] = [
    ("int", "int64"),
    ("integer", "int64"),
    ("bigint", "int64"),
    ("long", "int64"),
    ("smallint", "int16"),
    ("uint", "uint64"),
    ("float", "float64"),
    ("double", "float64"),
    ("real", "float32"),
    ("number", "float64"),
    ("numeric", "decimal(38, 10)"),
    ("text", "string"),
    ("varchar", "string"),
    ("char", "string"),
    ("str", "string"),
    ("utf8", "string"),
    ("boolean", "bool"),
    ("binary", "bytes"),
    ("bytea", "bytes"),
    ("datetime", "timestamp"),
    ("array", "list(…)"),
    ("object", "struct { … }"),
];
const DEPTH_MAX: usize = 32;

/// Why a type cannot be read, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TypeError {
    /// The fact.
    pub what: String,
    /// Bytes in the text.
    pub at: Range<usize>,
    /// What to do.
    pub help: Option<String>,
}

impl FieldType {
    /// A nullable field.
    pub fn new(ty: Type) -> FieldType {
        FieldType { ty, nullable: true }
    }
    /// Reads a type. Spaces are free.
    pub fn parse(text: &str) -> Result<FieldType, TypeError> {
        let mut p = Parser { text, at: 0 };
        let t = p.field(0)?;
        p.space();
        if p.at < text.len() {
            return Err(p.fail(p.at..text.len(), "unexpected text behind the type", None));
        }
        Ok(t)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn fail(&self, at: Range<usize>, what: impl Into<String>, help: Option<String>) -> TypeError {
        TypeError { what: what.into(), at, help }
    }
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    fn eat(&mut self, c: char) -> bool {
        self.space();
        let hit = self.rest().starts_with(c);
        self.at += if hit { c.len_utf8() } else { 0 };
        hit
    }
    fn need(&mut self, c: char) -> Result<(), TypeError> {
        if self.eat(c) {
            return Ok(());
        }
        let end = self.at + self.rest().chars().next().map_or(0, char::len_utf8);
        let help = self.rest().is_empty().then(|| "a type with a comma or braces must be in quotes here".to_string());
        Err(self.fail(self.at..end, format!("`{c}` expected"), help))
    }
    fn word(&mut self) -> (&'a str, Range<usize>) {
        self.space();
        let len = self.rest().find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let range = self.at..self.at + len;
        self.at += len;
        (&self.text[range.clone()], range)
    }

    fn field(&mut self, depth: usize) -> Result<FieldType, TypeError> {
        let ty = self.ty(depth)?;
        Ok(FieldType { ty, nullable: !self.eat('!') })
    }

    fn ty(&mut self, depth: usize) -> Result<Type, TypeError> {
        let (word, range) = self.word();
        if depth > DEPTH_MAX {
            return Err(self.fail(range, "nested too deep", None));
        }
        match word {
            "decimal" => self.decimal(),
            "timestamp" if self.eat('(') => self.timestamp(),
            "list" => self.inner(depth).map(Type::List),
            "map" => self.inner(depth).map(Type::Map),
            "struct" => self.fields(depth),
            _ => match SIMPLE.iter().find(|(name, _)| *name == word) {
                Some((_, ty)) => Ok(ty.clone()),
                None => Err(self.unknown(word, range)),
            },
        }
    }

    fn unknown(&self, word: &str, mut range: Range<usize>) -> TypeError {
        if word.is_empty() {
            range.end += self.rest().chars().next().map_or(0, char::len_utf8);
            return self.fail(range, "a type expected", Some(known_types()));
        }
        let lower = word.to_lowercase();
        let names = SIMPLE.iter().map(|(n, _)| *n).chain(["list", "map", "struct"]);
        let alias = ALIASES.iter().find(|(a, _)| *a == lower).map(|(_, n)| *n);
        let near = alias.or_else(|| nearest(&lower, names));
        let help = near.map_or_else(known_types, |n| format!("did you mean `{n}`?"));
        self.fail(range, format!("unknown type `{word}`"), Some(help))
    }

    fn number(&mut self, what: &str, max: u8) -> Result<u8, TypeError> {
        let (word, range) = self.word();
        let n = word.parse::<u8>().ok().filter(|n| *n <= max);
        n.ok_or_else(|| self.fail(range, format!("{what} must be a whole number, at most {max}"), None))
    }

    fn decimal(&mut self) -> Result<Type, TypeError> {
        self.need('(')?;
        let start = self.at;
        let precision = self.number("the number of digits", 38)?;
        if precision == 0 {
            return Err(self.fail(start..self.at, "a decimal needs at least one digit", None));
        }
        self.need(',')?;
        let scale = self.number("the number of digits behind the point", precision)?;
        self.need(')')?;
        Ok(Type::Decimal { precision, scale })
    }

    fn timestamp(&mut self) -> Result<Type, TypeError> {
        let (word, range) = self.word();
        let unit = UNITS.iter().find(|(n, _)| *n == word).map(|(_, u)| *u);
        let unit = unit
            .ok_or_else(|| self.fail(range, format!("unknown unit `{word}`"), Some("one of s, ms, us, ns".into())))?;
        self.need(')')?;
        Ok(Type::Timestamp(Some(unit)))
    }

    fn inner(&mut self, depth: usize) -> Result<Box<FieldType>, TypeError> {
        self.need('(')?;
        let t = self.field(depth + 1)?;
        self.need(')')?;
        Ok(Box::new(t))
    }

    fn fields(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.need('{')?;
        let mut fields: Vec<(String, FieldType)> = Vec::new();
        while !self.eat('}') {
            if !fields.is_empty() {
                self.need(',')?;
            }
            let (name, range) = self.word();
            if name.is_empty() {
                return Err(self.fail(range, "a field name expected", None));
            }
            if fields.iter().any(|(n, _)| n == name) {
                return Err(self.fail(range, format!("field `{name}` stands twice"), None));
            }
            self.need(':')?;
            fields.push((name.into(), self.field(depth + 1)?));
        }
        Ok(Type::Struct(fields))
    }
}

fn known_types() -> String {
    let names: Vec<_> = SIMPLE.iter().map(|(n, _)| *n).filter(|n| *n != "decimal").collect();
    format!("types are {}, decimal(p, s), list(T), map(T), struct {{ a: T }}", names.join(", "))
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.ty, if self.nullable { "" } else { "!" })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Type::Timestamp(Some(unit)) => {
                let (name, _) = UNITS.iter().find(|(_, u)| u == unit).expect("every unit has a name");
                write!(f, "timestamp({name})")
            }
            Type::List(t) => write!(f, "list({t})"),
            Type::Map(t) => write!(f, "map({t})"),
            Type::Struct(fields) if fields.is_empty() => f.write_str("struct {}"),
            Type::Struct(fields) => {
                f.write_str("struct { ")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {t}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(" }")
            }
            simple => f.write_str(SIMPLE.iter().find(|(_, t)| t == simple).expect("every simple type has a name").0),
        }
    }
}

impl std::str::FromStr for FieldType {
    type Err = TypeError;
    fn from_str(s: &str) -> Result<FieldType, TypeError> {
        FieldType::parse(s)
    }
}

impl Serialize for FieldType {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldType {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<FieldType, D::Error> {
        let text = String::deserialize(d)?;
        FieldType::parse(&text).map_err(|e| {
            serde::de::Error::custom(e.help.map_or_else(|| e.what.clone(), |h| format!("{}; {h}", e.what)))
        })
    }
}

#[cfg(any(test, feature = "schemars"))]
impl schemars::JsonSchema for FieldType {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldType".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "x-type": true, "examples": ["int64", "timestamp", "decimal(10, 2)!"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_back() {
        let all = [
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float32",
            "float64",
            "decimal(38, 10)",
            "decimal(1, 0)!",
            "string!",
            "bytes",
            "date",
            "time",
            "timestamp",
            "timestamp(s)",
            "timestamp(ms)!",
            "timestamp(us)",
            "timestamp(ns)",
            "json",
            "list(int64)",
            "list(list(int64!)!)!",
            "map(string)",
            "struct {}",
            "struct { a: int8!, b: list(struct { c: json }) }!",
        ];
        for text in all {
            assert_eq!(FieldType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(FieldType::parse("decimal( 10,2 ) !").unwrap().to_string(), "decimal(10, 2)!");
    }

    #[test]
    fn errors_point_into_the_text() {
        let cases = [
            ("strng", 0..5, "unknown type `strng`", Some("did you mean `string`?")),
            ("list(intt64)", 5..11, "unknown type `intt64`", Some("did you mean `int64`?")),
            ("varchar(20)", 0..7, "unknown type `varchar`", Some("did you mean `string`?")),
            ("decimal(10", 10..10, "`,` expected", Some("a type with a comma or braces must be in quotes here")),
            ("decimal(50, 2)", 8..10, "the number of digits must be a whole number, at most 38", None),
            ("decimal(5, 6)", 11..12, "the number of digits behind the point must be a whole number, at most 5", None),
            ("timestamp(m)", 10..11, "unknown unit `m`", Some("one of s, ms, us, ns")),
            ("struct { a: int8, a: int8 }", 18..19, "field `a` stands twice", None),
            ("int64 x", 6..7, "unexpected text behind the type", None),
            ("list", 4..4, "`(` expected", Some("a type with a comma or braces must be in quotes here")),
        ];
        for (text, at, what, help) in cases {
            let e = FieldType::parse(text).unwrap_err();
            assert_eq!((e.at, e.what.as_str(), e.help.as_deref()), (at, what, help), "{text}");
        }
        assert!(FieldType::parse("").unwrap_err().help.unwrap().contains("struct { a: T }"));
        assert!(FieldType::parse(&"list(".repeat(10_000)).is_err());
    }
}
