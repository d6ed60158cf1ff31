//! From the types of a pipeline file to Arrow.

use crate::format::TIME_UNIT_METADATA;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use millstream::Problem;
use millstream::plan::EventTime;
use millstream_pipelines::document::{self, Node};
use millstream_pipelines::types::{self, FieldType, Type};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a partition may be silent before it no longer holds the watermark, where the file does not say.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// Columns that a transport can add beside the payload.
pub const METADATA: [(&str, &str); 5] = [
    ("_timestamp", "when the record was made, or read"),
    ("_path", "the file it came from"),
    ("_partition", "the partition it came from"),
    ("_offset", "its position in the partition"),
    ("_key", "its key"),
];

/// `Timestamp(us, UTC)`, the one timestamp type of the engine.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// An Arrow field for a declared one.
pub fn field(name: &str, declared: &FieldType) -> Field {
    let field = Field::new(name, data_type(&declared.ty), declared.nullable);
    match &declared.ty {
        Type::Timestamp(Some(unit)) => {
            let unit = match unit {
                types::TimeUnit::Seconds => "s",
                types::TimeUnit::Millis => "ms",
                types::TimeUnit::Micros => "us",
                types::TimeUnit::Nanos => "ns",
            };
            field.with_metadata(HashMap::from([(TIME_UNIT_METADATA.to_string(), unit.to_string())]))
        }
        Type::Json => field.with_metadata(HashMap::from([("millstream.json".to_string(), "true".to_string())])),
        _ => field,
    }
}

fn data_type(ty: &Type) -> DataType {
    match ty {
        Type::Bool => DataType::Boolean,
        Type::Int8 => DataType::Int8,
        Type::Int16 => DataType::Int16,
        Type::Int32 => DataType::Int32,
        Type::Int64 => DataType::Int64,
        Type::UInt8 => DataType::UInt8,
        Type::UInt16 => DataType::UInt16,
        Type::UInt32 => DataType::UInt32,
        Type::UInt64 => DataType::UInt64,
        Type::Float32 => DataType::Float32,
        Type::Float64 => DataType::Float64,
        Type::Decimal { precision, scale } => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX)),
        Type::String | Type::Json => DataType::Utf8,
        Type::Bytes => DataType::Binary,
        Type::Date => DataType::Date32,
        Type::Time => DataType::Time64(TimeUnit::Microsecond),
        Type::Timestamp(_) => timestamp(),
        Type::List(item) => DataType::List(Arc::new(field("item", item))),
        Type::Map(value) => {
            let entries = Fields::from(vec![Field::new("keys", DataType::Utf8, false), field("values", value)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        }
        Type::Struct(fields) => DataType::Struct(fields.iter().map(|(n, t)| field(n, t)).collect()),
    }
}

/// How a pipeline file declares a column of this type; `None` where it cannot.
pub fn declared(field: &Field) -> Option<FieldType> {
    let inner = |f: &Arc<Field>| declared(f).map(Box::new);
    let ty = match field.data_type() {
        DataType::Boolean => Type::Bool,
        DataType::Int8 => Type::Int8,
        DataType::Int16 => Type::Int16,
        DataType::Int32 => Type::Int32,
        DataType::Int64 => Type::Int64,
        DataType::UInt8 => Type::UInt8,
        DataType::UInt16 => Type::UInt16,
        DataType::UInt32 => Type::UInt32,
        DataType::UInt64 => Type::UInt64,
        DataType::Float32 => Type::Float32,
        DataType::Float64 => Type::Float64,
        DataType::Decimal128(precision, scale) => {
            Type::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            if field.metadata().contains_key(millstream::json::JSON_METADATA) =>
        {
            Type::Json
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Type::Bytes,
        DataType::Date32 => Type::Date,
        DataType::Time64(TimeUnit::Microsecond) => Type::Time,
        DataType::Timestamp(..) => Type::Timestamp(None),
        DataType::List(item) => Type::List(inner(item)?),
        DataType::Struct(fields) => {
            let one = |f: &Arc<Field>| Some((f.name().clone(), declared(f)?));
            Type::Struct(fields.iter().map(one).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(FieldType { ty, nullable: field.is_nullable() })
}

/// The declared fields as a schema.
pub fn of(fields: &document::Fields) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, ty)| field(name, ty)).collect::<Vec<_>>()))
}

/// The columns of a source: what is declared (or `fallback`), then what is asked of the transport.
pub fn of_source(node: &Node, fallback: Option<SchemaRef>) -> Result<SchemaRef, Vec<Problem>> {
    let payload = match (&node.schema, fallback) {
        (Some(declared), _) => of(declared),
        (None, Some(fallback)) => fallback,
        (None, None) => {
            return Err(vec![
                node.error(&["format"], "PIPE-SCHEMA", "this format needs the columns to be declared")
                    .expected("`schema: { name: type, … }`")
                    .help("`millstream new` writes one from a sample of the data"),
            ]);
        }
    };
    let mut fields: Vec<Arc<Field>> = payload.fields().iter().cloned().collect();
    let mut asked: Vec<&str> = node.metadata.iter().map(|m| m.value.as_str()).collect();
    if let Some(event_time) = &node.event_time
        && event_time.field.value.starts_with('_')
        && !asked.contains(&event_time.field.value.as_str())
    {
        asked.push(&event_time.field.value);
    }
    for name in asked {
        if fields.iter().any(|f| f.name() == name) {
            continue;
        }
        let ty = match name {
            "_timestamp" => timestamp(),
            "_offset" => DataType::UInt64,
            "_path" | "_partition" | "_key" => DataType::Utf8,
            _ => {
                return Err(vec![
                    node.error(&["metadata"], "PIPE-METADATA", format!("no transport column is called `{name}`"))
                        .expected(METADATA.map(|(n, _)| n).join(", ")),
                ]);
            }
        };
        fields.push(Arc::new(Field::new(name, ty, true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// `event_time:` as the engine has it.
pub fn event_time(declared: &document::EventTime) -> EventTime {
    EventTime {
        field: declared.field.value.clone(),
        out_of_order: declared.out_of_order.micros(),
        idle_after: declared
            .idle_after
            .map_or(IDLE_AFTER, |d| Duration::from_micros(u64::try_from(d.micros()).unwrap_or(0))),
    }
}
