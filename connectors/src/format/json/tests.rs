//! The decoder against `serde_json`, on good records, on broken ones, and round trips.
#![allow(clippy::print_stderr)] // Seeds, for whom a test fails.

use crate::format::tests::{codes, decode, decode_messages, rows_of, schema_of, timestamp_type};
use crate::format::{Format, TIME_UNIT_METADATA};
use arrow::array::*;
use arrow::datatypes::*;
use bytes::Bytes;
use millstream::connect::{Decoded, Message};
use millstream::json::{Encoder, JSON_METADATA};
use serde_json::{Value, json};
use std::sync::Arc;

fn ndjson(schema: &SchemaRef, text: impl AsRef<[u8]>) -> Decoded {
    decode(&Format::Ndjson, schema, text)
}

/// One column `v`, one line; the value or the code with its message.
fn value(field: Field, text: &str) -> Result<Value, String> {
    let schema = Arc::new(Schema::new(vec![field.with_name("v")]));
    let got = ndjson(&schema, format!("{{\"v\":{text}}}\n"));
    match got.rejects.first() {
        Some(r) => Err(format!("{}: {}", r.code, r.message)),
        None => Ok(rows_of(&got).remove(0)["v"].take()),
    }
}

fn typed(kind: DataType, text: &str) -> Result<Value, String> {
    value(Field::new("v", kind, true), text)
}

#[track_caller]
fn refused(kind: DataType, text: &str, code: &str) {
    match typed(kind, text) {
        Err(message) => assert!(message.starts_with(code), "{text}: {message}"),
        Ok(value) => panic!("{text} was read as {value}, expected {code}"),
    }
}

fn json_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata([(JSON_METADATA.to_owned(), "true".to_owned())].into())
}

#[test]
fn integers_are_exact_or_refused() {
    assert_eq!(typed(DataType::Int64, "9223372036854775807"), Ok(json!(i64::MAX)));
    assert_eq!(typed(DataType::Int64, "-9223372036854775808"), Ok(json!(i64::MIN)));
    assert_eq!(typed(DataType::UInt64, "18446744073709551615"), Ok(json!(u64::MAX)));
    assert_eq!(typed(DataType::Int64, "-0"), Ok(json!(0)));
    for (text, want) in [("12.0", 12), ("1e3", 1_000), ("1.5e1", 15), ("-120e-1", -12), ("123456789", 123_456_789)] {
        assert_eq!(typed(DataType::Int32, text), Ok(json!(want)), "{text}");
    }
    refused(DataType::Int64, "9223372036854775808", "JSON-RANGE: field `v`: found the number 9223372036854775808");
    refused(DataType::Int8, "128", "JSON-RANGE");
    refused(DataType::UInt8, "-1", "JSON-RANGE");
    refused(DataType::UInt64, "-1", "JSON-RANGE");
    refused(DataType::UInt64, "1.5", "JSON-TYPE");
    refused(DataType::Int64, "1.5", "JSON-TYPE: field `v`: found the number 1.5, expected int64");
    refused(DataType::Int64, "1e400", "JSON-RANGE");
    refused(DataType::Int64, "\"12\"", "JSON-TYPE: field `v`: found the string \"12\", expected int64");
    refused(DataType::Int64, "true", "JSON-TYPE");
    refused(DataType::Int64, "[1]", "JSON-TYPE");
    for bad in ["01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "--1", "1-", "nul", "12a"] {
        refused(DataType::Int64, bad, "JSON-SYNTAX");
    }
    for digits in 1..=18 {
        let text = &"123456789012345678"[..digits];
        assert_eq!(typed(DataType::Int64, text), Ok(json!(text.parse::<i64>().unwrap())));
        assert_eq!(typed(DataType::Int64, &format!("-{text}")), Ok(json!(-text.parse::<i64>().unwrap())));
    }
}

