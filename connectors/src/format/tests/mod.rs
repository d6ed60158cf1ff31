//! What the tests of the formats share, and the tests of text, transport columns and configuration.

mod csv;
mod files;
mod infer;

use super::*;
use arrow::array::cast::AsArray;
use arrow::array::*;
use arrow::datatypes::*;
use bytes::Bytes;
use millstream::connect::{Body, Decoded, Message, Payload, Reject};
use std::sync::Arc;

/// A schema from fields `(name, type)`, all of which may be null.
pub(in crate::format) fn schema_of(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

pub(in crate::format) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(in crate::format) fn payload(body: Body) -> Payload {
    Payload { partition: "p/0".into(), received: 1_000_000, body }
}

/// Decodes a slab that begins at `start`.
pub(in crate::format) fn decode_at(format: &Format, schema: &SchemaRef, start: u64, text: &[u8]) -> Decoded {
    let mut out = Decoded::default();
    let data = Bytes::copy_from_slice(text);
    let mut decoder = format.decoder(schema, &DecodeOptions::default()).unwrap();
    decoder.decode(payload(Body::Bytes { start, data }), &mut out).unwrap();
    for (rows, positions) in &out.batches {
        assert_eq!(&rows.schema(), schema);
        assert_eq!(rows.num_rows(), positions.len());
    }
    out
}

pub(in crate::format) fn decode(format: &Format, schema: &SchemaRef, text: impl AsRef<[u8]>) -> Decoded {
    decode_at(format, schema, 0, text.as_ref())
}

pub(in crate::format) fn decode_messages(format: &Format, schema: &SchemaRef, messages: Vec<Message>) -> Decoded {
    let mut out = Decoded::default();
    let mut decoder = format.decoder(schema, &DecodeOptions::default()).unwrap();
    decoder.decode(payload(Body::Messages(messages)), &mut out).unwrap();
    out
}

/// The rows as JSON objects, and the refusals as `position CODE`.
pub(in crate::format) fn rows_of(decoded: &Decoded) -> Vec<serde_json::Value> {
    let batches = decoded.batches.iter();
    batches
        .flat_map(|(b, _)| (0..b.num_rows()).map(|r| serde_json::from_str(&millstream::json::row_json(b, r)).unwrap()))
        .collect()
}

pub(in crate::format) fn codes(rejects: &[Reject]) -> Vec<String> {
    rejects.iter().map(|r| format!("{} {}", r.position, r.code)).collect()
}

fn positions(decoded: &Decoded) -> Vec<u64> {
    decoded.batches.iter().flat_map(|(_, p)| p.values().to_vec()).collect()
}

#[test]
fn text_lines() {
    let schema = schema_of(&[("value", DataType::Utf8)]);
    let got = decode(&Format::Text, &schema, b"one\r\n\nbad\xff\nlast");
    assert_eq!(
        rows_of(&got),
        [serde_json::json!({"value": "one"}), serde_json::json!({"value": ""}), serde_json::json!({"value": "last"})]
    );
    assert_eq!(positions(&got), [0, 5, 11]);
    assert_eq!(codes(&got.rejects), ["6 TEXT-UTF8"]);
    assert_eq!(got.rejects[0].payload, &b"bad\xff"[..]);
    assert!(got.rejects[0].message.contains("0xff at byte 4"), "{}", got.rejects[0].message);
}

#[test]
fn text_as_bytes_takes_every_line() {
    let schema = schema_of(&[("value", DataType::Binary)]);
    let got = decode(&Format::Text, &schema, b"a\xff\nb");
    let column = got.batches[0].0.column(0).as_binary::<i32>();
    assert_eq!([column.value(0), column.value(1)], [&b"a\xff"[..], b"b"]);
    assert!(got.rejects.is_empty());
}

#[test]
fn text_without_a_wanted_column_still_counts_and_checks_lines() {
    let got = decode(&Format::Text, &schema_of(&[]), b"a\nb\nc\xfe\n");
    assert_eq!(positions(&got), [0, 2]);
    assert_eq!(codes(&got.rejects), ["4 TEXT-UTF8"]);
}

#[test]
fn a_long_line_is_refused_with_its_beginning() {
    let schema = schema_of(&[("value", DataType::Utf8)]);
    let options = DecodeOptions { line_bytes_max: 100_000, ..DecodeOptions::default() };
    let mut text = vec![b'x'; 100_001];
    text.extend(b"\nshort\n");
    for format in [Format::Text, Format::Ndjson, Format::Csv(CsvOptions { header: false, ..CsvOptions::default() })] {
        let mut out = Decoded::default();
        let data = Bytes::from(text.clone());
        let mut decoder = format.decoder(&schema, &options).unwrap();
        decoder.decode(payload(Body::Bytes { start: 7, data }), &mut out).unwrap();
        assert_eq!(codes(&out.rejects)[0], "7 LINE-TOO-LONG", "{format:?}");
        assert_eq!(out.rejects[0].payload.len(), 64 << 10);
    }
}

#[test]
fn batches_are_never_longer_than_the_engine_wants() {
    let text = "{\"a\":1}\n".repeat(20_000);
    let got = decode(&Format::Ndjson, &schema_of(&[("a", DataType::Int64)]), text);
    let lengths: Vec<usize> = got.batches.iter().map(|(b, _)| b.num_rows()).collect();
    assert_eq!(lengths, [8_192, 8_192, 3_616]);
    let all = positions(&got);
    assert!(all.iter().enumerate().all(|(i, p)| *p == i as u64 * 8));
}

#[test]
fn transport_columns_of_bytes() {
    let schema = schema_of(&[
        ("_path", DataType::Utf8),
        ("a", DataType::Int64),
        ("_offset", DataType::UInt64),
        ("_timestamp", timestamp_type()),
        ("_key", DataType::Utf8),
    ]);
    let got = decode_at(&Format::Ndjson, &schema, 100, b"{\"a\":1}\nx\n{\"a\":2}\n");
    let row = |a: i64, at: u64| serde_json::json!({"_path": "p/0", "a": a, "_offset": at, "_timestamp": "1970-01-01T00:00:01Z", "_key": null});
    assert_eq!(rows_of(&got), [row(1, 100), row(2, 110)]);
    assert_eq!(codes(&got.rejects), ["108 JSON-SYNTAX"]);
}

#[test]
fn transport_columns_of_messages() {
    let schema = schema_of(&[
        ("_partition", DataType::Utf8),
        ("_key", DataType::Binary),
        ("_timestamp", timestamp_type()),
        ("_offset", DataType::UInt64),
        ("a", DataType::Int64),
    ]);
    let message = |position, key: &'static str, value: Option<&'static str>, timestamp| Message {
        position,
        key: Some(Bytes::from(key)),
        value: value.map(Bytes::from),
        timestamp,
        headers: Vec::new(),
    };
    let messages = vec![
        message(5, "k5", Some("{\"a\":\n5}"), Some(2_000_000)),
        message(6, "k6", Some("{"), None),
        message(9, "k9", None, None),
    ];
    let got = decode_messages(&Format::Ndjson, &schema, messages);
    assert_eq!(
        rows_of(&got),
        [
            serde_json::json!({"_partition": "p/0", "_key": "azU=", "_timestamp": "1970-01-01T00:00:02Z", "_offset": 5, "a": 5}),
            serde_json::json!({"_partition": "p/0", "_key": "azk=", "_timestamp": "1970-01-01T00:00:01Z", "_offset": 9, "a": null}),
        ]
    );
    assert_eq!(codes(&got.rejects), ["6 JSON-SYNTAX"]);
    assert_eq!(got.rejects[0].key.as_deref(), Some(&b"k6"[..]));
}

#[test]
fn rows_are_projected_and_cut() {
    let all = RecordBatch::try_from_iter([
        ("a", Arc::new(Int64Array::from_iter_values(0..10_000)) as ArrayRef),
        ("b", Arc::new(Int64Array::from_iter_values(0..10_000))),
    ])
    .unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("_offset", DataType::UInt64, true),
        Field::new("b", DataType::Int64, true),
    ]));
    let mut out = Decoded::default();
    let mut decoder = Format::Parquet.decoder(&schema, &DecodeOptions::default()).unwrap();
    decoder.decode(payload(Body::Rows { start: 50, rows: all }), &mut out).unwrap();
    let lengths: Vec<usize> = out.batches.iter().map(|(b, _)| b.num_rows()).collect();
    assert_eq!(lengths, [8_192, 1_808]);
    let last = &out.batches[1].0;
    assert_eq!(last.column(0).as_primitive::<UInt64Type>().value(1_807), 10_049);
    assert_eq!(last.column(1).as_primitive::<Int64Type>().value(1_807), 9_999);
}

