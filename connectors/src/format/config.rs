//! The `format` key of sources and sinks.

use super::csv::{CsvOptions, CsvRows};
use super::json::JsonRows;
use super::text::TextRows;
use super::transport::{Rows, Transport};
use super::{DecodeOptions, Encode, csv};
use arrow::datatypes::SchemaRef;
use millstream::connect::Decoder;
use millstream::json::Encoder;
use millstream::{Batch, Problem, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// How records are written down: `text`, `ndjson`, `csv`, `parquet` or `arrow_ipc`; with options
/// where a format has some: `{ csv: { delimiter: ";" } }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines of text in one column, `value`.
    Text,
    /// One JSON object per line, or per message.
    #[default]
    Ndjson,
    /// Comma-separated values.
    Csv(CsvOptions),
    /// Apache Parquet; files only.
    Parquet,
    /// Apache Arrow IPC, file or stream format; files only.
    ArrowIpc,
}

const NAMES: [&str; 5] = ["text", "ndjson", "csv", "parquet", "arrow_ipc"];

impl Format {
    /// The name as pipeline files spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Ndjson => "ndjson",
            Format::Csv(_) => "csv",
            Format::Parquet => "parquet",
            Format::ArrowIpc => "arrow_ipc",
        }
    }

    /// True for the formats whose files are read as a whole and delivered as rows
    /// ([`Body::Rows`](millstream::connect::Body::Rows)).
    pub fn is_whole_file(&self) -> bool {
        matches!(self, Format::Parquet | Format::ArrowIpc)
    }

    /// The format with that name and its default options.
    pub fn from_name(name: &str) -> Option<Format> {
        Some(match name {
            "text" => Format::Text,
            "ndjson" => Format::Ndjson,
            "csv" => Format::Csv(CsvOptions::default()),
            "parquet" => Format::Parquet,
            "arrow_ipc" => Format::ArrowIpc,
            _ => return None,
        })
    }

    /// A decoder for exactly the columns of `schema`, in that order. Columns that begin with an
    /// underscore come from the transport. For formats of [whole files](Format::is_whole_file) it
    /// takes [`Body::Rows`](millstream::connect::Body::Rows) alone.
    ///
    /// CSV finds columns by their place, so a projection must say what the file holds:
    /// `options.file_columns`.
    ///
    /// # Errors
    /// `FORMAT-TYPE` where the format cannot give a column's type, `FORMAT-METADATA` for an unknown
    /// transport column.
    pub fn decoder(&self, schema: &SchemaRef, options: &DecodeOptions) -> Result<Box<dyn Decoder>> {
        let max = options.line_bytes_max;
        let transport = Transport::new(schema, |payload| {
            Ok(Some(match self {
                Format::Text => Box::new(TextRows::new(payload, max)?) as Box<dyn Rows>,
                Format::Ndjson => Box::new(JsonRows::new(payload, max)?),
                Format::Csv(csv) => Box::new(CsvRows::new(payload, csv, options)?),
                Format::Parquet | Format::ArrowIpc => return Ok(None),
            }))
        })?;
        Ok(Box::new(transport))
    }

    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// `FORMAT-NO-ROWS` for formats of whole files, which have writers of their own;
    /// `JSON-UNSUPPORTED`, `FORMAT-TYPE` where the format cannot hold a column's type.
    pub fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encode>> {
        Ok(match self {
            Format::Text => Box::new(super::text::TextEncoder::new(schema)?),
            Format::Ndjson => Box::new(Ndjson(Encoder::new(schema)?)),
            Format::Csv(options) => Box::new(csv::CsvEncoder::new(schema, options)?),
            Format::Parquet | Format::ArrowIpc => {
                return Err(Problem::error("FORMAT-NO-ROWS", format!("{} is a format of whole files", self.name()))
                    .expected("one of text, ndjson, csv"));
            }
        })
    }
}

struct Ndjson(Encoder);

impl Encode for Ndjson {
    fn header(&mut self, _out: &mut Vec<u8>) {}
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        self.0.encode_with_diff(&batch.rows, batch.diff.as_ref(), out);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        deserializer.deserialize_any(FormatVisitor)
    }
}

/// A name, or a map with one name and its options.
struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}, or {{ csv: {{ … }} }}", NAMES.join(", "))
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Format, E> {
        if name == "parquet" && cfg!(not(feature = "parquet")) {
            return Err(E::custom("this program was built without Parquet; build it with the feature `parquet`"));
        }
        Format::from_name(name).ok_or_else(|| E::unknown_variant(name, &NAMES))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Format, A::Error> {
        let name: String = map.next_key()?.ok_or_else(|| A::Error::custom("the format has no name"))?;
        if name != "csv" {
            return Err(match Format::from_name(&name) {
                Some(_) => A::Error::custom(format!("format {name} has no options; write `format: {name}`")),
                None => A::Error::unknown_variant(&name, &NAMES),
            });
        }
        let format = Format::Csv(map.next_value()?);
        match map.next_key::<String>()? {
            Some(second) => Err(A::Error::custom(format!("a second format, `{second}`"))),
            None => Ok(format),
        }
    }
}

impl JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let csv = generator.subschema_for::<CsvOptions>();
        json_schema!({
            "description": "How records are written down; with options where a format has some: `{ csv: { delimiter: \";\" } }`.",
            "oneOf": [
                { "type": "string", "enum": NAMES },
                { "type": "object", "properties": { "csv": csv }, "required": ["csv"], "additionalProperties": false }
            ]
        })
    }
}