#[test]
fn floats_are_the_nearest() {
    for text in ["0.1", "1e308", "5e-324", "-0.0", "123456789012345678", "2.2250738585072011e-308", "9007199254740993"]
    {
        assert_eq!(typed(DataType::Float64, text), Ok(json!(text.parse::<f64>().unwrap())), "{text}");
    }
    assert_eq!(typed(DataType::Float32, "0.1"), Ok(json!(0.1)));
    refused(DataType::Float64, "1e309", "JSON-RANGE");
    refused(DataType::Float32, "1e39", "JSON-RANGE");
    refused(DataType::Float64, "NaN", "JSON-SYNTAX");
    refused(DataType::Float64, "\"1\"", "JSON-TYPE");
}

#[test]
fn decimals_are_exact_or_refused() {
    let kind = DataType::Decimal128(6, 2);
    assert_eq!(typed(kind.clone(), "1234.5"), Ok(json!(1234.5)));
    assert_eq!(typed(kind.clone(), "\"-0.01\""), Ok(json!(-0.01)));
    refused(kind.clone(), "1.005", "JSON-RANGE");
    refused(kind.clone(), "10000", "JSON-RANGE");
    refused(kind.clone(), "\"x\"", "JSON-RANGE");
    refused(kind, "true", "JSON-TYPE");
}

#[test]
fn time_points() {
    let kind = timestamp_type();
    assert_eq!(typed(kind.clone(), "\"2023-11-14T22:13:20.1234567+00:00\""), Ok(json!("2023-11-14T22:13:20.123456Z")));
    refused(kind.clone(), "1700000000", "JSON-TYPE");
    refused(kind.clone(), "\"yesterday\"", "JSON-TYPE");
    for (unit, text) in [
        ("s", "1700000000.12"),
        ("s", "1.70000000012e9"),
        ("ms", "1700000000120"),
        ("us", "1700000000120000"),
        ("ns", "1700000000120000999"),
    ] {
        let field = Field::new("v", kind.clone(), true)
            .with_metadata([(TIME_UNIT_METADATA.to_owned(), unit.to_owned())].into());
        assert_eq!(value(field, text), Ok(json!("2023-11-14T22:13:20.120Z")), "{text} {unit}");
    }
    let field = Field::new("v", kind, true).with_metadata([(TIME_UNIT_METADATA.to_owned(), "ms".to_owned())].into());
    assert_eq!(value(field.clone(), "\"1970-01-01T00:00:00Z\""), Ok(json!("1970-01-01T00:00:00Z")));
    assert_eq!(value(field.clone(), "-1"), Ok(json!("1969-12-31T23:59:59.999Z")));
    assert!(value(field, "999999999999999999").unwrap_err().starts_with("JSON-RANGE"));
    assert_eq!(typed(DataType::Date32, "\"2024-02-29\""), Ok(json!("2024-02-29")));
    refused(DataType::Date32, "\"2023-02-29\"", "JSON-TYPE");
    assert_eq!(typed(DataType::Time64(TimeUnit::Microsecond), "\"23:59:59.5\""), Ok(json!("23:59:59.500")));
}

