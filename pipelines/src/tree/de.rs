//! Deserialises a tree into any serde type; every error knows the span it arose at.

use super::{Map, Node, Value, quote};
use crate::codes;
use crate::secret::MARK;
use crate::source::{Source, Span};
use crate::units::{ByteSize, Duration};
use millstream_problem::{Problem, nearest};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};
use std::fmt;

/// What serde said, and where.
#[derive(Debug)]
pub struct Error {
    span: Option<Span>,
    code: &'static str,
    what: String,
    expected: Option<String>,
    help: Option<String>,
}

impl Error {
    fn new(what: String) -> Error {
        Error { span: None, code: codes::VALUE, what, expected: None, help: None }
    }
    /// The innermost place wins: it is set first, on the way out.
    fn at(mut self, span: Span) -> Error {
        self.span.get_or_insert(span);
        self
    }
    /// As a problem of a file; `whole` is the place where no better one is known.
    pub fn into_problem(self, source: &Source, whole: Span) -> Problem {
        let mut problem = source.error(self.span.unwrap_or(whole), self.code, self.what);
        problem.expected = self.expected;
        problem.help = self.help;
        problem
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::new(message.to_string())
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Error {
        Error {
            code: codes::TYPE,
            expected: Some(expected.to_string()),
            ..Error::new(format!("wrong type: {}", show(found)))
        }
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Error {
        let expected = expected.to_string();
        let unit = expected == Duration::EXPECTED || expected == ByteSize::EXPECTED;
        let code = if unit { codes::UNIT } else { codes::VALUE };
        Error { code, expected: Some(expected), ..Error::new(format!("wrong value: {}", show(found))) }
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Error {
        Error {
            expected: one_of(expected),
            help: did_you_mean(variant, expected),
            ..Error::new(format!("unknown value `{variant}`"))
        }
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Error {
        let error = Error::new(format!("unknown key `{field}`"));
        Error { code: codes::UNKNOWN_KEY, expected: one_of(expected), help: did_you_mean(field, expected), ..error }
    }
    fn missing_field(field: &'static str) -> Error {
        Error { code: codes::MISSING_KEY, ..Error::new(format!("key `{field}` is missing")) }
    }
}

/// Strings cut and without the passwords of URLs.
fn show(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(s) => format!("string {}", quote(s)),
        other => other.to_string(),
    }
}

fn one_of(names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("one of {}", names.join(", ")))
}

fn did_you_mean(name: &str, names: &[&'static str]) -> Option<String> {
    nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`?"))
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), ..) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::List(list) => visitor.visit_seq(Items(list.iter())),
            Value::Map(map) => visitor.visit_map(Entries::new(map)),
            Value::Secret(_) => Err(Error {
                code: codes::SECRET,
                help: Some("write the value itself, or { env: NAME }".into()),
                ..Error::new("a secret cannot stand here".into())
            }),
        };
        result.map_err(|e| e.at(self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Secret(secret) if name == MARK => visitor.visit_str(secret.expose()),
            Value::String(s) if name == MARK => visitor.visit_str(s),
            _ if name == MARK => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match &self.value {
            Value::String(s) => visitor.visit_enum(s.as_str().into_deserializer()),
            Value::Map(map) if map.len() == 1 => {
                visitor.visit_enum(Variant { key: &map.0[0].key, value: &map.0[0].value })
            }
            _ => Err(Error { code: codes::TYPE, ..Error::new(format!("wrong type: {}", self.describe())) }),
        };
        result.map_err(|e: Error| e.at(self.span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|node| seed.deserialize(node).map_err(|e| e.at(node.span))).transpose()
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, super::Entry>,
    value: Option<&'de Node>,
}

impl<'de> Entries<'de> {
    fn new(map: &'de Map) -> Self {
        Entries { entries: map.0.iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.value);
        let key: StrDeserializer<'de, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|e| e.at(entry.key_span))
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let node = self.value.take().expect("serde asks for the key first");
        seed.deserialize(node).map_err(|e| e.at(node.span))
    }
}

struct Variant<'de> {
    key: &'de str,
    value: &'de Node,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = &'de Node;
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, &'de Node), Error> {
        let key: StrDeserializer<'de, Error> = self.key.into_deserializer();
        Ok((seed.deserialize(key)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for &'de Node {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            Value::Null => Ok(()),
            _ => {
                Err(Error { code: codes::TYPE, ..Error::new(format!("wrong type: {}", self.describe())) }.at(self.span))
            }
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self).map_err(|e| e.at(self.span))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}
