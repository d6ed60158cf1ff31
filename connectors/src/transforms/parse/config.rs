//! What a person can write in a `parse` node.

use crate::transforms::at_key;
use crate::transforms::ordered::Ordered;
use millstream::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Turns text into columns, by a regular expression, a grok pattern or a known format: set exactly one
/// of `regex`, `grok` and `format`. A row that does not match, or whose field is not of its type, goes
/// to the `errors` port.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParseConfig {
    /// The column that holds the text.
    #[serde(default = "value")]
    pub field: String,
    /// A regular expression with named groups, `(?P<name>…)`: each becomes a column. It may match
    /// anywhere in the text; anchor it with `^` and `$`. A group that takes no part is null. At most
    /// 4 KiB; no look-around and no back-references, since matching time is linear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// A grok pattern: text with `%{PATTERN}`, `%{PATTERN:column}` and `%{PATTERN:column:type}`. The usual
    /// patterns are there (`WORD`, `NUMBER`, `IP`, `TIMESTAMP_ISO8601`, `LOGLEVEL`, `GREEDYDATA`,
    /// `COMBINEDAPACHELOG`, …). At most 64 KiB once expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grok: Option<String>,
    /// Further grok patterns by name; they may use each other and replace built-in ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, String>,
    /// A known format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Types of the fields: `bool`, `int8` to `int64`, `uint8` to `uint64`, `float32`, `float64`,
    /// `decimal(p, s)`, `string`, `date` (`2026-01-31`), `timestamp` (text), `timestamp(s|ms|us|ns)` (a
    /// number since 1970). A `!` behind it refuses rows without a value. With `regex` and `grok`, fields
    /// that are not named are strings. `json`, `logfmt` and `csv` read exactly the fields named here; for
    /// `csv` in the order of the line, for `json` also nested ones (`user.id`).
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub types: Ordered,
    /// How timestamps are written, in the way of strftime: `%Y-%m-%d %H:%M:%S,%3f`. Without it RFC 3339
    /// (access logs: `17/May/2015:10:05:03 +0000`). Text without an offset is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_format: Option<String>,
    /// Columns of the input to carry along behind the parsed ones: a list, or `all` (where a parsed
    /// column of the same name takes the place of the old one).
    #[serde(default, skip_serializing_if = "Keep::is_none")]
    pub keep: Keep,
    /// `syslog` only: the year of RFC 3164 times, which do not say it. With it `time` is a timestamp
    /// (taken as UTC); without it `time` stays the text of the message, since guessing the year is wrong
    /// once a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i32>,
    /// `csv` only: what separates the fields, one ASCII character. A comma by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
}

/// The known formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object per row.
    Json,
    /// `key=value key="quoted value"`.
    Logfmt,
    /// One CSV line per row.
    Csv,
    /// The Common or Combined format of Apache and nginx. Columns: client, ident, user, time, method,
    /// path, protocol, status, bytes, referer, agent. `-` is null in ident, user, bytes, referer and
    /// agent. Escapes inside quotes stay as they are written.
    AccessLog,
    /// RFC 3164 or RFC 5424. Columns: pri, facility, severity, time, host, app, pid, message, msgid,
    /// data (the structured data of RFC 5424 as text). What the message does not have is null.
    Syslog,
}

/// Which input columns go on behind the parsed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    All,
    /// These.
    Only(Vec<String>),
}

impl Keep {
    fn is_none(&self) -> bool {
        *self == Keep::default()
    }
}

impl Default for Keep {
    fn default() -> Self {
        Keep::Only(Vec::new())
    }
}

impl Default for ParseConfig {
    fn default() -> Self {
        ParseConfig {
            field: value(),
            regex: None,
            grok: None,
            patterns: BTreeMap::new(),
            format: None,
            types: Ordered::default(),
            time_format: None,
            keep: Keep::default(),
            year: None,
            delimiter: None,
        }
    }
}

fn value() -> String {
    "value".into()
}

impl ParseConfig {
    /// Refuses options that contradict each other, and options that would have no effect.
    pub(super) fn check_options(&self) -> Result<()> {
        let set = [("regex", self.regex.is_some()), ("grok", self.grok.is_some()), ("format", self.format.is_some())];
        let set: Vec<&str> = set.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if set.len() != 1 {
            let found = if set.is_empty() { "none of them".into() } else { set.join(" and ") };
            let place = set.get(1).copied().unwrap_or_default();
            return Err(at_key("PARSE-CONFIG", place, "it is not clear how to parse")
                .found(found)
                .expected("exactly one of `regex`, `grok` and `format`"));
        }
        let fixed = matches!(self.format, Some(Format::AccessLog | Format::Syslog));
        let timestamps = self.types.iter().any(|(_, of)| of.trim_end_matches('!').trim() == "timestamp")
            || self.grok.as_ref().is_some_and(|g| g.contains(":timestamp"))
            || self.format == Some(Format::AccessLog);
        let idle = [
            ("patterns", !self.patterns.is_empty() && self.grok.is_none(), "only `grok` has patterns"),
            ("year", self.year.is_some() && self.format != Some(Format::Syslog), "only `format: syslog` needs it"),
            ("delimiter", self.delimiter.is_some() && self.format != Some(Format::Csv), "only `format: csv` needs it"),
            ("types", !self.types.is_empty() && fixed, "this format has columns and types of its own"),
            ("time_format", self.time_format.is_some() && !timestamps, "no field is a `timestamp`"),
        ];
        match idle.into_iter().find(|(_, idle, _)| *idle) {
            Some((key, _, why)) => {
                Err(at_key("PARSE-CONFIG", key, format!("`{key}` has no effect here: {why}")).help("leave it out"))
            }
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Keep;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of columns")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Keep, E> {
                if text == "all" {
                    Ok(Keep::All)
                } else {
                    Err(E::custom(format!("found `{text}`, expected `all` or a list of columns")))
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keep, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Keep::Only(names))
            }
        }
        input.deserialize_any(Names)
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Keep::All => output.serialize_str("all"),
            Keep::Only(names) => names.serialize(output),
        }
    }
}

impl JsonSchema for Keep {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Keep".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "all" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