#[test]
fn strings_and_escapes() {
    assert_eq!(
        typed(DataType::Utf8, r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#),
        Ok(json!("a\"\\/\u{8}\u{c}\n\r\té😀é"))
    );
    assert_eq!(typed(DataType::Utf8View, r#""\u0000""#), Ok(json!("\0")));
    for bad in [
        r#""\x""#,
        r#""\u12g4""#,
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\u0041""#,
        "\"a\tb\"",
        "\"a",
        "\"\\",
        "\"\\u12",
    ] {
        refused(DataType::Utf8, bad, "JSON-SYNTAX");
    }
    refused(DataType::Utf8, "1", "JSON-TYPE: field `v`: found the number 1, expected string");
    assert_eq!(typed(DataType::Binary, "\"AP9hYg==\""), Ok(json!("AP9hYg==")));
    refused(DataType::Binary, "\"*\"", "JSON-TYPE");
}

#[test]
fn nested_values() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    assert_eq!(typed(DataType::List(item.clone()), "[1, null ,3]"), Ok(json!([1, null, 3])));
    assert_eq!(typed(DataType::List(item.clone()), "[]"), Ok(json!([])));
    refused(DataType::List(item.clone()), "[1,\"x\"]", "JSON-TYPE");
    refused(DataType::List(item), "[1,]", "JSON-SYNTAX");
    let fields = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, false)]);
    let kind = DataType::Struct(fields);
    assert_eq!(typed(kind.clone(), r#"{"x":[{}],"b":"y","a":1}"#), Ok(json!({"a": 1, "b": "y"})));
    assert_eq!(typed(kind.clone(), "null"), Ok(json!(null)));
    refused(kind.clone(), r#"{"a":1}"#, "JSON-MISSING: field `v.b`");
    refused(kind, r#"{"b":"","b":""}"#, "JSON-DUPLICATE: field `v.b`");
    let entries =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Float64, true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    assert_eq!(typed(map, r#"{"\u0061":1,"b":null}"#), Ok(json!({"a": 1.0, "b": null})));
    let raw = r#"{"deep":[1,{"x":"\u0041"}] , "n":1e400}"#;
    let schema = Arc::new(Schema::new(vec![json_field("v")]));
    let got = ndjson(&schema, format!("{{\"v\": {raw} }}"));
    assert_eq!(got.batches[0].0.column(0).as_any().downcast_ref::<StringArray>().unwrap().value(0), raw);
}

#[test]
fn missing_duplicate_and_unknown_fields() {
    let schema =
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]));
    let got = ndjson(
        &schema,
        "{\"b\":\"x\",\"z\":{\"a\":[]},\"a\":1}\n{\"b\":\"x\"}\n{\"a\":null}\n{\"a\":1,\"a\":2}\n{\"z\":1,\"z\":2,\"a\":3}\n",
    );
    assert_eq!(rows_of(&got), [json!({"a": 1, "b": "x"}), json!({"a": 3, "b": null})]);
    assert_eq!(codes(&got.rejects), ["29 JSON-MISSING", "39 JSON-MISSING", "50 JSON-DUPLICATE"]);
}

#[test]
fn names_that_need_escapes() {
    let schema = schema_of(&[
        ("a\"b", DataType::Int64),
        ("é", DataType::Int64),
        ("a_name_longer_than_sixteen_bytes", DataType::Int64),
    ]);
    let text = "{\"a\\\"b\":1,\"\\u00e9\":2,\"a_name_longer_than_sixteen_bytes\":3}\n".repeat(2) + "{\"é\":4}\n";
    let got = ndjson(&schema, text);
    let whole = json!({"a\"b": 1, "é": 2, "a_name_longer_than_sixteen_bytes": 3});
    assert_eq!(
        rows_of(&got),
        [whole.clone(), whole, json!({"a\"b": null, "é": 4, "a_name_longer_than_sixteen_bytes": null})]
    );
}

#[test]
fn line_ends_marks_and_empty_lines() {
    let schema = schema_of(&[("a", DataType::Int64)]);
    let got = ndjson(&schema, "\u{feff}{\"a\":1}\r\n\r\n\n{ \"a\" :\t2 } \n{\"a\":3}");
    assert_eq!(rows_of(&got), [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]);
    assert_eq!(got.batches[0].1.values().as_ref(), [0, 15, 28]);
    assert!(got.rejects.is_empty());
}

/// A refused line leaves nothing behind, whatever had been read of it.
#[test]
fn malformed_lines_are_refused_alone() {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let inner = Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::List(item), true)]);
    let schema = schema_of(&[("a", DataType::Int64), ("s", DataType::Utf8), ("t", DataType::Struct(inner))]);
    let good = r#"{"a":1,"s":"é","t":{"x":1,"y":["p","q"]},"u":[true,false,null,{"k":-1.5e+3}]}"#;
    let want: Value = json!({"a": 1, "s": "é", "t": {"x": 1, "y": ["p", "q"]}});
    let mut broken = vec![
        "1".to_owned(),
        "[]".into(),
        "null".into(),
        "\"x\"".into(),
        "{".into(),
        "}".into(),
        "{}}".into(),
        "{} {}".into(),
        "{\"a\"}".into(),
        "{a:1}".into(),
        "{\"a\":1,}".into(),
        "{,}".into(),
        "{\"u\":[1,]}".into(),
        "{\"u\":[}".into(),
        "{\"u\":[1}}".into(),
        "{\"u\":{]}".into(),
        "{\"u\":01}".into(),
        "{\"u\":1.}".into(),
        "{\"u\":tru}".into(),
        "{\"u\":truee}".into(),
        "{\"u\":\"\\q\"}".into(),
        "{\"u\":\"\u{1}\"}".into(),
        "{\"u\":'x'}".into(),
        "{\"u\":1 2}".into(),
        "{\"u\":{\"k\" 1}}".into(),
        "{\"u\":{1:1}}".into(),
        "\u{0}".into(),
        "{\"\u{0}\":1}".into(),
    ];
    broken.push(format!("{{\"u\":{}{}}}", "[".repeat(64), "]".repeat(64)));
    // Every beginning of a good record, cut at a character.
    broken.extend((1..good.len()).filter(|n| good.is_char_boundary(*n)).map(|n| good[..n].to_owned()));
    for line in &broken {
        let got = ndjson(&schema, format!("{good}\n{line}\n{good}\n"));
        assert_eq!(rows_of(&got), [want.clone(), want.clone()], "{line}");
        let reject = &got.rejects[0];
        assert_eq!((got.rejects.len(), reject.position), (1, good.len() as u64 + 1), "{line}");
        assert!(["JSON-SYNTAX", "JSON-DEPTH"].contains(&reject.code), "{line}: {}", reject.code);
        assert_eq!(reject.payload, line.as_bytes());
        let oracle = serde_json::from_str::<serde::de::IgnoredAny>(line);
        assert!(oracle.is_err() || !line.starts_with('{') || reject.code == "JSON-DEPTH", "{line}");
    }
    let deep = format!("{{\"u\":{}{}}}\n", "[".repeat(63), "]".repeat(63));
    assert!(ndjson(&schema, deep).rejects.is_empty());
}

