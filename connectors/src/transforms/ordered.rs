//! A map from names to text that keeps the order in which it was written.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Names and texts in the order of the file; no name twice. The order matters where it is the order
/// of columns (`types` of a CSV line) or of decisions (`routes`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered(pub Vec<(String, String)>);

impl Ordered {
    /// The text under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
    }
    /// Names and texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to text")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries: Vec<(String, String)> = Vec::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if entries.iter().any(|(n, _)| *n == name) {
                        return Err(Error::custom(format!("`{name}` stands there twice")));
                    }
                    entries.push((name, text));
                }
                Ok(Ordered(entries))
            }
        }
        input.deserialize_map(Entries)
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(Some(self.0.len()))?;
        for (name, text) in &self.0 {
            map.serialize_entry(name, text)?;
        }
        map.end()
    }
}

impl JsonSchema for Ordered {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Ordered".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

impl<N: Into<String>, T: Into<String>> FromIterator<(N, T)> for Ordered {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(entries: I) -> Self {
        Ordered(entries.into_iter().map(|(n, t)| (n.into(), t.into())).collect())
    }
}