#[test]
fn unknown_transport_columns_are_refused() {
    let made = |name, kind| {
        Format::Ndjson.decoder(&schema_of(&[(name, kind)]), &DecodeOptions::default()).err().map(|p| p.code.clone())
    };
    assert_eq!(made("_nope", DataType::Utf8).as_deref(), Some("FORMAT-METADATA"));
    assert_eq!(made("_offset", DataType::Utf8).as_deref(), Some("FORMAT-METADATA"));
    assert_eq!(made("_offset", DataType::UInt64), None);
}

#[test]
fn configuration() {
    let read = |text: &str| serde_json::from_str::<Format>(text);
    assert_eq!(read("\"ndjson\"").unwrap(), Format::Ndjson);
    assert_eq!(read("\"csv\"").unwrap(), Format::Csv(CsvOptions::default()));
    let csv = read("{\"csv\": {\"delimiter\": \";\", \"header\": false}}").unwrap();
    assert_eq!(csv, Format::Csv(CsvOptions { delimiter: ';', header: false, nulls: vec![String::new()] }));
    for (bad, says) in [
        ("\"json\"", "unknown variant `json`"),
        ("{\"csv\": {\"sep\": \";\"}}", "unknown field `sep`"),
        ("{\"text\": {}}", "format text has no options"),
        ("{\"nope\": {}}", "unknown variant `nope`"),
        ("{\"csv\": {}, \"text\": {}}", "second format"),
        ("{}", "no name"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
    for format in [Format::Text, Format::Ndjson, Format::Csv(CsvOptions::default()), Format::Parquet, Format::ArrowIpc]
    {
        assert_eq!(Format::from_name(format.name()), Some(format.clone()));
        let text = serde_json::to_string(&format).unwrap();
        assert_eq!(serde_json::from_str::<Format>(&text).unwrap(), format, "{text}");
    }
    let schema = serde_json::to_string(&schemars::schema_for!(Format)).unwrap();
    assert!(schema.contains("arrow_ipc") && schema.contains("delimiter"), "{schema}");
}

#[test]
fn text_and_csv_refuse_changelogs() {
    let rows =
        RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef)]).unwrap();
    for format in [Format::Text, Format::Csv(CsvOptions::default())] {
        let mut encoder = format.encoder(&rows.schema()).unwrap();
        let mut out = Vec::new();
        encoder.encode(&Batch::with_diff(rows.clone(), Int64Array::from(vec![1, 1])), &mut out).unwrap();
        let refused = encoder.encode(&Batch::with_diff(rows.clone(), Int64Array::from(vec![1, -1])), &mut out);
        assert_eq!(refused.unwrap_err().code, "FORMAT-CHANGELOG");
    }
    let mut out = Vec::new();
    let mut ndjson = Format::Ndjson.encoder(&rows.schema()).unwrap();
    ndjson.encode(&Batch::with_diff(rows, Int64Array::from(vec![1, -1])), &mut out).unwrap();
    assert_eq!(out, b"{\"value\":\"a\",\"_diff\":1}\n{\"value\":\"b\",\"_diff\":-1}\n");
}