#[test]
fn the_message_names_the_byte() {
    let got = ndjson(&schema_of(&[("a", DataType::Int64)]), "{}\n{\"b\":1,\"a\":nope}\n");
    assert_eq!(got.rejects[0].message, "found `n`, expected null, at byte 12 of the record");
    let got = ndjson(&schema_of(&[("a", DataType::Int64)]), "{\"a\":\"x\"}");
    assert_eq!(got.rejects[0].message, "field `a`: found the string \"x\", expected int64, at byte 6 of the record");
    let got = ndjson(&schema_of(&[]), "{\"a\":");
    assert_eq!(got.rejects[0].message, "found the end, expected a value, at byte 6 of the record");
}

#[test]
fn bad_utf8_concerns_its_line_only() {
    let got = ndjson(
        &schema_of(&[("a", DataType::Int64)]),
        b"{\"a\":1}\n{\"a\":2,\"b\":\"\xff\"}\n{\"a\":3,\"b\":\"\xc3\xa9\"}\n",
    );
    assert_eq!(rows_of(&got), [json!({"a": 1}), json!({"a": 3})]);
    assert_eq!(codes(&got.rejects), ["8 TEXT-UTF8"]);
}

#[test]
fn messages_may_span_lines() {
    let message = |position, text: &'static [u8]| Message {
        position,
        value: Some(Bytes::from_static(text)),
        ..Message::default()
    };
    let schema = schema_of(&[("a", DataType::Int64)]);
    let got = decode_messages(
        &Format::Ndjson,
        &schema,
        vec![
            message(1, b"\xef\xbb\xbf {\n\"a\": 1,\n\"b\": [\n]\n}\n"),
            message(2, b"{}{}"),
            message(3, b""),
            message(4, b"{\"a\":\xff}"),
        ],
    );
    assert_eq!(rows_of(&got), [json!({"a": 1})]);
    assert_eq!(codes(&got.rejects), ["2 JSON-SYNTAX", "3 JSON-SYNTAX", "4 TEXT-UTF8"]);
}

fn random_text(rng: &mut fastrand::Rng) -> String {
    let pool = [
        'a', 'Z', ' ', '"', '\\', '/', '\n', '\t', '\u{1}', '\u{7f}', 'é', '漢', '😀', '\u{2028}', '0', '{', ']', ',',
        ':',
    ];
    (0..rng.usize(..20)).map(|_| pool[rng.usize(..pool.len())]).collect()
}

