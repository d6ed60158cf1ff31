//! `json`: an object per row. Declared fields are taken from it, nested ones by dotted path; the others are
//! passed over without being built.
//!
//! A missing field and `null` are null. A string converts as text does; a number or a truth value does not
//! become another type, except that any value becomes a `string` (objects and lists as JSON). Of a key that
//! comes twice the last value counts. Decimals longer than 15 digits should come as strings: a JSON number
//! passes through a double.

use super::fields::{Fields, arrow_fields};
use super::{LineFormat, MakeFormat, Refusal};
use crate::transforms::excerpt;
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::{FieldType, Kind, Stamp, Value, fit_int, fit_uint, to_micros};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use millstream::Result;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

pub(super) fn plan(declared: &[(String, FieldType)], times: TimeFormat) -> Result<(Vec<Field>, MakeFormat)> {
    let (fields, declared) = (arrow_fields(declared), declared.to_vec());
    let make = move || -> Box<dyn LineFormat> {
        let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, (name, _)) in declared.iter().enumerate() {
            wanted.entry(name.clone()).or_default().push(i);
            if let Some((top, _)) = name.split_once('.') {
                wanted.entry(top.to_owned()).or_default().push(i);
            }
        }
        Box::new(JsonLines { wanted, fields: Fields::new(&declared, &times) })
    };
    Ok((fields, Box::new(make)))
}

struct JsonLines {
    /// Fields by the top-level key that can hold them: their whole name, or what is before its first dot.
    wanted: HashMap<String, Vec<usize>>,
    fields: Fields,
}

impl LineFormat for JsonLines {
    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        let bad =
            |e: serde_json::Error| Refusal::no_match(format!("found `{}`, expected a JSON object: {e}", excerpt(text)));
        let mut input = serde_json::Deserializer::from_str(text);
        let found =
            Pick { wanted: &self.wanted, declared: self.fields.declared() }.deserialize(&mut input).map_err(bad)?;
        input.end().map_err(bad)?;
        let row = (0..found.len()).map(|i| self.value(i, &found[i])).collect::<Result<_, _>>()?;
        self.fields.values(row);
        Ok(())
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.fields.finish()
    }
}

impl JsonLines {
    fn value(&self, i: usize, json: &Json) -> Result<Value<'static>, Refusal> {
        let (name, of) = &self.fields.declared()[i];
        if json.is_null() && !of.required {
            return Ok(Value::Null);
        }
        let wrong = || Refusal::wrong_type(of.refusal(name, (!json.is_null()).then(|| json.to_string()).as_deref()));
        convert(json, of, self.fields.times()).ok_or_else(wrong)
    }
}

fn convert(json: &Json, of: &FieldType, times: &TimeFormat) -> Option<Value<'static>> {
    Some(match (of.kind, json) {
        (_, Json::Null) => return None,
        (Kind::Text, Json::String(text)) => Value::Text(Cow::Owned(text.clone())),
        (Kind::Text, other) => Value::Text(Cow::Owned(other.to_string())),
        (_, Json::String(text)) => of.convert(text, times)?.into_owned(),
        (Kind::Bool, Json::Bool(v)) => Value::Bool(*v),
        (Kind::Int(bits), Json::Number(n)) => fit_int(n.as_i64()?, bits)?,
        (Kind::Uint(bits), Json::Number(n)) => fit_uint(n.as_u64()?, bits)?,
        (Kind::Float(_), Json::Number(n)) => Value::Float(n.as_f64()?),
        (Kind::Timestamp(Stamp::Number(unit)), Json::Number(n)) => Value::Int(to_micros(n.as_i64()?, unit)?),
        (Kind::Decimal(..), Json::Number(n)) => of.convert(&n.to_string(), times)?.into_owned(),
        _ => return None,
    })
}

/// Takes the wanted fields from an object.
struct Pick<'a> {
    wanted: &'a HashMap<String, Vec<usize>>,
    declared: &'a [(String, FieldType)],
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Vec<Json>;
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Vec<Json>, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Vec<Json>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Json>, A::Error> {
        let mut found = vec![Json::Null; self.declared.len()];
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let Some(fields) = self.wanted.get(key.as_ref()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: Json = map.next_value()?;
            for field in fields {
                let name = &self.declared[*field].0;
                if *name == key {
                    found[*field] = value.clone();
                } else if let Some(inner) = nested(&value, name) {
                    found[*field] = inner.clone();
                }
            }
        }
        Ok(found)
    }
}

/// The value at the dotted path `name`, whose first part led to `value`.
fn nested<'a>(value: &'a Json, name: &str) -> Option<&'a Json> {
    name.split('.').skip(1).try_fold(value, |value, part| value.get(part))
}