fn random_number(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..6) {
        0 => json!(rng.i64(..)),
        1 => json!(rng.u64(..)),
        2 => json!(rng.i64(-100..100)),
        3 => json!(i64::MIN),
        // Large whole floats are left out: their shortest text and their value are different integers.
        4 => json!(Some(f64::from_bits(rng.u64(..))).filter(|f| f.abs() < 9e15 || f.abs() > 1e20)),
        _ => json!(rng.i64(-1_000_000..1_000_000) as f64 / 8.0),
    }
}

fn random_value(rng: &mut fastrand::Rng, depth: usize) -> Value {
    match rng.u8(..if depth > 4 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => random_number(rng),
        3 => json!(random_text(rng)),
        4 => (0..rng.usize(..4)).map(|_| random_value(rng, depth + 1)).collect(),
        _ => (0..rng.usize(..4)).map(|_| (random_text(rng), random_value(rng, depth + 1))).collect(),
    }
}

/// What a column of the type makes of a value; `None` where it must refuse it.
fn expect(kind: &DataType, value: &Value) -> Option<Value> {
    match (kind, value) {
        (_, Value::Null) => Some(Value::Null),
        (DataType::Boolean, Value::Bool(_)) | (DataType::Utf8, Value::String(_)) => Some(value.clone()),
        (DataType::Int64, Value::Number(n)) => match n.as_i64() {
            Some(i) => Some(json!(i)),
            // Two to the 63rd is the first float beyond the range.
            None => n
                .as_f64()
                .filter(|f| f.fract() == 0.0 && *f >= -9.3e18 && *f < 9_223_372_036_854_775_807.0 && !n.is_u64())
                .filter(|f| *f >= i64::MIN as f64)
                .map(|f| json!(f as i64)),
        },
        (DataType::Float64, Value::Number(n)) => n.as_f64().map(|f| json!(f)),
        _ => None,
    }
}

#[test]
fn random_records_agree_with_serde_json() {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("MILLSTREAM_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let kinds = [("i", DataType::Int64), ("f", DataType::Float64), ("s", DataType::Utf8), ("b", DataType::Boolean)];
    let mut fields: Vec<Field> = kinds.iter().map(|(n, k)| Field::new(*n, k.clone(), true)).collect();
    fields.push(json_field("j"));
    let schema = Arc::new(Schema::new(fields));
    for _ in 0..300 {
        let (mut text, mut want, mut refused) = (String::new(), Vec::new(), 0);
        for _ in 0..30 {
            let mut record = serde_json::Map::new();
            for _ in 0..rng.usize(..8) {
                let name = if rng.u8(..3) == 0 {
                    random_text(&mut rng)
                } else {
                    ["i", "f", "s", "b", "j", "x"][rng.usize(..6)].to_owned()
                };
                let fitting = match name.as_str() {
                    "i" => json!(rng.i64(..)),
                    "f" => random_number(&mut rng),
                    "s" => json!(random_text(&mut rng)),
                    "b" => json!(rng.bool()),
                    _ => random_value(&mut rng, 0),
                };
                let value = if rng.u8(..10) == 0 { random_value(&mut rng, 0) } else { fitting };
                record.insert(name, value);
            }
            let get = |n: &str| record.get(n).unwrap_or(&Value::Null);
            let row: Option<serde_json::Map<String, Value>> = kinds
                .iter()
                .map(|(n, k)| expect(k, get(n)).map(|v| ((*n).to_owned(), v)))
                .chain([Some(("j".to_owned(), get("j").clone()))])
                .collect();
            match row {
                Some(row) => want.push(Value::Object(row)),
                None => refused += 1,
            }
            text.push_str(&serde_json::to_string(&record).unwrap());
            text.push('\n');
        }
        let got = ndjson(&schema, &text);
        // What `rows_of` reads went through the number parser of serde_json, which may miss the nearest float.
        let want: Vec<Value> = serde_json::from_str(&serde_json::to_string(&want).unwrap()).unwrap();
        assert_eq!(rows_of(&got), want, "seed {seed}: {text}");
        assert_eq!(got.rejects.len(), refused, "seed {seed}: {text}\n{:?}", got.rejects);
    }
}

/// Damaged records: what is accepted must be what `serde_json` accepts.
#[test]
fn random_damage_agrees_with_serde_json() {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("MILLSTREAM_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let schema = schema_of(&[("zz", DataType::Int64)]);
    for _ in 0..5_000 {
        let fields: serde_json::Map<_, _> =
            (0..4).map(|_| (random_text(&mut rng), random_value(&mut rng, 0))).collect();
        let mut line = serde_json::to_string(&fields).unwrap().into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..line.len());
            match rng.u8(..3) {
                0 => drop(line.remove(at)),
                1 => line.insert(at, b"{}[],:\"\\0-.e tn"[rng.usize(..15)]),
                _ => line[at] = b"{}[],:\"\\0-.e tn"[rng.usize(..15)],
            }
            if line.is_empty() {
                line.push(b'{');
            }
        }
        let got = ndjson(&schema, &line);
        let oracle = serde_json::from_slice::<serde::de::IgnoredAny>(&line);
        let utf8 = std::str::from_utf8(&line).is_ok();
        let object = line.iter().find(|b| !b" \t\r\n".contains(b)) == Some(&b'{');
        let accept = oracle.is_ok() && utf8 && object;
        assert_eq!(
            got.rejects.is_empty(),
            accept,
            "seed {seed}: {}: {:?}",
            String::from_utf8_lossy(&line),
            got.rejects
        );
    }
}

#[test]
fn encoded_batches_read_back_equal() {
    let item = Arc::new(Field::new("item", DataType::Int16, true));
    let inner = Fields::from(vec![Field::new("x", DataType::UInt64, true), Field::new("y", DataType::Utf8, true)]);
    let list = ListArray::from_iter_primitive::<Int16Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let structs = StructArray::new(
        inner.clone(),
        vec![
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
            Arc::new(StringArray::from(vec![Some("\"\n"), Some("é"), None])),
        ],
        Some(vec![true, true, false].into()),
    );
    let columns: Vec<(Field, ArrayRef)> = vec![
        (
            Field::new("bool", DataType::Boolean, true),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (Field::new("i8", DataType::Int8, true), Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)]))),
        (Field::new("u32", DataType::UInt32, true), Arc::new(UInt32Array::from(vec![Some(u32::MAX), None, Some(0)]))),
        (
            Field::new("i64", DataType::Int64, true),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        ),
        (
            Field::new("f32", DataType::Float32, true),
            Arc::new(Float32Array::from(vec![Some(f32::MAX), None, Some(0.1)])),
        ),
        (
            Field::new("f64", DataType::Float64, true),
            Arc::new(Float64Array::from(vec![Some(f64::MIN_POSITIVE), None, Some(-0.3)])),
        ),
        (Field::new("text", DataType::Utf8, false), Arc::new(StringArray::from(vec!["", "\u{0}\\", "漢😀"]))),
        (
            Field::new("view", DataType::Utf8View, true),
            Arc::new(StringViewArray::from(vec![Some("a string longer than twelve"), None, Some("")])),
        ),
        (
            Field::new("bytes", DataType::Binary, true),
            Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")])),
        ),
        (
            Field::new("date", DataType::Date32, true),
            Arc::new(Date32Array::from(vec![Some(-719_528), None, Some(19_782)])),
        ),
        (
            Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
            Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(86_399_999_999)])),
        ),
        (
            Field::new("at", timestamp_type(), true),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_700_000_000_000_001)]).with_timezone("UTC"),
            ),
        ),
        (
            Field::new("dec", DataType::Decimal128(38, 10), true),
            Arc::new(
                Decimal128Array::from(vec![Some(-1), None, Some(i128::MAX / 2)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (Field::new("list", DataType::List(item), true), Arc::new(list)),
        (Field::new("struct", DataType::Struct(inner), true), Arc::new(structs)),
        (json_field("json"), Arc::new(StringArray::from(vec![Some("{\"a\":[1]}"), None, Some("1.50")]))),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let mut text = Vec::new();
    Encoder::new(&schema).unwrap().encode(&batch, &mut text);
    let got = ndjson(&schema, &text);
    assert!(got.rejects.is_empty(), "{:?}", got.rejects);
    assert_eq!(got.batches[0].0, batch, "{}", String::from_utf8_lossy(&text));
}
